"""Rows in a run's tables for cells that failed or were skipped, which must not go unnoticed."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.analysis import forecasting, ood, prediction, records, tables
from bench.analysis.records import UNFINISHED
from bench.protocol.schema import Protocol
from bench.sweep.forecasts import AVERAGE
from bench.sweep.jobs import DEGRADED
from models.base import Detector, GenerativeImputer

CLEAN = "clean windows"
"""The mechanism of rows for a detector without any value because its clean windows failed."""


def unfinished(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``records.records`` whose cells failed or were skipped."""
    return cells[cells["status"].isin(UNFINISHED)]


def with_values(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a marked table that have a value."""
    return table[~table["status"].isin(UNFINISHED)]


def imputation(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``tables.imputation`` with unfinished cells marked."""
    metrics = list(dict.fromkeys(["mse", *table["metric"]]))
    keys = [*records.IMPUTER, *records.CONDITION]
    return marked(table, _completion_cells(cells, protocol), keys, _each("metric", metrics))


def quality(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``tables.quality`` with unfinished cells marked."""
    generative = _labels_of(protocol, GenerativeImputer)
    chosen = (cells["mechanism"] == "") & cells["model"].isin(generative)
    clean, sample = (cells[chosen & (cells["split"] == split)] for split in ("test", "sample"))
    table = marked(table, clean.assign(metric="elbo_per_dimension"), ["model", "metric"])
    return marked(table, sample.assign(metric="bones_in_range"), ["model", "metric"])


def generation(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``generation.table`` with unfinished cells marked."""
    chosen = (cells["split"] == "sample") | (cells["model"] == protocol.judge)
    missing = cells[chosen & bool(protocol.judge)].assign(action="", metric="action_told")
    return marked(table, missing, ["model", "action", "metric"])


def detection(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``ood.detection`` with unfinished cells marked.

    Without scores of clean windows a model has no value under any condition, and the names of its
    scores are unknown. A model without any row gets one with ``CLEAN`` as the mechanism.
    """
    chosen = (
        cells["model"].isin(_labels_of(protocol, Detector))
        & (cells["split"] == "test")
        & (cells["predictor"] == "")
        & cells["inference"].isin(["", DEGRADED])
    )
    clean = cells["mechanism"] == ""
    scores, conditions = (
        table[names].drop_duplicates() for names in (["model", "score"], ood.CONDITION)
    )
    clean_cells = cells.loc[chosen & clean, ["model", "seed", "status"]]
    missing = [
        cells[chosen & ~clean].merge(scores, how="left", on="model").fillna({"score": ""}),
        clean_cells.merge(conditions, how="left", on="model").fillna(
            {"score": "", "mechanism": CLEAN, "level": ""}
        ),
    ]
    return marked(table, pd.concat(missing), ood.CONDITION, _each("metric", ood.METRICS))


def levels(table: pd.DataFrame, detected: pd.DataFrame) -> pd.DataFrame:
    """Return ``ood.detection_levels`` with the levels marked for which detection has no value.

    Args:
        table: as ``ood.detection_levels`` returns it.
        detected: as ``detection`` returns it.
    """
    unfinished = detected["status"].isin(UNFINISHED)
    missing = detected[unfinished & (detected["metric"] == ood.METRICS[0])]
    return marked(table, missing, ood.CONDITION[:-1], lacks="level")


def comparisons(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``tables.comparisons`` with unfinished cells of either imputer marked."""
    occluded = _completion_cells(cells, protocol)
    imputers = pd.MultiIndex.from_frame(occluded[records.IMPUTER])
    parts = [occluded.iloc[:0]]
    for label, comparison in protocol.comparisons.items():
        sides = [(comparison.model, comparison.inference), (comparison.against, "")]
        labels = {"comparison": label, **comparison.model_dump()}
        parts.append(occluded[imputers.isin(sides)].assign(**labels))
    keys = [*tables.COMPARISON, *records.CONDITION]
    return marked(table, pd.concat(parts).reindex(columns=[*keys, "seed", "status"]), keys)


def forecasts(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``forecasting.table`` with unfinished cells marked."""
    metrics = [AVERAGE, forecasting.CHANGE] if "mean" in protocol.models else [AVERAGE]
    missing = cells[cells["predictor"] != ""]
    return marked(table, missing, forecasting.KEYS, _each("metric", metrics))


def ranks(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``ranks.table`` with imputers marked that are left out or failed under a condition."""
    missing = _completion_cells(cells, protocol)
    condition = missing["mechanism"] + " " + missing["level"]
    return marked(table, missing.assign(condition=condition), records.IMPUTER, lacks="condition")


def predictions(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``prediction.table`` with unfinished cells marked."""
    missing = cells[(cells["predictor"] != "") & (cells["mechanism"] == "")]
    windows = table["windows"].unique() if len(table) else ["all"]
    row = {"action": prediction.AVERAGE, "comparable": True, "source": ""}
    variants = [
        row | {"windows": choice, "horizon_ms": ms}
        for choice in windows
        for ms in protocol.horizons
    ]
    return marked(table, missing, ["predictor"], variants)


def marked(
    table: pd.DataFrame,
    cells: pd.DataFrame,
    keys: list[str],
    variants: Sequence[dict[str, Any]] = ({},),
    lacks: str = "seed",
) -> pd.DataFrame:
    """Return a table with a column ``status``, and with rows for what has no value at all.

    Args:
        table: has the columns ``keys`` and those of ``variants``, even if it has no rows.
        cells: those that failed or were skipped, with the columns ``keys``, ``lacks``, status.
        keys: the columns that identify what a cell contributes to.
        variants: the remaining labels of each row that a finished cell would have had.
        lacks: the column of ``cells`` that names the part missing from a value.

    Returns:
        ``table`` with ``status``: ``done``; which parts are missing from the value; or, in rows
        without a value, ``failed`` or ``skipped``.
    """
    row_keys = list(table[keys].itertuples(index=False, name=None))
    present = set(row_keys)
    partial: dict[object, str] = {}
    rows = []
    for key, group in cells.groupby(keys, sort=False):
        status = "failed" if (group["status"] == "failed").any() else "skipped"
        if key in present:
            parts = ", ".join(map(str, group[lacks].unique()))
            partial[key] = f"without {lacks} {parts} ({status})"
        else:
            labels = dict(zip(keys, key, strict=True)) | dict.fromkeys(records.COUNTS, 0)
            rows += [labels | variant | {"status": status} for variant in variants]
    before = table["status"] if "status" in table else ["done"] * len(table)
    now = [partial.get(key, status) for key, status in zip(row_keys, before, strict=True)]
    table = table.assign(status=now)
    if not rows:
        return table
    # Not pd.concat, which infers types again where one side is empty.
    return pd.DataFrame([*table.to_dict("records"), *rows], columns=table.columns)


def _each(name: str, values: Sequence[str]) -> list[dict[str, Any]]:
    return [{name: value} for value in values]


def _completion_cells(cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return the cells that complete occluded windows."""
    return cells[
        cells["mechanism"].isin(list(protocol.occlusion))
        & (cells["predictor"] == "")
        & (cells["inference"] != DEGRADED)
    ]


def _labels_of(protocol: Protocol, cls: type) -> list[str]:
    """Return the labels of the protocol's models of a class."""
    return [label for label, entry in protocol.models.items() if issubclass(entry.cls, cls)]
