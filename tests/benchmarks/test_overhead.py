"""Overhead of the harness: a sweep of cells compared with bare calls of the models.

At the scale of ``protocols/occlusion.yaml``: cells of 80 windows, its HG-VAE, its VAE and simple
imputers, 2 seeds. A sweep plans, runs and stores its cells. Fits are not timed, nor are tables and
figures, which are made once whatever the number of cells.
"""

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import metrics
from bench.core.registry import INFERENCES
from bench.speed.measure import seconds
from bench.sweep import cluster
from bench.sweep.executions import statuses_of
from bench.sweep.jobs import DEGRADED, Cell, Fit
from bench.sweep.times import overhead
from models.base import Detector, GenerativeImputer, Imputer, Model
from tests.benchmarks.sweeps import QUIET, Fitted, fitted, occlusion

MODELS = ["mean", "linear", "zero", "wrong_mean", "hgvae", "vae"]
LEVELS = [1, 10, "0.5%", "1%", "5%", "10%", "50%", "90%"]
CELLS = 200
MANY = 10_000


@pytest.fixture(scope="module")
def sweep_of_200(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """A sweep of imputation cells at every level, and of cells of clean windows."""
    hidden = {"features": {"levels": LEVELS}}
    raw = occlusion(MODELS, occlusion=hidden, corruption={}, foreign={})
    made = fitted(raw, tmp_path_factory.mktemp("overhead"))
    assert len(made.plan().cells) == CELLS
    return made


class Bare:
    """The same computations as a script that has models and windows in memory."""

    def __init__(self, sweep: Fitted) -> None:
        self.protocol, self.plan = sweep.protocol, sweep.plan()
        self.test = sweep.workspace.windows("test")
        self.train = sweep.workspace.windows("train")
        self.models = {fit.key: self._model(sweep, fit) for fit in self.plan.fits}
        self.results: dict[str, dict[str, Any]] = {}

    def _model(self, sweep: Fitted, fit: Fit) -> Model:
        model = sweep.workspace.load(fit.key, fit.label, fit.seed)
        assert isinstance(model, Model)
        return model

    def __call__(self, seed: int) -> None:
        """Compute every cell of a seed."""
        torch.set_num_threads(1)
        truth = self.test.tensor()
        entry = self.protocol.occlusion["features"]
        masks = {
            str(level): torch.from_numpy(entry.at(level, seed).occluded(self.test))
            for level in entry.levels
        }
        tasks = {"impute": self._impute, "clean": self._clean, "sample": self._sample}
        for cell in self.plan.cells:
            if cell.seed == seed:
                given = self.models[cell.fit], truth, masks.get(cell.level, truth)
                self.results[cell.key] = tasks[cell.task](cell, *given)

    def _impute(
        self, cell: Cell, model: Model, truth: torch.Tensor, hidden: torch.Tensor
    ) -> dict[str, Any]:
        assert isinstance(model, Imputer)
        if isinstance(model, GenerativeImputer):
            chosen = self.protocol.inference.get(cell.inference)
            model.inference = chosen or INFERENCES.get(cell.inference)()
        completed = model.impute(truth, hidden).motion
        found: dict[str, Any] = model.score(completed) if isinstance(model, Detector) else {}
        if cell.inference != DEGRADED:
            bones, fps = self.protocol.spec.skeleton.bones, self.protocol.spec.fps
            found["mse"] = metrics.mse(completed, truth, hidden)
            found["mpjpe"] = metrics.mpjpe(completed, truth, hidden)
            found["bone"] = metrics.bone_error(completed, truth, hidden, bones)
            found["acceleration"] = metrics.acceleration_error(completed, truth, hidden, fps)
        return found

    @torch.no_grad()
    def _clean(
        self, cell: Cell, model: Model, truth: torch.Tensor, hidden: torch.Tensor
    ) -> dict[str, Any]:
        assert isinstance(model, GenerativeImputer)
        found: dict[str, Any] = model.score(truth)
        found["reconstruction"] = (model.reconstruct(truth) - truth).square().mean(dim=(1, 2, 3))
        known, seen = model.embed(self.train.tensor()), model.embed(truth)
        assert known is not None
        assert seen is not None
        actions = self.train.index["action"], self.test.index["action"]
        found["action"] = metrics.action_correct(known, actions[0], seen, actions[1])
        return found

    @torch.no_grad()
    def _sample(
        self, cell: Cell, model: Model, truth: torch.Tensor, hidden: torch.Tensor
    ) -> dict[str, Any]:
        assert isinstance(model, GenerativeImputer)
        bones = self.protocol.spec.skeleton.bones
        drawn = metrics.bone_lengths(model.sample(self.protocol.scale.samples), bones)
        share, excess = metrics.bones_in_range(drawn, metrics.bone_lengths(truth, bones))
        return {"share": share, "excess": excess}


def test_sweep_of_200_cells(
    sweep_of_200: Fitted,
    benchmark: Any,
    record: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Alternate bare calls and the local sweep, seed by seed; then run Ray with one worker."""
    sweep, bare = sweep_of_200, Bare(sweep_of_200)
    sweep.forget_cells()
    seeds = iter(sweep.protocol.seeds)
    alone: list[float] = []

    def bare_first() -> tuple[tuple[int], dict[str, Any]]:
        seed = next(seeds)
        alone.append(seconds(partial(bare, seed)))
        return (seed,), {}

    def ours(seed: int) -> None:
        sweep.run("local", lambda cell: cell.seed == seed)

    benchmark.pedantic(ours, setup=bare_first, rounds=len(sweep.protocol.seeds))
    local = list(benchmark.stats.stats.data)
    _assert_same_values(sweep, bare)

    sweep.forget_cells()
    monkeypatch.setattr(cluster, "available_cpus", lambda: 1)
    resources, folder = sweep.protocol.resources, sweep.store.folder
    times: list[float] = []

    def on_ray() -> None:
        with cluster.joined(None, resources, folder, [], QUIET):
            times.append(seconds(partial(sweep.run, "ray")))

    whole = seconds(on_ray)
    record(
        local=sum(local) / sum(alone),
        local_by_seed=tuple(round(one / two, 3) for one, two in zip(local, alone, strict=True)),
        bare_ms_a_cell=1000 * sum(alone) / CELLS,
        local_harness_ms_a_cell=1000 * (sum(local) - sum(alone)) / CELLS,
        ray=times[0] / sum(alone),
        ray_with_its_start=whole / sum(alone),
        overhead=str(overhead(statuses_of(sweep.plan().cells, sweep.store), since=0.0)),
    )


def _assert_same_values(sweep: Fitted, bare: Bare) -> None:
    """Assert that the sweep and the bare calls computed the same errors."""
    for cell in bare.plan.cells:
        found = bare.results[cell.key]
        if "mse" in found and cell.inference in ("", "map"):
            kept = torch.from_numpy(sweep.store.load_cell(cell.key)["mse"].to_numpy(copy=True))
            torch.testing.assert_close(found["mse"].double(), kept.double(), rtol=1e-4, atol=1e-3)


def test_planning_10000_cells(benchmark: Any, record: Callable[..., None], tmp_path: Path) -> None:
    levels = list(range(1, 1 + MANY // 20))
    raw = occlusion(["mean", "linear"], seeds=list(range(10)), corruption={}, foreign={})
    made = fitted(raw | {"occlusion": {"features": {"levels": levels}}}, tmp_path)

    def plan() -> None:
        assert len(made.plan().to_do(made.store).cells) == MANY

    benchmark.pedantic(plan, rounds=3)
    record(cells=MANY, seconds=statistics.median(benchmark.stats.stats.data))
