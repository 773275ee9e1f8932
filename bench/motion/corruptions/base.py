"""The base class of corruptions, which make whole windows unlike the train windows.

As with occlusion, a window is corrupted in the same way for every model, batch and process: its
random draws depend only on the corruption's name, its level, the seed and the window's name.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.core.settings import Settings
from bench.motion.seeds import derive_seed
from bench.motion.windows import MotionSpec, Windows


class Corruption(Settings, ABC):
    """A way of corrupting windows, at one level, under one seed.

    A subclass sets ``name``, gives ``level`` a type and implements ``corrupt`` for one window; its
    other fields are the settings a protocol may give.

    Attributes:
        name: its name in protocols.
        unit: unit of the level, for labels; empty if it has none.
        levelled: whether a protocol must give levels; if not, ``level`` is None.
    """

    name: ClassVar[str]
    unit: ClassVar[str] = ""
    levelled: ClassVar[bool] = True

    level: Any
    seed: int = 0

    @abstractmethod
    def corrupt(
        self, motion: NDArray[np.float32], spec: MotionSpec, generator: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return one window ``(frame, joint, 3)``, mm, corrupted; ``motion`` is not modified."""

    def check(self, spec: MotionSpec) -> None:
        """Raise ValueError if this corruption cannot be applied to windows of this shape."""

    def apply(self, windows: Windows) -> NDArray[np.float32]:
        """Return every window corrupted, float32 in the shape of ``windows.motion``, mm.

        Raises:
            ValueError: this corruption cannot be applied to windows of this shape.
        """
        spec = windows.spec
        self.check(spec)
        corrupted = np.empty(windows.motion.shape, dtype=np.float32)
        for row, window in enumerate(windows.names):
            seed = derive_seed("corruption", self.name, self.level, self.seed, window)
            generator = np.random.default_rng(seed)
            corrupted[row] = self.corrupt(windows.motion[row], spec, generator)
        return corrupted
