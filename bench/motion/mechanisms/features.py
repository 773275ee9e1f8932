"""Hide single coordinates of single joints in single frames."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bench.motion.mechanisms.base import Mechanism
from bench.motion.seeds import derive_seed
from bench.motion.windows import MotionSpec, Windows


class Features(Mechanism):
    """Single coordinates, exactly as many as the level says, without replacement (sec. 6.3).

    PyGrinder calls it ``point``.
    """

    name = "features"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"published_code": {"shared": True}}

    shared: bool = Field(False, description="the same entries of every window")

    def amount(self, spec: MotionSpec) -> int:
        """Return how many features are hidden."""
        return self.level.of(spec.features)

    def occluded(self, windows: Windows) -> NDArray[np.bool_]:
        """Return bool of the shape of ``windows.motion``, True where a value is hidden."""
        if not self.shared:
            return super().occluded(windows)
        seed = derive_seed("occlusion", self.name, self.level, self.seed)
        one = self.hide(windows.spec, np.random.default_rng(seed), windows.motion[0])
        return np.tile(one, (len(windows), 1, 1, 1))

    def hide(
        self, spec: MotionSpec, generator: np.random.Generator, motion: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Hide ``level`` of the window's features, all equally likely."""
        hidden = np.zeros(spec.features, dtype=np.bool_)
        hidden[generator.choice(spec.features, size=self.amount(spec), replace=False)] = True
        return hidden.reshape(spec.frames, len(spec.skeleton), 3)
