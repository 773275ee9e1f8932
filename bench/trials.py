"""What a trial does: fit, complete and score occluded windows, foretell, keep what came out.

A trial gets plain values and leaves files in the store. It does not know who runs it or where.
"""

import faulthandler
import os
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import torch
from threadpoolctl import threadpool_limits

from bench.allocator import keep_memory
from bench.cells import Evaluator
from bench.code import code_version
from bench.datasets.cut import open_windows
from bench.errors import InputError, WriteError
from bench.files import HOST
from bench.learner import Learner
from bench.motion import Windows, derive_seed
from bench.plan import Cell, Fit, finished, from_plain, lacking
from bench.protocol import PredictorEntry, Protocol, Share
from bench.registry import load_plugin
from bench.resolving import resolve
from bench.status import State, Status, now
from bench.store import Store
from bench.training import FitContext, Progress, write_history
from models.base import Classifier, Model
from predictors.base import Predictor

Reporter = Callable[[str, Progress], None]
WORKER_DEATHS = 5
"""So many workers may die at one job before it is taken for the cause."""


class Stopped(KeyboardInterrupt):
    """The user asked for the sweep to stop."""


@dataclass(frozen=True)
class Trial:
    """Jobs that one worker does, one after another.

    Attributes:
        jobs: as ``plan.to_plain`` gives them.
        share: what it reserves.
    """

    jobs: list[dict[str, Any]]
    share: Share


