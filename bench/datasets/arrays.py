"""Joint positions as arrays: .npz, .npy, .csv or .parquet files with a ``motion.yaml``.

An array is ``(frame, joint, 3)``; a table has columns ``<joint>_x``, ``<joint>_y`` and
``<joint>_z`` (or ``<joint>.x`` and so on); its other columns are ignored. ``motion.yaml`` describes
the numbers (``Layout`` lists its keys); the nearest one in a file's folder or above applies.

A nan marks a value that was not recorded and remains nan: windows with a nan are left out and
counted. If the root, or a joint that defines the body's rotation, is missing in a frame, the whole
frame is missing. Positions are interpolated linearly, and never across a missing one.

The body's rotation is defined by three points: its left-right axis passes through two hip joints,
and its up axis, orthogonal to the first, points from the root towards a joint above it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, model_validator

from bench.core.errors import InputError, did_you_mean, reason_of
from bench.core.notices import note
from bench.core.settings import Settings
from bench.datasets.archive import LARGEST, File, tree
from bench.datasets.base import Dataset, Source, check_length
from bench.datasets.npy import array_of
from bench.datasets.own_files import (
    files_in,
    folder_of,
    kind_of,
    place_of,
    read_description,
    splits_of,
)
from bench.datasets.plausible import is_mark, seen
from bench.datasets.rates import agreed
from bench.datasets.synthetic import SKELETON
from bench.datasets.text import table_of
from bench.motion import Skeleton
from bench.motion.body import KEPT
from bench.motion.kinematics import facing, resample_positions

LAYOUT = "motion.yaml"
SUFFIXES = (".npz", ".npy", ".csv", ".parquet")
MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
REACH_MM = (150.0, 3000.0)
"""Least and greatest plausible distance of the farthest of the 18 joints from the root: the median
over frames."""

Split = Literal["train", "valid", "test"]
Name = Annotated[str, Field(min_length=1)]


class Layout(Settings):
    """The content of ``motion.yaml``: how to read the arrays in its folder and below."""

    fps: float = Field(ge=1, le=2000, description="frames per second of the files")
    units: Literal["mm", "cm", "m"] = Field(description="of positions")
    joints: tuple[Name, ...] = Field(
        min_length=1, max_length=1000, description="names, in the arrays' order"
    )
    root: Name | tuple[Name, Name] = Field(description="what positions are relative to, or two")
    up: Literal["y", "z"] = Field("y", description="which axis points up")
    left: str | None = Field(None, description="a joint of the left hip")
    right: str | None = Field(None, description="a joint of the right hip")
    above: str | None = Field(None, description="a joint above the root, such as the chest")
    oriented: bool = Field(False, description="the root's rotation is already removed")
    map: dict[str, Name] | None = Field(None, description="the files' names of the 18 joints")
    parents: dict[Name, Name | None] | None = Field(None, description="tree of the own joints")
    limbs: dict[Name, tuple[Name, ...]] | None = Field(None, description="of the own joints")
    pairs: tuple[tuple[Name, Name], ...] = Field((), description="(left, right) own joints")
    missing: tuple[Literal["nan", "zero"] | float, ...] | None = Field(
        None,
        description="what marks a joint that was not seen, besides nan: numbers, and zero for "
        "0, 0, 0; None: as the files show",
    )
    key: str | None = Field(None, description="name of the array in .npz files; None: the only one")
    splits: dict[Split, tuple[Name, ...]] | None = Field(
        None, description="patterns of the files of each split, such as 'subject1/*'"
    )

    @model_validator(mode="after")
    def _known(self) -> "Layout":
        if twice := [name for name in self.joints if self.joints.count(name) > 1]:
            raise ValueError(f"joints name '{twice[0]}' twice")
        points = {"left": self.left, "right": self.right, "above": self.above}
        roots = (self.root,) if isinstance(self.root, str) else self.root
        named = [("root", name) for name in roots]
        named += [(key, name) for key, name in points.items() if name is not None]
        named += [("map", name) for name in (self.map or {}).values()]
        for key, name in named:
            if name not in self.joints:
                raise ValueError(f"{key}: no joint '{name}'{did_you_mean(name, self.joints)}")
        for name in self.map or {}:
            if name not in KEPT:
                raise ValueError(f"map: no joint '{name}' of the body{did_you_mean(name, KEPT)}")
        if self.map is not None and (missing := [name for name in KEPT if name not in self.map]):
            raise ValueError(f"map: {', '.join(missing)} missing")
        if self.map is not None and self.parents is not None:
            raise ValueError("map and parents: joints are either the body's 18 or your own")
        self.skeleton()
        return self

    def skeleton(self) -> Skeleton:
        """Return the skeleton of the motion: the body's 18 joints, or the user's own.

        The user's own joints have no rest pose: all its positions are 0.

        Raises:
            ValueError: a joint of the 18 is missing, or the own joints are not a tree in order.
        """
        if self.parents is None:
            if self.map is None and (missing := [n for n in KEPT if n not in self.joints]):
                raise ValueError(
                    f"joints lack {missing[0]} of the body's 18; state under map what each of them "
                    "is, or give parents to use joints as they are"
                )
            return SKELETON
        if unknown := [name for name in self.parents if name not in self.joints]:
            near = did_you_mean(unknown[0], self.joints)
            raise ValueError(f"parents: no joint '{unknown[0]}'{near}")
        if missing := [name for name in self.joints if name not in self.parents]:
            raise ValueError(f"parents: none of '{missing[0]}'; null where it has none")
        above = [self.parents[name] for name in self.joints]
        for name, parent in zip(self.joints, above, strict=True):
            if parent is not None and parent not in self.joints[: self.joints.index(name)]:
                raise ValueError(f"parents: '{parent}' must come before '{name}' in joints")
        return Skeleton(
            names=self.joints,
            parents=tuple(-1 if name is None else self.joints.index(name) for name in above),
            rest=np.zeros((len(self.joints), 3)),
            limbs=self.limbs or {"body": self.joints},
            pairs=self.pairs,
        )

    @property
    def marks(self) -> tuple[float, ...] | None:
        """The numbers that mark a missing coordinate; None if that is not stated."""
        if self.missing is None:
            return None
        return tuple(
            0.0 if mark == "zero" else float(mark) for mark in self.missing if mark != "nan"
        )

    @property
    def kept(self) -> list[str]:
        """Names in the files of the skeleton's joints, in the skeleton's order."""
        if self.parents is not None:
            return list(self.joints)
        return [self.map[name] if self.map else name for name in KEPT]

    def check(self, where: Path, orientation: str) -> None:
        """Raise InputError if these data do not determine the rotation that ``orientation`` needs.

        ``where`` is the path of the ``motion.yaml``, for the message.
        """
        needed = {"removed": ("left", "right", "above"), "facing_removed": ("left", "right")}
        for key in () if self.oriented else needed.get(orientation, ()):
            if getattr(self, key) is None:
                raise InputError(
                    f"{where}: dataset.orientation: {orientation} needs {key}, a joint that "
                    "determines the body's rotation; name it, or set oriented: true if that is "
                    "already removed"
                )


class Arrays(Dataset):
    """The user's own arrays of joint positions, described by a motion.yaml in their folder."""

    name: ClassVar[str] = "arrays"

    layout: Path | None = Field(
        None, description="the motion.yaml; needed where it names joints other than the body's 18"
    )

    @property
    def skeleton(self) -> Skeleton:
        """The body's 18 joints, or those of ``layout``."""
        return SKELETON if self.layout is None else read_description(Layout, self.layout).skeleton()

    def sources(self, root: Path | None) -> list[Source]:
        """Return every array under ``root/arrays`` or ``root``, by name."""
        place = place_of(self.name, root, f"{LAYOUT} and {', '.join(SUFFIXES)} files")
        if not place.is_dir():
            raise InputError(f"{self.name}: {place} is no folder; unpack it")
        found = files_in(self.name, place, *SUFFIXES)
        layouts = {path: self._layout(file) for path, file in found.items()}
        for where in dict.fromkeys(layouts.values()):
            read_description(Layout, where).check(where, self.orientation)
            if self.layout is None and read_description(Layout, where).parents is not None:
                raise InputError(f"{where}: has joints of its own; set dataset.layout to it")
        splits = self._splits(list(found), list(dict.fromkeys(layouts.values())))
        return [
            Source(path.as_posix(), splits[path], folder_of(path), file=file)
            for path, file in found.items()
        ]

    def together(self, source: Source) -> str:
        """Return the pattern of ``splits`` that the file is listed by, else its kind.

        A pattern such as ``subject1/*`` counts as ``subject1``.
        """
        assert source.file is not None
        path = PurePosixPath(source.name)
        splits = read_description(Layout, self._layout(source.file)).splits or {}
        patterns = (one for listed in splits.values() for one in listed)
        found = next((one for one in patterns if _matches(path, one)), None)
        return kind_of(path) if found is None else found.rstrip("/*")

    def files(self, root: Path | None) -> list[Path]:
        """Return the arrays, and the ``motion.yaml`` files that describe them."""
        found = super().files(root)
        return [*found, *sorted({self._layout(File(path)) for path in found})]

    def recognise(self, file: File) -> Source | None:
        """Recognise an array with a ``motion.yaml`` in its folder or above."""
        array = file.inner.suffix.lower() in SUFFIXES and not file.member
        if array and any((folder / LAYOUT).is_file() for folder in file.path.parents):
            return Source(file.inner.stem, "train", file=file)
        return None

    def read(self, source: Source) -> NDArray[np.float32]:
        """Read a file's joints at ``fps``; nan where a joint was not recorded."""
        assert source.file is not None
        file, where = source.file, self._layout(source.file)
        layout = read_description(Layout, where)
        layout.check(where, self.orientation)
        column = {name: number for number, name in enumerate(layout.joints)}
        roots = [layout.root] if isinstance(layout.root, str) else list(layout.root)
        positions = MM[layout.units] * seen(
            file,
            _array(file, layout),
            MM[layout.units],
            layout.fps,
            [column[name] for name in roots],
            layout.marks,
        )
        if layout.up == "z":
            positions = np.stack(
                [positions[..., 0], positions[..., 2], -positions[..., 1]], axis=-1
            )
        check_length(file, len(positions) * max(1.0, self.fps / layout.fps))
        positions = resample_positions(positions, layout.fps, self.fps)
        relative = positions - positions[:, [column[name] for name in roots]].mean(1, keepdims=True)
        if not layout.oriented and self.orientation != "kept":
            points = {key: relative[:, column[name]] for key, name in _points(layout).items()}
            relative = facing(relative, _rotation(file, points, self.fps), self.orientation)
        motion = relative[:, [column[name] for name in layout.kept]]
        if layout.parents is None:
            _check_reach(file, motion, layout.units)
            if self.orientation != "removed" and "up" not in layout.model_fields_set:
                _check_upright(file, motion)
        return motion.astype(np.float32)

    def _layout(self, file: File) -> Path:
        """Return the path of the ``motion.yaml`` that describes a file."""
        if self.layout is not None:
            return self.layout
        above = (folder / LAYOUT for folder in file.path.parents)
        found = next((path for path in above if path.is_file()), None)
        if found is None:
            raise InputError(
                f"{file}: no {LAYOUT} in its folder or above describes it; docs/own_data.md "
                "shows one"
            )
        return found

    def _splits(
        self, paths: Sequence[PurePosixPath], layouts: Sequence[Path]
    ) -> dict[PurePosixPath, str]:
        stated = next(
            ((w, s) for w in layouts if (s := read_description(Layout, w).splits) is not None), None
        )
        if stated is None:
            return splits_of(self.name, paths)
        if len(layouts) > 1:
            raise InputError(f"{stated[0]}: splits need a single {LAYOUT}; there are more")
        return {path: _split(path, *stated) for path in paths}


