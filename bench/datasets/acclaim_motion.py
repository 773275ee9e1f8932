"""The motion of an Acclaim skeleton (AMC).

An AMC file has, in every frame, a line of values for the root and for each bone with degrees of
freedom. All frames have the same lines, so their text is checked and converted as one array of
bytes. ``acclaim`` describes what the values mean.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bench.core.errors import InputError
from bench.core.notices import note
from bench.datasets.acclaim import (
    ANGLES,
    MOST_TURNS,
    RADIANS,
    REMEDY,
    ROOT,
    SHIFTS,
    AcclaimSkeleton,
    DamagedError,
    number_in,
    quoted,
)
from bench.datasets.archive import File
from bench.datasets.plausible import is_mark
from bench.datasets.text import unmarked

FPS = 120.0
"""Frames per second of CMU and HDM05; their motion files do not state it."""
LARGEST_MOTION = 2**27
"""Most bytes of an AMC file: twenty minutes at CMU's rate. Reading needs twelve times as many."""
LARGEST_FRAME = 2**16
"""Most bytes of one frame, and of the text before the first; real frames have one thousand."""


@dataclass(frozen=True)
class AcclaimMotion:
    """The content of an AMC file, for one skeleton.

    Attributes:
        skeleton: the skeleton that moves.
        fps: frames per second.
        values: ``(frame, channel)`` values of the root and of each bone with degrees of freedom, by
            name; radians, and the skeleton's units for the root's translation.
    """

    skeleton: AcclaimSkeleton
    fps: float
    values: Mapping[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.values[ROOT])

    @property
    def translation(self) -> NDArray[np.float64]:
        """``(frame, 3)`` position of the root in the world, mm."""
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
        rotations = _rotations(self.values[ROOT], self.skeleton.order)
        vectors[:, 0] = (self.skeleton.orientation * rotations).as_rotvec()
        for joint, bone in enumerate(self.skeleton.bones, start=1):
            if bone.dof:
                # C exp(v) C^-1 = exp(C v)
                rotations = _rotations(self.values[bone.name], bone.dof)
                vectors[:, joint] = bone.axes.apply(rotations.as_rotvec())
        return vectors

    def without_held_start(self) -> "AcclaimMotion":
        """Return the motion without leading frames in which a bone is at exactly zero.

        Tracking sometimes begins late: until then a bone's angles are exactly zero, and then they
        jump. A single angle may be zero by chance or by its limit (a straight knee), so only bones
        with two or three angles are checked. A bone that is zero throughout is ignored.
        """
        held = 0
        for name, angles in self.values.items():
            if name != ROOT and angles.shape[1] > 1:
                held = max(held, int(angles.any(axis=1).argmax()))
        return self.at(slice(held, None))

    def at(self, frames: slice | NDArray[np.int64]) -> "AcclaimMotion":
        """Return the motion at the given frames."""
        values = {name: each[frames] for name, each in self.values.items()}
        return AcclaimMotion(self.skeleton, self.fps, values)


def _rotations(values: NDArray[np.float64], channels: Sequence[str]) -> Rotation:
    """Return the rotation of each frame from ``(frame, channel)`` values."""
    columns = [column for column, channel in enumerate(channels) if channel in ANGLES]
    if not columns:
        return Rotation.identity(len(values))
    # Lower case: rotations about fixed axes, the first one first.
    sequence = "".join(channels[column][1] for column in columns)
    return Rotation.from_euler(sequence, values[:, columns])


def _byte_table(characters: bytes) -> NDArray[np.bool_]:
    """Return ``(256,)`` whether each byte value is among ``characters``."""
    table = np.zeros(256, dtype=np.bool_)
    table[list(characters)] = True
    return table


_SPACE = _byte_table(b" \t\r\n\v\f")
_NUMERIC = _byte_table(b"0123456789+-.eE \t\r\n\v\f")
_FRAME_NUMBER = re.compile(rb"^[ \t]*\d+[ \t\r]*$", re.MULTILINE)


def read_motion(file: File, skeleton: AcclaimSkeleton, fps: float = FPS) -> AcclaimMotion:
    """Read an AMC file.

    Args:
        file: the AMC file.
        skeleton: the skeleton of the ASF file that belongs to it.
        fps: its frames per second, if the file does not state them.

    Raises:
        InputError: it is damaged, or belongs to another skeleton.
    """
    content = file.read(LARGEST_MOTION)
    try:
        return _motion(content, skeleton, fps)
    except DamagedError as fault:
        raise InputError(f"{file}: {fault}; {REMEDY}") from None


