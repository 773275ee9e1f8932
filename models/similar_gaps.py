"""Gaps like those of a window, at other times, where its values are known."""

from typing import NamedTuple

import torch
from torch import Tensor

from bench.motion import Skeleton
from models.gap_classes import CLASSES, gap_class

LEAST = 0.1
"""Share of a window's hidden values that must have a like one under a shift."""


class Tried(NamedTuple):
    """A mask under which completions can be tried on a window.

    Attributes:
        hidden: bool ``(frame, joint, 3)``, the window's own gaps and others.
        known: bool, the others, whose values are known.
    """

    hidden: Tensor
    known: Tensor


def similar_gaps(hidden: Tensor, skeleton: Skeleton) -> Tried | None:
    """Return a mask that hides in addition what a window's own gaps would hide at another time.

    Of all shifts in time it is the one whose further values are most like the hidden ones by class
    of gap (``gap_class``). Where hardly any are alike under any shift, every other run of seen
    frames between the first and the last is hidden, such as every other keyframe; None where there
    is none.

    Args:
        hidden: bool ``(frame, joint, 3)``.
        skeleton: of the joints.
    """
    shifts = [sign * shift for shift in range(1, len(hidden)) for sign in (1, -1)]
    moved = torch.stack([_moved(hidden, shift) for shift in shifts] or [hidden])
    known = moved & ~hidden
    own = _of_classes(hidden[None], hidden[None], skeleton)
    alike = torch.minimum(own, _of_classes(known, known | hidden, skeleton)).sum(dim=1)
    best = int(alike.argmax())
    if alike[best] < LEAST * own.sum() or not known[best].any():
        return _thinned(hidden)
    return Tried(known[best] | hidden, known[best])


def _moved(hidden: Tensor, shift: int) -> Tensor:
    """Return a mask that many frames later, or earlier if negative; new frames are not hidden."""
    moved = hidden.roll(shift, dims=0)
    outside = slice(None, shift) if shift > 0 else slice(shift, None)
    moved[outside] = False
    return moved


def _thinned(hidden: Tensor) -> Tried | None:
    """Return a mask that hides the second of three runs of seen frames, the fourth of five, ..."""
    seen = ~hidden.flatten(1).all(dim=1)
    begins = seen & ~seen.roll(1)
    begins[0] = seen[0]
    run = begins.cumsum(dim=0)
    frames = seen & (run % 2 == 0) & (run < run.max())
    known = frames[:, None, None] & ~hidden
    return Tried(known | hidden, known) if known.any() else None


def _of_classes(some: Tensor, hidden: Tensor, skeleton: Skeleton) -> Tensor:
    """Return ``(mask, class)`` how many of some hidden values are in gaps of each class.

    Args:
        some: bool ``(mask, frame, joint, 3)``.
        hidden: bool, the same shape.
        skeleton: of the joints.
    """
    counts = torch.zeros(len(some), CLASSES, dtype=torch.int64, device=some.device)
    return counts.scatter_add_(1, gap_class(hidden, skeleton).flatten(1), some.flatten(1).long())
