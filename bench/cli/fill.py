"""The command that fills a user's own recordings: ``fill``."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from bench.cli.app import console
from bench.cli.options import may_be_written
from bench.core.errors import InputError

if TYPE_CHECKING:  # nothing that computes is imported before a command needs it
    import pandas as pd

    from bench.commands.fill import Wanted

WORST = 5
"""Gaps of greatest predicted deviation that are printed."""


def fill(
    recordings: Annotated[
        list[Path],
        typer.Argument(metavar="INPUT...", help="C3D, TRC, CSV, TSV, npz, npy, Parquet or BVH."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE|FOLDER", help="Where to write them filled."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="auto, linear, pchip, spline, smooth; of markers kalman, rigid, pca_gap, marker.",
        ),
    ] = "auto",
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="A run's folder, whose --imputer fills, or an exported imputer."
        ),
    ] = None,
    imputer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which imputer of --run, as linear, or hgvae/map."),
    ] = None,
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
    units: Annotated[
        str | None, typer.Option(metavar="UNITS", help="mm, cm or m, in place of the file's own.")
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
    """Fill the gaps of recordings of markers or joints, touch nothing else, account for each gap.

    Example: bench fill walk.c3d -o walk_filled.c3d --max-gap 500 --validate
    """
    from bench.commands import fill as command

    wanted = command.Wanted(method, max_gap, missing, edges, fps, units)
    _check(recordings, output, report, wanted, dry_run or validate)
    if run is None and imputer is not None:
        raise InputError(f"--imputer {imputer}: of what? give --run with a run or an exported file")
    if run is not None:
        wanted = replace(wanted, imputer=command.imputer_of(run, imputer))
    places: list[Path | None] = [None] * len(recordings)
    if output is not None and not dry_run:
        places = list(command.places(recordings, output))
    for path, place in zip(recordings, places, strict=True):
        recording = command.read(path, wanted)
        frames = len(recording.positions)
        _say(f"{path}: {frames} frames of {recording.what}, {recording.fps:g} per second")
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
    wanted: "Wanted",
    looking: bool,
) -> None:
    """Raise InputError if options do not fit together."""
    from bench.commands.fill import REPORTS
    from bench.core.errors import did_you_mean
    from bench.datasets.points import MM
    from bench.fill import METHODS

    if output is None and not looking:
        raise InputError("no place to write to; give -o FILE, or --dry-run to list the gaps")
    if report is not None and report.suffix.lower() not in REPORTS:
        raise InputError(f"--report {report}: end it with {', '.join(REPORTS)}")
    if report is not None and len(recordings) > 1:
        raise InputError(f"--report {report}: one file for {len(recordings)} recordings; leave out")
    if wanted.method not in METHODS:
        near = did_you_mean(wanted.method, METHODS)
        raise InputError(f"--method {wanted.method}: no such method{near}")
    if wanted.max_gap is not None and not wanted.max_gap > 0:
        raise InputError(f"--max-gap {wanted.max_gap:g}: give a duration above 0 ms")
    if wanted.units not in (None, *MM):
        raise InputError(f"--units {wanted.units}: give {', '.join(MM)}")


def _summarise(gaps: "pd.DataFrame") -> None:
    """Print how many gaps were filled and left, why, and the worst."""
    done = gaps[gaps["status"] == "filled"]
    left = gaps[gaps["status"] != "filled"]
    _say(f"  {len(done)} gaps filled, {len(left)} left")
    for reason, count in left["status"].value_counts().items():
        _say(f"  left: {count} {reason}")
    if len(done):
        told = ("point", "start", "ms", "method", "sigma_mm", "sigma_deg", "stretch_mm", "warnings")
        columns = [name for name in told if name in done.columns]
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