def _motion(content: bytes, skeleton: AcclaimSkeleton, fps: float) -> AcclaimMotion:
    content = unmarked(content)
    first = _FRAME_NUMBER.search(content)
    if first is None or first.start() > LARGEST_FRAME:
        raise DamagedError("no frame at the start, so it is no AMC file")
    ended = content.rstrip(b"\0\x1a")
    if len(ended) < len(content):
        note("filled end", "NULs or Ctrl-Z after the last line, left out")
    content = ended
    if not content.endswith(b"\n"):
        note("unfinished line", "a last line without its end")
        content += b"\n"
    unit, fps = _preamble(content[: first.start()], fps)
    body = content[first.start() :]
    if b"#" in body:
        body = re.sub(rb"#[^\n]*", b"", body)
    if b"," in body and b"." not in body:
        note("decimal commas", "numbers with decimal commas")
        body = body.replace(b",", b".")
    channels = skeleton.channels
    names = _line_names(body, channels)
    numbers = _Frames(body, names, [len(channels[name]) for name in names]).numbers()
    values: dict[str, NDArray[np.float64]] = {}
    column = 0
    for name in names:
        angles = np.array([channel in ANGLES for channel in channels[name]])
        stated = numbers[:, column : column + len(angles)]
        if (marks := is_mark(stated)).any():
            frame = int(marks.any(axis=1).argmax())
            raise DamagedError(
                f"frame {frame + 1}: {name} has {stated[frame][marks[frame]][0]:g}, which marks a "
                "missing value"
            )
        values[name] = stated * np.where(angles, unit, 1.0)
        column += len(angles)
        far = np.abs(values[name][:, angles]) > MOST_TURNS * 2 * np.pi
        if far.any():
            raise DamagedError(f"frame {far.any(axis=1).argmax() + 1}: {name} turns without end")
    return AcclaimMotion(skeleton, fps, values)


def _preamble(content: bytes, fps: float) -> tuple[float, float]:
    """Return the unit of angle in radians, and the frames per second (``fps`` if not stated)."""
    unit = None
    rates: list[float] = []
    for line in content.decode("latin-1").split("\n"):
        match [word.upper() for word in line.split("#")[0].split()]:
            case [] | [":FULLY-SPECIFIED"]:
                pass
            case [":DEGREES"] | [":RADIANS"] as keyword if unit is None:
                unit = RADIANS[keyword[0][1:4].lower()]
            case [":SAMPLES-PER-SECOND", rate]:
                rates.append(number_in(rate, ":SAMPLES-PER-SECOND"))
            case _:
                raise DamagedError(f"{quoted(line.strip())} before the first frame")
    if unit is None:
        raise DamagedError("neither :DEGREES nor :RADIANS")
    if len(set(rates)) > 1:
        raise DamagedError(f"says {rates[0]:g} and {rates[1]:g} frames per second")
    fps = rates[0] if rates else fps
    if not 1 <= fps <= 100_000:
        raise DamagedError(f"{fps:g} frames per second")
    return unit, fps


