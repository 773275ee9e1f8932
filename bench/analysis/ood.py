"""Out-of-distribution detection: how well scores distinguish degraded windows from clean ones.

A score is a value per window that is larger the less normal a window is. Scores of two seeds come
from two fits and have no common scale: they are never pooled, only their metrics are averaged.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis.records import COUNTS
from bench.analysis.statistics import COVERAGE, SEED_STREAM, resamples
from bench.sweep.jobs import DEGRADED

CONDITION = ["model", "score", "mechanism", "level"]
METRICS = ("auroc", "aupr", "fpr95", "shift_sd")
COLUMNS = [*CONDITION, "metric", "share", "value", "low", "high", *COUNTS]
LEVEL_COLUMNS = [*CONDITION, "share", "direction", "auroc", "tried", *COUNTS]
COUNTED = ["window", "source", "seed"]
"""The columns whose distinct values ``COUNTS`` are."""
ACCEPTED = 95
"""Per cent of clean windows that the threshold of ``fpr95`` accepts as clean."""

_SCORE = r"nlp(_z\d+)?|distance|elbo"
_DRAWS_AT_ONCE = 250

Floats = NDArray[np.float64]
Counts = NDArray[np.float32]
Number = TypeVar("Number", bound=np.floating[Any])
Side = tuple[Floats, NDArray[np.intp]]
"""Clean or degraded windows of one fit: ``(window,)`` scores and index of the recording."""


def detection(values: pd.DataFrame) -> pd.DataFrame:
    """Return how well each score distinguishes degraded windows of each level from clean ones.

    Clean windows are the test windows without a mechanism. Degraded windows have a mechanism, and
    their hidden features are filled with the mean, or they have no inference (corrupted windows);
    windows after any other inference are left out. The metrics are

    - ``auroc``: the share of pairs of a clean and a degraded window in which the degraded one has
      the larger score; a tie counts half.
    - ``aupr``: average precision, with degraded as the positive class.
    - ``fpr95``: FPR@95, the share of degraded windows accepted as clean at the least threshold that
      accepts 95 % of the clean ones; a window is accepted if its score is at most the threshold.
      Smaller is better; uninformative scores have 0.95.
    - ``shift_sd``: the mean score of degraded windows minus that of clean ones, in standard
      deviations of clean windows. Beyond ±1 the mean score lies outside the clean windows' ±1 sd;
      nan where the clean scores are all the same.

    Args:
        values: one row per cell, window and metric (``records.windows``). The metrics that are
            scores are ``nlp``, ``nlp_z0`` and so on, ``distance``, and ``elbo``, which is larger
            for more normal windows and becomes ``negative_elbo``.

    Returns:
        ``COLUMNS``, one row per ``CONDITION`` and metric, in the order of ``values``. ``value`` is
        the mean over seeds; ``low`` and ``high`` are its 95 % percentile interval over resamples
        of recordings, the same for clean and degraded windows and for all seeds, and of seeds if
        there are several. They are nan with fewer than two recordings of clean or of degraded
        windows. ``share`` is the mean share of hidden features in the degraded windows, ``n`` the
        number of these windows, ``recordings`` that of their recordings.

    Raises:
        ValueError: a score is nan.
    """
    clean, degraded = _split(values)
    references = dict(_groups(clean, ["model", "score"]))
    rows = []
    for labels, group in _groups(degraded, CONDITION):
        reference = references.get(labels[:2])
        if reference is None or not len(seeds := np.intersect1d(reference.seed, group.seed)):
            continue
        reference, group = (one.take(np.isin(one.seed, seeds)) for one in (reference, group))
        estimates = _estimates(reference, group)
        counts = [len(np.unique(one)) for one in (group.window, group.source, group.seed)]
        for metric, estimate in zip(METRICS, estimates.tolist(), strict=True):
            rows.append((*labels, metric, group.share.mean(), *estimate, *counts))
    return pd.DataFrame(rows, columns=COLUMNS)


def detection_levels(table: pd.DataFrame) -> pd.DataFrame:
    """Return the smallest share of hidden features that each score detects.

    A level is detected if the mean score of degraded windows is more than one standard deviation of
    clean windows away from the mean of clean windows. Rows without a positive share, such as those
    of corrupted windows, are left out.

    Args:
        table: as ``detection`` returns it.

    Returns:
        ``LEVEL_COLUMNS``, one row per model, score and mechanism: the smallest ``level`` detected,
        its ``share``, its ``auroc``, and the ``direction``: ``below`` where degraded windows are
        less probable than clean ones, else ``above``. If no level is detected, the strings are
        empty and the numbers nan. ``tried`` is the number of levels.
    """
    rows = []
    occluded = table[table["share"] > 0]
    aurocs = occluded[occluded["metric"] == "auroc"].set_index(CONDITION)["value"].to_dict()
    shifts = occluded[occluded["metric"] == "shift_sd"].sort_values("share", kind="stable")
    by_score: dict[tuple[Any, ...], list[Any]] = {
        labels: [] for labels in occluded[CONDITION[:-1]].itertuples(index=False, name=None)
    }
    for row in shifts.itertuples(index=False):
        by_score[row.model, row.score, row.mechanism].append(row)
    for labels, tried in by_score.items():
        level, share, direction, auroc = "", np.nan, "", np.nan
        for row in tried:
            if abs(row.value) > 1:
                level, share, auroc = row.level, row.share, aurocs[*labels, row.level]
                direction = "below" if row.value > 0 else "above"
                break
        counts = (max(getattr(row, name) for row in tried) for name in COUNTS)
        rows.append((*labels, level, share, direction, auroc, len(tried), *counts))
    return pd.DataFrame(rows, columns=LEVEL_COLUMNS)


@dataclass(frozen=True)
class _Scores:
    """Windows of one or several fits, ``(window,)`` each.

    Attributes:
        window: its number.
        source: the number of its recording.
        seed: of the fit.
        share: of its features that is hidden.
        value: its score.
    """

    window: NDArray[np.int64]
    source: NDArray[np.int64]
    seed: NDArray[np.int64]
    share: Floats
    value: Floats

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "_Scores":
        """Return some of the windows."""
        return _Scores(*(getattr(self, one.name)[rows] for one in fields(self)))

    def side(self, seed: int, recordings: NDArray[np.int64]) -> Side:
        """Return the windows of one fit."""
        rows = self.seed == seed
        order = np.argsort(recordings)
        place = np.searchsorted(recordings, self.source[rows], sorter=order)
        return self.value[rows], order[place]


def scored(values: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of per-window values that detection is computed from."""
    return values[(values["split"] == "test") & values["metric"].str.fullmatch(_SCORE)]


