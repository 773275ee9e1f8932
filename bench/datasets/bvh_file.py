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

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bench.core.errors import InputError, reason_of
from bench.datasets.archive import File
from bench.datasets.base import check_length
from bench.motion.kinematics import resample_positions, resample_rotations

REMEDY = "fetch or export the file again"
RATES = (1.0, 2000.0)
"""Least and greatest plausible frames per second."""
LARGEST_FILE = 2**27
LARGEST_HIERARCHY = 2**20
"""Most bytes of a file and of its HIERARCHY section; real ones have a hundred times fewer."""
LARGEST_NUMBER = 1e6
"""Degrees, or units of length, beyond which a number must be damaged."""
AXES = "XYZ"
_CHANNELS = {f"{axis}{kind}".upper() for axis in AXES for kind in ("position", "rotation")}
# Possessive quantifiers (*+) prevent backtracking over a long run of spaces.
_COUNTS = re.compile(
    r"\s*+Frames\s*+:?+\s*+(\S++)\s++Frame\s++Time\s*+:?+\s*+(\S++)[^\n]*", re.IGNORECASE
)


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


def read_bvh(file: File) -> BVHFile:
    """Read a BVH file.

    Raises:
        InputError: it is truncated, its counts are inconsistent, or it has an implausible number.
    """
    text = file.read(LARGEST_FILE).decode("utf-8-sig", errors="replace")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    head, *rest = re.split(r"^[ \t]*MOTION[ \t]*$", text, maxsplit=1, flags=re.MULTILINE)
    if not rest:
        raise InputError(f"{file}: no line MOTION, so it is cut short or no BVH file; {REMEDY}")
    if len(head) > LARGEST_HIERARCHY:
        raise InputError(f"{file}: a hierarchy of {len(head) >> 10} KiB; {REMEDY}")
    nodes = _Hierarchy(file, head).nodes
    counts = _COUNTS.match(rest[0])
    if counts is None:
        raise InputError(f"{file}: no 'Frames:' and 'Frame Time:' after MOTION; {REMEDY}")
    check_length(file, rest[0].count("\n"))
    motion = _table(file, rest[0][counts.end() :], sum(len(node.channels) for node in nodes))
    if counts[1] != str(len(motion)):
        raise InputError(f"{file}: 'Frames: {counts[1]}', but {len(motion)} rows; {REMEDY}")
    # Memory is allocated for every joint in every frame, even for a joint without channels.
    if len(nodes) * len(motion) > len(text):
        raise InputError(
            f"{file}: {len(nodes)} joints, hardly any of which has a channel; {REMEDY}"
        )
    return BVHFile(nodes, motion, _rate(file, counts[2]))


