"""``bench show``: the tables of a finished run."""

import json
from pathlib import Path

import pandas as pd
from rich.console import Console

from bench.analysis import claims, records, results
from bench.analysis.claims import Claim
from bench.analysis.results import Results
from bench.core import files, safe_yaml
from bench.core.errors import InputError, did_you_mean
from bench.protocol.resolving import resolve
from bench.report import printing

CLAIMS = "claims"
FILES = {
    "imputation": "imputation",
    "published": "published",
    "ranks": "ranks",
    "quality": "models",
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


def show(folder: Path, table: str | None, console: Console) -> None:
    """Print all tables of a run, or the one that is named.

    Raises:
        InputError: the folder does not hold a run, or the run has no such table.
    """
    whole = (folder / results.VALUES).is_file()
    found = results.read(folder) if whole else _from_tables(folder)
    judged = claims.claims(found) if whole and found.protocol.models else _claims(folder)
    known = [one.name for one in results.written(found)] + ([CLAIMS] if judged else [])
    if table is not None and table not in known:
        raise InputError(f"{folder}: has no table '{table}'{did_you_mean(table, known)}")
    printing.print_tables(found, known if table is None else [table], console)
    if judged and table in (None, CLAIMS):
        printing.print_claims(judged, found.label, console)


def _from_tables(folder: Path) -> Results:
    """Return the results in a folder of tables without per-window values, as committed runs are."""
    path = folder / results.PROVENANCE
    if not path.is_file():
        raise results.no_run(folder, f"it has no {results.PROVENANCE}")
    protocol = resolve(safe_yaml.read(folder / results.PROTOCOL))
    with files.readable(path):
        label = str(json.loads(path.read_text(encoding="utf-8"))["data"]["label"])
    return Results(
        protocol=protocol,
        label=protocol.labelled(label),
        values=pd.DataFrame(columns=records.WINDOW_COLUMNS),
        **{name: _read(folder / f"{file}.csv") for name, file in FILES.items()},
    )


def _read(path: Path) -> pd.DataFrame:
    """Return a table that ``tables.write`` wrote, or an empty one where it wrote none."""
    if not path.is_file():
        return pd.DataFrame(columns=["metric", "status", "n"])
    with files.readable(path):
        table = pd.read_csv(path, dtype=dict.fromkeys(LABELS, str))
        labels = table.select_dtypes(["object", "string"]).columns
        return table.assign(**{name: table[name].fillna("") for name in labels})


def _claims(folder: Path) -> list[Claim]:
    """Return the verdicts that a folder states."""
    path = folder / "claims.csv"
    if not path.is_file():
        return []
    columns = ["claim", "statement", "paper", "ours", "verdict", "control"]
    with files.readable(path):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)[columns]
        return [Claim(*row) for row in table.itertuples(index=False)]
