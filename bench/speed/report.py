"""The measurements of ``bench speed`` and their output: a table, a JSON file, a growth figure."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from bench.core import provenance
from bench.core.errors import InputError, did_you_mean
from bench.core.files import atomic_file, writing
from bench.speed import growth, hgvae, precision, predictors
from bench.speed.measure import GEMM_SIZE, MALLOC, Result, Setup, in_child, progress
from bench.speed.published import KINDS, kind


@dataclass(frozen=True)
class Part:
    """One measurement, which yields one or more results.

    Attributes:
        rows: names of the rows on the command line.
        work: function that measures, in a process of its own.
        against: the published code that it needs, a key of ``KINDS``; empty for none.
        mallocs: allocator settings that it is run with, keys of ``MALLOC``.
    """

    rows: tuple[str, ...]
    work: Callable[[Setup], list[Result]]
    against: str = ""
    mallocs: tuple[str, ...] = ("default",)


PARTS = (
    Part(("train",), hgvae.train_published, "hgvae", tuple(MALLOC)),
    Part(("map",), hgvae.map_published, "hgvae", tuple(MALLOC)),
    Part(("train",), hgvae.train_alone, mallocs=tuple(MALLOC)),
    Part(("map",), hgvae.map_alone, mallocs=tuple(MALLOC)),
    Part(("precision",), precision.precision, mallocs=("tuned",)),
    Part(("epoch",), hgvae.epoch, mallocs=("tuned",)),
    Part(("memory",), hgvae.memory, "hgvae"),
    Part(("ltd",), predictors.ltd, "ltd"),
    Part(("hisrep",), predictors.hisrep, "hisrep"),
    Part(("simlpe",), predictors.simlpe, "simlpe"),
)


def measure(
    rows: Sequence[str], against: Sequence[Path], setup: Setup, mallocs: Sequence[str]
) -> list[Result]:
    """Measure some rows, all of them by default.

    A row is compared with published code if a checkout of it is given, and with the machine's GEMM
    rate.

    Args:
        rows: names of rows; empty for all that can be measured.
        against: checkouts of published code.
        setup: how to measure; its ``malloc`` and ``against`` are replaced.
        mallocs: allocator settings to run with, keys of ``MALLOC``.

    Raises:
        InputError: a row or a checkout is unknown, or a row needs a checkout or an allocator
            setting that is not given.
    """
    known = sorted({row for part in PARTS for row in part.rows})
    for row in rows:
        if row not in known:
            raise InputError(f"speed: no row called '{row}'{did_you_mean(row, known)}")
    setup = replace(setup, against={kind(path): path.resolve() for path in against})
    runs = [
        (part, malloc)
        for part in PARTS
        if not part.against or part.against in setup.against
        for malloc in part.mallocs
        if malloc in mallocs
    ]
    for row in rows:
        if not any(row in part.rows for part, _ in runs):
            raise InputError(f"speed: '{row}' {_needed(row)}")
    results: list[Result] = []
    for part, malloc in runs:
        if not rows or set(rows) & set(part.rows):
            progress(f"{', '.join(part.rows)} ({malloc} malloc)")
            results += in_child(part.work, replace(setup, malloc=malloc))
    return results


def _needed(row: str) -> str:
    """Return the options without which a row cannot be measured."""
    part = next(part for part in PARTS if row in part.rows)
    needed = [f"--malloc {' or '.join(part.mallocs)}"]
    if part.against:
        needed.insert(0, f"--against a checkout of {KINDS[part.against][0]}")
    return f"needs {' and '.join(needed)}"


def table(results: Sequence[Result]) -> Table:
    """Return a table of results, one row each: medians with their range over rounds."""
    shown = Table(
        "row",
        "what",
        "malloc",
        "ours",
        "against",
        "other",
        "ratio",
        "wanted",
        "met",
        "GFLOP",
        "GFLOP/s",
        "note",
        caption=(
            r"median \[range] of alternating rounds; ratio: other / ours; published: the code of "
            "--against; GEMM: the time of as many FLOP at this machine's float32 rate of "
            f"{GEMM_SIZE}x{GEMM_SIZE} matrix products"
        ),
    )
    for one in results:
        ratio = "" if one.ratio is None else _with_range(one.ratios, "")
        met = {None: "", True: "yes", False: "NO"}[one.met]
        rate = one.gflop / statistics.median(one.ours) if one.gflop else None
        shown.add_row(
            one.row,
            one.what,
            one.malloc,
            _with_range(one.ours, one.unit),
            one.against,
            _with_range(one.other, one.unit) if one.other else "",
            ratio,
            "" if one.wanted is None else f"{one.wanted:.3g}",
            met,
            _gflop(one),
            "" if rate is None else f"{rate:.0f}",
            one.note,
        )
    return shown


def _gflop(one: Result) -> str:
    if one.gflop is None:
        return ""
    if one.other_gflop is None or one.other_gflop == one.gflop:
        return f"{one.gflop:.0f}"
    return f"{one.gflop:.0f}, other {one.other_gflop:.0f}"


def _with_range(values: Sequence[float], unit: str) -> str:
    text = f"{statistics.median(values):.3g} {unit}".rstrip()
    if len(values) > 1:
        text += f" [{min(values):.3g}, {max(values):.3g}]"
    return text


def write(results: Sequence[Result], path: Path) -> None:
    """Write results as JSON, with provenance and number of threads.

    Raises:
        WriteError: the file cannot be written.
    """
    rows = [
        {**asdict(one), "ratio": one.ratio, "met": one.met, "median": statistics.median(one.ours)}
        for one in results
    ]
    content = {"threads": torch.get_num_threads(), **provenance.collect(), "rows": rows}
    with atomic_file(path) as draft:
        draft.write_text(json.dumps(content, indent=1) + "\n")


def write_growth(setup: Setup, folder: Path, console: Console) -> None:
    """Measure how cost grows with size; write ``growth.csv`` and the figure, print exponents.

    Args:
        setup: how to measure.
        folder: folder of the files; created if missing.
        console: terminal of the table.

    Raises:
        WriteError: the folder cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    points = growth.measure(setup)
    with atomic_file(folder / "growth.csv") as draft:
        points.to_csv(draft, index=False)
    drawn = growth.draw(points, folder)
    shown = Table(*("exponent of", *growth.MEASURES.values()))
    for row in growth.exponents(points).itertuples(index=False):
        shown.add_row(str(row[0]), *(f"{value:.2f}" for value in row[1:]))
    console.print(shown)
    console.print(f"written: {drawn}", soft_wrap=True, markup=False)
