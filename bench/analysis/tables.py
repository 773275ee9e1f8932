"""Tables of a run: tidy data for CSV, text sections for Markdown and LaTeX."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis import latex, records
from bench.analysis.records import UNFINISHED
from bench.core.files import atomic_file
from bench.metrics import FAST
from bench.metrics.probabilistic import BINS, COVERAGES, WIDTH
from bench.protocol.schema import Protocol
from models.base import GenerativeImputer, Imputer

COMPARISON = ["comparison", "model", "inference", "against"]
"""Columns that identify a comparison of a protocol."""
PRINTED = (
    *("mse", "mse_slow", "mse_fast", "mpjpe", "bone_error", "acceleration_error", "crps"),
    "coverage90",
)
"""Metrics of completed motion that are printed; the others are in the CSV file alone."""
ERRORS = (
    *PRINTED,
    *("mae", "border_jump", "npss", "l2p", "coverage50", "coverage80", "coverage95", "sharpness"),
    *("energy_score", "best_of_10", "sample_distance"),
    *(f"pit_{number}" for number in range(BINS)),
)
"""Metrics of completed motion: errors, and scores of its distribution."""
LED = ("mse", "mse_slow", "mse_fast", "mpjpe", "bone_error", "acceleration_error", "crps")
"""Printed metrics of which less is better: tables mark the best and the second."""
CAPTIONS = {
    "mse": "Mean squared error over hidden features, mm²",
    "mse_slow": f"MSE over hidden features of joints slower than {FAST:.0f} mm/s, mm²",
    "mse_fast": f"MSE over hidden features of joints of {FAST:.0f} mm/s or more, mm²",
    "mpjpe": "Mean per joint position error over joints with a hidden coordinate, mm",
    "bone_error": "Mean error of bone length over bones with a hidden coordinate, mm",
    "acceleration_error": "Mean error of accelerations that involve a hidden coordinate, m/s²",
    "mae": "Mean absolute error of single coordinates over hidden features, mm",
    "border_jump": "Mean error of a joint's step across the borders of its gaps, mm",
    "npss": "Normalised power spectrum similarity of windows without whole frames (0: equal)",
    "l2p": "Mean L2 norm of the position errors of all joints of a hidden frame, mm",
    "crps": "Mean CRPS of hidden features, mm (of a point: its mean absolute error)",
    **{
        f"coverage{level}": f"Share of hidden features in the central {level} % interval, per cent"
        for level in COVERAGES
    },
    "sharpness": f"Mean width of the central {WIDTH} % interval of hidden features, mm",
    "energy_score": "Mean energy score of joint positions with a hidden coordinate, mm",
    "best_of_10": "Least MPJPE of ten samples, mm",
    "sample_distance": "Mean distance of a joint with a hidden coordinate in two samples, mm",
    **{
        f"pit_{number}": f"Share of hidden features whose PIT is in bin {number + 1} of {BINS}"
        for number in range(BINS)
    },
    "auroc": "AUROC of degraded against clean windows (0.5: chance)",
    "aupr": "Area under the precision-recall curve, degraded windows positive",
    "fpr95": "Share of degraded windows accepted where 95 per cent of clean ones are (FPR@95)",
    "shift_sd": "Shift of the mean score from that of clean windows, in their standard deviations",
}
REASONS = "jobs.csv"
"""The file of a run with the status of each of its jobs."""
QUALITY = {
    "parameters": "parameters",
    "fit_seconds": "fit, s",
    "elbo_per_dimension": "ELBO, nats per dimension",
    "reconstruction_rmse": "reconstruction RMSE, mm",
    "action_accuracy": "actions recognised from z0, %",
    "bones_in_range": "sampled frames with all bones in the test range, %",
    "bone_excess": "excess of sampled bone length over the test range, mm",
}
"""Metrics of the table of models, in order, each with its heading."""


@dataclass(frozen=True)
class Section:
    """One part of a table for readers: a caption, and text in rows and columns.

    Attributes:
        name: identifies it, also in LaTeX labels.
        caption: plain text.
        text: strings only.
        marks: which values are best and second (``latex.marks_of``); None marks none.
    """

    name: str
    caption: str
    text: pd.DataFrame
    marks: pd.DataFrame | None = None


def caption(metric: str) -> str:
    """Return the caption of a metric: its name in words, and its unit."""
    if metric.startswith("change_vs_"):
        reference = {"mean": "mean imputation", "linear": "linear interpolation"}
        name = metric.removeprefix("change_vs_")
        return f"Change of MSE against {reference.get(name, name)}, per cent (negative is better)"
    return CAPTIONS[metric]


def baselines(protocol: Protocol) -> list[str]:
    """Return the labels of imputers without a density that are no controls."""
    return [
        label
        for label, entry in protocol.models.items()
        if issubclass(cls := entry.cls, Imputer)
        and not issubclass(cls, GenerativeImputer)
        and not cls.control
        # A mean that is wrong on purpose is no baseline.
        and entry.settings == cls.Settings()
    ]


def contenders(protocol: Protocol) -> list[str]:
    """Return the labels of generative imputers that are no controls."""
    return [
        label
        for label, entry in protocol.models.items()
        if issubclass(cls := entry.cls, GenerativeImputer) and not cls.control
    ]


def imputation(values: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return the imputation table from per-window values.

    One row per imputer, mechanism, level and metric, over all seeds. Rows of ``mse`` of generative
    models also have ``best_baseline`` and the paired test's ``p`` and ``p_holm``
    (``records.paired_tests``). The best of a condition also has ``p_lead`` (``records.leads``).
    """
    metrics = (*ERRORS, *(f"change_vs_{name}" for name in protocol.references))
    keys = [*records.IMPUTER, *records.CONDITION]
    errors = values[values["metric"].isin(ERRORS)]
    table = records.summarise(errors, keys, protocol.references)
    table = table[table["metric"].isin(metrics)].reset_index(drop=True)
    tests = records.paired_tests(values, contenders(protocol), baselines(protocol))
    table = table.merge(tests.assign(metric="mse"), how="left", on=[*keys, "metric"])
    leads = [records.leads(values, metric).assign(metric=metric) for metric in LED]
    return table.merge(pd.concat(leads), how="left", on=[*keys, "metric"])


