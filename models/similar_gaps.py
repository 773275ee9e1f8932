"""Gaps like those of a window, at other times, where its values are known."""

from typing import NamedTuple

import torch
from torch import Tensor

from bench.motion import Skeleton
from models.gap_classes import CLASSES, gap_class

STEP = 3
"""Frames between the shifts in time that are tried."""
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
    own = _of_classes(hidden, hidden, skeleton)
    best, most = None, LEAST
    for shift in range(STEP, len(hidden), STEP):
        for signed in (shift, -shift):
            known = _moved(hidden, signed) & ~hidden
            tried = Tried(known | hidden, known)
            others = _of_classes(known, tried.hidden, skeleton)
            alike = float(torch.minimum(own, others).sum() / own.sum())
            if alike > most:
                best, most = tried, alike
    return best or _thinned(hidden)


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
    """Return ``(class,)`` how many of some hidden values are in gaps of each class."""
    return torch.bincount(gap_class(hidden, skeleton)[some], minlength=CLASSES)
