"""AMASS, an archive of motion capture as parameters of surface models, with the paper's splits.

Files are numpy archives, one recording each, ``<data set>/<subject>/<sequence>_poses.npz`` in the
SMPL-H packaging and ``..._stageii.npz`` in the later one; ``docs/amass.md`` explains where to
get them and how to arrange them. Only the rotations and the frame rate are read. As in the paper
(sec. 6.1), the joints of all subjects come from forward kinematics on one skeleton, whatever their
body shape, and 18 of the 22 body joints are kept. Rotations are interpolated to the requested frame
rate, whereas the published loader takes every n-th frame.
"""

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.spatial.transform import Rotation

from bench.core.errors import InputError, reason_of
from bench.core.notices import note
from bench.datasets.archive import LARGEST, UNREADABLE, File, tree
from bench.datasets.base import Dataset, Source, check_length, data_root
from bench.datasets.npy import array_of
from bench.datasets.plausible import check_radians
from bench.datasets.rates import agreed
from bench.datasets.text import quoted
from bench.motion import Skeleton, forward_kinematics
from bench.motion.body import JOINTS, KEPT, body
from bench.motion.kinematics import orient, resample_rotations

_TRAIN = "CMU PosePrior TotalCapture EyesJapanDataset KIT EKUT TCDHands ACCAD"
SPLITS: dict[str, tuple[str, ...]] = {
    "train": tuple(_TRAIN.split()),
    "valid": ("HumanEva", "HDM05", "SFU", "MoSh"),
    "test": ("BMLrub",),
}
"""The paper's splits; data sets have their names on the archive's page."""

FORMER_NAMES = {
    "MPI_Limits": "PosePrior",
    "Eyes_Japan_Dataset": "EyesJapanDataset",
    "TCD_handMocap": "TCDHands",
    "MPI_HDM05": "HDM05",
    "MPI_mosh": "MoSh",
    "BioMotionLab_NTroje": "BMLrub",
}
"""Folders of the first packaging with former names, and the present names of the data sets."""

REST: dict[str, tuple[float, float, float]] = {
    "pelvis": (0, 0, 0),
    "left_hip": (72.556, -90.371, -4.951),
    "right_hip": (-70.992, -89.911, -4.264),
    "spine1": (-2.926, 108.151, -27.961),
    "left_knee": (110.657, -478.935, -7.167),
    "right_knee": (-113.762, -483.914, -11.530),
    "spine2": (3.585, 247.255, -25.113),
    "left_ankle": (98.395, -887.869, -50.576),
    "right_ankle": (-99.592, -892.082, -54.003),
    "spine3": (5.330, 303.304, -0.140),
    "left_foot": (131.254, -946.349, 70.107),
    "right_foot": (-129.204, -941.813, 71.206),
    "neck": (2.476, 525.059, -37.885),
    "left_collar": (86.329, 428.727, -34.415),
    "right_collar": (-77.794, 423.853, -40.395),
    "head": (8.199, 596.962, 18.670),
    "left_shoulder": (179.233, 462.508, -43.923),
    "right_shoulder": (-173.891, 458.457, -50.048),
    "left_elbow": (447.081, 447.185, -72.309),
    "right_elbow": (-432.556, 443.203, -73.162),
    "left_wrist": (705.205, 458.672, -72.730),
    "right_wrist": (-693.691, 452.373, -77.453),
}
"""The body joints of the rest pose, mm from the pelvis; x to the left, y up, z forward.

They belong to the neutral SMPL-H model with the mean of AMASS's shape coefficients, which the
prediction literature uses for all subjects, as published with HisRepItself (Mao et al. 2020).
"""

RATE_KEYS = ("mocap_framerate", "mocap_frame_rate", "frame_rate", "framerate", "fps")
RATES = (5.0, 1000.0)
"""Least and greatest plausible frames per second of a motion capture system."""
PARTS = (("root_orient", "pose_body"), ("global_orient", "body_pose"))
"""Names of the root's and the body's rotations where they are apart, by packaging."""
WIDTHS = (66, 72, 156, 165)
"""Possible columns of ``poses``: body only, SMPL, SMPL-H, SMPL-X; the body's 66 come first."""
LARGEST_ANGLE = 100.0
"""Greatest plausible component of a rotation vector, radians."""