def quality(
    values: pd.DataFrame, protocol: Protocol, fits: Iterable[dict[str, Any]]
) -> pd.DataFrame:
    """Return how well each generative model fits clean test windows, and how good its samples are.

    Args:
        values: per-window values (``records.windows``).
        protocol: what ran.
        fits: summary of every finished fit.

    Returns:
        model, metric (a key of ``QUALITY``), value, low, high, n, recordings, seeds.
    """
    chosen = values[
        values["metric"].isin(
            ("elbo", "reconstruction_mse", "action_correct", "bones_in_range", "bone_excess")
        )
        & (values["mechanism"] == "")
    ]
    table = records.summarise(chosen, ["model"]).drop(columns="share")
    numbers, metric = ["value", "low", "high"], table["metric"]
    table.loc[metric == "elbo", numbers] /= protocol.spec.features
    table.loc[metric == "reconstruction_mse", numbers] **= 0.5
    table.loc[metric.isin(("action_correct", "bones_in_range")), numbers] *= 100
    table["metric"] = metric.replace(
        {
            "elbo": "elbo_per_dimension",
            "reconstruction_mse": "reconstruction_rmse",
            "action_correct": "action_accuracy",
        }
    )
    facts = pd.DataFrame(list(fits), columns=["model", "parameters", "seconds"])
    facts = facts[facts["model"].isin(table["model"])].rename(columns={"seconds": "fit_seconds"})
    means = facts.groupby("model", sort=False).mean().reset_index()
    return pd.concat([means.melt("model", var_name="metric"), table], ignore_index=True)


