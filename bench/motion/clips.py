"""Clips: equally long pieces of recordings, of which every frame is stored once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import DTypeLike, NDArray

Rows = slice | Sequence[int] | NDArray[np.int64] | NDArray[np.bool_]
CHUNK = 2**16
"""Frames that are searched for missing values at a time."""


@dataclass(frozen=True, eq=False)
class Recordings:
    """The frames of recordings, one recording after the other.

    Attributes:
        frames: float32 ``(frame, joint, 3)``, mm, of all recordings; usually a read-only memory
            map.
        bounds: ``(recording + 1,)`` where each recording begins in ``frames``, and where the last
            one ends.
    """

    frames: NDArray[np.float32]
    bounds: NDArray[np.int64]

    @cached_property
    def incomplete(self) -> NDArray[np.int64]:
        """``(frame + 1,)`` how many of the frames before each one lack a value."""
        lost = np.zeros(len(self.frames) + 1, dtype=np.int64)
        for start in range(0, len(self.frames), CHUNK):
            part = self.frames[start : start + CHUNK]
            lost[start + 1 : start + 1 + len(part)] = ~np.isfinite(part).all(axis=(1, 2))
        return lost.cumsum()

    def covers(
        self,
        recording: NDArray[np.int64],
        first: NDArray[np.int64],
        length: int | NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Return which pieces of recordings are within them and lack no value.

        Args:
            recording: ``(piece,)`` the number of each one's recording.
            first: ``(piece,)`` its first frame, an index of ``frames``.
            length: its number of frames, ``(piece,)`` or the same for all.
        """
        end = first + length
        inside = (first >= self.bounds[recording]) & (end <= self.bounds[recording + 1])
        first, end = (np.clip(at, 0, len(self.frames)) for at in (first, end))
        return inside & (self.incomplete[end] == self.incomplete[first])


@dataclass(frozen=True, eq=False)
class Clips:
    """Pieces of recordings, all of one length, gathered when they are read.

    They read like a float32 array ``(clip, frame, joint, 3)``, mm: by an index, by
    ``numpy.asarray``, or one after the other. Each of these copies what it returns, so read some at
    a time. Frames after a recording's end are nan.

    Attributes:
        recordings: what the clips are pieces of.
        recording: ``(clip,)`` the number of each one's recording.
        first: ``(clip,)`` its first frame, an index of ``recordings.frames``, not after the end of
            its recording.
        length: number of frames of each.
    """

    recordings: Recordings
    recording: NDArray[np.int64]
    first: NDArray[np.int64]
    length: int

    @classmethod
    def of(cls, motion: NDArray[np.float32]) -> "Clips":
        """Return clips ``(clip, frame, joint, 3)`` of which each is a recording of its own."""
        count, length = motion.shape[:2]
        bounds = length * np.arange(count + 1)
        frames = motion.reshape(-1, *motion.shape[2:])
        return cls(Recordings(frames, bounds), np.arange(count), bounds[:-1], length)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(clip, frame, joint, 3)``."""
        return len(self.first), self.length, *self.recordings.frames.shape[1:]

    @property
    def ndim(self) -> int:
        """Number of axes: 4."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """The type of a value."""
        return self.recordings.frames.dtype

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        rows, rest = (key[0], key[1:]) if isinstance(key, tuple) and key else (key, ())
        if rows is None or rows is Ellipsis or not all(isinstance(k, int | slice) for k in rest):
            return self[:][key]
        first, recording = self.first[rows], self.recording[rows]
        every = (slice(None),) * np.ndim(first)
        return self._gathered(first, recording)[(*every, *rest)]

    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> NDArray[np.float32]:
        if copy is False:
            raise ValueError("clips cannot be read without copying them")
        return self[:].astype(dtype or self.dtype, copy=False)

    def _gathered(
        self, first: NDArray[np.int64], recording: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        frames, end = self.recordings.frames, self.recordings.bounds[recording + 1]
        if (first + self.length <= end).all():
            # Every piece of this length, overlapping ones too, without copying a frame.
            shape = (max(0, len(frames) - self.length + 1), self.length, *frames.shape[1:])
            strides = (frames.strides[0], *frames.strides)
            pieces = as_strided(frames, shape, strides, writeable=False)
            return np.array(pieces[first], copy=None if np.ndim(first) else True)
        wanted = first[..., None] + np.arange(self.length)
        after = wanted >= end[..., None]
        gathered = frames[np.minimum(wanted, end[..., None] - 1)]
        gathered[after] = np.nan
        return gathered

    def take(self, rows: Rows) -> "Clips":
        """Return some of the clips, unread."""
        return replace(self, recording=self.recording[rows], first=self.first[rows])

    def starting(self, first: NDArray[np.int64]) -> "Clips":
        """Return clips of the same recordings that start at other frames."""
        return replace(self, first=first)

    def following(self, length: int) -> "Clips":
        """Return the ``length`` frames after each clip."""
        return replace(self, first=self.first + self.length, length=length)

    def prolonged(self, frames: int) -> "Clips":
        """Return each clip with the ``frames`` frames after it."""
        return replace(self, length=self.length + frames)

    @property
    def complete(self) -> NDArray[np.bool_]:
        """bool ``(clip,)``, whether its recording covers it and it lacks no value."""
        return self.recordings.covers(self.recording, self.first, self.length)

    def at_speed(self, speed: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the clips ``(clip, frame, joint, 3)`` played at other speeds, mm.

        Between two recorded frames, positions are interpolated linearly.

        Args:
            speed: ``(clip,)`` recorded frames from one frame to the next; as many as
                ``frames_at_speed`` says must follow each clip's first in its recording.
        """
        times = speed[:, None] * np.arange(self.length)
        before = times.astype(np.int64)
        weight = (times - before)[..., None, None].astype(np.float32)
        start, frames = self.first[:, None] + before, self.recordings.frames
        found, change = np.take(frames, start, axis=0), np.take(frames, start + 1, axis=0)
        change -= found
        change *= weight
        found += change
        return found


def frames_at_speed(length: int, speed: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many recorded frames ``length`` frames at a speed are interpolated from."""
    return (speed * (length - 1)).astype(np.int64) + 2
