"""The forecasting table: errors of predictors, by what completed their past."""

import numpy as np
import pandas as pd

from bench.analysis import records
from bench.analysis.tables import Section, conditions, named, wide
from bench.protocol.schema import Protocol
from bench.sweep.forecasts import AVERAGE

KEYS = ["predictor", *records.IMPUTER, *records.CONDITION]
CHANGE = "change_vs_mean"
"""The metric that is the per-cent change against the mean-imputed past."""
TRUE_PAST = "true past"
"""The label of rows whose past was not completed."""


def table(values: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return the forecasting table from per-window values of forecasts.

    Args:
        values: per-window values of forecasts (``records.windows``).
        protocol: what ran.

    Returns:
        predictor, model and inference (of the imputer that completed the past; empty for the true
        past), mechanism, level, horizon_ms, metric and ``records.SUMMARY``. Metrics are ``mpjpe``
        at each horizon and ``mpjpe_average`` over all frames of the future, mm; ``eq4`` (of the
        HG-VAE paper), mm squared; and ``change_vs_mean``, the per-cent change of ``mpjpe_average``
        against the same past completed with the mean, paired by window. The last is computed only
        if the protocol has a model ``mean``.
    """
    table = records.summarise(values, [*KEYS, "horizon_ms"])
    if "mean" not in protocol.models:
        return table
    changes = records.changes(values[values["metric"] == AVERAGE], KEYS, "mean")
    return pd.concat([table, changes.assign(metric=CHANGE, horizon_ms=np.nan)], ignore_index=True)


def sections(table: pd.DataFrame) -> list[Section]:
    """Return a section on the true past, and up to two per predictor on completed pasts."""
    if table.empty:
        return []
    clean = table["mechanism"] == ""
    found = [_horizons(table[clean & table["metric"].isin(["mpjpe", AVERAGE])])]
    for predictor, rows in table.groupby("predictor", sort=False):
        completed = rows[rows["mechanism"] != ""]
        if completed.empty:
            continue
        average = _with_true_past(rows[rows["metric"] == AVERAGE])
        caption = f"{predictor}: MPJPE over the whole future, mm, by imputer of the past"
        found.append(Section(f"{predictor}_{AVERAGE}", caption, _by_condition(average)))
        changes = completed[(completed["metric"] == CHANGE) & (completed["model"] != "mean")]
        if not changes.empty:
            caption = (
                f"{predictor}: change of MPJPE over the whole future against the mean-imputed "
                "past, per cent"
            )
            found.append(Section(f"{predictor}_{CHANGE}", caption, _by_condition(changes)))
    return found


def _horizons(table: pd.DataFrame) -> Section:
    columns = ["average" if np.isnan(ms) else f"{ms:.0f} ms" for ms in table["horizon_ms"]]
    text = wide(table, table["predictor"], columns)
    return Section("true_past", "MPJPE of predictions from the true past, mm", text)


def _with_true_past(average: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of completed pasts, with the true past's repeated for every condition."""
    clean = average[average["mechanism"] == ""].drop(columns=records.CONDITION)
    completed = average[average["mechanism"] != ""]
    repeated = completed[records.CONDITION].drop_duplicates().merge(clean, how="cross")
    return pd.concat([repeated.assign(model=TRUE_PAST), completed], ignore_index=True)


def _by_condition(table: pd.DataFrame) -> pd.DataFrame:
    return wide(table, named(table["model"], table["inference"]), conditions(table))
