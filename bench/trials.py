"""What a trial does: fit models, complete and score occluded windows, keep what came out.

A trial gets plain values and gives back plain values. It does not know who runs it or where.
"""

import os
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from bench import metrics
from bench.code import code_version
from bench.datasets.base import open_windows
from bench.motion import Windows, derive_seed
from bench.motion.occlusion import Level
from bench.plan import DEGRADED, Cell, Fit, from_plain
from bench.protocol import Protocol, resolve
from bench.registry import INFERENCES, MODELS
from bench.store import Store
from bench.training import FitContext, Progress, write_history
from models.base import GenerativeImputer, Imputer

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
        device: auto, cpu or cuda.
        threads: CPU threads for torch; None leaves them as they are.
    """

    protocol: dict[str, Any]
    store: str
    data: str
    code: dict[str, str]
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

    def build(self, label: str, seed: int) -> Imputer:
        """Return a model as it is before any fit; the seed settles its initial weights."""
        entry = self._protocol.models[label]
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed("init", seed))
            return MODELS.get(entry.model)(self._protocol.spec, entry.settings)

    def fit(self, fit: Fit, report: Reporter) -> None:
        """Fit a model and keep it."""
        begun = time.monotonic()
        model = self.build(fit.model, fit.seed)
        context = FitContext(
            seed=derive_seed("fit", fit.seed),
            device=self._device,
            folder=self._store.fit_folder(fit.key) if model.trained else None,
            report=lambda progress: report(fit.title, progress),
        )
        with torch.random.fork_rng():
            model.fit(self.windows("train"), self.windows("valid"), context)
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

    def evaluate(self, cell: Cell, model: Imputer) -> None:
        """Compute one cell on the test windows and keep it."""
        windows = self.windows("test")
        truth = windows.tensor().to(self._device)
        values: dict[str, Any] = {"window": windows.names, "source": windows.index["source"]}
        begun = time.monotonic()
        if not cell.mechanism:
            values["share"] = 0.0
            values |= _scores(model, truth)
        else:
            entry = self._protocol.occlusion[cell.mechanism]
            occluded = entry.at(Level.parse(cell.level), cell.seed).occluded(windows)
            values["share"] = occluded.reshape(len(occluded), -1).mean(axis=1)
            values |= self._impute(cell, model, truth, torch.from_numpy(occluded))
        # The time of a window is its part of the cell's.
        values["seconds"] = (time.monotonic() - begun) / max(len(windows), 1)
        self._store.save_cell(cell.key, pd.DataFrame(values))

    def _impute(
        self, cell: Cell, model: Imputer, truth: torch.Tensor, occluded: torch.Tensor
    ) -> dict[str, Any]:
        occluded = occluded.to(truth.device)
        if isinstance(model, GenerativeImputer):
            chosen = self._protocol.inference.get(cell.inference)
            model.inference = chosen or INFERENCES.get(cell.inference)()
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed("impute", cell.mechanism, cell.level, cell.seed))
            completed = model.impute(truth, occluded).motion
        scores = _scores(model, completed)
        if cell.inference == DEGRADED:
            return scores
        return {
            "mse": metrics.mse(completed, truth, occluded).cpu().numpy(),
            "mpjpe": metrics.mpjpe(completed, truth, occluded).cpu().numpy(),
            **scores,
        }

    def load(self, fit_key: str, label: str, seed: int) -> Imputer:
        """Return a fitted model, ready to complete."""
        model = self.build(label, seed)
        self._store.load_weights(fit_key, model)
        return model.to(self._device).eval()

    def run(self, jobs: list[dict[str, Any]], report: Reporter) -> Iterator[Outcome]:
        """Do jobs one after another and tell how each ended; a failure does not stop the others.

        A job that another worker has meanwhile finished is not done again.
        """
        if self.threads:
            torch.set_num_threads(self.threads)
        loaded: tuple[str, Imputer] | None = None
        for job in jobs:
            begun, item = time.monotonic(), from_plain(job)
            status, error, trace = "done", "", ""
            try:
                self._check_code(item.model)
                if isinstance(item, Fit):
                    if not self._store.has_fit(item.key):
                        self.fit(item, report)
                elif not self._store.has_fit(item.fit):
                    status, error = "skipped", f"{item.model} (seed {item.seed}) was not fitted"
                elif not self._store.has_cell(item.key):
                    if loaded is None or loaded[0] != item.fit:
                        loaded = (item.fit, self.load(item.fit, item.model, item.seed))
                    self.evaluate(item, loaded[1])
            except Exception as problem:
                # Whatever a model does wrong, the other cells must go on; it is told at the end.
                status, trace = "failed", traceback.format_exc()
                error = f"{type(problem).__name__}: {' '.join(str(problem).split())}"
            seconds = time.monotonic() - begun
            yield Outcome(item.key, item.title, status, seconds, error, trace)


def _scores(model: Imputer, motion: torch.Tensor) -> dict[str, np.ndarray]:
    if not isinstance(model, GenerativeImputer):
        return {}
    total = model.score(motion).total
    if not torch.isfinite(total).all():
        raise FloatingPointError(f"{model.name} scored windows with values not finite")
    return {"nlp": total.double().cpu().numpy()}


def available_cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
