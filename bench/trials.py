"""What a trial does: fit models, complete and score occluded windows, keep what came out.

A trial gets plain values and gives back plain values. It does not know who runs it or where.
"""

import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from bench.cells import Evaluator
from bench.code import code_version
from bench.datasets.base import open_windows
from bench.motion import Windows, derive_seed
from bench.plan import Cell, Fit, from_plain
from bench.protocol import Protocol, resolve
from bench.registry import MODELS
from bench.store import Store
from bench.training import FitContext, Progress, write_history
from models.base import Model

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
        code: version of each model's code that the keys were made with, by label.
        foreign: fingerprint of each foreign data set's built windows, by label.
        device: auto, cpu or cuda.
        threads: CPU threads for torch; None leaves them as they are.
    """

    protocol: dict[str, Any]
    store: str
    data: str
    code: dict[str, str]
    foreign: dict[str, str] = field(default_factory=dict)
    device: str = "auto"
    threads: int | None = None

    @cached_property
    def _protocol(self) -> Protocol:
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
        has = self._store.has_fit if isinstance(job, Fit) else self._store.has_cell
        return has(job.key)

    def _check_code(self, label: str) -> None:
        """Raise RuntimeError if this process would run other code than the keys stand for."""
        if code_version(MODELS.get(self._protocol.models[label].model)) != self.code[label]:
            raise RuntimeError(
                f"the code of {label} is not what this run was planned with; it was edited "
                "meanwhile, or this machine has another version. Run again"
            )

    def windows(self, split: str) -> Windows:
        """Return a split's windows at the protocol's scale, memory-mapped where whole."""
        folder = self._store.windows / self.data
        windows = open_windows(folder, split, self._protocol.dataset)
        return windows.thin(getattr(self._protocol.scale, split))

    def build(self, label: str, seed: int) -> Model:
        """Return a model as it is before any fit; the seed settles its initial weights."""
        entry = self._protocol.models[label]
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed("init", seed))
            return MODELS.get(entry.model)(self._protocol.spec, entry.settings)

    def fit(self, fit: Fit, report: Reporter) -> None:
        """Fit a model and keep it."""
        begun = time.monotonic()
        model = self.build(fit.model, fit.seed)
        entry = self._protocol.models[fit.model]
        context = FitContext(
            seed=derive_seed("fit", fit.seed),
            device=self._device,
            folder=self._store.fit_folder(fit.key) if model.trained else None,
            report=lambda progress: report(fit.title, progress),
        )
        with torch.random.fork_rng():
            model.fit(
                _of_actions(self.windows("train"), entry.train_on),
                _of_actions(self.windows("valid"), entry.train_on),
                context,
            )
        model.eval()
        write_history(context.history, self._store.fit_folder(fit.key) / "history.csv")
        summary = {
            "model": fit.model,
            "seed": fit.seed,
            "parameters": model.parameter_count(),
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

    def evaluate(self, cells: list[Cell], model: Model) -> None:
        """Compute cells that are done together and keep them."""
        begun = time.monotonic()
        tables = self._evaluator.evaluate(cells, model)
        # The time of a window is its part of that of all cells here.
        seconds = (time.monotonic() - begun) / max(sum(map(len, tables)), 1)
        for cell, table in zip(cells, tables, strict=True):
            self._store.save_cell(cell.key, table.assign(seconds=seconds))

    def load(self, fit_key: str, label: str, seed: int) -> Model:
        """Return a fitted model, ready to complete."""
        model = self.build(label, seed)
        self._store.load_weights(fit_key, model)
        return model.to(self._device).eval()

    def run(self, jobs: list[dict[str, Any]], report: Reporter) -> Iterator[Outcome]:
        """Do jobs one after another and tell how each ended; a failure does not stop the others.

        A job that another worker has meanwhile finished is not done again. Cells that impute with
        one model and inference are done together; where that fails, one by one.
        """
        if self.threads:
            torch.set_num_threads(self.threads)
        models = _Last()
        for together in batches([from_plain(job) for job in jobs]):
            outcomes = self._attempt(together, models, report)
            if len(together) > 1 and outcomes[0].status == "failed":
                for item in together:
                    yield from self._attempt([item], models, report)
            else:
                yield from outcomes

    def _attempt(
        self, items: list[Fit] | list[Cell], models: "_Last", report: Reporter
    ) -> list[Outcome]:
        """Do a fit, or cells that are done together, and tell how each ended."""
        begun = time.monotonic()
        status, error, trace = "done", "", ""
        try:
            self._check_code(items[0].model)
            missing = [item for item in items if not self.finished(item)]
            if fits := [item for item in missing if isinstance(item, Fit)]:
                self.fit(fits[0], report)
            elif cells := [item for item in missing if isinstance(item, Cell)]:
                if self._store.has_fit(cells[0].fit):
                    self.evaluate(cells, models.get(self, cells[0]))
                else:
                    status = "skipped"
                    error = f"{cells[0].model} (seed {cells[0].seed}) was not fitted"
        except Exception as problem:
            # Whatever a model does wrong, the other cells must go on; it is told at the end.
            status, trace = "failed", traceback.format_exc()
            error = f"{type(problem).__name__}: {' '.join(str(problem).split())}"
        seconds = (time.monotonic() - begun) / len(items)
        return [Outcome(item.key, item.title, status, seconds, error, trace) for item in items]


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
        self.model: Model | None = None

    def get(self, workspace: Workspace, cell: Cell) -> Model:
        """Return a cell's fitted model."""
        if self.model is None or self.key != cell.fit:
            self.model = workspace.load(cell.fit, cell.model, cell.seed)
            self.key = cell.fit
        return self.model


def batches(items: Sequence[Fit | Cell]) -> Iterator[list[Any]]:
    """Yield neighbouring jobs that are done together."""

    def together(item: Fit | Cell) -> tuple[str, ...]:
        if isinstance(item, Cell) and item.task == "impute":
            return item.fit, item.inference
        return (item.key,)

    for _, group in groupby(items, key=together):
        yield list(group)


def available_cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
