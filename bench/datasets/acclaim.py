"""Acclaim motion capture: skeletons (ASF) and the motion of one (AMC), as CMU and HDM05 give them.

An ASF file states bones: each a direction and a length in the rest pose, the axis system ``C`` that
it turns in, and the degrees of freedom ``dof`` that it has. An AMC file states, frame by frame, the
values of every bone that has any. A bone turns by ``C M C^-1`` about its start, which is the end of
its parent; ``M`` turns about fixed axes, in the order of ``dof``. The root is moved and turned in
the order of its ``order``, and then, as a whole, by its ``orientation``. Lengths divided by the
``length`` of ``:units`` are inches (of CMU's 0.45, a unit is 56.444 mm). Limits are read, yet not
enforced: recorded motion leaves them.

Sources: M. Schafer, Acclaim Skeleton File Definition V1.10, 1994; Oxford Metrics' notes on it; for
lengths and axes, the frequently asked questions of mocap.cs.cmu.edu.
"""

import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bench.datasets.archive import File
from bench.errors import InputError
from bench.motion import Skeleton

ROOT = "root"
FPS = 120.0
"""Frames per second of CMU and HDM05, whose motion files do not state any."""
MM_PER_INCH = 25.4
LARGEST_SKELETON = 2**20
"""Bytes of an ASF file; real ones have eight thousand."""
LARGEST_MOTION = 2**27
"""Bytes of an AMC file: twenty minutes at CMU's rate. Reading takes twelve times as much memory."""
LARGEST_FRAME = 2**16
"""Bytes of one frame, and of what stands before the first; real frames have one thousand."""
LONGEST_BONE = 10_000.0
"""Millimetres."""
MOST_TURNS = 100
"""Whole turns of a joint; the source's angles count up to eight of them in real files."""
MEND = "fetch it again"

_ANGLES = ("rx", "ry", "rz")
_SHIFTS = ("tx", "ty", "tz")
_RADIANS = {"deg": np.pi / 180, "rad": 1.0}


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


@dataclass(frozen=True)
class AcclaimMotion:
    """What an AMC file says of one skeleton.

    Attributes:
        skeleton: whose motion it is.
        fps: frames per second.
        values: ``(frame, value)`` of the root and of each bone that has any, by name; radians, and
            units for the root's translation.
    """

    skeleton: AcclaimSkeleton
    fps: float
    values: Mapping[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.values[ROOT])

    @property
    def translation(self) -> NDArray[np.float64]:
        """``(frame, 3)`` of the root, mm."""
        moved = np.zeros((len(self), 3))
        for column, channel in enumerate(self.skeleton.order):
            if channel in _SHIFTS:
                moved[:, _SHIFTS.index(channel)] = self.values[ROOT][:, column]
        return (
            self.skeleton.orientation.apply(moved * self.skeleton.mm_per_unit)
            + self.skeleton.position
        )

    @property
    def vectors(self) -> NDArray[np.float64]:
        """``(frame, joint, 3)`` local rotation vectors of ``skeleton.skeleton``, radians."""
        names = self.skeleton.skeleton.names
        vectors = np.zeros((len(self), len(names), 3))
        turns = _turned(self.values[ROOT], self.skeleton.order)
        vectors[:, 0] = (self.skeleton.orientation * turns).as_rotvec()
        for joint, bone in enumerate(self.skeleton.bones, start=1):
            if bone.dof:
                # C exp(v) C^-1 = exp(C v)
                turns = _turned(self.values[bone.name], bone.dof)
                vectors[:, joint] = bone.axes.apply(turns.as_rotvec())
        return vectors

    def without_held_start(self) -> "AcclaimMotion":
        """Return it without leading frames in which a bone is held at zero.

        Tracking sometimes begins late: until then a bone's angles are exactly zero, and then they
        jump. One angle may be zero by chance or by its limit (a straight knee), so bones of two and
        three are looked at. A bone at zero throughout does not count.
        """
        held = 0
        for name, angles in self.values.items():
            if name != ROOT and angles.shape[1] > 1:
                held = max(held, int(angles.any(axis=1).argmax()))
        values = {name: there[held:] for name, there in self.values.items()}
        return AcclaimMotion(self.skeleton, self.fps, values)


def _turned(values: NDArray[np.float64], channels: Sequence[str]) -> Rotation:
    """Return the rotations that some channels' values are."""
    columns = [column for column, channel in enumerate(channels) if channel in _ANGLES]
    if not columns:
        return Rotation.identity(len(values))
    # Small letters: about fixed axes, the first one first.
    sequence = "".join(channels[column][1] for column in columns)
    return Rotation.from_euler(sequence, values[:, columns])


# Reading a skeleton.


