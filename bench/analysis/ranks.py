"""Imputers ranked across conditions: Friedman's test, then Nemenyi's and Wilcoxon's.

After Demšar 2006, "Statistical comparisons of classifiers over multiple data sets", JMLR 7. A block
is a condition: a mechanism at a level. docs/statistics.md states the limits of such tests.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from bench.analysis import statistics
from bench.analysis.records import CONDITION, IMPUTER, by_window, plain
from bench.analysis.tables import Section, named, number, wide
from bench.protocol.schema import Protocol
from bench.sweep.jobs import DEGRADED

COLUMNS = [
    *IMPUTER,
    "control",
    "value",
    "low",
    "high",
    "conditions",
    "left_out",
    "chi2",
    "p_friedman",
    "cd",
    "p_nemenyi",
    "p_wilcoxon",
    "p_wilcoxon_holm",
    "n",
    "recordings",
    "seeds",
]
CELL = [*CONDITION, "seed"]
METRIC = "mse"
LEAST_IMPUTERS = 3
LEAST_CONDITIONS = 2
COVERED = 0.5
"""An imputer is ranked if more than this share of its cells has values."""


def table(values: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return the mean rank of each imputer's MSE over conditions, best first.

    An imputer without values in half of the cells or more is left out; of the others, only windows
    count for which all of them have values. Within a condition imputers are ranked by their mean
    over windows and seeds, 1 for the least; ties share the mean of their ranks.

    Args:
        values: per-window values of imputation (``records.windows``).
        protocol: what ran.

    Returns:
        ``COLUMNS``, one row per imputer: whether it is a control; ``value``, its mean rank, with a
        95 % interval over recordings, and over seeds if several; the number of conditions ranked
        and of those left out; Friedman's chi2 and p; the critical difference of Nemenyi's test at
        5 %; p of Nemenyi's test against the first row, of Wilcoxon's signed-rank test of the
        relative differences from it, and the latter after Holm's correction. Empty if there are
        fewer than ``LEAST_IMPUTERS`` or ``LEAST_CONDITIONS``.
    """
    errors = plain(values[(values["metric"] == METRIC) & (values["inference"] != DEGRADED)])
    paired = by_window(errors, [*IMPUTER, *CONDITION]).pivot(
        index=[*CELL, "window", "source"], columns=IMPUTER, values="value"
    )
    available = paired.notna().groupby(level=CELL, sort=False).any()
    paired = paired.loc[:, available.mean() > COVERED].dropna()
    means = paired.groupby(level=CONDITION, sort=False).mean()
    conditions, imputers = means.shape
    if imputers < LEAST_IMPUTERS or conditions < LEAST_CONDITIONS:
        return pd.DataFrame(columns=COLUMNS)
    blocks = means.to_numpy()
    mean_ranks = rankdata(blocks, axis=1).mean(axis=0)
    best = int(mean_ranks.argmin())
    low, high = _interval(paired)
    chi2, p_friedman = statistics.friedman(blocks)
    found = means.columns.to_frame(index=False).assign(
        control=[
            protocol.models[label].cls.control for label in means.columns.get_level_values("model")
        ],
        value=mean_ranks,
        low=low,
        high=high,
        conditions=conditions,
        left_out=available.groupby(level=CONDITION).ngroups - conditions,
        chi2=chi2,
        p_friedman=p_friedman,
        cd=statistics.critical_difference(imputers, conditions),
        p_nemenyi=statistics.nemenyi(mean_ranks - mean_ranks[best], imputers, conditions),
        p_wilcoxon=[
            statistics.wilcoxon(column, blocks[:, best]) if place != best else np.nan
            for place, column in enumerate(blocks.T)
        ],
        n=paired.index.unique("window").size,
        recordings=paired.index.unique("source").size,
        seeds=paired.index.unique("seed").size,
    )
    rivals = found["p_wilcoxon"].notna()
    found.loc[~rivals, "p_nemenyi"] = np.nan
    found.loc[rivals, "p_wilcoxon_holm"] = statistics.holm(
        found.loc[rivals, "p_wilcoxon"].to_numpy()
    )
    return found.sort_values("value", kind="stable", ignore_index=True)[COLUMNS]


def sections(table: pd.DataFrame) -> list[Section]:
    """Return one section: a row per imputer, best first."""
    rows = names(table)
    text = wide(table, rows, ["mean rank"] * len(table))
    for name, title in (("p_nemenyi", "p, Nemenyi"), ("p_wilcoxon_holm", "p, Wilcoxon and Holm")):
        text[title] = [_p(p) for p in table[name]]
    return [Section("ranks", caption(table), text)]


def names(table: pd.DataFrame) -> list[str]:
    """Return the name of each row, with ``control`` after that of a control."""
    imputers = named(table["model"], table["inference"])
    return [
        f"{name}, control" if control is True else name
        for name, control in zip(imputers, table["control"].astype(object), strict=True)
    ]


def caption(table: pd.DataFrame) -> str:
    """Return the caption of the ranks: conditions, Friedman's test, critical difference."""
    first = table.iloc[0]
    what = "Mean rank of MSE over mechanisms and levels, 1 for the best"
    if np.isnan(first["value"]):
        return what
    left_out = f", {first['left_out']:.0f} left out" if first["left_out"] else ""
    return (
        f"{what}, {first['conditions']:.0f} conditions{left_out}; Friedman's test: chi2 "
        f"{number(first['chi2'])}, p {_p(first['p_friedman'])}; critical difference at 5 % "
        f"(Nemenyi): {number(first['cd'])}; p against the first row"
    )


def cliques(ranks: NDArray[np.float64], difference: float) -> list[tuple[int, int]]:
    """Return the maximal groups of imputers that do not differ significantly.

    Args:
        ranks: ``(imputer,)`` mean ranks, ascending.
        difference: the critical difference of mean ranks.

    Returns:
        (first, last) index of each group of two or more.
    """
    last = np.searchsorted(ranks, ranks + difference, side="right") - 1
    # A group that ends where the previous one ends is contained in it.
    new = np.diff(last, prepend=-1) > 0
    return [(first, int(end)) for first, end in enumerate(last) if new[first] and end > first]


def _interval(paired: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``(imputer,)`` low and high of mean ranks over resamples of recordings and seeds."""
    # Sorted, so that the order of rows does not change what is drawn.
    places = [
        paired.groupby(level=level).ngroup().to_numpy() for level in ("seed", "source", CONDITION)
    ]
    shape = [int(place.max()) + 1 for place in places]
    if shape[1] < 2:
        nothing = np.full(paired.shape[1], np.nan)
        return nothing, nothing
    counted = np.column_stack([paired.to_numpy(), np.ones(len(paired))])
    sums = np.zeros((*shape, counted.shape[1]))
    np.add.at(sums, tuple(places), counted)
    drawn = statistics.draw(sums)
    # A draw may lack a condition that only some seeds have.
    with np.errstate(invalid="ignore"):
        means = drawn[..., :-1] / drawn[..., -1:]
    ranks = rankdata(means, axis=-1, nan_policy="propagate").mean(axis=1)
    tail = 100 * (1 - statistics.COVERAGE) / 2
    low, high = np.nanpercentile(ranks, [tail, 100 - tail], axis=0)
    return low, high


def _p(p: float) -> str:
    return "" if np.isnan(p) else f"{p:.2g}"
