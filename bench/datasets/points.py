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


def read_c3d(file: File) -> Points:
    """Read the points of a C3D file, without what a model computed from them.

    A sample is missing if its residual is negative, or if it is not finite or exactly at the
    origin.

    Raises:
        InputError: the file is damaged or of a kind that cannot be read.
    """
    import ezc3d

    content = file.read()
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
    names = [str(name).strip() for name in _values(group, "LABELS")][: positions.shape[1]]
    computed = {str(name).strip() for kind in MODEL_OUTPUTS for name in _values(group, kind)}
    kept = [number for number, name in enumerate(names) if name and name not in computed]
    labels, notes = _plain([names[number] for number in kept])
    if len(kept) < positions.shape[1]:
        count = positions.shape[1] - len(kept)
        notes.append(f"{count} points without a name, or computed by a model, ignored")
    units = next((str(unit).strip() for unit in _values(group, "UNITS")), "")
    if units not in MM:
        notes.append(f"units '{units}' taken to be mm" if units else "no units, taken to be mm")
    residual = data["meta_points"]["residuals"][0].T
    bad = (residual < 0) | ~np.isfinite(positions).all(axis=-1)
    origin = (positions == 0).all(axis=-1) & ~bad
    if origin.any():
        notes.append(f"{origin.sum()} samples exactly at the origin count as missing")
    positions = np.where((bad | origin)[..., None], np.nan, positions) * MM.get(units, 1.0)
    return Points(positions[:, kept], fps, labels, tuple(notes))


READERS: dict[str, Callable[[File], Points]] = {".c3d": read_c3d}
"""The reader of each format, by suffix."""


def _values(group: dict[str, Any], name: str) -> Sequence[Any]:
    """Return the values of a parameter of a C3D file; none if it has no such parameter."""
    return group[name]["value"] if name in group else ()


def _check_whole(file: File, content: bytes, frames: int) -> None:
    """Raise InputError if a C3D file has fewer frames than its header states."""
    first, last = struct.unpack_from("<HH", content, 6)
    stated = last - first + 1
    if last < _LONGEST and frames < stated:
        raise InputError(f"{file}: {frames} frames of {stated}, so cut short; fetch it again")


def _plain(names: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
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
