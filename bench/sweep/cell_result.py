"""What a cell hands back: a table with one row per window, and motion that may be kept."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench.motion import Windows


@dataclass(frozen=True)
class CellResult:
    """What a cell computed.

    Attributes:
        table: one row per window.
        completion: the values put in place of the hidden ones of all windows, in their order, mm;
            or sampled or predicted motion ``(window, frame, joint, 3)``, mm; empty for other tasks.
    """

    table: pd.DataFrame
    completion: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))


def window_table(windows: Windows, share: Any = 0.0, **values: Any) -> pd.DataFrame:
    """Return a cell's table from values by window, ``(window,)`` each."""
    index = windows.index
    named = {"window": windows.names, "source": index["source"], "action": index["action"]}
    return pd.DataFrame({**named, "share": share, **values})


def check_shape(motion: torch.Tensor, shape: tuple[int, ...]) -> None:
    """Raise ValueError if motion read from the store has another shape than it must have."""
    if motion.shape != shape:
        raise ValueError(f"it is of shape {tuple(motion.shape)}, not {tuple(shape)}")
