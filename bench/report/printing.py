"""What a run found, on the terminal: a screenful at its end, and every table on demand."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.analysis import claims, forecasting, results, summary, tables
from bench.analysis.claims import Claim
from bench.analysis.results import Results, Written
from bench.report.page import REPORT
from bench.sweep import job_table
from bench.sweep.forecasts import AVERAGE
from bench.sweep.status import Status

SHOWN_FAILURES = 10
SHOWN_SUSPICIOUS = 5
SHOWN_LENGTH = 300
_INTERVAL = re.compile(r" \[[^]]*\]")


def print_run(found: Results, folder: Path, outcomes: list[Status], console: Console) -> int:
    """Print a run in one screen: what completes best, claims, what failed, where the rest is.

    Returns:
        The exit code: 0, or 1 if anything failed or was skipped.
    """
    print_summary(found, console)
    if found.protocol.models:
        _print_verdicts(found, console)
    code = _print_failures(outcomes, folder, console)
    console.print(
        f"report: {folder / REPORT}; all tables: bench show {folder}", soft_wrap=True, markup=False
    )
    return code


def print_summary(found: Results, console: Console) -> None:
    """Print the best imputers by mechanism, detection, predictors, and controls that look good."""
    whole = summary.by_mechanism(found.imputation, found.protocol)
    if not whole.empty:
        what = "mean imputation" if summary.REFERENCE in set(whole["model"]) else "the best imputer"
        basis = tables.basis(found.imputation, found.label)
        title = f"Change of MSE against {what}, geometric mean over levels - {basis}"
        print_text(summary.winners(whole, found.protocol), title, console)
    print_tables(found, [one for one in results.written(found) if one.name == "published"], console)
    for line in (_detection(found), _forecasting(found)):
        if line:
            console.print(line, soft_wrap=True, markup=False)
    lines = summary.suspicious(whole) if not whole.empty else []
    for line in lines[:SHOWN_SUSPICIOUS]:
        console.print(f"[yellow]a control looks good:[/] {escape(line)}", soft_wrap=True)
    if len(lines) > SHOWN_SUSPICIOUS:
        console.print(f"and {len(lines) - SHOWN_SUSPICIOUS} more such controls")
    for predictor in forecasting.idle(found.forecasting):
        console.print(f"[yellow]{escape(predictor)}[/] {forecasting.IDLE}", soft_wrap=True)


def print_tables(found: Results, chosen: list[Written], console: Console) -> None:
    """Print tables of a run whole."""
    for table in chosen:
        basis = tables.basis(table.table, found.label)
        for section in table.sections:
            print_text(section.text, f"{section.caption} - {basis}", console)


@contextmanager
def stages(console: Console) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows what is being done, on a terminal alone."""
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("reading") as status:
        yield lambda what: status.update(escape(what))


def _detection(found: Results) -> str:
    """Return in a line which score tells degraded windows best, by its mean AUROC."""
    table = found.detection
    table = table[(table["metric"] == "auroc") & table["value"].notna()]
    if table.empty:
        return ""
    means = table.groupby(["model", "score"], sort=False)["value"].mean().sort_values()
    parts = []
    for kind, control in (("best", False), ("best control", True)):
        mine = [key for key in means.index if _is_control(found, key[0]) == control]
        if mine:
            parts.append(f"{kind} {mine[-1][0]} ({mine[-1][1]}) {means[mine[-1]]:.3f}")
    return f"detection, mean AUROC over conditions: {', '.join(parts)}"


def _is_control(found: Results, label: str) -> bool:
    entry = found.protocol.models.get(label)
    return entry is not None and entry.cls.control


def _forecasting(found: Results) -> str:
    """Return in a line how far each predictor is off from the true past, best first."""
    table = found.forecasting
    table = table[
        (table["metric"] == AVERAGE) & (table["mechanism"] == "") & table["value"].notna()
    ]
    if table.empty:
        return ""
    ordered = table.sort_values("value", kind="stable")
    errors = (f"{row.predictor} {row.value:.3g}" for row in ordered.itertuples())
    return f"prediction from the true past, mean error in mm: {', '.join(errors)}"


def _print_verdicts(found: Results, console: Console) -> None:
    """Print each claim's verdict in a line; claims that the run does not test share one."""
    judged = claims.claims(found)
    if found.protocol.limit:
        console.print("claims: withheld, a quick look settles none", markup=False)
        return
    for claim in judged:
        if claim.verdict != "not tested":
            ours = f" (ours: {claim.ours})" if claim.ours else ""
            line = f"{claim.statement}: {claim.verdict}{ours}"
            console.print(line, soft_wrap=True, markup=False, highlight=False)
    # A statement begins with its letter in brackets.
    untested = [
        f"{claim.statement.partition(')')[0]})" for claim in judged if claim.verdict == "not tested"
    ]
    if untested:
        console.print(f"claims that this run does not test: {' '.join(untested)}", markup=False)


def print_text(text: pd.DataFrame, title: str, console: Console) -> None:
    """Print a table of text, without the intervals."""
    shown = Table(title=escape(title))
    shown.add_column("")
    for column in text.columns:
        shown.add_column(escape(str(column)), justify="right")
    for name, row in text.iterrows():
        shown.add_row(escape(str(name)), *(escape(_INTERVAL.sub("", str(cell))) for cell in row))
    console.print(shown)


def print_claims(judged: list[Claim], basis: str, console: Console) -> None:
    """Print the paper's claims with the verdict on each."""
    title = escape(f"The paper's claims - {basis}")
    shown = Table("claim", "paper", "ours", "verdict", "control", title=title)
    for claim in judged:
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
        note = f"to try them again: --retry-failed; tracebacks: {folder / job_table.FAILURES}"
        console.print(note, soft_wrap=True, markup=False)
    return 1 if outcomes else 0
