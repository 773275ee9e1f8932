"""The worker of a sweep: runs jobs one after another; a failed job does not stop the others."""

import faulthandler
import os
import sys
import time
import traceback
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psutil

from bench.core.errors import WriteError
from bench.core.files import HOST
from bench.fitting.allocator import retain_freed_memory
from bench.fitting.learner import Learner
from bench.protocol.schema import Share
from bench.sweep.jobs import Cell, Fit, job_from_dict, skip_reason
from bench.sweep.status import State, Status, now
from bench.sweep.workspace import Reporter, Stopped, Workspace, threads

WORKER_DEATHS = 5
"""A job at which this many workers have died is marked failed, since it is the likely cause."""


@dataclass(frozen=True)
class Trial:
    """Jobs that one worker runs, one after another.

    Attributes:
        jobs: as ``job_to_dict`` returns them.
        share: the CPUs and GPUs that it reserves.
    """

    jobs: list[dict[str, Any]]
    share: Share


@dataclass(frozen=True)
class Worker:
    """Runs the jobs of trials in this process.

    Attributes:
        workspace: data, protocol and store of the jobs.
        report: is called with a fit and its progress after each of its epochs.
    """

    workspace: Workspace
    report: Reporter

    def run(self, trial: Trial) -> Iterator[Status]:
        """Run a trial's jobs and yield the status of each; a failure does not stop the others.

        A job that another process has ended meanwhile is not run again. Jobs that other processes
        are running are waited for once nothing else is left to do.

        Raises:
            Stopped: the user stopped the sweep.
            WriteError: a result cannot be written to the store.
        """
        models = _LatestModel()
        # Resolving imports the learners' libraries: the limit of threads covers only loaded ones.
        assert self.workspace.resolved.learners
        retain_freed_memory()
        if self.workspace.worker:
            _limit_memory(self.workspace.resolved.resources.memory_gib)
        with threads(max(1, int(trial.share.cpus))), closing(self._locked(trial.jobs)) as jobs:
            for job in jobs:
                yield self._run_locked(job, models)

    def _locked(self, jobs: Sequence[dict[str, Any]]) -> Generator[Fit | Cell, None, None]:
        """Lock and yield one job after another.

        Jobs that other processes hold are deferred to the end, with those that depend on them.
        """
        statuses = self.workspace.store.statuses
        deferred: dict[str, Fit | Cell] = {}
        for job in map(job_from_dict, jobs):
            self.workspace.check_stop()
            with statuses.try_lock(job.key) as locked:
                if locked and deferred.keys().isdisjoint(job.needs):
                    yield job
                else:
                    deferred[job.key] = job
        for job in deferred.values():
            with statuses.lock(job.key, self.workspace.check_stop):
                yield job

    def _run_locked(self, job: Fit | Cell, models: "_LatestModel") -> Status:
        """Run a locked job, unless it has ended or too many workers have died at it."""
        known = self.workspace.store.statuses.read(job.key)
        if self.workspace.finished(job):
            if known is None or known.status == "running":
                # Its worker died between writing the result and writing the status.
                known = Status(job.key, job.title, "done")
                self.workspace.store.statuses.write(known)
            return known
        if known and known.status == "failed":
            return known
        attempt = 1
        if known and known.status == "running":
            known = self._after_death(job, known)
            if known.status == "failed":
                self.workspace.store.statuses.write(known)
                return known
            attempt = known.attempt
        return self._attempt(job, attempt, models)

    def _after_death(self, job: Fit | Cell, left: Status) -> Status:
        """Return a job's next status after its worker died: another attempt, or failed."""
        file = self.workspace.store.statuses.timeout_trace(job.key)
        trace = file.read_text() if file.exists() else ""
        file.unlink(missing_ok=True)
        if trace:
            error = f"timed out after {left.limit:g} s"
            return replace(left, status="failed", error=error, trace=trace, seconds=left.limit or 0)
        if self.workspace.store.progressed(job.key, left.since):
            return replace(left, attempt=1)
        if left.attempt >= WORKER_DEATHS:
            reason = f"; the last time {left.error}" if left.error else ""
            error = f"its worker died {left.attempt} times{reason}"
            return replace(left, status="failed", error=error)
        return replace(left, attempt=left.attempt + 1)

    def _attempt(self, job: Fit | Cell, attempt: int, models: "_LatestModel") -> Status:
        """Run a job, and store and return its status."""
        statuses, limit = self.workspace.store.statuses, self._limit(job)
        begun = Status(job.key, job.title, "running", now(), HOST, os.getpid(), attempt, limit)
        statuses.write(begun)
        state: State = "done"
        error, trace, memory, clock = "", "", None, time.monotonic()
        try:
            with self._timeout(limit, job):
                error, seconds, memory = self._compute(job, models)
            state = "skipped" if error else "done"
        except (KeyboardInterrupt, WriteError):
            statuses.forget(job.key)
            raise
        except Exception as problem:
            if self.workspace.stopping():
                # Some libraries turn an interruption into an exception of their own.
                statuses.forget(job.key)
                raise Stopped from None
            # A model may raise anything; other jobs go on, and failures are reported at the end.
            state, trace = "failed", traceback.format_exc()
            error = f"{type(problem).__name__}: {' '.join(str(problem).split())}"
            seconds = time.monotonic() - clock
        ended = replace(
            begun, status=state, seconds=seconds, memory=memory, error=error, trace=trace
        )
        statuses.write(ended)
        return ended

    def _compute(self, job: Fit | Cell, models: "_LatestModel") -> tuple[str, float, float | None]:
        """Compute a job; return why it is skipped, or an empty text, and its time and memory."""
        if reason := self._obstacle(job):
            return reason, 0.0, None
        if isinstance(job, Fit):
            cost = self.workspace.fit(job, self.report)
        else:
            cost = self.workspace.evaluate(job, models.get(self.workspace, job))
        return "", cost.seconds, cost.memory

    def _obstacle(self, job: Fit | Cell) -> str:
        """Return why a job cannot be computed here; an empty text if it can."""
        label = job.label if isinstance(job, Fit) else job.learner
        self.workspace.check_code(label)
        reason = self.workspace.resolved.learners[label].cls.unavailable()
        if reason or isinstance(job, Fit):
            return reason
        store = self.workspace.store
        absent = {key for key in (job.fit, job.judge) if key and not store.has_fit(key)}
        unkept = {job.past} if job.past and not store.has_completion(job.past) else ()
        return skip_reason(job, absent, unkept)

    def _limit(self, job: Fit | Cell) -> float | None:
        """Return a job's timeout in seconds; None for no timeout."""
        resources = self.workspace.resolved.resources
        limit = resources.fit_timeout_s if isinstance(job, Fit) else resources.cell_timeout_s
        return limit if self.workspace.worker else None

    @contextmanager
    def _timeout(self, limit: float | None, job: Fit | Cell) -> Iterator[None]:
        """End this process, leaving a traceback, if the block takes longer than ``limit`` seconds.

        An exception would not do: code that hangs in an extension never gets to see it.
        """
        if limit is None:
            yield
            return
        path = self.workspace.store.statuses.timeout_trace(job.key)
        with path.open("w") as file:
            faulthandler.dump_traceback_later(limit, exit=True, file=file)
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()
                path.unlink()


def _limit_memory(gib: float | None) -> None:
    """Limit how much more memory this process can allocate, in GiB (Linux only).

    The limit counts all writable memory, so that it covers allocations of any library.
    """
    if gib is None or sys.platform != "linux":
        return
    import resource

    soft = psutil.Process().memory_info().data + int(gib * 2**30)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


class _LatestModel:
    """A cache of the model loaded last: a trial's cells are grouped by fit."""

    def __init__(self) -> None:
        self.key: str | None = None
        self.model: Learner | None = None

    def get(self, workspace: Workspace, cell: Cell) -> Learner:
        """Return the fitted model or predictor of a cell."""
        if self.model is None or self.key != cell.fit:
            self.model = workspace.load(cell.fit, cell.learner, cell.seed)
            self.key = cell.fit
        return self.model
