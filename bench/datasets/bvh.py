"""BVH files of any hierarchy, as the paper's 18 joints.

A file's joints are known by name, from the table of a common rig (``bvh_rigs``) or a mapping of
the user's own. What is removed is the rotation of the hips, whatever joint they are in the file.
Every file keeps the lengths of its own bones. Rotations are interpolated to the asked frame rate,
positions that files give of their joints likewise.

The files have no official split; ``own_files`` says how they are split.
"""

import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bench.core.errors import InputError, did_you_mean
from bench.datasets.archive import File
from bench.datasets.base import Dataset, Source, check_length
from bench.datasets.bvh_file import MEND, BVHFile, bare, numbers_of, read_bvh
from bench.datasets.bvh_rigs import COLLARS, HOW_TO_MAP, Rig, rig_of
from bench.datasets.own_files import described, files_in, folder_of, place_of, splits_of
from bench.datasets.synthetic import SKELETON
from bench.motion import Skeleton
from bench.motion.body import KEPT
from bench.motion.kinematics import facing

STATURE = (0.8, 2.5)
"""Least and greatest metres from foot to head along the bones, whatever the pose."""
CHAINS = tuple(
    (f"{side}_foot", f"{side}_ankle", f"{side}_knee", "", "spine2", "spine3", "neck", "head")
    for side in ("left", "right")
)
"""Joints from a foot to the head, ``""`` the root."""
_BANDAI_NAMCO = re.compile(r"dataset-\d+_([^_]+_[^_]+)_\d+")


class BVH(Dataset):
    """The user's own BVH files, of common rigs or with a mapping of their joints, 18 joints."""

    name: ClassVar[str] = "bvh"

    mapping: Path | None = Field(None, description="YAML of the files' joints; None: known rigs")
    scale: float | None = Field(None, gt=0, description="mm per unit of the files; None: the rig's")
    bones: Literal["own"] = Field("own", description="whose bone lengths: each file's own")

    @property
    def skeleton(self) -> Skeleton:
        """The 18 joints: their names, tree and limbs; every file has lengths of its own."""
        return SKELETON

    def sources(self, root: Path | None) -> list[Source]:
        """Return every .bvh file of ``root/bvh``, ``root/bvh.zip`` or ``root``, by name."""
        if self.mapping:
            described(Rig, self.mapping)
        found = files_in(self.name, place_of(self.name, root, ".bvh files"), ".bvh")
        splits = splits_of(self.name, list(found))
        return [
            Source(path.with_suffix("").as_posix(), splits[path], _action(path), file=file)
            for path, file in found.items()
        ]

    def files(self, root: Path | None) -> list[Path]:
        """Return the files, and the mapping, which changes what they mean."""
        return [*super().files(root), *([self.mapping] if self.mapping else [])]

    def recognise(self, file: File) -> Source | None:
        """Claim every .bvh file."""
        bvh = file.inner.suffix.lower() == ".bvh"
        return Source(file.inner.stem, "train", file=file) if bvh else None

    def read(self, source: Source) -> NDArray[np.float32]:
        """Read a file as 18 joints at ``fps``."""
        assert source.file is not None
        file, content = source.file, read_bvh(source.file)
        rig = self._rig(file, content)
        names = Counter(bare(node.name) for node in content.nodes)
        if twice := [name for name in rig.names.values() if names[bare(name)] > 1]:
            raise InputError(f"{file}: two joints are called '{twice[0]}'; write one body per file")
        if len(content.motion) <= rig.skip_frames:
            raise InputError(f"{file}: no frame of motion; leave it out")
        check_length(file, len(content.motion) * max(1.0, self.fps / content.fps))
        positions, hips = _pose(content, rig, self.fps)
        positions *= self.scale or rig.scale
        _check_stature(file, positions, self.scale or rig.scale)
        # The root is the last of the joints; it is where all others are seen from.
        body = rig.world @ hips @ rig.axes
        relative = (positions[:, :-1] - positions[:, -1:]) @ rig.world.T
        _check_stance(file, facing(relative, body, "removed"))
        return facing(relative, body, self.orientation).astype(np.float32)

    def _rig(self, file: File, content: BVHFile) -> Rig:
        """Return what the joints of a file are."""
        names = list(numbers_of(content.nodes))
        if self.mapping:
            rig = described(Rig, self.mapping)
            if lacking := rig.lacking(names):
                near = did_you_mean(lacking[0], names)
                raise InputError(f"{file}: no joint '{lacking[0]}' of {self.mapping}{near}")
            return rig
        found = rig_of(names)
        if found is None:
            raise InputError(
                f"{file}: of no rig that is known; its joints are {', '.join(names)[:2000]}; "
                f"{HOW_TO_MAP}"
            )
        return found


def _action(path: PurePosixPath) -> str:
    """Return what is done: content and style of a Bandai-Namco file, else the folder's name."""
    named = _BANDAI_NAMCO.fullmatch(path.stem)
    return named[1] if named else folder_of(path)


def _pose(
    content: BVHFile, rig: Rig, fps: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``(frame, 19, 3)`` positions of the 18 joints and the root, and its rotation.

    Both are in the file's world and units.
    """
    numbers = numbers_of(content.nodes)
    of = {joint: numbers[bare(name)] for joint, name in rig.names.items()}
    of.setdefault("chest", of["spine3"])
    placed = content.place(of.values(), rig.skip_frames, fps)
    chest = placed[of["chest"]][1]
    points = {joint: placed[of[joint]][0] for joint in (*rig.joints, "root")}
    for collar in (collar for collar in COLLARS if collar not in rig.joints):
        shoulder = of[collar.replace("collar", "shoulder")]
        along = (content.rest(shoulder) - content.rest(of["spine3"])) / 3
        points[collar] = points["spine3"] + chest @ along
    positions = np.stack([points[joint] for joint in (*KEPT, "root")], axis=1)
    return positions, placed[of["root"]][1]


def _check_stature(file: File, positions: NDArray[np.float64], scale: float) -> None:
    """Refuse a file whose units cannot be what they are taken for, or whose body falls apart."""
    columns = {**{name: number for number, name in enumerate(KEPT)}, "": len(KEPT)}
    for chain in CHAINS:
        ends = positions[:, [columns[name] for name in chain]]
        metres = np.linalg.norm(np.diff(ends, axis=1), axis=-1).sum(axis=1) / 1000
        fits = (metres > STATURE[0]) & (metres < STATURE[1])
        if not fits[0]:
            raise InputError(
                f"{file}: a body {metres[0]:.3g} m long from foot to head at {scale:g} mm per "
                "unit; set dataset.scale to the millimetres of one unit"
            )
        if not fits.all():
            raise InputError(
                f"{file}: a body {metres[0]:.3g} m long from foot to head is at some time "
                f"{metres[~fits][0]:.3g} m long; {MEND}"
            )


def _check_stance(file: File, motion: NDArray[np.float64]) -> None:
    """Refuse a file whose body is not the way up, or around, that its rig says."""
    median = dict(zip(KEPT, np.median(motion, axis=0), strict=True))
    # Trunks bend and twist, but not most of the time.
    across = median["left_shoulder"] - median["right_shoulder"]
    if median["neck"][1] <= 0 or across[0] <= 0:
        which = "up is not up" if median["neck"][1] <= 0 else "left is not left"
        raise InputError(
            f"{file}: {which} once the root's rotation is removed; write a mapping that says which "
            "axes of the root are up and forward, and set dataset.mapping to it"
        )
