"""What a trial does: fit, complete and score occluded windows, foretell, keep what came out.

A trial gets plain values and gives back plain values. It does not know who runs it or where.
"""

import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from bench.cells import Evaluator
from bench.code import code_version
from bench.datasets.cut import open_windows
from bench.learner import Learner
from bench.motion import Windows, derive_seed
from bench.plan import Cell, Fit, finished, from_plain
from bench.protocol import PredictorEntry, Protocol, resolve
from bench.registry import load_plugin
from bench.store import Store
from bench.training import FitContext, Progress, write_history
from models.base import Classifier, Model
from predictors.base import Predictor

Reporter = Callable[[str, Progress], None]


@dataclass(frozen=True)
class Outcome:
    """How one job of a trial ended: ``done``, ``failed``, or ``skipped`` for want of its fit."""

    key: str
    title: str
    status: str
    seconds: float = 0.0
    error: str = ""
    trace: str = ""


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
        threads: CPU threads to compute with.
        plugins: files that define what the protocol names beside what is built in.
    """

    protocol: dict[str, Any]
    store: str
    data: str
    code: dict[str, str]
    foreign: dict[str, str] = field(default_factory=dict)
    device: str = "auto"
    threads: int = 1
    plugins: tuple[str, ...] = ()

    @cached_property
    def _protocol(self) -> Protocol:
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
        if code_version(self._protocol.learners[label].cls) != self.code[label]:
            raise RuntimeError(
                f"the code of {label} is not what this run was planned with; it was edited "
                "meanwhile, or this machine has another version. Run again"
            )

    def windows(self, split: str) -> Windows:
        """Return a split's windows at the protocol's scale, memory-mapped where whole."""
        folder = self._store.windows / self.data
        windows = open_windows(folder, split, self._protocol.dataset)
        return windows.thin(getattr(self._protocol.scale, split))

    def build(self, label: str, seed: int) -> Learner:
        """Return a learner as it is before any fit; the seed settles its initial weights."""
        entry = self._protocol.learners[label]
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed("init", seed))
            learner: Learner = entry.cls(self._protocol.spec, entry.settings)
        if isinstance(entry, PredictorEntry) and isinstance(learner, Predictor):
            occlusions = (self._protocol.occlusion[label] for label in entry.degraded)
            learner.occlusions = tuple(o.at(level, seed) for o in occlusions for level in o.levels)
        return learner

    def fit(self, fit: Fit, report: Reporter) -> None:
        """Fit a learner and keep it."""
        begun = time.monotonic()
        model = self.build(fit.label, fit.seed)
        entry = self._protocol.learners[fit.label]
        actions = None if isinstance(entry, PredictorEntry) else entry.train_on
        train = _of_actions(self.windows("train"), actions)
        context = FitContext(
            seed=derive_seed("fit", fit.seed),
            device=self._device,
            folder=self._store.fit_folder(fit.key) if model.trained else None,
            report=lambda progress: report(fit.title, progress),
        )
        with torch.random.fork_rng():
            model.fit(train, _of_actions(self.windows("valid"), actions), context)
        model.eval()
        write_history(context.history, self._store.fit_folder(fit.key) / "history.csv")
        summary = {
            "model": fit.label,
            "seed": fit.seed,
            "parameters": model.parameter_count(),
            "train_windows": _seen(train, model),
            "device": self._device,
            "seconds": time.monotonic() - begun,
            "last_epoch": context.history[-1] if context.history else None,
        }
        self._store.save_fit(fit.key, model.cpu(), summary)

    @cached_property
    def _evaluator(self) -> Evaluator:
        protocol = self._protocol
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

    def evaluate(self, cell: Cell, learner: Learner) -> None:
        """Compute a cell and keep it."""
        begun = time.monotonic()
        if isinstance(learner, Predictor):
            past = self._store.load_completion(cell.past) if cell.past else None
            found = self._evaluator.forecast(cell, learner, past)
        else:
            assert isinstance(learner, Model)
            found = self._evaluator.evaluate(cell, learner, self._judge(cell))
        self._store.save_seconds(cell.key, time.monotonic() - begun)
        if cell.keep:
            self._store.save_completion(cell.key, found.completion)
        self._store.save_cell(cell.key, found.table)

    def _judge(self, cell: Cell) -> Classifier | None:
        """Return who judges what a cell draws, if anybody does."""
        if not cell.judge:
            return None
        judge = self.load(cell.judge, self._protocol.judge, cell.seed)
        assert isinstance(judge, Classifier)
        return judge

    def load(self, fit_key: str, label: str, seed: int) -> Learner:
        """Return what was fitted, ready for use."""
        model = self.build(label, seed)
        self._store.load_weights(fit_key, model)
        return model.to(self._device).eval()

    def run(self, jobs: list[dict[str, Any]], report: Reporter) -> Iterator[Outcome]:
        """Do jobs one after another and tell how each ended; a failure does not stop the others.

        A job that another worker has meanwhile finished is not done again.
        """
        models = _Last()
        # Libraries of learners that are not imported yet would not be held to the threads.
        assert self._protocol.learners
        with _threads(self.threads):
            for job in map(from_plain, jobs):
                yield self._attempt(job, models, report)

    def _lacking(self, cell: Cell) -> str:
        """Return what a cell needs and has not, empty if nothing."""
        if not self._store.has_fit(cell.fit):
            return f"{cell.learner} (seed {cell.seed}) was not fitted"
        if cell.judge and not self._store.has_fit(cell.judge):
            return f"{self._protocol.judge} (seed {cell.seed}) was not fitted"
        if cell.past and not self._store.has_completion(cell.past):
            return f"its past was not completed by {cell.model}"
        return ""

    def _attempt(self, job: Fit | Cell, models: "_Last", report: Reporter) -> Outcome:
        """Do a job and tell how it ended."""
        begun = time.monotonic()
        status, error, trace = "done", "", ""
        try:
            self._check_code(job.label if isinstance(job, Fit) else job.learner)
            if self.finished(job):
                pass
            elif isinstance(job, Fit):
                self.fit(job, report)
            elif reason := self._lacking(job):
                status, error = "skipped", reason
            else:
                self.evaluate(job, models.get(self, job))
        except Exception as problem:
            # Whatever a model does wrong, the other cells must go on; it is told at the end.
            status, trace = "failed", traceback.format_exc()
            error = f"{type(problem).__name__}: {' '.join(str(problem).split())}"
        return Outcome(job.key, job.title, status, time.monotonic() - begun, error, trace)


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
