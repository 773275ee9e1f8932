"""Hide joints the likelier the faster they move: missing not at random."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from bench.motion.mechanisms.base import Kind, Mechanism, joint_mask
from bench.motion.mechanisms.chains import joint_frames
from bench.motion.mechanisms.levels import frames_of
from bench.motion.windows import MotionSpec


class Fast(Mechanism):
    """The faster a joint, the likelier it vanishes; the level is the share hidden.

    Each joint's time is cut into gaps of equal length. Gaps are drawn without replacement, with
    probabilities proportional to the joint's mean speed in them to some power, until the share is
    reached; the last one is cut short.
    """

    name = "fast"
    kinds: ClassVar[tuple[Kind, ...]] = ("share",)
    counted = "joint positions"
    examples: ClassVar[tuple[str, ...]] = ("10%", "30%")

    gap: str = Field("200 ms", description="duration of a gap")
    power: float = Field(1.0, ge=0, le=10, description="of speed; 0: all joints equally likely")

    @field_validator("gap")
    @classmethod
    def _duration(cls, value: str) -> str:
        frames_of(value, 25.0)
        return value

    def amount(self, spec: MotionSpec) -> int:
        """Return how many joint positions are hidden."""
        if frames_of(self.gap, spec.fps) < 1:
            raise ValueError(f"gap: {self.gap} is shorter than a frame")
        return joint_frames(self.level, spec)

    def hide(
        self, spec: MotionSpec, generator: np.random.Generator, motion: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Draw gaps by the speed of their joints."""
        count, length = self.amount(spec), min(frames_of(self.gap, spec.fps), spec.frames)
        speed = np.linalg.norm(np.gradient(motion.astype(np.float64), axis=0), axis=-1)
        starts = np.arange(0, spec.frames, length)
        mean = np.add.reduceat(speed, starts, axis=0) / np.diff([*starts, spec.frames])[:, None]
        # Exponential races draw without replacement; the floor lets even a joint at rest vanish.
        weights = np.maximum(mean, 1e-3) ** self.power
        order = np.argsort(generator.exponential(size=weights.shape) / weights, axis=None)
        hidden = np.zeros(speed.shape, dtype=np.bool_)
        left = count
        for place in order:
            block, joint = np.unravel_index(place, weights.shape)
            frames = slice(starts[block], min(starts[block] + length, starts[block] + left))
            hidden[frames, joint] = True
            left = count - int(hidden.sum())
            if left <= 0:
                break
        return joint_mask(spec, hidden)
