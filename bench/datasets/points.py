"""Recordings of named points, such as the markers of optical motion capture, from files.

Positions are left as they were recorded: in the axes of the laboratory, at the rate of the file.
What was decided while reading is stated in ``Points.notes``.
"""

import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError, reason_of
from bench.datasets.archive import File
from bench.datasets.base import check_length
from bench.datasets.c3d_layout import BLOCK, KEY, Layout, has_parameters, layout_of

MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
MODEL_OUTPUTS = ("ANGLES", "FORCES", "MOMENTS", "POWERS", "SCALARS")
"""Groups of the points of a C3D file that are computed by a model, and are no positions."""
_LONGEST = 65535
"""Most frames that the header of a C3D file can state; files with more state this number."""


@dataclass(frozen=True)
class Points:
    """A recording of named points.

    Attributes:
        positions: ``(frame, point, 3)`` float64, mm, nan where missing.
        fps: frames per second.
        labels: a unique name for each point, without the subject's name; points of one name are
            numbered from the second on, as in ``toe (2)``.
        notes: what was decided while reading, one sentence each.
    """

    positions: NDArray[np.float64]
    fps: float
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_points(file: File) -> Points:
    """Read a recording in any of the formats in ``READERS``, by the suffix of the file.

    Raises:
        InputError: the format is not known, or the file is damaged.
    """
    reader = READERS.get(file.inner.suffix.lower())
    if reader is None:
        raise InputError(f"{file}: not one of {', '.join(READERS)}; export it as one of these")
    return reader(file)


@dataclass(frozen=True)
class C3D:
    """The points of a C3D file as they lie in it.

    Attributes:
        content: the file.
        positions: ``(frame, point, 3)`` float64, in ``units``, missing ones as they are coded.
        residual: ``(frame, point)``, negative where the file says that a sample is missing.
        fps: frames per second.
        names: of the points, empty where one has none.
        computed: bool ``(point,)``, whether a point has no name, or was computed by a model.
        units: as stated, empty if not.
        layout: where the samples lie; None where the file does not agree with its header.
        corrected: whether samples were read by the header, against what parameters say.
        beyond: whether there are more frames than the header can state, and all were read.
    """

    content: bytes
    positions: NDArray[np.float64]
    residual: NDArray[np.float64]
    fps: float
    names: tuple[str, ...]
    computed: NDArray[np.bool_]
    units: str
    layout: Layout | None
    corrected: bool
    beyond: bool = False

    @property
    def scale(self) -> float:
        """Millimetres of a unit; 1 where it is not known."""
        return MM.get(self.units, 1.0)

    @property
    def notes(self) -> list[str]:
        """What was decided, one sentence each."""
        notes = []
        if count := int(self.computed.sum()):
            notes.append(f"{count} points without a name, or computed by a model, ignored")
        if self.units not in MM:
            stated = f"units '{self.units}'" if self.units else "no units,"
            notes.append(f"{stated} taken to be mm")
        if self.corrected:
            notes.append("parameters and header disagree on analog channels, header taken")
        if self.beyond:
            notes.append(f"header can state {_LONGEST} frames, all {len(self.positions)} were read")
        return notes


