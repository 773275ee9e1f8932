"""The joints that data sets of different origin share, with their SMPL names.

The paper keeps SMPL's joints 4 to 21 (its sec. 6.1). Joints 0 to 3 do not move once the root's
translation and rotation are removed, and the hands, from 22 on, are left out.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from bench.motion.skeleton import Skeleton

JOINTS: dict[str, str] = {
    "pelvis": "",
    "left_hip": "pelvis",
    "right_hip": "pelvis",
    "spine1": "pelvis",
    "left_knee": "left_hip",
    "right_knee": "right_hip",
    "spine2": "spine1",
    "left_ankle": "left_knee",
    "right_ankle": "right_knee",
    "spine3": "spine2",
    "left_foot": "left_ankle",
    "right_foot": "right_ankle",
    "neck": "spine3",
    "left_collar": "spine3",
    "right_collar": "spine3",
    "head": "neck",
    "left_shoulder": "left_collar",
    "right_shoulder": "right_collar",
    "left_elbow": "left_shoulder",
    "right_elbow": "right_shoulder",
    "left_wrist": "left_elbow",
    "right_wrist": "right_elbow",
}
"""SMPL's body joints 0 to 21, in order, and the parent of each; empty for the root."""

KEPT = tuple(JOINTS)[4:]
"""The paper's 18 joints, in order; a data set with several sources keeps these."""

_LIMBS = {
    "left_leg": ("left_hip", "left_knee", "left_ankle", "left_foot"),
    "right_leg": ("right_hip", "right_knee", "right_ankle", "right_foot"),
    "trunk": ("pelvis", "spine1", "spine2", "spine3"),
    "head": ("neck", "head"),
    "left_arm": ("left_collar", "left_shoulder", "left_elbow", "left_wrist"),
    "right_arm": ("right_collar", "right_shoulder", "right_elbow", "right_wrist"),
}


def body(rest: Mapping[str, Sequence[float]]) -> Skeleton:
    """Return the skeleton of some of ``JOINTS``, in their order.

    A joint's parent is its nearest ancestor among them.

    Args:
        rest: position of each joint in the rest pose by name, mm, relative to the root.

    Raises:
        ValueError: a name is not one of ``JOINTS``.
    """
    if unknown := set(rest) - set(JOINTS):
        raise ValueError(f"not joints of the body: {sorted(unknown)}")
    names = tuple(name for name in JOINTS if name in rest)

    def parent(name: str) -> int:
        name = JOINTS[name]
        while name and name not in names:
            name = JOINTS[name]
        return names.index(name) if name else -1

    limbs = {limb: tuple(n for n in joints if n in names) for limb, joints in _LIMBS.items()}
    left = (name for name in names if name.startswith("left_"))
    pairs = ((name, name.replace("left_", "right_")) for name in left)
    return Skeleton(
        names=names,
        parents=tuple(map(parent, names)),
        rest=np.array([rest[name] for name in names], dtype=np.float64),
        limbs={limb: joints for limb, joints in limbs.items() if joints},
        pairs=tuple(pair for pair in pairs if pair[1] in names),
    )
