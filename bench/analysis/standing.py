"""Where the imputers of a run stand: their skill, in all and by mechanism."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from bench.analysis.comparable import DEGRADED
from bench.analysis.leaderboard import leaderboard
from bench.analysis.records import IMPUTER, plain
from bench.core.errors import InputError

if TYPE_CHECKING:  # it loads torch, which figures of records do without
    from bench.protocol.schema import Protocol

REFERENCES = ("linear", "mean")
"""What skill is stated against, the first that takes part."""


@dataclass(frozen=True)
class Standing:
    """The skill of a run's imputers, with 95 % intervals.

    Attributes:
        reference: the imputer that skill is stated against.
        overall: ``leaderboard`` over all conditions, intervals over conditions.
        by_mechanism: ``leaderboard`` of each mechanism, intervals over recordings where the
            per-window values are there, else over its levels.
        records: what they were computed from.
    """

    reference: str
    overall: pd.DataFrame
    by_mechanism: pd.DataFrame
    records: pd.DataFrame


def standing(
    records: pd.DataFrame, protocol: Protocol, windows: pd.DataFrame | None = None
) -> Standing | None:
    """Return the standing of a run's imputers; None if they cannot be compared.

    Args:
        records: of the run (``loading.load``).
        protocol: what ran.
        windows: its per-window values, if there are any.
    """
    chosen = records[records["mechanism"].isin(list(protocol.occlusion))]
    chosen = chosen[chosen["inference"] != DEGRADED]
    there = set(chosen.loc[chosen["metric"] == "mse", "model"])
    for reference in (*REFERENCES, *sorted(there)):
        if reference not in there:
            continue
        try:
            overall = leaderboard(chosen, reference)
            parts = leaderboard(chosen, reference, by="mechanism", windows=_errors(windows))
        except InputError:
            continue
        control = {label: entry.cls.control for label, entry in protocol.models.items()}
        order = {label: number for number, label in enumerate(protocol.occlusion)}
        parts = parts.sort_values("mechanism", key=lambda names: names.map(order), kind="stable")
        overall, parts = (
            table[table["conditions"] > 0]
            .assign(control=table["model"].map(control))
            .reset_index(drop=True)
            for table in (overall, parts)
        )
        return Standing(reference, overall, parts, chosen)
    return None


def _errors(windows: pd.DataFrame | None) -> pd.DataFrame | None:
    """Return the rows of per-window values that skill is computed from; None if there are none."""
    if windows is None or windows.empty:
        return None
    return plain(windows[(windows["metric"] == "mse") & (windows["predictor"] == "")])


def milliseconds(records: pd.DataFrame) -> pd.Series[float]:
    """Return the median time of each imputer per window, ms; empty if no time is known."""
    if "seconds" not in records:
        return pd.Series(dtype=float, name="ms")
    timed = records[(records["predictor"] == "") & records["seconds"].notna() & (records["n"] > 0)]
    timed = timed.assign(ms=1000 * timed["seconds"] / timed["n"])
    return timed.groupby(IMPUTER)["ms"].median()