def _line_names(body: bytes, channels: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names of a frame's lines, in order, taken from the first frame."""
    ends = _FRAME_NUMBER.finditer(body)
    next(ends)
    second = next(ends, None)
    end = second.start() if second else len(body)
    if end > LARGEST_FRAME:
        raise DamagedError(f"the first frame has {end >> 10} KiB")
    lines = body[:end].split(b"\n")[1:]
    names = [line.split()[0].decode("latin-1") for line in lines if line.strip()]
    if missing := [name for name in channels if name not in names]:
        raise DamagedError(f"the first frame lacks {quoted(missing[0])}")
    if len(names) > len(channels):
        odd = next(name for name in names if name not in channels or names.count(name) > 1)
        raise DamagedError(
            f"the first frame has {quoted(odd)} twice, or its skeleton does not have it"
        )
    return names


class _Frames:
    """The text of all frames as one array of bytes, split into words and lines.

    Attributes:
        names: names of each frame's lines, in order, after the line of its number.
        counts: how many numbers follow each name.
        expected_words: expected number of words in each line of a frame.
        starts: position in the text where each line begins.
        words: actual number of words in each line.
    """

    def __init__(self, body: bytes, names: Sequence[str], counts: Sequence[int]) -> None:
        self.body, self.names, self.counts = body, names, counts
        self.expected_words = np.array([1, *(1 + count for count in counts)])
        self.text = np.frombuffer(body, dtype=np.uint8)
        self.space = _SPACE[self.text]
        words = np.flatnonzero(~self.space & np.append(True, self.space[:-1]))
        line_of = np.cumsum(self.text == ord("\n"), dtype=np.int32)[words]
        first = np.flatnonzero(np.diff(line_of, prepend=-1))
        self.starts = words[first]
        self.words = np.diff(first, append=len(words))

    def numbers(self) -> NDArray[np.float64]:
        """Return the ``(frame, number)`` values of all lines, without frame numbers.

        Raises:
            DamagedError: a frame lacks expected lines or has values that are not finite, or frame
                numbers are not consecutive.
        """
        self._check_lines()
        digits = self._without_names()
        foreign = ~_NUMERIC[digits]
        if foreign.any():
            after = np.searchsorted(self.starts, foreign.argmax(), side="right")
            raise self._refusal(int(after) - 1)
        lines = len(self.expected_words)
        numbers = _converted(digits.tobytes(), self.words.sum() - len(self.names) * self._frames)
        numbers = numbers.reshape(self._frames, -1)
        infinite = ~np.isfinite(numbers).all(axis=1)
        if infinite.any():
            raise self._refusal(int(infinite.argmax()) * lines, "a number is too large")
        unordered = np.diff(numbers[:, 0]) != 1
        if unordered.any():
            line = (int(unordered.argmax()) + 1) * lines
            raise self._refusal(line, "its number does not follow the last")
        return numbers[:, 1:]

    @property
    def _frames(self) -> int:
        return len(self.starts) // len(self.expected_words)

    def _check_lines(self) -> None:
        """Raise DamagedError if a line does not have the expected number of words."""
        wrong = self.words != np.resize(self.expected_words, len(self.words))
        if wrong.any():
            raise self._refusal(int(wrong.argmax()))
        if len(self.words) % len(self.expected_words):
            raise self._refusal(len(self.words))

    def _without_names(self) -> NDArray[np.uint8]:
        """Return the text with names, which are checked, replaced by spaces."""
        digits = self.text.copy()
        starts = self.starts.reshape(self._frames, -1)
        for place, name in enumerate(self.names, start=1):
            letters = starts[:, place, None] + np.arange(len(name) + 1)
            expected = np.array([*name.encode("latin-1"), 0], dtype=np.uint8)
            same = self.text.take(letters, mode="clip") == expected
            same[:, -1] = self.space.take(letters[:, -1], mode="clip")
            other = ~same.all(axis=1)
            if other.any():
                raise self._refusal(int(other.argmax()) * len(self.expected_words) + place)
            digits[letters[:, :-1]] = ord(" ")
        return digits

    def _refusal(self, line: int, reason: str = "") -> DamagedError:
        """Return an error for a line, by default that it is not the expected one."""
        frame, place = divmod(line, len(self.expected_words))
        if not reason:
            found = "the end"
            if line < len(self.starts):
                start = self.starts[line]
                found = self.body[start : self.body.find(b"\n", start)].decode("latin-1").strip()
            expected = f"{self.names[place - 1]} and {self.counts[place - 1]} numbers"
            reason = f"{quoted(found)}, expected {expected if place else 'its number'}"
        return DamagedError(f"frame {frame + 1} of the file: {reason}")


def _converted(text: bytes, count: int) -> NDArray[np.float64]:
    """Return the ``count`` numbers in a text; raises DamagedError if there are not as many."""
    try:
        with warnings.catch_warnings():
            # Older numpy only warns about a word that is no number, and stops there.
            warnings.simplefilter("error", DeprecationWarning)
            numbers = np.fromstring(text, dtype=np.float64, sep=" ")
    except (ValueError, DeprecationWarning):
        numbers = np.empty(0)
    if len(numbers) != count:
        raise DamagedError("it has a word that is no number, or two numbers in one word")
    return numbers
