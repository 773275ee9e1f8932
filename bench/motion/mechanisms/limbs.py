"""Hide arms and legs for the whole window."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bench.motion.mechanisms.base import Kind, Mechanism, joint_mask
from bench.motion.skeleton import Skeleton
from bench.motion.windows import MotionSpec

ARMS_AND_LEGS = ("left_arm", "right_arm", "left_leg", "right_leg")
GROUPS = {
    "upper_body": ("left_arm", "right_arm", "trunk", "head"),
    "lower_body": ("left_leg", "right_leg"),
    "arms": ("left_arm", "right_arm"),
    "legs": ("left_leg", "right_leg"),
}
"""Names for several limbs together; RoHM calls two of them ``upper`` and ``lower``."""


class Limbs(Mechanism):
    """Whole arms or legs that are never seen; the level is how many, for the whole window."""

    name = "limbs"
    kinds: ClassVar[tuple[Kind, ...]] = ("count",)
    counted = "limbs"
    examples: ClassVar[tuple[str, ...]] = ("1", "2")

    which: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="limbs to choose from: left_arm, right_arm, left_leg, right_leg, trunk, head, "
        "upper_body, lower_body, arms, legs; null for any arm or leg",
    )

    def amount(self, spec: MotionSpec) -> int:
        """Return how many limbs are hidden."""
        limbs = choices(spec.skeleton, self.which)
        if len({joint for limb in limbs for joint in limb}) < sum(map(len, limbs)):
            raise ValueError(f"which: {', '.join(self.which or ())} have joints in common")
        return self.level.of(len(limbs), "limbs to choose from")

    def hide(
        self, spec: MotionSpec, generator: np.random.Generator, motion: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Hide limbs, all equally likely."""
        limbs = choices(spec.skeleton, self.which)
        hidden = np.zeros((spec.frames, len(spec.skeleton)), dtype=np.bool_)
        for limb in generator.choice(len(limbs), size=self.amount(spec), replace=False):
            hidden[:, limbs[limb]] = True
        return joint_mask(spec, hidden)


def choices(skeleton: Skeleton, which: tuple[str, ...] | None) -> list[list[int]]:
    """Return the joint numbers of each limb to choose from.

    Args:
        skeleton: the joints.
        which: names of limbs or of ``GROUPS``; None for the arms and legs that there are.

    Raises:
        ValueError: the skeleton has no limb of a name, or neither arms nor legs.
    """
    known = skeleton.limbs
    if which is None:
        which = tuple(limb for limb in ARMS_AND_LEGS if limb in known)
        if not which:
            raise ValueError(f"no arms or legs in this skeleton; its limbs: {', '.join(known)}")
    found = []
    for name in which:
        limbs = [limb for limb in GROUPS.get(name, (name,)) if limb in known]
        if not limbs:
            names = ", ".join([*known, *GROUPS])
            raise ValueError(f"no limb '{name}' in this skeleton (known: {names})")
        found.append(skeleton.index([joint for limb in limbs for joint in known[limb]]))
    return found
