"""How whole windows come to be unlike the train windows: one class per corruption.

As with occlusion, a window is corrupted in the same way whatever else is in the batch, whoever
asks and in whichever process: the draw for it depends only on the corruption's name, its level,
the seed and the window's name.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bench.motion.occlusion import Level
from bench.motion.seeds import derive_seed
from bench.motion.windows import MotionSpec, Windows
from bench.settings import Settings


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


class Noise(Corruption):
    """Independent Gaussian noise on every feature; the level is its standard deviation, mm."""

    name = "noise"
    unit = "mm"

    level: float = Field(gt=0)

    def corrupt(
        self, motion: NDArray[np.float32], spec: MotionSpec, generator: np.random.Generator
    ) -> NDArray[np.float32]:
        """Add noise to every feature of the window."""
        return (motion + generator.normal(0, self.level, motion.shape)).astype(np.float32)


class JointSwap(Corruption):
    """Marker swap: left and right of one joint change places in a run of ``level`` frames."""

    name = "joint_swap"

    level: Level

    def corrupt(
        self, motion: NDArray[np.float32], spec: MotionSpec, generator: np.random.Generator
    ) -> NDArray[np.float32]:
        """Swap one pair of joints in one run of frames; all pairs and starts equally likely."""
        length = self._frames(spec)
        pairs = spec.skeleton.pairs
        pair = spec.skeleton.index(pairs[generator.integers(len(pairs))])
        start = generator.integers(spec.frames - length + 1)
        swapped = motion.copy()
        swapped[start : start + length, pair] = motion[start : start + length, pair[::-1]]
        return swapped

    def check(self, spec: MotionSpec) -> None:
        """Raise ValueError if no joint has a mirror, or for no frames or more than there are."""
        if not spec.skeleton.pairs:
            raise ValueError(f"{self.name} needs joints that mirror each other; there are none")
        self._frames(spec)

    def _frames(self, spec: MotionSpec) -> int:
        """Return how many frames are swapped: however small the share, at least one."""
        if not (self.level.count or self.level.share):
            raise ValueError(f"level {self.level} swaps nothing")
        if (self.level.count or 0) > spec.frames:
            raise ValueError(f"level {self.level} is over 100%: a window has {spec.frames} frames")
        return max(1, self.level.features(spec.frames))


class TimeReversal(Corruption):
    """The window played backwards; it has no level."""

    name = "time_reversal"
    levelled = False

    level: None = None

    def corrupt(
        self, motion: NDArray[np.float32], spec: MotionSpec, generator: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return the frames in reverse order."""
        return motion[::-1].copy()
