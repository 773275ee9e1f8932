"""Acclaim skeletons (ASF), as in CMU and HDM05; ``acclaim_motion`` reads their motion.

An ASF file defines bones: each has a direction and a length in the rest pose, a local axis system
``C``, and degrees of freedom ``dof``. A bone rotates by ``C M C^-1`` about its start, which is the
end of its parent; ``M`` rotates about fixed axes, in the order of ``dof``. The root is translated
and rotated in the order of its ``order``, and the result is rotated by its ``orientation``. Lengths
divided by the ``length`` of ``:units`` are inches (with CMU's 0.45, a unit is 56.444 mm). Joint
limits are read but not enforced: recorded motion exceeds them.

Sources: M. Schafer, Acclaim Skeleton File Definition V1.10, 1994; Oxford Metrics' notes on it; for
lengths and axes, the FAQ of mocap.cs.cmu.edu.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bench.core.errors import InputError
from bench.datasets.archive import File
from bench.datasets.text import unmarked
from bench.motion import Skeleton

ROOT = "root"
MM_PER_INCH = 25.4
LARGEST_SKELETON = 2**20
"""Most bytes of an ASF file; real ones have eight thousand."""
LONGEST_BONE = 10_000.0
"""Most millimetres of a bone."""
MOST_TURNS = 100
"""Most whole turns of an angle; angles in real files reach eight turns."""
REMEDY = "fetch it again"

ANGLES = ("rx", "ry", "rz")
SHIFTS = ("tx", "ty", "tz")
RADIANS = {"deg": np.pi / 180, "rad": 1.0}


@dataclass(frozen=True)
class Bone:
    """One bone of a skeleton.

    Attributes:
        name: its name in the file.
        parent: name of the parent bone, at the end of which it starts, or ``root``.
        vector: ``(3,)`` from its start to its end in the rest pose, mm.
        axes: ``C``, its local axis system.
        dof: rotation channels out of rx, ry and rz, in the order of values and of rotation.
        limits: (least, greatest) value of each channel, radians; empty if not given.
    """

    name: str
    parent: str
    vector: NDArray[np.float64]
    axes: Rotation
    dof: tuple[str, ...]
    limits: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class AcclaimSkeleton:
    """The content of an ASF file.

    Attributes:
        mm_per_unit: length of a unit in mm.
        order: channels of the root, out of tx ty tz rx ry rz, in the order of values.
        position: ``(3,)`` origin of the root's translation, mm.
        orientation: rotation that is applied to the whole motion.
        bones: parents before their children, siblings by name.
    """

    mm_per_unit: float
    order: tuple[str, ...]
    position: NDArray[np.float64]
    orientation: Rotation
    bones: tuple[Bone, ...]

    @cached_property
    def skeleton(self) -> Skeleton:
        """The skeleton of its joints; see ``joints_of``."""
        return joints_of({bone.name: (bone.parent, bone.vector) for bone in self.bones})

    @property
    def channels(self) -> dict[str, tuple[str, ...]]:
        """The channels of each line of a frame, by the line's name: the root, then bones."""
        return {ROOT: self.order} | {bone.name: bone.dof for bone in self.bones if bone.dof}


def joints_of(bones: Mapping[str, tuple[str, Sequence[float] | NDArray[np.float64]]]) -> Skeleton:
    """Return the skeleton with a joint at the start of each bone and at the end of each last bone.

    Bones that start at the same point rotate separately, so each has its own joint there: the 31
    points of CMU's skeleton are 38 joints. A joint has the name of the bone that starts there; the
    end of a bone without children is ``<bone> end``, and the common start of all is ``root``.

    Args:
        bones: parent and vector from start to end in mm, by name; parents first.
    """
    names, parents = [ROOT], [-1]
    rest, ends = [np.zeros(3)], {ROOT: np.zeros(3)}
    for name, (parent, vector) in bones.items():
        names.append(name)
        parents.append(names.index(parent))
        rest.append(ends[parent])
        ends[name] = ends[parent] + np.asarray(vector)
    inner = {parent for parent, _ in bones.values()}
    for name in bones:
        if name not in inner:
            names.append(f"{name} end")
            parents.append(names.index(name))
            rest.append(ends[name])
    sides = ((name, f"r{name[1:]}") for name in names if name.startswith("l"))
    return Skeleton(
        names=tuple(names),
        parents=tuple(parents),
        rest=np.array(rest),
        limbs={"body": tuple(names)},
        pairs=tuple(pair for pair in sides if pair[1] in names),
    )


