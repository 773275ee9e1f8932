"""What mechanisms of joints that come and go share: masks ``(frame, joint)`` of exact size."""

import numpy as np
from numpy.typing import NDArray

from bench.motion.mechanisms.levels import Level
from bench.motion.windows import MotionSpec


def joint_frames(level: Level, spec: MotionSpec) -> int:
    """Return how many joint positions, of all frames of a window, a share means."""
    return level.of(spec.frames * len(spec.skeleton), "joint positions")


def resize(
    hidden: NDArray[np.bool_], count: int, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Return a mask with exactly ``count`` positions hidden, by moving the ends of its gaps.

    A mask that is too small grows at the ends of its gaps, one that is too large shrinks there. So
    no gap is split, and none begun, unless no gap has an end within the window: then a single
    position changes anywhere, and makes ends.

    Args:
        hidden: bool ``(frame, joint)``.
        count: how many positions are to be hidden.
        generator: chooses the ends, all equally likely.
    """
    hidden = hidden.copy()
    excess = int(hidden.sum()) - count
    while excess:
        inside = hidden if excess > 0 else ~hidden
        padded = np.pad(inside, ((1, 1), (0, 0)), constant_values=True)
        # Positions next to one of the other kind: those that can change without splitting a gap.
        ends = inside & ~(padded[:-2] & padded[2:])
        places = generator.permutation(np.flatnonzero(ends if ends.any() else inside))
        hidden.flat[places[: abs(excess) if ends.any() else 1]] = excess < 0
        excess = int(hidden.sum()) - count
    return hidden