def read_skeleton(file: File) -> AcclaimSkeleton:
    """Read an ASF file.

    Raises:
        InputError: it is damaged, or has bones that change their length, which no joint rotations
            can express.
    """
    content = file.read(LARGEST_SKELETON)
    try:
        return _skeleton(_sections(content.decode("latin-1")))
    except _DamagedError as fault:
        raise InputError(f"{file}: {fault}; {MEND}") from None


class _DamagedError(Exception):
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
                raise _DamagedError(f"{keyword} twice")
            lines = sections[keyword] = []
            words = words[1:]
        if words:
            lines.append(words)
    return sections


def _skeleton(sections: Mapping[str, _Lines]) -> AcclaimSkeleton:
    for keyword in (":units", ":root", ":bonedata", ":hierarchy"):
        if keyword not in sections:
            raise _DamagedError(f"no {keyword}, so no whole ASF file")
    units = _fields(sections[":units"], ("mass", "length", "angle"), ":units")
    angle = _RADIANS.get(" ".join(units.get("angle", [])).lower())
    if angle is None:
        raise _DamagedError("the angle of :units is neither deg nor rad")
    unit = _numbers(units.get("length", []), 1, "length of :units")[0]
    if not 1e-6 < unit < 1e6:
        raise _DamagedError(f"length of :units is {unit:g}")
    scale = MM_PER_INCH / unit
    root = _fields(sections[":root"], ("order", "axis", "position", "orientation"), ":root")
    bones = _bones(sections[":bonedata"], _parents(sections[":hierarchy"]), scale, angle)
    return AcclaimSkeleton(
        mm_per_unit=scale,
        order=_channels(root.get("order", []), (*_SHIFTS, *_ANGLES), "order of :root"),
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
                raise _DamagedError(f"{where} has {last} twice")
            fields[last] = words
        elif last == "limits":
            fields[last] += [name, *words]
        else:
            raise _DamagedError(f"{where} has the unknown line {_shown(' '.join([name, *words]))}")
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
            raise _DamagedError(f"a bone's name is {_shown(name)}, empty or not its own")
        if name not in parents:
            raise _DamagedError(f"bone {_shown(name)} has no place in :hierarchy")
        found[name] = _bone(name, parents[name], fields, scale, angle)
    if missing := set(parents) - set(found):
        raise _DamagedError(f":hierarchy has {_shown(min(missing))}, which :bonedata lacks")
    return tuple(found[name] for name in _descending(parents))


def _bone(
    name: str, parent: str, fields: Mapping[str, list[str]], scale: float, angle: float
) -> Bone:
    direction = _numbers(fields.get("direction", []), 3, f"direction of {name}")
    length = _numbers(fields.get("length", []), 1, f"length of {name}")[0]
    if not 0 <= length * scale <= LONGEST_BONE:
        raise _DamagedError(f"bone {name} is {length * scale:g} mm long")
    if length and abs(math.hypot(*direction) - 1) > 1e-3:
        raise _DamagedError(f"the direction of {name} is no unit vector")
    dof = _channels(fields.get("dof", []), (*_ANGLES, *_SHIFTS, "l"), f"dof of {name}")
    if stretching := [channel for channel in dof if channel not in _ANGLES]:
        raise _DamagedError(
            f"bone {name} changes its length ({' '.join(stretching)}), which is not read"
        )
    bounds = fields.get("limits", [])
    if bounds and len(bounds) != 2 * len(dof):
        raise _DamagedError(f"{len(bounds)} limits of {name} where {2 * len(dof)} are due")
    limits = angle * np.array([_number(word, f"limits of {name}", True) for word in bounds])
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
            raise _DamagedError(f"{where} has {_shown(' '.join(line))} in a wrong place")
    if block is not None:
        raise _DamagedError(f"cut short in {where}")


def _parents(lines: _Lines) -> dict[str, str]:
    """Return each bone's parent."""
    parents: dict[str, str] = {}
    blocks = list(_blocks(lines, ":hierarchy"))
    if len(blocks) != 1:
        raise _DamagedError(f"{len(blocks)} blocks in :hierarchy where 1 is due")
    for parent, *children in blocks[0]:
        for child in children:
            if child in parents or child == ROOT:
                raise _DamagedError(f":hierarchy has {_shown(child)} twice")
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
        raise _DamagedError(f":hierarchy does not lead from the root to {_shown(min(lost))}")
    return order[1:]


def _channels(words: Sequence[str], known: Sequence[str], what: str) -> tuple[str, ...]:
    channels = tuple(word.lower() for word in words)
    if len(set(channels)) < len(channels) or not set(channels) <= set(known):
        raise _DamagedError(f"{what} is {_shown(' '.join(words))}")
    return channels


def _axes(words: Sequence[str], angle: float, what: str) -> Rotation:
    """Return the rotation that three angles and their order, as XYZ, are."""
    *angles, order = words if len(words) == 4 else (*words, "XYZ")
    if sorted(order.lower()) != ["x", "y", "z"]:
        raise _DamagedError(f"{what} has the order {_shown(order)}")
    values = dict(zip("xyz", _numbers(angles, 3, what) * angle, strict=True))
    if max(map(abs, values.values())) > MOST_TURNS * 2 * np.pi:
        raise _DamagedError(f"{what} turns without end")
    return Rotation.from_euler(order.lower(), [values[letter] for letter in order.lower()])


def _numbers(words: Sequence[str], count: int, what: str) -> NDArray[np.float64]:
    if len(words) != count:
        raise _DamagedError(f"{what}: {len(words)} numbers where {count} are due")
    return np.array([_number(word, what) for word in words])


def _number(word: str, what: str, infinite: bool = False) -> float:
    try:
        number = float(word.replace("_", "?"))
    except ValueError:
        raise _DamagedError(f"{what} has {_shown(word)} where a number is due") from None
    # Below this bound all that is computed of it is finite too.
    if not (abs(number) < 1e100 or (infinite and abs(number) == np.inf)):
        raise _DamagedError(f"{what} has {_shown(word)} where a finite number is due")
    return number


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 40 else f"{text[:40]}...")


