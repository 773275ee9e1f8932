"""BVH files in which the channels of joints are replaced, and nothing else."""

import re
from dataclasses import dataclass

import numpy as np

from bench.core.errors import InputError
from bench.datasets.archive import File
from bench.datasets.bvh_file import (
    LARGEST_FILE,
    LARGEST_NUMBER,
    REMEDY,
    MotionSection,
    Node,
    bare,
    sections,
)
from bench.datasets.bvh_rigs import rig_of
from bench.datasets.plausible import is_mark
from bench.datasets.points import plain_labels
from bench.datasets.text import decoded, quoted
from bench.fill.coded import Coded
from bench.fill.gaps import Bools, Numbers
from bench.fill.tree import Tree, tree_of

GONE = frozenset(
    ["", "-", '""', "nan", "-nan", "nan(ind)", "-nan(ind)", "-1.#ind", "1.#qnan", "na", "n/a"]
)
"""What stands for no number, in lower case."""
CM = 10.0
"""Millimetres of a unit of a file of no known rig."""
DECIMALS = 6
"""Decimals of filled channels."""


def opened(file: File) -> Coded:
    """Return the channels of a BVH file's joints; ``values`` are ``(frame, track, 3)``.

    Raises:
        InputError: the file is damaged, or its rows are not one line for each frame.
    """
    content = file.read(LARGEST_FILE)
    if b"\0" in content.rstrip(b"\0"):
        raise InputError(f"{file}: not text in UTF-8; export it again, or save it as UTF-8")
    nodes, section = sections(file, decoded(content))
    names, notes = plain_labels([node.name for node in nodes])
    tree = tree_of(nodes, names)
    # One byte per character, so that what is not replaced comes back as it was.
    lines = re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", content.decode("latin-1"))
    rows = _Rows(file, lines, tuple(number - 1 for number, _ in section.rows), tree)
    _check_counts(file, section, len(nodes), len(content))
    scale, note = _scale(nodes)
    try:
        fps, silent = section.rate("--fps"), []
    except InputError as error:
        fps, silent = None, [str(error).removeprefix(f"{file}: ")]
    return Coded(
        values=rows.values(),
        residual=None,
        fps=fps,
        names=tuple(track.name for track in tree.tracks),
        scale=scale,
        notes=(*notes, note, *silent),
        written=rows.written,
        tree=tree,
    )


def _check_counts(file: File, section: MotionSection, nodes: int, size: int) -> None:
    """Raise InputError if there are other frames than stated, or joints without any channel."""
    if section.frames() != len(section.rows):
        raise InputError(
            f"{file}: 'Frames: {section.stated['frames'][:40]}', but {len(section.rows)} rows; "
            f"{REMEDY}, or correct it"
        )
    # Memory is allocated for every joint in every frame, even for a joint without channels.
    if nodes * len(section.rows) > size:
        raise InputError(f"{file}: {nodes} joints, hardly any of which has a channel; {REMEDY}")


def _scale(nodes: tuple[Node, ...]) -> tuple[float, str]:
    """Return the millimetres of a unit, which the format does not state, and how they are known."""
    rig = rig_of([bare(node.name) for node in nodes])
    if rig is None:
        return CM, "no units, taken to be cm"
    return rig.scale, f"units of {rig.scale:.4g} mm, as known of such joints"


@dataclass(frozen=True)
class _Rows:
    """The lines of a file, and which of them are frames.

    Attributes:
        file: names it.
        lines: with their line ends.
        rows: number of the line of each frame.
        tree: of its joints.
    """

    file: File
    lines: list[str]
    rows: tuple[int, ...]
    tree: Tree

    @property
    def _count(self) -> int:
        return sum(len(track.columns) for track in self.tree.tracks)

    def values(self) -> Numbers:
        """Return ``(frame, track, 3)``; nan where there is no number, 0 beyond a track's channels.

        Raises:
            InputError: a row has another number of cells, or a cell that is no plausible number.
        """
        if not self.rows or not self.tree.tracks:
            raise InputError(f"{self.file}: no frame, or no channel in it; {REMEDY}")
        table = np.array([self._row(row) for row in self.rows])
        # A comparison with nan is false.
        if len(bad := np.argwhere((np.abs(table) >= LARGEST_NUMBER) | is_mark(table))):
            frame, column = bad[0].tolist()
            raise InputError(
                f"{self.file}: line {self.rows[frame] + 1} has an implausible number, "
                f"{table[frame, column]:g}, in channel {column + 1}; write nan for what is missing"
            )
        found = np.zeros((len(table), len(self.tree.tracks), 3))
        for number, track in enumerate(self.tree.tracks):
            found[:, number, : len(track.columns)] = table[:, track.columns]
        return found

    def _row(self, row: int) -> list[float]:
        body = self.lines[row].rstrip("\r\n")
        words = body.split()
        if len(words) != self._count:
            words = [body[slice(*span)] for span in self._spans(row)]
        try:
            if "_" not in body:
                return [float(word) for word in words]
        except ValueError:
            pass
        return [self._number(word, row) for word in words]

    def _number(self, word: str, row: int) -> float:
        if word.lower() in GONE:
            return float("nan")
        try:
            return float(word.replace("_", "?"))
        except ValueError:
            raise InputError(
                f"{self.file}: line {row + 1}: {quoted(word)} is no number; {REMEDY}"
            ) from None

    def _spans(self, row: int) -> list[tuple[int, int]]:
        """Return where the cells of a row are: its words, or what tabs separate."""
        body = self.lines[row].rstrip("\r\n")
        spans = [found.span() for found in re.finditer(r"\S+", body)]
        if len(spans) == self._count:
            return spans
        spans = [found.span(1) for found in re.finditer(r"(?:^|\t)[ ]*([^\t]*?)[ ]*(?=\t|$)", body)]
        if len(spans) == self._count + 1 and not body[slice(*spans[-1])]:
            spans.pop()
        if len(spans) != self._count:
            raise InputError(
                f"{self.file}: line {row + 1} has {len(body.split())} numbers, the hierarchy has "
                f"{self._count} channels; {REMEDY}, one line for each frame"
            )
        return spans

    def written(self, values: Numbers, filled: Bools) -> bytes:
        """Return the file with the channels of filled joints replaced."""
        lines = list(self.lines)
        for frame in np.flatnonzero(filled.any(axis=1)):
            row = self.rows[frame]
            words: dict[int, str] = {}
            for number in np.flatnonzero(filled[frame]):
                columns = self.tree.tracks[number].columns
                for column, value in zip(columns, values[frame, number], strict=False):
                    words[column] = f"{value:.{DECIMALS}f}"
            lines[row] = _replaced(lines[row], self._spans(row), words)
        return "".join(lines).encode("latin-1")


def _replaced(line: str, spans: list[tuple[int, int]], words: dict[int, str]) -> str:
    """Return a line with some of its cells replaced."""
    for column in sorted(words, reverse=True):
        start, stop = spans[column]
        line = line[:start] + words[column] + line[stop:]
    return line
