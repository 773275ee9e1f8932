"""BVH files of any hierarchy, as the paper's 18 joints.

A file's joints are recognised by name, from the table of a common rig (``bvh_rigs``) or from the
user's own mapping. The root's rotation is that of the hips, whichever joint they are in the file.
Every file keeps its own bone lengths. Rotations, and positions of joints where files have them, are
interpolated to the requested frame rate.

The files have no official split; ``own_files`` defines how they are split.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bench.core.errors import InputError, did_you_mean
from bench.core.notices import note
from bench.datasets import stance
from bench.datasets.archive import File
from bench.datasets.base import Dataset, Source, check_length
from bench.datasets.bvh_file import REMEDY, BVHFile, bare, numbers_of, read_bvh
from bench.datasets.bvh_rigs import COLLARS, HOW_TO_MAP, RIGS, Axis, Rig, rig_of
from bench.datasets.own_files import (
    files_in,
    folder_of,
    kind_of,
    place_of,
    read_description,
    splits_of,
    within,
)
from bench.datasets.synthetic import SKELETON
from bench.motion import Skeleton
from bench.motion.body import KEPT
from bench.motion.kinematics import facing

STATURE = (0.8, 2.5)
"""Least and greatest plausible length of the bones from foot to head, metres."""
CHAINS = tuple(
    (f"{side}_foot", f"{side}_ankle", f"{side}_knee", "", "spine2", "spine3", "neck", "head")
    for side in ("left", "right")
)
"""Joints from a foot to the head, ``""`` the root."""
_BANDAI_NAMCO = re.compile(r"dataset-\d+_(?P<action>[^_]+_(?P<style>[^_]+))_\d+")
STYLES = ("normal", "active", "exhausted", "elderly", "feminine", "masculine", "youthful")
"""The styles of Bandai-Namco's second data set; folds deal them by their places here."""


class BVH(Dataset):
    """The user's own BVH files, of common rigs or with a mapping of their joints, 18 joints."""

    name: ClassVar[str] = "bvh"

    mapping: Path | None = Field(
        None, description="YAML of the files' joint names; None: known rigs"
    )
    scale: float | None = Field(None, gt=0, description="mm per unit of the files; None: the rig's")
    folder: str | None = Field(
        None, description="folder, or .zip archive, of the files' folder to read; None: all of it"
    )
    bones: Literal["own"] = Field("own", description="bone lengths: each file's own")
    rate: float | None = Field(
        None, ge=1, le=2000, description="frames per second of the files; None: as they state"
    )
    up: Axis | None = Field(
        None, description="the root's own axis that points up; None: as the files show"
    )
    forward: Axis | None = Field(
        None, description="the root's own axis in which the body faces; None: as the files show"
    )
    vertical: Axis | None = Field(
        None, description="the world's axis that points up; None: as the files show"
    )

    @property
    def skeleton(self) -> Skeleton:
        """The names, tree and limbs of the 18 joints; every file has its own bone lengths."""
        return SKELETON

    def sources(self, root: Path | None) -> list[Source]:
        """Return every .bvh file of ``root/bvh``, ``root/bvh.zip`` or ``root``, by name."""
        if self.mapping:
            read_description(Rig, self.mapping)
        place = place_of(self.name, root, ".bvh files")
        if self.folder is not None:
            place = within(place, self.folder)
        found = files_in(self.name, place, ".bvh")
        splits = splits_of(self.name, list(found), _kind)
        return [
            Source(path.with_suffix("").as_posix(), splits[path], _action(path), file=file)
            for path, file in found.items()
        ]

    def together(self, source: Source) -> str:
        """Return the kind of recording, which the default split does not divide either."""
        assert source.file is not None
        kind = _kind(source.file.inner)
        return str(STYLES.index(kind)) if kind in STYLES else kind

    def files(self, root: Path | None) -> list[Path]:
        """Return the files, and the mapping if one is given."""
        return [*super().files(root), *([self.mapping] if self.mapping else [])]

    def recognise(self, file: File) -> Source | None:
        """Recognise every .bvh file."""
        bvh = file.inner.suffix.lower() == ".bvh"
        return Source(file.inner.stem, "train", file=file) if bvh else None

    def read(self, source: Source) -> NDArray[np.float32]:
        """Read a file as 18 joints at ``fps``."""
        assert source.file is not None
        file, content = source.file, read_bvh(source.file, self.rate)
        rig = self._rig(file, content)
        names = Counter(bare(node.name) for node in content.nodes)
        if twice := [name for name in rig.names.values() if names[bare(name)] > 1]:
            raise InputError(f"{file}: two joints are called '{twice[0]}'; write one body per file")
        if len(content.motion) <= rig.skip_frames:
            raise InputError(f"{file}: no frame of motion; leave it out")
        check_length(file, len(content.motion) * max(1.0, self.fps / content.fps))
        pose = _pose(content, rig, self.fps)
        positions = pose.positions * (self.scale or rig.scale)
        _check_stature(file, positions, self.scale or rig.scale)
        # The root is the last joint; positions are relative to it.
        relative = positions[:, :-1] - positions[:, -1:]
        rig = self._standing(file, rig, pose, relative)
        body = rig.world @ pose.hips @ rig.axes
        relative = relative @ rig.world.T
        _check_stance(file, facing(relative, body, "removed"))
        return facing(relative, body, self.orientation).astype(np.float32)

    def _standing(self, file: File, rig: Rig, pose: "_Pose", relative: NDArray[np.float64]) -> Rig:
        """Return a rig with the axes that the settings state or, without any, that the file shows.

        ``relative`` are ``(frame, 18, 3)`` positions of the joints from the root, in the file's
        world.
        """
        stated = {
            key: value
            for key in ("up", "forward", "vertical")
            if (value := getattr(self, key)) is not None
        }
        rig = rig.model_copy(update=stated)
        if rig.up[-1] == rig.forward[-1]:
            raise InputError(
                f"{file}: up {rig.up} and forward {rig.forward} are one axis; set dataset.up and "
                "dataset.forward"
            )
        if not self.mapping and not {"up", "forward"} & set(stated):
            shown = stance.of_root(file, pose.rest, relative @ pose.hips, pose.across, rig)
            rig = rig.model_copy(update=shown)
        if not self.mapping and "vertical" not in stated and self.orientation != "removed":
            travel = pose.positions[:, -1] * (self.scale or rig.scale)
            rig = rig.model_copy(update=stance.of_world(file, relative, travel, rig))
        return rig

    def _rig(self, file: File, content: BVHFile) -> Rig:
        """Return the user's mapping, or the known rig of a file."""
        names = list(numbers_of(content.nodes))
        if self.mapping:
            rig = read_description(Rig, self.mapping)
            if missing := rig.missing(names):
                near = did_you_mean(missing[0], names)
                raise InputError(f"{file}: no joint '{missing[0]}' of {self.mapping}{near}")
            return rig
        found = rig_of(names)
        if found is None:
            raise InputError(
                f"{file}: not a known rig; its joints are {', '.join(names)[:2000]}; {HOW_TO_MAP}"
            )
        named = content.nodes[numbers_of(content.nodes)[bare(found.root)]].name
        if named not in {rig.root for rig in RIGS.values()}:
            note("names of joints", f"names after a namespace, such as '{named}'")
        return found


