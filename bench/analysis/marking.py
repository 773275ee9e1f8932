"""What failed or was skipped, as rows of a run's tables: a table must not keep silent about it."""

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


def unfinished(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``records.records`` that are of cells that failed or were skipped."""
    return cells[cells["status"].isin(UNFINISHED)]


def told(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a marked table that have a value."""
    return table[~table["status"].isin(UNFINISHED)]


def imputation(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``tables.imputation`` with unfinished cells marked."""
    metrics = list(dict.fromkeys(["mse", *table["metric"]]))
    keys = [*records.IMPUTER, *records.CONDITION]
    return marked(table, _completed(cells, protocol), keys, _each("metric", metrics))


def quality(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``tables.quality`` with unfinished cells marked."""
    mine = (cells["mechanism"] == "") & cells["model"].isin(_those(protocol, GenerativeImputer))
    clean, sample = (cells[mine & (cells["split"] == split)] for split in ("test", "sample"))
    table = marked(table, clean.assign(metric="elbo_per_dimension"), ["model", "metric"])
    return marked(table, sample.assign(metric="bones_in_range"), ["model", "metric"])


def generation(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``generation.table`` with unfinished cells marked."""
    mine = (cells["split"] == "sample") | (cells["model"] == protocol.judge)
    missing = cells[mine & bool(protocol.judge)].assign(action="", metric="action_told")
    return marked(table, missing, ["model", "action", "metric"])


def detection(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``ood.detection`` with unfinished cells marked.

    Without its clean windows a model has no value under any condition, nor a score's name; where it
    has none at all, ``CLEAN`` stands for them.
    """
    mine = (
        cells["model"].isin(_those(protocol, Detector))
        & (cells["split"] == "test")
        & (cells["predictor"] == "")
        & cells["inference"].isin(["", DEGRADED])
    )
    clean = cells["mechanism"] == ""
    scores, conditions = (
        table[names].drop_duplicates() for names in (["model", "score"], ood.CONDITION)
    )
    of_clean = cells.loc[mine & clean, ["model", "seed", "status"]]
    missing = [
        cells[mine & ~clean].merge(scores, how="left", on="model").fillna({"score": ""}),
        of_clean.merge(conditions, how="left", on="model").fillna(
            {"score": "", "mechanism": CLEAN, "level": ""}
        ),
    ]
    return marked(table, pd.concat(missing), ood.CONDITION, _each("metric", ood.METRICS))


def levels(table: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Return ``ood.detection_levels`` with the levels marked that ``detection`` has no value of."""
    missing = found[found["status"].isin(UNFINISHED) & (found["metric"] == ood.METRICS[0])]
    return marked(table, missing, ood.CONDITION[:-1], lacks="level")


def comparisons(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``tables.comparisons`` with unfinished cells, of either side, marked."""
    occluded = _completed(cells, protocol)
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
    foretold = cells[cells["predictor"] != ""]
    return marked(table, foretold, forecasting.KEYS, _each("metric", metrics))


def ranks(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``ranks.table`` with imputers marked that are not in it, or failed somewhere."""
    missing = _completed(cells, protocol)
    condition = missing["mechanism"] + " " + missing["level"]
    return marked(table, missing.assign(condition=condition), records.IMPUTER, lacks="condition")


def predictions(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``prediction.table`` with unfinished cells marked."""
    foretold = cells[(cells["predictor"] != "") & (cells["mechanism"] == "")]
    windows = table["windows"].unique() if len(table) else ["all"]
    row = {"action": prediction.AVERAGE, "comparable": True, "source": ""}
    of_each = [
        row | {"windows": choice, "horizon_ms": ms}
        for choice in windows
        for ms in protocol.horizons
    ]
    return marked(table, foretold, ["predictor"], of_each)


def marked(
    table: pd.DataFrame,
    cells: pd.DataFrame,
    keys: list[str],
    of_each: Sequence[dict[str, Any]] = ({},),
    lacks: str = "seed",
) -> pd.DataFrame:
    """Return a table with a column ``status``, and with rows for what has no value at all.

    Args:
        table: one row per ``keys`` and those of ``of_each``; its columns also where it is empty.
        cells: those that failed or were skipped, with the columns ``keys``, ``lacks``, status.
        keys: the columns that tell one row from another.
        of_each: other labels of each row that such a cell would have had.
        lacks: the column of ``cells`` that says of what a value is without.

    Returns:
        ``table`` with ``status``: ``done``; what is not in the value; or, of rows without one,
        ``failed`` or ``skipped``.
    """
    known = list(table[keys].itertuples(index=False, name=None))
    there = set(known)
    partly: dict[object, str] = {}
    rows = []
    for key, group in cells.groupby(keys, sort=False):
        status = "failed" if (group["status"] == "failed").any() else "skipped"
        if key in there:
            parts = ", ".join(map(str, group[lacks].unique()))
            partly[key] = f"without {lacks} {parts} ({status})"
        else:
            labels = dict(zip(keys, key, strict=True)) | dict.fromkeys(ood.COUNTS, 0)
            rows += [labels | more | {"status": status} for more in of_each]
    before = table["status"] if "status" in table else ["done"] * len(table)
    now = [partly.get(key, status) for key, status in zip(known, before, strict=True)]
    table = table.assign(status=now)
    if not rows:
        return table
    # Not pd.concat: that guesses types anew where one side is empty.
    return pd.DataFrame([*table.to_dict("records"), *rows], columns=table.columns)


def _each(name: str, values: Sequence[str]) -> list[dict[str, Any]]:
    return [{name: value} for value in values]


def _completed(cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return the cells that complete occluded windows."""
    return cells[
        cells["mechanism"].isin(list(protocol.occlusion))
        & (cells["predictor"] == "")
        & (cells["inference"] != DEGRADED)
    ]


def _those(protocol: Protocol, cls: type) -> list[str]:
    return [label for label, entry in protocol.models.items() if issubclass(entry.cls, cls)]
