"""Hide whole frames inside a window."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.motion.mechanisms.base import Kind, Mechanism, gap_frames
from bench.motion.windows import MotionSpec


class Frames(Mechanism):
    """Whole frames inside, both ends seen; the level is how long the gap lasts.

    DePOSit calls a fixed length ``structured_frame``, CondMDI ``benchmark_clip``.
    """

    name = "frames"
    kinds: ClassVar[tuple[Kind, ...]] = ("duration",)
    examples: ClassVar[tuple[str, ...]] = ("200 ms", "400 ms", "800 ms")

    def amount(self, spec: MotionSpec) -> int:
        """Return how many frames are hidden."""
        return gap_frames(self.level, spec, spec.frames - 2)

    def hide(
        self, spec: MotionSpec, generator: np.random.Generator, motion: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Hide consecutive frames, any start that leaves both ends seen equally likely."""
        length = self.amount(spec)
        hidden = np.zeros(motion.shape, dtype=np.bool_)
        start = generator.integers(1, spec.frames - length)
        hidden[start : start + length] = True
        return hidden
