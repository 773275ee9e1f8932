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
    rows = []
    keys = [*CELL, "metric"]
    for labels, group in values.groupby(keys, sort=False, dropna=False):
        named = dict(zip(keys, labels, strict=True))
        columns = np.column_stack([group["value"], np.ones(len(group))])
        rows.append(named | _row(columns, group, statistics.mean))
    rows += _changes(values)
    rows += _unfinished(plan, outcomes, values, dataset)
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    for column in ("share", "horizon_ms", "value", "low", "high"):
        table[column] = table[column].astype(np.float64)
    return table.astype({"n": np.int64, "seed": np.int64})


def _changes(values: pd.DataFrame) -> list[dict[str, object]]:
    """Return the per-cent change of MSE against each reference, paired by window."""
    errors = values[values["metric"] == "mse"]
    rows: list[dict[str, object]] = []
    for _, level in errors.groupby(["mechanism", "level", "seed"], sort=False):
        for reference in REFERENCES:
            base = level[(level["model"] == reference) & (level["inference"] == "")]
            if base.empty:
                continue
            base_error = base.set_index("window")["value"]
            for labels, group in level.groupby(CELL, sort=False):
                columns = np.column_stack([group["value"], base_error.loc[group["window"]]])
                named = dict(zip(CELL, labels, strict=True)) | {"metric": f"change_vs_{reference}"}
                rows.append(named | _row(columns, group, statistics.change))
    return rows


def _row(
    columns: np.ndarray, group: pd.DataFrame, statistic: statistics.Statistic
) -> dict[str, object]:
    value, low, high = statistics.estimate(columns, group["source"].to_numpy(), statistic)
    share = group["share"].mean()
    return {
        "share": share,
        "value": value,
        "low": low,
        "high": high,
        "n": len(group),
        "status": "done",
    }


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
