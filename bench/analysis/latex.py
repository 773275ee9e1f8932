r"""Tables in LaTeX, for ``booktabs`` and ``siunitx``.

Numbers are arguments of ``\num``, so that ``\sisetup`` says how they look; wide tables are broken
into parts of a few columns under one caption. The best of a column is bold only where a paired test
distinguishes it from the second, which is underlined.
"""

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

LETTERS = 92
"""Most letters of a row of one part, so that it fits a page."""
HEAD = r"""% \usepackage{booktabs, siunitx}
% \sisetup{detect-all}
"""
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_VALUE = re.compile(
    rf"(?P<value>{_NUMBER.pattern})"
    rf"(?: \[(?P<low>{_NUMBER.pattern}), (?P<high>{_NUMBER.pattern})\])?(?P<rest>.*)"
)
BEST, SECOND = "best", "second"
_MARKED = {BEST: r"\textbf", SECOND: r"\underline"}
TEX = str.maketrans(
    {letter: f"\\{letter}" for letter in "%_#$&{}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "²": r"\textsuperscript{2}",
    }
)


def table(text: pd.DataFrame, caption: str, name: str, marks: pd.DataFrame | None = None) -> str:
    r"""Return a table environment.

    Args:
        text: rows and columns of text; ``1.5 [1, 2]`` is a value with its interval.
        caption: plain text.
        name: its label is ``tab:`` and this.
        marks: of the same shape, ``best``, ``second`` or nothing.
    """
    parts = [text[columns] for columns in _fitting(text)]
    lines = [r"\begin{table}", r"\centering\small"]
    lines += [rf"\caption{{{escaped(caption)}}}", rf"\label{{tab:{name}}}"]
    for number, part in enumerate(parts):
        lines += [r"\par\medskip"] if number else []
        chosen = None if marks is None else marks.reindex(index=part.index, columns=part.columns)
        lines += _tabular(part, chosen)
    return "\n".join([*lines, r"\end{table}", ""])


def _fitting(text: pd.DataFrame) -> list[list[str]]:
    """Return the columns of each part of a table; column names are unique."""
    first = max([0, *(len(str(name)) for name in text.index)])
    parts: list[list[str]] = [[]]
    room = LETTERS - first
    for column in text.columns:
        wide = max(map(_letters, [column, *text[column]])) + 2
        if parts[-1] and wide > room:
            parts.append([])
            room = LETTERS - first
        parts[-1].append(column)
        room -= wide
    return parts


def _letters(cell: object) -> int:
    """Return the width of a cell in letters; intervals are in smaller print."""
    value, bracket, rest = str(cell).partition(" [")
    return len(value) + round(0.8 * len(bracket + rest))


def escaped(text: str) -> str:
    """Return plain text with LaTeX's special characters escaped."""
    return text.translate(TEX)


def _tabular(text: pd.DataFrame, marks: pd.DataFrame | None) -> Iterator[str]:
    yield rf"\begin{{tabular}}{{l{'r' * text.shape[1]}}}"
    yield r"\toprule"
    yield _row(["", *(escaped(str(column)) for column in text.columns)])
    yield r"\midrule"
    # By place: rows of some tables bear the same name.
    for place, (name, *cells) in enumerate(text.itertuples(name=None)):
        marked = [""] * len(cells) if marks is None else list(marks.iloc[place])
        shown = (_cell(str(cell), mark) for cell, mark in zip(cells, marked, strict=True))
        yield _row([escaped(str(name)), *shown])
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(text: str, mark: str) -> str:
    """Return a cell: a number, with its interval in small print, or plain text."""
    found = _VALUE.fullmatch(text)
    if found is None:
        return escaped(text)
    value = rf"\num{{{found['value']}}}"
    if mark in _MARKED:
        value = f"{_MARKED[mark]}{{{value}}}"
    if found["low"]:
        value += rf" {{\scriptsize [\num{{{found['low']}}}, \num{{{found['high']}}}]}}"
    return value + escaped(found["rest"])


def marks_of(
    table: pd.DataFrame, rows: list[str], columns: "pd.Series[str]", text: pd.DataFrame
) -> pd.DataFrame:
    """Return which values of a metric are best, where a test says so, and second.

    Args:
        table: rows of ``tables.imputation`` of one metric, less of which is better.
        rows: the name of each row's row in the text.
        columns: the name of each row's column in the text.
        text: the table as text.
    """
    marks = pd.DataFrame("", index=text.index, columns=text.columns)
    placed = table.assign(_row=rows, _column=columns.to_numpy()).dropna(subset="value")
    for column, part in placed.groupby("_column", sort=False):
        ordered = part.sort_values("value", kind="stable")
        if len(ordered) < 2 or "p_lead" not in part:
            continue
        best, second = ordered.iloc[0], ordered.iloc[1]
        if np.isfinite(best["p_lead"]) and best["p_lead"] < SIGNIFICANT:
            marks.loc[best["_row"], column] = BEST
        marks.loc[second["_row"], column] = SECOND
    return marks


SIGNIFICANT = 0.05
"""p, after Holm's correction, below which the best differs from the second."""
