"""What the readers of all formats return."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.fill.gaps import Bools, Numbers


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
    written: Callable[[Numbers, Bools], bytes]
