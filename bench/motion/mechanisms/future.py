"""Hide the last frames of a window."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.motion.mechanisms.base import Kind, Mechanism, gap_frames
from bench.motion.windows import MotionSpec


class Future(Mechanism):
    """The last frames, as a forecast has to fill them; the level is how long they last."""

    name = "future"
    kinds: ClassVar[tuple[Kind, ...]] = ("duration",)
    examples: ClassVar[tuple[str, ...]] = ("200 ms", "600 ms", "1000 ms")

    def amount(self, spec: MotionSpec) -> int:
        """Return how many frames are hidden."""
        return gap_frames(self.level, spec, spec.frames - 1)

    def hide(
        self, spec: MotionSpec, generator: np.random.Generator, motion: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Hide the last frames."""
        hidden = np.zeros(motion.shape, dtype=np.bool_)
        hidden[spec.frames - self.amount(spec) :] = True
        return hidden