@dataclass(frozen=True)
class Workspace:
    """What every job of a protocol shares.

    Attributes:
        protocol: the resolved protocol as plain values.
        store: folder of the store.
        data: fingerprint of the built windows in the store.
        code: version of each learner's code that the keys were made with, by label.
        foreign: fingerprint of each foreign data set's built windows, by label.
        device: auto, cpu or cuda.
        plugins: files that define what the protocol names beside what is built in.
        stop: a file that is there once no more jobs are to begin; empty: there is none.
        worker: whether this process may end itself at a job's limit of time, and limit its memory.
    """

    protocol: dict[str, Any]
    store: str
    data: str
    code: dict[str, str]
    foreign: dict[str, str] = field(default_factory=dict)
    device: str = "auto"
    plugins: tuple[str, ...] = ()
    stop: str = ""
    worker: bool = False

    @cached_property
    def resolved(self) -> Protocol:
        """The protocol."""
        for path in self.plugins:
            load_plugin(Path(path))
        return resolve(self.protocol)

    @cached_property
    def _store(self) -> Store:
        return Store(Path(self.store))

    @cached_property
    def _device(self) -> str:
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device

    def finished(self, job: Fit | Cell) -> bool:
        """Whether the store has what a job makes."""
        return finished(job, self._store)

    def _check_code(self, label: str) -> None:
        """Raise RuntimeError if this process would run other code than the keys stand for."""
        if code_version(self.resolved.learners[label].cls) != self.code[label]:
            raise RuntimeError(
                f"the code of {label} is not what this run was planned with; it was edited "
                "meanwhile, or this machine has another version. Run again"
            )

    def windows(self, split: str) -> Windows:
        """Return a split's windows at the protocol's scale, memory-mapped where whole."""
        folder = self._store.windows / self.data
        windows = open_windows(folder, split, self.resolved.dataset)
        return windows.thin(getattr(self.resolved.scale, split))

    def build(self, label: str, seed: int) -> Learner:
        """Return a learner as it is before any fit; the seed settles its initial weights."""
        entry = self.resolved.learners[label]
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed("init", seed))
            learner: Learner = entry.cls(self.resolved.spec, entry.settings)
        if isinstance(entry, PredictorEntry) and isinstance(learner, Predictor):
            occlusions = (self.resolved.occlusion[label] for label in entry.degraded)
            learner.occlusions = tuple(o.at(level, seed) for o in occlusions for level in o.levels)
        return learner

    def fit(self, fit: Fit, report: Reporter) -> float:
        """Fit a learner and keep it; return how many seconds that took."""
        begun = time.monotonic()
        model = self.build(fit.label, fit.seed)
        entry = self.resolved.learners[fit.label]
        actions = None if isinstance(entry, PredictorEntry) else entry.train_on
        train = _of_actions(self.windows("train"), actions)
        context = FitContext(
            seed=derive_seed("fit", fit.seed),
            device=self._device,
            folder=self._store.fit_folder(fit.key) if model.trained else None,
            report=lambda progress: self._report(fit, progress, report),
        )
        with torch.random.fork_rng():
            model.fit(train, _of_actions(self.windows("valid"), actions), context)
        model.eval()
        write_history(context.history, self._store.fit_folder(fit.key) / "history.csv")
        seconds = time.monotonic() - begun
        summary = {
            "model": fit.label,
            "seed": fit.seed,
            "parameters": model.parameter_count(),
            "train_windows": _seen(train, model),
            "device": self._device,
            "seconds": seconds,
            "last_epoch": context.history[-1] if context.history else None,
        }
        self._store.save_fit(fit.key, model.cpu(), summary)
        return seconds

    @cached_property
    def _evaluator(self) -> Evaluator:
        protocol = self.resolved
        foreign = {
            label: open_windows(self._store.windows / key, "test", protocol.foreign[label])
            for label, key in self.foreign.items()
        }
        return Evaluator(
            protocol,
            self.windows("train"),
            self.windows("test"),
            {label: windows.thin(protocol.scale.test) for label, windows in foreign.items()},
            self._device,
        )

    def evaluate(self, cell: Cell, learner: Learner) -> float:
        """Compute a cell and keep it; return how many seconds computing took."""
        begun = time.monotonic()
        if isinstance(learner, Predictor):
            past = self._store.load_completion(cell.past) if cell.past else None
            found = self._evaluator.forecast(cell, learner, past)
        else:
            assert isinstance(learner, Model)
            found = self._evaluator.evaluate(cell, learner, self._judge(cell))
        seconds = time.monotonic() - begun
        if cell.keep:
            self._store.save_completion(cell.key, found.completion)
        self._store.save_cell(cell.key, found.table)
        return seconds

    def rescore(self, cell: Cell) -> pd.DataFrame:
        """Return what hangs on a cell's kept completion alone, one row per window.

        Raises:
            InputError: what is kept is damaged.
        """
        with _threads(max(1, int(self.resolved.resources.evaluate.cpus))):
            kept = self._store.load_completion(cell.key)
            past = self._store.load_completion(cell.past) if cell.past else None
            try:
                return self._evaluator.rescore(cell, kept, past)
            except ValueError as error:
                raise InputError(f"{cell.title}: its completion is not its own: {error}") from None

    def _judge(self, cell: Cell) -> Classifier | None:
        """Return who judges what a cell draws, if anybody does."""
        if not cell.judge:
            return None
        judge = self.load(cell.judge, self.resolved.judge, cell.seed)
        assert isinstance(judge, Classifier)
        return judge

    def load(self, fit_key: str, label: str, seed: int) -> Learner:
        """Return what was fitted, ready for use."""
        model = self.build(label, seed)
        self._store.load_weights(fit_key, model)
        return model.to(self._device).eval()

    def _report(self, fit: Fit, progress: Progress, report: Reporter) -> None:
        """Tell how a fit stands, and stop it where it can go on later if the user asked for that"""
        report(fit.title, progress)
        if progress.epoch < progress.epochs:
            self._check_stop()

    def stopping(self) -> bool:
        """Return whether no more jobs are to begin."""
        return bool(self.stop) and os.path.exists(self.stop)

    def _check_stop(self) -> None:
        """Raise Stopped if no more jobs are to begin."""
        if self.stopping():
            raise Stopped

    def left(self, jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the jobs that have not ended, well or not."""
        return [job for job in jobs if not self.ended(from_plain(job))]

    def ended(self, job: Fit | Cell) -> bool:
        """Return whether a job is done, failed or skipped."""
        if self.finished(job):
            return True
        status = self._store.statuses.read(job.key)
        return status is not None and status.status in ("failed", "skipped")

    def standing(self, jobs: Iterable[dict[str, Any]]) -> list[Status | None]:
        """Return how every one of some jobs stands."""
        return [self._store.statuses.read(job["key"]) for job in jobs]

    def busy(self, jobs: Iterable[dict[str, Any]]) -> bool:
        """Return whether any process does one of some jobs now."""
        return any(
            status is not None
            and status.status == "running"
            and not self._store.statuses.free(status.key)
            for status in self.standing(jobs)
        )

    def note_death(self, jobs: Iterable[dict[str, Any]], reason: str) -> None:
        """Keep why the worker died that was doing one of some jobs."""
        statuses = self._store.statuses
        for status in self.standing(jobs):
            if status is not None and status.status == "running":
                with statuses.if_free(status.key) as free:
                    if free:
                        statuses.write(replace(status, error=reason))

    def let_go(self, jobs: Sequence[Fit | Cell]) -> None:
        """Make jobs ones that nobody has begun whose workers were ended on purpose."""
        statuses = self._store.statuses
        for job in jobs:
            status = statuses.read(job.key)
            if status is not None and status.status == "running":
                with statuses.if_free(job.key) as free:
                    if free:
                        statuses.forget(job.key)

    def give_up(self, jobs: Iterable[dict[str, Any]], reason: str) -> None:
        """Mark jobs failed that no worker gets to."""
        for job in map(from_plain, jobs):
            error = f"no worker got to it: {reason or 'they died'}"
            self._store.statuses.write(Status(job.key, job.title, "failed", now(), error=error))

    def run(self, trial: Trial, report: Reporter) -> Iterator[Status]:
        """Do a trial's jobs and tell how each ended; a failure does not stop the others.

        A job that another process has meanwhile ended is not done again, and those that others are
        doing are waited for once nothing else is left.

        Raises:
            Stopped: the user asked for it.
            WriteError: the store does not take what came out.
        """
        models, threads = _Last(), max(1, int(trial.share.cpus))
        # Libraries of learners that are not imported yet would not be held to the threads.
        assert self.resolved.learners
        keep_memory()
        if self.worker:
            _limit_memory(self.resolved.resources.memory_gib)
        with _threads(threads), closing(self._holding(trial.jobs)) as held:
            for job in held:
                yield self._do(job, models, report)

    def _holding(self, jobs: Sequence[dict[str, Any]]) -> Generator[Fit | Cell, None, None]:
        """Hold one job after another.

        Last come those that other processes held at their turn, and what needs these.
        """
        statuses = self._store.statuses
        busy: dict[str, Fit | Cell] = {}
        for job in map(from_plain, jobs):
            self._check_stop()
            with statuses.if_free(job.key) as free:
                if free and busy.keys().isdisjoint(job.needs):
                    yield job
                else:
                    busy[job.key] = job
        for job in busy.values():
            with statuses.held(job.key, self._check_stop):
                yield job

    def _do(self, job: Fit | Cell, models: "_Last", report: Reporter) -> Status:
        """Do a job that is held, unless it has ended or has cost too many workers their lives."""
        known = self._store.statuses.read(job.key)
        if self.finished(job):
            if known is None or known.status == "running":
                # Its worker died between the result and the word of it.
                known = Status(job.key, job.title, "done")
                self._store.statuses.write(known)
            return known
        if known and known.status == "failed":
            return known
        attempt = 1
        if known and known.status == "running":
            known = self._after_death(job, known)
            if known.status == "failed":
                self._store.statuses.write(known)
                return known
            attempt = known.attempt
        return self._attempt(job, attempt, models, report)

    def _after_death(self, job: Fit | Cell, left: Status) -> Status:
        """Return a job's status after the worker that did it died: another attempt, or failed."""
        words = self._store.statuses.last_words(job.key)
        trace = words.read_text() if words.exists() else ""
        words.unlink(missing_ok=True)
        if trace:
            error = f"timed out after {left.limit:g} s"
            return replace(left, status="failed", error=error, trace=trace, seconds=left.limit or 0)
        if self._store.progressed(job.key, left.since):
            return replace(left, attempt=1)
        if left.attempt >= WORKER_DEATHS:
            reason = f"; the last time {left.error}" if left.error else ""
            error = f"its worker died {left.attempt} times{reason}"
            return replace(left, status="failed", error=error)
        return replace(left, attempt=left.attempt + 1)

    def _attempt(self, job: Fit | Cell, attempt: int, models: "_Last", report: Reporter) -> Status:
        """Do a job and tell how it ended."""
        statuses, limit = self._store.statuses, self._limit(job)
        begun = Status(job.key, job.title, "running", now(), HOST, os.getpid(), attempt, limit)
        statuses.write(begun)
        state: State = "done"
        error, trace, clock = "", "", time.monotonic()
        try:
            with self._ending_at(limit, job):
                error, seconds = self._work(job, models, report)
            state = "skipped" if error else "done"
        except (KeyboardInterrupt, WriteError):
            statuses.forget(job.key)
            raise
        except Exception as problem:
            if self.stopping():
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

    def _work(self, job: Fit | Cell, models: "_Last", report: Reporter) -> tuple[str, float]:
        """Do a job; return what it lacks, empty if nothing, and the seconds that it computed."""
        self._check_code(job.label if isinstance(job, Fit) else job.learner)
        if isinstance(job, Fit):
            return "", self.fit(job, report)
        absent = {key for key in (job.fit, job.judge) if key and not self._store.has_fit(key)}
        unkept = {job.past} if job.past and not self._store.has_completion(job.past) else ()
        if reason := lacking(job, absent, unkept):
            return reason, 0.0
        return "", self.evaluate(job, models.get(self, job))

    def _limit(self, job: Fit | Cell) -> float | None:
        """Return how many seconds a job may take."""
        resources = self.resolved.resources
        limit = resources.fit_timeout_s if isinstance(job, Fit) else resources.cell_timeout_s
        return limit if self.worker else None

    @contextmanager
    def _ending_at(self, limit: float | None, job: Fit | Cell) -> Iterator[None]:
        """End this process, leaving a traceback, if the block takes longer than ``limit`` seconds.

        No exception could get out of code that hangs without giving the interpreter a turn.
        """
        if limit is None:
            yield
            return
        words = self._store.statuses.last_words(job.key)
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


def _seen(train: Windows, learner: Learner) -> int:
    """Return how many windows a fit is about: to a predictor those alone that have a future."""
    return int(train.continued.sum()) if isinstance(learner, Predictor) else len(train)


def _of_actions(windows: Windows, actions: tuple[str, ...] | None) -> Windows:
    """Return the windows of some actions; raises ValueError if there are none."""
    if not actions:
        return windows
    chosen = windows.take(windows.index["action"].isin(actions).to_numpy())
    if not len(chosen):
        raise ValueError(f"train_on: no windows of {', '.join(actions)}")
    return chosen


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


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute with so many threads in the block, whoever computes.

    Sums are split among threads, so their number decides the last digits of what comes out.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)


def available_cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
