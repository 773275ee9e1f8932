"""Hide whole joints for the whole window."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.motion.mechanisms.base import Mechanism, joint_mask
from bench.motion.windows import MotionSpec


class Joints(Mechanism):
    """Joints that are never seen, exactly as many as the level says, for the whole window.

    DePOSit calls a fixed number of them ``random_joints``.
    """

    name = "joints"
    counted = "joints"
    examples: ClassVar[tuple[str, ...]] = ("1", "4", "9")

    def amount(self, spec: MotionSpec) -> int:
        """Return how many joints are hidden."""
        return self.level.of(len(spec.skeleton), "joints")

    def hide(
        self, spec: MotionSpec, generator: np.random.Generator, motion: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Hide joints, all equally likely."""
        chosen = generator.choice(len(spec.skeleton), size=self.amount(spec), replace=False)
        hidden = np.zeros((spec.frames, len(spec.skeleton)), dtype=np.bool_)
        hidden[:, chosen] = True
        return joint_mask(spec, hidden)
