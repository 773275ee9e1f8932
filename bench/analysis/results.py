"""The results of a run: its per-window values, and the tables computed from them."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from bench.analysis import (
    costs,
    forecasting,
    generation,
    marking,
    ood,
    prediction,
    published,
    ranks,
    records,
    tables,
)
from bench.analysis.loading import RECORDS, TIMES, times
from bench.core import files, safe_yaml
from bench.core.errors import InputError
from bench.core.processes import ALONE, Beside
from bench.protocol.resolving import resolve
from bench.protocol.schema import Protocol

VALUES = "windows.parquet"
PROTOCOL = "protocol.yaml"
PROVENANCE = "provenance.json"
LATER = ("action", "subject", "fold")
"""Columns of text that the per-window values of older versions lack."""
NEEDED = set(records.WINDOW_COLUMNS) - set(LATER)
"""Columns that the per-window values of a run must have, whatever version wrote it."""
UNTIMED = pd.DataFrame(
    columns=["task", *records.CELL[2:], "seconds", "memory"],
)
"""The times of a run of which none is known."""
TABLES = (
    *("imputation", "published", "ranks", "quality", "costs", "detection", "levels"),
    *("comparisons",),
    *("forecasting", "prediction", "generation"),
)
"""The attributes of ``Results`` that are tables."""


@dataclass(frozen=True)
class Results:
    """The results of a run.

    Every table has a column ``status`` and rows for what failed or was skipped
    (``marking.marked``).

    Attributes:
        protocol: what ran.
        label: the data set as named in tables and figures, with what must be said of it (synthetic,
            smoke run).
        values: per-window values (``records.windows``), with what statistics resample as their
            ``source`` (``records.of_units``). Where that is the subject, tables have a column
            ``subjects`` in the place of ``recordings``.
        imputation: ``tables.imputation``.
        published: ``published.table``.
        ranks: ``ranks.table``.
        quality: ``tables.quality``.
        costs: ``costs.table``; empty if it is not known how long jobs took.
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
    published: pd.DataFrame
    ranks: pd.DataFrame
    quality: pd.DataFrame
    costs: pd.DataFrame
    detection: pd.DataFrame
    levels: pd.DataFrame
    comparisons: pd.DataFrame
    forecasting: pd.DataFrame
    prediction: pd.DataFrame
    generation: pd.DataFrame

    @cached_property
    def with_values(self) -> "Results":
        """The same without the rows of tables that only state a failure."""
        kept: dict[str, Any] = {name: marking.with_values(getattr(self, name)) for name in TABLES}
        return replace(self, **kept)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of test windows ``n``, of recordings (or subjects) and of seeds."""
        foreign = self.values["mechanism"].isin(list(self.protocol.foreign))
        tests = (self.values["split"] == "test") & ~foreign
        named = {"n": "window", records.unit(self.values): "source", "seeds": "seed"}
        return {name: self.values.loc[tests, column].nunique() for name, column in named.items()}

    @property
    def basis(self) -> str:
        """The line under every figure: data set, number of windows, recordings and seeds."""
        if self.values.empty:
            return tables.basis(self.imputation, self.label)
        return tables.basis(pd.DataFrame([self.counts]), self.label)


def build(
    values: pd.DataFrame,
    protocol: Protocol,
    fits: Iterable[dict[str, Any]],
    label: str,
    absent: Sequence[str] = (),
    unfinished: pd.DataFrame | None = None,
    timed: pd.DataFrame | None = None,
    others: Beside = ALONE,
) -> Results:
    """Compute every table from per-window values.

    Args:
        values: per-window values (``records.windows``).
        protocol: what ran.
        fits: summary of every finished fit.
        label: the data set.
        absent: files of the data set that were missing.
        unfinished: cells that failed or were skipped (``marking.unfinished``); None: none.
        timed: what jobs took (``bench.sweep.times.table``); None: unknown.
        others: where detection, which takes as long as the rest, is computed.
    """
    missing = pd.DataFrame(columns=records.COLUMNS) if unfinished is None else unfinished
    label, fits = protocol.labelled(label), list(fits)
    counted, values = records.unit(values), records.coded(records.of_units(values))
    imputed, forecasts = (values[(values["predictor"] == "") == no] for no in (True, False))
    detected = others.submit(ood.detection, ood.scored(imputed))
    predicted = prediction.table(forecasts, protocol, fits, absent)
    completed = marking.imputation(tables.imputation(imputed, protocol), missing, protocol)
    found = {
        "imputation": completed,
        "published": published.table(completed, protocol),
        "ranks": marking.ranks(ranks.table(imputed, protocol), missing, protocol),
        "quality": marking.quality(tables.quality(imputed, protocol, fits), missing, protocol),
        "costs": costs.table(imputed, UNTIMED if timed is None else timed, fits),
        "comparisons": marking.comparisons(
            tables.comparisons(imputed, protocol), missing, protocol
        ),
        "forecasting": marking.forecasts(forecasting.table(forecasts, protocol), missing, protocol),
        "prediction": marking.predictions(predicted, missing, protocol),
        "generation": marking.generation(generation.table(imputed, protocol), missing, protocol),
    }
    detection = detected()
    found["detection"] = marking.detection(detection, missing, protocol)
    found["levels"] = marking.levels(ood.detection_levels(detection), found["detection"])
    renamed = {records.RECORDINGS: counted}
    found = {name: table.rename(columns=renamed) for name, table in found.items()}
    return Results(protocol=protocol, label=label, values=values, **found)


@dataclass(frozen=True)
class Run:
    """The contents of a run's folder.

    Attributes:
        protocol: what ran.
        values: per-window values (``records.windows``).
        facts: its provenance: data, fits, command, commit, versions and so on.
    """

    protocol: Protocol
    values: pd.DataFrame
    facts: dict[str, Any]


def open_run(folder: Path) -> Run:
    """Read a run's folder; raises InputError if it is not one."""
    try:
        values = pd.read_parquet(folder / VALUES)
        raw = safe_yaml.read(folder / PROTOCOL)
        facts = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        # What every reader relies on.
        if lacking := NEEDED - set(values):
            raise ValueError(f"{VALUES} has no column {min(lacking)}")
        values = values.assign(**{name: "" for name in LATER if name not in values})
        facts["fits"].values(), facts["data"]["label"], facts["data"]["absent_files"]
        facts["data"].get("foreign", {}).items(), facts.get("plugins", {}).items()
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
        raise no_run(folder, str(error)) from None