# Reading a motion. All frames have the same lines, so that their text is checked and turned into
# numbers as one array of bytes.


def _among(characters: bytes) -> NDArray[np.bool_]:
    """Return which of the 256 bytes are among some."""
    table = np.zeros(256, dtype=np.bool_)
    table[list(characters)] = True
    return table


_SPACE = _among(b" \t\r\n\v\f")
_OF_A_NUMBER = _among(b"0123456789+-.eE \t\r\n\v\f")
_FRAME_NUMBER = re.compile(rb"^[ \t]*\d+[ \t\r]*$", re.MULTILINE)


def read_motion(file: File, skeleton: AcclaimSkeleton, fps: float = FPS) -> AcclaimMotion:
    """Read an AMC file of a skeleton's motion.

    Args:
        file: the AMC file.
        skeleton: whose motion it is.
        fps: its frames per second, if it does not state them.

    Raises:
        InputError: it is damaged, or of another skeleton.
    """
    content = file.read(LARGEST_MOTION)
    try:
        return _motion(content, skeleton, fps)
    except _DamagedError as fault:
        raise InputError(f"{file}: {fault}; {MEND}") from None


def _motion(content: bytes, skeleton: AcclaimSkeleton, fps: float) -> AcclaimMotion:
    first = _FRAME_NUMBER.search(content)
    if first is None or first.start() > LARGEST_FRAME:
        raise _DamagedError("no frame where the first one is due, so no AMC file")
    if not content.endswith(b"\n"):
        raise _DamagedError("cut short (it ends in the middle of a line)")
    unit, fps = _preamble(content[: first.start()], fps)
    body = content[first.start() :]
    if b"#" in body:
        body = re.sub(rb"#[^\n]*", b"", body)
    channels = skeleton.channels
    names = _line_names(body, channels)
    numbers = _Frames(body, names, [len(channels[name]) for name in names]).numbers()
    values: dict[str, NDArray[np.float64]] = {}
    column = 0
    for name in names:
        angles = np.array([channel in _ANGLES for channel in channels[name]])
        values[name] = numbers[:, column : column + len(angles)] * np.where(angles, unit, 1.0)
        column += len(angles)
        far = np.abs(values[name][:, angles]) > MOST_TURNS * 2 * np.pi
        if far.any():
            raise _DamagedError(f"frame {far.any(axis=1).argmax() + 1}: {name} turns without end")
    return AcclaimMotion(skeleton, fps, values)


def _preamble(content: bytes, fps: float) -> tuple[float, float]:
    """Return the radians of a unit of angle, and the frames per second, ``fps`` if not stated."""
    unit = None
    for line in content.decode("latin-1").split("\n"):
        match [word.upper() for word in line.split("#")[0].split()]:
            case [] | [":FULLY-SPECIFIED"]:
                pass
            case [":DEGREES"] | [":RADIANS"] as keyword if unit is None:
                unit = _RADIANS[keyword[0][1:4].lower()]
            case [":SAMPLES-PER-SECOND", rate]:
                fps = _number(rate, ":SAMPLES-PER-SECOND")
            case _:
                raise _DamagedError(f"{_shown(line.strip())} before the first frame")
    if unit is None:
        raise _DamagedError("neither :DEGREES nor :RADIANS")
    if not 1 <= fps <= 100_000:
        raise _DamagedError(f"{fps:g} frames per second")
    return unit, fps


