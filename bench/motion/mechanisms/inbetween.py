"""Hide all frames but regular keyframes."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.motion.mechanisms.base import Kind, Mechanism, gap_frames
from bench.motion.windows import MotionSpec


class Inbetween(Mechanism):
    """All frames but keyframes; the level is the time from one keyframe to the next.

    The first and the last frame are keyframes too. CondMDI calls it ``benchmark_sparse``.
    """

    name = "inbetween"
    kinds: ClassVar[tuple[Kind, ...]] = ("duration",)
    examples: ClassVar[tuple[str, ...]] = ("200 ms", "400 ms", "800 ms")

    def amount(self, spec: MotionSpec) -> int:
        """Return how many frames are hidden between two keyframes."""
        spacing = gap_frames(self.level, spec, spec.frames - 1)
        if spacing < 1:
            raise ValueError(f"level {self.level} is shorter than a frame at {spec.fps:g} fps")
        return spacing - 1

    def hide(
        self, spec: MotionSpec, generator: np.random.Generator, motion: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Hide every frame that is no keyframe."""
        hidden = np.ones(motion.shape, dtype=np.bool_)
        hidden[:: self.amount(spec) + 1] = False
        hidden[-1] = False
        return hidden
