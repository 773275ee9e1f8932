"""Add Gaussian noise to every feature."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bench.motion.corruptions.base import Corruption
from bench.motion.windows import MotionSpec


class Noise(Corruption):
    """Independent Gaussian noise on every feature; the level is its standard deviation, mm."""

    name = "noise"
    unit = "mm"

    level: float = Field(gt=0)

    def corrupt(
        self, motion: NDArray[np.float32], spec: MotionSpec, generator: np.random.Generator
    ) -> NDArray[np.float32]:
        """Add noise to every feature of the window."""
        return (motion + generator.normal(0, self.level, motion.shape)).astype(np.float32)
