"""Marker recordings: named points in the axes of the laboratory, without a tree of bones.

Points have no root, so nothing is subtracted and nothing turned: an imputer that compares poses
aligns them itself, by what it sees. Subtracting the centre or rotation of all points here would let
hidden points move those that are seen.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from bench.core.errors import InputError, did_you_mean
from bench.core.settings import Settings
from bench.datasets.archive import File, tree
from bench.datasets.base import SPLITS, Dataset, Source, check_length
from bench.datasets.npy import array_of
from bench.datasets.own_files import files_in, folder_of, kind_of, place_of, splits_of
from bench.datasets.points import READERS, read_points
from bench.motion import Skeleton
from bench.motion.kinematics import resample_positions

CMU = (
    *("LFHD", "RFHD", "LBHD", "RBHD"),
    *("C7", "T10", "CLAV", "STRN", "RBAC"),
    *("LSHO", "LUPA", "LELB", "LFRM", "LWRA", "LWRB", "LFIN"),
    *("RSHO", "RUPA", "RELB", "RFRM", "RWRA", "RWRB", "RFIN"),
    *("LFWT", "RFWT", "LBWT", "RBWT"),
    *("LTHI", "LKNE", "LSHN", "LANK", "LHEE", "LTOE", "LMT5"),
    *("RTHI", "RKNE", "RSHN", "RANK", "RHEE", "RTOE", "RMT5"),
)
"""The 41 markers of recordings of CMU and HDM05."""


class Part(Settings):
    """Frames of one file."""

    file: str = Field(min_length=1, description="path below the data root, or below markers/ there")
    frames: tuple[int, int] | None = Field(
        None, description="first frame, and the one after the last, counted from 0; null for all"
    )
    action: str = Field("", description="label of these frames, for train_on of models")

    @model_validator(mode="after")
    def _ordered(self) -> "Part":
        if self.frames is not None and not 0 <= self.frames[0] < self.frames[1]:
            raise ValueError(f"frames {list(self.frames)}: the first comes before the last")
        return self

    @property
    def name(self) -> str:
        """The file's name without suffix, with the frames as a slice."""
        stem = PurePosixPath(self.file).stem
        return stem if self.frames is None else f"{stem}[{self.frames[0]}:{self.frames[1]}]"

    @property
    def span(self) -> tuple[float, float]:
        """First frame, and the one after the last, infinite if the file's end is."""
        return self.frames or (0.0, np.inf)


