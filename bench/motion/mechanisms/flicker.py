"""Joints that come and go, each as a two-state Markov chain."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from bench.motion.mechanisms.base import Kind, Mechanism, joint_mask
from bench.motion.mechanisms.chains import joint_frames, resize
from bench.motion.mechanisms.levels import frames_of
from bench.motion.windows import MotionSpec


class Flicker(Mechanism):
    """Each joint goes and comes as a two-state Markov chain; the level is the share hidden.

    Gap lengths are geometric with a given mean. The ends of gaps are then moved by as many frames
    as make the share exact (``chains.resize``).
    """

    name = "flicker"
    kinds: ClassVar[tuple[Kind, ...]] = ("share",)
    counted = "joint positions"
    examples: ClassVar[tuple[str, ...]] = ("10%", "30%", "60%")

    mean_gap: str = Field("200 ms", description="mean duration of a gap")

    @field_validator("mean_gap")
    @classmethod
    def _duration(cls, value: str) -> str:
        frames_of(value, 25.0)
        return value

    def amount(self, spec: MotionSpec) -> int:
        """Return how many joint positions are hidden."""
        gap = frames_of(self.mean_gap, spec.fps)
        if gap < 1:
            raise ValueError(f"mean_gap: {self.mean_gap} is shorter than a frame")
        # Between two gaps a joint is seen for a frame at least.
        most = gap / (gap + 1)
        if self.level.share is not None and self.level.share > most:
            raise ValueError(
                f"level {self.level}: gaps of {self.mean_gap} on average hide at most "
                f"{100 * most:.3g}%; give a longer mean_gap"
            )
        return joint_frames(self.level, spec)

    def hide(
        self, spec: MotionSpec, generator: np.random.Generator, motion: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Draw a chain for each joint, beginning in its stationary distribution."""
        share = self.level.share or 0.0
        leave = 1 / frames_of(self.mean_gap, spec.fps)
        enter = leave * share / (1 - share)
        draws = generator.random((spec.frames, len(spec.skeleton)))
        hidden = np.empty(draws.shape, dtype=np.bool_)
        hidden[0] = draws[0] < share
        for frame in range(1, spec.frames):
            before = hidden[frame - 1]
            hidden[frame] = np.where(before, draws[frame] >= leave, draws[frame] < enter)
        return joint_mask(spec, resize(hidden, self.amount(spec), generator))
