"""Hide everything but a few tracked joints."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bench.motion.mechanisms.base import Kind, Mechanism, joint_mask
from bench.motion.windows import MotionSpec


class Sparse(Mechanism):
    """Only some joints are seen, such as the head and the wrists of a headset's user; no level."""

    name = "sparse"
    kinds: ClassVar[tuple[Kind, ...]] = ("none",)
    examples: ClassVar[tuple[str, ...]] = ("",)

    seen: tuple[str, ...] = Field(
        ("head", "left_wrist", "right_wrist"), min_length=1, description="joints that are seen"
    )

    def amount(self, spec: MotionSpec) -> int:
        """Return how many joints are hidden."""
        hidden = len(spec.skeleton) - len(self._seen(spec))
        if not hidden:
            raise ValueError("seen: all joints are seen, so nothing is hidden")
        return hidden

    def hide(
        self, spec: MotionSpec, generator: np.random.Generator, motion: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Hide every joint that is not tracked."""
        hidden = np.ones((spec.frames, len(spec.skeleton)), dtype=np.bool_)
        hidden[:, self._seen(spec)] = False
        return joint_mask(spec, hidden)

    def _seen(self, spec: MotionSpec) -> list[int]:
        names = spec.skeleton.names
        if unknown := sorted(set(self.seen) - set(names)):
            raise ValueError(f"seen: no joint {', '.join(unknown)} (known: {', '.join(names)})")
        return sorted(set(spec.skeleton.index(self.seen)))