def _line_names(body: bytes, channels: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names of a frame's lines, in order, after those of the first one."""
    ends = _FRAME_NUMBER.finditer(body)
    next(ends)
    second = next(ends, None)
    end = second.start() if second else len(body)
    if end > LARGEST_FRAME:
        raise _DamagedError(f"the first frame has {end >> 10} KiB")
    lines = body[:end].split(b"\n")[1:]
    names = [line.split()[0].decode("latin-1") for line in lines if line.strip()]
    if missing := [name for name in channels if name not in names]:
        raise _DamagedError(f"the first frame lacks {_shown(missing[0])}")
    if len(names) > len(channels):
        odd = next(name for name in names if name not in channels or names.count(name) > 1)
        raise _DamagedError(
            f"the first frame has {_shown(odd)}, which its skeleton has not, or twice"
        )
    return names


class _Frames:
    """The text of all frames as one array of bytes, and where its words and its lines begin.

    Attributes:
        names: of each frame's lines, in order, after the line of its number.
        counts: of the numbers after each name.
    """

    def __init__(self, body: bytes, names: Sequence[str], counts: Sequence[int]) -> None:
        self.body, self.names, self.counts = body, names, counts
        self.words_due = np.array([1, *(1 + count for count in counts)])
        self.text = np.frombuffer(body, dtype=np.uint8)
        self.space = _SPACE[self.text]
        words = np.flatnonzero(~self.space & np.append(True, self.space[:-1]))
        line_of = np.cumsum(self.text == ord("\n"), dtype=np.int32)[words]
        first = np.flatnonzero(np.diff(line_of, prepend=-1))
        self.starts = words[first]
        self.words = np.diff(first, append=len(words))

    def numbers(self) -> NDArray[np.float64]:
        """Return ``(frame, number)``, frame numbers left out.

        Raises:
            _DamagedError: a frame is not made of the due lines of finite numbers, or is not the
                next one after the one before.
        """
        self._check_lines()
        digits = self._without_names()
        foreign = ~_OF_A_NUMBER[digits]
        if foreign.any():
            after = np.searchsorted(self.starts, foreign.argmax(), side="right")
            raise self._refusal(int(after) - 1)
        due = len(self.words_due)
        numbers = _converted(digits.tobytes(), self.words.sum() - len(self.names) * self._frames)
        numbers = numbers.reshape(self._frames, -1)
        infinite = ~np.isfinite(numbers).all(axis=1)
        if infinite.any():
            raise self._refusal(int(infinite.argmax()) * due, "a number too large to be one")
        astray = np.diff(numbers[:, 0]) != 1
        if astray.any():
            line = (int(astray.argmax()) + 1) * due
            raise self._refusal(line, "its number does not follow the last")
        return numbers[:, 1:]

    @property
    def _frames(self) -> int:
        return len(self.starts) // len(self.words_due)

    def _check_lines(self) -> None:
        """Check that the lines of every frame have as many words as are due."""
        wrong = self.words != np.resize(self.words_due, len(self.words))
        if wrong.any():
            raise self._refusal(int(wrong.argmax()))
        if len(self.words) % len(self.words_due):
            raise self._refusal(len(self.words))

    def _without_names(self) -> NDArray[np.uint8]:
        """Return the text with its names, each checked to be the due one, made spaces."""
        digits = self.text.copy()
        starts = self.starts.reshape(self._frames, -1)
        for place, name in enumerate(self.names, start=1):
            letters = starts[:, place, None] + np.arange(len(name) + 1)
            due = np.array([*name.encode("latin-1"), 0], dtype=np.uint8)
            same = self.text.take(letters, mode="clip") == due
            same[:, -1] = self.space.take(letters[:, -1], mode="clip")
            other = ~same.all(axis=1)
            if other.any():
                raise self._refusal(int(other.argmax()) * len(self.words_due) + place)
            digits[letters[:, :-1]] = ord(" ")
        return digits

    def _refusal(self, line: int, reason: str = "") -> _DamagedError:
        """Return what is wrong with a line, by default that it is not the due one."""
        frame, place = divmod(line, len(self.words_due))
        if not reason:
            there = "the end"
            if line < len(self.starts):
                start = self.starts[line]
                there = self.body[start : self.body.find(b"\n", start)].decode("latin-1").strip()
            due = f"{self.names[place - 1]} and {self.counts[place - 1]} numbers are"
            reason = f"{_shown(there)} where {due if place else 'its number is'} due"
        return _DamagedError(f"frame {frame + 1} of the file: {reason}")


def _converted(text: bytes, count: int) -> NDArray[np.float64]:
    """Return the numbers of a text of so many words."""
    try:
        with warnings.catch_warnings():
            # What older numpy says of a word that is no number, and then goes no further.
            warnings.simplefilter("error", DeprecationWarning)
            numbers = np.fromstring(text, dtype=np.float64, sep=" ")
    except (ValueError, DeprecationWarning):
        numbers = np.empty(0)
    if len(numbers) != count:
        raise _DamagedError("it has a word that is no number, or two numbers in one word")
    return numbers
