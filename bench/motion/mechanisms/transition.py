"""Hide the frames between a past and one target frame, as LaFAN1's benchmark does."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.motion.mechanisms.base import Kind, Mechanism, gap_frames
from bench.motion.windows import MotionSpec


class Transition(Mechanism):
    """The frames between the past and a last, seen frame; the level is how long they last.

    LaFAN1's benchmark (Harvey et al., 2020) hides 5, 15, 30 and 45 frames at 30 fps, that is 167,
    500, 1000 and 1500 ms, after 10 frames of past. Here all frames before them are seen.
    """

    name = "transition"
    kinds: ClassVar[tuple[Kind, ...]] = ("duration",)
    examples: ClassVar[tuple[str, ...]] = ("167 ms", "500 ms", "1000 ms")

    def amount(self, spec: MotionSpec) -> int:
        """Return how many frames are hidden."""
        return gap_frames(self.level, spec, spec.frames - 2)

    def hide(
        self, spec: MotionSpec, generator: np.random.Generator, motion: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Hide the frames before the last one."""
        hidden = np.zeros(motion.shape, dtype=np.bool_)
        hidden[spec.frames - 1 - self.amount(spec) : spec.frames - 1] = True
        return hidden
