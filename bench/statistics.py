"""Bootstrap intervals that respect that windows of one recording overlap.

Where a value is of several seeds, seeds are resampled too, crossed with recordings: a draw weighs
each pair of a seed and a recording by how often it drew the one and the other (the two-way or
pigeonhole bootstrap: McCullagh 2000, "Resampling and exchangeable arrays", Bernoulli 6; Owen 2007,
"The pigeonhole bootstrap", Annals of Applied Statistics 1). It errs to the wide side over
recordings; over a handful of seeds it errs to the narrow side, by (S - 1) / S of their variance.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import permutation_test

DRAWS = 2000
FLIPS = 9999
"""Sign flips of a test; where there are fewer in all, it takes them all."""
COVERAGE = 0.95
SEED_STREAM = 1

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean from (sum, count) columns."""
    return sums[..., 0] / sums[..., 1]


def change(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the per-cent change of column 0 against column 1; negative is lower."""
    return 100 * (sums[..., 0] / sums[..., 1] - 1)


def estimate(
    columns: NDArray[np.float64],
    recordings: NDArray[np.object_],
    statistic: Statistic,
    seeds: NDArray[np.int64] | None = None,
) -> tuple[float, float, float]:
    """Return a statistic of column sums over windows, with a 95 % percentile interval.

    Whole recordings are resampled, not windows: neighbouring windows share most of their frames,
    so treating them as independent would make the interval far too narrow. So are seeds, where
    there are several.

    Args:
        columns: ``(window, column)`` values; the statistic sees their sums.
        recordings: ``(window,)`` the recording of each window.
        statistic: maps ``(..., column)`` sums to ``(...)`` values.
        seeds: ``(window,)`` the seed of each value; None: all of one.

    Returns:
        value, low, high; low and high are nan with fewer than two recordings.
    """
    groups = [slice(None)] if seeds is None else [seeds == seed for seed in np.unique(seeds)]
    names = np.unique(recordings.astype(str))
    sums = np.zeros((len(groups), len(names), columns.shape[1]))
    for of_seed, rows in zip(sums, groups, strict=True):
        np.add.at(of_seed, np.searchsorted(names, recordings[rows].astype(str)), columns[rows])
    value = float(statistic(sums.sum(axis=(0, 1))))
    if len(names) < 2:
        return value, np.nan, np.nan
    drawn = np.einsum("dr,src->dsc", resamples(len(names)), sums)
    if len(groups) > 1:
        drawn *= resamples(len(groups), SEED_STREAM)[:, :, None]
    drawn = drawn.sum(axis=1)
    tail = 100 * (1 - COVERAGE) / 2
    low, high = np.nanpercentile(statistic(drawn), [tail, 100 - tail])
    return value, float(low), float(high)


def by_recording(
    columns: NDArray[np.float64], recordings: NDArray[np.object_]
) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """Return the recordings' names and ``(recording, column)`` sums over their windows."""
    names, group = np.unique(recordings.astype(str), return_inverse=True)
    sums = np.zeros((len(names), columns.shape[1]))
    np.add.at(sums, group, columns)
    return names, sums


def sign_flip_p(difference: NDArray[np.float64], recordings: NDArray[np.object_]) -> float:
    """Return the two-sided p of a paired permutation test that flips whole recordings.

    With R recordings the least p that can be had is 2 ** (1 - R): five allow 0.0625, no less.

    Args:
        difference: ``(window,)`` of two imputers' errors.
        recordings: ``(window,)`` the recording of each window.
    """
    _, sums = by_recording(difference[:, None], recordings)
    if len(sums) < 2 or not sums.any():
        return 1.0
    result = permutation_test(
        (sums[:, 0],),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=FLIPS,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values corrected for their number by Holm's step-down method."""
    order = np.argsort(p)
    scaled = p[order] * np.arange(len(p), 0, -1)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected


@lru_cache(maxsize=8)
def resamples(count: int, stream: int = 0) -> NDArray[np.int64]:
    """Return ``(DRAWS, count)`` how often each resample has each recording, or each seed.

    The same for everyone, so that comparisons between models see the same resamples. What is
    crossed, as recordings and seeds, must have streams of its own.
    """
    return np.random.default_rng(stream).multinomial(count, np.full(count, 1 / count), size=DRAWS)
