"""Windows of motion, and the conversion to the node layout of graph networks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench.motion.clips import Clips
from bench.motion.skeleton import Skeleton

PART = 1024
"""Windows that are read at a time where something is computed from all of them."""


@dataclass(frozen=True)
class MotionSpec:
    """The shape of one window: what a model is built from, before it sees data.

    Attributes:
        frames: frames of a window; the length of a predictor's past.
        fps: frames per second.
        skeleton: the joints.
        future: frames after a window that a predictor forecasts.
        actions: action labels that a model is conditioned on, or classifies.
    """

    frames: int
    fps: float
    skeleton: Skeleton
    future: int = 0
    actions: tuple[str, ...] = ()

    @property
    def nodes(self) -> int:
        """Number of coordinates of one frame: 54 for 18 joints."""
        return 3 * len(self.skeleton)

    @property
    def features(self) -> int:
        """Number of coordinates of one window: 2700 for 50 frames of 18 joints."""
        return self.frames * self.nodes


@dataclass(frozen=True)
class Windows:
    """Windows of one split of a data set.

    Attributes:
        motion: float32 ``(window, frame, joint, 3)``, mm, root-centred, root rotation removed: an
            array, or clips of recordings, which read like one and are gathered when they are.
        index: one row per window: ``source`` (the recording), ``start`` (its first frame there),
            ``action`` and ``subject``.
        fps: frames per second.
        skeleton: the joints of axis 2.
        future: float32 ``(window, future frame, joint, 3)``, mm, the frames that follow each
            window in its recording; nan after the recording ends. An array or clips, like
            ``motion``; None if not requested.
        masks: bool ``(mask, frame, joint, 3)`` by level, True where hidden: masks that the data set
            brings along, each for any window. Empty for most.
    """

    motion: NDArray[np.float32] | Clips
    index: pd.DataFrame
    fps: float
    skeleton: Skeleton
    future: NDArray[np.float32] | Clips | None = None
    masks: Mapping[int, NDArray[np.bool_]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.motion.ndim != 4 or self.motion.shape[2:] != (len(self.skeleton), 3):
            raise ValueError(f"motion of shape {self.motion.shape} for {len(self.skeleton)} joints")
        if len(self.index) != len(self.motion):
            raise ValueError(f"{len(self.index)} index rows for {len(self.motion)} windows")
        if self.future is not None and (
            len(self.future) != len(self.motion) or self.future.shape[2:] != self.motion.shape[2:]
        ):
            raise ValueError(f"futures {self.future.shape} for motion {self.motion.shape}")

    def __len__(self) -> int:
        return len(self.motion)

    @property
    def spec(self) -> MotionSpec:
        """The shape of one window; ``actions`` is left empty."""
        future = 0 if self.future is None else self.future.shape[1]
        return MotionSpec(self.motion.shape[1], self.fps, self.skeleton, future)

    @property
    def names(self) -> list[str]:
        """A name per window, independent of which other windows there are."""
        pairs = zip(self.index["source"], self.index["start"], strict=True)
        return [f"{source}@{start}" for source, start in pairs]

    def tensor(self, rows: slice | NDArray[np.int64] | None = None) -> torch.Tensor:
        """Return a float32 copy of some windows (all by default), safe to write to.

        A train split may be larger than memory: go through it by ``parts``.
        """
        chosen = self.motion[slice(None) if rows is None else rows]
        copied = isinstance(self.motion, Clips)
        return torch.from_numpy(np.array(chosen, dtype=np.float32, copy=None if copied else True))

    def parts(self, size: int = PART) -> Iterator["Windows"]:
        """Yield all windows in order, at most ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size))

    @property
    def clips(self) -> Clips:
        """The motion as clips; of a plain array, each window is a recording of its own."""
        return self.motion if isinstance(self.motion, Clips) else Clips.of(self.motion)

    def labels(self, actions: Sequence[str]) -> torch.Tensor:
        """Return ``(window,)`` the index of each window's action in ``actions``; -1 if absent."""
        numbers = {action: number for number, action in enumerate(actions)}
        return torch.tensor([numbers.get(action, -1) for action in self.index["action"]])

    def thin(self, count: int | None) -> "Windows":
        """Return at most ``count`` windows, evenly spaced; all for None."""
        if count is None or count >= len(self):
            return self
        return self.take(np.linspace(0, len(self) - 1, count).round().astype(np.int64))

    def take(self, rows: slice | NDArray[np.int64] | NDArray[np.bool_]) -> "Windows":
        """Return the windows of some rows; clips stay unread, of an array a slice is a view."""
        index = self.index.iloc[rows].reset_index(drop=True)
        future = None if self.future is None else _taken(self.future, rows)
        return replace(self, motion=_taken(self.motion, rows), index=index, future=future)

    @property
    def continued(self) -> NDArray[np.bool_]:
        """bool ``(window,)``, whether the recording covers the window's whole future."""
        if self.future is None:
            return np.zeros(len(self), dtype=np.bool_)
        if isinstance(self.future, Clips):
            return self.future.complete
        # A sum is finite only if all its terms are, and needs no temporary as large as the future.
        return np.isfinite(self.future.sum(axis=(1, 2, 3)))

    def with_future(self) -> "Windows":
        """Return the windows with a whole future, each with its future frames appended.

        Raises:
            ValueError: no window has its whole future.
        """
        chosen = self.take(self.continued)
        if chosen.future is None or not len(chosen):
            raise ValueError("no recording is long enough for a window and the future after it")
        more = chosen.index, self.fps, self.skeleton
        if isinstance(chosen.motion, Clips) and isinstance(chosen.future, Clips):
            return Windows(chosen.motion.prolonged(chosen.future.length), *more)
        motion = np.concatenate([chosen.motion, chosen.future], axis=1)
        return Windows(motion, *more)


def _taken(
    motion: NDArray[np.float32] | Clips, rows: slice | NDArray[np.int64] | NDArray[np.bool_]
) -> NDArray[np.float32] | Clips:
    return motion.take(rows) if isinstance(motion, Clips) else motion[rows]


def to_nodes(motion: torch.Tensor) -> torch.Tensor:
    """Return each coordinate's trajectory.

    ``(window, frame, joint, 3)`` becomes ``(node, window, frame)``.

    Node ``3 * joint + axis`` is that coordinate over time. The axes are transposed; a reshape alone
    would mix joints into time. Nodes come first so that a product over nodes and a product over
    features are each one large matrix product.
    """
    windows, frames = motion.shape[:2]
    return motion.reshape(windows, frames, -1).permute(2, 0, 1)


def from_nodes(nodes: torch.Tensor) -> torch.Tensor:
    """Undo ``to_nodes``: ``(node, window, frame)`` -> ``(window, frame, joint, 3)``."""
    count, windows, frames = nodes.shape
    return nodes.permute(1, 2, 0).reshape(windows, frames, count // 3, 3)
