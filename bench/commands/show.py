"""``bench show``: the tables of a finished run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from bench.analysis import claims, results
from bench.analysis.claims import Claim
from bench.analysis.results import Results, Run, Written
from bench.core import files
from bench.core.errors import InputError, did_you_mean
from bench.report import plain_values, printing

CLAIMS = "claims"


@dataclass(frozen=True)
class Shown:
    """What a run's folder has for readers.

    Attributes:
        run: what ran; without per-window values where the folder has none.
        found: its tables.
        claims: the verdicts on the paper's claims.
    """

    run: Run
    found: Results
    claims: list[Claim]


def read(folder: Path) -> Shown:
    """Read a run's folder, or one of tables alone, as committed results are.

    Raises:
        InputError: it is neither.
    """
    if not (folder / results.VALUES).is_file():
        run, found = results.read_tables(folder)
        return Shown(run, found, _claims(folder))
    run = results.open_run(folder)
    found = results.read(folder)
    return Shown(run, found, claims.claims(found) if found.protocol.models else [])


def chosen(shown: Shown, folder: Path, table: str | None) -> tuple[list[Written], list[Claim]]:
    """Return the tables and claims to be shown: all, or one by its name.

    Raises:
        InputError: the run has no such table.
    """
    written = results.written(shown.found)
    known = [one.name for one in written] + ([CLAIMS] if shown.claims else [])
    if table is not None and table not in known:
        raise InputError(f"{folder}: has no table '{table}'{did_you_mean(table, known)}")
    tables = [one for one in written if table in (None, one.name)]
    return tables, shown.claims if table in (None, CLAIMS) else []


def show(folder: Path, table: str | None, console: Console) -> None:
    """Print all tables of a run, or the one that is named.

    Raises:
        InputError: the folder does not hold a run, or the run has no such table.
    """
    shown = read(folder)
    tables, judged = chosen(shown, folder, table)
    printing.print_tables(shown.found, tables, console)
    if judged:
        printing.print_claims(judged, shown.found.label, console)


def plain(folder: Path, table: str | None) -> dict[str, Any]:
    """Return what ``show`` prints as plain values (``docs/schemas/show.json``); it raises alike."""
    shown = read(folder)
    tables, judged = chosen(shown, folder, table)
    return {
        "run": str(folder),
        "data": shown.found.label,
        "tables": {one.name: plain_values.rows(one.table) for one in tables},
        "claims": [vars(claim) for claim in judged],
    }


def _claims(folder: Path) -> list[Claim]:
    """Return the verdicts that a folder states."""
    path = folder / "claims.csv"
    if not path.is_file():
        return []
    columns = ["claim", "statement", "paper", "ours", "verdict", "control"]
    with files.readable(path):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)[columns]
        return [Claim(*row) for row in table.itertuples(index=False)]
