"""Gaps, and noise on what is seen."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bench.motion.mechanisms.gaps import Gaps
from bench.motion.windows import MotionSpec


class NoiseAndGaps(Gaps):
    """A gap of several joints, and Gaussian noise on all that is seen; the level is as of gaps.

    Errors are over all values, seen and hidden. RoHM uses noise of 30, 50 and 70 mm.
    """

    name = "noise_and_gaps"
    examples: ClassVar[tuple[str, ...]] = ("500 ms",)

    noise_mm: float = Field(30.0, gt=0, description="standard deviation of the noise, mm")

    def disturb(
        self, spec: MotionSpec, generator: np.random.Generator, motion: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the window with noise on every coordinate."""
        return (motion + generator.normal(0, self.noise_mm, motion.shape)).astype(np.float32)
