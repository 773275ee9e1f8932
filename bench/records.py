"""From the store's cells to the two tidy tables that everything else reads.

``windows``: one row per cell, window and metric. ``records``: one row per cell and metric, with a
95 % interval over recordings. Their columns are a public interface.
"""

import numpy as np
import pandas as pd

from bench import statistics
from bench.plan import Cell, Plan
from bench.store import Store
from bench.trials import Outcome

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
WINDOW_COLUMNS = [*CELL[:-1], "share", "seed", "window", "source", "metric", "value"]
SUMMARY = ["share", "value", "low", "high", "n", "seeds"]
REFERENCES = ("mean", "linear")
"""Imputers that the others' error is stated against, where they ran."""


def windows(plan: Plan, store: Store, dataset: str) -> pd.DataFrame:
    """Return every finished cell's values, one row per window and metric."""
    tables = []
    for cell in plan.cells:
        if not store.has_cell(cell.key):
            continue
        wide = store.load_cell(cell.key)
        long = wide.melt(id_vars=["window", "source", "share"], var_name="metric")
        for name, label in _labels(cell, dataset).items():
            long[name] = label
        tables.append(long)
    if not tables:
        return pd.DataFrame(columns=WINDOW_COLUMNS)
    return pd.concat(tables, ignore_index=True)[WINDOW_COLUMNS]


def records(
    values: pd.DataFrame, plan: Plan, outcomes: list[Outcome], dataset: str
) -> pd.DataFrame:
    """Return one row per cell and metric, and one per cell that has no values."""
    done = summarise(values, CELL).assign(status="done")
    unfinished = pd.DataFrame(_unfinished(plan, outcomes, values, dataset))
    table = pd.concat([done, unfinished], ignore_index=True).reindex(columns=COLUMNS)
    for column in ("share", "horizon_ms", "value", "low", "high"):
        table[column] = table[column].astype(np.float64)
    return table.astype({"n": np.int64, "seed": np.int64})


def summarise(values: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return the mean of each metric over windows, with an interval over recordings.

    Args:
        values: one row per cell, window and metric, as ``windows`` returns it.
        keys: the columns that tell one row of the result from another. Where ``seed`` is not
            among them, a window's values are averaged over seeds first.

    Returns:
        ``keys``, metric, share, value, low, high, n (windows), seeds. Beside the metrics of
        ``values`` there is the per-cent change of MSE against each of ``REFERENCES`` that ran,
        paired by window.
    """
    by_window = values.groupby(
        [*keys, "metric", "window", "source"], sort=False, as_index=False
    ).agg(value=("value", "mean"), share=("share", "mean"), seeds=("seed", "nunique"))
    rows = []
    for labels, group in by_window.groupby([*keys, "metric"], sort=False):
        rows.append((*labels, *_row(group, np.ones(len(group)), statistics.mean)))
    errors = by_window[by_window["metric"] == "mse"]
    condition = [key for key in keys if key in ("mechanism", "level", "seed")]
    for _, level in errors.groupby(condition, sort=False):
        for reference in REFERENCES:
            base = level[(level["model"] == reference) & (level["inference"] == "")]
            if base.empty:
                continue
            base_error = base.set_index("window")["value"]
            for labels, group in level.groupby(keys, sort=False):
                paired = base_error.loc[group["window"]].to_numpy()
                row = _row(group, paired, statistics.change)
                rows.append((*labels, f"change_vs_{reference}", *row))
    return pd.DataFrame(rows, columns=[*keys, "metric", *SUMMARY])


def _row(
    group: pd.DataFrame, against: np.ndarray, statistic: statistics.Statistic
) -> tuple[float, float, float, float, int, int]:
    """Return the columns ``SUMMARY`` of one group of windows."""
    columns = np.column_stack([group["value"], against])
    interval = statistics.estimate(columns, group["source"].to_numpy(), statistic)
    return (group["share"].mean(), *interval, len(group), int(group["seeds"].max()))


def _unfinished(
    plan: Plan, outcomes: list[Outcome], values: pd.DataFrame, dataset: str
) -> list[dict[str, object]]:
    ended = {outcome.key: outcome.status for outcome in outcomes}
    done = set(values[CELL].itertuples(index=False, name=None))
    rows: list[dict[str, object]] = []
    for cell in plan.cells:
        labels = _labels(cell, dataset)
        if tuple(labels[name] for name in CELL) not in done:
            status = ended.get(cell.key, "skipped")
            rows.append({**labels, "metric": "", "n": 0, "status": status})
    return rows


def _labels(cell: Cell, dataset: str) -> dict[str, str | int]:
    return {
        "dataset": dataset,
        "split": "test",
        "model": cell.model,
        "inference": cell.inference,
        "predictor": "",
        "mechanism": cell.mechanism,
        "level": cell.level or "0",
        "seed": cell.seed,
    }