def write_values(values: pd.DataFrame, folder: Path) -> None:
    """Write per-window values to a run's folder; readers find text, not categories."""
    values = records.coded(values)
    # The types of text, with the categories' numbers: text for each row takes ten times as long.
    text = pa.Schema.from_pandas(records.plain(values.head(0)), preserve_index=False)
    columns = [_stored(values[name], text.field(name).type) for name in values]
    table = pa.Table.from_arrays(columns, names=list(values))
    parquet.write_table(
        table.replace_schema_metadata(text.metadata), folder / VALUES, store_schema=False
    )


def _stored(column: pd.Series, kind: pa.DataType) -> pa.Array:
    """Return a column as it is written, categories in order of names."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return pa.array(column, kind)
    used = column.cat.remove_unused_categories()
    ordered = used.cat.reorder_categories(sorted(used.cat.categories))
    codes = pa.array(records.codes(ordered))
    return pa.DictionaryArray.from_arrays(codes, pa.array(ordered.cat.categories, kind))


def read(folder: Path) -> Results:
    """Return the results of a run's folder; raises InputError if it is not one."""
    timed = times(folder / TIMES) if (folder / TIMES).is_file() else None
    return of(open_run(folder), _cells(folder), timed)


def _cells(folder: Path) -> pd.DataFrame:
    """Return a run's records; an empty table for an older run, which wrote none."""
    try:
        return pd.read_parquet(folder / RECORDS)[records.COLUMNS]
    except FileNotFoundError:
        return pd.DataFrame(columns=records.COLUMNS)
    except (OSError, ValueError, LookupError) as error:
        raise no_run(folder, str(error)) from None


def of(
    run: Run, cells: pd.DataFrame, timed: pd.DataFrame | None = None, others: Beside = ALONE
) -> Results:
    """Compute every table of a run.

    Args:
        run: the contents of its folder.
        cells: its records (``records.records``).
        timed: what its jobs took (``bench.sweep.times.table``); None: unknown.
        others: processes that help (``build``).
    """
    fits, data = list(run.facts["fits"].values()), run.facts["data"]
    missing = marking.unfinished(cells)
    label, absent = str(data["label"]), data["absent_files"]
    return build(run.values, run.protocol, fits, label, absent, missing, timed, others)


