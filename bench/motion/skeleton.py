"""The skeleton: joints, their tree and a rest pose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Joints, their tree, their left and right pairs, limbs, and a rest pose.

    Attributes:
        names: unique name of each joint.
        parents: index of each joint's parent, smaller than its own; -1 where the parent is the
            root of the body or not part of this skeleton.
        rest: ``(joint, 3)`` position of each joint in the rest pose, mm, relative to the root.
        limbs: name of a limb -> the joints of that limb; every joint is in exactly one.
        pairs: (left, right) names of joints that mirror each other.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    rest: NDArray[np.float64]
    limbs: Mapping[str, tuple[str, ...]]
    pairs: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        joints = len(self.names)
        if len(set(self.names)) != joints:
            raise ValueError("joint names are not unique")
        if len(self.parents) != joints or self.rest.shape != (joints, 3):
            raise ValueError(f"{joints} names, but other counts of parents or rest positions")
        if any(not -1 <= parent < joint for joint, parent in enumerate(self.parents)):
            raise ValueError("a joint must come after its parent")
        if sorted(name for limb in self.limbs.values() for name in limb) != sorted(self.names):
            raise ValueError("every joint must be in exactly one limb")
        if unknown := {name for pair in self.pairs for name in pair} - set(self.names):
            raise ValueError(f"pairs name unknown joints: {sorted(unknown)}")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, names: Sequence[str]) -> list[int]:
        """Return the joint numbers of ``names``; raises ValueError for an unknown name."""
        return [self.names.index(name) for name in names]

    @property
    def offsets(self) -> NDArray[np.float64]:
        """``(joint, 3)`` vector from each joint's parent (or the root) in the rest pose, mm."""
        parents = np.array(self.parents)
        origin = np.where(parents[:, None] < 0, 0.0, self.rest[parents])
        return self.rest - origin

    @property
    def bones(self) -> list[tuple[int, int]]:
        """(parent, child) joint numbers of every bone between two joints of this skeleton."""
        return [(parent, child) for child, parent in enumerate(self.parents) if parent >= 0]

    def select(self, names: Sequence[str]) -> "Skeleton":
        """Return the skeleton of ``names`` only; a joint's parent is its nearest kept ancestor.

        Raises:
            ValueError: a name is unknown, or comes before its parent.
        """
        kept = self.index(names)

        def ancestor(joint: int) -> int:
            parent = self.parents[joint]
            while parent >= 0 and parent not in kept:
                parent = self.parents[parent]
            return kept.index(parent) if parent >= 0 else -1

        limbs = {
            limb: tuple(name for name in names if name in joints)
            for limb, joints in self.limbs.items()
        }
        return Skeleton(
            names=tuple(names),
            parents=tuple(ancestor(joint) for joint in kept),
            rest=self.rest[kept],
            limbs={limb: joints for limb, joints in limbs.items() if joints},
            pairs=tuple(pair for pair in self.pairs if set(pair) <= set(names)),
        )
