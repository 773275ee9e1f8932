"""From the store's cells to the two tidy tables that everything else reads.

``windows``: one row per cell, window and metric. ``records``: one row per cell and metric, with a
95 % interval over recordings. Their columns are a public interface.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from bench import statistics
from bench.plan import Cell, Plan
from bench.protocol import Comparison
from bench.status import Status
from bench.store import Store

CELL = ["dataset", "split", "model", "inference", "predictor", "mechanism", "level", "seed"]
COLUMNS = [
    *CELL[:-1],
    "share",
    "seed",
    "horizon_ms",
    "metric",
    "value",
    "low",
    "high",
    "n",
    "status",
]
WINDOW_COLUMNS = [
    *CELL[:-1],
    "share",
    "seed",
    "window",
    "source",
    "action",
    "horizon_ms",
    "metric",
    "value",
]
SUMMARY = ["share", "value", "low", "high", "n", "recordings", "seeds"]
CONDITION = ["mechanism", "level"]
IMPUTER = ["model", "inference"]
UNFINISHED = ("failed", "skipped")
"""The ``status`` of rows without a value."""


def windows(plan: Plan, store: Store, dataset: str) -> pd.DataFrame:
    """Return every finished cell's values, one row per window and metric."""
    there = (cell for cell in plan.cells if store.has_cell(cell.key))
    return long(((cell, store.load_cell(cell.key)) for cell in there), dataset)


def long(found: Iterable[tuple[Cell, pd.DataFrame]], dataset: str) -> pd.DataFrame:
    """Return what cells found, one row per window each, as one row per cell, window and metric."""
    tables = []
    for cell, wide in found:
        table = wide.melt(id_vars=["window", "source", "action", "share"], var_name="metric")
        if cell.judge:
            # What is of a whole set is of none of its windows, and the other way round.
            table = table.dropna(subset=["value"])
        table = table.assign(dataset=dataset, **dict(zip(CELL[1:], labels(cell), strict=True)))
        tables.append(table)
    if not tables:
        return pd.DataFrame(columns=WINDOW_COLUMNS)
    table = pd.concat(tables, ignore_index=True)
    parts = table["metric"].str.split("@", n=1, expand=True).reindex(columns=[0, 1])
    table["metric"], table["horizon_ms"] = parts[0], parts[1].astype(np.float64)
    return table[WINDOW_COLUMNS]


def records(
    values: pd.DataFrame,
    plan: Plan,
    statuses: Iterable[Status],
    dataset: str,
    references: Sequence[str],
) -> pd.DataFrame:
    """Return one row per cell and metric, and one per cell that has no values."""
    done = summarise(values, [*CELL, "horizon_ms"], references).assign(status="done")
    unfinished = pd.DataFrame(_without_values(plan, statuses, values, dataset))
    table = pd.concat([done, unfinished], ignore_index=True).reindex(columns=COLUMNS)
    for column in ("share", "horizon_ms", "value", "low", "high"):
        table[column] = table[column].astype(np.float64)
    return table.astype({"n": np.int64, "seed": np.int64})


