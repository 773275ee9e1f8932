"""How good drawn windows are: whether they are what was asked for, real, various and possible.

They are judged as ``judging`` says. A row of the table says how the data set's own test windows
fare: no model need do better.
"""

import pandas as pd

from bench.analysis import records, tables
from bench.protocol.schema import Protocol

METRICS = {
    "action_told": "told as the action asked for, %",
    "frechet": "Fréchet distance to test windows",
    "diversity": "diversity",
    "multimodality": "multimodality",
    "bones_in_range": "frames with all bones in the test range, %",
    "bone_excess": "bones out of the test range by, mm",
    "foot_skate": "foot skate, mm/s",
}
PER_CENT = ("action_told", "bones_in_range")


def table(values: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return, for each generative model and for test windows, how good they are.

    Returns:
        model, action (empty for all of them), metric (a key of ``METRICS``), value, low, high, n,
        recordings, seeds. Empty without a classifier to judge.
    """
    judge = protocol.judge
    mine = (values["split"] == "sample") | (values["model"] == judge)
    chosen = values[mine & values["metric"].isin(list(METRICS))]
    if not judge or chosen.empty:
        return pd.DataFrame(columns=["model", "action", "metric", *records.SUMMARY])
    whole = records.summarise(chosen, ["model"]).assign(action="")
    named = chosen[(chosen["metric"] == "action_told") & (chosen["action"] != "")]
    by_action = records.summarise(named, ["model", "action"])
    found = pd.concat([whole, by_action], ignore_index=True).drop(columns="share")
    found.loc[found["metric"].isin(PER_CENT), ["value", "low", "high"]] *= 100
    return found


def sections(found: pd.DataFrame, judge: str) -> list[tables.Section]:
    """Return a section of all metrics, and one of how actions are told."""
    rows = found["model"].replace({judge: "test windows"})
    whole = found["action"] == ""
    text = tables.wide(found[whole], rows[whole], found.loc[whole, "metric"])
    text = text[[name for name in METRICS if name in text.columns]].rename(columns=METRICS)
    note = (
        "Drawn windows, judged by a classifier fitted on train windows; the Fréchet distance in "
        "the row of test windows is that of train windows to them; a model that cannot be told the "
        "action shows what ignoring it gives; without intervals, a number is of a whole set"
    )
    parts = [tables.Section("generation", note, text)]
    if not whole.all():
        told = found[~whole]
        text = tables.wide(told, rows[~whole], told["action"])
        parts.append(tables.Section("told", "Windows told as the action they are of, %", text))
    return parts
