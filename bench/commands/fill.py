"""``bench fill``: the gaps of a user's own recordings, filled and accounted for."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.core.errors import InputError
from bench.core.files import atomic_file
from bench.datasets.points import MM
from bench.fill import Filled, fill, joints, validate
from bench.fill.coded import Coded
from bench.fill.gaps import Numbers, seen_in
from bench.fill.missing import missing_of
from bench.fill.recording import opened

SMALL_MM = 20.0
"""Extent below which the units of a recording are doubted."""
if TYPE_CHECKING:  # runs are read when an imputer of one is wanted
    from bench.fill.run_imputer import RunImputer

REPORTS = (".csv", ".json", ".html")
"""Formats of reports, by suffix."""


@dataclass(frozen=True)
class Wanted:
    """What is to be done with every recording.

    Attributes:
        method: one of ``bench.fill.METHODS``.
        max_gap: duration, ms, above which a gap is left; None for no limit.
        missing: one of ``bench.fill.missing.RULES``.
        edges: whether to fill before the first and after the last sample of a point too.
        fps: frames per second, in place of what the file says.
        units: mm, cm or m, in place of what the file says.
        imputer: an imputer of a run, in place of ``method``.
    """

    method: str = "auto"
    max_gap: float | None = None
    missing: str = "auto"
    edges: bool = False
    fps: float | None = None
    units: str | None = None
    imputer: "RunImputer | None" = None


@dataclass(frozen=True)
class Recording:
    """A recording that was read.

    Attributes:
        path: of its file.
        coded: what its file has but samples.
        positions: ``(frame, point, 3)``, mm, nan where missing; channels of a file of rotations, in
            its own units.
        fps: frames per second.
        notes: what was decided, one sentence each.
    """

    path: Path
    coded: Coded
    positions: Numbers
    fps: float
    notes: tuple[str, ...]

    @property
    def what(self) -> str:
        """How many points it has, or joints."""
        tree = self.coded.tree
        if tree is None:
            return f"{self.positions.shape[1]} points"
        return f"{len({track.node for track in tree.tracks})} joints"


def read(path: Path, wanted: Wanted) -> Recording:
    """Read a recording, and decide what is missing in it.

    Raises:
        InputError: it cannot be read, the rate is not known, the method is none for it, or its
            units do not seem to be those of an imputer.
    """
    coded = opened(path)
    _check_method(path, coded, wanted)
    if wanted.units is not None:
        said = ("units", "taken to be mm")
        notes = [note for note in coded.notes if not any(word in note for word in said)]
        notes.append(f"units {wanted.units}, as asked")
        coded = replace(coded, scale=MM[wanted.units], notes=tuple(notes))
    missing, notes = missing_of(coded, wanted.missing)
    fps = wanted.fps or coded.fps
    if fps is None:
        why = "its frame time is not clear" if coded.tree else "no column of times"
        raise InputError(f"{path}: {why}, so its rate is not known; give --fps")
    with np.errstate(over="ignore"):  # what is too great is refused when it is filled
        unit = 1.0 if coded.tree else coded.scale
        positions = np.where(missing[..., None], np.nan, coded.values) * unit
    if coded.tree is None and _small(positions):
        if wanted.imputer is not None and wanted.units is None:
            raise InputError(
                f"{path}: all points are within 20 mm of each other, and the imputer was fitted to "
                f"bodies in mm; give --units with what they are in, {', '.join(MM)}"
            )
        notes.append("all within 20 mm of each other: give --units m if it is in metres")
    # Of long recordings, what was read is a great part of the memory, and of no more use.
    rest = replace(coded, values=coded.values[:0].copy(), residual=None)
    return Recording(path, rest, positions, fps, (*coded.notes, *notes))


def _check_method(path: Path, coded: Coded, wanted: Wanted) -> None:
    """Raise InputError if what is wanted needs positions, of which the file has none."""
    if coded.tree is None:
        return
    if wanted.imputer is not None:
        raise InputError(
            f"{path}: an imputer of a run fills positions, not rotations; use --method"
        )
    try:
        joints.check_method(wanted.method)
    except InputError as error:
        raise InputError(f"{path}: --method {error}") from None


def _small(positions: Numbers) -> bool:
    """Return whether a recording is too small to be one of a body, mm."""
    seen = positions[seen_in(positions)]
    return len(seen) > 1 and float(np.ptp(seen, axis=0).max()) < SMALL_MM


def filled(recording: Recording, wanted: Wanted) -> Filled:
    """Fill the gaps of a recording.

    Raises:
        InputError: names the file, and what is wrong with it or with what is wanted.
    """
    tree, scale = recording.coded.tree, recording.coded.scale
    try:
        if tree is not None:
            return joints.fill(
                tree,
                recording.positions,
                recording.fps,
                scale,
                wanted.method,
                wanted.max_gap,
                wanted.edges,
            )
        return fill(
            recording.positions,
            recording.fps,
            recording.coded.names,
            wanted.imputer or wanted.method,
            wanted.max_gap,
            wanted.edges,
        )
    except InputError as error:
        raise InputError(f"{recording.path}: {error}") from None


def imputer_of(run: Path, name: str | None) -> "RunImputer":
    """Return an imputer of a run, or one in a file; raises InputError if there is none."""
    from bench.fill.run_imputer import load

    return load(run, name)


def gaps(recording: Recording, wanted: Wanted) -> pd.DataFrame:
    """Return the gaps of a recording as ``fill`` accounts for them, without filling any."""
    from bench.fill.filling import listed

    return listed(
        recording.positions, recording.fps, recording.coded.names, wanted.max_gap, wanted.edges
    )


def expected(recording: Recording, wanted: Wanted) -> pd.DataFrame:
    """Return the error that the gaps of a recording are likely to have, by ``validate``.

    Raises:
        InputError: names the file, and why no gap can be cut into it.
    """
    positions, fps, coded = recording.positions, recording.fps, recording.coded
    try:
        if coded.tree is not None:
            return joints.validate(coded.tree, positions, fps, coded.scale, max_gap=wanted.max_gap)
        return validate(positions, fps, max_gap=wanted.max_gap)
    except InputError as error:
        raise InputError(f"{recording.path}: {error}") from None


def places(inputs: Sequence[Path], to: Path) -> list[Path]:
    """Return the file that each recording is written to.

    Args:
        inputs: the recordings.
        to: the file of a single one, of the same format, or a folder.

    Raises:
        InputError: it is neither, or a recording would be overwritten.
    """
    folder = to.is_dir() or len(inputs) > 1 or not to.suffix
    found = [to / path.name for path in inputs] if folder else [to]
    if not folder and to.suffix.lower() != inputs[0].suffix.lower():
        raise InputError(f"{to}: the format stays {inputs[0].suffix}; name it so")
    if len(set(found)) < len(found):
        raise InputError("two recordings have one name; fill them one by one")
    if to.is_file() and folder:
        raise InputError(f"{to}: it is a file; name a folder for {len(inputs)} recordings")
    for path, place in zip(inputs, found, strict=True):
        if place.resolve() == path.resolve():
            raise InputError(f"{place}: it is the recording itself; name another file")
    return found


def write(recording: Recording, result: Filled, to: Path, report: Path | None = None) -> list[Path]:
    """Write a filled recording in the format of its file, and what was done to each gap.

    Args:
        recording: as it was read.
        result: of ``filled``.
        to: the file to write.
        report: the file for the account of gaps, ``.csv`` or ``.json``, by default that of ``to``
            with ``.gaps.csv``; or a page, ``.html``, next to that.

    Returns:
        The files written.

    Raises:
        InputError: the format cannot hold a filled sample, or a file cannot be written.
    """
    content = _content(recording.coded, result)
    account, page = to.with_name(f"{to.name}.gaps.csv"), None
    if report is not None and report.suffix.lower() == ".html":
        page = report
    elif report is not None:
        account = report
    with ExitStack() as drafts:
        draft, list_draft = (drafts.enter_context(atomic_file(path)) for path in (to, account))
        draft.write_bytes(content)
        if account.suffix.lower() == ".json":
            rows = result.gaps.astype(object).where(result.gaps.notna(), None)
            list_draft.write_text(json.dumps(rows.to_dict("records"), indent=1) + "\n")
        else:
            result.gaps.to_csv(list_draft, index=False, float_format="%.3f")
        if page is not None:
            from bench.fill.page import write_page

            tree = recording.coded.tree
            write_page(
                page,
                f"{to.name}: gaps filled",
                result,
                recording.fps,
                tree.names if tree else recording.coded.names,
                [f"{recording.path.name}: {_summary(result)}.", *_sentences(recording.notes)],
                [node.parent for node in tree.nodes] if tree else None,
            )
    return [to, account, *([page] if page else [])]


def _content(coded: Coded, result: Filled) -> bytes | bytearray:
    """Return the content of a filled file; raises InputError if its format cannot hold a sample."""
    if isinstance(result, joints.FilledJoints):
        return coded.written(result.channels, result.replaced)
    values = result.positions if coded.scale == 1 else result.positions / coded.scale
    return coded.written(values, result.filled)


def _summary(result: Filled) -> str:
    done = int((result.gaps["status"] == "filled").sum())
    return f"{done} gaps filled, {len(result.gaps) - done} left"


def _sentences(notes: Sequence[str]) -> list[str]:
    return [f"{note[0].upper()}{note[1:]}." for note in notes]
