"""BVH files: a tree of joints, and the values of their channels in every frame.

The format is Biovision's, as M. Meredith and S. Maddock describe it in "Motion Capture File Formats
Explained" (University of Sheffield, CS-01-11). A joint's rotation is the product of its rotation
channels in the order in which they are listed; a position channel replaces that
coordinate of the joint's OFFSET.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import chain

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bench.core.errors import InputError
from bench.core.notices import note
from bench.datasets.archive import File
from bench.datasets.base import check_length
from bench.datasets.plausible import is_mark
from bench.datasets.rates import rate_of
from bench.datasets.text import decoded, is_comment, is_number, quoted, why, with_points
from bench.motion.kinematics import resample_positions, resample_rotations

REMEDY = "fetch or export the file again"
LARGEST_FILE = 2**27
LARGEST_HIERARCHY = 2**20
"""Most bytes of a file and of its HIERARCHY section; real ones have a hundred times fewer."""
LARGEST_NUMBER = 1e6
"""Degrees, or units of length, beyond which a number must be damaged."""
AXES = "XYZ"
_CHANNELS = {f"{axis}{kind}".upper() for axis in AXES for kind in ("position", "rotation")}


@dataclass(frozen=True)
class Node:
    """A joint, or an End Site, which has the name of its joint followed by ``_end``.

    Attributes:
        name: as in the file.
        parent: index of the parent, smaller than the node's own index; -1 for the root.
        offset: ``(3,)`` from the parent, in the file's units.
        channels: in upper case, such as ``("ZROTATION", "XPOSITION")``.
    """

    name: str
    parent: int
    offset: tuple[float, ...]
    channels: tuple[str, ...] = ()


@dataclass(frozen=True)
class BVHFile:
    """The content of a BVH file.

    Attributes:
        nodes: parents before children.
        motion: ``(frame, channel)`` values as in the file: degrees, units of length.
        fps: frames per second.
    """

    nodes: tuple[Node, ...]
    motion: NDArray[np.float64]
    fps: float

    def ancestors(self, node: int) -> list[int]:
        """Return the indices of a node and of all its ancestors, from the root down."""
        path: list[int] = []
        while node >= 0:
            path.append(node)
            node = self.nodes[node].parent
        return path[::-1]

    def rest(self, node: int) -> NDArray[np.float64]:
        """Return ``(3,)`` position of a node in the rest pose (the sum of OFFSETs), file units."""
        return np.sum([self.nodes[each].offset for each in self.ancestors(node)], axis=0)

    def place(
        self, wanted: Iterable[int], skip: int, fps: float
    ) -> dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Return positions and rotations of nodes in the file's world, resampled to ``fps``.

        Args:
            wanted: indices of nodes.
            skip: frames to skip at the start.
            fps: frames per second of the result.

        Returns:
            For each node and its ancestors, by index: ``(frame, 3)`` positions in the file's units,
            and ``(frame, 3, 3)`` rotations from the node's axes to the world's.
        """
        used = sorted({each for node in wanted for each in self.ancestors(node)})
        first = np.cumsum([0, *(len(node.channels) for node in self.nodes)])
        columns = [self.motion[skip:, first[n] : first[n + 1]] for n in used]
        local = [_local(self.nodes[n], each) for n, each in zip(used, columns, strict=True)]
        turns = resample_rotations(np.stack([turn for turn, _ in local], axis=1), self.fps, fps)
        shifts = resample_positions(np.stack([shift for _, shift in local], axis=1), self.fps, fps)
        placed: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        for number, node in enumerate(used):
            turn, shift = turns[:, number], shifts[:, number]
            if (parent := self.nodes[node].parent) >= 0:
                position, rotation = placed[parent]
                shift = position + (rotation @ shift[..., None])[..., 0]
                turn = rotation @ turn
            placed[node] = shift, turn
        return placed


