"""The body's joints in BVH files, by the joint names of common programs.

Sources of the tables:

- ``cmu_motionbuilder``, ``cmu_daz``: B. Hahne's conversions of the CMU database (cgspeed), the
  files themselves. The first has the units of Acclaim files, inches divided by 0.45. It lacks two
  of their bones: the thorax, which places head and arms 115 mm too low and the start of the
  clavicles at ``Spine1``, and the last third of the forearm, which places the wrist at its start.
- ``acclaim``: bones of CMU's and HDM05's ASF files under their own names, as AMC-to-BVH converters
  write them, in centimetres.
- ``bandai_namco``: Bandai-Namco-Research-Motiondataset, its files.
- ``lafan1``: Ubisoft La Forge Animation Dataset; bones lie along x, so the hips' x points up and
  their y forward.
- ``mixamo``: Adobe Mixamo, and other HumanIK rigs with three spine joints; the namespace before a
  name (``mixamorig:``) is ignored. HDM05 in HumanIK names with ``LowerBack`` and ``Neck1`` is
  ``cmu_motionbuilder``.

Where clavicles begin in the middle of the chest, ``left_collar`` and ``right_collar`` would
coincide with ``spine3``. In these rigs they are points fixed to the chest, a third of the way from
``spine3`` to the shoulder of the rest pose.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from bench.core.errors import did_you_mean
from bench.core.settings import Settings
from bench.datasets.bvh_file import bare
from bench.motion.body import KEPT

Axis = Literal["x", "y", "z", "-x", "-y", "-z"]
COLLARS = ("left_collar", "right_collar")
HOW_TO_MAP = (
    "name them in a YAML file (root: Hips, joints: {left_knee: LeftShin, ...}) and set "
    "dataset.mapping to it"
)


class Rig(Settings):
    """The joints of one kind of BVH file: a known rig, or a user's own mapping."""

    root: str = Field(description="the joint that moves and turns the body: the hips")
    joints: dict[str, str] = Field(description="file's names of the 18; collars are optional")
    chest: str | None = Field(None, description="carries missing collars; None: spine3")
    scale: float = Field(10.0, gt=0, description="millimetres per unit of the file")
    up: Axis = Field("y", description="the root's axis that points up in an upright body")
    forward: Axis = Field("z", description="the root's axis in which the body faces")
    vertical: Axis | None = Field(None, description="the world's axis that points up; None: y")
    skip_frames: int = Field(0, ge=0, description="frames at the start that are not motion")

    @field_validator("joints")
    @classmethod
    def _all_joints(cls, joints: dict[str, str]) -> dict[str, str]:
        for name in joints:
            if name not in KEPT:
                raise ValueError(f"no joint '{name}' of the body{did_you_mean(name, KEPT)}")
        if missing := [name for name in KEPT if name not in {*joints, *COLLARS}]:
            raise ValueError(f"{', '.join(missing)} missing")
        if len(set(COLLARS) & set(joints)) == 1:
            raise ValueError("name both collars or none")
        if twice := [name for name in joints.values() if list(joints.values()).count(name) > 1]:
            raise ValueError(f"'{twice[0]}' is given for two joints")
        return joints

    @model_validator(mode="after")
    def _axes(self) -> "Rig":
        if self.up[-1] == self.forward[-1]:
            raise ValueError(f"up {self.up} and forward {self.forward} are parallel")
        if self.vertical is None and self.up != "y":
            raise ValueError("vertical missing: state which axis of the file's world points up")
        return self

    @property
    def names(self) -> dict[str, str]:
        """The file's names of the joints that it must have: root, body joints and chest."""
        chest = {} if self.chest is None else {"chest": self.chest}
        return {"root": self.root, **chest, **self.joints}

    def prefixed(self, prefix: str) -> "Rig":
        """Return the rig with all joint names after a prefix."""
        return self.model_copy(
            update={
                "root": prefix + self.root,
                "chest": self.chest and prefix + self.chest,
                "joints": {joint: prefix + name for joint, name in self.joints.items()},
            }
        )

    @property
    def axes(self) -> NDArray[np.float64]:
        """``(3, 3)`` rotation from the body's axes to the root joint's own."""
        return frame_of(self.up, self.forward)

    @property
    def world(self) -> NDArray[np.float64]:
        """``(3, 3)`` rotation from the file's world to one with y up."""
        vertical: Axis = self.vertical or "y"
        ahead: tuple[Axis, ...] = (self.forward, "z", "-y")
        return frame_of(vertical, next(axis for axis in ahead if axis[-1] != vertical[-1])).T

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return the required joints that are not among a file's joint names."""
        present = {bare(name) for name in names}
        return [name for name in self.names.values() if bare(name) not in present]