def _action(path: PurePosixPath) -> str:
    """Return the action: content and style of a Bandai-Namco file, else the folder's name."""
    named = _BANDAI_NAMCO.fullmatch(path.stem)
    return named["action"] if named else folder_of(path)


def _kind(path: PurePosixPath) -> str:
    """Return the style of a Bandai-Namco file, else its name up to the number at its end.

    Its actors are not stated, and all of a data set's files have bones of the same lengths. Files
    of one style in two splits would test on what is known: each content exists in every style.
    """
    named = _BANDAI_NAMCO.fullmatch(path.stem)
    return named["style"] if named else kind_of(path)


@dataclass(frozen=True)
class _Pose:
    """The body of a file, resampled, in the file's world and units.

    Attributes:
        positions: ``(frame, 19, 3)`` of the 18 joints and the root.
        hips: ``(frame, 3, 3)`` rotations of the root.
        across: ``(frame, 3)`` from the right hip to the left one, in the root's own axes.
        rest: position of each joint and of the root in the rest pose, by name.
    """

    positions: NDArray[np.float64]
    hips: NDArray[np.float64]
    across: NDArray[np.float64]
    rest: dict[str, NDArray[np.float64]]


def _pose(content: BVHFile, rig: Rig, fps: float) -> _Pose:
    """Return the body of a file at ``fps``."""
    numbers = numbers_of(content.nodes)
    node = {joint: numbers[bare(name)] for joint, name in rig.names.items()}
    node.setdefault("chest", node["spine3"])
    placed = content.place(node.values(), rig.skip_frames, fps)
    chest = placed[node["chest"]][1]
    points = {joint: placed[node[joint]][0] for joint in (*rig.joints, "root")}
    for collar in (collar for collar in COLLARS if collar not in rig.joints):
        shoulder = node[collar.replace("collar", "shoulder")]
        along = (content.rest(shoulder) - content.rest(node["spine3"])) / 3
        points[collar] = points["spine3"] + chest @ along
    hips = placed[node["root"]][1]
    left, right = (
        placed[content.nodes[node[f"{side}_knee"]].parent][0] for side in ("left", "right")
    )
    return _Pose(
        positions=np.stack([points[joint] for joint in (*KEPT, "root")], axis=1),
        hips=hips,
        across=((left - right)[:, None] @ hips)[:, 0],
        rest={joint: content.rest(number) for joint, number in node.items()},
    )


def _check_stature(file: File, positions: NDArray[np.float64], scale: float) -> None:
    """Raise InputError if the body has an implausible length, at the start or at any time."""
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
                f"{metres[~fits][0]:.3g} m long; {REMEDY}"
            )


def _check_stance(file: File, motion: NDArray[np.float64]) -> None:
    """Raise InputError if the body is not upright, or left and right are swapped."""
    median = dict(zip(KEPT, np.median(motion, axis=0), strict=True))
    # The median over frames, because trunks bend and twist only some of the time.
    across, neck = median["left_shoulder"] - median["right_shoulder"], median["neck"]
    upright = neck[1] >= np.abs(neck).max() > 0
    if not upright or across[0] < np.abs(across).max() or across[0] == 0:
        which = "left is not left" if upright else "up is not up"
        raise InputError(
            f"{file}: {which} once the root's rotation is removed; state the root's axes that "
            "point up and forward by dataset.up and dataset.forward, or in a mapping"
        )
