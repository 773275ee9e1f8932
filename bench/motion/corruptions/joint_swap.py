"""Exchange a left joint with its right counterpart, as a marker swap does."""

import numpy as np
from numpy.typing import NDArray

from bench.motion.corruptions.base import Corruption
from bench.motion.mechanisms.base import Level
from bench.motion.windows import MotionSpec


class JointSwap(Corruption):
    """Marker swap: left and right of one joint are exchanged in ``level`` consecutive frames."""

    name = "joint_swap"

    level: Level

    def corrupt(
        self, motion: NDArray[np.float32], spec: MotionSpec, generator: np.random.Generator
    ) -> NDArray[np.float32]:
        """Swap one pair of joints in consecutive frames; all pairs and starts equally likely."""
        length = self._frames(spec)
        pairs = spec.skeleton.pairs
        pair = spec.skeleton.index(pairs[generator.integers(len(pairs))])
        start = generator.integers(spec.frames - length + 1)
        swapped = motion.copy()
        swapped[start : start + length, pair] = motion[start : start + length, pair[::-1]]
        return swapped

    def check(self, spec: MotionSpec) -> None:
        """Raise ValueError if no joint has a mirror, or for zero or too many frames."""
        if not spec.skeleton.pairs:
            raise ValueError(f"{self.name} needs joints that mirror each other; there are none")
        self._frames(spec)

    def _frames(self, spec: MotionSpec) -> int:
        """Return how many frames are swapped; at least one, even for a small share."""
        if not (self.level.count or self.level.share):
            raise ValueError(
                f"level {self.level} swaps nothing; give a count of frames, or a share like 10%"
            )
        if (self.level.count or 0) > spec.frames:
            raise ValueError(f"level {self.level} is over 100%: a window has {spec.frames} frames")
        return max(1, self.level.of(spec.frames, "frames"))