class _Hierarchy:
    """The nodes of a file's HIERARCHY section."""

    def __init__(self, file: File, text: str) -> None:
        self.file = file
        # Braces get lines of their own.
        lines = re.sub(r"([{}])", r"\n\1\n", text).split("\n")
        self.words: Iterator[list[str]] = (words for line in lines if (words := line.split()))
        self.found: list[Node] = []
        if self._next() != ["HIERARCHY"]:
            raise self._wrong("does not begin with HIERARCHY")
        self._read()
        self.nodes = tuple(self.found)

    def _read(self) -> None:
        """Read nodes until the section ends, with a stack of nodes that are not closed yet."""
        opened: list[int] = []
        while words := next(self.words, None):
            if words == ["}"] and opened:
                opened.pop()
                continue
            kind, name = words[0].upper(), " ".join(words[1:])
            parent = opened[-1] if opened else -1
            if kind == "END" and opened:
                self._add(Node(f"{self.found[parent].name}_end", parent, self._offset()))
                if self._next() != ["}"]:
                    raise self._wrong("an End Site has more than an OFFSET")
            elif name and kind == ("JOINT" if opened else "ROOT"):
                if not opened and self.found:
                    raise self._wrong(f"a second root, {name}; write one file for each")
                opened.append(self._add(Node(name, parent, self._offset(), self._channels(name))))
            else:
                raise self._wrong(f"'{' '.join(words)[:60]}' in place of a joint or '}}'")
        if opened or not self.found:
            raise self._wrong("the hierarchy ends before it is closed")

    def _add(self, node: Node) -> int:
        self.found.append(node)
        return len(self.found) - 1

    def _offset(self) -> tuple[float, ...]:
        if self._next() != ["{"]:
            raise self._wrong("a joint without '{'")
        word, *numbers = self._next()
        try:
            offset = tuple(float(number) for number in numbers)
        except ValueError:
            offset = ()
        # A comparison with nan is false.
        near = all(abs(number) < LARGEST_NUMBER for number in offset)
        if word.upper() != "OFFSET" or len(offset) != 3 or not near:
            raise self._wrong(
                f"'{' '.join([word, *numbers])[:60]}' in place of OFFSET and 3 numbers"
            )
        return offset

    def _channels(self, joint: str) -> tuple[str, ...]:
        word, *rest = self._next()
        names = tuple(name.upper() for name in rest[1:])
        if word.upper() != "CHANNELS" or not rest or rest[0] != str(len(names)):
            stated = " ".join([word, *rest])[:60]
            raise self._wrong(f"joint {joint}: '{stated}' in place of CHANNELS, a count and names")
        if unknown := [name for name in names if name not in _CHANNELS]:
            raise self._wrong(f"joint {joint}: no channel '{unknown[0][:60]}'")
        if len(set(names)) < len(names):
            raise self._wrong(f"joint {joint}: a channel twice")
        return names

    def _next(self) -> list[str]:
        words = next(self.words, None)
        if words is None:
            raise self._wrong("the hierarchy ends before it is closed")
        return words

    def _wrong(self, what: str) -> InputError:
        return InputError(f"{self.file}: {what}; {REMEDY}")


def _table(file: File, text: str, columns: int) -> NDArray[np.float64]:
    """Return ``(frame, channel)`` values of a file's MOTION section."""
    try:
        table = pd.read_csv(StringIO(text), sep=r"\s+", header=None, dtype=np.float64).to_numpy()
    except (ValueError, OverflowError) as error:
        raise InputError(f"{file}: no table of numbers ({reason_of(error)}); {REMEDY}") from None
    if table.shape[1] != columns:
        raise InputError(
            f"{file}: {table.shape[1]} columns for the {columns} channels of the joints; {REMEDY}"
        )
    # A comparison with nan is false.
    bad = np.flatnonzero(~(np.abs(table) < LARGEST_NUMBER).all(axis=1))
    if len(bad):
        raise InputError(f"{file}: frame {bad[0] + 1} has an implausible number; {REMEDY}")
    return table


def _rate(file: File, text: str) -> float:
    """Return frames per second from the text of a frame time.

    A frame time is usually the rounded inverse of a whole number, which is then returned.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 / RATES[1] <= seconds <= 1 / RATES[0]:
        raise InputError(f"{file}: 'Frame Time: {text}' is no time between two frames; {REMEDY}")
    decimals = len(text.lower().partition("e")[0].partition(".")[2])
    whole = round(1 / seconds)
    # Whether 1 / whole, printed with as many decimals, gives the same text.
    rounded = "e" not in text.lower() and abs(1 / whole - seconds) <= 0.5 * 10.0**-decimals
    return float(whole) if rounded else 1 / seconds


def bare(name: str) -> str:
    """Return a node's name without the namespace that some programs prepend (``mixamorig:``)."""
    return name.rpartition(":")[2]


def numbers_of(nodes: Sequence[Node]) -> dict[str, int]:
    """Return the index of each node by its ``bare`` name; of equal names, that of the first."""
    return {bare(node.name): number for number, node in reversed(list(enumerate(nodes)))}