def _split(values: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the scores of clean and of degraded test windows; larger is less normal."""
    chosen = scored(values)
    if chosen["value"].isna().any():
        raise ValueError("scores of some windows are nan; windows cannot be ordered by them")
    elbo = chosen["metric"] == "elbo"
    metric = chosen["metric"].astype(str)
    no_inference = chosen["inference"] == ""
    mechanism = chosen["mechanism"] != ""
    degraded = mechanism & (no_inference | (chosen["inference"] == DEGRADED))
    chosen = chosen.assign(
        score=metric.mask(elbo, "negative_elbo"),
        value=chosen["value"].mask(elbo, -chosen["value"]),
    )[[*CONDITION, *COUNTED, "share", "value"]]
    for name in ("window", "source"):
        chosen[name] = pd.factorize(chosen[name], sort=True)[0]
    return chosen[~mechanism & no_inference], chosen[degraded]


def _groups(table: pd.DataFrame, keys: list[str]) -> Iterator[tuple[tuple[str, ...], "_Scores"]]:
    """Yield each combination of the keys' values with its windows, in order of appearance."""
    # Hundreds of groups of few windows: frames would take longer than what is computed from them.
    whole = _Scores(*(table[one.name].to_numpy() for one in fields(_Scores)))
    group = table.groupby(keys, sort=False, observed=True).ngroup().to_numpy()
    order = np.argsort(group, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(order) else []
    labels = table[keys].iloc[[rows[0] for rows in parts]].itertuples(index=False, name=None)
    for label, rows in zip(labels, parts, strict=True):
        yield label, whole.take(rows)


def _estimates(clean: "_Scores", degraded: "_Scores") -> Floats:
    """Return ``(metric, 3)`` value, low and high from the windows of the same seeds."""
    recordings, weights = _weights(clean.source, degraded.source)
    # In order of appearance, which the draws of seeds depend on.
    seeds = pd.unique(clean.seed).tolist()
    by_seed = [
        _measure(clean.side(seed, recordings), degraded.side(seed, recordings), weights)
        for seed in seeds
    ]
    drawn = _over_seeds(np.array(by_seed))
    interval = np.full((2, len(METRICS)), np.nan)
    if min(len(np.unique(one.source)) for one in (clean, degraded)) > 1:
        tail = (1 - COVERAGE) / 2
        quantile = np.nanquantile if np.isnan(drawn).any() else np.quantile
        some = ~np.isnan(drawn[:, 1:]).all(axis=1)
        interval[:, some] = quantile(drawn[some, 1:], [tail, 1 - tail], axis=1)
    return np.column_stack([drawn[:, 0], *interval])


def _over_seeds(by_seed: Floats) -> Floats:
    """Return ``(metric, 1 + draw)`` means over seeds of ``(seed, metric, 1 + draw)`` values.

    The first is over all seeds, each of the others over a resample of seeds.
    """
    count, _, draws = by_seed.shape
    weights = np.ones((count, draws))
    if count > 1:
        weights[:, 1:] = resamples(count, SEED_STREAM).T
    # Values of seeds that a draw does not contain may be nan and must not count.
    taken = np.where(weights[:, None] > 0, by_seed, 0)
    return (taken * weights[:, None]).sum(axis=0) / count


def _weights(
    clean: NDArray[np.int64], degraded: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Floats]:
    """Return the recordings, and their weights: 1 in the first row, then those of resamples.

    Recordings with degraded windows only are resampled separately, so that every draw has as many
    of either kind as there are.

    Returns:
        ``(recording,)`` numbers and ``(1 + DRAWS, recording)`` weights.
    """
    own = np.unique(clean)
    foreign = np.setdiff1d(degraded, own)
    # Rolled by one draw: two parts of the same size must not get the same resamples.
    parts = [
        np.roll(resamples(len(names)), turn, axis=0)
        for turn, names in enumerate((own, foreign))
        if len(names)
    ]
    once = np.ones((1, len(own) + len(foreign)))
    return np.concatenate([own, foreign]), np.vstack([once, np.hstack(parts)])


def _measure(clean: Side, degraded: Side, weights: Floats) -> Floats:
    """Return ``(metric, draw)`` values; nan where a draw lacks clean or degraded windows."""
    counts = _counts(clean, degraded, weights.shape[1])
    # Single precision holds these whole numbers and takes half of the time.
    few, whole = counts.astype(np.float32), weights.astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack(
            [
                _auroc(counts[0], counts[1], weights),
                _average_precision(few[0], few[1], whole),
                _false_positives(few[0], few[1], whole),
                _shift(clean, degraded, weights),
            ]
        )


def _counts(clean: Side, degraded: Side, recordings: int) -> Floats:
    """Return ``(side, recording, step)`` numbers of windows at or above each step's score.

    The sides are clean and degraded; the steps are the distinct scores in descending order.
    """
    scores = np.concatenate([clean[0], degraded[0]])
    recording = np.concatenate([clean[1], degraded[1]])
    side = np.repeat([0, 1], [len(clean[0]), len(degraded[0])])
    distinct, step = np.unique(-scores, return_inverse=True)
    counts = np.zeros((2, recordings, len(distinct)))
    np.add.at(counts, (side, recording, step), 1)
    return counts.cumsum(axis=-1)


def _auroc(clean: Floats, degraded: Floats, weights: Floats) -> Floats:
    """Return ``(draw,)`` AUROCs of two ``(recording, step)`` counts (``_counts``)."""
    # Which of two windows has the larger score is counted once for any two recordings.
    above = degraded - _here(degraded) / 2
    pairs = ((weights @ (_here(clean) @ above.T)) * weights).sum(axis=-1)
    return pairs / ((weights @ clean[:, -1]) * (weights @ degraded[:, -1]))


def _average_precision(clean: Counts, degraded: Counts, weights: Counts) -> Floats:
    """Return ``(draw,)`` average precisions; arguments are those of ``_auroc``."""
    steps = _here(degraded).any(axis=0)  # only these change the recall
    clean, degraded = clean[:, steps], degraded[:, steps]
    parts = []
    for some in _chunks(weights):
        found, others = some @ degraded, some @ clean
        others += found
        # A draw may lack the windows of the first steps; these have no weight.
        precision = np.divide(found, np.maximum(others, 1, out=others), dtype=np.float64)
        parts.append(np.einsum("ds,ds->d", _here(found), precision) / found[:, -1])
    return np.concatenate(parts)


def _false_positives(clean: Counts, degraded: Counts, weights: Counts) -> Floats:
    """Return ``(draw,)`` FPR95; arguments are those of ``_auroc``.

    A threshold just below a step rejects the windows at or above it.
    """
    steps = _here(clean).any(axis=0)  # only these bring the number of clean windows to its limit
    # Before each such step, and in all.
    rejected = np.column_stack([(degraded - _here(degraded))[:, steps], degraded[:, -1]])
    clean = clean[:, steps]
    # In whole numbers: 0.95 times a number of windows may be off by rounding.
    limit = (100 - ACCEPTED) * (weights @ clean[:, -1:]) // 100
    accepting = np.concatenate(
        [
            np.count_nonzero(some @ clean <= most, axis=-1)
            for some, most in zip(_chunks(weights), _chunks(limit), strict=True)
        ]
    )
    before = (weights * rejected.T[accepting]).sum(axis=-1, dtype=np.float64)
    return 1 - before / (weights @ degraded[:, -1])


def _chunks(draws: Counts) -> Iterator[Counts]:
    """Yield few draws at a time: the counts at every score of a large set take too much memory."""
    for start in range(0, len(draws), _DRAWS_AT_ONCE):
        yield draws[start : start + _DRAWS_AT_ONCE]


def _here(counts: NDArray[Number]) -> NDArray[Number]:
    """Return what ``(..., step)`` cumulative counts gain at each step."""
    here = counts.copy()
    here[..., 1:] -= counts[..., :-1]
    return here


def _shift(clean: Side, degraded: Side, weights: Floats) -> Floats:
    """Return ``(draw,)`` shifts of the mean degraded score, in standard deviations of clean ones.

    nan where a draw's clean scores are all the same.
    """
    # Squares of scores far from zero would leave no digits for their variance.
    origin = np.median(clean[0])

    def total(side: Side, power: int) -> Floats:
        terms = (side[0] - origin) ** power
        return weights @ np.bincount(side[1], weights=terms, minlength=weights.shape[1])

    count = total(clean, 0)
    mean = total(clean, 1) / count
    variance = (total(clean, 2) - count * mean**2) / (count - 1)
    shift = total(degraded, 1) / total(degraded, 0) - mean
    return np.where(variance > 0, shift / np.sqrt(variance), np.nan)
