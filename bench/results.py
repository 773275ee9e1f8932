"""All that a run found: its per-window values, and the tables made of them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench import forecasting, generation, ood, plain, prediction, records, tables
from bench.errors import InputError
from bench.protocol import Protocol, resolve

VALUES = "windows.parquet"
PROTOCOL = "protocol.yaml"
PROVENANCE = "provenance.json"
RECORDS = "records.parquet"
NEEDED = set(records.WINDOW_COLUMNS) - {"action"}
"""Columns that per-window values have in runs of every version."""


@dataclass(frozen=True)
class Results:
    """What a run found.

    Attributes:
        protocol: what ran.
        label: the data set, as tables and figures call it, with what must be said beside it.
        values: per-window values (``records.windows``).
        imputation: ``tables.imputation``.
        quality: ``tables.quality``.
        detection: ``ood.detection``.
        levels: ``ood.detection_levels``.
        comparisons: ``tables.comparisons``.
        forecasting: ``forecasting.table``.
        prediction: ``prediction.table``.
        generation: ``generation.table``.
    """

    protocol: Protocol
    label: str
    values: pd.DataFrame
    imputation: pd.DataFrame
    quality: pd.DataFrame
    detection: pd.DataFrame
    levels: pd.DataFrame
    comparisons: pd.DataFrame
    forecasting: pd.DataFrame
    prediction: pd.DataFrame
    generation: pd.DataFrame

    @property
    def counts(self) -> dict[str, int]:
        """How many test windows, recordings and seeds the run is of."""
        tests = self.values[self.values["split"] == "test"]
        named = {"n": "window", "recordings": "source", "seeds": "seed"}
        return {name: tests[column].nunique() for name, column in named.items()}

    @property
    def basis(self) -> str:
        """What every figure says of its numbers: the data, windows, recordings and seeds."""
        table = pd.DataFrame([self.counts] if len(self.values) else [])
        return tables.basis(table, self.label)


def build(
    values: pd.DataFrame,
    protocol: Protocol,
    fits: Iterable[dict[str, Any]],
    label: str,
    absent: Sequence[str] = (),
) -> Results:
    """Make every table from per-window values.

    Args:
        values: per-window values.
        protocol: what ran.
        fits: summary of every finished fit.
        label: the data set.
        absent: files of the data set that were not there.
    """
    label, fits = protocol.labelled(label), list(fits)
    imputed, foretold = (values[(values["predictor"] == "") == no] for no in (True, False))
    detection = ood.detection(imputed)
    return Results(
        protocol=protocol,
        label=label,
        values=values,
        imputation=tables.imputation(imputed, protocol),
        quality=tables.quality(imputed, protocol, fits),
        detection=detection,
        levels=ood.detection_levels(detection),
        comparisons=tables.comparisons(imputed, protocol),
        forecasting=forecasting.table(foretold, protocol),
        prediction=prediction.table(foretold, protocol, fits, absent),
        generation=generation.table(imputed, protocol),
    )


@dataclass(frozen=True)
class Run:
    """What a run's folder says.

    Attributes:
        protocol: what ran.
        values: per-window values.
        facts: its provenance.
    """

    protocol: Protocol
    values: pd.DataFrame
    facts: dict[str, Any]


def open_run(folder: Path) -> Run:
    """Return what a run's folder says; raises InputError if it is not one."""
    try:
        values = pd.read_parquet(folder / VALUES)
        raw = plain.read(folder / PROTOCOL)
        facts = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        # What every reader takes for granted.
        if lacking := NEEDED - set(values):
            raise ValueError(f"{VALUES} has no column {min(lacking)}")
        facts["fits"].values(), facts["data"]["label"], facts["data"]["absent_files"]
        return Run(resolve(raw), values, facts)
    except (
        InputError,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise _no_run(folder, error) from None


def read(folder: Path) -> Results:
    """Return the results of a run's folder; raises InputError if it is not one."""
    return of(open_run(folder))


def of(run: Run) -> Results:
    """Return every table of a run."""
    fits, data = list(run.facts["fits"].values()), run.facts["data"]
    return build(run.values, run.protocol, fits, str(data["label"]), data["absent_files"])


def _no_run(folder: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(
        f"{folder}: not the folder of a run, such as results/occlusion/latest ({reason})"
    )


def write(results: Results, folder: Path) -> None:
    """Write every table that has rows, as CSV, Markdown and LaTeX."""
    parts = {
        "imputation": (results.imputation, tables.imputation_sections),
        "models": (results.quality, tables.quality_sections),
        "comparisons": (results.comparisons, tables.comparison_sections),
        "forecasting": (results.forecasting, forecasting.sections),
        "prediction": (results.prediction, prediction.sections),
        "generation": (
            results.generation,
            lambda table: generation.sections(table, results.protocol.judge),
        ),
    }
    for name, (table, sections) in parts.items():
        if not table.empty or (name == "imputation" and results.protocol.models):
            _write(table, sections(table), folder, name, results.label)
    detection, levels = results.detection, results.levels
    if not detection.empty:
        found = tables.ood_sections(detection, levels)
        _write(detection, found, folder, "ood", results.label)
        _write(levels, found[-1:], folder, "detection_level", results.label)


def _write(
    table: pd.DataFrame, sections: list[tables.Section], folder: Path, name: str, label: str
) -> None:
    tables.write(table, sections, folder, name, tables.note(table, label), label)
