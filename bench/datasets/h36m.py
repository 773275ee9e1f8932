"""Human3.6M, in the exponential-map text files of the prediction literature.

Files are ``S<subject>/<action>_<1 or 2>.txt``: comma-separated, 99 columns, 50 rows per second;
three of root translation, then an exponential map for each of 32 joints, the root's first. Jain
et al. (CVPR 2016, Structural-RNN) made them from the motion of Ionescu et al. (2014). ``S5`` is
test, ``S11`` valid, the others train, as in all work after Martinez et al. (CVPR 2017).

The vectors represent transposed rotations: the published forward kinematics (Martinez et al.) uses
row vectors, ``child = parent + offset @ R_parent`` with ``R_joint = exp(v) @ R_parent``. With
column vectors that is the usual order with negated angles. Once the root's rotation is removed, y
is up, z forward and x to the left, as the bones of the rest pose show.

Root columns contain the root's motion and rotation from one frame to the next (``R_diff`` of the
release's own ``revertCoordinateSpace``), not its absolute rotation, so a body's lean cannot be
recovered, and ``orientation`` can only be ``removed``.

With ``joints: 22`` the joints are those of the 32 that move and do not coincide with others, as in
LearnTrajDep and HisRepItself (Mao et al. 2019, 2020): without 0, 1, 6 and 11, which do not move,
and 16, 20, 23, 24, 28 and 31, which coincide with 13, 19, 22, 13, 27 and 30.

With ``joints: 18`` there are as many as in the paper, which does not name them: the 22 without the
ends of toes and thumbs (5, 10, 21 and 29). Fifteen have the names of joints that other data sets
share. The top of the head and the ends of the hands replace three that this skeleton lacks: its
lower back is one bone, so a spine2 in its middle would only be half of spine3, and its clavicles
begin at the neck, so collars would coincide with it.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from scipy.spatial.transform import Rotation

from bench.core.errors import InputError
from bench.datasets.archive import File
from bench.datasets.base import Dataset, Source, check_length, data_root
from bench.datasets.plausible import check_radians
from bench.datasets.text import has_columns, table_of
from bench.motion import Skeleton, forward_kinematics
from bench.motion.kinematics import resample_rotations

FILE_FPS = 50.0
COLUMNS = 99
LARGEST_FILE = 2**26
"""Most bytes of a file; real ones have at most six million."""
LARGEST_ANGLE = 100.0
"""Greatest plausible component of an exponential map, radians."""
ACTIONS = (
    "directions",
    "discussion",
    "eating",
    "greeting",
    "phoning",
    "posing",
    "purchases",
    "sitting",
    "sittingdown",
    "smoking",
    "takingphoto",
    "waiting",
    "walking",
    "walkingdog",
    "walkingtogether",
)
SUBJECTS = {
    "S1": "train",
    "S6": "train",
    "S7": "train",
    "S8": "train",
    "S9": "train",
    "S11": "valid",
    "S5": "test",
}
KNOWN_FILES = [
    f"{subject}/{action}_{take}.txt"
    for subject in SUBJECTS
    for action in ACTIONS
    for take in (1, 2)
]
PLACES = ("h36m", "h3.6m/dataset", "h3.6m", "dataset", ".")

# name, parent, offset from the parent in mm, as published with the forward kinematics
_JOINTS: list[tuple[str, int, tuple[float, float, float]]] = [
    ("hips", -1, (0, 0, 0)),
    ("right_hip", 0, (-132.948591, 0, 0)),
    ("right_knee", 1, (0, -442.894612, 0)),
    ("right_ankle", 2, (0, -454.206447, 0)),
    ("right_foot", 3, (0, 0, 162.767078)),
    ("right_toe_end", 4, (0, 0, 74.999437)),
    ("left_hip", 0, (132.948826, 0, 0)),
    ("left_knee", 6, (0, -442.894413, 0)),
    ("left_ankle", 7, (0, -454.20659, 0)),
    ("left_foot", 8, (0, 0, 162.767426)),
    ("left_toe_end", 9, (0, 0, 74.999948)),
    ("spine", 0, (0, 0.1, 0)),
    ("spine3", 11, (0, 233.383263, 0)),
    ("neck", 12, (0, 257.077681, 0)),
    ("head", 13, (0, 121.134938, 0)),
    ("head_end", 14, (0, 115.002227, 0)),
    ("left_clavicle", 12, (0, 257.077681, 0)),
    ("left_shoulder", 16, (0, 151.034226, 0)),
    ("left_elbow", 17, (0, 278.882773, 0)),
    ("left_wrist", 18, (0, 251.733451, 0)),
    ("left_thumb", 19, (0, 0, 0)),
    ("left_thumb_end", 20, (0, 0, 99.999627)),
    ("left_hand_end", 19, (0, 100.000188, 0)),
    ("left_hand_site", 22, (0, 0, 0)),
    ("right_clavicle", 12, (0, 257.077681, 0)),
    ("right_shoulder", 24, (0, 151.031437, 0)),
    ("right_elbow", 25, (0, 278.892924, 0)),
    ("right_wrist", 26, (0, 251.72868, 0)),
    ("right_thumb", 27, (0, 0, 0)),
    ("right_thumb_end", 28, (0, 0, 99.999888)),
    ("right_hand_end", 27, (0, 137.499922, 0)),
    ("right_hand_site", 30, (0, 0, 0)),
]

STILL_OR_COPIES = (0, 1, 6, 11, 16, 20, 23, 24, 28, 31)
ENDS = ("toe_end", "thumb_end")


def _full_skeleton() -> Skeleton:
    """Return the skeleton of all 32 joints in the pose with all angles zero, the arms upwards."""
    rest = np.zeros((len(_JOINTS), 3))
    for joint, (_, parent, offset) in enumerate(_JOINTS):
        rest[joint] = np.array(offset) + (rest[parent] if parent >= 0 else 0)
    names = tuple(name for name, _, _ in _JOINTS)
    return Skeleton(
        names=names,
        parents=tuple(parent for _, parent, _ in _JOINTS),
        rest=rest,
        limbs={
            "right_leg": names[1:6],
            "left_leg": names[6:11],
            "trunk": ("hips", "spine", "spine3"),
            "head": ("neck", "head", "head_end"),
            "left_arm": names[16:24],
            "right_arm": names[24:32],
        },
        pairs=tuple(
            (name, name.replace("left_", "right_")) for name in names if name.startswith("left_")
        ),
    )


FULL_SKELETON = _full_skeleton()


def _rest_pose() -> NDArray[np.float64]:
    """Return ``(32, 3)`` joint positions in a pose with the arms straight out to the sides."""
    rotations = np.tile(np.eye(3), (len(FULL_SKELETON), 1, 1))
    for side, degrees in (("left", -90), ("right", 90)):
        joint = FULL_SKELETON.names.index(f"{side}_clavicle")
        rotations[joint] = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    return forward_kinematics(rotations, FULL_SKELETON)


def _skeletons() -> Mapping[int, Skeleton]:
    posed = replace(FULL_SKELETON, rest=_rest_pose())
    moving = [name for joint, (name, _, _) in enumerate(_JOINTS) if joint not in STILL_OR_COPIES]
    papers = [name for name in moving if not name.endswith(ENDS)]
    return {18: posed.select(papers), 22: posed.select(moving)}


SKELETONS = _skeletons()


class H36M(Dataset):
    """Human3.6M with the prediction literature's split by subject, 15 actions, real."""

    name: ClassVar[str] = "h36m"
    home: ClassVar[str] = "vision.imar.ro/human3.6m (registration; academic use)"
    fixed: ClassVar[bool] = True

    joints: Literal[18, 22] = Field(
        18, description="as many as in the paper, or the prediction literature's 22"
    )

    @field_validator("orientation")
    @classmethod
    def _has_no_root(cls, orientation: str) -> str:
        if orientation != "removed":
            raise ValueError("h36m's files have no absolute rotation of the root; use 'removed'")
        return orientation

    @property
    def skeleton(self) -> Skeleton:
        """The 18 or 22 joints."""
        return SKELETONS[self.joints]

    def sources(self, root: Path | None) -> list[Source]:
        """Return the known files under ``root``, ordered by split, subject and action."""
        root = data_root(self.name, root, "h36m/ with S1/, S5/ and so on")
        found = [self._source(path) for path in _found(root).values()]
        if not found:
            raise InputError(
                f"{self.name}: no file of Human3.6M under {root}; expected for instance "
                f"{root / 'h36m' / 'S1' / 'walking_1.txt'}"
            )
        return found

    def absent(self, root: Path | None) -> list[str]:
        """Return the known files that are not under ``root``."""
        present = _found(root) if root else {}
        return [name for name in KNOWN_FILES if name not in present]

    def recognise(self, file: File) -> Source | None:
        """Recognise a text file by the data set's path, or by its number of columns."""
        if file.inner.suffix.lower() != ".txt":
            return None
        known = "/".join(file.inner.parts[-2:]) in KNOWN_FILES
        if not known and not has_columns(file, COLUMNS):
            return None
        return Source(file.inner.stem, "train", file=file)

    def read(self, source: Source) -> NDArray[np.float32]:
        """Read a file as 18 or 22 joints at ``fps``."""
        assert source.file is not None
        vectors = joint_rotations(rows_of(source.file))
        check_radians(source.file, vectors)
        check_length(source.file, len(vectors) * max(1.0, self.fps / FILE_FPS))
        rotations = resample_rotations(vectors, FILE_FPS, self.fps)
        rotations[:, 0] = np.eye(3)
        motion = forward_kinematics(rotations, FULL_SKELETON)
        return motion[:, FULL_SKELETON.index(self.skeleton.names)].astype(np.float32)

    def _source(self, path: Path) -> Source:
        subject = path.parent.name
        action = path.stem.rpartition("_")[0]
        return Source(f"{subject}/{path.stem}", SUBJECTS[subject], action, subject, File(path))


