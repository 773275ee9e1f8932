"""Bootstrap intervals that respect that windows of one recording overlap."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
COVERAGE = 0.95

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean from (sum, count) columns."""
    return sums[..., 0] / sums[..., 1]


def change(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the per-cent change of column 0 against column 1; negative is lower."""
    return 100 * (sums[..., 0] / sums[..., 1] - 1)


def estimate(
    columns: NDArray[np.float64], recordings: NDArray[np.object_], statistic: Statistic
) -> tuple[float, float, float]:
    """Return a statistic of column sums over windows, with a 95 % percentile interval.

    Whole recordings are resampled, not windows: neighbouring windows share most of their frames,
    so treating them as independent would make the interval far too narrow.

    Args:
        columns: ``(window, column)`` values; the statistic sees their sums.
        recordings: ``(window,)`` the recording of each window.
        statistic: maps ``(..., column)`` sums to ``(...)`` values.

    Returns:
        value, low, high; low and high are nan with fewer than two recordings.
    """
    names, group = np.unique(recordings.astype(str), return_inverse=True)
    sums = np.zeros((len(names), columns.shape[1]))
    np.add.at(sums, group, columns)
    value = float(statistic(sums.sum(axis=0)))
    if len(names) < 2:
        return value, np.nan, np.nan
    tail = 100 * (1 - COVERAGE) / 2
    low, high = np.nanpercentile(statistic(_resamples(len(names)) @ sums), [tail, 100 - tail])
    return value, float(low), float(high)


@lru_cache(maxsize=8)
def _resamples(recordings: int) -> NDArray[np.int64]:
    """Return ``(DRAWS, recordings)`` how often each resample has each recording.

    The same for everyone, so that comparisons between models see the same resamples.
    """
    share = np.full(recordings, 1 / recordings)
    return np.random.default_rng(0).multinomial(recordings, share, size=DRAWS)
