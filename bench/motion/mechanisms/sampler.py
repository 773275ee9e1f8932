"""Random masks of many kinds, for models that learn to impute or choose a setting by masks."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.motion.mechanisms.base import Level, Mechanism
from bench.motion.mechanisms.features import Features
from bench.motion.mechanisms.frames import Frames
from bench.motion.mechanisms.future import Future
from bench.motion.mechanisms.gaps import Gaps
from bench.motion.mechanisms.inbetween import Inbetween
from bench.motion.mechanisms.joints import Joints
from bench.motion.mechanisms.limb_gaps import LimbGaps
from bench.motion.mechanisms.limbs import Limbs
from bench.motion.windows import MotionSpec

USUAL: Mapping[str, tuple[tuple[type[Mechanism], tuple[str, ...]], ...]] = {
    "features": ((Features, ("1%", "10%", "50%", "90%")),),
    "joints": ((Joints, ("1", "4", "9")), (Limbs, ("1", "2"))),
    "gaps": (
        (Gaps, ("200 ms", "500 ms", "1000 ms")),
        (LimbGaps, ("200 ms", "500 ms", "1000 ms")),
    ),
    "frames": (
        (Frames, ("200 ms", "400 ms", "800 ms")),
        (Future, ("200 ms", "600 ms", "1000 ms")),
        (Inbetween, ("200 ms", "400 ms")),
    ),
}
"""Mechanisms and levels by family: what a model must expect unless a protocol says otherwise."""


@dataclass(frozen=True)
class MaskSampler:
    """A mixture of mechanisms, each at one level.

    Attributes:
        families: the mechanisms of each family, such as the levels of an entry of a protocol's
            ``training_masks``; families, and the mechanisms of one, are all equally likely.
    """

    families: Mapping[str, tuple[Mechanism, ...]]

    def draw(
        self,
        spec: MotionSpec,
        generator: np.random.Generator,
        motion: NDArray[np.float32],
        family: str | None = None,
    ) -> NDArray[np.bool_]:
        """Return masks for windows, each by a mechanism of its own.

        Args:
            spec: the shape of the windows.
            generator: the source of all randomness.
            motion: ``(window, frame, joint, 3)`` mm.
            family: the family to draw from; None for any.

        Returns:
            bool, the shape of ``motion``, True where a value is hidden.
        """
        hidden = np.empty(motion.shape, dtype=np.bool_)
        names = list(self.families)
        for row, window in enumerate(motion):
            chosen = family or names[generator.integers(len(names))]
            mechanisms = self.families[chosen]
            mechanism = mechanisms[generator.integers(len(mechanisms))]
            hidden[row] = mechanism.hide(spec, generator, window)
        return hidden


def usual_masks(spec: MotionSpec) -> MaskSampler:
    """Return the mixture ``USUAL``, without what cannot be had on windows of this shape."""
    families = {
        family: tuple(
            mechanism
            for cls, levels in choices
            for level in levels
            if _possible(mechanism := cls(level=Level.parse(level)), spec)
        )
        for family, choices in USUAL.items()
    }
    return MaskSampler({family: found for family, found in families.items() if found})


def _possible(mechanism: Mechanism, spec: MotionSpec) -> bool:
    try:
        mechanism.check(spec)
        return mechanism.amount(spec) > 0
    except ValueError:
        return False


def family_of(hidden: NDArray[np.bool_]) -> str:
    """Return the family of ``USUAL`` that a window's mask, ``(frame, joint, 3)``, belongs to.

    Where a joint is hidden in part, it is ``features``; else ``frames`` where a whole frame is
    hidden, ``joints`` where a joint is never seen, and ``gaps`` otherwise.
    """
    if (hidden.all(axis=2) != hidden.any(axis=2)).any():
        return "features"
    if hidden.all(axis=(1, 2)).any():
        return "frames"
    return "joints" if hidden.all(axis=(0, 2)).any() else "gaps"