def read_skeleton(file: File) -> AcclaimSkeleton:
    """Read an ASF file.

    Raises:
        InputError: it is damaged, or has bones of variable length, which joint rotations cannot
            represent.
    """
    content = file.read(LARGEST_SKELETON)
    try:
        return _skeleton_in(unmarked(content))
    except DamagedError as fault:
        raise InputError(f"{file}: {fault}; {REMEDY}") from None


@lru_cache(maxsize=16)
def _skeleton_in(content: bytes) -> AcclaimSkeleton:
    """Return the skeleton in an ASF file, cached because recordings of a subject share it."""
    return _skeleton(_sections(content.decode("latin-1")))


class DamagedError(Exception):
    """A fault in a file's content; the caller adds the file's name."""


_Lines = list[list[str]]


def _sections(text: str) -> dict[str, _Lines]:
    """Return the words of each line, by section keyword; brackets and commas separate words."""
    sections: dict[str, _Lines] = {}
    lines: _Lines = []
    for line in text.split("\n"):
        words = re.sub(r"[(),]", " ", line.split("#")[0]).split()
        if words and words[0].startswith(":"):
            keyword = words[0].lower()
            if keyword in sections:
                raise DamagedError(f"{keyword} twice")
            lines = sections[keyword] = []
            words = words[1:]
        if words:
            lines.append(words)
    return sections


def _skeleton(sections: Mapping[str, _Lines]) -> AcclaimSkeleton:
    for keyword in (":units", ":root", ":bonedata", ":hierarchy"):
        if keyword not in sections:
            raise DamagedError(f"no {keyword}, so it is no complete ASF file")
    units = _fields(sections[":units"], ("mass", "length", "angle"), ":units")
    angle = RADIANS.get(" ".join(units.get("angle", [])).lower())
    if angle is None:
        raise DamagedError("the angle of :units is neither deg nor rad")
    unit = _numbers(units.get("length", []), 1, "length of :units")[0]
    if not 1e-6 < unit < 1e6:
        raise DamagedError(f"length of :units is {unit:g}")
    scale = MM_PER_INCH / unit
    root = _fields(sections[":root"], ("order", "axis", "position", "orientation"), ":root")
    bones = _bones(sections[":bonedata"], _parents(sections[":hierarchy"]), scale, angle)
    return AcclaimSkeleton(
        mm_per_unit=scale,
        order=_channels(root.get("order", []), (*SHIFTS, *ANGLES), "order of :root"),
        position=_numbers(root.get("position", ["0"] * 3), 3, "position of :root") * scale,
        orientation=_axes(
            [*root.get("orientation", ["0"] * 3), *root.get("axis", ["XYZ"])],
            angle,
            "orientation and axis of :root",
        ),
        bones=bones,
    )


def _fields(lines: _Lines, known: Sequence[str], where: str) -> dict[str, list[str]]:
    """Return the words after each field's name; only ``limits`` may continue on further lines."""
    fields: dict[str, list[str]] = {}
    last = ""
    for name, *words in lines:
        if name.lower() in known:
            last = name.lower()
            if last in fields:
                raise DamagedError(f"{where} has {last} twice")
            fields[last] = words
        elif last == "limits":
            fields[last] += [name, *words]
        else:
            raise DamagedError(f"{where} has the unknown line {quoted(' '.join([name, *words]))}")
    return fields


_BONE_FIELDS = (
    "id",
    "name",
    "direction",
    "length",
    "axis",
    "dof",
    "limits",
    "bodymass",
    "cofmass",
)


def _bones(
    lines: _Lines, parents: Mapping[str, str], scale: float, angle: float
) -> tuple[Bone, ...]:
    found: dict[str, Bone] = {}
    for block in _blocks(lines, ":bonedata"):
        fields = _fields(block, _BONE_FIELDS, "a bone")
        name = " ".join(fields.get("name", []))
        if not name or name == ROOT or name in found or len(name.split()) > 1:
            raise DamagedError(f"a bone's name is {quoted(name)}, empty or not unique")
        if name not in parents:
            raise DamagedError(f"bone {quoted(name)} has no place in :hierarchy")
        found[name] = _bone(name, parents[name], fields, scale, angle)
    if missing := set(parents) - set(found):
        raise DamagedError(f":hierarchy has {quoted(min(missing))}, which :bonedata lacks")
    return tuple(found[name] for name in _descending(parents))


