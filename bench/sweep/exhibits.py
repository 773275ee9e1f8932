"""What the viewer shows: completions of a few test windows, kept by the cells of the first seed.

Errors of all windows are in the cells' tables; their motion would be far more than a store should
hold. So the windows are chosen before anything is completed: evenly spaced over the test windows,
and those that the user names.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.core.spacing import spaced
from bench.protocol.schema import Protocol
from bench.sweep.jobs import DEGRADED, Cell
from models.base import Imputation

STEP = 0.25
"""Millimetres from one kept value to the next."""
SAMPLES = 5
"""Most samples that are kept."""
LARGEST = np.iinfo(np.int16).max


@dataclass(frozen=True)
class Exhibit:
    """Completions of some windows, each array as int16 multiples of ``STEP``.

    Values beyond int16, 8 m, are set to its end.

    Attributes:
        rows: ``(kept,)`` numbers of the test windows.
        residual: ``(kept, frame, joint, 3)`` the completion minus ground truth.
        sigma: the same shape, the standard deviation; empty if the imputer gives none.
        samples: ``(sample, kept, frame, joint, 3)`` samples minus ground truth; may be empty.
    """

    rows: NDArray[np.int64]
    residual: NDArray[np.int16]
    sigma: NDArray[np.int16]
    samples: NDArray[np.int16]

    @classmethod
    def of(cls, rows: NDArray[np.int64], imputation: Imputation, truth: Tensor) -> "Exhibit":
        """Return the exhibit of completed windows.

        Args:
            rows: ``(kept,)`` numbers of the windows.
            imputation: of these windows alone.
            truth: ``(kept, frame, joint, 3)``, mm.
        """
        nothing = np.empty(0, np.int16)
        sigma, samples = imputation.sigma, imputation.samples
        return cls(
            rows,
            _quantised(imputation.motion - truth),
            nothing if sigma is None else _quantised(sigma),
            nothing if samples is None else _quantised(samples[:SAMPLES] - truth),
        )


def joined(parts: list[Exhibit]) -> Exhibit:
    """Return the exhibits of consecutive batches as one."""
    return Exhibit(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.residual for part in parts]),
        np.concatenate([part.sigma for part in parts]),
        np.concatenate([part.samples for part in parts], axis=min(1, parts[0].samples.ndim - 1)),
    )


def of_rows(imputation: Imputation, rows: NDArray[np.int64]) -> Imputation:
    """Return the imputation of some windows of a batch."""
    chosen = torch.from_numpy(rows)
    sigma, samples = imputation.sigma, imputation.samples
    return Imputation(
        imputation.motion[chosen],
        None if sigma is None else sigma[chosen],
        None if samples is None else samples[:SAMPLES, chosen],
    )


def kept_by(protocol: Protocol, cell: Cell) -> str:
    """Return ``Cell.windows``: how many windows a cell keeps, and which ones besides."""
    resources = protocol.resources
    shown = cell.task == "impute" and cell.inference != DEGRADED and cell.seed == protocol.seeds[0]
    if not shown or not (resources.keep_windows or resources.show_windows):
        return ""
    return "+".join(map(str, [resources.keep_windows, *sorted(set(resources.show_windows))]))


def rows_of(windows: str, count: int) -> NDArray[np.int64]:
    """Return the numbers of the windows that ``Cell.windows`` means, of ``count`` test windows."""
    if not windows:
        return np.empty(0, np.int64)
    most, *named = map(int, windows.split("+"))
    return np.unique([*spaced(count, most), *(row for row in named if row < count)]).astype(
        np.int64
    )


def _quantised(values: Tensor) -> NDArray[np.int16]:
    steps = (values.double() / STEP).round().clamp(-LARGEST, LARGEST)
    return steps.cpu().numpy().astype(np.int16)
