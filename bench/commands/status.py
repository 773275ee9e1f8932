"""``bench status``: prints the progress of a run."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.core.errors import InputError
from bench.core.files import alive
from bench.sweep import job_table
from bench.sweep.executions import PLAN, Execution, read, statuses_of
from bench.sweep.jobs import Cell, Fit, job_from_dict
from bench.sweep.status import Status, now
from bench.sweep.store import Store

STATES = ("done", "running", "failed", "skipped", "waiting")


SHOWN = 10
"""Jobs of each state that are listed; the others are counted."""


def show(path: Path, console: Console) -> None:
    """Print the progress of the newest executions in ``path``, or the jobs of a finished run.

    Args:
        path: the folder of a protocol's results, a folder of several of those, or a run's folder.
        console: where to print.

    Raises:
        InputError: the folder has neither.
    """
    for folder in _folders(path):
        if (folder / PLAN).is_file():
            _show_execution(folder, console)
        else:
            _show_run(folder, console)


def plain(path: Path) -> dict[str, Any]:
    """Return what ``show`` prints as plain values (``docs/schemas/status.json``); it raises alike.

    Jobs that are done or waiting are counted; the others are listed as well.
    """
    return {"executions": [_plain(folder) for folder in _folders(path)]}


def _folders(path: Path) -> list[Path]:
    """Return the folders of the executions in a path, or the run's folder itself."""
    if (path / PLAN).is_file() or (path / job_table.JOBS).is_file():
        return [path]
    if below := sorted(path.glob(f"*/{PLAN}")):
        return [one.parent for one in below]
    raise InputError(
        f"{path}: neither the folder of a protocol's results, such as results/occlusion, nor "
        "that of a run in it"
    )


def _plain(folder: Path) -> dict[str, Any]:
    if (folder / PLAN).is_file():
        execution = read(folder)
        jobs = [job_from_dict(job) for job in execution.jobs]
        statuses = statuses_of(jobs, Store(folder.parent / ".store"))
        ended = execution.ended or None
    else:
        plan, statuses = job_table.read(folder)
        jobs, ended = plan.jobs, "finished"
    counts = Counter(_rows(jobs, statuses))
    return {
        "folder": str(folder),
        "ended": ended,
        **{f"{kind}s": {s: counts[kind, s] for s in STATES} for kind in ("fit", "cell")},
        "jobs": [
            {"title": one.title, "status": one.status, "error": one.error, "host": one.host}
            for one in statuses
            if one.status not in ("done", "waiting")
        ],
    }


def _show_execution(folder: Path, console: Console) -> None:
    execution = read(folder)
    jobs = [job_from_dict(job) for job in execution.jobs]
    statuses = statuses_of(jobs, Store(folder.parent / ".store"))
    lines = [f"[bold]{escape(execution.protocol)}[/]: {escape(_driver(execution, folder))}"]
    _show(lines, _rows(jobs, statuses), statuses, console)
    earlier = sum(
        status.key not in execution.to_do for status in statuses if status.status == "done"
    )
    if earlier:
        console.print(f"{earlier} of those done were finished before it began")
    left = {status.key for status in statuses if status.status in ("running", "waiting")}
    if left and not execution.ended and alive(execution.host, execution.pid) is not False:
        console.print(_estimate(jobs, statuses))


def _driver(execution: Execution, folder: Path) -> str:
    """Return a description of the process that runs an execution, or of how it ended."""
    began = datetime.fromtimestamp(execution.since).strftime("%Y-%m-%d %H:%M:%S")
    driver = f"began {began} on {execution.host} (process {execution.pid})"
    again = f"; to continue: {execution.command}"
    if execution.run:
        return f"{driver}, {execution.ended}: {folder / execution.run}"
    if execution.ended:
        return f"{driver}, {execution.ended}{again}"
    if alive(execution.host, execution.pid) is False:
        return f"{driver}, and that process no longer exists{again}"
    return f"{driver}, still running"


def _show_run(folder: Path, console: Console) -> None:
    plan, statuses = job_table.read(folder)
    lines = [f"[bold]{escape(str(folder))}[/]: a finished run"]
    _show(lines, _rows(plan.jobs, statuses), statuses, console)
    if (folder / job_table.FAILURES).exists():
        console.print(f"tracebacks: {folder / job_table.FAILURES}", soft_wrap=True, markup=False)


def _rows(jobs: list[Fit | Cell], statuses: list[Status]) -> list[tuple[str, str]]:
    """Return the kind and state of each job key."""
    kinds = {job.key: type(job).__name__.lower() for job in jobs}
    return [(kinds[status.key], status.status) for status in statuses]


def _show(
    lines: list[str], rows: Iterable[tuple[str, str]], statuses: list[Status], console: Console
) -> None:
    for line in lines:
        console.print(line, soft_wrap=True)
    counts = Counter(rows)
    table = Table("", *STATES)
    for kind in ("fit", "cell"):
        table.add_row(f"{kind}s", *(str(counts[kind, state]) for state in STATES))
    console.print(table)
    for style, state in (("green", "running"), ("red", "failed"), ("yellow", "skipped")):
        chosen = sorted((one for one in statuses if one.status == state), key=lambda one: one.since)
        for one in chosen[-SHOWN:]:
            console.print(f"[{style}]{state}[/] {escape(_line(one))}", soft_wrap=True)
        if len(chosen) > SHOWN:
            console.print(f"and {len(chosen) - SHOWN} more {state}")


def _line(status: Status) -> str:
    if status.status != "running":
        return f"{status.title}: {status.error}"
    where = f"{status.title}: on {status.host} (process {status.pid})"
    if alive(status.host, status.pid) is False:
        return f"{where}, which no longer exists; the job is run again"
    attempt = f", attempt {status.attempt}" if status.attempt > 1 else ""
    return f"{where} for {_span(now() - status.since)}{attempt}"


def _estimate(jobs: list[Fit | Cell], statuses: list[Status]) -> str:
    """Return a message about the time that the remaining jobs may take, from those done."""
    groups = {job.key: _group(job) for job in jobs}
    done = pd.DataFrame(
        [
            (*groups[one.key], one.seconds)
            for one in statuses
            if one.status == "done" and one.seconds
        ],
        columns=["kind", "group", "seconds"],
    )
    means = done.groupby(["kind", "group"])["seconds"].mean()
    # The time of fits is no estimate for cells, so groups without a time use that of their kind.
    kinds = done.groupby("kind")["seconds"].mean()
    left = [groups[one.key] for one in statuses if one.status in ("running", "waiting")]
    known = [means.get(one, kinds[one[0]]) for one in left if one[0] in kinds]
    workers = {(one.host, one.pid) for one in statuses if one.status == "running"}
    parts = [f"about {_span(sum(known) / max(1, len(workers)))} left"] if known else []
    for kind, count in Counter(kind for kind, _ in left if kind not in kinds).items():
        parts.append(f"{count} {kind}s of unknown duration")
    return ", and ".join(parts)


def _group(job: Fit | Cell) -> tuple[str, str]:
    """Return a job's kind, and labels of jobs that take about as long as it."""
    if isinstance(job, Fit):
        return "fit", job.label
    return "cell", f"{job.task} {job.learner} {job.inference}"


def _span(seconds: float) -> str:
    return str(timedelta(seconds=max(0, round(seconds))))
