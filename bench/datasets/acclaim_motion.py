"""The motion of an Acclaim skeleton (AMC).

An AMC file states, frame by frame, the values of the root and of every bone that has any, in a
line each. All frames have the same lines, so that their text is checked and turned into numbers as
one array of bytes. ``acclaim`` says what the values mean.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bench.core.errors import InputError
from bench.datasets.acclaim import (
    ANGLES,
    MEND,
    MOST_TURNS,
    RADIANS,
    ROOT,
    SHIFTS,
    AcclaimSkeleton,
    DamagedError,
    number_in,
    shown,
)
from bench.datasets.archive import File

FPS = 120.0
"""Frames per second of CMU and HDM05, whose motion files do not state any."""
LARGEST_MOTION = 2**27
"""Bytes of an AMC file: twenty minutes at CMU's rate. Reading takes twelve times as much memory."""
LARGEST_FRAME = 2**16
"""Bytes of one frame, and of what stands before the first; real frames have one thousand."""


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
            if channel in SHIFTS:
                moved[:, SHIFTS.index(channel)] = self.values[ROOT][:, column]
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
        return self.at(slice(held, None))

    def at(self, frames: slice | NDArray[np.int64]) -> "AcclaimMotion":
        """Return some frames of it."""
        values = {name: there[frames] for name, there in self.values.items()}
        return AcclaimMotion(self.skeleton, self.fps, values)


def _turned(values: NDArray[np.float64], channels: Sequence[str]) -> Rotation:
    """Return the rotations that some channels' values are."""
    columns = [column for column, channel in enumerate(channels) if channel in ANGLES]
    if not columns:
        return Rotation.identity(len(values))
    # Small letters: about fixed axes, the first one first.
    sequence = "".join(channels[column][1] for column in columns)
    return Rotation.from_euler(sequence, values[:, columns])


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
    except DamagedError as fault:
        raise InputError(f"{file}: {fault}; {MEND}") from None


def _motion(content: bytes, skeleton: AcclaimSkeleton, fps: float) -> AcclaimMotion:
    first = _FRAME_NUMBER.search(content)
    if first is None or first.start() > LARGEST_FRAME:
        raise DamagedError("no frame where the first one is due, so no AMC file")
    if not content.endswith(b"\n"):
        raise DamagedError("cut short (it ends in the middle of a line)")
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
        angles = np.array([channel in ANGLES for channel in channels[name]])
        values[name] = numbers[:, column : column + len(angles)] * np.where(angles, unit, 1.0)
        column += len(angles)
        far = np.abs(values[name][:, angles]) > MOST_TURNS * 2 * np.pi
        if far.any():
            raise DamagedError(f"frame {far.any(axis=1).argmax() + 1}: {name} turns without end")
    return AcclaimMotion(skeleton, fps, values)


def _preamble(content: bytes, fps: float) -> tuple[float, float]:
    """Return the radians of a unit of angle, and the frames per second, ``fps`` if not stated."""
    unit = None
    for line in content.decode("latin-1").split("\n"):
        match [word.upper() for word in line.split("#")[0].split()]:
            case [] | [":FULLY-SPECIFIED"]:
                pass
            case [":DEGREES"] | [":RADIANS"] as keyword if unit is None:
                unit = RADIANS[keyword[0][1:4].lower()]
            case [":SAMPLES-PER-SECOND", rate]:
                fps = number_in(rate, ":SAMPLES-PER-SECOND")
            case _:
                raise DamagedError(f"{shown(line.strip())} before the first frame")
    if unit is None:
        raise DamagedError("neither :DEGREES nor :RADIANS")
    if not 1 <= fps <= 100_000:
        raise DamagedError(f"{fps:g} frames per second")
    return unit, fps


def _line_names(body: bytes, channels: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names of a frame's lines, in order, after those of the first one."""
    ends = _FRAME_NUMBER.finditer(body)
    next(ends)
    second = next(ends, None)
    end = second.start() if second else len(body)
    if end > LARGEST_FRAME:
        raise DamagedError(f"the first frame has {end >> 10} KiB")
    lines = body[:end].split(b"\n")[1:]
    names = [line.split()[0].decode("latin-1") for line in lines if line.strip()]
    if missing := [name for name in channels if name not in names]:
        raise DamagedError(f"the first frame lacks {shown(missing[0])}")
    if len(names) > len(channels):
        odd = next(name for name in names if name not in channels or names.count(name) > 1)
        raise DamagedError(
            f"the first frame has {shown(odd)}, which its skeleton has not, or twice"
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
            DamagedError: a frame is not made of the due lines of finite numbers, or is not the
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

    def _refusal(self, line: int, reason: str = "") -> DamagedError:
        """Return what is wrong with a line, by default that it is not the due one."""
        frame, place = divmod(line, len(self.words_due))
        if not reason:
            there = "the end"
            if line < len(self.starts):
                start = self.starts[line]
                there = self.body[start : self.body.find(b"\n", start)].decode("latin-1").strip()
            due = f"{self.names[place - 1]} and {self.counts[place - 1]} numbers are"
            reason = f"{shown(there)} where {due if place else 'its number is'} due"
        return DamagedError(f"frame {frame + 1} of the file: {reason}")


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
        raise DamagedError("it has a word that is no number, or two numbers in one word")
    return numbers
