"""Imputers compared over conditions: skill, win rates and mean ranks, from records alone.

A condition is a mechanism at a level. Two imputers are compared at a condition by the ratio of
their errors, each averaged over the seeds that both have. Skill is 1 - the geometric mean of the
ratios to a reference, each clipped to ``CLIP`` so that no condition decides alone; the lower error
wins, and a tie is half a win. Shchur et al. 2025, "fev-bench: A realistic benchmark for time series
forecasting", aggregate so; intervals over recordings are added here.

Loads no torch.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis import statistics
from bench.analysis.comparable import Comparable, comparable
from bench.analysis.records import CONDITION
from bench.core.errors import InputError, did_you_mean

CLIP = (1e-2, 100.0)
"""Least and greatest ratio of two errors."""
TIE = 1e-9
"""Share by which equal errors may differ, by rounding."""
LARGEST = 1e150
"""What an infinite error counts as."""
MEASURES = ("skill", "win_rate", "mean_rank")
"""What imputers are judged by against all others."""
PAIR = ["imputer", "other"]

Array = NDArray[np.float64]


def leaderboard(
    records: pd.DataFrame,
    reference: str = "linear",
    metric: str = "mse",
    *,
    by: str | Sequence[str] = (),
    windows: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Compare imputers over all conditions of one or several runs.

    Args:
        records: rows of ``records.parquet``, of any number of runs (``bench.load``).
        reference: the imputer that skill is stated against, such as ``linear`` or ``hgvae map``; it
            must have values at every condition.
        metric: one of ``comparable.METRICS``.
        by: ``mechanism`` for one comparison per mechanism; ``["mechanism", "level"]`` for one per
            condition.
        windows: rows of ``windows.parquet`` of the same runs. With them, intervals are over
            recordings (and seeds, if there are several) at these very conditions; without, over
            conditions.

    Returns:
        One row per imputer, best skill first: ``by``, model, inference; ``skill``; ``win_rate``
        against every other imputer at every condition; ``mean_rank``, 1 for the best; each with a
        95 % interval ``_low``, ``_high``, which is nan with fewer than two conditions or
        recordings; the number of ``conditions`` at which it is compared with the reference, of
        those ``missing``, and of its cells that failed or were skipped (``failures``). An imputer
        is compared only where it has values.

    Raises:
        InputError: there is no such reference, metric or ``by``, or the records or windows cannot
            be compared (``comparable.comparable``).
    """
    keys = [by] if isinstance(by, str) else list(by)
    for key in keys:
        if key not in CONDITION:
            raise InputError(f"by: conditions have no {key}{did_you_mean(key, CONDITION)}")
    found = comparable(records, metric)
    base = found.index_of(reference)
    sampled = _Sampled(found, windows)
    tables = []
    for group, chosen in _groups(found.conditions, keys):
        value = sampled.totals(chosen)
        count = value.count[:, base]
        measured = value.measures(base)
        low, high = _interval(sampled.draws(chosen).measures(base), sampled.vary(count))
        estimates = {
            f"{name}{suffix}": numbers[place]
            for place, name in enumerate(MEASURES)
            for suffix, numbers in (("", measured), ("_low", low), ("_high", high))
        }
        table = found.imputers.to_frame(index=False).assign(**estimates)
        table["conditions"] = count.astype(np.int64)
        table["missing"] = len(chosen) - table["conditions"]
        table["failures"] = found.failures[chosen].sum(axis=0)
        table = table.sort_values(["skill", "win_rate"], ascending=False, kind="stable")
        for place, key in enumerate(keys):
            table.insert(place, key, group[place])
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def pairwise(
    records: pd.DataFrame, metric: str = "mse", *, windows: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Compare every imputer with every other.

    Args:
        records: as in ``leaderboard``.
        metric: as in ``leaderboard``.
        windows: as in ``leaderboard``.

    Returns:
        One row per ``imputer`` and ``other`` (the index), in the order of their win rates over all:
        ``win_rate`` of the one against the other, ``skill`` with the other as reference, each with
        a 95 % interval ``_low``, ``_high``, and the number of ``conditions`` at which both have
        values. ``pairwise(records)["win_rate"].unstack(sort=False)`` is a matrix.

    Raises:
        InputError: the records or windows cannot be compared.
    """
    found = comparable(records, metric)
    sampled, every = _Sampled(found, windows), np.arange(len(found.conditions))
    value, draws = sampled.totals(every), sampled.draws(every)
    columns: dict[str, Array] = {}
    for name, numbers, drawn in (
        ("win_rate", value.win_rates(), draws.win_rates()),
        ("skill", value.skills(), draws.skills()),
    ):
        low, high = _interval(drawn, sampled.vary(value.count))
        columns |= {name: numbers, f"{name}_low": low, f"{name}_high": high}
    columns["conditions"] = value.count
    order = np.argsort(-value.measures(0)[MEASURES.index("win_rate")], kind="stable")
    names = [found.names[place] for place in order]
    return pd.DataFrame(
        {name: numbers[np.ix_(order, order)].ravel() for name, numbers in columns.items()},
        index=pd.MultiIndex.from_product([names, names], names=PAIR),
    ).astype({"conditions": np.int64})


@dataclass(frozen=True)
class _Totals:
    """Sums over conditions, or the terms of single ones, all ``(..., imputer, other)``.

    Attributes:
        logs: logarithms of clipped ratios of errors.
        wins: conditions with the lower error, ties half.
        count: conditions at which both have a value.
    """

    logs: Array
    wins: Array
    count: Array

    def __add__(self, other: "_Totals") -> "_Totals":
        return _Totals(self.logs + other.logs, self.wins + other.wins, self.count + other.count)

    def weighted(self, weights: Array) -> "_Totals":
        """Return the totals of single conditions by ``(..., condition)`` weights."""
        parts = (self.logs, self.wins, self.count)
        return _Totals(*(np.tensordot(weights, part, axes=1) for part in parts))

    def skills(self) -> Array:
        """Return ``(..., imputer, other)`` skill with the other as reference."""
        return 1 - np.exp(_ratio(self.logs, self.count))

    def win_rates(self) -> Array:
        """Return ``(..., imputer, other)`` shares of conditions won."""
        return _ratio(self.wins, self.count)

    def measures(self, reference: int) -> Array:
        """Return ``(..., measure, imputer)``: the ``MEASURES``."""
        apart = ~np.eye(self.count.shape[-1], dtype=bool)
        wins, pairs = ((part * apart).sum(axis=-1) for part in (self.wins, self.count))
        own = np.diagonal(self.count, axis1=-2, axis2=-1)
        ranks = 1 + _ratio(pairs - wins, own)
        return np.stack([self.skills()[..., reference], _ratio(wins, pairs), ranks], axis=-2)


class _Sampled:
    """Totals over chosen conditions, and bootstrap draws of them."""

    def __init__(self, found: Comparable, windows: pd.DataFrame | None) -> None:
        self.terms = _compared(found.means, np.ones((1, len(found.seeds))))
        self.recorded = None if windows is None else found.by_recording(windows)

    def totals(self, chosen: NDArray[np.intp]) -> _Totals:
        """Return totals ``(imputer, other)``."""
        return self._of(chosen).weighted(np.ones(len(chosen)))

    def draws(self, chosen: NDArray[np.intp]) -> _Totals:
        """Return totals ``(draw, imputer, other)``; with one unit alone, an empty one."""
        units = len(chosen) if self.recorded is None else self.recorded[0].shape[2]
        if units < 2:
            return self._of(chosen).weighted(np.zeros((1, len(chosen))))
        if self.recorded is None:
            return self._of(chosen).weighted(statistics.resamples(units))
        first, *others = (self._over_recordings(condition) for condition in chosen)
        return sum(others, start=first)

    def vary(self, count: Array) -> NDArray[np.bool_]:
        """Return whether there is anything to draw from, by the number of conditions."""
        return count >= (2 if self.recorded is None else 1)

    def _of(self, chosen: NDArray[np.intp]) -> _Totals:
        terms = self.terms
        return _Totals(terms.logs[chosen], terms.wins[chosen], terms.count[chosen])

    def _over_recordings(self, condition: int) -> _Totals:
        """Return the terms of a condition ``(draw, imputer, other)`` by resampled recordings."""
        assert self.recorded is not None
        sums, counts = (part[condition] for part in self.recorded)
        seeds, recordings, _ = sums.shape
        weights = statistics.resamples(recordings)
        drawn, windows = (np.tensordot(weights, part, axes=(1, 1)) for part in (sums, counts))
        means = np.moveaxis(_ratio(drawn, windows), 1, -1)
        if seeds == 1:
            return _compared(means, np.ones((1, 1)))
        return _compared(means, statistics.resamples(seeds, statistics.SEED_STREAM))


def _compared(means: Array, weights: Array) -> _Totals:
    """Return the comparison of each imputer with each other, over the seeds that both have.

    Args:
        means: ``(case, imputer, seed)`` errors, nan where there is none.
        weights: ``(case or 1, seed)`` how often each seed counts.
    """
    there = ~np.isnan(means)
    errors = np.where(there, np.minimum(means, LARGEST), 0) * weights[:, None]
    # (case, imputer, other): the imputer's error over the seeds that the other has too.
    mine = errors @ there.swapaxes(1, 2)
    theirs = mine.swapaxes(1, 2)
    count = ((there * weights[:, None]) @ there.swapaxes(1, 2) > 0).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(mine) - np.log(theirs)
    logs = np.where(mine == theirs, 0, logs)  # both may be exactly 0
    wins = np.where(np.abs(logs) <= TIE, 0.5, logs < 0)
    return _Totals(np.clip(logs, *np.log(CLIP)) * count, wins * count, count)


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Return a ratio, nan where the denominator is 0."""
    nothing = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=nothing, where=denominator > 0)


def _interval(drawn: Array, vary: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return the limits of a 95 % percentile interval over draws, nan where nothing varies."""
    tail = 100 * (1 - statistics.COVERAGE) / 2
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")
        low, high = np.nanpercentile(np.where(vary, drawn, np.nan), [tail, 100 - tail], axis=0)
    return low, high


def _groups(
    conditions: pd.MultiIndex, keys: list[str]
) -> Iterator[tuple[tuple[str, ...], NDArray[np.intp]]]:
    """Yield the values of ``keys`` and the numbers of the conditions that have them, sorted."""
    if not keys:
        yield (), np.arange(len(conditions))
        return
    places = conditions.to_frame(index=False).groupby(keys).indices
    for group, chosen in sorted(places.items()):
        yield group if isinstance(group, tuple) else (group,), np.asarray(chosen)
