"""The body that CMU's and HDM05's Acclaim files share, and the paper's 18 joints on it.

Both corpora were recorded with one Vicon template: 30 bones whose ends, with the root, are 31
points. The 18 joints, with SMPL's names, are ends of these bones:

========  ==========  ==========================================================================
joint     end of      why
========  ==========  ==========================================================================
knee      femur
ankle     tibia
foot      foot        the base of the toes
spine2    upperback   234 mm above the root; SMPL's is some 250 mm above its pelvis
spine3    thorax      where neck and clavicles begin
neck      lowerneck   35 mm above the shoulders; SMPL's is some 60 mm above them
head      upperneck   130 mm above the shoulders, SMPL's 150; the end of ``head`` is the crown
shoulder  clavicle
elbow     humerus
wrist     wrist       the forearm is two bones, ``radius`` its first two thirds; the hand bends at
                      the end of the second, 282 mm from the elbow (the upper arm has 292 mm)
========  ==========  ==========================================================================

The clavicles begin in the middle of the chest, so that a collar joint there would be a copy of
spine3. ``left_collar`` and ``right_collar`` are points fixed to the thorax, a third of the way from
spine3 to the shoulder of the rest pose, as SMPL's collars are fixed to its spine3.

The rest pose faces +z, with the body's left towards +x and y up, so that the root's rotation is the
body's in the world.
"""

import re
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bench.core.errors import InputError
from bench.datasets.acclaim import joints_of, read_skeleton
from bench.datasets.acclaim_motion import FPS, read_motion
from bench.datasets.archive import File, tree
from bench.datasets.base import Dataset, Source, check_length, data_root
from bench.datasets.rates import agreed
from bench.motion import Skeleton, forward_kinematics
from bench.motion.body import KEPT, body
from bench.motion.kinematics import neighbours, orient, rotations_between

MEAN_BONES: dict[str, tuple[str, tuple[float, float, float]]] = {
    "lhipjoint": ("root", (90.56, -99.49, 40.77)),
    "lfemur": ("lhipjoint", (138.37, -380.18, 0)),
    "ltibia": ("lfemur", (146.55, -402.64, 0)),
    "lfoot": ("ltibia", (10.57, -29.03, 115.56)),
    "ltoes": ("lfoot", (0, -0.01, 60.15)),
    "lowerback": ("root", (-0.27, 116.76, -8.39)),
    "upperback": ("lowerback", (1.09, 117.06, -0.44)),
    "thorax": ("upperback", (1.14, 118.02, 3.56)),
    "lclavicle": ("thorax", (189.03, 60.27, -6.25)),
    "lhumerus": ("lclavicle", (292.01, 0, 0)),
    "lradius": ("lhumerus", (187.93, 0, 0)),
    "lwrist": ("lradius", (93.96, 0, 0)),
    "lhand": ("lwrist", (35.67, 0, 0)),
    "lfingers": ("lhand", (28.76, 0, 0)),
    "lthumb": ("lwrist", (29.2, 0, 29.2)),
    "lowerneck": ("thorax", (-2.95, 95.49, 8.43)),
    "upperneck": ("lowerneck", (3.12, 94.84, -13.16)),
    "head": ("upperneck", (1.34, 97.83, -5.48)),
    "rclavicle": ("thorax", (-184.2, 63.53, -6.68)),
    "rhumerus": ("rclavicle", (-297.39, -0.01, -0.02)),
    "rradius": ("rhumerus", (-189.71, 0, 0)),
    "rwrist": ("rradius", (-94.85, 0, 0)),
    "rhand": ("rwrist", (-38.96, 0, 0)),
    "rfingers": ("rhand", (-31.41, 0, 0)),
    "rthumb": ("rwrist", (-31.89, 0, 31.89)),
    "rhipjoint": ("root", (-87.52, -99.49, 40.77)),
    "rfemur": ("rhipjoint", (-138.78, -381.29, 0)),
    "rtibia": ("rfemur", (-146.94, -403.72, 0)),
    "rfoot": ("rtibia", (-11.92, -32.76, 115.74)),
    "rtoes": ("rfoot", (0, 0.01, 60.54)),
}
"""Each bone's parent, and its vector from start to end in the rest pose, mm.

The mean over the ASF files of 19 subjects of mocap.cs.cmu.edu (1 2 3 5 7 8 9 11 13 14 16 18 29 35
49 60 61 131 135), each counting once, of direction times length, rounded to 0.01 mm.
"""
MEAN = joints_of(MEAN_BONES)
"""The common skeleton of all subjects: 38 joints at 31 points."""

_COLLARS = {"left_collar": "lhumerus", "right_collar": "rhumerus"}
"""Joint of the shoulder towards which each collar lies, by collar."""
_CHEST = "thorax"
_SPINE3 = "lowerneck"

# Joints of ``MEAN`` by their name among the 18. A joint is named after the bone that starts there.
_JOINT_OF: dict[str, str] = {
    "spine2": _CHEST,
    "spine3": _SPINE3,
    "neck": "upperneck",
    "head": "head",
    **{
        f"{side}_{joint}": f"{side[0]}{bone}"
        for side in ("left", "right")
        for joint, bone in (
            ("knee", "tibia"),
            ("ankle", "foot"),
            ("foot", "toes"),
            ("shoulder", "humerus"),
            ("elbow", "radius"),
            ("wrist", "hand"),
        )
    },
    **{name: name for name in _COLLARS},
}


