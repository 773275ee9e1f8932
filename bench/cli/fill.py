"""The command that fills a user's own recordings: ``fill``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from bench.cli.app import console
from bench.cli.options import may_be_written
from bench.core.errors import InputError

if TYPE_CHECKING:  # nothing that computes is imported before a command needs it
    import pandas as pd

WORST = 5
"""Gaps of greatest predicted deviation that are printed."""


def fill(
    recordings: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="C3D, TRC, CSV or TSV recordings.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE|FOLDER", help="Where to write them filled."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="auto, linear, pchip, spline, smooth, kalman, rigid, pca_gap or marker.",
        ),
    ] = "auto",
    max_gap: Annotated[
        float | None, typer.Option(metavar="MS", help="Leave longer gaps, in milliseconds.")
    ] = None,
    missing: Annotated[
        str, typer.Option(metavar="RULE", help="auto, nan, zero, residual or held.")
    ] = "auto",
    edges: Annotated[
        bool, typer.Option("--edges", help="Fill before the first and after the last sample too.")
    ] = False,
    fps: Annotated[
        float | None, typer.Option(min=0.001, help="Frames per second, if the file is silent.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            callback=may_be_written,
            help="What was done to each gap: .csv, .json or .html; by default OUTPUT.gaps.csv.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the gaps; fill and write nothing.")
    ] = False,
    validate: Annotated[
        bool,
        typer.Option("--validate", help="Hide seen samples as its gaps do, and print the errors."),
    ] = False,
) -> None:
    """Fill the gaps of recordings of markers, touch nothing else, and account for each gap.

    Example: bench fill walk.c3d -o walk_filled.c3d --max-gap 500 --validate
    """
    from bench.commands import fill as command

    wanted = command.Wanted(method, max_gap, missing, edges, fps)
    _check(recordings, output, report, method, max_gap, dry_run or validate)
    places: list[Path | None] = [None] * len(recordings)
    if output is not None and not dry_run:
        places = list(command.places(recordings, output))
    for path, place in zip(recordings, places, strict=True):
        recording = command.read(path, wanted)
        frames, points = recording.positions.shape[:2]
        _say(f"{path}: {frames} frames of {points} points, {recording.fps:g} per second")
        for note in recording.notes:
            _say(f"  {note}")
        if dry_run:
            _print(command.gaps(recording, wanted), "gaps")
        if validate:
            _print(command.expected(recording, wanted), "errors of gaps cut where samples are seen")
        if place is not None:
            result = command.filled(recording, wanted)
            written = command.write(recording, result, place, report)
            _summarise(result.gaps)
            _say(f"  written: {', '.join(map(str, written))}")


def _check(
    recordings: list[Path],
    output: Path | None,
    report: Path | None,
    method: str,
    max_gap: float | None,
    looking: bool,
) -> None:
    """Raise InputError if options do not fit together."""
    from bench.commands.fill import REPORTS
    from bench.core.errors import did_you_mean
    from bench.fill import METHODS

    if output is None and not looking:
        raise InputError("no place to write to; give -o FILE, or --dry-run to list the gaps")
    if report is not None and report.suffix.lower() not in REPORTS:
        raise InputError(f"--report {report}: end it with {', '.join(REPORTS)}")
    if report is not None and len(recordings) > 1:
        raise InputError(f"--report {report}: one file for {len(recordings)} recordings; leave out")
    if method not in METHODS:
        raise InputError(f"--method {method}: no such method{did_you_mean(method, METHODS)}")
    if max_gap is not None and not max_gap > 0:
        raise InputError(f"--max-gap {max_gap:g}: give a duration above 0 ms")


def _summarise(gaps: "pd.DataFrame") -> None:
    """Print how many gaps were filled and left, why, and the worst."""
    done = gaps[gaps["status"] == "filled"]
    left = gaps[gaps["status"] != "filled"]
    _say(f"  {len(done)} gaps filled, {len(left)} left")
    for reason, count in left["status"].value_counts().items():
        _say(f"  left: {count} {reason}")
    columns = ["point", "start", "ms", "method", "sigma_mm", "stretch_mm", "warnings"]
    if len(done):
        worst = done.sort_values("sigma_mm", ascending=False)[columns].head(WORST)
        _print(worst, "least sure of the filled")


def _print(rows: "pd.DataFrame", title: str) -> None:
    table = Table(title=title, title_justify="left")
    for name in rows.columns:
        table.add_column(str(name))
    for row in rows.itertuples(index=False):
        table.add_row(*(f"{one:.4g}" if isinstance(one, float) else str(one) for one in row))
    console.print(table, markup=False)


def _say(text: str) -> None:
    console.print(text, soft_wrap=True, markup=False, highlight=False)
