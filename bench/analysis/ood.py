"""How well a model's scores tell degraded windows from clean ones.

A score is a value per window that is larger the less normal a window is. Scores of two seeds come
from two fits and have no common scale: they are never pooled, only their results are averaged.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis.statistics import COVERAGE, SEED_STREAM, resamples
from bench.sweep.jobs import DEGRADED

CONDITION = ["model", "score", "mechanism", "level"]
METRICS = ("auroc", "aupr", "fpr95", "shift_sd")
COUNTS = ["n", "recordings", "seeds"]
COLUMNS = [*CONDITION, "metric", "share", "value", "low", "high", *COUNTS]
LEVEL_COLUMNS = [*CONDITION, "share", "direction", "auroc", "tried", *COUNTS]
OF = ["window", "source", "seed"]
"""What ``COUNTS`` count."""
ACCEPTED = 95
"""Per cent of clean windows that the threshold of ``fpr95`` accepts as clean."""

_SCORE = r"nlp(_z\d+)?|distance|elbo"
_DRAWS_AT_ONCE = 100

Floats = NDArray[np.float64]
Side = tuple[Floats, NDArray[np.intp]]
"""Clean or degraded windows of one fit: ``(window,)`` scores, and the number of each recording."""


def detection(values: pd.DataFrame) -> pd.DataFrame:
    """Return how well each score tells the degraded windows of each level from the clean ones.

    Clean are the test windows without a mechanism. Degraded are those with one whose hidden
    features were filled with the mean, or that have no inference, as corrupted ones; windows
    after any other inference are left out. The metrics are

    - ``auroc``: the share of pairs of a clean and a degraded window in which the degraded one has
      the larger score; a tie counts half.
    - ``aupr``: average precision, with degraded as the positive class.
    - ``fpr95``: the share of degraded windows taken for clean at the least threshold that accepts
      95 % of the clean ones; a window is accepted if its score is at most the threshold. Smaller
      is better; scores that tell nothing have 0.95.
    - ``shift_sd``: the mean score of degraded windows less that of clean ones, in standard
      deviations of clean windows. Beyond ±1 the degraded input leaves the clean one's ±1 sd;
      nan where the clean scores are all the same.

    Args:
        values: one row per cell, window and metric (``records.windows``). The
            scores among its metrics are ``nlp``, ``nlp_z0`` and so on, ``distance``, and ``elbo``,
            which is larger for more normal windows and becomes ``negative_elbo``.

    Returns:
        ``COLUMNS``, one row per ``CONDITION`` and metric, in the order of ``values``. ``value`` is
        the mean over seeds; ``low`` and ``high`` are its 95 % percentile interval over resamples
        of recordings, the same for clean and degraded windows and for all seeds, and of seeds,
        where there are several. They are nan with fewer than two recordings of clean or of
        degraded windows. ``share`` is the mean share of hidden features in the degraded windows,
        ``n`` their number, ``recordings`` that of the recordings they are of.
    """
    clean, degraded = _split(values)
    references = dict(iter(clean.groupby(["model", "score"])))
    rows = []
    for labels, group in degraded.groupby(CONDITION, sort=False):
        reference = references.get(labels[:2], clean.iloc[:0])
        seeds = np.intersect1d(reference["seed"], group["seed"])
        if not len(seeds):
            continue
        group = group[group["seed"].isin(seeds)]
        estimates = _estimates(reference[reference["seed"].isin(seeds)], group)
        share, counts = group["share"].mean(), [group[name].nunique() for name in OF]
        for metric, estimate in zip(METRICS, estimates.tolist(), strict=True):
            rows.append((*labels, metric, share, *estimate, *counts))
    return pd.DataFrame(rows, columns=COLUMNS)


def detection_levels(table: pd.DataFrame) -> pd.DataFrame:
    """Return the smallest share of hidden features that each score notices.

    Noticed means that the mean score of degraded windows lies more than one standard deviation of
    clean windows away from that of clean windows. Rows without a positive share, as of corrupted
    windows, are left out.

    Args:
        table: as ``detection`` returns it.

    Returns:
        ``LEVEL_COLUMNS``, one row per model, score and mechanism: the ``level`` noticed, its
        ``share``, its ``auroc``, and the ``direction``, ``below`` where degraded windows are the
        less probable ones, else ``above``. Where no level is noticed, the strings are empty and
        the numbers nan. ``tried`` is the number of levels.
    """
    rows = []
    occluded = table[table["share"] > 0]
    for labels, group in occluded.groupby(CONDITION[:-1], sort=False):
        shifts = group[group["metric"] == "shift_sd"].sort_values("share", kind="stable")
        noticed = shifts[shifts["value"].abs() > 1]
        level, share, direction, auroc = "", np.nan, "", np.nan
        if not noticed.empty:
            level, share, shift = noticed[["level", "share", "value"]].iloc[0]
            direction = "below" if shift > 0 else "above"
            here = (group["level"] == level) & (group["metric"] == "auroc")
            auroc = group.loc[here, "value"].item()
        rows.append((*labels, level, share, direction, auroc, len(shifts), *shifts[COUNTS].max()))
    return pd.DataFrame(rows, columns=LEVEL_COLUMNS)


def _split(values: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the scores of clean and of degraded test windows; larger is less normal."""
    chosen = values[(values["split"] == "test") & values["metric"].str.fullmatch(_SCORE)]
    if chosen["value"].isna().any():
        raise ValueError("scores of some windows are nan, so windows cannot be ordered by them")
    elbo = chosen["metric"] == "elbo"
    chosen = chosen.assign(
        score=chosen["metric"].mask(elbo, "negative_elbo"),
        value=chosen["value"].mask(elbo, -chosen["value"]),
        source=chosen["source"].astype(str),
    )
    plain = chosen["inference"] == ""
    mechanism = chosen["mechanism"] != ""
    degraded = mechanism & (plain | (chosen["inference"] == DEGRADED))
    return chosen[~mechanism & plain], chosen[degraded]


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
    """Return the mean over seeds of ``(seed, metric, 1 + draw)`` values, drawn seeds in draws."""
    count, _, draws = by_seed.shape
    weights = np.ones((count, draws))
    if count > 1:
        weights[:, 1:] = resamples(count, SEED_STREAM).T
    # A draw without a seed has no need of its values, which may be nan there.
    taken = np.where(weights[:, None] > 0, by_seed, 0)
    return (taken * weights[:, None]).sum(axis=0) / count


