"""Bootstrap intervals and tests that allow for the overlap of windows of one recording.

Recordings are resampled, not windows. With several seeds, seeds are resampled too, crossed with
recordings: a draw weighs each pair of a seed and a recording by the product of how often it drew
each (the two-way or pigeonhole bootstrap: McCullagh 2000, "Resampling and exchangeable arrays",
Bernoulli 6; Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1). Its intervals
are conservative over recordings; over a few seeds they are too narrow: their variance between S
seeds is too small by the factor (S - 1) / S.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray
from scipy.stats import friedmanchisquare, permutation_test, studentized_range

DRAWS = 2000
"""Resamples of a bootstrap."""
FLIPS = 9999
"""Random sign flips of a test; if there are fewer distinct ones, the test is exact."""
TOGETHER = 100
"""Groups times seeds of which resamples are held in memory at a time."""
COVERAGE = 0.95
"""Nominal coverage of intervals."""
SEED_STREAM = 1
"""The random stream of resampled seeds; recordings have stream 0."""

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Maps ``(..., column)`` sums over windows to ``(...)`` values."""


def mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(...)`` means from ``(..., 2)`` sums and counts; nan where nothing counts."""
    with np.errstate(invalid="ignore"):  # a resample may have no window with the metric
        return sums[..., 0] / sums[..., 1]


def change(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(...)`` per-cent changes of column 0 against column 1 of ``(..., 2)`` sums."""
    return 100 * (sums[..., 0] / sums[..., 1] - 1)


def estimate(
    columns: NDArray[np.float64],
    recordings: NDArray[Any],
    statistic: Statistic,
    seeds: NDArray[np.int64] | None = None,
) -> tuple[float, float, float]:
    """Return a statistic of column sums over windows, with a 95 % percentile interval.

    Whole recordings are resampled, not windows: neighbouring windows share most of their frames,
    so treating them as independent would make the interval far too narrow. Seeds are resampled
    too if there are several.

    Args:
        columns: ``(window, column)`` values; the statistic is computed from their sums.
        recordings: ``(window,)`` the recording of each window: a name, or a number that sorts as
            the names do.
        statistic: maps ``(..., column)`` sums to ``(...)`` values.
        seeds: ``(window,)`` the seed of each value; None: a single seed.

    Returns:
        value, low, high; low and high are nan with fewer than two recordings.
    """
    value, low, high = estimates(summed(columns, recordings, seeds)[:, :, None], statistic)[0]
    return float(value), float(low), float(high)


