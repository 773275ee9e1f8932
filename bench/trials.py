"""What a trial does: fit models, complete and score occluded windows, keep what came out.

A trial gets plain values and gives back plain values. It does not know who runs it or where.
"""

import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, cast

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
from models.base import Detector, GenerativeImputer, Imputer, Model

BATCH = 1600
"""Windows that are completed at a time, over all levels; inference may take them in parts."""

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

    def evaluate(self, cells: list[Cell], model: Model) -> None:
        """Compute cells of one model and inference on the test windows and keep them."""
        begun = time.monotonic()
        tables = self._impute(cells, model) if cells[0].task == "impute" else []
        for cell in cells[len(tables) :]:
            tables.append(self._other(cell, model))
        # The time of a window is its part of that of all cells here.
        seconds = (time.monotonic() - begun) / max(sum(map(len, tables)), 1)
        for cell, table in zip(cells, tables, strict=True):
            self._store.save_cell(cell.key, table.assign(seconds=seconds))

    def _other(self, cell: Cell, model: Model) -> pd.DataFrame:
        """Compute a cell of any task but to impute."""
        if cell.task == "sample":
            return self._sample(cell, model)
        windows = self._windows_of(cell)
        motion = self._corrupted(cell, windows)
        values = _scores(model, motion)
        if cell.task == "clean":
            values |= self._clean(cell, model, windows, motion)
        return _table(windows, **values)

    def _windows_of(self, cell: Cell) -> Windows:
        """Return the windows that a cell is about; those of actions fitted on, or all others."""
        if cell.task == "foreign":
            dataset = self._protocol.foreign[cell.mechanism]
            folder = self._store.windows / self.foreign[cell.mechanism]
            foreign = open_windows(folder, "test", dataset).thin(self._protocol.scale.test)
            # A recording there may have the name of one here.
            source = cell.mechanism + "/" + foreign.index["source"].astype(str)
            return replace(foreign, index=foreign.index.assign(source=source))
        windows = self.windows("test")
        actions = self._protocol.models[cell.model].train_on
        if not actions:
            return windows
        seen = windows.index["action"].isin(actions).to_numpy()
        return windows.take(~seen if cell.task == "unseen" else seen)

    def _corrupted(self, cell: Cell, windows: Windows) -> torch.Tensor:
        if cell.task != "corrupt":
            return windows.tensor().to(self._device)
        entry = self._protocol.corruption[cell.mechanism]
        (level,) = (level for level in entry.levels if entry.label(level) == cell.level)
        return torch.from_numpy(entry.at(level, cell.seed).apply(windows)).to(self._device)

    def _clean(
        self, cell: Cell, model: Model, windows: Windows, motion: torch.Tensor
    ) -> dict[str, Any]:
        """Return how well a generative model reconstructs, and how well its latents tell actions"""
        values: dict[str, Any] = {}
        if isinstance(model, GenerativeImputer):
            error = (model.reconstruct(motion) - motion).double().square()
            values["reconstruction_mse"] = error.flatten(1).mean(dim=1).cpu().numpy()
        if isinstance(model, Detector) and not self._protocol.models[cell.model].train_on:
            train = self.windows("train")
            latents = model.embed(train.tensor().to(self._device))
            if latents is not None:
                values["action_correct"] = metrics.action_correct(
                    latents,
                    list(train.index["action"]),
                    cast(torch.Tensor, model.embed(motion)),
                    list(windows.index["action"]),
                )
        return values

    def _sample(self, cell: Cell, model: Model) -> pd.DataFrame:
        """Draw windows from a model and hold their bones against those of the test windows."""
        assert isinstance(model, GenerativeImputer)
        count, bones = self._protocol.scale.samples, self._protocol.spec.skeleton.bones
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed("sample", cell.seed))
            drawn = model.sample(count)
        real = metrics.bone_lengths(self.windows("test").tensor().to(self._device), bones)
        share, excess = metrics.bones_in_range(metrics.bone_lengths(drawn, bones), real)
        if not torch.isfinite(excess).all():
            raise FloatingPointError(f"{model.name} drew windows with values not finite")
        names = [f"sample@{number}" for number in range(count)]
        return pd.DataFrame(
            {
                "window": names,
                "source": names,
                "share": 0.0,
                "bones_in_range": share.cpu().numpy(),
                "bone_excess": excess.cpu().numpy(),
            }
        )

    def _impute(self, cells: list[Cell], model: Model) -> list[pd.DataFrame]:
        """Compute cells that impute, all their levels in one batch, a part of the windows a time"""
        windows = self.windows("test")
        parts: list[list[pd.DataFrame]] = [[] for _ in cells]
        size = max(1, BATCH // len(cells))
        for start in range(0, len(windows), size):
            some = windows.take(slice(start, start + size))
            for done, table in zip(parts, self._impute_some(cells, model, some), strict=True):
                done.append(table)
        return [pd.concat(done, ignore_index=True) for done in parts]

    def _impute_some(
        self, cells: list[Cell], model: Model, windows: Windows
    ) -> Iterator[pd.DataFrame]:
        one = windows.tensor().to(self._device)
        masks = [self._occluded(cell, windows).to(self._device) for cell in cells]
        truth, occluded = one.repeat(len(cells), 1, 1, 1), torch.cat(masks)
        cell = cells[0]
        if isinstance(model, GenerativeImputer):
            chosen = self._protocol.inference.get(cell.inference)
            model.inference = chosen or INFERENCES.get(cell.inference)()
        if isinstance(model, Imputer):
            with torch.random.fork_rng():
                torch.manual_seed(derive_seed("impute", cell.inference, cell.seed, *windows.names))
                completed = model.impute(truth, occluded).motion
        else:
            completed = torch.where(occluded, model.mean, truth)
        values = {"share": occluded.flatten(1).double().mean(dim=1).cpu().numpy()}
        values |= _scores(model, completed)
        if cell.inference != DEGRADED:
            values |= self._errors(completed, truth, occluded)
        for number in range(len(cells)):
            rows = slice(number * len(windows), (number + 1) * len(windows))
            yield _table(windows, **{name: column[rows] for name, column in values.items()})

    def _occluded(self, cell: Cell, windows: Windows) -> torch.Tensor:
        entry = self._protocol.occlusion[cell.mechanism]
        return torch.from_numpy(entry.at(Level.parse(cell.level), cell.seed).occluded(windows))

    def _errors(
        self, completed: torch.Tensor, truth: torch.Tensor, occluded: torch.Tensor
    ) -> dict[str, Any]:
        spec = self._protocol.spec
        given = completed, truth, occluded
        errors = {
            "mse": metrics.mse(*given),
            "mpjpe": metrics.mpjpe(*given),
            "bone_error": metrics.bone_error(*given, spec.skeleton.bones),
            "acceleration_error": metrics.acceleration_error(*given, spec.fps),
        }
        return {name: error.cpu().numpy() for name, error in errors.items()}

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


def _table(windows: Windows, share: Any = 0.0, **values: Any) -> pd.DataFrame:
    """Return values by window, ``(window,)`` each, as a cell's table."""
    named = {"window": windows.names, "source": windows.index["source"], "share": share}
    return pd.DataFrame({**named, **values})


def _scores(model: Model, motion: torch.Tensor) -> dict[str, np.ndarray]:
    if not isinstance(model, Detector):
        return {}
    scores = model.score(motion)
    for name, score in scores.items():
        if not torch.isfinite(score).all():
            raise FloatingPointError(f"{model.name}: {name} of some windows is not finite")
    if "negative_elbo" in scores:
        scores["elbo"] = -scores.pop("negative_elbo")
    return {name: score.double().cpu().numpy() for name, score in scores.items()}


def available_cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
