"""What a run found, on the terminal."""

import re
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.analysis import claims, forecasting, generation, prediction, ranks, tables
from bench.analysis.results import Results
from bench.sweep import job_table
from bench.sweep.forecasts import AVERAGE
from bench.sweep.status import Status

SHOWN_FAILURES = 10
SHOWN_LENGTH = 300
_INTERVAL = re.compile(r" \[[^]]*\]")


def print_run(found: Results, folder: Path, outcomes: list[Status], console: Console) -> int:
    """Print the tables of a run, where they lie, and what failed or was skipped.

    Returns:
        The exit code: 0, or 1 if anything failed or was skipped.
    """
    _print_results(found, console)
    console.print(f"tables and figures: {folder}", soft_wrap=True, markup=False)
    return _print_failures(outcomes, folder, console)


def _print_results(found: Results, console: Console) -> None:
    shown = {
        "mse": found.imputation,
        "change_vs_mean": found.imputation,
        "auroc": found.detection[~found.detection["score"].str.match(r"nlp_z\d")],
    }
    for metric, table in shown.items():
        if metric in set(table["metric"]):
            title = f"{tables.caption(metric)} - {tables.basis(table, found.label)}"
            print_text(tables.readable(table, metric), title, console)

    def show(sections: list[tables.Section], table: pd.DataFrame) -> None:
        basis = tables.basis(table, found.label)
        for section in sections:
            print_text(section.text, f"{section.caption} - {basis}", console)

    if not found.ranks.empty:
        show(ranks.sections(found.ranks), found.ranks)
    if not found.quality.empty:
        show(tables.quality_sections(found.quality), found.quality)
    if not found.comparisons.empty:
        show(tables.comparison_sections(found.comparisons), found.comparisons)
    # The changes against the mean say the same again; they are in the files.
    told = forecasting.sections(found.forecasting)
    shown_alone = [section for section in told if section.name.endswith(("true_past", AVERAGE))]
    show(shown_alone, found.forecasting)
    if found.protocol.published:
        show(prediction.sections(found.prediction), found.prediction)
    if not found.generation.empty:
        show(generation.sections(found.generation, found.protocol.judge), found.generation)
    if found.protocol.models:
        print_claims(found, console)


def print_text(text: pd.DataFrame, title: str, console: Console) -> None:
    """Print a table of text, without the intervals."""
    shown = Table(title=escape(title))
    shown.add_column("")
    for column in text.columns:
        shown.add_column(escape(str(column)), justify="right")
    for name, row in text.iterrows():
        shown.add_row(escape(str(name)), *(escape(_INTERVAL.sub("", str(cell))) for cell in row))
    console.print(shown)


def print_claims(found: Results, console: Console) -> None:
    """Print the paper's claims and what became of each."""
    title = escape(f"The paper's claims - {found.basis}")
    shown = Table("claim", "paper", "ours", "verdict", "control", title=title)
    for claim in claims.claims(found):
        row = (claim.statement, claim.paper, claim.ours, claim.verdict, claim.control)
        shown.add_row(*map(escape, row), end_section=True)
    console.print(shown)


def _print_failures(outcomes: list[Status], folder: Path, console: Console) -> int:
    for outcome in outcomes[:SHOWN_FAILURES]:
        style = "red" if outcome.status == "failed" else "yellow"
        line = escape(f"{outcome.title}: {outcome.error}"[:SHOWN_LENGTH])
        console.print(f"[{style}]{outcome.status}[/] {line}", soft_wrap=True)
    if len(outcomes) > SHOWN_FAILURES:
        console.print(f"and {len(outcomes) - SHOWN_FAILURES} more")
    if outcomes:
        told = f"to try them again: --retry-failed; tracebacks: {folder / job_table.FAILURES}"
        console.print(told, soft_wrap=True, markup=False)
    return 1 if outcomes else 0
