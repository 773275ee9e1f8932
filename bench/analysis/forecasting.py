"""The forecasting table: errors of predictors, by what completed their past.

What completion does for a predictor can only be seen in one that knows something of the future. A
fitted predictor that is no better than standing still is named, and what it makes of completed
pasts stands in no table for readers and in no figure.
"""

import numpy as np
import pandas as pd

from bench.analysis import records, statistics
from bench.analysis.tables import Section, conditions, named, wide
from bench.protocol.schema import Protocol
from bench.sweep.forecasts import AVERAGE

KEYS = ["predictor", *records.IMPUTER, *records.CONDITION]
CHANGE = "change_vs_mean"
"""The metric that is the per-cent change against the mean-imputed past."""
STILL = "zero_velocity"
"""The predictor that stands still; the others' errors are stated against it."""
GAIN = "change_vs_zero_velocity"
"""The metric that is the per-cent change against standing still, from the true past."""
COST = "cost"
"""The metric that is the error over that from the true past, mm."""
IDLE = "predicts no better than standing still: its rows say nothing about imputers"
"""What is said of a predictor whose interval of ``GAIN`` reaches 0 at every horizon."""
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
        HG-VAE paper), mm squared; and, paired by window: ``change_vs_mean``, the per-cent change of
        ``mpjpe_average`` against the same past completed with the mean, if the protocol has a model
        ``mean``; ``cost``, mm over the same predictor's error from the true past, at each horizon
        and, without a horizon, over all frames; ``change_vs_zero_velocity``, the per-cent change of
        the error from the true past against standing still, at the same horizons, if the protocol
        has such a predictor.
    """
    parts = [records.summarise(values, [*KEYS, "horizon_ms"])]
    if "mean" in protocol.models:
        changes = records.changes(values[values["metric"] == AVERAGE], KEYS, "mean")
        parts.append(changes.assign(metric=CHANGE, horizon_ms=np.nan))
    errors = values[values["metric"].isin(["mpjpe", AVERAGE])]
    errors = records.by_window(errors, [*KEYS, "horizon_ms"])
    parts += [_gains(errors).assign(metric=GAIN), _costs(errors).assign(metric=COST)]
    return pd.concat(parts, ignore_index=True)


def _gains(errors: pd.DataFrame) -> pd.DataFrame:
    """Return the change of errors from the true past against standing still, per cent."""
    clean = errors[errors["mechanism"] == ""]
    still = clean["predictor"] == STILL
    keys, common = [*KEYS, "horizon_ms"], ["metric", "horizon_ms"]
    return records.against(clean[~still], clean[still], keys, common, statistics.change)


def _costs(errors: pd.DataFrame) -> pd.DataFrame:
    """Return what a completed past costs in mm over the true one."""
    clean = errors["mechanism"] == ""
    common = ["predictor", "metric", "horizon_ms"]
    pairs = records.paired(errors[~clean], errors[clean], common)
    more = pairs.assign(value=pairs["value"] - pairs["base"]).drop(columns="base")
    return records.against(
        more, more.assign(value=1.0), [*KEYS, "horizon_ms"], [*KEYS, *common[1:]], statistics.mean
    )


def idle(table: pd.DataFrame) -> list[str]:
    """Return the predictors that are better than standing still at no horizon.

    That is: nowhere, nor over the whole future, is the 95 % interval of their change of error
    against it below 0. Standing still itself is not among them; without it in the run, none is.
    """
    gains = table[table["metric"] == GAIN]
    if gains.empty:  # perhaps without columns
        return []
    nearest = gains.groupby("predictor", sort=False)["high"].min()
    return [str(name) for name in nearest.index[~(nearest < 0)]]


def telling(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of predictors that say something about imputers."""
    if table.empty:
        return table
    gains = (table["metric"] == GAIN).any()
    silent = [*idle(table), *([STILL] if gains else [])]
    return table[~table["predictor"].isin(silent)]


def sections(table: pd.DataFrame) -> list[Section]:
    """Return sections on the true past, and up to three per predictor on completed pasts."""
    if table.empty:
        return []
    clean = table["mechanism"] == ""
    found = [_horizons(table[clean & table["metric"].isin(["mpjpe", AVERAGE])])]
    gains = table[table["metric"] == GAIN]
    if not gains.empty:
        found.append(_against_still(gains, idle(table)))
    for predictor, rows in telling(table).groupby("predictor", sort=False):
        completed = rows[rows["mechanism"] != ""]
        if completed.empty:
            continue
        average = _with_true_past(rows[rows["metric"] == AVERAGE])
        caption = f"{predictor}: MPJPE over the whole future, mm, by imputer of the past"
        found.append(Section(f"{predictor}_{AVERAGE}", caption, _by_condition(average)))
        costs = completed[(completed["metric"] == COST) & completed["horizon_ms"].isna()]
        if not costs.empty:
            caption = (
                f"{predictor}: what completion costs, MPJPE over the whole future above that from "
                "the true past, mm"
            )
            found.append(Section(f"{predictor}_{COST}", caption, _by_condition(costs)))
        changes = completed[(completed["metric"] == CHANGE) & (completed["model"] != "mean")]
        if not changes.empty:
            caption = (
                f"{predictor}: change of MPJPE over the whole future against the mean-imputed "
                "past, per cent"
            )
            found.append(Section(f"{predictor}_{CHANGE}", caption, _by_condition(changes)))
    return found


def _against_still(gains: pd.DataFrame, idle: list[str]) -> Section:
    caption = "Change of MPJPE against standing still, from the true past, per cent"
    notes = [f"{predictor} {IDLE}" for predictor in idle]
    return Section(GAIN, "; ".join([caption, *notes]), _by_horizon(gains))


def _horizons(table: pd.DataFrame) -> Section:
    caption = "MPJPE of predictions from the true past, mm"
    return Section("true_past", caption, _by_horizon(table))


def _by_horizon(table: pd.DataFrame) -> pd.DataFrame:
    columns = ["average" if np.isnan(ms) else f"{ms:.0f} ms" for ms in table["horizon_ms"]]
    return wide(table, table["predictor"], columns)


def _with_true_past(average: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of completed pasts, with the true past's repeated for every condition."""
    clean = average[average["mechanism"] == ""].drop(columns=records.CONDITION)
    completed = average[average["mechanism"] != ""]
    repeated = completed[records.CONDITION].drop_duplicates().merge(clean, how="cross")
    return pd.concat([repeated.assign(model=TRUE_PAST), completed], ignore_index=True)


def _by_condition(table: pd.DataFrame) -> pd.DataFrame:
    return wide(table, named(table["model"], table["inference"]), conditions(table))
