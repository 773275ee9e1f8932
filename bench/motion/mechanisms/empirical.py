"""Gaps as a real recording has them."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bench.motion.mechanisms.base import Kind, Mechanism, joint_mask
from bench.motion.mechanisms.chains import joint_frames, resize
from bench.motion.skeleton import Skeleton
from bench.motion.windows import MotionSpec

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
DURATIONS_MS = (0.0, 69.0, 166.0, 500.0, 973.0, 2114.0, 3303.0)
"""Durations of the 188 inner gaps of an optical recording of a rolling person, by quantile."""


class Empirical(Mechanism):
    """Gaps drawn from a real recording's statistics; the level is the share hidden.

    Durations follow the quantiles of one optical recording with 188 gaps (175 Hz, 68 markers; the
    median is 500 ms). A gap begins at any joint and frame, and takes the joint's neighbours along
    with it, each with a given probability. Gaps are added until the share is reached; the ends of
    gaps are then moved until it is exact (``chains.resize``).
    """

    name = "empirical"
    kinds: ClassVar[tuple[Kind, ...]] = ("share",)
    counted = "joint positions"
    examples: ClassVar[tuple[str, ...]] = ("10%", "23%", "50%")

    together: float = Field(
        0.6, ge=0, le=1, description="probability that a hidden joint's neighbour is hidden with it"
    )

    def amount(self, spec: MotionSpec) -> int:
        """Return how many joint positions are hidden."""
        return joint_frames(self.level, spec)

    def hide(
        self, spec: MotionSpec, generator: np.random.Generator, motion: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Add gaps until the share is reached."""
        count = self.amount(spec)
        hidden = np.zeros((spec.frames, len(spec.skeleton)), dtype=np.bool_)
        while hidden.sum() < count:
            duration = np.interp(generator.random(), QUANTILES, DURATIONS_MS)
            length = max(1, round(duration * spec.fps / 1000))
            # A gap that began before the window, or outlasts it, is cut off by it.
            start = int(generator.integers(1 - length, spec.frames))
            joints = self._group(spec.skeleton, generator)
            hidden[max(0, start) : start + length, joints] = True
        return joint_mask(spec, resize(hidden, count, generator))

    def _group(self, skeleton: Skeleton, generator: np.random.Generator) -> list[int]:
        """Return a joint and the neighbours that vanish with it, spreading along the bones."""
        group = {int(generator.integers(len(skeleton)))}
        pending = list(group)
        while pending:
            joint = pending.pop()
            for other in _neighbours(skeleton, joint):
                if other not in group and generator.random() < self.together:
                    group.add(other)
                    pending.append(other)
        return sorted(group)


def _neighbours(skeleton: Skeleton, joint: int) -> list[int]:
    """Return the joints at the other ends of a joint's bones."""
    return [a if b == joint else b for a, b in skeleton.bones if joint in (a, b)]
