"""Play a window backwards."""

import numpy as np
from numpy.typing import NDArray

from bench.motion.corruptions.base import Corruption
from bench.motion.windows import MotionSpec


class TimeReversal(Corruption):
    """The window played backwards; it has no level."""

    name = "time_reversal"
    levelled = False

    level: None = None

    def corrupt(
        self, motion: NDArray[np.float32], spec: MotionSpec, generator: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return the frames in reverse order."""
        return motion[::-1].copy()
