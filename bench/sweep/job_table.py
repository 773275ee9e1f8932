"""What a run's folder keeps of its jobs, one row per fit and cell of its plan.

``jobs.csv`` says what each is, by which key its results lie in the store, and how it ended;
``failures.txt`` has every failure with its traceback.
"""

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
ENDED = ["status", "since", "host", "pid", "attempt", "seconds", "error"]
COLUMNS = list(
    dict.fromkeys(
        ["kind", "key", "title", *ENDED, *(one.name for job in (Fit, Cell) for one in fields(job))]
    )
)


def write(plan: Plan, statuses: list[Status], folder: Path, dataset: str) -> None:
    """Write how every job of a plan, on that data set, ended."""
    ended = {status.key: status for status in statuses}
    rows = [_row(job, ended[job.key]) for job in plan.jobs]
    table = pd.DataFrame(rows, columns=COLUMNS).assign(dataset=dataset)
    table.to_csv(folder / JOBS, index=False, lineterminator="\n")
    failed = [status for status in statuses if status.status == "failed"]
    if failed:
        told = [f"{status.title}: {status.error}\n\n{status.trace}\n" for status in failed]
        (folder / FAILURES).write_text("\n".join(told), encoding="utf-8")


def read(folder: Path) -> tuple[Plan, list[Status]]:
    """Return a run's plan, and how its jobs ended, once by key, without tracebacks.

    Raises:
        InputError: the folder does not tell.
    """
    path = folder / JOBS
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        rows: list[Any] = table[COLUMNS].to_dict("records")
        jobs = [_job(row) for row in rows]
        statuses = {row["key"]: _status(row) for row in rows}
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: does not tell what the run's jobs were ({reason})") from None
    fits = [job for job in jobs if isinstance(job, Fit)]
    return Plan(fits, [job for job in jobs if isinstance(job, Cell)]), list(statuses.values())


def _row(job: Fit | Cell, status: Status) -> dict[str, Any]:
    return job_to_dict(job) | {
        "title": job.title,
        **{name: getattr(status, name) for name in ENDED},
    }


def _job(row: dict[str, str]) -> Fit | Cell:
    kind = Fit if row["kind"] == "fit" else Cell
    plain: dict[str, Any] = {one.name: row[one.name] for one in fields(kind)}
    for key in KEYS & plain.keys():
        # They name files of the store.
        if plain[key] and not plain[key].isalnum():
            raise ValueError(f"{key} '{plain[key]}' is no key")
    typed = {"kind": row["kind"], "seed": int(row["seed"])}
    return job_from_dict(plain | typed | ({"keep": row["keep"] == "True"} if kind is Cell else {}))


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
        error=row["error"],
    )
