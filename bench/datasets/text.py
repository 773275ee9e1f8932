"""Text with numbers, as programs of any country write it, as text that one parser reads.

Whatever a file's encoding, separator, decimal mark, comments and header, its numbers become lines
of numbers with decimal points, so that the same numbers always give the same values. What is
unusual is noted (``notices``); what has two readings, or is no number, is refused by its line and
column.
"""

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.errors import InputError, legible
from bench.core.notices import note
from bench.datasets.archive import HEAD, File
from bench.datasets.base import check_length

_MARKS = (
    (codecs.BOM_UTF8, "utf-8", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
"""Byte-order marks, with the encoding that each stands for; a mark comes before what begins it."""
COMMENTS = ("#", "//", "%", "!")
"""How a line begins that is a comment."""
SEPARATORS = ("\t", ";", "|", ",")
"""What separates cells, in the order of preference; where none occurs, spaces do."""
_NAMES = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas", " ": "spaces"}
_NUMBER = re.compile(
    r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf|infinity)", re.IGNORECASE
)
_WITH_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")
_RUN_TOGETHER = re.compile(r"[-+]?\d[\d.]*(?<![eE])[-+][\d.]+.*|[-+]?\d*\.\d+\.[\d.]*")
_STATES_SEPARATOR = re.compile(r"\s*sep=.\s*", re.IGNORECASE)
"""A first line by which spreadsheets state what separates cells."""
SHOWN = 40
"""Most characters of a cell that a message quotes."""


def decoded(content: bytes) -> str:
    """Return text in the encoding that its byte-order mark states, UTF-8 without one.

    Line ends become ``\\n``. NULs and Ctrl-Z at the end, with which some programs fill or end a
    file, are left out. Bytes that are no text become U+FFFD.
    """
    mark, encoding, name = next(
        (one for one in _MARKS if content.startswith(one[0])), (b"", "utf-8", "")
    )
    if name not in ("", "UTF-8"):
        note("encoding", f"text in {name}")
    whole = content[len(mark) :].decode(encoding, errors="replace")
    text = whole.rstrip("\x00\x1a \t\r\n")
    rest = whole[len(text) :]
    if "\x00" in rest or "\x1a" in rest:
        note("filled end", "NULs or Ctrl-Z after the last line, left out")
    # What is left of the end still says whether the last line was finished.
    ended = "\n" if "\n" in rest or "\r" in rest else ""
    return text.replace("\r\n", "\n").replace("\r", "\n") + ended


def unmarked(content: bytes) -> bytes:
    """Return bytes that begin with a byte-order mark as UTF-8 without one, others as they are."""
    marked = content.startswith(tuple(mark for mark, _, _ in _MARKS))
    return decoded(content).encode() if marked else content


def is_comment(line: str) -> bool:
    """Return whether a line is a comment."""
    return line.lstrip().startswith(COMMENTS) or _STATES_SEPARATOR.fullmatch(line) is not None


def is_number(word: str) -> bool:
    """Return whether a word is a number, nan and infinities included."""
    return _NUMBER.fullmatch(word) is not None


def quoted(word: str) -> str:
    """Return a word of a file, shortened, for messages."""
    return f"'{legible(word[:SHOWN])}{'...' if len(word) > SHOWN else ''}'"


def with_points(words: Sequence[str]) -> list[str] | None:
    """Return words with decimal commas as words with decimal points; None if they have none.

    They have decimal commas if some are numbers with one comma, and none has a point.
    """
    if not any("," in word for word in words) or any("." in word for word in words):
        return None
    plain = [word.replace(",", ".", 1) if _WITH_COMMA.fullmatch(word) else word for word in words]
    return plain if not any("," in word for word in plain) else None


@dataclass(frozen=True)
class Table:
    """The cells of a text table.

    Attributes:
        file: where it is from, for messages.
        header: the names above the columns; empty if it has none.
        lines: the rows, cells separated by commas, with decimal points.
        numbers: the number of each row's line in the file, from 1.
    """

    file: File
    header: tuple[str, ...]
    lines: tuple[str, ...]
    numbers: tuple[int, ...]

    def cells(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of each row's line and its cells; commas in texts are spaces."""
        for number, line in zip(self.numbers, self.lines, strict=True):
            yield number, line.split(",")

    def values(
        self,
        mend: str,
        columns: int,
        take: Sequence[int] | None = None,
        exact: bool = False,
        empty: bool = False,
    ) -> NDArray[np.float64]:
        """Return ``(row, column)`` numbers.

        Args:
            mend: how to mend a fault, for messages.
            columns: how many columns are due in every row.
            take: the columns that are wanted, from 0; None: all.
            exact: whether numbers are correctly rounded, not as pandas reads them.
            empty: whether a cell may be empty, or a word for a missing value; it is then nan.

        Raises:
            InputError: a row has more or fewer cells, or a wanted cell that is no number.
        """
        self._check_counts(columns, mend)
        wanted = list(range(columns)) if take is None else list(take)
        if not self.lines:
            return np.empty((0, len(wanted)))
        parse = _exactly if exact else _fast
        try:
            found = parse("\n".join(self.lines), wanted)
        except (ValueError, TypeError, OverflowError):
            fault = self._fault(wanted, empty, mend)
            raise fault or InputError(f"{self.file}: a number is too large; {mend}") from None
        # pandas takes a word or nothing for nan, but only the word nan is a number.
        if (
            not empty
            and not np.isfinite(found).all()
            and (fault := self._fault(wanted, empty, mend))
        ):
            raise fault
        return found

    def _check_counts(self, columns: int, mend: str) -> None:
        """Raise InputError unless every row has as many cells as are due."""
        counts = np.fromiter((line.count(",") for line in self.lines), np.int64) + 1
        wrong = np.flatnonzero(counts != columns).tolist()
        if not wrong:
            return
        if (counts == counts[0]).all() and not self.header:
            raise InputError(f"{self.file}: {counts[0]} columns, expected {columns}; {mend}")
        due = f"the header has {columns}" if self.header else f"{columns} are due"
        cut = ", so the file is cut short" if wrong[0] == len(counts) - 1 else ""
        raise InputError(
            f"{self.file}: line {self.numbers[wrong[0]]}: row {wrong[0] + 1} has "
            f"{counts[wrong[0]]} cells, {due}{cut}; {mend}"
        )

    def _fault(self, wanted: Sequence[int], empty: bool, mend: str) -> InputError | None:
        """Return an error that names the first wanted cell that is no number; None without one."""
        for row, line in enumerate(self.lines):
            cells = line.split(",")
            for column in wanted:
                cell = cells[column].strip()
                if not (is_number(cell) or (empty and cell.lower() in MISSING)):
                    name = f" ({quoted(self.header[column])})" if column < len(self.header) else ""
                    stands = f"{quoted(cell)} stands" if cell else "nothing stands"
                    return InputError(
                        f"{self.file}: line {self.numbers[row]}, column {column + 1}{name}: "
                        f"{stands} where a number is due{why(cell)}; {mend}"
                    )
        return None


def _fast(text: str, columns: list[int]) -> NDArray[np.float64]:
    """Return numbers as pandas reads them, nan where a cell is empty."""
    table = pd.read_csv(
        StringIO(text),
        header=None,
        usecols=columns,
        dtype=dict.fromkeys(columns, np.float64),
        skip_blank_lines=False,
    )
    return table[columns].to_numpy()


def _exactly(text: str, columns: list[int]) -> NDArray[np.float64]:
    """Return numbers correctly rounded."""
    return np.loadtxt(StringIO(text), delimiter=",", comments=None, usecols=columns, ndmin=2)


MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "-nan", "<na>")
"""What stands in a cell without a number, in lower case."""


def why(word: str) -> str:
    """Return what probably happened to a word that should be a number, for messages."""
    if _RUN_TOGETHER.fullmatch(word):
        return ", two numbers that run together"
    if "," in word and "." in word:
        return ", which mixes a decimal comma and a point"
    return ""


def table_of(file: File, content: bytes, header: bool | None = None) -> Table:
    """Return the cells of a table, whatever separates them.

    Args:
        file: for messages.
        content: its bytes.
        header: whether its first row has names; None: if none of its cells is a number.

    Raises:
        InputError: there are too many rows or columns for a recording, or commas stand both
            between cells and in numbers.
    """
    # Before the text is decoded, which takes several times the memory.
    check_length(file, max(content.count(b"\n"), content.count(b"\r")))
    if len(content[: HEAD + 1].partition(b"\n")[0].partition(b"\r")[0]) > HEAD:
        raise InputError(
            f"{file}: its first line has more than {HEAD >> 10} KiB, so it is no motion"
        )
    text = decoded(content)
    kept, commented = _content(text, header is True)
    if commented:
        note("comments", f"{commented} lines of comments, left out")
    if not text.endswith("\n") and kept:
        note("unfinished line", "a last line without its end")
    if not kept:
        return Table(file, (), (), ())
    separator = _separator([line for _, line in kept[:2]])
    if separator != ",":
        note("separator", f"{_NAMES[separator]} between the columns")
    rows = _rows(file, [line for _, line in kept], separator)
    numbers = tuple(number for number, _ in kept)
    names = rows[0].split(",")
    named = header if header is not None else _is_header(names, len(rows))
    if not named:
        return Table(file, (), rows, numbers)
    if header is None:
        note("header", f"a first line of names, such as {quoted(names[0])}, left out")
    return Table(file, tuple(names), rows[1:], numbers[1:])


def _content(text: str, named: bool) -> tuple[list[tuple[int, str]], int]:
    """Return the lines that are neither empty nor comments, with their numbers, and how many are.

    Of a table with a header, the last comment before the rows is the header if it has as many
    cells as the first row.
    """
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    kept = [(number, line) for number, line in lines if not is_comment(line)]
    dropped = len(lines) - len(kept)
    before = [one for one in lines if kept and one[0] < kept[0][0]]
    if named and before:
        number, line = before[-1]
        line = line.lstrip().lstrip("".join(COMMENTS)).strip()
        separator = _separator([kept[0][1]])
        cells = [one.split(None if separator == " " else separator) for one in (line, kept[0][1])]
        if len(cells[0]) == len(cells[1]) > 1 and not any(map(is_number, cells[0])):
            return [(number, line), *kept], dropped - 1
    return kept, dropped


def _separator(lines: Sequence[str]) -> str:
    """Return what separates the cells of a table, judged by its first lines."""
    last = lines[-1].strip()
    for separator in SEPARATORS[:-1]:
        if all(separator in line.strip() for line in lines):
            return separator
    words = last.split()
    if len(words) > 1 and with_points(words) is not None:
        return " "
    return "," if "," in last else " "


def _rows(file: File, lines: Sequence[str], separator: str) -> tuple[str, ...]:
    """Return lines with their cells separated by commas, and with decimal points."""
    if separator == "," and not any('"' in line or " " in line or "\t" in line for line in lines):
        return tuple(lines)
    if separator == " ":
        cells = [line.split() for line in lines]
    elif any('"' in line for line in lines):
        # Line by line: a quote that is not closed must not swallow the lines after it.
        each = (csv.reader([line], delimiter=separator, skipinitialspace=True) for line in lines)
        cells = [[cell.strip() for cell in next(row)] for row in each]
    else:
        cells = [[cell.strip() for cell in line.split(separator)] for line in lines]
    if any("," in cell for row in cells for cell in row):
        cells = _pointed(file, cells)
    return tuple(",".join(row) for row in cells)


def _pointed(file: File, rows: list[list[str]]) -> list[list[str]]:
    """Return cells with decimal points in place of decimal commas."""
    commas = [cell for row in rows for cell in row if _WITH_COMMA.fullmatch(cell)]
    if not commas:
        return [[cell.replace(",", " ") for cell in row] for row in rows]
    point = next((cell for row in rows for cell in row if "." in cell and is_number(cell)), None)
    if point is not None:
        raise InputError(
            f"{file}: has {quoted(commas[0])} with a comma and {quoted(point)} with a point, so a "
            "comma may be a decimal one or separate thousands; write decimal points alone"
        )
    note("decimal commas", "numbers with decimal commas")
    return [
        [
            cell.replace(",", "." if _WITH_COMMA.fullmatch(cell) else " ") if "," in cell else cell
            for cell in row
        ]
        for row in rows
    ]


def _is_header(cells: Sequence[str], rows: int) -> bool:
    """Return whether cells are names of columns, or their numbers as pandas writes them."""
    if not any(is_number(cell) for cell in cells):
        return any(cells)
    counted = [str(number) for number in range(len(cells))]
    return rows > 1 and len(cells) > 1 and list(cells) == counted


def has_columns(file: File, columns: int) -> bool:
    """Return whether one of the first lines of a text file has as many numbers.

    Raises:
        InputError: the file cannot be read.
    """
    for line in decoded(file.head()).split("\n")[:20]:
        for separator in (*SEPARATORS, None):
            words = line.split(separator)
            if len(words) == columns and is_number(words[-1].strip().replace(",", ".")):
                return True
    return False