def _found(root: Path) -> dict[str, Path]:
    """Return the known files in the first of ``PLACES`` that has any, by name."""
    for place in PLACES:
        paths = {name: root / place / name for name in KNOWN_FILES}
        if found := {name: path for name, path in paths.items() if path.is_file()}:
            return found
    return {}


def rows_of(file: File) -> NDArray[np.float64]:
    """Return the ``(row, 99)`` numbers of one file.

    Raises:
        InputError: the file is truncated, or not 99 columns of plausible numbers.
    """
    remedy = "fetch the file again"
    rows = table_of(file, file.read(LARGEST_FILE)).values(remedy, COLUMNS, exact=True)
    if not len(rows):
        raise InputError(f"{file}: no row of numbers in it; {remedy}")
    valid = np.isfinite(rows).all(axis=1) & (np.abs(rows[:, 3:]) <= LARGEST_ANGLE).all(axis=1)
    if not valid.all():
        bad = int(np.argmin(valid)) + 1
        raise InputError(f"{file}: row {bad} has a number that is no angle in radians; {remedy}")
    return rows


def joint_rotations(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(frame, 32, 3)`` rotation vectors of a file's rows, radians.

    The files contain the vectors of the transposed rotations, hence the sign.
    """
    return -rows[:, 3:].reshape(-1, len(_JOINTS), 3)
