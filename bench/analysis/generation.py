"""The generation table: whether drawn windows show the requested action, are realistic and diverse.

The metrics are those of ``bench.metrics.judging``. One row of the table has those of the data set's
own test windows, which no model needs to surpass.
"""

import pandas as pd

from bench.analysis import records, tables
from bench.protocol.schema import Protocol

METRICS = {
    "action_told": "recognised as the requested action, %",
    "frechet": "Fréchet distance to test windows",
    "diversity": "diversity",
    "multimodality": "multimodality",
    "bones_in_range": "frames with all bones in the test range, %",
    "bone_excess": "excess of bone length over the test range, mm",
    "foot_skate": "foot skate, mm/s",
}
PER_CENT = ("action_told", "bones_in_range")


def table(values: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return the metrics of each generative model's drawn windows, and of test windows.

    Args:
        values: per-window values (``records.windows``).
        protocol: what ran.

    Returns:
        model (the classifier's label for test windows), action (empty for all actions together),
        metric (a key of ``METRICS``), value, low, high, n, recordings, seeds. Empty if the protocol
        has no action classifier.
    """
    judge = protocol.judge
    drawn = (values["split"] == "sample") | (values["model"] == judge)
    chosen = values[drawn & values["metric"].isin(list(METRICS))]
    if not judge or chosen.empty:
        return pd.DataFrame(columns=["model", "action", "metric", *records.SUMMARY])
    whole = records.summarise(chosen, ["model"]).assign(action="")
    named = chosen[(chosen["metric"] == "action_told") & (chosen["action"] != "")]
    by_action = records.summarise(named, ["model", "action"])
    found = pd.concat([whole, by_action], ignore_index=True).drop(columns="share")
    found.loc[found["metric"].isin(PER_CENT), ["value", "low", "high"]] *= 100
    return found


def sections(found: pd.DataFrame, judge: str) -> list[tables.Section]:
    """Return a section of all metrics, and one of the share recognised by action.

    Args:
        found: as ``table`` returns it, marked (``marking.generation``).
        judge: the label of the classifier.
    """
    rows = found["model"].replace({judge: "test windows"})
    whole = found["action"] == ""
    text = tables.wide(found[whole], rows[whole], found.loc[whole, "metric"])
    text = text[[name for name in METRICS if name in text.columns]].rename(columns=METRICS)
    note = (
        "Drawn windows, judged by a classifier fitted on train windows; the Fréchet distance in "
        "the row of test windows is between train and test windows; models that are not "
        "conditioned on the action show what ignoring it gives; numbers without an interval "
        "describe a whole set"
    )
    parts = [tables.Section("generation", note, text)]
    if not whole.all():
        by_action = found[~whole]
        text = tables.wide(by_action, rows[~whole], by_action["action"])
        note = "Windows recognised as their action, by action, %"
        parts.append(tables.Section("recognised", note, text))
    return parts
