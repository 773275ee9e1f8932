"""Hide single coordinates of single joints in single frames."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bench.motion.mechanisms.base import Mechanism
from bench.motion.seeds import derive_seed
from bench.motion.windows import MotionSpec, Windows


class Features(Mechanism):
    """Single coordinates, exactly ``level`` of them, drawn without replacement (sec. 6.3)."""

    name = "features"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"published_code": {"shared": True}}

    shared: bool = Field(False, description="hide the same entries in every window")

    def occluded(self, windows: Windows) -> NDArray[np.bool_]:
        """Return bool of the shape of ``windows.motion``, True where a value is hidden."""
        if not self.shared:
            return super().occluded(windows)
        seed = derive_seed("occlusion", self.name, self.level, self.seed)
        hidden = self.hide(windows.spec, np.random.default_rng(seed))
        return np.tile(hidden, (len(windows), 1, 1, 1))

    def hide(self, spec: MotionSpec, generator: np.random.Generator) -> NDArray[np.bool_]:
        """Hide ``level`` of the window's features, all equally likely."""
        hidden = np.zeros(spec.features, dtype=np.bool_)
        count = self.level.features(spec.features)
        hidden[generator.choice(spec.features, size=count, replace=False)] = True
        return hidden.reshape(spec.frames, len(spec.skeleton), 3)