def comparisons(values: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return the protocol's comparisons: one row per comparison, mechanism and level.

    Returns:
        The columns of ``records.compare`` and ``COMPARISON``.
    """
    tables = [
        records.compare(values, comparison).assign(comparison=label, **comparison.model_dump())
        for label, comparison in protocol.comparisons.items()
    ]
    empty = pd.DataFrame(columns=[*records.CONDITION, *records.SUMMARY, *COMPARISON])
    return pd.concat(tables, ignore_index=True) if tables else empty


def readable(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return one metric as text: a row per imputer or score, a column per mechanism and level."""
    chosen = table[table["metric"] == metric]
    detail = chosen["inference"] if "inference" in chosen else chosen["score"]
    rows = named(chosen["model"], detail)
    return wide(chosen, rows, conditions(chosen))


def imputation_sections(table: pd.DataFrame) -> list[Section]:
    """Return a section per metric that is printed, and one of the paired tests."""
    sections = []
    for metric in table["metric"].unique():
        if metric in PRINTED or metric not in ERRORS:
            text = readable(table, metric)
            chosen = table[table["metric"] == metric]
            rows = named(chosen["model"], chosen["inference"])
            led = metric in LED
            marks = latex.marks_of(chosen, rows, conditions(chosen), text) if led else None
            sections.append(Section(metric, caption(metric), text, marks))
    tested = table[table["p_holm"].notna()]
    if not tested.empty:
        rows = named(tested["model"], tested["inference"])
        p_values = [
            f"{p:.2g} vs {best}"
            for p, best in zip(tested["p_holm"], tested["best_baseline"], strict=True)
        ]
        text = pivot(rows, conditions(tested), p_values)
        counted = unit_of(tested)
        units = tested[counted].max()
        least = 2.0 ** (1 - units)
        note = (
            "Paired test of MSE against the best baseline, p after Holm's correction for "
            f"{len(tested)} tests; with {units:.0f} {counted} the least possible p is "
            f"{least:.2g} before correction"
        )
        sections.append(Section("p_holm", note, text))
    return sections


def quality_sections(table: pd.DataFrame) -> list[Section]:
    """Return one section: a row per model."""
    text = wide(table, table["model"], table["metric"])
    columns = [name for name in QUALITY if name in text.columns]
    text = text[columns].rename(columns=QUALITY)
    return [Section("models", "Models on clean test windows, and windows drawn from them", text)]


def ood_sections(table: pd.DataFrame) -> list[Section]:
    """Return a section per metric, without the scores of single layers of latents."""
    whole = table[~table["score"].str.match(r"nlp_z\d")]
    return [
        Section(metric, caption(metric), readable(whole, metric))
        for metric in table["metric"].unique()
    ]


def level_sections(levels: pd.DataFrame) -> list[Section]:
    """Return one section: the detection level of each score."""
    text = levels.set_index(["model", "score", "mechanism"])[["level", "direction", "auroc"]]
    shown = text.assign(
        level=stated(text["level"].replace("", "none"), levels["status"]),
        direction=text["direction"].astype(object).fillna(""),
        auroc=text["auroc"].map(number),
    )
    note = (
        "Detection level: the smallest level tried whose mean score is more than one standard "
        "deviation from that of clean windows"
    )
    return [Section("detection_level", note, shown.reset_index().set_index("model"))]


def comparison_sections(table: pd.DataFrame) -> list[Section]:
    """Return one section: a row per comparison."""
    text = wide(table, table["comparison"], conditions(table))
    note = "Change of MSE of one imputer against another, per cent (negative is better)"
    return [Section("comparisons", note, text)]


def write(
    table: pd.DataFrame, sections: Sequence[Section], folder: Path, name: str, note: str, label: str
) -> None:
    """Write a table as ``name.csv``, and its sections as ``name.md`` and ``name.tex``.

    Args:
        table: tidy; a column ``dataset`` is added.
        sections: the table as text.
        folder: where to write.
        name: of the files, without a suffix.
        note: printed after every caption: the data, how many windows and seeds.
        label: the data set.
    """
    with atomic_file(folder / f"{name}.csv") as draft:
        table.assign(dataset=label).to_csv(draft, index=False, lineterminator="\n")
    markdown, tex = [f"# {name.replace('_', ' ').capitalize()}\n\n{note}\n"], []
    for section in sections:
        shown = section.text.rename(index=_bar, columns=_bar).map(_bar)
        rows = shown.to_markdown(disable_numparse=True)
        markdown.append(f"## {_untagged(section.caption)}\n\n{rows}\n")
        caption = f"{section.caption}. {note}"
        tex.append(latex.table(section.text, caption, section.name, section.marks))
    with atomic_file(folder / f"{name}.md") as draft:
        draft.write_text("\n".join(markdown), encoding="utf-8")
    with atomic_file(folder / f"{name}.tex") as draft:
        draft.write_text("\n".join([latex.HEAD, *tex]), encoding="utf-8")


def note(table: pd.DataFrame, label: str) -> str:
    """Return the note of a table: its data, what intervals are over, where failures are listed."""
    spread = ""
    if "low" in table:
        over = f"{unit_of(table)} and seeds" if table["seeds"].max() > 1 else unit_of(table)
        spread = f"; in brackets the 95 % interval over {over}"
    whole = table.empty or (table["status"] == "done").all()
    why = "" if whole else f"; {REASONS} says why cells failed or were skipped"
    return f"Data: {basis(table, label)}{spread}{why}."


def basis(table: pd.DataFrame, label: str) -> str:
    """Return the data set and how many windows, recordings and seeds a table is based on."""
    if table.empty or ("n" in table and not table["n"].any()):
        return f"{label}; no cell was finished"
    counted = unit_of(table)
    windows, units, seeds = (
        _count(table, column, what)
        for column, what in {"n": "window", counted: counted[:-1], "seeds": "seed"}.items()
    )
    # Tables of older versions do not have all of them.
    windows = " of ".join(filter(None, (windows, units)))
    return f"{label}; {', '.join(filter(None, (windows, seeds)))}"


def unit_of(table: pd.DataFrame) -> str:
    """Return the name of what a table's intervals resample: recordings, or subjects."""
    return records.SUBJECTS if records.SUBJECTS in table else records.RECORDINGS


def _count(table: pd.DataFrame, column: str, what: str) -> str:
    """Return the largest count in a column with its noun; empty if there is no such column."""
    if column not in table:
        return ""
    count = int(table[column].max())
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def named(models: Iterable[str], details: Iterable[str]) -> list[str]:
    """Return a name for each row: the model, and in brackets its inference or score if any."""
    return [
        f"{model} ({detail})" if detail else model
        for model, detail in zip(models, details, strict=True)
    ]


def number(value: float) -> str:
    """Format with three significant digits, or as a whole number from 100 on; nan is empty."""
    if np.isnan(value):
        return ""
    if abs(value) >= 1e6:
        return f"{value:.2e}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def interval(value: float, low: float, high: float) -> str:
    """Format a value with its interval in brackets, if it has one."""
    if np.isnan(low):
        return number(value)
    return f"{number(value)} [{number(low)}, {number(high)}]"


def conditions(table: pd.DataFrame) -> "pd.Series[str]":
    """Return mechanism and level of each row as a column heading."""
    return (table["mechanism"] + " " + table["level"]).str.strip()


def wide(table: pd.DataFrame, rows: Iterable[str], columns: Iterable[str]) -> pd.DataFrame:
    """Return values with their intervals as text, rows and columns in order of appearance.

    Cells that failed or were skipped are marked (``stated``).
    """
    numbers = table[["value", "low", "high"]].astype(float)
    text = [interval(*row) for row in numbers.itertuples(index=False)]
    return pivot(rows, columns, stated(text, table["status"]))


def stated(text: Iterable[str], status: Iterable[str]) -> list[str]:
    """Return text with a status other than done after it, or in its place if there is no value."""
    return [
        value if state == "done" else state if state in UNFINISHED else f"{value} {state}"
        for value, state in zip(text, status, strict=True)
    ]


def pivot(rows: Iterable[str], columns: Iterable[str], text: Sequence[str]) -> pd.DataFrame:
    """Return text in rows and columns, both in order of appearance."""
    long = pd.DataFrame({"row": list(rows), "column": list(columns), "text": text})
    wide = long.pivot(index="row", columns="column", values="text")
    wide = wide.loc[long["row"].unique(), long["column"].unique()].fillna("")
    wide.columns.name = wide.index.name = None
    return wide


def _bar(text: Any) -> Any:
    """Escape bars, which would end a cell of a Markdown table, and HTML tags."""
    return _untagged(text.replace("|", r"\|")) if isinstance(text, str) else text


def _untagged(text: str) -> str:
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)
