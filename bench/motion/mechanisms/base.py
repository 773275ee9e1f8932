"""The base class of mechanisms, which hide values of windows.

A mechanism hides the same values of a window for every model, batch and process: its random draws
depend only on the mechanism's name, its level, the seed and the window's name.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.core.settings import Settings
from bench.motion.mechanisms.levels import Kind, Level
from bench.motion.seeds import derive_seed
from bench.motion.windows import MotionSpec, Windows

__all__ = ["Kind", "Level", "Mechanism"]

WRITTEN: dict[Kind, str] = {
    "count": "a count of {counted}, such as 2",
    "share": "a share, such as 10%",
    "duration": "a duration, such as 500 ms or 12 frames",
    "none": "no level at all",
}


class Mechanism(Settings, ABC):
    """A way of hiding values, at one level, under one seed.

    A subclass sets ``name``, says which ``kinds`` of level it takes and implements ``amount`` and
    ``hide``; its other fields are the settings that a protocol may give.

    Attributes:
        name: its name in protocols.
        presets: named groups of settings that a protocol can refer to.
        kinds: the kinds of level that it takes.
        counted: what a count or share is a count or share of.
        examples: typical levels, for lists and pictures.
    """

    name: ClassVar[str]
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    kinds: ClassVar[tuple[Kind, ...]] = ("count", "share")
    counted: ClassVar[str] = "features"
    examples: ClassVar[tuple[str, ...]] = ("1%", "10%", "50%", "90%")

    level: Level = Level()
    seed: int = 0

    @abstractmethod
    def amount(self, spec: MotionSpec) -> int:
        """Return the level as a whole number in the mechanism's unit; 0 if it hides nothing.

        Raises:
            ValueError: the level, or a setting, cannot be applied to windows of this shape.
        """

    @abstractmethod
    def hide(
        self, spec: MotionSpec, generator: np.random.Generator, motion: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Return bool ``(frame, joint, 3)`` for one window, True where a value is hidden.

        Args:
            spec: the shape of the window.
            generator: the source of all randomness.
            motion: ``(frame, joint, 3)`` the window itself, mm, for mechanisms whose masks depend
                on it.
        """

    def disturb(
        self, spec: MotionSpec, generator: np.random.Generator, motion: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return one window as it is observed, mm; here, without noise."""
        return motion

    def check(self, spec: MotionSpec) -> None:
        """Raise ValueError if this level cannot be applied to windows of this shape."""
        if self.level.kind not in self.kinds:
            forms = " or ".join(WRITTEN[kind].format(counted=self.counted) for kind in self.kinds)
            level = str(self.level) or "none"
            raise ValueError(f"level {level} is not what {self.name} takes: {forms}")
        self.amount(spec)

    def check_windows(self, windows: Windows) -> None:
        """Raise ValueError if this level or seed needs something that the windows do not have."""

    def occluded(self, windows: Windows) -> NDArray[np.bool_]:
        """Return bool of the shape of ``windows.motion``, True where a value is hidden."""
        spec = windows.spec
        hidden = np.empty(windows.motion.shape, dtype=np.bool_)
        for row, window in enumerate(windows.names):
            generator = self._generator("occlusion", window)
            hidden[row] = self.hide(spec, generator, windows.motion[row])
        return hidden

    def observed(self, windows: Windows) -> NDArray[np.float32]:
        """Return ``windows.motion`` as it is observed, with whatever noise the mechanism adds."""
        if type(self).disturb is Mechanism.disturb:
            return np.asarray(windows.motion)
        spec = windows.spec
        return np.stack(
            [
                self.disturb(spec, self._generator("noise", window), motion)
                for window, motion in zip(windows.names, np.asarray(windows.motion), strict=True)
            ]
        )

    @property
    def disturbs(self) -> bool:
        """Whether observed values carry noise, so that errors are over all values."""
        return type(self).disturb is not Mechanism.disturb

    def _generator(self, purpose: str, window: str) -> np.random.Generator:
        seed = derive_seed(purpose, self.name, self.level, self.seed, window)
        return np.random.default_rng(seed)


def joint_mask(spec: MotionSpec, hidden: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the mask of whole joints: ``(frame, joint)`` becomes ``(frame, joint, 3)``."""
    return np.repeat(hidden[:, :, None], 3, axis=2)


def gap_frames(level: Level, spec: MotionSpec, longest: int) -> int:
    """Return a gap's length in frames.

    Raises:
        ValueError: it is longer than ``longest`` frames.
    """
    frames = level.duration(spec.fps)
    if frames > longest:
        limit = f"{1000 * longest / spec.fps:.10g} ms"
        raise ValueError(f"level {level} is too long: at most {longest} frames ({limit}) here")
    return frames