_NO_MOTION = re.compile(r"(^|_)(shape|stagei)\.npz$", re.IGNORECASE)
_RATE = re.compile(r"(\d{1,4}(?:[.,]\d{1,9})?)\s*(?:fps|hz)?", re.IGNORECASE)
_PACKAGING = re.compile(r"_(poses|stageii)$")
_Y_UP = Rotation.from_euler("x", -90, degrees=True).as_matrix()
"""Rotation from AMASS's world, with z up, to one with y up."""


def _simplified(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


_DATA_SETS = {_simplified(name): name for names in SPLITS.values() for name in names} | {
    _simplified(former): name for former, name in FORMER_NAMES.items()
}
_SPLIT_OF = {name: split for split, names in SPLITS.items() for name in names}


class AMASS(Dataset):
    """AMASS with the paper's splits by data set, one skeleton for all subjects, 18 joints, real.

    Data sets of the archive that the paper does not use are ignored.
    """

    name: ClassVar[str] = "amass"
    home: ClassVar[str] = "amass.is.tue.mpg.de (registration; non-commercial research)"

    body_model: Path | None = Field(
        None, description="npz of an SMPL, SMPL-H or SMPL-X model that defines the skeleton"
    )

    rate: float | None = Field(
        None, ge=5, le=1000, description="frames per second of the files; None: as they state"
    )

    @property
    def skeleton(self) -> Skeleton:
        """The 18 kept joints; raises InputError if ``body_model`` cannot be used."""
        rest = self._rest
        return body({name: rest[name] for name in KEPT})

    def sources(self, root: Path | None) -> list[Source]:
        """Return the recordings of the paper's data sets under ``root``, sorted by name."""
        found = [
            source
            for name, folder in sorted(self._folders(root).items())
            for source in _sources_of(name, folder)
        ]
        if not found:
            raise InputError(
                f"{self.name}: no recording of the paper's data sets under {root}; expected for "
                f"instance {root}/amass/CMU/01/01_01_poses.npz"
            )
        self.skeleton  # noqa: B018 - reports an unusable body model once, not per recording
        return found

    def files(self, root: Path | None) -> list[Path]:
        """Return the files of the recordings, and of the body model if one is given."""
        return [*super().files(root), *([self.body_model] if self.body_model else [])]

    def absent(self, root: Path | None) -> list[str]:
        """Return the paper's data sets that are not under ``root``."""
        present = self._folders(root) if root else {}
        return [name for name in _SPLIT_OF if name not in present]

    def recognise(self, file: File) -> Source | None:
        """Recognise an npz file with poses that is not inside an archive."""
        name = file.inner.name
        if file.member or file.inner.suffix.lower() != ".npz" or _NO_MOTION.search(name):
            return None
        poses = {"poses", *(body for _, body in PARTS)} & set(_Npz.opened(file.path).sizes)
        return Source(file.inner.stem, "train", file=file) if poses else None

    def read(self, source: Source) -> NDArray[np.float32]:
        """Read a file as 18 joints at ``fps``."""
        assert source.file is not None
        vectors, rate = rotations_of(source.file.path, self.rate)
        check_length(source.file, len(vectors) * max(1.0, self.fps / rate))
        rotations = resample_rotations(vectors, rate, self.fps)
        rotations[:, 0] = orient(_Y_UP @ rotations[:, 0], self.orientation)
        motion = forward_kinematics(rotations, body(self._rest))
        return motion[:, len(JOINTS) - len(KEPT) :].astype(np.float32)

    @property
    def _rest(self) -> Mapping[str, tuple[float, ...]]:
        return REST if self.body_model is None else _rest_of(self.body_model)

    def _folders(self, root: Path | None) -> dict[str, Path]:
        """Return the folder of each of the paper's data sets that is present."""
        root = data_root(self.name, root, "amass/ with a folder for each data set")
        for place in (root / "amass", root / "AMASS", root):
            if place.is_dir() and (found := _data_sets_in(place)):
                return found
        return {}


def _data_sets_in(place: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in sorted(place.iterdir()):
        name = _DATA_SETS.get(_simplified(folder.name))
        if name is None or not folder.is_dir():
            continue
        if name in found:
            raise InputError(
                f"{AMASS.name}: {found[name]} and {folder} are the same data set; keep one of them"
            )
        found[name] = folder
    return found


def _sources_of(name: str, folder: Path) -> list[Source]:
    """Return the recordings of one data set; their names do not depend on the packaging."""
    sources = []
    for file in tree(folder, ".npz"):
        if _NO_MOTION.search(file.path.name):
            continue
        inner = file.path.relative_to(folder)
        # Archives of some data sets contain a folder with the data set's former name.
        if len(inner.parts) > 1 and _DATA_SETS.get(_simplified(inner.parts[0])) == name:
            inner = inner.relative_to(inner.parts[0])
        place = inner.parent.as_posix()
        subject = name if place == "." else f"{name}/{place}"
        stem = _PACKAGING.sub("", inner.stem)
        sources.append(Source(f"{subject}/{stem}", _SPLIT_OF[name], subject=subject, file=file))
    return sources


def rotations_of(path: Path, rate: float | None = None) -> tuple[NDArray[np.float64], float]:
    """Return the ``(frame, 22, 3)`` body rotation vectors of a recording in radians, and its fps.

    Args:
        path: of the npz.
        rate: its frames per second, if not those that it states.

    Raises:
        InputError: the file is no recording of AMASS, or is damaged.
    """
    npz = _Npz.opened(path)
    if "poses" in npz.sizes:
        poses = _angles(npz, "poses", WIDTHS)
    elif names := next((names for names in PARTS if set(names) <= set(npz.sizes)), None):
        root, body = names
        parts = (_angles(npz, root, (3,)), _angles(npz, body, (63, 69)))
        _check_frames(npz, {root: len(parts[0]), body: len(parts[1])})
        poses = np.concatenate([parts[0], parts[1][:, :63]], axis=1)
    else:
        raise npz.refused("no poses in it, so it is no recording of AMASS", "remove it")
    if "trans" in npz.sizes:
        _check_frames(npz, {"poses": len(poses), "trans": len(npz.array("trans"))})
    vectors = poses.reshape(-1, len(JOINTS), 3)
    check_radians(File(path), vectors)
    return vectors, _rate(npz) if rate is None else rate


def _check_frames(npz: "_Npz", counts: Mapping[str, int]) -> None:
    """Raise InputError unless two arrays have as many frames."""
    (one, first), (other, second) = counts.items()
    if first != second:
        raise npz.refused(f"{first} frames of {one} but {second} of {other}")


def _angles(npz: "_Npz", key: str, widths: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the body's columns of an array of rotation vectors, ``(frame, up to 66)``, radians.

    ``widths`` are the numbers of columns that the array may have.
    """
    array = npz.array(key)
    if array.ndim == 3 and array.shape[2] == 3:
        note("shape", f"{key} as {array.shape}, a rotation vector per joint")
        array = array.reshape(len(array), -1)
    if array.dtype.kind != "f" or array.ndim != 2 or array.shape[1] not in widths:
        expected = " or ".join(map(str, widths))
        raise npz.refused(f"{key} is {array.dtype} {array.shape}, not (frame, {expected}) numbers")
    check_length(File(npz.path), len(array))
    angles = array[:, : 3 * len(JOINTS)].astype(np.float64)
    bad = np.flatnonzero(~(np.abs(angles) <= LARGEST_ANGLE).all(axis=1))
    if len(bad):
        raise npz.refused(f"frame {bad[0]} of {key} has a number that is no angle in radians")
    return angles


def _rate(npz: "_Npz") -> float:
    rates = {key: _stated_rate(npz, key) for key in RATE_KEYS if key in npz.sizes}
    if not rates:
        raise npz.refused(
            f"no frame rate in it ({' or '.join(RATE_KEYS)})", "state it by dataset.rate"
        )
    return agreed(rates, str(npz.path))


def _stated_rate(npz: "_Npz", key: str) -> float:
    """Return the frames per second of an array of one number, or of a text of one."""
    array = npz.array(key, text=True)
    if array.dtype.kind not in "fiuSU" or array.size != 1:
        raise npz.refused(f"{key} is {array.dtype} {array.shape}, not a number")
    stated = array.reshape(()).item()
    if array.dtype.kind in "SU":
        text = stated.decode("latin-1") if isinstance(stated, bytes) else str(stated)
        number = _RATE.fullmatch(text.strip())
        if number is None:
            raise npz.refused(f"{key} is {quoted(text)}, no frame rate", "state dataset.rate")
        note("rate as text", f"{key} as the text {quoted(text)}")
        stated = number[1].replace(",", ".")
    rate = float(stated)
    if not RATES[0] <= rate <= RATES[1]:
        raise npz.refused(f"{key} is {rate:g}, no frame rate", "state dataset.rate")
    return rate


@dataclass(frozen=True)
class _Npz:
    """A numpy archive; arrays are read one by one, and pickled or huge ones are refused.

    Attributes:
        path: of the file.
        sizes: declared size of each array in bytes, by name.
    """

    path: Path
    sizes: dict[str, int]

    @classmethod
    def opened(cls, path: Path) -> "_Npz":
        """Read the directory of an npz; raises InputError if the file is not an npz."""
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
        except UNREADABLE as error:
            raise cls(path, {}).refused(f"cut short, or not an npz ({reason_of(error)})") from None
        return cls(path, {info.filename.removesuffix(".npy"): info.file_size for info in members})

    def array(self, key: str, text: bool = False) -> NDArray[Any]:
        """Read one array, with ``text`` also one of text.

        Raises:
            InputError: it is damaged, pickled or too large.
        """
        if self.sizes[key] > LARGEST:
            raise self.refused(f"{key} takes {self.sizes[key]} bytes, so it is no motion")
        try:
            return array_of(File(self.path, f"{key}.npy").read(), text)
        except ValueError as error:
            raise self.refused(f"{key} cannot be read ({error})") from None

    def refused(self, reason: str, remedy: str = "fetch the file again") -> InputError:
        return InputError(f"{self.path}: {reason}; {remedy}")


def _rest_of(model: Path) -> Mapping[str, tuple[float, ...]]:
    """Return the ``(x, y, z)`` of each body joint in a model's rest pose, mm from its pelvis.

    Raises:
        InputError: the file is not the npz of a body model.
    """
    if model.suffix.lower() != ".npz":
        raise InputError(
            f"body_model {model}: not an npz; a pickle (.pkl) can run code when it is opened, so "
            "give the model's npz"
        )
    try:
        modified = model.stat().st_mtime_ns
    except OSError as error:
        raise InputError(f"body_model {model}: {error.strerror}; check the path") from None
    return _rest_of_npz(model, modified)


@lru_cache(maxsize=2)
def _rest_of_npz(model: Path, modified: int) -> Mapping[str, tuple[float, ...]]:
    npz = _Npz.opened(model)
    joints = _model_joints(npz)
    if joints.dtype.kind != "f" or joints.ndim != 2 or joints.shape[1] != 3:
        raise npz.refused(f"joints are {joints.dtype} {joints.shape}, not (joint, 3) numbers")
    if len(joints) < len(JOINTS):
        raise npz.refused(f"{len(joints)} joints, fewer than a body's {len(JOINTS)}")
    rest = 1000 * (joints[: len(JOINTS)] - joints[0]).astype(np.float64)
    height = float(np.ptp(rest[:, 1]))
    # A comparison with nan is false.
    if not (500 < height < 3000 and (np.abs(rest) < 3000).all()):
        raise npz.refused(f"{height:g} mm from feet to head, no body in metres", "check the model")
    return {name: tuple(place) for name, place in zip(JOINTS, rest.tolist(), strict=True)}


def _model_joints(npz: _Npz) -> NDArray[Any]:
    if "J" in npz.sizes:
        return npz.array("J")
    if not {"J_regressor", "v_template"} <= set(npz.sizes):
        raise npz.refused("neither J nor J_regressor and v_template in it", "give a body model")
    regressor, vertices = npz.array("J_regressor"), npz.array("v_template")
    try:
        return regressor.astype(np.float64) @ vertices.astype(np.float64).reshape(-1, 3)
    except (TypeError, ValueError) as error:
        reason = f"J_regressor and v_template do not fit ({reason_of(error)})"
        raise npz.refused(reason, "check the model") from None