class Markers(Dataset):
    """Named points of marker recordings (C3D) in the laboratory's axes, without bones, real."""

    name: ClassVar[str] = "markers"

    orientation: Literal["kept"] = Field(
        "kept", description="always kept: points have no root that could be turned"
    )
    points: tuple[str, ...] = Field(
        CMU, min_length=1, description="names of the points, without the subject's name"
    )
    up: Literal["y", "z"] = Field("z", description="which axis of the files points up")
    train: tuple[Part, ...] = Field((), description="parts to fit on; none of all: by folders")
    valid: tuple[Part, ...] = Field((), description="parts that choose among epochs")
    test: tuple[Part, ...] = Field((), description="parts to complete")
    masks: str | None = Field(
        None,
        description="an .npz below the data root of masks of test windows: an array per level "
        "named NAME_LEVEL, (mask, frame, 3 x point), 0 where hidden",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Markers":
        if len(set(self.points)) < len(self.points):
            raise ValueError("points: a name occurs twice")
        given = [split for split in SPLITS if self._parts(split)]
        if given and len(given) < len(SPLITS):
            raise ValueError(
                f"{', '.join(given)} given; give all of train, valid and test, or none"
            )
        return self

    def _parts(self, split: str) -> tuple[Part, ...]:
        return getattr(self, split)

    @property
    def skeleton(self) -> Skeleton:
        """The points, without bones, pairs or a rest pose; all are one limb."""
        return Skeleton(
            names=self.points,
            parents=(-1,) * len(self.points),
            rest=np.zeros((len(self.points), 3)),
            limbs={"points": self.points},
            pairs=(),
        )

    def sources(self, root: Path | None) -> list[Source]:
        """Return the parts of each split; if none is given, every file, split by folders."""
        place = self._place(root)
        if not self.train:
            found = files_in(self.name, place, *READERS)
            split = splits_of(self.name, list(found))
            return [
                Source(path.as_posix(), split[path], folder_of(path), file=file)
                for path, file in found.items()
            ]
        return [
            Source(f"{split}/{part.name}", split, part.action, file=_below(place, part.file))
            for split in SPLITS
            for part in self._parts(split)
        ]

    def together(self, source: Source) -> str:
        """Return the kind of recording, which a split by folders or names does not divide."""
        assert source.file is not None
        return kind_of(source.file.inner)

    def files(self, root: Path | None) -> list[Path]:
        """Return the recordings, and the file of masks if there is one."""
        masks = [_below(self._place(root), self.masks).path] if self.masks else []
        return [*super().files(root), *masks]

    def recognise(self, file: File) -> Source | None:
        """Recognise a file of points, unless points of this data set are missing in it."""
        if file.inner.suffix.lower() not in READERS:
            return None
        source = Source(file.inner.stem, "train", file=file)
        try:
            labels = read_points(file).labels
        except InputError:
            return source
        return source if set(self.points) <= set(labels) else None

    def read(self, source: Source) -> NDArray[np.float32]:
        """Read one part at ``fps``, y up, in the laboratory's axes; nan where missing."""
        assert source.file is not None
        recording = read_points(source.file)
        places = {label: number for number, label in enumerate(recording.labels)}
        if lost := [name for name in self.points if name not in places]:
            near = did_you_mean(lost[0], recording.labels)
            raise InputError(
                f"{source.file}: no point '{lost[0]}'{near}; name its points under dataset.points"
            )
        positions = recording.positions[:, [places[name] for name in self.points]]
        positions = positions[self._slice(source, len(positions))]
        if self.up == "z":
            positions = np.stack(
                [positions[..., 0], positions[..., 2], -positions[..., 1]], axis=-1
            )
        check_length(source.file, len(positions) * max(1.0, self.fps / recording.fps))
        return resample_positions(positions, recording.fps, self.fps).astype(np.float32)

    def _slice(self, source: Source, frames: int) -> slice:
        """Return the frames of a file that a recording consists of."""
        parts = {f"{split}/{part.name}": part for split in SPLITS for part in self._parts(split)}
        part = parts.get(source.name)
        if part is None or part.frames is None:
            return slice(None)
        if part.frames[1] > frames:
            raise InputError(f"{source.file}: frames {list(part.frames)} of {frames}; correct them")
        return slice(*part.frames)

    def test_masks(self, root: Path | None) -> Mapping[int, NDArray[np.bool_]]:
        """Return the masks in ``masks`` by level."""
        if self.masks is None:
            return {}
        file = _below(self._place(root), self.masks)
        found: dict[int, NDArray[np.bool_]] = {}
        shape = (self.frames, len(self.points), 3)
        for member in tree(file.path, ".npy"):
            level = PurePosixPath(member.member).stem.rpartition("_")[2]
            try:
                known = array_of(member.read())
            except ValueError as error:
                raise InputError(f"{member}: {error}; fetch it again") from None
            if not level.isdigit() or known.shape[1:] != (shape[0], shape[1] * shape[2]):
                raise InputError(
                    f"{member}: masks {known.shape}; expected (mask, {shape[0]}, {3 * shape[1]}) "
                    "in an array whose name ends in _LEVEL, such as markers_3"
                )
            found[int(level)] = (known == 0).reshape(-1, *shape)
        return found

    @property
    def caveat(self) -> str:
        """Which parts to fit on share frames with parts to complete, where nothing is hidden."""
        leaks = [
            f"{one.name} of action '{one.action}'"
            for one in self.train
            if any(_overlap(one, other) for other in self.test)
        ]
        verb = "overlaps" if len(leaks) == 1 else "overlap"
        return f"train {' and '.join(leaks)} {verb} the test" if leaks else ""

    def _place(self, root: Path | None) -> Path:
        return place_of(self.name, root, f"{', '.join(READERS)} files")


def _overlap(one: Part, other: Part) -> bool:
    first, last = max(one.span[0], other.span[0]), min(one.span[1], other.span[1])
    return one.file == other.file and first < last


def _below(place: Path, name: str) -> File:
    """Return a file below the data's folder; raises InputError if there is none."""
    path = place / name
    if not path.is_file() or not path.resolve().is_relative_to(place.resolve()):
        raise InputError(f"{path}: no such file; check --data-root, or its name in the protocol")
    return File(path)
