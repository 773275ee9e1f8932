"""Acclaim files and their kinematics written from the format's definition alone, in plain loops."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

Matrix = list[list[float]]
Vector = Sequence[float]
UNIT = 25.4 / 0.45


@dataclass(frozen=True)
class TextBone:
    """A bone as in an ASF file: degrees, units of length."""

    name: str
    parent: str
    direction: Vector
    length: float
    axis: Vector = (0.0, 0.0, 0.0)
    axis_order: str = "XYZ"
    dof: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rig:
    """A skeleton, and the style of its files."""

    bones: tuple[TextBone, ...]
    order: tuple[str, ...] = ("TX", "TY", "TZ", "RX", "RY", "RZ")
    orientation: Vector = (0.0, 0.0, 0.0)
    orientation_order: str = "XYZ"
    radians: bool = False
    newline: str = "\n"
    lines: tuple[str, ...] = field(default=())
    """The order of a motion's lines; that of the bones if empty."""

    def value(self, degrees: float) -> str:
        return repr(math.radians(degrees) if self.radians else degrees)

    def asf(self) -> str:
        rows = [
            ":version 1.10",
            ":name made-up",
            ":units",
            "  mass 1.0",
            "  length 0.45",
            f"  angle {'rad' if self.radians else 'deg'}",
            ":documentation",
            "  anything, even (this)",
            ":root",
            f"  order {' '.join(self.order)}",
            f"  axis {self.orientation_order}",
            "  position 0 0 0",
            f"  orientation {' '.join(map(self.value, self.orientation))}",
            ":bonedata",
        ]
        for number, bone in enumerate(self.bones):
            rows += [
                "  begin",
                f"    id {number + 1}",
                f"    name {bone.name}",
                f"    direction {' '.join(map(repr, bone.direction))}",
                f"    length {bone.length!r}  # units",
                f"    axis {' '.join(map(self.value, bone.axis))} {bone.axis_order}",
            ]
            if bone.dof:
                first, *rest = ["(-inf inf)"] * len(bone.dof)
                rows += [f"    dof {' '.join(bone.dof)}", f"    limits {first}", *rest]
            rows.append("  end")
        rows += [":hierarchy", "  begin"]
        rows += [f"    {bone.parent} {bone.name}" for bone in self.bones]
        return self.newline.join([*rows, "  end", ""])

    def amc(self, frames: Sequence[Mapping[str, Vector]]) -> str:
        """Return the text of frames, given the values of root and bones in degrees."""
        rows = ["#!OML:ASF made up", ":FULLY-SPECIFIED", ":RADIANS" if self.radians else ":DEGREES"]
        names = self.lines or ("root", *(bone.name for bone in self.bones if bone.dof))
        for number, frame in enumerate(frames, start=1):
            rows.append(str(number))
            for name in names:
                turning = (
                    [channel.startswith("R") for channel in self.order]
                    if name == "root"
                    else [True] * len(frame[name])
                )
                values = zip(frame[name], turning, strict=True)
                words = (self.value(value) if turns else repr(value) for value, turns in values)
                rows.append(" ".join([name, *words]))
        return self.newline.join([*rows, ""])

    def ends(self, frame: Mapping[str, Vector]) -> dict[str, list[float]]:
        """Return the end of each bone relative to the root, mm."""
        turned = {"root": self._root(frame["root"])}
        placed = {"root": [0.0, 0.0, 0.0]}
        for bone in self.bones:
            axes = fixed_axes(bone.axis_order, bone.axis)
            values = dict(zip(bone.dof, frame.get(bone.name, ()), strict=True))
            order = "".join(channel[1] for channel in bone.dof)
            motion = fixed_axes(order, [values[f"r{letter}"] for letter in order], by_letter=False)
            local = product(product(axes, motion), transposed(axes))
            turned[bone.name] = product(turned[bone.parent], local)
            along = [value * bone.length * UNIT for value in bone.direction]
            step = applied(turned[bone.name], along)
            placed[bone.name] = [a + b for a, b in zip(placed[bone.parent], step, strict=True)]
        return placed

    def _root(self, values: Vector) -> Matrix:
        order = "".join(channel[1] for channel in self.order if channel[0] == "R")
        angles = [v for v, channel in zip(values, self.order, strict=True) if channel[0] == "R"]
        motion = fixed_axes(order, angles, by_letter=False)
        return product(fixed_axes(self.orientation_order, self.orientation), motion)

    def write(self, folder: Path, frames: Sequence[Mapping[str, Vector]]) -> tuple[Path, Path]:
        asf, amc = folder / "one.asf", folder / "one.amc"
        asf.write_bytes(self.asf().encode())
        amc.write_bytes(self.amc(frames).encode())
        return asf, amc


def fixed_axes(order: str, angles: Vector, by_letter: bool = True) -> Matrix:
    """Return a rotation about fixed axes, the first letter first; angles in degrees.

    Args:
        order: order of the axes, such as XYZ.
        angles: of x, y and z if ``by_letter``, else in the order of ``order``.
        by_letter: whether ``angles`` are sorted by axis.
    """
    whole: Matrix = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    for place, letter in enumerate(order.lower()):
        axis = "xyz".index(letter)
        angle = math.radians(angles[axis if by_letter else place])
        second, third = (axis + 1) % 3, (axis + 2) % 3
        turn: Matrix = [[float(row == column) for column in range(3)] for row in range(3)]
        turn[second][second] = turn[third][third] = math.cos(angle)
        turn[third][second] = math.sin(angle)
        turn[second][third] = -math.sin(angle)
        whole = product(turn, whole)
    return whole


def product(left: Matrix, right: Matrix) -> Matrix:
    columns = list(zip(*right, strict=True))
    return [
        [sum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in left
    ]


def transposed(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]


def applied(matrix: Matrix, vector: Vector) -> list[float]:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def words_of(text: str) -> list[dict[str, list[float]]]:
    """Return the frames of an AMC text, line by line."""
    frames: list[dict[str, list[float]]] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 1 and words[0].isdigit():
            frames.append({})
        elif frames and words:
            frames[-1][words[0]] = [float(word) for word in words[1:]]
    return frames


def rig_of(text: str) -> Rig:
    """Return the rig of an ASF text in degrees, laid out as CMU's are."""
    bones: dict[str, TextBone] = {}
    order: list[str] = []
    parents: dict[str, str] = {}
    name = ""
    for line in text.split(":bonedata")[1].splitlines():
        match line.split():
            case ["name", name]:
                order.append(name)
                bones[name] = TextBone(name, "", (), 0.0)
            case ["direction", *words]:
                bones[name] = replace(bones[name], direction=[float(word) for word in words])
            case ["length", word]:
                bones[name] = replace(bones[name], length=float(word))
            case ["axis", *words, "XYZ"]:
                bones[name] = replace(bones[name], axis=[float(word) for word in words])
            case ["dof", *words]:
                bones[name] = replace(bones[name], dof=tuple(words))
            case [parent, *children] if parent in (*bones, "root"):
                parents |= dict.fromkeys(children, parent)
    return Rig(tuple(replace(bones[name], parent=parents[name]) for name in order))
