"""The exponential-map files of the 8-action CMU motion capture benchmark.

Files are ``{train,test}/<action>/<action>_<n>.txt``: comma-separated, 117 columns, 120 rows per
second; three of root translation, then an exponential map for each of 38 joints. Unlike the
published loaders, this one keeps true time and length: rotations are interpolated to the requested
frame rate, lengths are in true millimetres, and the T-pose in row 0 is dropped.

Of the 38 joints, 18 match the paper's list (SMPL joints 4 to 21) as closely as this skeleton
allows. Sixteen are the same body points. The two collars are not: the CMU clavicle begins at the
chest joint, so a collar would coincide with it; the first hand joint of each side is used instead.
Hips and the lower back, which do not move once the root is removed, are left out as in the paper.
"""

import re
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bench.core.errors import InputError
from bench.datasets.archive import File
from bench.datasets.base import Dataset, Source, check_length, data_root
from bench.datasets.plausible import check_radians
from bench.datasets.text import has_columns, table_of
from bench.motion import Skeleton, forward_kinematics, rotation_matrices
from bench.motion.kinematics import orient, resample_rotations

FILE_FPS = 120.0
MM_PER_UNIT = 56.444
COLUMNS = 117
LARGEST_FILE = 2**26
"""Most bytes of a file; real ones have at most four million."""
LARGEST_ANGLE = 100.0
"""Greatest plausible component of an exponential map, radians."""
ACTIONS = (
    "basketball",
    "basketball_signal",
    "directing_traffic",
    "jumping",
    "running",
    "soccer",
    "walking",
    "washwindow",
)
KNOWN_FILES = [
    f"{split}/{action}/{action}_{number}.txt"
    for split, count in (("train", 5), ("test", 1))
    for action in ACTIONS
    for number in range(1, count + 1)
]

_PLACE = re.compile(r"(?:^|/)(?:train|test)/(\w+)/\1_\d+\.txt$")

# name, parent, offset from the parent in units of ``MM_PER_UNIT``
_JOINTS: list[tuple[str, int, tuple[float, float, float]]] = [
    ("hips", -1, (0, 0, 0)),
    ("left_hip_joint", 0, (0, 0, 0)),
    ("left_hip", 1, (1.65674, -1.80282, 0.62477)),
    ("left_knee", 2, (2.5972, -7.13576, 0)),
    ("left_ankle", 3, (2.49236, -6.8477, 0)),
    ("left_foot", 4, (0.19704, -0.54136, 2.14581)),
    ("left_toe_end", 5, (0, 0, 1.11249)),
    ("right_hip_joint", 0, (0, 0, 0)),
    ("right_hip", 7, (-1.6107, -1.80282, 0.62476)),
    ("right_knee", 8, (-2.59502, -7.12977, 0)),
    ("right_ankle", 9, (-2.4678, -6.78024, 0)),
    ("right_foot", 10, (-0.23024, -0.63258, 2.13368)),
    ("right_toe_end", 11, (0, 0, 1.11569)),
    ("lower_back", 0, (0, 0, 0)),
    ("spine", 13, (0.01961, 2.0545, -0.14112)),
    ("chest", 14, (0.01021, 2.06436, -0.05921)),
    ("neck_base", 15, (0, 0, 0)),
    ("neck", 16, (0.00713, 1.56711, 0.14968)),
    ("head", 17, (0.03429, 1.56041, -0.10006)),
    ("head_end", 18, (0.01305, 1.6256, -0.05265)),
    ("left_collar", 15, (0, 0, 0)),
    ("left_shoulder", 20, (3.54205, 0.90436, -0.17364)),
    ("left_elbow", 21, (4.86513, 0, 0)),
    ("left_wrist", 22, (3.35554, 0, 0)),
    ("left_finger_base", 23, (0, 0, 0)),
    ("left_hand", 24, (0.66117, 0, 0)),
    ("left_hand_end", 25, (0.53306, 0, 0)),
    ("left_thumb", 23, (0, 0, 0)),
    ("left_thumb_end", 27, (0.5412, 0, 0.5412)),
    ("right_collar", 15, (0, 0, 0)),
    ("right_shoulder", 29, (-3.49802, 0.75994, -0.32616)),
    ("right_elbow", 30, (-5.02649, 0, 0)),
    ("right_wrist", 31, (-3.36431, 0, 0)),
    ("right_finger_base", 32, (0, 0, 0)),
    ("right_hand", 33, (-0.73041, 0, 0)),
    ("right_hand_end", 34, (-0.58887, 0, 0)),
    ("right_thumb", 32, (0, 0, 0)),
    ("right_thumb_end", 36, (-0.59786, 0, 0.59786)),
]

