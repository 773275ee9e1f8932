"""Files of numbers as text, in which the cells of filled samples are replaced, and nothing else."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError
from bench.datasets.archive import File
from bench.datasets.base import check_length
from bench.datasets.points import MM, plain_labels
from bench.datasets.text import quoted
from bench.fill.coded import Coded, triples
from bench.fill.gaps import Bools, Numbers

UNITS = {"millimeters": "mm", "centimeters": "cm", "meters": "m"}
"""Units by the names that Motive writes."""
DECIMALS = 6
"""Most decimals of filled cells, of millimetres."""


@dataclass(frozen=True)
class _Text:
    """Lines of a file, and which of their cells are coordinates.

    Attributes:
        file: names it.
        lines: with their line ends, one byte per character.
        rows: number of the line of each frame.
        separator: of the cells.
        columns: ``(point, 3)`` numbers of the cells of each point.
    """

    file: File
    lines: list[str]
    rows: list[int]
    separator: str
    columns: NDArray[np.int64]

    def values(self) -> Numbers:
        """Return ``(frame, point, 3)``; nan for empty cells and where a row ends early."""
        check_length(self.file, len(self.rows))
        if not self.rows or not len(self.columns):
            raise InputError(f"{self.file}: no frame, or no point in it; export it again")
        found = np.full((len(self.rows), self.columns.size), np.nan)
        columns = self.columns.ravel().tolist()
        for frame, row in enumerate(self.rows):
            cells = self.lines[row].rstrip("\r\n").split(self.separator)
            for place, column in enumerate(columns):
                if column < len(cells) and (word := cells[column].strip()):
                    found[frame, place] = self._number(word, row, column)
        return found.reshape(len(self.rows), -1, 3)

    def _number(self, word: str, row: int, column: int) -> float:
        try:
            return float(word)
        except ValueError:
            where = f"line {row + 1}, cell {column + 1}"
            raise InputError(
                f"{self.file}: {where}: {quoted(word)} is no number; export it again"
            ) from None

    def written(self, values: Numbers, filled: Bools, scale: float) -> bytes:
        """Return the file with the cells of filled samples replaced."""
        lines = list(self.lines)
        decimals = DECIMALS + round(np.log10(scale))
        for frame in np.flatnonzero(filled.any(axis=1)):
            line = lines[self.rows[frame]]
            body = line.rstrip("\r\n")
            cells = body.split(self.separator)
            for point in np.flatnonzero(filled[frame]):
                for column, value in zip(self.columns[point], values[frame, point], strict=True):
                    cells += [""] * (column + 1 - len(cells))
                    cells[column] = f"{value:.{decimals}f}"
            lines[self.rows[frame]] = self.separator.join(cells) + line[len(body) :]
        return "".join(lines).encode("latin-1")

    def coded(
        self, names: Sequence[str], fps: float | None, units: str, notes: Sequence[str]
    ) -> Coded:
        """Return the recording."""
        unit = UNITS.get(units.lower(), units.lower())
        scale = MM.get(unit, 1.0)
        labels, more = plain_labels(names)
        if unit not in MM:
            more.append(f"units '{units}' taken to be mm" if units else "no units, taken to be mm")
        return Coded(
            values=self.values(),
            residual=None,
            fps=fps,
            names=labels,
            scale=scale,
            notes=(*notes, *more),
            written=lambda values, filled: self.written(values, filled, scale),
        )


def opened_trc(file: File) -> Coded:
    """Return the markers of a TRC file, with cells separated by tabs or commas.

    Raises:
        InputError: the file is damaged.
    """
    lines = _lines(file)
    heads = [number for number, line in enumerate(lines) if line.startswith("Frame#")]
    if not lines[0].startswith("PathFileType") or not heads or len(lines) < heads[0] + 2:
        raise InputError(f"{file}: no TRC file, or cut short in its header; export it again")
    separator = "\t" if "\t" in lines[0] else ","
    head = heads[0]
    cells = [_cells(line, separator) for line in lines[: head + 1]]
    stated = dict(zip(cells[head - 2], cells[head - 1], strict=False))
    names = [name for name in cells[head][2:] if name]
    notes = []
    if (count := _stated(file, stated, "NumMarkers")) != len(names):
        notes.append(f"header says {count:.0f} markers, {len(names)} are named")
    rows = _rows(lines, separator, head + 2)
    frames = _stated(file, stated, "NumFrames")
    if frames != len(rows):
        notes.append(f"header says {frames:.0f} frames, file has {len(rows)}")
        if frames > len(rows) and not lines[-1].endswith(("\n", "\r")):
            _check_last(file, lines, separator, 2 + 3 * len(names))
    columns = 2 + np.arange(3 * len(names)).reshape(-1, 3)
    text = _Text(file, lines, rows, separator, columns)
    return text.coded(names, _stated(file, stated, "DataRate"), stated.get("Units", ""), notes)


def opened_csv(file: File) -> Coded:
    """Return the points of a CSV file: of Motive, or with columns such as ``knee_x``.

    Raises:
        InputError: the file is damaged, or no point is named in it.
    """
    lines = _lines(file)
    if lines[0].startswith("Format Version"):
        return _opened_motive(file, lines)
    separator = max(",;\t", key=lines[0].count)
    return _opened_columns(file, lines, separator)


def opened_tsv(file: File) -> Coded:
    """Return the markers of a TSV file: of Qualisys, or with columns such as ``knee_x``.

    Raises:
        InputError: the file is damaged, or no point is named in it.
    """
    lines = _lines(file)
    if not lines[0].startswith("NO_OF_FRAMES"):
        return _opened_columns(file, lines, "\t")
    stated = {cells[0]: cells[1:] for cells in (_cells(line, "\t") for line in lines[:30])}
    names = [name for name in stated.get("MARKER_NAMES", []) if name]
    rows = _rows(lines, "\t", 0)
    first = len(_cells(lines[rows[0]], "\t")) - 3 * len(names) if rows else 0
    columns = max(first, 0) + np.arange(3 * len(names)).reshape(-1, 3)
    rate = {"FREQUENCY": (stated.get("FREQUENCY") or [""])[0]}
    text = _Text(file, lines, rows, "\t", columns)
    return text.coded(names, _stated(file, rate, "FREQUENCY"), "mm", [])


def _opened_motive(file: File, lines: list[str]) -> Coded:
    cells = [next(csv.reader([line]), []) for line in lines[:12]]
    stated = dict(zip(cells[0][::2], cells[0][1::2], strict=False))
    heads = [number for number, row in enumerate(cells) if row and row[0] == "Frame"]
    kinds = [number for number, row in enumerate(cells) if any("Marker" in one for one in row[2:])]
    if not heads or not kinds or kinds[0] + 1 >= heads[0]:
        raise InputError(f"{file}: no markers in the header of this Motive file; export them")
    head, kind, name = cells[heads[0]], cells[kinds[0]], cells[kinds[0] + 1]
    what = cells[heads[0] - 1]
    columns, names = [], []
    for start in range(2, min(map(len, (head, kind, name, what))) - 2):
        place = slice(start, start + 3)
        if head[place] == ["X", "Y", "Z"] and what[start] == "Position" and "Marker" in kind[start]:
            columns.append([start, start + 1, start + 2])
            names.append(name[start])
    rows = _rows(lines, ",", heads[0] + 1)
    text = _Text(file, lines, rows, ",", np.array(columns, dtype=np.int64).reshape(-1, 3))
    total = _stated(file, stated, "Total Exported Frames")
    notes = [] if total == len(rows) else [f"header says {total:.0f} frames, file has {len(rows)}"]
    rate = _stated(file, stated, "Export Frame Rate")
    return text.coded(names, rate, stated.get("Length Units", ""), notes)


def _opened_columns(file: File, lines: list[str], separator: str) -> Coded:
    """Return points from columns that are named after a point and an axis."""
    head = [cell.strip('"') for cell in _cells(lines[0], separator)]
    columns, names = triples(head)
    if not columns:
        raise InputError(
            f"{file}: no three columns such as knee_x, knee_y, knee_z in line 1; name them so"
        )
    rows = _rows(lines, separator, 1)
    text = _Text(file, lines, rows, separator, np.array(columns))
    return text.coded(names, _rate(text, head), "", [])


def _rate(text: _Text, head: Sequence[str]) -> float | None:
    """Return frames per second from a column of times in seconds, if there is one."""
    times = [
        number for number, name in enumerate(head) if re.fullmatch(r"time\W*s?\W*", name, re.I)
    ]
    if not times or len(text.rows) < 2:
        return None
    ends = [_cells(text.lines[row], text.separator) for row in (text.rows[0], text.rows[-1])]
    first, last = (text._number(cells[times[0]], 0, times[0]) for cells in ends)
    return (len(text.rows) - 1) / (last - first) if last > first else None


def _lines(file: File) -> list[str]:
    """Return a file's lines with their ends, one byte per character."""
    content = file.read()
    if b"\0" in content:
        raise InputError(f"{file}: not text in UTF-8; export it again, or save it as UTF-8")
    lines = content.decode("latin-1").splitlines(keepends=True)
    if not lines:
        raise InputError(f"{file}: it is empty; export it again")
    return lines


def _cells(line: str, separator: str) -> list[str]:
    return [cell.strip() for cell in line.rstrip("\r\n").split(separator)]


def _rows(lines: Sequence[str], separator: str, start: int) -> list[int]:
    """Return the numbers of lines that begin with a number, from one on."""
    found = []
    for number in range(start, len(lines)):
        word = lines[number].split(separator, 1)[0].strip()
        if re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", word, re.IGNORECASE):
            found.append(number)
    return found


def _stated(file: File, header: dict[str, str], name: str) -> float:
    """Return a number of the header."""
    try:
        number = float(header[name])
    except (KeyError, ValueError):
        raise InputError(f"{file}: no number for {name} in its header; export it again") from None
    if not 0 < number < 1e9:
        raise InputError(f"{file}: {name} is {number:g} in its header; export it again")
    return number


def _check_last(file: File, lines: Sequence[str], separator: str, columns: int) -> None:
    """Raise InputError if the last line, where frames are missing, ends within a row."""
    if len(_cells(lines[-1], separator)) < columns:
        raise InputError(f"{file}: cut short in line {len(lines)}; fetch it again")
