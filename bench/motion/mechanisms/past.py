"""Hide the first frames of a window."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.motion.mechanisms.base import Kind, Mechanism, gap_frames
from bench.motion.windows import MotionSpec


class Past(Mechanism):
    """The first frames; the level is how long they last."""

    name = "past"
    kinds: ClassVar[tuple[Kind, ...]] = ("duration",)
    examples: ClassVar[tuple[str, ...]] = ("200 ms", "600 ms", "1000 ms")

    def amount(self, spec: MotionSpec) -> int:
        """Return how many frames are hidden."""
        return gap_frames(self.level, spec, spec.frames - 1)

    def hide(
        self, spec: MotionSpec, generator: np.random.Generator, motion: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Hide the first frames."""
        hidden = np.zeros(motion.shape, dtype=np.bool_)
        hidden[: self.amount(spec)] = True
        return hidden
