"""How whole windows come to be unlike the train windows: one class per corruption.

As with occlusion, a window is corrupted in the same way whatever else is in the batch, whoever
asks and in whichever process: the draw for it depends only on the corruption's name, its level,
the seed and the window's name.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.core.settings import Settings
from bench.motion.seeds import derive_seed
from bench.motion.windows import MotionSpec, Windows


class Corruption(Settings, ABC):
    """A way of making windows odd, at one level, under one seed.

    A subclass sets ``name``, gives ``level`` a type and implements ``corrupt`` for one window; its
    other fields are the settings a protocol may give.

    Attributes:
        name: what protocols call it.
        unit: of the level, for labels; empty if it has none.
        levelled: whether a protocol must give levels; where not, ``level`` is None.
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
        """Return one window ``(frame, joint, 3)``, mm, corrupted; ``motion`` stays as it is."""

    def check(self, spec: MotionSpec) -> None:
        """Raise ValueError if this cannot be had on windows of this shape."""

    def apply(self, windows: Windows) -> NDArray[np.float32]:
        """Return every window corrupted, of the shape of ``windows.motion``, mm.

        Raises:
            ValueError: this cannot be had on windows of this shape.
        """
        spec = windows.spec
        self.check(spec)
        corrupted = np.empty(windows.motion.shape, dtype=np.float32)
        for row, window in enumerate(windows.names):
            seed = derive_seed("corruption", self.name, self.level, self.seed, window)
            generator = np.random.default_rng(seed)
            corrupted[row] = self.corrupt(windows.motion[row], spec, generator)
        return corrupted