def _with_collars(skeleton: Skeleton) -> Skeleton:
    """Return a skeleton with the two collars as its last joints."""
    spine3 = skeleton.rest[skeleton.names.index(_SPINE3)]
    shoulders = skeleton.rest[skeleton.index(list(_COLLARS.values()))]
    names = (*skeleton.names, *_COLLARS)
    return Skeleton(
        names=names,
        parents=(*skeleton.parents, *[skeleton.names.index(_CHEST)] * len(_COLLARS)),
        rest=np.concatenate([skeleton.rest, spine3 + (shoulders - spine3) / 3]),
        limbs={"body": names},
        pairs=skeleton.pairs,
    )


def body_positions(rotations: NDArray[np.float64], skeleton: Skeleton) -> NDArray[np.float64]:
    """Return the positions of the 18 joints relative to the root.

    Args:
        rotations: ``(frame, 38, 3, 3)`` local rotations of the joints of ``skeleton``.
        skeleton: a skeleton with the same joints as ``MEAN``.

    Returns:
        ``(frame, 18, 3)`` in mm.
    """
    extended = _with_collars(skeleton)
    unrotated = np.broadcast_to(np.eye(3), (len(rotations), len(_COLLARS), 3, 3))
    placed = forward_kinematics(np.concatenate([rotations, unrotated], axis=1), extended)
    return placed[:, extended.index([_JOINT_OF[name] for name in KEPT])]


def _body() -> Skeleton:
    still = np.broadcast_to(np.eye(3), (1, len(MEAN), 3, 3))
    return body(dict(zip(KEPT, body_positions(still, MEAN)[0].tolist(), strict=True)))


SKELETON = _body()
"""The 18 joints of ``MEAN``."""


class AcclaimBody(Dataset):
    """Motion of the Acclaim body that CMU and HDM05 share; a subclass defines its files."""

    places: ClassVar[tuple[str, ...]]
    """Patterns of folders and archives in the data root that may have the files."""
    recording: ClassVar[re.Pattern[str]]
    """Pattern of the names of its AMC files; the first group is the subject."""
    example: ClassVar[str]
    """Path of one file in the data root, for messages."""

    bones: Literal["one", "own"] = Field(
        "one", description="bone lengths: one skeleton for all subjects, or each subject's own"
    )

    @property
    def skeleton(self) -> Skeleton:
        """The 18 joints of the common skeleton; with ``bones="own"`` lengths differ by subject."""
        return SKELETON

    def recordings(self, root: Path | None) -> list[tuple[File, re.Match[str]]]:
        """Return the AMC files under ``root``, and the matches of their names with ``recording``.

        All places that have files count. A recording that lies in several is taken from the first,
        folders before archives.

        Raises:
            InputError: there is none, or their archive cannot be read.
        """
        root = data_root(self.name, root, " or ".join(self.places))
        present = [
            path
            for place in self.places
            for path in sorted(root.glob(place), key=lambda path: (path.is_file(), path.name))
            if path.is_dir() or path.suffix == ".zip"
        ]
        if not present and any(self.recording.fullmatch(path.name) for path in root.glob("*/*")):
            present = [root]
        found: dict[str, tuple[File, re.Match[str]]] = {}
        for place in present:
            for file in tree(place, ".amc"):
                if match := self.recording.fullmatch(file.inner.name):
                    found.setdefault(file.inner.name.lower(), (file, match))
        if found:
            return sorted(found.values(), key=lambda one: one[0].inner.name.lower())
        raise InputError(
            f"{self.name}: no recording under {root}; expected for instance "
            f"{root / self.example}, or {' or '.join(self.places)}"
        )

    @abstractmethod
    def skeleton_file(self, source: Source) -> File:
        """Return the ASF file of a recording's subject."""

    def file_fps(self, source: Source) -> float | None:
        """Return the frames per second that a recording's name states, None if it states none."""
        return None

    def files(self, root: Path | None) -> list[Path]:
        """Return all files that the recordings depend on, including skeletons."""
        skeletons = {self.skeleton_file(source).path for source in self.sources(root)}
        return sorted({*super().files(root), *(path for path in skeletons if path.is_file())})

    def recognise(self, file: File) -> Source | None:
        """Recognise a recording by its file name."""
        match = self.recording.fullmatch(file.inner.name)
        return Source(file.inner.stem, "train", subject=match[1], file=file) if match else None

    def read(self, source: Source) -> NDArray[np.float32]:
        """Read a recording as 18 joints at ``fps``, without leading frames where a bone is at zero.

        The paper's normalisation (``bones = "one"``) applies the recorded joint rotations to the
        common skeleton.
        """
        assert source.file is not None
        file = self.skeleton_file(source)
        subject = read_skeleton(file)
        if (subject.skeleton.names, subject.skeleton.parents) != (MEAN.names, MEAN.parents):
            raise InputError(
                f"{file}: not the {len(MEAN_BONES)} bones of CMU's and HDM05's skeleton; "
                "convert it to BVH and read it with bvh"
            )
        named = self.file_fps(source)
        motion = read_motion(source.file, subject, named or FPS)
        agreed({"its name": named or motion.fps, "the file": motion.fps}, str(source.file))
        motion = motion.without_held_start()
        check_length(source.file, len(motion) * max(1.0, self.fps / motion.fps))
        # Only frames that are interpolated between are converted: two of five at 120 per second.
        before, after, part = neighbours(len(motion), motion.fps, self.fps)
        rotations = rotations_between(motion.at(before).vectors, motion.at(after).vectors, part)
        rotations[:, 0] = orient(rotations[:, 0], self.orientation)
        skeleton = MEAN if self.bones == "one" else subject.skeleton
        return body_positions(rotations, skeleton).astype(np.float32)


def sibling(file: File, name: str) -> File:
    """Return the file called ``name`` in the same folder, on disk or in the archive."""
    if file.member:
        return File(file.path, str(file.inner.with_name(name)))
    return File(file.path.with_name(name))