def frame_of(up: Axis, forward: Axis) -> NDArray[np.float64]:
    """Return the ``(3, 3)`` rotation with columns left, up and forward."""
    vectors = [
        np.eye(3)["xyz".index(axis[-1])] * (-1 if "-" in axis else 1) for axis in (up, forward)
    ]
    return np.stack([np.cross(*vectors), *vectors], axis=1)


def _sides(**names: str) -> dict[str, str]:
    """Return joints of both sides; ``{0}``, ``{1}``, ``{2}`` in names become Left, L, l."""
    words = {"left": ("Left", "L", "l"), "right": ("Right", "R", "r")}
    return {
        f"{side}_{joint}": name.format(*words[side])
        for joint, name in names.items()
        for side in words
    }


_HUMAN_IK = _sides(
    knee="{0}Leg", ankle="{0}Foot", shoulder="{0}Arm", elbow="{0}ForeArm", wrist="{0}Hand"
)
_HUMAN_IK_SPINE = {"spine2": "Spine1", "spine3": "Spine2", "neck": "Neck", "head": "Head"}

RIGS: Mapping[str, Rig] = {
    # Before the next one: some HumanIK rigs have all joints of both.
    "mixamo": Rig(
        root="Hips",
        joints={
            **_HUMAN_IK,
            **_HUMAN_IK_SPINE,
            **_sides(foot="{0}ToeBase", collar="{0}Shoulder"),
        },
    ),
    "cmu_motionbuilder": Rig(
        root="Hips",
        joints={
            **_HUMAN_IK,
            **_sides(foot="{0}ToeBase"),
            **{"spine2": "Spine", "spine3": "Spine1", "neck": "Neck1", "head": "Head"},
        },
        scale=25.4 / 0.45,
        skip_frames=1,
    ),
    "cmu_daz": Rig(
        root="hip",
        joints={
            **{"spine2": "abdomen", "spine3": "chest", "neck": "neck", "head": "head"},
            **_sides(knee="{2}Shin", ankle="{2}Foot", foot="{2}Foot_end"),
            **_sides(collar="{2}Collar", shoulder="{2}Shldr", elbow="{2}ForeArm", wrist="{2}Hand"),
        },
        skip_frames=1,
    ),
    "acclaim": Rig(
        root="root",
        joints={
            **{"spine2": "thorax", "spine3": "lowerneck", "neck": "upperneck", "head": "head"},
            **_sides(knee="{2}tibia", ankle="{2}foot", foot="{2}toes"),
            **_sides(shoulder="{2}humerus", elbow="{2}radius", wrist="{2}hand"),
        },
        chest="thorax",
    ),
    "bandai_namco": Rig(
        root="Hips",
        joints={
            **{"spine2": "Spine", "spine3": "Chest", "neck": "Neck", "head": "Head"},
            **_sides(knee="LowerLeg_{1}", ankle="Foot_{1}", foot="Toes_{1}"),
            **_sides(collar="Shoulder_{1}", shoulder="UpperArm_{1}"),
            **_sides(elbow="LowerArm_{1}", wrist="Hand_{1}"),
        },
        up="x",
        forward="z",
        vertical="y",
    ),
    "lafan1": Rig(
        root="Hips",
        joints={
            **_HUMAN_IK,
            **_HUMAN_IK_SPINE,
            **_sides(foot="{0}Toe", collar="{0}Shoulder"),
        },
        up="x",
        forward="y",
        vertical="y",
    ),
}
"""Known rigs; a file belongs to the first rig of which it has all joints."""


def rig_of(names: Iterable[str]) -> Rig | None:
    """Return the first known rig of which all joints are among ``names``, or None.

    All of its names may have the same prefix that ends in a mark, as in ``Character1_Hips``.
    """
    names = [bare(name) for name in names]
    found = next((rig for rig in RIGS.values() if not rig.missing(names)), None)
    if found is not None:
        return found
    for rig in RIGS.values():
        for prefix in dict.fromkeys(
            name.removesuffix(rig.root)
            for name in names
            if name.endswith(tuple(mark + rig.root for mark in "_.- "))
        ):
            prefixed = rig.prefixed(prefix)
            if not prefixed.missing(names):
                return prefixed
    return None