def summarise(
    values: pd.DataFrame, keys: list[str], references: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the mean of each metric over windows, with an interval over recordings.

    Args:
        values: one row per cell, window and metric, as ``windows`` returns it.
        keys: the columns that tell one row of the result from another. Where ``seed`` is not
            among them, the mean is over seeds too, and so is the interval.
        references: imputers to state the others' error against.

    Returns:
        ``keys``, metric and ``SUMMARY``: share, value, low, high, n (windows), recordings, seeds.
        Beside the metrics of ``values`` there is the per-cent change of MSE against each reference
        that ran, paired by window and seed.
    """
    rows = []
    averaged = by_window(values, keys).assign(base=1.0)
    for labels, group in averaged.groupby([*keys, "metric"], sort=False, dropna=False):
        rows.append((*labels, *_row(group, statistics.mean)))
    table = pd.DataFrame(rows, columns=[*keys, "metric", *SUMMARY])
    errors = values[values["metric"] == "mse"]
    against = [
        changes(errors, keys, reference).assign(metric=f"change_vs_{reference}")
        for reference in references
    ]
    return pd.concat([table, *against], ignore_index=True)


def by_window(values: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return values by window and seed, averaged over what else ``keys`` do not tell apart."""
    told_apart = list(dict.fromkeys([*keys, "metric", "seed", "window", "source"]))
    return values.groupby(told_apart, sort=False, as_index=False, dropna=False).agg(
        value=("value", "mean"), share=("share", "mean")
    )


def paired(group: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of windows and seeds that both have; ``base`` is the other's value there."""
    others = base[["window", "seed", "value"]].rename(columns={"value": "base"})
    return group.merge(others, on=["window", "seed"])


def changes(values: pd.DataFrame, keys: list[str], reference: str) -> pd.DataFrame:
    """Return the per-cent change of each imputer's values against a reference's, by condition.

    Args:
        values: of one metric, one row per cell and window.
        keys: the columns that tell one row of the result from another, ``IMPUTER`` among them.
        reference: the imputer, without an inference, to compare with where all other keys agree.

    Returns:
        ``keys`` and ``SUMMARY``.
    """
    rows = []
    others = [key for key in keys if key not in IMPUTER]
    for _, group in by_window(values, keys).groupby(others, sort=False, dropna=False):
        base = group[(group["model"] == reference) & (group["inference"] == "")]
        if base.empty:
            continue
        for labels, mine in group.groupby(keys, sort=False, dropna=False):
            if not (pairs := paired(mine, base)).empty:
                rows.append((*labels, *_row(pairs, statistics.change)))
    return pd.DataFrame(rows, columns=[*keys, *SUMMARY])


def compare(values: pd.DataFrame, comparison: Comparison) -> pd.DataFrame:
    """Return the per-cent change of MSE of one imputer against another, by condition.

    Returns:
        mechanism, level and ``SUMMARY``.
    """
    errors = values[values["metric"] == "mse"]
    rows = []
    for labels, level in by_window(errors, [*IMPUTER, *CONDITION]).groupby(CONDITION, sort=False):
        one, other = (
            level[(level["model"] == model) & (level["inference"] == inference)]
            for model, inference in (
                (comparison.model, comparison.inference),
                (comparison.against, ""),
            )
        )
        if not (pairs := paired(one, other)).empty:
            rows.append((*labels, *_row(pairs, statistics.change)))
    return pd.DataFrame(rows, columns=[*CONDITION, *SUMMARY])


def paired_tests(
    values: pd.DataFrame, models: Sequence[str], baselines: Sequence[str]
) -> pd.DataFrame:
    """Test the MSE of models against the best baseline's at each mechanism and level.

    The best baseline is the one of lowest MSE there. The test is paired by recording
    (``statistics.sign_flip_p``) and two-sided; p is corrected over all rows by Holm's method.

    Returns:
        model, inference, mechanism, level, best_baseline, p, p_holm.
    """
    errors = values[values["metric"] == "mse"]
    rows = []
    for condition, level in by_window(errors, [*IMPUTER, *CONDITION]).groupby(
        CONDITION, sort=False
    ):
        simple = level[level["model"].isin(baselines) & (level["inference"] == "")]
        if simple.empty:
            continue
        best = str(simple.groupby("model")["value"].mean().idxmin())
        base = simple[simple["model"] == best]
        for imputer, group in level.groupby(IMPUTER, sort=False):
            if imputer[0] in models:
                pairs = paired(group, base)
                difference = (pairs["value"] - pairs["base"]).to_numpy()
                p = statistics.sign_flip_p(difference, pairs["source"].to_numpy())
                rows.append((*imputer, *condition, best, p))
    columns = [*IMPUTER, *CONDITION, "best_baseline", "p"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(p_holm=statistics.holm(table["p"].to_numpy(dtype=np.float64)))


def _row(
    group: pd.DataFrame, statistic: statistics.Statistic
) -> tuple[float, float, float, float, int, int, int]:
    """Return the columns ``SUMMARY`` of one group of windows, of their ``value`` and ``base``."""
    sources, seeds = group["source"].to_numpy(), group["seed"].to_numpy()
    interval = statistics.estimate(
        group[["value", "base"]].to_numpy(np.float64), sources, statistic, seeds
    )
    windows, recordings, count = (group[name].nunique() for name in ("window", "source", "seed"))
    return (group["share"].mean(), *interval, windows, recordings, count)


def _without_values(
    plan: Plan, statuses: Iterable[Status], values: pd.DataFrame, dataset: str
) -> list[dict[str, object]]:
    # A finished cell has none where there was no window for it.
    ended = {
        status.key: status.status
        for status in statuses
        if status.status in ("done", "failed", "skipped")
    }
    done = set(values[CELL[1:]].itertuples(index=False, name=None))
    rows: list[dict[str, object]] = []
    for cell in plan.cells:
        told = labels(cell)
        if told not in done:
            row = {"dataset": dataset, **dict(zip(CELL[1:], told, strict=True))}
            rows.append({**row, "metric": "", "n": 0, "status": ended.get(cell.key, "skipped")})
    return rows


def labels(cell: Cell) -> tuple[str | int, ...]:
    """Return what tells a cell's rows from those of others: the columns ``CELL``, less the first"""
    split = "sample" if cell.task == "sample" else "test"
    level = cell.level or ("" if cell.mechanism else "0")
    what = (cell.model, cell.inference, cell.predictor, cell.mechanism, level)
    return (split, *what, cell.seed)