def _split(path: PurePosixPath, where: Path, splits: dict[Split, tuple[str, ...]]) -> str:
    """Return the split of which a pattern matches a file's path, with or without its suffix."""
    found = [
        split
        for split, patterns in splits.items()
        if any(_matches(path, pattern) for pattern in patterns)
    ]
    if len(found) != 1:
        many = f"{len(found)} splits" if found else "no split"
        raise InputError(f"{where}: splits: {path} is in {many}; it must be in one")
    return found[0]


def _matches(path: PurePosixPath, pattern: str) -> bool:
    names = (path.as_posix(), path.with_suffix("").as_posix())
    return any(fnmatchcase(name, pattern) for name in names)


def _points(layout: Layout) -> dict[str, str]:
    named = {"left": layout.left, "right": layout.right, "above": layout.above}
    return {key: name for key, name in named.items() if name is not None}


def _rotation(
    file: File, points: dict[str, NDArray[np.float64]], fps: float
) -> NDArray[np.float64]:
    """Return ``(frame, 3, 3)`` rotation of the body in the world; nan where a point is missing.

    Without a point ``above``, the body is taken to be upright.
    """
    left = points["left"] - points["right"]
    above = points.get("above", np.broadcast_to([0.0, 1.0, 0.0], left.shape))
    forward = np.cross(left, above)
    up = np.cross(forward, left)
    columns = np.stack([left, up, forward], axis=2)
    lengths = np.linalg.norm(columns, axis=1, keepdims=True)
    bad = np.flatnonzero((lengths == 0).any(axis=(1, 2)))
    if len(bad):
        raise InputError(
            f"{file}: {bad[0] / fps:.2f} s from the start the joints that determine the body's "
            "rotation are in one line or point; write nan where a joint was not recorded"
        )
    return columns / lengths


