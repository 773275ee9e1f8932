"""A run in one screen: what completes best by mechanism, and controls that look too good."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.analysis import tables
from bench.analysis.records import IMPUTER, UNFINISHED
from bench.protocol.schema import Protocol

REFERENCE = "mean"
"""The model that errors are stated relative to, where it takes part."""
COLUMNS = ["mechanism", "levels", *IMPUTER, "change", "wins", "control", "generative"]


def by_mechanism(imputation: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return how well each imputer does on each mechanism, over all of its levels.

    Args:
        imputation: ``tables.imputation``, marked or not.
        protocol: what ran.

    Returns:
        ``COLUMNS``, best first within a mechanism: ``levels`` how many there are; ``change`` of the
        MSE against mean imputation (or, where that took no part, against the best imputer of each
        level) in per cent, by the geometric mean over levels; ``wins`` at how many levels the
        imputer has the lowest MSE, ties counting for each. Imputers without a value at some level
        are left out.
    """
    errors = imputation[imputation["metric"] == "mse"]
    if "status" in errors:
        errors = errors[~errors["status"].isin(UNFINISHED)]
    if errors.empty:
        return pd.DataFrame(columns=COLUMNS)
    generative = set(tables.contenders(protocol))
    rows = []
    for mechanism, part in errors.groupby("mechanism", sort=False):
        wide = part.pivot_table(index="level", columns=IMPUTER, values="value", sort=False)
        wide = wide.dropna(axis="columns")
        lowest = wide.min(axis=1)
        reference = wide.get((REFERENCE, ""), lowest)
        # An MSE of exactly 0 is possible; the tiny floor keeps its logarithm finite.
        ratios = wide.clip(lower=1e-12).div(reference.clip(lower=1e-12), axis=0)
        change = 100 * (np.exp(np.log(ratios).mean()) - 1)
        wins = wide.eq(lowest, axis=0).sum()
        for model, inference in change.sort_values(kind="stable").index:
            rows.append(
                (
                    mechanism,
                    len(wide),
                    model,
                    inference,
                    change[model, inference],
                    wins[model, inference],
                    protocol.models[model].cls.control,
                    model in generative,
                )
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def winners(summary: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return, as text, the best imputers of each mechanism: one row per mechanism."""
    columns = {
        "best": ~summary["control"],
        "best generative model": summary["generative"],
        "best control": summary["control"],
    }
    text: dict[str, list[str]] = {"levels": []}
    mechanisms = list(dict.fromkeys(summary["mechanism"]))
    for mechanism in mechanisms:
        mine = summary["mechanism"] == mechanism
        text["levels"].append(_levels(protocol, mechanism))
        for column, chosen in columns.items():
            rows = summary[mine & chosen.astype(bool)]
            places = ("best", "second") if column == "best" else (column,)
            for number, place in enumerate(places):
                text.setdefault(place, []).append(_imputer(rows, number))
    return pd.DataFrame(text, index=mechanisms)


def suspicious(summary: pd.DataFrame) -> list[str]:
    """Return a line for each mechanism whose best control completes better than other imputers.

    A control must not look good: where one does, the protocol or those imputers are at fault. Mean
    imputation, which errors are stated against, does not count.
    """
    lines = []
    summary = summary[summary["model"] != REFERENCE]
    control = summary["control"].astype(bool)
    for mechanism in dict.fromkeys(summary["mechanism"]):
        mine = summary["mechanism"] == mechanism
        for row in summary[mine & control].head(1).itertuples():
            worse = summary[mine & ~control & (summary["change"] > row.change)]
            if len(worse):
                lines.append(
                    f"{mechanism}: control {_name(row.model, row.inference)} "
                    f"({row.change:+.3g} %) completes better than {_names(worse)}"
                )
    return lines


def _levels(protocol: Protocol, mechanism: str) -> str:
    levels = list(map(str, protocol.occlusion[mechanism].levels))
    return levels[0] if len(levels) == 1 else f"{levels[0]} to {levels[-1]}"


def _imputer(rows: pd.DataFrame, number: int) -> str:
    if number >= len(rows):
        return ""
    row = rows.iloc[number]
    return f"{_name(row['model'], row['inference'])} {row['change']:+.3g} %"


def _names(rows: pd.DataFrame) -> str:
    named: Sequence[str] = [
        _name(model, inference) for model, inference in rows[IMPUTER].itertuples(index=False)
    ]
    shown = ", ".join(named[:4])
    return f"{shown} and {len(named) - 4} more" if len(named) > 4 else shown


def _name(model: str, inference: str) -> str:
    return f"{model} {inference}".strip()