def estimates(sums: NDArray[np.float64], statistic: Statistic) -> NDArray[np.float64]:
    """Return ``(group, 3)`` value, low and high, as ``estimate`` does, of groups of windows.

    Args:
        sums: ``(seed, recording, group, column)`` sums over the windows of each group.
        statistic: maps ``(..., column)`` sums to ``(...)`` values.
    """
    seeds, recordings, groups = sums.shape[:3]
    found = np.full((groups, 3), np.nan)
    found[:, 0] = statistic(sums.sum(axis=(0, 1)))
    if recordings < 2:
        return found
    tail = 100 * (1 - COVERAGE) / 2
    size = max(1, TOGETHER // seeds)
    for start in range(0, groups, size):
        some = slice(start, start + size)
        drawn = statistic(_draw_each(sums[:, :, some]))
        # The version that ignores nan goes through the groups one by one.
        percentile = np.nanpercentile if np.isnan(drawn).any() else np.percentile
        found[some, 1:] = percentile(drawn, [tail, 100 - tail], axis=-1).T
    return found


def _draw_each(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(group, DRAWS, column)`` totals, as ``draw`` does, of each group."""
    seeds, recordings, groups, columns = sums.shape
    # A product for each: in a common one, last bits would depend on the other groups.
    flat = np.ascontiguousarray(sums.transpose(2, 1, 0, 3)).reshape(groups, recordings, -1)
    drawn = (resamples(recordings) @ flat).reshape(groups, -1, seeds, columns)
    if seeds == 1:
        return drawn[:, :, 0]
    weights = resamples(seeds, SEED_STREAM)
    return np.stack([np.einsum("ds,dsc->dc", weights, one) for one in drawn])


def summed(
    columns: NDArray[np.float64],
    recordings: NDArray[Any],
    seeds: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Return ``(seed, recording, column)`` sums over windows; arguments are those of ``estimate``.

    Seeds and recordings are sorted, whatever the order of the windows.
    """
    if recordings.dtype == object:
        recordings = recordings.astype(str)
    names, recording = np.unique(recordings, return_inverse=True)
    _, seed = np.unique(np.zeros(len(columns)) if seeds is None else seeds, return_inverse=True)
    sums = np.zeros((seed.max() + 1, len(names), columns.shape[1]))
    np.add.at(sums, (seed, recording), columns)
    return sums


def draw(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(DRAWS, ...)`` totals over resampled recordings, and over seeds if several.

    Args:
        sums: ``(seed, recording, ...)`` sums over the windows of each pair.
    """
    seeds, recordings = sums.shape[:2]
    # As one matrix product this takes a tenth of the time.
    flat = np.moveaxis(sums, 1, 0).reshape(recordings, -1)
    drawn = (resamples(recordings) @ flat).reshape(-1, seeds, *sums.shape[2:])
    if seeds == 1:
        return drawn[:, 0]
    return np.einsum("ds,ds...->d...", resamples(seeds, SEED_STREAM), drawn)


def sign_flip_p(difference: NDArray[np.float64], recordings: NDArray[Any]) -> float:
    """Return the two-sided p of a paired permutation test that flips whole recordings.

    With R recordings the least possible p is 2 ** (1 - R): 0.0625 with five.

    Args:
        difference: ``(window,)`` difference of two imputers' errors.
        recordings: ``(window,)`` the recording of each window, as in ``estimate``.

    Returns:
        p; 1 with fewer than two recordings or without any difference.
    """
    sums = summed(difference[:, None], recordings)[0, :, 0]
    if len(sums) < 2 or not sums.any():
        return 1.0
    signs = flips(len(sums))
    observed, flipped = sums.mean(), (signs * sums[:, None]).mean(axis=0)
    # What is equal but for rounding counts on both sides, as in scipy's permutation_test.
    rounding = 100 * np.finfo(np.float64).eps * abs(observed)
    below = np.count_nonzero(flipped <= observed + rounding)
    above = np.count_nonzero(flipped >= observed - rounding)
    # Random flips lack the one observed.
    lacking = 0 if 2 ** len(sums) <= FLIPS else 1
    return min(1.0, 2 * (min(below, above) + lacking) / (len(flipped) + lacking))


@lru_cache(maxsize=32)
def flips(count: int) -> NDArray[np.float64]:
    """Return ``(count, flip)`` signs of ``count`` recordings: all there are, or random ones."""
    found = permutation_test(
        (np.eye(count),),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=FLIPS,
        batch=1000,
        rng=np.random.default_rng(0),
    )
    return np.ascontiguousarray(found.null_distribution.T)


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(test,)`` p-values corrected for multiple testing by Holm's step-down method."""
    order = np.argsort(p)
    scaled = p[order] * np.arange(len(p), 0, -1)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected


def friedman(blocks: NDArray[np.float64]) -> tuple[float, float]:
    """Return chi2, corrected for ties, and p of Friedman's test.

    Args:
        blocks: ``(block, treatment)`` values, at least three treatments.
    """
    if (blocks == blocks[:, :1]).all():
        return 0.0, 1.0
    result = friedmanchisquare(*blocks.T)
    return float(result.statistic), float(result.pvalue)


def nemenyi(difference: NDArray[np.float64], treatments: int, blocks: int) -> NDArray[np.float64]:
    """Return the two-sided p of Nemenyi's test, corrected for all pairs of treatments.

    Args:
        difference: differences of mean ranks, of any shape.
        treatments: number of treatments ranked.
        blocks: number of blocks that ranks are averaged over.

    Returns:
        p, of the shape of ``difference``.
    """
    scaled = np.abs(difference) / _rank_error(treatments, blocks)
    return np.asarray(studentized_range.sf(scaled * np.sqrt(2), treatments, np.inf))


def critical_difference(treatments: int, blocks: int) -> float:
    """Return the difference of mean ranks at which Nemenyi's p is 1 - ``COVERAGE``.

    Demšar 2006, section 3.2.2.
    """
    quantile = studentized_range.ppf(COVERAGE, treatments, np.inf) / np.sqrt(2)
    return float(quantile * _rank_error(treatments, blocks))


def _rank_error(treatments: int, blocks: int) -> float:
    return float(np.sqrt(treatments * (treatments + 1) / (6 * blocks)))


def wilcoxon(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test of relative differences.

    A difference is divided by the sum of the two values: absolute ones would rank blocks by the
    size of their errors. With N blocks the least possible p is 2 ** (1 - N).

    Args:
        one: ``(block,)`` values, none negative.
        other: the same of another treatment.

    Returns:
        p; 1 without any difference.
    """
    total = one + other
    relative = np.divide(one - other, total, out=np.zeros_like(total), where=total > 0)
    if not relative.any():
        return 1.0
    return float(scipy.stats.wilcoxon(relative, zero_method="zsplit").pvalue)


@lru_cache(maxsize=32)
def resamples(count: int, stream: int = 0) -> NDArray[np.float64]:
    """Return ``(DRAWS, count)`` how often each resample contains each of ``count`` units.

    Units are recordings or seeds. The result depends on the arguments alone, so all models are
    compared on the same resamples. Units that are crossed need different streams.
    """
    rng = np.random.default_rng(stream)
    return rng.multinomial(count, np.full(count, 1 / count), size=DRAWS).astype(np.float64)
