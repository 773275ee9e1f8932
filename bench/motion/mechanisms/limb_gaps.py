"""Hide an arm or a leg for one contiguous gap."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bench.motion.mechanisms.base import Kind, Mechanism, gap_frames, joint_mask
from bench.motion.mechanisms.limbs import choices
from bench.motion.windows import MotionSpec


class LimbGaps(Mechanism):
    """A gap of a whole arm or leg; the level is how long it lasts."""

    name = "limb_gaps"
    kinds: ClassVar[tuple[Kind, ...]] = ("duration",)
    examples: ClassVar[tuple[str, ...]] = ("200 ms", "500 ms", "1000 ms")

    which: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="limbs to choose from, as of limbs; null for any arm or leg",
    )

    def amount(self, spec: MotionSpec) -> int:
        """Return the frames of a gap."""
        choices(spec.skeleton, self.which)
        return gap_frames(self.level, spec, spec.frames)

    def hide(
        self, spec: MotionSpec, generator: np.random.Generator, motion: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Hide one limb for the gap, any limb and start equally likely."""
        length, limbs = self.amount(spec), choices(spec.skeleton, self.which)
        hidden = np.zeros((spec.frames, len(spec.skeleton)), dtype=np.bool_)
        start = generator.integers(spec.frames - length + 1)
        hidden[start : start + length, limbs[generator.integers(len(limbs))]] = True
        return joint_mask(spec, hidden)