def _local(
    node: Node, columns: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``(frame, 3)`` rotation vectors and positions of a node, relative to its parent."""
    shift = np.tile(np.array(node.offset), (len(columns), 1))
    order, rotated = "", []
    for channel, values in zip(node.channels, columns.T, strict=True):
        if channel.endswith("POSITION"):
            shift[:, AXES.index(channel[0])] = values
        else:
            order += channel[0]
            rotated.append(values)
    if not order:
        return np.zeros_like(shift), shift
    angles = np.stack(rotated, axis=1)
    return Rotation.from_euler(order, angles, degrees=True).as_rotvec(), shift


def read_bvh(file: File, rate: float | None = None) -> BVHFile:
    """Read a BVH file, however a program has spelled it.

    Args:
        file: the BVH file.
        rate: its frames per second, if not those that it states.

    Raises:
        InputError: it is truncated, its counts are inconsistent, or it has an implausible number.
    """
    text = decoded(file.read(LARGEST_FILE))
    nodes, section = sections(file, text)
    motion = section.table(sum(len(node.channels) for node in nodes))
    # Memory is allocated for every joint in every frame, even for a joint without channels.
    if len(nodes) * len(motion) > len(text):
        raise InputError(
            f"{file}: {len(nodes)} joints, hardly any of which has a channel; {REMEDY}"
        )
    return BVHFile(nodes, motion, section.rate() if rate is None else rate)


def sections(file: File, text: str) -> "tuple[tuple[Node, ...], MotionSection]":
    """Return the nodes of a file's text, and the lines of its MOTION section.

    Raises:
        InputError: it is cut short, or its hierarchy is damaged.
    """
    head, *rest = re.split(
        r"^[ \t]*MOTION[ \t]*:?[ \t]*$", text, maxsplit=1, flags=re.MULTILINE | re.IGNORECASE
    )
    if not rest:
        raise InputError(f"{file}: no line MOTION, so it is cut short or no BVH file; {REMEDY}")
    if len(head) > LARGEST_HIERARCHY:
        raise InputError(f"{file}: a hierarchy of {len(head) >> 10} KiB; {REMEDY}")
    nodes = _Hierarchy(file, head).nodes
    check_length(file, rest[0].count("\n"))
    return nodes, MotionSection(file, rest[0], head.count("\n") + 1)


class _Hierarchy:
    """The nodes of a file's HIERARCHY section."""

    def __init__(self, file: File, text: str) -> None:
        self.file = file
        self.line = 0
        self.words = self._lines(text)
        self.found: list[Node] = []
        self.ends: set[int] = set()
        first, *more = self._next()
        if first.upper() != "HIERARCHY":
            raise self._wrong("does not begin with HIERARCHY")
        self.words = chain([more] if more else [], self.words)
        self._read()
        self.nodes = tuple(self.found)

    def _lines(self, text: str) -> Iterator[list[str]]:
        """Yield the words of each line; braces get lines of their own."""
        for self.line, line in enumerate(text.split("\n"), 1):
            if _is_comment(line):
                note("comments", "comments, left out")
                continue
            for part in re.split(r"([{}])", line):
                if words := part.split():
                    yield words

    def _read(self) -> None:
        """Read nodes until the section ends, with a stack of nodes that are not closed yet."""
        opened: list[int] = []
        while words := next(self.words, None):
            if words == ["}"] and opened:
                opened.pop()
                continue
            kind, name = words[0].upper(), _unquoted(" ".join(words[1:]))
            if words[0] != kind and kind in ("ROOT", "JOINT"):
                note("keywords", f"keywords in another case, such as {quoted(words[0])}")
            parent = opened[-1] if opened else -1
            if parent in self.ends:
                raise self._wrong(f"an End Site has more than an OFFSET: {quoted(' '.join(words))}")
            if kind in ("END", "ENDSITE") and opened:
                name = f"{self.found[parent].name}_end"
                self.ends.add(len(self.found))
                opened.append(self._add(Node(name, parent, *self._body(name, False))))
            elif name and kind == ("JOINT" if opened else "ROOT"):
                if not opened and self.found:
                    raise self._wrong(f"a second root, {name}; write one file for each")
                opened.append(self._add(Node(name, parent, *self._body(name, True))))
            else:
                raise self._wrong(f"{quoted(' '.join(words))} in place of a joint or '}}'")
        if opened or not self.found:
            raise self._wrong("the hierarchy ends before it is closed")

    def _add(self, node: Node) -> int:
        self.found.append(node)
        return len(self.found) - 1

    def _body(self, joint: str, moves: bool) -> tuple[tuple[float, ...], tuple[str, ...]]:
        """Return the OFFSET and the CHANNELS of a joint, in whichever order they stand.

        A joint has both; what does not move, an End Site, needs no CHANNELS.
        """
        if self._next() != ["{"]:
            raise self._wrong(f"joint {joint}: no '{{'")
        words = self._next()
        if words[0].upper() == "CHANNELS":
            note("CHANNELS before OFFSET", "CHANNELS before OFFSET")
            channels = self._channels(joint, words)
            return self._offset(joint, self._next()), channels
        offset = self._offset(joint, words)
        following = next(self.words, ["nothing"])
        if following[0].upper() == "CHANNELS":
            return offset, self._channels(joint, following)
        if moves:
            raise self._wrong(
                f"joint {joint}: {quoted(' '.join(following))} in place of CHANNELS, a count and "
                "names"
            )
        # What follows is no part of the body: read it again.
        self.words = chain([following], self.words)
        return offset, ()

    def _offset(self, joint: str, words: list[str]) -> tuple[float, ...]:
        word, *numbers = words
        plain = with_points(numbers)
        if plain is None and all("," in number for number in numbers[:2]):
            plain = " ".join(numbers).replace(",", " ").split()
        try:
            offset = tuple(float(number.replace("_", "?")) for number in plain or numbers)
        except ValueError:
            offset = ()
        # A comparison with nan is false.
        near = all(abs(number) < LARGEST_NUMBER for number in offset)
        if word.upper() != "OFFSET" or len(offset) != 3 or not near:
            raise self._wrong(
                f"joint {joint}: {quoted(' '.join(words))} in place of OFFSET and 3 numbers"
            )
        return offset

    def _channels(self, joint: str, words: list[str]) -> tuple[str, ...]:
        rest = list(words[1:])
        count = int(rest[0]) if rest and rest[0].isdecimal() and len(rest[0]) < 3 else -1
        while 0 <= len(rest) - 1 < count:
            more = self._next()
            if {name.upper() for name in more} - _CHANNELS:
                break
            rest += more
        names = tuple(name.strip(",").upper() for name in rest[1:])
        if count != len(names):
            raise self._wrong(
                f"joint {joint}: {quoted(' '.join([words[0], *rest]))} in place of CHANNELS, a "
                "count and names"
            )
        if unknown := [name for name in names if name not in _CHANNELS]:
            raise self._wrong(f"joint {joint}: no channel {quoted(unknown[0])}")
        if len(set(names)) < len(names):
            raise self._wrong(f"joint {joint}: a channel twice")
        return names

    def _next(self) -> list[str]:
        words = next(self.words, None)
        if words is None:
            raise self._wrong("the hierarchy ends before it is closed")
        return words

    def _wrong(self, what: str) -> InputError:
        return InputError(f"{self.file}: line {self.line}: {what}; {REMEDY}")


_STATED = re.compile(r"(Frames|Frame\s*Time)\s*:?\s*(.*)", re.IGNORECASE)


def _few(rows: int) -> int:
    """Return by how many frames a file with so many rows may state too many or too few."""
    return max(1, min(max(5, rows // 50), rows // 4))


class MotionSection:
    """The lines of a file's MOTION section: what it states, and its rows of numbers.

    Attributes:
        file: for messages.
        stated: the texts of ``frames`` and ``frame time``, by name.
        rows: number of the line and text of each row, without comments.
    """

    def __init__(self, file: File, text: str, line: int) -> None:
        self.file = file
        self.stated: dict[str, str] = {}
        self.rows: list[tuple[int, str]] = []
        for number, content in enumerate(text.split("\n"), line):
            if not content.strip():
                continue
            if _is_comment(content):
                note("comments", "comments, left out")
            elif not self.rows and (match := _STATED.match(content.strip())):
                self._state(" ".join(match[1].lower().split()), match[2].strip())
            else:
                self.rows.append((number, content))
        if missing := [name for name in ("frames", "frametime") if name not in self.stated]:
            name = {"frames": "Frames:", "frametime": "Frame Time:"}[missing[0]]
            raise InputError(f"{file}: no '{name}' after MOTION; {REMEDY}")

    def _state(self, name: str, value: str) -> None:
        """Keep what a line states, with both on one line as well."""
        first, *more = value.split(maxsplit=1) or [""]
        name = name.replace(" ", "")
        if self.stated.setdefault(name, first) != first:
            raise InputError(
                f"{self.file}: says '{name}' twice, {quoted(self.stated[name])} and "
                f"{quoted(first)}; remove the wrong one"
            )
        if more and (match := _STATED.match(more[0])):
            self._state(" ".join(match[1].lower().split()), match[2].strip())
        elif more and re.search(r"\d", more[0]):
            raise InputError(
                f"{self.file}: says {quoted(value)} for '{name}', more than a number; remove the "
                "wrong one"
            )

    def rate(self, setting: str = "dataset.rate") -> float:
        """Return the frames per second; raises InputError if they are unclear.

        ``setting`` is what else states them, for messages.
        """
        text = self.stated["frametime"]
        plain = with_points([text])
        return rate_of(plain[0] if plain else text, f"{self.file}: 'Frame Time:'", setting)

    def table(self, columns: int) -> NDArray[np.float64]:
        """Return ``(frame, channel)`` values; raises InputError if they do not fit the channels."""
        frames = self.frames()
        found = _Rows(self.file, self.rows, columns, frames).table()
        if frames is None or abs(frames - len(found)) > _few(len(found)):
            raise InputError(
                f"{self.file}: 'Frames: {self.stated['frames'][:40]}', but {len(found)} rows; "
                f"{REMEDY}"
            )
        if frames != len(found):
            note("number of frames", f"says {frames} frames, has {len(found)} rows; the rows count")
        elif self.stated["frames"] != str(frames):
            note("number of frames", f"says {quoted(self.stated['frames'])} frames")
        return found

    def frames(self) -> int | None:
        """Return the stated number of frames; None if it is no whole number."""
        text = self.stated["frames"]
        plain = re.fullmatch(r"0*(\d{1,9})(?:[.,]0*)?", text)
        return int(plain[1]) if plain else None


class _Rows:
    """The rows of numbers of a MOTION section.

    Attributes:
        file: for messages.
        lines: number and text of each line.
        columns: numbers that a row must have.
        promised: the stated number of rows; None if that is unclear.
    """

    def __init__(
        self, file: File, lines: Sequence[tuple[int, str]], columns: int, promised: int | None
    ) -> None:
        self.file, self.columns, self.promised = file, columns, promised
        self.lines = self._without_end(lines)

    def _without_end(self, lines: Sequence[tuple[int, str]]) -> Sequence[tuple[int, str]]:
        """Return lines up to a text that follows the last row."""
        end = len(lines)
        while end and not any(map(is_number, lines[end - 1][1].replace(",", " ").split())):
            end -= 1
        if end < len(lines) and self.promised is not None:
            count = sum(len(line.split()) for _, line in lines[:end])
            if count == self.promised * self.columns:
                text = quoted(lines[end][1].strip())
                note("trailing text", f"{text} after the last row, left out")
                return lines[:end]
        return lines

    def table(self) -> NDArray[np.float64]:
        """Return ``(row, column)`` numbers.

        Raises:
            InputError: a row has another number of them, a word that is none, or an implausible
                number.
        """
        if not self.lines:
            raise InputError(f"{self.file}: no row of numbers after 'Frame Time:'; {REMEDY}")
        text = "\n".join(line for _, line in self.lines)
        if "," in text:
            text = self._without_commas(text)
        try:
            table = _parsed(text)
        except (ValueError, OverflowError):
            table = None
        # pandas fills a row that is too short with nan.
        if table is None or table.shape[1] != self.columns or np.isnan(table[:, -1]).any():
            rows = self._unwrapped(text.split("\n")).split("\n")
            # numpy takes numbers beyond the range of a double, of which pandas makes text.
            table = np.array([row.split() for row in rows], dtype=np.float64)
        # A comparison with nan is false.
        bad = np.argwhere(~(np.abs(table) < LARGEST_NUMBER))
        if len(bad):
            row, column = bad[0].tolist()
            raise InputError(
                f"{self.file}: frame {row + 1} has an implausible number, {table[row, column]:g} "
                f"in channel {column + 1}; {REMEDY}"
            )
        self._check_lost(table)
        return table

    def _check_lost(self, table: NDArray[np.float64]) -> None:
        """Raise InputError if a frame holds what stands for a lost one: a mark, or only zeros."""
        marks = np.argwhere(is_mark(table))
        if len(marks):
            row, column = marks[0].tolist()
            raise InputError(
                f"{self.file}: frame {row + 1} has {table[row, column]:g} in channel {column + 1}, "
                "which marks a missing value; fill it or cut the file there"
            )
        # Zeros at the start or end are a pose, and so is a file of zeros.
        moving = np.flatnonzero(table.any(axis=1))
        gaps = np.flatnonzero(np.diff(moving) > 1)
        if len(gaps) and self.columns > 6:
            raise InputError(
                f"{self.file}: frame {moving[gaps[0]] + 2} has only zeros between frames that have "
                "not, so it is a lost one; fill it or cut the file there"
            )

    def _without_commas(self, text: str) -> str:
        """Return text with decimal points in place of commas, or without commas as separators."""
        words, apart = text.split(), text.replace(",", " ")
        due = self.columns * len(self.lines)
        separated = len(apart.split()) == due != len(words)
        if with_points(words) is not None and not separated:
            note("decimal commas", "numbers with decimal commas")
            return text.replace(",", ".")
        mixed = next((word for word in words if _MIXED.fullmatch(word)), None)
        if mixed is not None and not separated:
            raise InputError(
                f"{self.file}: {quoted(mixed)} mixes a decimal comma and a point; write points "
                "alone"
            )
        note("separator", "commas between the numbers")
        return apart

    def _unwrapped(self, lines: Sequence[str]) -> str:
        """Return rows that are wrapped over several lines as one line each."""
        words = [line.split() for line in lines]
        for (number, _), row in zip(self.lines, words, strict=True):
            if odd := next((word for word in row if not is_number(word)), None):
                raise InputError(
                    f"{self.file}: line {number}: {quoted(odd)} stands where a number is due"
                    f"{why(odd)}; {REMEDY}"
                )
        counts = [len(row) for row in words]
        if set(counts) == {self.columns}:
            return "\n".join(lines)
        ends = np.cumsum(counts)
        wholes = np.arange(1, sum(counts) // max(1, self.columns) + 1) * self.columns
        whole = self.columns and sum(counts) % self.columns == 0
        aligned = whole and max(counts) < self.columns and np.isin(wholes, ends).all()
        flowing = (
            whole
            and len(wholes) == self.promised
            and (max(counts) < self.columns or len(counts) == 1)
        )
        if aligned or flowing:
            note("wrapped rows", "rows that are wrapped over several lines")
            flat = [word for row in words for word in row]
            size = self.columns
            return "\n".join(" ".join(flat[at : at + size]) for at in range(0, len(flat), size))
        raise self._uneven(counts)

    def _uneven(self, counts: Sequence[int]) -> InputError:
        """Return an error for the first line with another number of numbers than is due."""
        row = next((at for at, count in enumerate(counts) if count != self.columns), 0)
        line, count = f"line {self.lines[row][0]}: ", counts[row]
        if len(set(counts)) == 1:
            found = f"rows have {count} numbers"
        else:
            found = f"row {row + 1} has {count} numbers"
        if count > self.columns:
            cause = "a channel is missing in the hierarchy, or two rows stand on one line"
        else:
            cause = (
                "a channel too many is in the hierarchy, the row is cut short, or numbers run "
                "together as in 1.2-3.4"
            )
        return InputError(
            f"{self.file}: {line}{found}, the hierarchy has {self.columns} channels: {cause}; "
            f"{REMEDY}"
        )


_MIXED = re.compile(r"[-+]?\d*(?:\.\d+,\d+|,\d+\.\d*)\S*")


def _parsed(text: str) -> NDArray[np.float64]:
    """Return the numbers of rows of equal length."""
    return pd.read_csv(StringIO(text), sep=r"\s+", header=None, dtype=np.float64).to_numpy()


def _is_comment(line: str) -> bool:
    """Return whether a line is a comment; in BVH files, semicolons do not separate cells."""
    return is_comment(line) or line.lstrip().startswith((";", "/*", "--"))


def _unquoted(name: str) -> str:
    """Return a name without quotes around it."""
    return name[1:-1].strip() if len(name) > 2 and name[0] == name[-1] in "\"'" else name


def bare(name: str) -> str:
    """Return a node's name without the namespace that some programs prepend (``mixamorig:``)."""
    return re.split(r"[:|]", name)[-1].strip()


def numbers_of(nodes: Sequence[Node]) -> dict[str, int]:
    """Return the index of each node by its ``bare`` name; of equal names, that of the first."""
    return {bare(node.name): number for number, node in reversed(list(enumerate(nodes)))}