def _weights(clean: "pd.Series[str]", degraded: "pd.Series[str]") -> tuple[pd.Index, Floats]:
    """Return the recordings, and how often each is taken: once in the first row, then drawn.

    Recordings of degraded windows alone are drawn apart, so that every draw has as many
    recordings as there are.

    Returns:
        ``(recording,)`` names and ``(1 + DRAWS, recording)`` weights.
    """
    own = np.unique(clean)
    foreign = np.setdiff1d(degraded, own)
    # One draw later is another draw: two parts of the same size must not get the same numbers.
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
    # Few draws at a time, as their counts at every score of a large test set would not fit.
    chunks = [weights[start:][:_DRAWS_AT_ONCE] for start in range(0, len(weights), _DRAWS_AT_ONCE)]
    with np.errstate(divide="ignore", invalid="ignore"):
        ranked = np.hstack([_ranked(*(chunk @ counts)) for chunk in chunks])
        return np.vstack([ranked, _shift(clean, degraded, weights)])


def _counts(clean: Side, degraded: Side, recordings: int) -> Floats:
    """Return ``(side, recording, step)`` numbers of windows at or above each step's score.

    The sides are clean and degraded; the steps are the distinct scores from the highest down.
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
    # A draw may lack the windows of the first steps; they have no weight in it.
    precision = degraded / np.maximum(clean + degraded, 1)
    # In whole numbers, as 0.95 of a count of windows may be off by a rounding.
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
    """Return ``(draw,)`` how many sd of the clean scores the mean degraded score lies above them.

    nan where a draw's clean scores are all the same.
    """
    # Squares of scores far from nought would leave no digits for their variance.
    origin = np.median(clean[0])

    def total(side: Side, power: int) -> Floats:
        terms = (side[0] - origin) ** power
        return weights @ np.bincount(side[1], weights=terms, minlength=weights.shape[1])

    count = total(clean, 0)
    mean = total(clean, 1) / count
    variance = (total(clean, 2) - count * mean**2) / (count - 1)
    shift = total(degraded, 1) / total(degraded, 0) - mean
    return np.where(variance > 0, shift / np.sqrt(variance), np.nan)
