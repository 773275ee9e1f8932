"""The worker's side of a sweep: one job after another, whatever becomes of each."""

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
from bench.sweep.jobs import Cell, Fit, job_from_dict, lacking
from bench.sweep.status import State, Status, now
from bench.sweep.workspace import Reporter, Stopped, Workspace, threads

WORKER_DEATHS = 5
"""So many workers may die at one job before it is taken for the cause."""


@dataclass(frozen=True)
class Trial:
    """Jobs that one worker does, one after another.

    Attributes:
        jobs: as ``to_dict_of_job`` gives them.
        share: what it reserves.
    """

    jobs: list[dict[str, Any]]
    share: Share


@dataclass(frozen=True)
class Worker:
    """Does the jobs of trials, in this process.

    Attributes:
        workspace: what the jobs share.
        report: receives the title and the progress of a fit after each of its epochs.
    """

    workspace: Workspace
    report: Reporter

    def run(self, trial: Trial) -> Iterator[Status]:
        """Do a trial's jobs and tell how each ended; a failure does not stop the others.

        A job that another process has meanwhile ended is not done again, and those that others are
        doing are waited for once nothing else is left.

        Raises:
            Stopped: the user asked for it.
            WriteError: the store does not take what came out.
        """
        models = _Last()
        # Libraries of learners that are not imported yet would not be held to the threads.
        assert self.workspace.resolved.learners
        retain_freed_memory()
        if self.workspace.worker:
            _limit_memory(self.workspace.resolved.resources.memory_gib)
        with threads(max(1, int(trial.share.cpus))), closing(self._holding(trial.jobs)) as held:
            for job in held:
                yield self._do(job, models)

    def _holding(self, jobs: Sequence[dict[str, Any]]) -> Generator[Fit | Cell, None, None]:
        """Hold one job after another.

        Last come those that other processes held at their turn, and what needs these.
        """
        statuses = self.workspace.store.statuses
        busy: dict[str, Fit | Cell] = {}
        for job in map(job_from_dict, jobs):
            self.workspace.check_stop()
            with statuses.if_free(job.key) as free:
                if free and busy.keys().isdisjoint(job.needs):
                    yield job
                else:
                    busy[job.key] = job
        for job in busy.values():
            with statuses.held(job.key, self.workspace.check_stop):
                yield job

    def _do(self, job: Fit | Cell, models: "_Last") -> Status:
        """Do a job that is held, unless it has ended or has cost too many workers their lives."""
        known = self.workspace.store.statuses.read(job.key)
        if self.workspace.finished(job):
            if known is None or known.status == "running":
                # Its worker died between the result and the word of it.
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
        """Return a job's status after the worker that did it died: another attempt, or failed."""
        words = self.workspace.store.statuses.last_words(job.key)
        trace = words.read_text() if words.exists() else ""
        words.unlink(missing_ok=True)
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

    def _attempt(self, job: Fit | Cell, attempt: int, models: "_Last") -> Status:
        """Do a job and tell how it ended."""
        statuses, limit = self.workspace.store.statuses, self._limit(job)
        begun = Status(job.key, job.title, "running", now(), HOST, os.getpid(), attempt, limit)
        statuses.write(begun)
        state: State = "done"
        error, trace, clock = "", "", time.monotonic()
        try:
            with self._ending_at(limit, job):
                error, seconds = self._work(job, models)
            state = "skipped" if error else "done"
        except (KeyboardInterrupt, WriteError):
            statuses.forget(job.key)
            raise
        except Exception as problem:
            if self.workspace.stopping():
                # An interruption comes out of some libraries as an error of theirs.
                statuses.forget(job.key)
                raise Stopped from None
            # Whatever a model does wrong, the other cells must go on; it is told at the end.
            state, trace = "failed", traceback.format_exc()
            error = f"{type(problem).__name__}: {' '.join(str(problem).split())}"
            seconds = time.monotonic() - clock
        ended = replace(begun, status=state, seconds=seconds, error=error, trace=trace)
        statuses.write(ended)
        return ended

    def _work(self, job: Fit | Cell, models: "_Last") -> tuple[str, float]:
        """Do a job; return what it lacks, empty if nothing, and the seconds that it computed."""
        self.workspace.check_code(job.label if isinstance(job, Fit) else job.learner)
        if isinstance(job, Fit):
            return "", self.workspace.fit(job, self.report)
        absent = {
            key for key in (job.fit, job.judge) if key and not self.workspace.store.has_fit(key)
        }
        unkept = (
            {job.past} if job.past and not self.workspace.store.has_completion(job.past) else ()
        )
        if reason := lacking(job, absent, unkept):
            return reason, 0.0
        return "", self.workspace.evaluate(job, models.get(self.workspace, job))

    def _limit(self, job: Fit | Cell) -> float | None:
        """Return how many seconds a job may take."""
        resources = self.workspace.resolved.resources
        limit = resources.fit_timeout_s if isinstance(job, Fit) else resources.cell_timeout_s
        return limit if self.workspace.worker else None

    @contextmanager
    def _ending_at(self, limit: float | None, job: Fit | Cell) -> Iterator[None]:
        """End this process, leaving a traceback, if the block takes longer than ``limit`` seconds.

        No exception could get out of code that hangs without giving the interpreter a turn.
        """
        if limit is None:
            yield
            return
        words = self.workspace.store.statuses.last_words(job.key)
        with words.open("w") as file:
            faulthandler.dump_traceback_later(limit, exit=True, file=file)
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()
                words.unlink()


def _limit_memory(gib: float | None) -> None:
    """Let this process take so much more memory than it has; beyond, allocations fail.

    Linux counts what a process may write to against this limit, whoever allocates it.
    """
    if gib is None or sys.platform != "linux":
        return
    import resource

    soft = psutil.Process().memory_info().data + int(gib * 2**30)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


class _Last:
    """The model loaded last: cells of one fit stand together."""

    def __init__(self) -> None:
        self.key: str | None = None
        self.model: Learner | None = None

    def get(self, workspace: Workspace, cell: Cell) -> Learner:
        """Return what a cell needs fitted."""
        if self.model is None or self.key != cell.fit:
            self.model = workspace.load(cell.fit, cell.learner, cell.seed)
            self.key = cell.fit
        return self.model
