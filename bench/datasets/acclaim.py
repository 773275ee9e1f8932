"""Acclaim skeletons (ASF), as CMU and HDM05 give them; their motion is read in ``acclaim_motion``.

An ASF file states bones: each a direction and a length in the rest pose, the axis system ``C`` that
it turns in, and the degrees of freedom ``dof`` that it has. A bone turns by ``C M C^-1`` about its
start, which is the end of its parent; ``M`` turns about fixed axes, in the order of ``dof``. The
root is moved and turned in the order of its ``order``, and then, as a whole, by its
``orientation``. Lengths divided by the ``length`` of ``:units`` are inches (of CMU's 0.45, a unit
is 56.444 mm). Limits are read, yet not enforced: recorded motion leaves them.

Sources: M. Schafer, Acclaim Skeleton File Definition V1.10, 1994; Oxford Metrics' notes on it; for
lengths and axes, the frequently asked questions of mocap.cs.cmu.edu.
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
from bench.motion import Skeleton

ROOT = "root"
MM_PER_INCH = 25.4
LARGEST_SKELETON = 2**20
"""Bytes of an ASF file; real ones have eight thousand."""
LONGEST_BONE = 10_000.0
"""Millimetres."""
MOST_TURNS = 100
"""Whole turns of a joint; the source's angles count up to eight of them in real files."""
MEND = "fetch it again"

ANGLES = ("rx", "ry", "rz")
SHIFTS = ("tx", "ty", "tz")
RADIANS = {"deg": np.pi / 180, "rad": 1.0}


@dataclass(frozen=True)
class Bone:
    """One bone of a skeleton.

    Attributes:
        name: its own.
        parent: the bone whose end it starts at, or ``root``.
        vector: ``(3,)`` from its start to its end in the rest pose, mm.
        axes: ``C``, the axis system it turns in.
        dof: what it turns about, of rx, ry and rz, in the order of values and of turning.
        limits: (least, most) of each degree of freedom, radians; empty where none are given.
    """

    name: str
    parent: str
    vector: NDArray[np.float64]
    axes: Rotation
    dof: tuple[str, ...]
    limits: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class AcclaimSkeleton:
    """What an ASF file says.

    Attributes:
        mm_per_unit: length of a unit.
        order: what the root's values are, of tx ty tz rx ry rz.
        position: ``(3,)`` that the root's translation counts from, mm.
        orientation: that the whole motion is turned by.
        bones: parents before their children, siblings by name.
    """

    mm_per_unit: float
    order: tuple[str, ...]
    position: NDArray[np.float64]
    orientation: Rotation
    bones: tuple[Bone, ...]

    @cached_property
    def skeleton(self) -> Skeleton:
        """Its joints; see ``joints_of``."""
        return joints_of({bone.name: (bone.parent, bone.vector) for bone in self.bones})

    @property
    def channels(self) -> dict[str, tuple[str, ...]]:
        """What the values of each line of a frame are, by name."""
        return {ROOT: self.order} | {bone.name: bone.dof for bone in self.bones if bone.dof}


def joints_of(bones: Mapping[str, tuple[str, Sequence[float] | NDArray[np.float64]]]) -> Skeleton:
    """Return the skeleton whose joints are the starts of bones, and the ends of the last ones.

    The bones that start at one point turn separately, so each has a joint of its own there: the 31
    points of CMU's skeleton are 38 joints. A joint is called as the bone that starts there, the end
    of a bone where none does ``<bone> end``, and the common start of all ``root``.

    Args:
        bones: parent and vector to the end, mm, by name; parents first.
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
        InputError: it is damaged, or has bones that change their length, which no joint rotations
            can express.
    """
    content = file.read(LARGEST_SKELETON)
    try:
        return _skeleton_in(content)
    except DamagedError as fault:
        raise InputError(f"{file}: {fault}; {MEND}") from None


@lru_cache(maxsize=16)
def _skeleton_in(content: bytes) -> AcclaimSkeleton:
    """Return what an ASF file says; all recordings of a subject have the same one."""
    return _skeleton(_sections(content.decode("latin-1")))