def _bone(
    name: str, parent: str, fields: Mapping[str, list[str]], scale: float, angle: float
) -> Bone:
    direction = _numbers(fields.get("direction", []), 3, f"direction of {name}")
    length = _numbers(fields.get("length", []), 1, f"length of {name}")[0]
    if not 0 <= length * scale <= LONGEST_BONE:
        raise DamagedError(f"bone {name} is {length * scale:g} mm long")
    if length and abs(math.hypot(*direction) - 1) > 1e-3:
        raise DamagedError(f"the direction of {name} is no unit vector")
    dof = _channels(fields.get("dof", []), (*ANGLES, *SHIFTS, "l"), f"dof of {name}")
    if stretching := [channel for channel in dof if channel not in ANGLES]:
        raise DamagedError(
            f"bone {name} changes its length ({' '.join(stretching)}), which is not read"
        )
    bounds = fields.get("limits", [])
    if bounds and len(bounds) != 2 * len(dof):
        raise DamagedError(f"{len(bounds)} limits of {name}, expected {2 * len(dof)}")
    limits = angle * np.array([number_in(word, f"limits of {name}", True) for word in bounds])
    return Bone(
        name=name,
        parent=parent,
        vector=direction * length * scale,
        axes=_axes(fields.get("axis", []), angle, f"axis of {name}"),
        dof=dof,
        limits=tuple((low, high) for low, high in limits.reshape(-1, 2).tolist()),
    )


def _blocks(lines: _Lines, where: str) -> Iterator[_Lines]:
    """Yield the lines between each ``begin`` and its ``end``."""
    block: _Lines | None = None
    for line in lines:
        if line == ["begin"] and block is None:
            block = []
        elif line == ["end"] and block is not None:
            yield block
            block = None
        elif block is not None and line != ["begin"]:
            block.append(line)
        else:
            raise DamagedError(f"{where} has {quoted(' '.join(line))} in a wrong place")
    if block is not None:
        raise DamagedError(f"cut short in {where}")


def _parents(lines: _Lines) -> dict[str, str]:
    """Return the parent of each bone, by the bone's name."""
    parents: dict[str, str] = {}
    blocks = list(_blocks(lines, ":hierarchy"))
    if len(blocks) != 1:
        raise DamagedError(f"{len(blocks)} blocks in :hierarchy, expected 1")
    for parent, *children in blocks[0]:
        for child in children:
            if child in parents or child == ROOT:
                raise DamagedError(f":hierarchy has {quoted(child)} twice")
            parents[child] = parent
    return parents


def _descending(parents: Mapping[str, str]) -> list[str]:
    """Return bone names, each after its parent, in an order that depends on the tree alone."""
    children: dict[str, list[str]] = {}
    for child, parent in parents.items():
        children.setdefault(parent, []).append(child)
    order: list[str] = []
    pending = [ROOT]
    while pending:
        name = pending.pop()
        order.append(name)
        pending += sorted(children.get(name, []), reverse=True)
    if lost := set(parents) - set(order):
        raise DamagedError(f":hierarchy does not lead from the root to {quoted(min(lost))}")
    return order[1:]


def _channels(words: Sequence[str], known: Sequence[str], what: str) -> tuple[str, ...]:
    channels = tuple(word.lower() for word in words)
    if len(set(channels)) < len(channels) or not set(channels) <= set(known):
        raise DamagedError(f"{what} is {quoted(' '.join(words))}")
    return channels


def _axes(words: Sequence[str], angle: float, what: str) -> Rotation:
    """Return the rotation given by three angles and, optionally, their order, such as XYZ."""
    *angles, order = words if len(words) == 4 else (*words, "XYZ")
    if sorted(order.lower()) != ["x", "y", "z"]:
        raise DamagedError(f"{what} has the order {quoted(order)}")
    values = dict(zip("xyz", _numbers(angles, 3, what) * angle, strict=True))
    if max(map(abs, values.values())) > MOST_TURNS * 2 * np.pi:
        raise DamagedError(f"{what} turns without end")
    return Rotation.from_euler(order.lower(), [values[letter] for letter in order.lower()])


def _numbers(words: Sequence[str], count: int, what: str) -> NDArray[np.float64]:
    if len(words) != count:
        raise DamagedError(f"{what}: {len(words)} numbers, expected {count}")
    return np.array([number_in(word, what) for word in words])


def number_in(word: str, what: str, infinite: bool = False) -> float:
    """Return a word as a number; raises DamagedError if it is none, or not finite.

    ``what`` names the value in messages; ``infinite`` allows infinite values.
    """
    try:
        number = float(word.replace("_", "?"))
    except ValueError:
        raise DamagedError(f"{what} has {quoted(word)} in place of a number") from None
    # Below this bound, everything that is computed from it is finite too.
    if not (abs(number) < 1e100 or (infinite and abs(number) == np.inf)):
        raise DamagedError(f"{what} has {quoted(word)} in place of a finite number")
    return number


def quoted(text: str) -> str:
    """Return a text from a file, shortened and in ASCII, for messages."""
    return ascii(text if len(text) <= 40 else f"{text[:40]}...")
