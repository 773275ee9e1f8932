"""Records the execution of a protocol for ``bench status``.

``plan.json`` in the protocol's folder of results has the jobs, the process that runs them and when
it began; the statuses of jobs are in the store, and in a finished run's folder (``job_table``).
"""

import json
import os
import shlex
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.core.errors import InputError
from bench.core.files import HOST, atomic_file
from bench.sweep.jobs import Cell, Fit, finished, job_to_dict
from bench.sweep.plan import Plan, ToDo
from bench.sweep.status import Status, now
from bench.sweep.store import Store

PLAN = "plan.json"


@dataclass(frozen=True)
class Execution:
    """One execution of a protocol, as ``plan.json`` keeps it.

    Attributes:
        protocol: its name.
        command: the command line that started it.
        host: the machine of the driver.
        pid: the driver's process on that machine.
        since: when it began, seconds since 1970.
        ended: how it ended; empty while it runs, or if it was killed.
        run: name of the run folder that it wrote; empty before.
        jobs: every job of the plan, as ``job_to_dict`` returns it.
        to_do: keys of the jobs that were not finished when it began.
    """

    protocol: str
    command: str = field(default_factory=lambda: shlex.join(["bench", *sys.argv[1:]]))
    host: str = HOST
    pid: int = field(default_factory=os.getpid)
    since: float = field(default_factory=now)
    ended: str = ""
    run: str = ""
    jobs: list[dict[str, Any]] = field(default_factory=list)
    to_do: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write it to the protocol's folder of results."""
        with atomic_file(folder / PLAN) as temporary:
            temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")

    def end(self, folder: Path, how: str, run: str = "") -> None:
        """Record how it ended, unless another execution has begun meanwhile."""
        if read(folder) == self:
            replace(self, ended=how, run=run).write(folder)


def begin(protocol: str, folder: Path, whole: Plan, to_do: ToDo) -> Execution:
    """Record in the protocol's folder of results that an execution begins, and return it."""
    jobs = [job_to_dict(job) for job in whole.jobs]
    execution = Execution(protocol, jobs=jobs, to_do=[job.key for job in to_do.jobs])
    execution.write(folder)
    return execution


def read(folder: Path) -> Execution:
    """Return the newest execution; raises InputError if the folder has no valid ``plan.json``."""
    try:
        return Execution(**json.loads((folder / PLAN).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{folder / PLAN}: no valid record of an execution ({error})") from None


def statuses_of(jobs: Iterable[Fit | Cell], store: Store) -> list[Status]:
    """Return one status per job key, ``waiting`` for jobs that have not begun.

    Whether a job is done is decided by its result in the store.
    """
    found: dict[str, Status] = {}
    for job in jobs:
        known = store.statuses.read(job.key)
        if finished(job, store):
            if known is None or known.status != "done":
                known = Status(job.key, job.title, "done")
        elif known is None or known.status == "done":
            known = Status(job.key, job.title, "waiting")
        found[job.key] = known
    return list(found.values())