def open_c3d(file: File) -> C3D:
    """Return the points of a C3D file as they lie in it.

    Raises:
        InputError: the file is damaged or of a kind that cannot be read.
    """
    import ezc3d

    content = file.read()
    if len(content) < BLOCK or content[1] != KEY or not has_parameters(content):
        raise InputError(f"{file}: no C3D file, or its parameters are damaged; export it again")
    with tempfile.NamedTemporaryFile(suffix=".c3d") as copy:
        copy.write(content)
        copy.flush()
        try:
            c3d = ezc3d.c3d(copy.name)
        except (RuntimeError, OSError, ValueError, KeyError, IndexError, MemoryError) as error:
            raise InputError(
                f"{file}: no C3D file that can be read ({reason_of(error)}); export it again"
            ) from None
    group, data = c3d["parameters"]["POINT"], c3d["data"]
    positions = data["points"][:3].transpose(2, 1, 0).astype(np.float64)
    check_length(file, len(positions))
    _check_whole(file, content, len(positions))
    fps = float(c3d["header"]["points"]["frame_rate"])
    if not fps > 0 or not positions.size:
        raise InputError(f"{file}: no frame rate, or no point in it; export it again")
    names = [_text(name) for name in _values(group, "LABELS")][: positions.shape[1]]
    names += [""] * (positions.shape[1] - len(names))
    models = {_text(name) for kind in MODEL_OUTPUTS for name in _values(group, kind)}
    computed = np.array([not name or name in models for name in names])
    units = next((_text(unit) for unit in _values(group, "UNITS")), "")
    residual = data["meta_points"]["residuals"][0].T.astype(np.float64)
    del c3d, data  # of long recordings a great part of the memory
    layout = layout_of(content, len(positions))
    corrected = beyond = False
    if layout is not None and len(positions) >= _LONGEST:
        longer = layout.to_end(content)
        if longer.frames > layout.frames and _agree(layout, content, positions):
            layout, beyond = longer, True
            check_length(file, layout.frames)
            positions, missing = layout.samples(content)
            residual = np.where(missing, -1.0, 0.0)
    if layout is not None and not beyond and not _agree(layout, content, positions):
        # What fills the file to its end by the header is not how the library read it.
        corrected = positions.shape[1] == layout.points and _fits(layout, content)
        if corrected:
            positions, missing = layout.samples(content)
            residual = np.where(missing, -1.0, 0.0)
        else:
            layout = None
    return C3D(
        content, positions, residual, fps, tuple(names), computed, units, layout, corrected, beyond
    )


def _agree(layout: Layout, content: bytes, positions: NDArray[np.float64]) -> bool:
    """Return whether the samples of a layout are those that were read."""
    found, _ = layout.samples(content)
    known = np.isfinite(positions)
    return found.shape == positions.shape and np.allclose(
        found[known], positions[known], rtol=1e-5, atol=1e-6
    )


def _fits(layout: Layout, content: bytes) -> bool:
    """Return whether a file ends where its data do, or in the block in which they do."""
    return 0 <= len(content) - layout.start - layout.size < BLOCK


def read_c3d(file: File) -> Points:
    """Read the points of a C3D file, without what a model computed from them.

    A sample is missing if its residual is negative, or if it is not finite or exactly at the
    origin.

    Raises:
        InputError: the file is damaged or of a kind that cannot be read.
    """
    c3d = open_c3d(file)
    kept = np.flatnonzero(~c3d.computed)
    labels, notes = plain_labels([c3d.names[number] for number in kept])
    notes += c3d.notes
    bad = (c3d.residual < 0) | ~np.isfinite(c3d.positions).all(axis=-1)
    origin = (c3d.positions == 0).all(axis=-1) & ~bad
    if origin.any():
        notes.append(f"{origin.sum()} samples exactly at the origin count as missing")
    positions = np.where((bad | origin)[..., None], np.nan, c3d.positions) * c3d.scale
    return Points(positions[:, kept], c3d.fps, labels, tuple(notes))


READERS: dict[str, Callable[[File], Points]] = {".c3d": read_c3d}
"""The reader of each format, by suffix."""


def _values(group: dict[str, Any], name: str) -> Sequence[Any]:
    """Return the values of a parameter of a C3D file; none if it has no such parameter."""
    return group[name]["value"] if name in group else ()


def _text(value: object) -> str:
    """Return text of a C3D file; bytes that are none become question marks."""
    return str(value).strip().encode(errors="replace").decode()


def _check_whole(file: File, content: bytes, frames: int) -> None:
    """Raise InputError if a C3D file has fewer frames than its header states."""
    first, last = struct.unpack_from("<HH", content, 6)
    stated = last - first + 1
    if last < _LONGEST and frames < stated:
        raise InputError(f"{file}: {frames} frames of {stated}, so cut short; fetch it again")


def plain_labels(names: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return unique names without that of the only subject, as in ``subject:LFHD``, and notes."""
    notes = []
    subjects = {name.rpartition(":")[0] for name in names if ":" in name}
    if len(subjects) == 1:
        names = [name.rpartition(":")[2] for name in names]
        notes.append(f"prefix {min(subjects)}: of names ignored")
    times: Counter[str] = Counter()
    unique = []
    for name in names:
        times[name] += 1
        unique.append(name if times[name] == 1 else f"{name} ({times[name]})")
    if twice := [name for name, count in times.items() if count > 1]:
        notes.append(f"points of one name numbered: {', '.join(twice)}")
    return tuple(unique), notes