KEPT = (
    "left_knee",
    "right_knee",
    "spine",
    "left_ankle",
    "right_ankle",
    "chest",
    "left_foot",
    "right_foot",
    "neck",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hand",
    "right_hand",
)


def _full_skeleton() -> Skeleton:
    rest = np.zeros((len(_JOINTS), 3))
    for joint, (_, parent, offset) in enumerate(_JOINTS):
        rest[joint] = np.array(offset) * MM_PER_UNIT + (rest[parent] if parent >= 0 else 0)
    names = tuple(name for name, _, _ in _JOINTS)

    def limb(first: str, last: str) -> tuple[str, ...]:
        return names[names.index(first) : names.index(last) + 1]

    return Skeleton(
        names=names,
        parents=tuple(parent for _, parent, _ in _JOINTS),
        rest=rest,
        limbs={
            "left_leg": limb("left_hip_joint", "left_toe_end"),
            "right_leg": limb("right_hip_joint", "right_toe_end"),
            "trunk": ("hips", *limb("lower_back", "chest")),
            "head": limb("neck_base", "head_end"),
            "left_arm": limb("left_collar", "left_thumb_end"),
            "right_arm": limb("right_collar", "right_thumb_end"),
        },
        pairs=tuple(
            (name, name.replace("left_", "right_")) for name in names if name.startswith("left_")
        ),
    )


FULL_SKELETON = _full_skeleton()
SKELETON = FULL_SKELETON.select(KEPT)


class CMUExpmap(Dataset):
    """CMU motion capture, the 8-action benchmark with its official split, 18 joints, real."""

    name: ClassVar[str] = "cmu_expmap"
    fixed: ClassVar[bool] = True
    home: ClassVar[str] = (
        "data/cmu_mocap of github.com/chaneyddtt/"
        "Convolutional-Sequence-to-Sequence-Model-for-Human-Dynamics; recorded by "
        "mocap.cs.cmu.edu, free for research, not to be resold"
    )

    rebuilt: bool = False
    """Whether to also use ``cmu_expmap_rebuilt``, recomputed replacements of lost files."""

    @property
    def skeleton(self) -> Skeleton:
        """The 18 kept joints."""
        return SKELETON

    def sources(self, root: Path | None) -> list[Source]:
        """Return the benchmark's files under ``root``, ordered by split and name.

        The benchmark has no validation part: of every action with three or more train files, the
        last one is used for validation.
        """
        root = data_root(self.name, root, "cmu_expmap/ or train/ and test/")
        found = [path for name in KNOWN_FILES if (path := self._find(root, name))]
        if not found:
            raise InputError(
                f"{self.name}: no file of the benchmark under {root}; expected for instance "
                f"{root / 'cmu_expmap' / 'train' / 'walking' / 'walking_1.txt'}"
            )
        held_out = _held_out(found)
        return [source for path in found for source in self._sources_of(path, path in held_out)]

    def absent(self, root: Path | None) -> list[str]:
        """Return the benchmark's files that are not under ``root``."""
        return [name for name in KNOWN_FILES if root is None or not self._find(root, name)]

    def read(self, source: Source) -> NDArray[np.float32]:
        """Read a file as 18 joints at ``fps``, its root's rotation corrected."""
        assert source.file is not None
        vectors = joint_rotations(rows_of(source.file))
        check_radians(source.file, vectors)
        check_length(source.file, len(vectors) * max(1.0, self.fps / FILE_FPS))
        vectors[:, 0] = corrected_root(vectors[:, 0])
        rotations = resample_rotations(vectors, FILE_FPS, self.fps)
        rotations[:, 0] = orient(rotations[:, 0], self.orientation)
        motion = forward_kinematics(rotations, FULL_SKELETON)[:, FULL_SKELETON.index(KEPT)]
        return motion.astype(np.float32)

    def recognise(self, file: File) -> Source | None:
        """Recognise a text file by the benchmark's path, or by its number of columns."""
        if file.inner.suffix.lower() != ".txt":
            return None
        if not _PLACE.search(file.inner.as_posix()) and not has_columns(file, COLUMNS):
            return None
        return Source(str(file), "test", file.inner.parent.name, file=file)

    def _sources_of(self, path: Path, held_out: bool) -> list[Source]:
        """Return a file's recordings, one per split that uses it; ``held_out`` for validation."""
        official = split_of(path)
        split = "valid" if held_out else official
        return [Source(f"{official}/{path.stem}", split, path.parent.name, file=File(path))]

    def _find(self, root: Path, name: str) -> Path | None:
        folders = ["cmu_expmap", ".", *(["cmu_expmap_rebuilt"] if self.rebuilt else [])]
        paths = (root / folder / name for folder in folders)
        return next((path for path in paths if path.is_file()), None)


