"""What the readers of all formats return."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.fill.gaps import Bools, Numbers
from bench.fill.tree import Tree

_COORDINATE = re.compile(r"(?P<name>.+?)[ _.:\-]?(?P<axis>[xyz])", re.IGNORECASE)


@dataclass(frozen=True)
class Coded:
    """A recording of points as its file has it.

    Attributes:
        values: ``(frame, point, 3)`` float64, in the file's units; nan for an empty cell, other
            missing samples as they are coded. Points computed by a model are left out.
        residual: ``(frame, point)``, negative where the file says that a sample is missing; None of
            a format that does not say.
        fps: frames per second; None if the file does not say.
        names: a unique name for each point.
        scale: millimetres of a unit of the file.
        notes: what was decided while reading, one sentence each.
        written: returns the file's content with samples replaced, given values of the shape of
            ``values`` and a bool ``(frame, point)`` that says which; all else is as it was, byte
            for byte.
    """

    values: Numbers
    residual: Numbers | None
    fps: float | None
    names: tuple[str, ...]
    scale: float
    notes: tuple[str, ...]
    written: Callable[[Numbers, Bools], bytes | bytearray]
    tree: Tree | None = None


def triples(names: Sequence[str]) -> tuple[list[tuple[int, int, int]], list[str]]:
    """Return the numbers of three columns for each point, such as knee_x, knee_y and knee_z.

    Args:
        names: of all columns; others than coordinates, and incomplete points, are left out.

    Returns:
        The columns of each point, and its name.
    """
    columns, points = [], []
    parts = [_COORDINATE.fullmatch(name) for name in names]
    for start in range(len(names) - 2):
        three = [one for one in parts[start : start + 3] if one]
        axes = "".join(one["axis"].lower() for one in three)
        if axes == "xyz" and len({one["name"] for one in three}) == 1:
            columns.append((start, start + 1, start + 2))
            points.append(three[0]["name"])
    return columns, points
