"""What failed or was skipped, as rows of a run's tables: a table must not keep silent about it."""

from collections.abc import Sequence

import pandas as pd

from bench import forecasting, ood, records
from bench.cells import AVERAGE
from bench.plan import DEGRADED
from bench.protocol import Protocol
from models.base import Detector, GenerativeImputer

CLEAN = "clean windows"


def unfinished(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``records.records`` that are of cells that failed or were skipped."""
    return cells[cells["status"] != "done"]


def imputation(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``tables.imputation`` with unfinished cells marked."""
    metrics = list(dict.fromkeys(["mse", *table["metric"]]))
    return marked(
        table, _completed(cells, protocol), [*records.IMPUTER, *records.CONDITION], metrics
    )


def quality(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``tables.quality`` with unfinished cells marked."""
    mine = (cells["mechanism"] == "") & cells["model"].isin(_those(protocol, GenerativeImputer))
    clean, sample = (cells[mine & (cells["split"] == split)] for split in ("test", "sample"))
    table = marked(table, clean.assign(metric="elbo_per_dimension"), ["model", "metric"])
    return marked(table, sample.assign(metric="bones_in_range"), ["model", "metric"])


def generation(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``generation.table`` with unfinished cells marked."""
    if not protocol.judge:
        return table
    mine = (cells["split"] == "sample") | (cells["model"] == protocol.judge)
    missing = cells[mine].assign(action="", metric="action_told")
    return marked(table, missing, ["model", "action", "metric"])


def detection(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``ood.detection`` with unfinished cells marked.

    Clean windows, which are in every value of a model, have a column of their own where they
    failed. Of a model without any value there is no score's name.
    """
    mine = (
        cells["model"].isin(_those(protocol, Detector))
        & (cells["split"] == "test")
        & (cells["predictor"] == "")
        & cells["inference"].isin(["", DEGRADED])
    )
    scores = table[["model", "score"]].drop_duplicates()
    missing = cells[mine].merge(scores, how="left", on="model").fillna({"score": ""})
    missing["mechanism"] = missing["mechanism"].replace("", CLEAN)
    missing["level"] = missing["level"].mask(missing["mechanism"] == CLEAN, "")
    return marked(table, missing, ood.CONDITION, ood.METRICS)


def comparisons(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``tables.comparisons`` with unfinished cells, of either side, marked."""
    occluded, parts = _completed(cells, protocol), []
    imputers = pd.MultiIndex.from_frame(occluded[records.IMPUTER])
    for label, comparison in protocol.comparisons.items():
        sides = [(comparison.model, comparison.inference), (comparison.against, "")]
        told = {"comparison": label, **comparison.model_dump()}
        parts.append(occluded[imputers.isin(sides)].assign(**told))
    if not parts:
        return table
    keys = ["comparison", "model", "inference", "against", *records.CONDITION]
    return marked(table, pd.concat(parts), keys)


def forecasts(table: pd.DataFrame, cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return ``forecasting.table`` with unfinished cells marked."""
    metrics = [AVERAGE, forecasting.CHANGE] if "mean" in protocol.models else [AVERAGE]
    return marked(table, cells[cells["predictor"] != ""], forecasting.KEYS, metrics)


def marked(
    table: pd.DataFrame, cells: pd.DataFrame, keys: list[str], metrics: Sequence[str] = ()
) -> pd.DataFrame:
    """Return a table with a column ``status``, and with rows for what has no value at all.

    Args:
        table: one row per ``keys``, and per metric, if that is not among them.
        cells: those that failed or were skipped, with the columns ``keys``, seed and status.
        keys: the columns that tell one row from another.
        metrics: those of which such a cell would have had values, if not among ``keys``.

    Returns:
        ``table`` with ``status``: ``done``; which seeds are not in the value; or, of rows without
        one, ``failed`` or ``skipped``.
    """
    if cells.empty:
        return table if table.empty else table.assign(status=table.get("status", "done"))
    known = [] if table.empty else list(table[keys].itertuples(index=False, name=None))
    told: dict[object, str] = {}
    rows = []
    for key, group in cells.groupby(keys, sort=False):
        status = "failed" if (group["status"] == "failed").any() else "skipped"
        if key in set(known):
            seeds = ", ".join(map(str, sorted(group["seed"].unique())))
            told[key] = f"without seed {seeds} ({status})"
        else:
            labels = dict(zip(keys, key, strict=True)) | dict.fromkeys(ood.COUNTS, 0)
            of_each = [{"metric": metric} for metric in metrics] or [{}]
            rows += [labels | metric | {"status": status} for metric in of_each]
    before = table["status"] if "status" in table else ["done"] * len(table)
    now = [told.get(key, status) for key, status in zip(known, before, strict=True)]
    parts = [table.assign(status=now), pd.DataFrame(rows)]
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def _completed(cells: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return the cells that complete occluded windows."""
    return cells[
        cells["mechanism"].isin(list(protocol.occlusion))
        & (cells["predictor"] == "")
        & (cells["inference"] != DEGRADED)
    ]


def _those(protocol: Protocol, cls: type) -> list[str]:
    return [label for label, entry in protocol.models.items() if issubclass(entry.cls, cls)]