def _held_out(paths: list[Path]) -> set[Path]:
    """Return the train files that are used for validation."""
    by_action: dict[str, list[Path]] = {}
    for path in paths:
        if split_of(path) == "train":
            by_action.setdefault(path.parent.name, []).append(path)
    return {found[-1] for found in by_action.values() if len(found) >= 3}


def rows_of(file: File) -> NDArray[np.float64]:
    """Return the ``(row, 117)`` numbers of one file, including the T-pose in row 0.

    Raises:
        InputError: the file is truncated, or not 117 columns of plausible numbers.
    """
    remedy = "fetch the file again"
    table = table_of(file, file.read(LARGEST_FILE)).values(remedy, COLUMNS)
    if not len(table):
        raise InputError(f"{file}: no row of numbers in it; {remedy}")
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        raise InputError(
            f"{file}: row {bad[0] + 1} lacks a finite number in one of {COLUMNS} columns; {remedy}"
        )
    far = (np.abs(table[:, 3:]) > LARGEST_ANGLE).any(axis=1)
    if far.any():
        raise InputError(
            f"{file}: row {far.argmax() + 1} has a number that is no angle in radians; {remedy}"
        )
    return table


def joint_rotations(rows: NDArray[np.float64], drop_t_pose: bool = True) -> NDArray[np.float64]:
    """Return ``(frame, 38, 3)`` rotation vectors of a file's rows, radians.

    The files contain the vectors of the transposed rotations, hence the sign.
    """
    return -rows[1 if drop_t_pose else 0 :, 3:].reshape(-1, len(_JOINTS), 3)


def corrected_root(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the true rotations of the root, which the files composed in the wrong order.

    The root's Euler angles rotate about z, y and x in that order, but the files were made by
    multiplying them in the order z, x, y, so a body that leans and turns tips over. Decomposed in
    the files' order and composed in the right one, they match the original recordings. Of the two
    triples of angles for one rotation, the one nearer to the previous frame is used, beginning with
    the smaller x.

    Args:
        vectors: ``(frame, 3)`` rotation vectors of the root in the files, radians.

    Returns:
        ``(frame, 3)`` rotation vectors of the body in the world, radians.
    """
    matrices = rotation_matrices(vectors)
    z = np.arctan2(-matrices[:, 0, 1], matrices[:, 1, 1])
    x = np.arcsin(np.clip(matrices[:, 2, 1], -1, 1))
    y = np.arctan2(-matrices[:, 2, 0], matrices[:, 2, 2])
    angles = np.stack([z, y, x], axis=1)
    other = np.stack([z + np.pi, y + np.pi, np.pi - x], axis=1)

    def distance(after: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.linalg.norm(np.remainder(after - before + np.pi, 2 * np.pi) - np.pi, axis=1)

    # Distances are the same with both triples exchanged, so the parity of the changes decides.
    changes = distance(other[1:], angles[:-1]) < distance(angles[1:], angles[:-1])
    on_other = np.append(False, np.cumsum(changes) % 2 == 1)[: len(angles), None]
    return Rotation.from_euler("ZYX", np.where(on_other, other, angles)).as_rotvec()


def split_of(path: Path) -> str:
    """Return the benchmark's split of a file, train or test."""
    return path.parent.parent.name
