"""Gaps of a recording of points: runs of frames in which a point is missing."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Numbers = NDArray[np.float64]
Frames = NDArray[np.int64]


@dataclass(frozen=True)
class Gap:
    """A run of frames in which a point is missing.

    Attributes:
        point: number of the point.
        start: first frame of the run.
        stop: the frame after its last.
        place: ``inside`` between two seen samples, ``edge`` before the first or after the last
            one, ``never`` for a point without any.
    """

    point: int
    start: int
    stop: int
    place: str

    def __len__(self) -> int:
        return self.stop - self.start


def gaps_of(seen: Bools) -> list[Gap]:
    """Return the gaps of a recording by point and time, given bool ``(frame, point)``."""
    frames = len(seen)
    found = []
    for point in np.flatnonzero(~seen.all(axis=0)).tolist():
        padded = np.concatenate([[False], ~seen[:, point], [False]])
        edges = np.flatnonzero(padded[1:] != padded[:-1])
        for start, stop in edges.reshape(-1, 2).tolist():
            whole = start == 0 and stop == frames
            edge = start == 0 or stop == frames
            place = "never" if whole else "edge" if edge else "inside"
            found.append(Gap(point, start, stop, place))
    return found


def seen_in(positions: Numbers) -> Bools:
    """Return bool ``(frame, point)``, where positions ``(frame, point, 3)`` are numbers."""
    return np.asarray(np.isfinite(positions).all(axis=-1), dtype=np.bool_)
