"""Hide several joints together for one contiguous gap."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bench.motion.mechanisms.base import Kind, Mechanism, gap_frames, joint_mask
from bench.motion.windows import MotionSpec


class Gaps(Mechanism):
    """A gap of several joints at once; the level is how long it lasts.

    The joints are any, all equally likely, and so is the gap's start. Several gaps are drawn
    independently and may overlap.
    """

    name = "gaps"
    kinds: ClassVar[tuple[Kind, ...]] = ("duration",)
    examples: ClassVar[tuple[str, ...]] = ("200 ms", "500 ms", "1000 ms")

    joints: int = Field(5, ge=1, description="joints that are hidden together")
    gaps: int = Field(1, ge=1, description="gaps in a window")

    def amount(self, spec: MotionSpec) -> int:
        """Return the frames of a gap."""
        if self.joints > len(spec.skeleton):
            raise ValueError(f"joints: {self.joints} of {len(spec.skeleton)} cannot be hidden")
        return gap_frames(self.level, spec, spec.frames)

    def hide(
        self, spec: MotionSpec, generator: np.random.Generator, motion: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Hide the gaps of a window."""
        length = self.amount(spec)
        hidden = np.zeros((spec.frames, len(spec.skeleton)), dtype=np.bool_)
        for _ in range(self.gaps):
            chosen = generator.choice(len(spec.skeleton), size=self.joints, replace=False)
            start = generator.integers(spec.frames - length + 1)
            hidden[start : start + length, chosen] = True
        return joint_mask(spec, hidden)
