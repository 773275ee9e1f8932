"""``bench view``: the report of a run, or a page of recordings; ``bench plot``: one figure."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.analysis.loading import RECORDS, load
from bench.analysis.standing import Standing, standing
from bench.commands import show
from bench.core.errors import InputError
from bench.core.registry import DATASETS
from bench.datasets.archive import File
from bench.datasets.base import Dataset
from bench.protocol import resolving
from bench.report import exhibition, figures, page, run_folder
from bench.report.charts import SUFFIXES
from bench.report.looks import COLUMN, PAGE, STYLE, styled
from bench.sweep import job_table

WIDTHS = {"column": COLUMN, "page": PAGE}
"""Inches by the name of a width."""


def report(folder: Path, to: Path | None, stage: Callable[[str], None]) -> Path:
    """Return the report of a run; it is made, from what the folder has, if it is missing.

    Args:
        folder: of a run, or of tables alone, as committed results are.
        to: the file to write the report to; None: that in the folder.
        stage: is called with what is being done.

    Raises:
        InputError: the folder does not hold results.
    """
    known = folder / page.REPORT
    if to is None and known.is_file():
        return known
    stage("reading")
    shown = show.read(folder)
    stood = _standing(folder, shown)
    outcomes = []
    if (folder / job_table.JOBS).is_file():
        outcomes = run_folder.read(folder).outcomes
    with tempfile.TemporaryDirectory() as place:
        drawn = Path(place)
        sheet = figures.sheet_of(shown.found)
        for name in figures.FIGURES:
            stage(f"figure {name}")
            figures.write(name, shown.found, drawn, stood, sheet, ("svg",))
        stage("page")
        return page.write(
            shown.run, shown.found, shown.claims, outcomes, folder, stood, drawn, to or known
        )


def recordings(paths: Sequence[Path], to: Path) -> None:
    """Write a page that shows recordings over each other; the first counts as ground truth.

    Args:
        paths: files that a data set of the harness recognises, all of one skeleton.
        to: the page.

    Raises:
        InputError: a file is not recognised, cannot be used, or has other joints than the first.
    """
    read = [_read(path) for path in paths]
    first = read[0][0]
    for path, (dataset, _) in zip(paths, read, strict=True):
        if dataset.skeleton.names != first.skeleton.names or dataset.fps != first.fps:
            raise InputError(
                f"{path}: its joints are those of {dataset.name}, but {paths[0]} has those of "
                f"{first.name}; view them one by one"
            )
    names = _distinct(paths)
    named = [(name, motion) for name, (_, motion) in zip(names, read, strict=True)]
    motion = exhibition.of_recordings(named, first.skeleton, first.fps)
    kind = f"read as {first.name}"
    note = f"{kind}: {len(first.skeleton)} joints relative to the root, {first.fps:g} fps."
    page.write_viewer(motion, ", ".join(names), [note], to)


def plot(folder: Path, name: str, width: str, to: Path, style: str | None = None) -> list[Path]:
    """Draw one figure of a run at a width; return the files.

    Args:
        folder: of a run, or of tables alone.
        name: of the figure, or its number in the paper, as 6.
        width: ``column``, ``page``, or inches.
        to: the file, whose suffix is the format; without one, all formats are written.
        style: of matplotlib, or a file of one; it is set over that of all figures.

    Raises:
        InputError: there is no such run, figure, width, format or style, or the run lacks its
            numbers.
    """
    inches = _inches(width)
    known = figures.find(name)
    suffix = to.suffix.lower().removeprefix(".")
    if suffix and suffix not in SUFFIXES:
        raise InputError(f"{to}: no format of figures; end it with .{', .'.join(SUFFIXES)}")
    shown = show.read(folder)
    settings = styled(style) if style else STYLE
    sheet = replace(figures.sheet_of(shown.found), width=inches, style=settings)
    figure = figures.draw(known, shown.found, _standing(folder, shown), sheet)
    if figure is None:
        raise InputError(f"{folder}: has not the numbers for the figure {known}")
    chosen = [suffix] if suffix else list(SUFFIXES)
    figures.save(figure, to.parent, to.stem if suffix else to.name, chosen, sheet.style)
    return [to.with_suffix(f".{one}") if suffix else Path(f"{to}.{one}") for one in chosen]


def _inches(width: str) -> float:
    try:
        inches = WIDTHS[width] if width in WIDTHS else float(width)
    except ValueError:
        inches = np.nan
    if not 1.5 <= inches <= 30:
        raise InputError(f"--width {width}: neither column, page nor inches from 1.5 to 30")
    return inches


def _standing(folder: Path, shown: show.Shown) -> Standing | None:
    if not (folder / RECORDS).is_file():
        return None
    return standing(load(folder), shown.found.protocol, shown.run.values)


def _read(path: Path) -> tuple[Dataset, NDArray[np.float32]]:
    """Read a file with the first data set that recognises it and can."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    refusal: InputError | None = None
    for name in DATASETS.all():
        try:
            dataset = resolving.dataset(name)
        except InputError:  # it does not work with its default settings
            continue
        try:
            source = dataset.recognise(File(path))
            if source is not None:
                return dataset, dataset.read(source)
        except InputError as error:
            refusal = refusal or error
    raise refusal or InputError(
        f"{path}: no data set recognises it; bench data list shows what can be read"
    )


def _distinct(paths: Sequence[Path]) -> list[str]:
    """Return a name per file, none twice."""
    names: list[str] = []
    for path in paths:
        name, number = path.name, 2
        while name in names:
            name, number = f"{path.name} ({number})", number + 1
        names.append(name)
    return names
