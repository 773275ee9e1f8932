"""Computes fits and cells: reads inputs from the store and writes results to it."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from bench.core.code_versions import code_version
from bench.core.errors import InputError
from bench.core.registry import load_plugin
from bench.datasets.cut import open_windows
from bench.fitting.learner import Learner
from bench.fitting.precision import Precision, chosen
from bench.fitting.training import FitContext, Progress, TrainSettings, write_history
from bench.motion import Windows, derive_seed
from bench.protocol.resolving import resolve
from bench.protocol.schema import PredictorEntry, Protocol
from bench.sweep.cells import Evaluator
from bench.sweep.costs import Meter
from bench.sweep.jobs import Cell, Fit, finished, job_from_dict
from bench.sweep.status import Status, now
from bench.sweep.store import Store
from models.base import Classifier, Model
from predictors.base import Predictor

Reporter = Callable[[Fit, Progress], None]
"""Is called with a fit's title and its progress."""


class Stopped(KeyboardInterrupt):
    """The user stopped the sweep."""


@dataclass(frozen=True)
class Workspace:
    """What all jobs of a sweep share, as plain values that can be sent to workers.

    Attributes:
        protocol: the resolved protocol as plain values.
        store_folder: path of the store.
        data: fingerprint of the built windows in the store.
        code: code version of each learner when the keys were made, by label.
        foreign: fingerprint of each foreign data set's built windows, by label.
        device: auto, cpu or cuda.
        plugins: paths of files with further classes that the protocol names.
        stop: path of a file that exists once no more jobs may begin; empty for no such file.
        worker: whether this process may exit at a job's timeout and limit its own memory.
    """

    protocol: dict[str, Any]
    store_folder: str
    data: str
    code: dict[str, str]
    foreign: dict[str, str] = field(default_factory=dict)
    device: str = "auto"
    plugins: tuple[str, ...] = ()
    stop: str = ""
    worker: bool = False

    @cached_property
    def resolved(self) -> Protocol:
        """The protocol, resolved after loading the plugins."""
        for path in self.plugins:
            load_plugin(Path(path))
        return resolve(self.protocol)

    @cached_property
    def store(self) -> Store:
        """The store."""
        return Store(Path(self.store_folder))

    @cached_property
    def _device(self) -> str:
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device

    def finished(self, job: Fit | Cell) -> bool:
        """Return whether the store has a job's result, and its kept motion if it keeps any."""
        return finished(job, self.store)

    def check_code(self, label: str) -> None:
        """Raise RuntimeError if a learner's code is not the version that keys were made with."""
        if code_version(self.resolved.learners[label].cls) != self.code[label]:
            raise RuntimeError(
                f"the code of {label} differs from the version that this run was planned with: it "
                "was edited meanwhile, or this machine has another version. Run again"
            )

    def windows(self, split: str) -> Windows:
        """Return a split's windows, thinned to the protocol's scale or else memory-mapped."""
        folder = self.store.windows / self.data
        windows = open_windows(folder, split, self.resolved.dataset)
        return windows.thin(getattr(self.resolved.scale, split))

    def build(self, label: str, seed: int) -> Learner:
        """Return a learner before its fit, with initial weights of the seed."""
        entry = self.resolved.learners[label]
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed("init", seed))
            learner: Learner = entry.cls(self.resolved.spec, entry.settings)
        if isinstance(entry, PredictorEntry) and isinstance(learner, Predictor):
            occlusions = (self.resolved.occlusion[label] for label in entry.degraded)
            learner.occlusions = tuple(o.at(level, seed) for o in occlusions for level in o.levels)
        return learner

    def fit(self, fit: Fit, report: Reporter) -> Meter:
        """Fit a learner and store it; return what that took."""
        with Meter(self._device) as meter:
            model = self.build(fit.label, fit.seed)
            entry = self.resolved.learners[fit.label]
            actions = None if isinstance(entry, PredictorEntry) else entry.train_on
            train = _of_actions(self.windows("train"), actions)
            context = FitContext(
                seed=derive_seed("fit", fit.seed),
                device=self._device,
                folder=self.store.fit_folder(fit.key) if model.trained else None,
                masks=self.resolved.masks if model.uses_masks else None,
                report=lambda progress: self._report(fit, progress, report),
            )
            with torch.random.fork_rng():
                model.fit(train, _of_actions(self.windows("valid"), actions), context)
            model.eval()
            write_history(context.history, self.store.fit_folder(fit.key) / "history.csv")
        meter.seconds += context.before
        summary = {
            "model": fit.label,
            "seed": fit.seed,
            "parameters": model.parameter_count(),
            "train_windows": _window_count(train, model),
            "device": self._device,
            "precision": _precision(entry.settings, self._device),
            "seconds": meter.seconds,
            "memory": meter.memory,
            "last_epoch": context.history[-1] if context.history else None,
        }
        self.store.save_fit(fit.key, model.cpu(), summary)
        return meter

    @cached_property
    def _evaluator(self) -> Evaluator:
        protocol = self.resolved
        foreign = {
            label: open_windows(self.store.windows / key, "test", protocol.foreign[label])
            for label, key in self.foreign.items()
        }
        return Evaluator(
            protocol,
            self.windows("train"),
            self.windows("test"),
            {label: windows.thin(protocol.scale.test) for label, windows in foreign.items()},
            self._device,
        )

    def evaluate(self, cell: Cell, learner: Learner) -> Meter:
        """Compute a cell and store its result; return what computing took."""
        with Meter(self._device) as meter:
            if isinstance(learner, Predictor):
                past = self.store.load_completion(cell.past) if cell.past else None
                result = self._evaluator.forecast(cell, learner, past)
            else:
                assert isinstance(learner, Model)
                result = self._evaluator.evaluate(cell, learner, self._judge(cell))
        if cell.keep:
            self.store.save_completion(cell.key, result.completion)
        if result.exhibit:
            self.store.save_arrays(cell.key, cell.windows, vars(result.exhibit))
        self.store.save_cell(cell.key, result.table)
        return meter

    def rescore(self, cell: Cell) -> pd.DataFrame:
        """Return the errors of a cell's stored motion, one row per window.

        Args:
            cell: a cell that is ``rescorable``.

        Raises:
            InputError: the stored motion is damaged or does not belong to the cell.
        """
        with threads(max(1, int(self.resolved.resources.evaluate.cpus))):
            kept = self.store.load_completion(cell.key)
            past = self.store.load_completion(cell.past) if cell.past else None
            try:
                return self._evaluator.rescore(cell, kept, past)
            except ValueError as error:
                raise InputError(f"{cell.title}: the stored motion is not valid: {error}") from None

    def _judge(self, cell: Cell) -> Classifier | None:
        """Return the fitted classifier that judges a cell's windows; None if there is none."""
        if not cell.judge:
            return None
        judge = self.load(cell.judge, self.resolved.judge, cell.seed)
        assert isinstance(judge, Classifier)
        return judge

    def load(self, fit_key: str, label: str, seed: int) -> Learner:
        """Return a fitted learner in evaluation mode, on the device."""
        model = self.build(label, seed)
        self.store.load_weights(fit_key, model)
        return model.to(self._device).eval()

    def keep_progress(self, fit: Fit, progress: Progress) -> None:
        """Store the progress of a fit, for the process that shows it."""
        self.store.statuses.write_progress(fit.key, asdict(progress))

    def _report(self, fit: Fit, progress: Progress, report: Reporter) -> None:
        """Report a fit's progress; raise Stopped between epochs if the user stopped the sweep."""
        report(fit, progress)
        if progress.epoch < progress.epochs:
            self.check_stop()

    def stopping(self) -> bool:
        """Return whether the user has stopped the sweep, so that no more jobs may begin."""
        return bool(self.stop) and os.path.exists(self.stop)

    def check_stop(self) -> None:
        """Raise Stopped if the user has stopped the sweep."""
        if self.stopping():
            raise Stopped

    def left(self, jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the jobs that have not ended."""
        return [job for job in jobs if not self.ended(job_from_dict(job))]

    def ended(self, job: Fit | Cell) -> bool:
        """Return whether a job is done, failed or skipped."""
        if self.finished(job):
            return True
        status = self.store.statuses.read(job.key)
        return status is not None and status.status in ("failed", "skipped")

    def statuses_of(self, jobs: Iterable[dict[str, Any]]) -> list[Status | None]:
        """Return the stored status of each job; None for one that has not begun."""
        return [self.store.statuses.read(job["key"]) for job in jobs]

    def busy(self, jobs: Iterable[dict[str, Any]]) -> bool:
        """Return whether any process is running one of the jobs now."""
        return any(
            status is not None
            and status.status == "running"
            and not self.store.statuses.is_free(status.key)
            for status in self.statuses_of(jobs)
        )

    def record_worker_death(self, jobs: Iterable[dict[str, Any]], reason: str) -> None:
        """Store why the worker died that was running one of the jobs."""
        statuses = self.store.statuses
        for status in self.statuses_of(jobs):
            if status is not None and status.status == "running":
                with statuses.try_lock(status.key) as locked:
                    if locked:
                        statuses.write(replace(status, error=reason))

    def release(self, jobs: Sequence[Fit | Cell]) -> None:
        """Delete the status of jobs whose workers were stopped, as if they had not begun."""
        statuses = self.store.statuses
        for job in jobs:
            status = statuses.read(job.key)
            if status is not None and status.status == "running":
                with statuses.try_lock(job.key) as locked:
                    if locked:
                        statuses.forget(job.key)

    def mark_unreachable(self, jobs: Iterable[dict[str, Any]], reason: str) -> None:
        """Mark jobs as failed that no worker could run, because of ``reason``."""
        for job in map(job_from_dict, jobs):
            error = f"no worker could run it: {reason or 'all of them died'}"
            self.store.statuses.write(Status(job.key, job.title, "failed", now(), error=error))


def _window_count(train: Windows, learner: Learner) -> int:
    """Return the number of windows a learner is fitted on: predictors need a future."""
    return int(train.continued.sum()) if isinstance(learner, Predictor) else len(train)


def _of_actions(windows: Windows, actions: tuple[str, ...] | None) -> Windows:
    """Return the windows of some actions, all for None; raises ValueError if there are none."""
    if not actions:
        return windows
    chosen = windows.take(windows.index["action"].isin(actions).to_numpy())
    if not len(chosen):
        raise ValueError(f"train_on: no windows of {', '.join(actions)}")
    return chosen


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Set the number of threads of torch and all other libraries for the block.

    Sums are split among threads, so rounding depends on their number.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)


def _precision(settings: object, device: str) -> Precision | None:
    """Return what a fit's matrix products are computed in; None if it does not say."""
    return chosen(settings.precision, device) if isinstance(settings, TrainSettings) else None
