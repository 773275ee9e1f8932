"""What imputers cost: parameters, time and memory of their fits and of imputing."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from bench.analysis import records
from bench.analysis.tables import Section, named, pivot
from bench.analysis.tables import number as text_of
from bench.sweep.jobs import DEGRADED

METRICS = {
    "parameters": "parameters",
    "fit_seconds": "fit, s",
    "fit_memory": "fit, MiB",
    "impute_ms": "imputing, ms per window",
    "impute_memory": "imputing, MiB",
}
"""Metrics of the table, in order, each with its heading."""
COUNTS = {"window": "n", "source": records.RECORDINGS, "seed": "seeds"}


def table(
    values: pd.DataFrame, times: pd.DataFrame, fits: Iterable[dict[str, Any]]
) -> pd.DataFrame:
    """Return what each imputer costs.

    Args:
        values: per-window values (``records.windows``).
        times: of each job (``bench.sweep.times.table``).
        fits: summary of every finished fit.

    Returns:
        model, inference, metric (a key of ``METRICS``), value, and the numbers of windows,
        recordings and seeds that the imputer completed. Fits: seconds are the mean over seeds,
        memory the most. Imputing includes measuring: milliseconds are the median over cells of a
        cell's mean per window, memory is the most of any cell. What was not measured has no row.
    """
    imputed = values[(values["metric"] == "mse") & (values["inference"] != DEGRADED)]
    imputed = records.plain(imputed)
    counts = imputed.groupby(records.IMPUTER, sort=False)[list(COUNTS)].nunique()
    cell = [name for name in records.CELL[2:] if name != "predictor"]
    windows = imputed.groupby(cell, sort=False).size().rename("windows").reset_index()
    cells = times[times["task"] == "impute"].merge(windows, on=cell)
    cells = cells.assign(impute_ms=1000 * cells["seconds"] / cells["windows"])
    imputing = cells.groupby(records.IMPUTER).agg(
        impute_ms=("impute_ms", "median"), impute_memory=("memory", "max")
    )
    columns = ["model", "parameters", "seconds", "memory"]
    facts = pd.DataFrame(list(fits)).reindex(columns=columns).astype({"model": object})
    fitting = facts.groupby("model").agg(
        parameters=("parameters", "first"),
        fit_seconds=("seconds", "mean"),
        fit_memory=("memory", "max"),
    )
    found = counts.rename(columns=COUNTS).join(imputing).join(fitting, on="model").reset_index()
    keys = [*records.IMPUTER, *COUNTS.values()]
    order = {name: place for place, name in enumerate(METRICS)}
    tidy = found.melt(keys, list(METRICS), "metric").dropna(subset="value")
    tidy = tidy.sort_values("metric", key=lambda names: names.map(order), kind="stable")
    columns = [*records.IMPUTER, "metric", "value", *COUNTS.values()]
    return tidy[columns].astype({"value": float}).assign(status="done").reset_index(drop=True)


def sections(table: pd.DataFrame) -> list[Section]:
    """Return one section: a row per imputer."""
    rows = named(table["model"], table["inference"])
    text = pivot(rows, table["metric"], [text_of(value) for value in table["value"]])
    headings = {name: title for name, title in METRICS.items() if name in text.columns}
    caption = "What imputers cost, beyond the memory that a process has anyway"
    return [Section("costs", caption, text[list(headings)].rename(columns=headings))]
