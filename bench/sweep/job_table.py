"""The tables of jobs in a run's folder.

``jobs.csv`` has one row per fit and cell of the plan: its labels, the key of its result in the
store, and how it ended; ``failures.txt`` has every failure with its traceback.
"""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from bench.core.errors import InputError
from bench.sweep.jobs import Cell, Fit, job_from_dict, job_to_dict
from bench.sweep.plan import Plan
from bench.sweep.status import State, Status

JOBS = "jobs.csv"
FAILURES = "failures.txt"
KEYS = {"key", "fit", "past", "judge"}
ENDED = ["status", "since", "host", "pid", "attempt", "seconds", "memory", "error"]
LATER = ("windows", "memory")
"""Columns that may be empty, and that older versions lack."""
COLUMNS = list(
    dict.fromkeys(
        ["kind", "key", "title", *ENDED, *(one.name for job in (Fit, Cell) for one in fields(job))]
    )
)


def write(plan: Plan, statuses: list[Status], folder: Path, dataset: str) -> None:
    """Write ``jobs.csv``, and ``failures.txt`` if jobs failed.

    Args:
        plan: the fits and cells.
        statuses: how each of them ended.
        folder: of the run.
        dataset: name of the data set, for a column.
    """
    ended = {status.key: status for status in statuses}
    rows = [_row(job, ended[job.key]) for job in plan.jobs]
    table = pd.DataFrame(rows, columns=COLUMNS).assign(dataset=dataset)
    table.to_csv(folder / JOBS, index=False, lineterminator="\n")
    failed = [status for status in statuses if status.status == "failed"]
    if failed:
        texts = [f"{status.title}: {status.error}\n\n{status.trace}\n" for status in failed]
        (folder / FAILURES).write_text("\n".join(texts), encoding="utf-8")


def read(folder: Path) -> tuple[Plan, list[Status]]:
    """Return a run's plan, and one status per job key, without tracebacks.

    Raises:
        InputError: ``jobs.csv`` is missing or not valid.
    """
    path = folder / JOBS
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        # Runs of older versions lack some.
        table = table.assign(**{name: "" for name in LATER if name not in table})
        rows: list[Any] = table[COLUMNS].to_dict("records")
        jobs = [_job(row) for row in rows]
        statuses = {row["key"]: _status(row) for row in rows}
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a valid table of jobs ({reason})") from None
    fits = [job for job in jobs if isinstance(job, Fit)]
    return Plan(fits, [job for job in jobs if isinstance(job, Cell)]), list(statuses.values())


def _row(job: Fit | Cell, status: Status) -> dict[str, Any]:
    return job_to_dict(job) | {
        "title": job.title,
        **{name: getattr(status, name) for name in ENDED},
    }


def _job(row: dict[str, str]) -> Fit | Cell:
    kind = Fit if row["kind"] == "fit" else Cell
    raw: dict[str, Any] = {one.name: row[one.name] for one in fields(kind)}
    for key in KEYS & raw.keys():
        # Keys become names of files in the store, so they must not be paths.
        if raw[key] and not raw[key].isalnum():
            raise ValueError(f"{key} '{raw[key]}' is no key")
    if not re.fullmatch(r"[\d+]*", raw.get("windows", "")):
        raise ValueError(f"windows '{raw['windows']}' are no numbers")
    typed = {"kind": row["kind"], "seed": int(row["seed"])}
    return job_from_dict(raw | typed | ({"keep": row["keep"] == "True"} if kind is Cell else {}))


def _status(row: dict[str, str]) -> Status:
    if row["status"] not in get_args(State):
        raise ValueError(f"'{row['status']}' is no status")
    return Status(
        key=row["key"],
        title=row["title"],
        status=row["status"],  # type: ignore[arg-type]
        since=float(row["since"]),
        host=row["host"],
        pid=int(row["pid"]),
        attempt=int(row["attempt"]),
        seconds=float(row["seconds"]),
        memory=float(row["memory"]) if row["memory"] else None,
        error=row["error"],
    )