FILES = {
    "imputation": "imputation",
    "published": "published",
    "ranks": "ranks",
    "quality": "models",
    "costs": "costs",
    "detection": "ood",
    "levels": "detection_level",
    "comparisons": "comparisons",
    "forecasting": "forecasting",
    "prediction": "prediction",
    "generation": "generation",
}
"""The CSV file of each table of ``Results``."""
LABELS = ("model", "inference", "predictor", "mechanism", "level", "action", "against", "score")
"""Columns of text, which may be empty in every row."""


def read_tables(folder: Path) -> tuple[Run, Results]:
    """Return what is in a folder of tables without per-window values, as committed runs are.

    Raises:
        InputError: it is not one.
    """
    path = folder / PROVENANCE
    if not path.is_file():
        raise no_run(folder, f"it has no {PROVENANCE}")
    protocol = resolve(safe_yaml.read(folder / PROTOCOL))
    with files.readable(path):
        facts = json.loads(path.read_text(encoding="utf-8"))
        label = str(facts["data"]["label"])
    values = pd.DataFrame(columns=records.WINDOW_COLUMNS)
    tables = {name: _table(folder / f"{file}.csv") for name, file in FILES.items()}
    found = Results(protocol=protocol, label=protocol.labelled(label), values=values, **tables)
    return Run(protocol, values, facts), found


def _table(path: Path) -> pd.DataFrame:
    """Return a table that ``tables.write`` wrote, or an empty one where it wrote none."""
    if not path.is_file():
        return pd.DataFrame(columns=["metric", "status", "n"])
    with files.readable(path):
        table = pd.read_csv(path, dtype=dict.fromkeys(LABELS, str))
        labels = table.select_dtypes(["object", "string"]).columns
        table = table.assign(**{name: table[name].fillna("") for name in labels})
        # Tables of older versions have no status: they listed only what was done.
        return table if "status" in table else table.assign(status="done")


def no_run(folder: Path, reason: str) -> InputError:
    """Return the error of a folder that does not hold a run."""
    if not folder.exists():
        return InputError(f"{folder}: no such folder; one of a run is results/occlusion/latest")
    reason = " ".join(reason.split())
    return InputError(
        f"{folder}: not the folder of a run, such as results/occlusion/latest ({reason})"
    )


@dataclass(frozen=True)
class Written:
    """One table of a run as it is written.

    Attributes:
        name: of its files, without a suffix.
        table: tidy, one row per value.
        sections: the table as text for readers.
        note: printed after every caption.
    """

    name: str
    table: pd.DataFrame
    sections: list[tables.Section]
    note: str

    @property
    def title(self) -> str:
        """The name as a heading."""
        return self.name.replace("_", " ").capitalize()


def written(results: Results) -> list[Written]:
    """Return every table that has rows."""
    parts: dict[str, tuple[pd.DataFrame, Callable[[pd.DataFrame], list[tables.Section]]]] = {
        "imputation": (results.imputation, tables.imputation_sections),
        "published": (results.published, published.sections),
        "ranks": (results.ranks, ranks.sections),
        "models": (results.quality, tables.quality_sections),
        "costs": (results.costs, costs.sections),
        "ood": (results.detection, tables.ood_sections),
        "detection_level": (results.levels, tables.level_sections),
        "comparisons": (results.comparisons, tables.comparison_sections),
        "forecasting": (results.forecasting, forecasting.sections),
        "prediction": (results.prediction, prediction.sections),
        "generation": (
            results.generation,
            lambda table: generation.sections(table, results.protocol.judge),
        ),
    }
    return [
        Written(name, table, sections(table), tables.note(table, results.label))
        for name, (table, sections) in parts.items()
        if not table.empty or (name == "imputation" and results.protocol.models)
    ]


def write(results: Results, folder: Path) -> None:
    """Write every table that has rows, as CSV, Markdown and LaTeX."""
    for one in written(results):
        tables.write(one.table, one.sections, folder, one.name, one.note, results.label)