def _check_reach(file: File, motion: NDArray[np.float64], units: str) -> None:
    """Raise InputError if the size of the body shows that the stated units are wrong."""
    distances = np.linalg.norm(motion, axis=-1)
    known = distances[np.isfinite(distances).any(axis=1)]
    reach = np.median(np.nanmax(known, axis=1)) if len(known) else REACH_MM[0]
    if not REACH_MM[0] <= reach <= REACH_MM[1]:
        raise InputError(
            f"{file}: the farthest joint is {reach / 1000:.3g} m from the root, with units: "
            f"{units}; no body has that size; correct units in {LAYOUT}"
        )


def _check_upright(file: File, motion: NDArray[np.float64]) -> None:
    """Raise InputError if a body does not stand along y, where ``up`` is not stated."""
    joints = {name: motion[:, number] for number, name in enumerate(KEPT)}
    tall = joints["head"] - (joints["left_ankle"] + joints["right_ankle"]) / 2
    tall = tall[np.isfinite(tall).all(axis=1)]
    median = np.median(tall, axis=0) if len(tall) else np.array([0.0, 1.0, 0.0])
    if median[1] < np.abs(median).max():
        raise InputError(
            f"{file}: the body does not stand along y, so it is unclear which axis points up; "
            f"state up: y or up: z in {LAYOUT}"
        )


