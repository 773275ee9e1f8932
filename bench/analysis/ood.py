"""Out-of-distribution detection: how well scores distinguish degraded windows from clean ones.

A score is a value per window that is larger the less normal a window is. Scores of two seeds come
from two fits and have no common scale: they are never pooled, only their metrics are averaged.
"""

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
_DRAWS_AT_ONCE = 100

Floats = NDArray[np.float64]
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
    references = dict(iter(clean.groupby(["model", "score"], observed=True)))
    rows = []
    for labels, group in degraded.groupby(CONDITION, sort=False, observed=True):
        reference = references.get(labels[:2], clean.iloc[:0])
        seeds = np.intersect1d(reference["seed"], group["seed"])
        if not len(seeds):
            continue
        group = group[group["seed"].isin(seeds)]
        estimates = _estimates(reference[reference["seed"].isin(seeds)], group)
        share, counts = group["share"].mean(), [group[name].nunique() for name in COUNTED]
        for metric, estimate in zip(METRICS, estimates.tolist(), strict=True):
            rows.append((*labels, metric, share, *estimate, *counts))
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
    for labels, group in occluded.groupby(CONDITION[:-1], sort=False):
        shifts = group[group["metric"] == "shift_sd"].sort_values("share", kind="stable")
        detected = shifts[shifts["value"].abs() > 1]
        level, share, direction, auroc = "", np.nan, "", np.nan
        if not detected.empty:
            level, share, shift = detected[["level", "share", "value"]].iloc[0]
            direction = "below" if shift > 0 else "above"
            here = (group["level"] == level) & (group["metric"] == "auroc")
            auroc = group.loc[here, "value"].item()
        rows.append((*labels, level, share, direction, auroc, len(shifts), *shifts[COUNTS].max()))
    return pd.DataFrame(rows, columns=LEVEL_COLUMNS)


def _split(values: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the scores of clean and of degraded test windows; larger is less normal."""
    chosen = values[(values["split"] == "test") & values["metric"].str.fullmatch(_SCORE)]
    if chosen["value"].isna().any():
        raise ValueError("scores of some windows are nan; windows cannot be ordered by them")
    elbo = chosen["metric"] == "elbo"
    no_inference = chosen["inference"] == ""
    mechanism = chosen["mechanism"] != ""
    degraded = mechanism & (no_inference | (chosen["inference"] == DEGRADED))
    chosen = chosen.assign(
        score=chosen["metric"].mask(elbo, "negative_elbo"),
        value=chosen["value"].mask(elbo, -chosen["value"]),
    )[[*CONDITION, *COUNTED, "share", "value"]]
    # Hundreds of groups are taken from the table, of text several times as slowly as of numbers.
    chosen = chosen.astype(dict.fromkeys(CONDITION, "category"))
    for name in ("window", "source"):
        chosen[name] = pd.factorize(chosen[name].astype(str), sort=True)[0]
    return chosen[~mechanism & no_inference], chosen[degraded]


def _estimates(clean: pd.DataFrame, degraded: pd.DataFrame) -> Floats:
    """Return ``(metric, 3)`` value, low and high from the windows of the same seeds."""
    recordings, weights = _weights(clean["source"], degraded["source"])

    def side(table: pd.DataFrame, seed: int) -> Side:
        rows = table[table["seed"] == seed]
        return rows["value"].to_numpy(np.float64), recordings.get_indexer(pd.Index(rows["source"]))

    seeds = clean["seed"].unique()
    by_seed = [_measure(side(clean, seed), side(degraded, seed), weights) for seed in seeds]
    drawn = _over_seeds(np.array(by_seed))
    interval = np.full((2, len(METRICS)), np.nan)
    if min(clean["source"].nunique(), degraded["source"].nunique()) > 1:
        tail = (1 - COVERAGE) / 2
        interval = pd.DataFrame(drawn[:, 1:].T).quantile([tail, 1 - tail]).to_numpy()
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


def _weights(clean: "pd.Series[int]", degraded: "pd.Series[int]") -> tuple[pd.Index, Floats]:
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
    return pd.Index([*own, *foreign]), np.vstack([once, np.hstack(parts)])


def _measure(clean: Side, degraded: Side, weights: Floats) -> Floats:
    """Return ``(metric, draw)`` values; nan where a draw lacks clean or degraded windows."""
    counts = _counts(clean, degraded, weights.shape[1])
    # Few draws at a time: the counts at every score of a large test set take too much memory.
    chunks = [weights[start:][:_DRAWS_AT_ONCE] for start in range(0, len(weights), _DRAWS_AT_ONCE)]
    with np.errstate(divide="ignore", invalid="ignore"):
        ranked = np.hstack([_ranked(*(chunk @ counts)) for chunk in chunks])
        return np.vstack([ranked, _shift(clean, degraded, weights)])


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


def _ranked(clean: Floats, degraded: Floats) -> Floats:
    """Return AUROC, average precision and FPR95, ``(3, draw)``, from two ``(draw, step)`` counts.

    They count the windows at or above each step, which a threshold just below the step rejects.
    """
    clean_in_all, degraded_in_all = clean[:, -1], degraded[:, -1]
    clean_here = np.diff(clean, prepend=0)
    degraded_here = np.diff(degraded, prepend=0)
    pairs = (clean_here * (degraded - degraded_here / 2)).sum(axis=-1)
    # A draw may lack the windows of the first steps; these have no weight.
    precision = degraded / np.maximum(clean + degraded, 1)
    # In whole numbers: 0.95 times a number of windows may be off by rounding.
    accepting = 100 * clean <= (100 - ACCEPTED) * clean_in_all[:, None]
    rejected = np.where(accepting, degraded, 0).max(axis=-1)
    return np.stack(
        [
            pairs / (clean_in_all * degraded_in_all),
            (degraded_here * precision).sum(axis=-1) / degraded_in_all,
            1 - rejected / degraded_in_all,
        ]
    )


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
