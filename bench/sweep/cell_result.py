"""The result of a cell: a table with one row per window, and motion that may be kept."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench.motion import Windows
from bench.sweep.exhibits import Exhibit


@dataclass(frozen=True)
class CellResult:
    """What a cell computed.

    Attributes:
        table: values of each window, one row per window.
        completion: ``(hidden feature,)`` the values filled in for the hidden ones of all windows,
            in window order; or drawn or predicted motion ``(window, frame, joint, 3)``; all in mm.
            Empty for other tasks.
        exhibit: completions of the windows that the viewer shows; None if the cell keeps none.
    """

    table: pd.DataFrame
    completion: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    exhibit: Exhibit | None = None


def window_table(windows: Windows, share: Any = 0.0, **values: Any) -> pd.DataFrame:
    """Return a cell's table: columns of ``windows.index``, ``share``, and ``(window,)`` values."""
    named = {name: windows.index[name] for name in ("source", "subject", "action")}
    return pd.DataFrame({"window": windows.names, **named, "share": share, **values})


def check_shape(motion: torch.Tensor, shape: tuple[int, ...]) -> None:
    """Raise ValueError if motion read from the store does not have the expected shape."""
    if motion.shape != shape:
        raise ValueError(f"its shape is {tuple(motion.shape)}, not {tuple(shape)}")