class DamagedError(Exception):
    """What is wrong with a file, the file's name yet to be told."""


_Lines = list[list[str]]


def _sections(text: str) -> dict[str, _Lines]:
    """Return the words of each line after each keyword; brackets and commas part words."""
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
            raise DamagedError(f"no {keyword}, so no whole ASF file")
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
    """Return the words after each field's name; a line of numbers alone continues a field."""
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
            raise DamagedError(f"{where} has the unknown line {shown(' '.join([name, *words]))}")
    return fields


_OF_A_BONE = (
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
        fields = _fields(block, _OF_A_BONE, "a bone")
        name = " ".join(fields.get("name", []))
        if not name or name == ROOT or name in found or len(name.split()) > 1:
            raise DamagedError(f"a bone's name is {shown(name)}, empty or not its own")
        if name not in parents:
            raise DamagedError(f"bone {shown(name)} has no place in :hierarchy")
        found[name] = _bone(name, parents[name], fields, scale, angle)
    if missing := set(parents) - set(found):
        raise DamagedError(f":hierarchy has {shown(min(missing))}, which :bonedata lacks")
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
        raise DamagedError(f"{len(bounds)} limits of {name} where {2 * len(dof)} are due")
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
    """Return the lines between each begin and its end."""
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
            raise DamagedError(f"{where} has {shown(' '.join(line))} in a wrong place")
    if block is not None:
        raise DamagedError(f"cut short in {where}")


def _parents(lines: _Lines) -> dict[str, str]:
    """Return each bone's parent."""
    parents: dict[str, str] = {}
    blocks = list(_blocks(lines, ":hierarchy"))
    if len(blocks) != 1:
        raise DamagedError(f"{len(blocks)} blocks in :hierarchy where 1 is due")
    for parent, *children in blocks[0]:
        for child in children:
            if child in parents or child == ROOT:
                raise DamagedError(f":hierarchy has {shown(child)} twice")
            parents[child] = parent
    return parents


def _descending(parents: Mapping[str, str]) -> list[str]:
    """Return bones, each after its parent, so that equal trees have equal orders."""
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
        raise DamagedError(f":hierarchy does not lead from the root to {shown(min(lost))}")
    return order[1:]


def _channels(words: Sequence[str], known: Sequence[str], what: str) -> tuple[str, ...]:
    channels = tuple(word.lower() for word in words)
    if len(set(channels)) < len(channels) or not set(channels) <= set(known):
        raise DamagedError(f"{what} is {shown(' '.join(words))}")
    return channels


def _axes(words: Sequence[str], angle: float, what: str) -> Rotation:
    """Return the rotation that three angles and their order, as XYZ, are."""
    *angles, order = words if len(words) == 4 else (*words, "XYZ")
    if sorted(order.lower()) != ["x", "y", "z"]:
        raise DamagedError(f"{what} has the order {shown(order)}")
    values = dict(zip("xyz", _numbers(angles, 3, what) * angle, strict=True))
    if max(map(abs, values.values())) > MOST_TURNS * 2 * np.pi:
        raise DamagedError(f"{what} turns without end")
    return Rotation.from_euler(order.lower(), [values[letter] for letter in order.lower()])


def _numbers(words: Sequence[str], count: int, what: str) -> NDArray[np.float64]:
    if len(words) != count:
        raise DamagedError(f"{what}: {len(words)} numbers where {count} are due")
    return np.array([number_in(word, what) for word in words])


def number_in(word: str, what: str, infinite: bool = False) -> float:
    """Return the number that a word is; raises DamagedError if it is none, or not finite."""
    try:
        number = float(word.replace("_", "?"))
    except ValueError:
        raise DamagedError(f"{what} has {shown(word)} where a number is due") from None
    # Below this bound all that is computed of it is finite too.
    if not (abs(number) < 1e100 or (infinite and abs(number) == np.inf)):
        raise DamagedError(f"{what} has {shown(word)} where a finite number is due")
    return number


def shown(text: str) -> str:
    """Return a text of a file as messages quote it."""
    return ascii(text if len(text) <= 40 else f"{text[:40]}...")