def _array(file: File, layout: Layout) -> NDArray[np.float64]:
    """Return ``(frame, joint, 3)`` positions of a file, in its units and axes."""
    match file.inner.suffix.lower():
        case ".npy":
            array = _shaped(file, _npy(file), layout)
        case ".npz":
            array = _shaped(file, _npy(_member(file, layout)), layout)
        case ".csv":
            array = _csv(file, layout)
        case _:
            array = _parquet(file, layout)
    # Larger than any length in any unit; a comparison with nan is false.
    bad = np.flatnonzero(((np.abs(array) >= 1e9) & ~is_mark(array)).any(axis=(1, 2)))
    if len(bad):
        raise InputError(f"{file}: frame {bad[0] + 1} has a number that is no length; write nan")
    if not len(array):
        raise InputError(f"{file}: no frame; leave it out")
    return array


def _shaped(file: File, array: NDArray[np.float64], layout: Layout) -> NDArray[np.float64]:
    """Return an array as ``(frame, joint, 3)``, if it has one such reading."""
    due = (len(layout.joints), 3)
    if array.ndim == 3 and array.shape[1:] == due:
        return array
    readings = {
        what: found
        for what, found in _readings(array)
        if found.ndim == 3 and found.shape[1:] == due
    }
    if len(readings) == 1:
        (what, found), *_ = readings.items()
        note("shape", f"an array of {array.shape}, taken for {what}")
        return found
    doubt = f" (it may be {' or '.join(readings)})" if readings else ""
    raise InputError(
        f"{file}: an array of {array.shape}{doubt}, not (frame, {due[0]}, 3) as the joints of "
        f"{LAYOUT} require"
    )


def _readings(array: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield what an array of another shape may be, and it as ``(frame, joint, 3)``."""
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
        yield "(one person, frame, joint, 3)", array
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
        yield "(frame, one person, joint, 3)", array
    if array.ndim != 3:
        return
    for order, what in (
        ((0, 1, 2), "(frame, joint, {})"),
        ((0, 2, 1), "(frame, {}, joint)"),
        ((2, 1, 0), "({}, joint, frame)"),
    ):
        turned = array.transpose(order)
        if order != (0, 1, 2):
            yield what.format(3), turned
        if turned.shape[2] == 4 and _homogeneous(turned[..., 3]):
            yield what.format("x y z 1"), turned[..., :3]


def _homogeneous(last: NDArray[np.float64]) -> bool:
    """Return whether a fourth coordinate is that of points in homogeneous coordinates."""
    return bool((np.isnan(last) | (last == 1)).all() and (last == 1).any())


RATE_NAMES = ("fps", "rate", "framerate", "frame_rate", "mocap_framerate", "mocap_frame_rate")
"""Names of arrays of .npz files that are frames per second, not positions."""


def _member(file: File, layout: Layout) -> File:
    """Return the member of an .npz file that has the positions.

    It is the one named by ``key``, or the only one besides frames per second, which must agree.
    """
    found = {Path(member.member).stem: member for member in tree(file.path, ".npy")}
    rates = {name: found.pop(name) for name in RATE_NAMES if name in found and len(found) > 1}
    for name, member in rates.items():
        stated = _npy(member)
        if stated.size == 1:
            agreed({f"{LAYOUT}": layout.fps, f"its array {name}": float(stated.item())}, str(file))
    key = layout.key
    if key is None and len(found) != 1:
        names = ", ".join(sorted(found)[:20]) or "none"
        raise InputError(f"{file}: which array? Set key in {LAYOUT} to one of: {names}")
    if key is not None and key not in found:
        raise InputError(f"{file}: no array '{key}'{did_you_mean(key, found)}")
    return next(iter(found.values())) if key is None else found[key]


def _npy(file: File) -> NDArray[np.float64]:
    try:
        array = array_of(file.read())
    except ValueError as error:
        raise InputError(f"{file}: {error}; write it again") from None
    check_length(file, array.shape[0] if array.shape else 0)
    return array.astype(np.float64)


def _csv(file: File, layout: Layout) -> NDArray[np.float64]:
    table = table_of(file, file.read(), header=True)
    if not table.header:
        raise InputError(f"{file}: empty, no table; write it again")

    def values(columns: Sequence[int]) -> NDArray[np.float64]:
        mend = "write nan, or leave the cell empty, where a joint was not recorded"
        return table.values(mend, len(table.header), columns, empty=True)

    return _columns(file, table.header, values, layout)


def _parquet(file: File, layout: Layout) -> NDArray[np.float64]:
    content = file.read()
    try:
        table = pq.ParquetFile(BytesIO(content), page_checksum_verification=True)
        if table.metadata.num_rows * table.metadata.num_columns * 8 > LARGEST:
            raise InputError(f"{file}: {table.metadata.num_rows} rows, so it is no motion")
        names = table.schema_arrow.names
        check_length(file, table.metadata.num_rows)
        whole = table.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{file}: no Parquet table ({reason_of(error)}); write it again") from None

    def values(columns: Sequence[int]) -> NDArray[np.float64]:
        found = np.full((whole.num_rows, len(columns)), np.nan)
        for place, column in enumerate(columns):
            try:
                numbers = whole.column(column).to_pandas()
                found[:, place] = numbers.to_numpy(np.float64, na_value=np.nan)
            except (pa.ArrowException, ValueError, TypeError):
                raise InputError(
                    f"{file}: column '{names[column]}' has something else than numbers; leave "
                    "cells empty where a joint was not recorded"
                ) from None
        return found

    return _columns(file, names, values, layout)


_COORDINATE = re.compile(r"(.+?)[_. :-]?[\[(]?([xyz])[\])]?", re.IGNORECASE)
"""The name of a column: a joint, a mark or none, and an axis, which may be in brackets."""
_UNIT = re.compile(r"\s*[\[(]\s*(mm|cm|m)\s*[\])]$", re.IGNORECASE)
TIMES = ("time", "t", "seconds", "time_s", "timestamp")
"""Names of columns that are times in seconds."""


def _columns(
    file: File,
    names: Sequence[str],
    values: Callable[[Sequence[int]], NDArray[np.float64]],
    layout: Layout,
) -> NDArray[np.float64]:
    """Return ``(frame, joint, 3)`` positions of a table.

    Args:
        file: for messages.
        names: of all columns.
        values: returns the ``(frame, column)`` numbers of some columns.
        layout: names the joints.
    """
    wanted = [f"{joint}_{axis}" for joint in layout.joints for axis in "xyz"]
    found: dict[str, list[int]] = {}
    for column, name in enumerate(names):
        key = _coordinate(file, name, layout)
        if key is not None:
            found.setdefault(key, []).append(column)
    if missing := [name for name in wanted if name not in found]:
        near = did_you_mean(missing[0], [str(name).strip() for name in names])
        raise InputError(f"{file}: no column '{missing[0]}'{near[:2000]}")
    for columns in found.values():
        if len(columns) > 1:
            _check_same(file, names, columns, values(columns))
    times = [column for column, name in enumerate(names) if name.strip().casefold() in TIMES]
    for column in times[:1]:
        _check_times(file, names[column], values([column])[:, 0], layout.fps)
    positions = values([found[name][0] for name in wanted])
    return positions.reshape(len(positions), len(layout.joints), 3)


def _coordinate(file: File, name: str, layout: Layout) -> str | None:
    """Return the coordinate that a column has, such as ``pelvis_x``; None if it has none."""
    plain = name.strip().strip("\"'").strip()
    if unit := _UNIT.search(plain):
        plain = plain[: unit.start()]
    match = _COORDINATE.fullmatch(plain)
    if match is None:
        return None
    # A joint's own name may end in a mark, and may be written in another case.
    names = (plain[: match.start(2)], match[1])
    known = next((one for one in names if one in layout.joints), None)
    if known is None:
        small = [one for one in layout.joints if one.casefold() == match[1].casefold()]
        known = small[0] if len(small) == 1 else None
    if known is None:
        return None
    axis = match[2].lower()
    if unit and unit[1].lower() != layout.units:
        raise InputError(
            f"{file}: column '{name}' says {unit[1]}, {LAYOUT} says units: {layout.units}; correct "
            "the wrong one"
        )
    if name not in (f"{known}_{axis}", f"{known}.{axis}"):
        note("names of columns", f"columns named as '{name.strip()}', read as {known}_{axis}")
    return f"{known}_{axis}"


def _check_same(
    file: File, names: Sequence[str], columns: Sequence[int], values: NDArray[np.float64]
) -> None:
    """Raise InputError if columns for the same coordinate differ."""
    first = values[:, :1]
    if not ((values == first) | (np.isnan(values) & np.isnan(first))).all():
        which = " and ".join(f"{column + 1} ('{names[column].strip()}')" for column in columns[:2])
        raise InputError(
            f"{file}: columns {which} are the same coordinate with other values; remove the wrong "
            "one"
        )
    note("a column twice", f"column '{names[columns[0]].strip()}' twice, with the same values")


def _check_times(file: File, name: str, times: NDArray[np.float64], fps: float) -> None:
    """Raise InputError if a column of times contradicts the stated frames per second."""
    steps = np.diff(times[np.isfinite(times)])
    step = float(np.median(steps)) if len(steps) else 0.0
    if not step > 0:
        return
    # In seconds, a thousandth, a millionth or a billionth of one; or frames are counted.
    if step != 1 and all(abs(step * fps / unit - 1) > 0.05 for unit in (1, 1e3, 1e6, 1e9)):
        raise InputError(
            f"{file}: column '{name}' has steps of {step:g} s, {1 / step:.4g} frames per second, "
            f"{LAYOUT} says fps: {fps:g}; correct the wrong one"
        )
    if steps.max() > 1.5 * step or steps.min() <= 0:
        note("uneven times", f"column '{name}' leaps, the rows are read as evenly spaced")
