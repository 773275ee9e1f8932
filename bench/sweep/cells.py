"""What the cells of a protocol compute: one row of values per window."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench import metrics
from bench.core.registry import INFERENCES
from bench.motion import Windows, derive_seed
from bench.motion.mechanisms.base import Level
from bench.protocol.schema import Protocol
from bench.sweep.cell_result import CellResult, check_shape, window_table
from bench.sweep.forecasts import Forecasts
from bench.sweep.jobs import DEGRADED, Cell
from bench.sweep.samples import Samples, batched
from models.base import Classifier, Detector, GenerativeImputer, Imputer, Model
from predictors.base import Predictor

BATCH = 1600
"""Windows of a cell that are completed at a time; inference may take them in parts."""


@dataclass(frozen=True)
class Evaluator:
    """Computes cells on one data set.

    Attributes:
        protocol: what the cells' labels mean.
        train: windows that models were fitted on.
        test: windows to evaluate on.
        foreign: test windows of other data sets, by label.
        device: where to compute.
    """

    protocol: Protocol
    train: Windows
    test: Windows
    foreign: dict[str, Windows]
    device: str

    def evaluate(self, cell: Cell, model: Model, judge: Classifier | None = None) -> CellResult:
        """Compute a cell of a fitted model.

        The values depend on that cell alone: were its windows batched with those of other cells,
        which of them are still to be done would decide its last digits.

        Args:
            cell: the task and its labels.
            model: the fitted model.
            judge: the classifier that judges drawn windows; None for no judgement.

        Raises:
            FloatingPointError: a completion, a score or a drawn window is not finite.
        """
        if cell.task == "impute":
            return self._impute(cell, model)
        if cell.task == "sample":
            return self._sample(cell, model, judge)
        if cell.task == "real":
            assert judge is not None
            return CellResult(self._samples.judge_real(judge))
        return CellResult(self._other(cell, model))

    @torch.no_grad()
    def forecast(
        self, cell: Cell, predictor: Predictor, completion: NDArray[np.float32] | None
    ) -> CellResult:
        """Predict how test windows go on, from the true past or from a completed one.

        Args:
            cell: the task and its labels.
            predictor: the fitted predictor.
            completion: the values in place of the hidden ones of all test windows, mm; None for
                the true past.

        Raises:
            FloatingPointError: a prediction is not finite.
            ValueError: a prediction is not of the future's shape.
        """
        return self._forecasts.predict(predictor, *self._past(cell, completion))

    @torch.no_grad()
    def rescore(
        self, cell: Cell, kept: NDArray[np.float32], past: NDArray[np.float32] | None = None
    ) -> pd.DataFrame:
        """Return the errors of a ``rescorable`` cell's kept motion, one row per window.

        Args:
            cell: the task and its labels.
            kept: ``Found.completion`` of the cell.
            past: that of the cell whose completion was predicted from.

        Raises:
            ValueError: the motion is not of this cell's shape.
        """
        motion = torch.from_numpy(kept).to(self.device)
        if cell.task == "sample":
            return self._samples.rescore(motion)
        if cell.task == "forecast":
            return self._forecasts.rescore(motion, *self._past(cell, past))
        parts = [(windows, self._occluded(cell, windows)) for windows in self._parts()]
        counts = [int(occluded.sum()) for _, occluded in parts]
        check_shape(motion, (sum(counts),))
        tables = []
        for (windows, occluded), filled in zip(parts, motion.split(counts), strict=True):
            truth, hidden = windows.tensor().to(self.device), occluded.to(self.device)
            completed = truth.clone()
            completed[hidden] = filled
            errors = self._errors(completed, truth, hidden)
            tables.append(window_table(windows, _share(occluded).numpy(), **errors))
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def _forecasts(self) -> Forecasts:
        return Forecasts(self.protocol, self.test, self.device)

    @cached_property
    def _samples(self) -> Samples:
        return Samples(self.protocol, self.train, self.test, self.device)

    def _past(
        self, cell: Cell, completion: NDArray[np.float32] | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return every test window as a predictor sees it, mm, and the share that was hidden."""
        past, share = self.test.tensor(), torch.zeros(len(self.test), dtype=torch.float64)
        if completion is not None:
            occluded = self._occluded(cell, self.test)
            past = past.clone()
            past[occluded] = torch.from_numpy(completion)
            share = _share(occluded)
        return past, share

    def _sample(self, cell: Cell, model: Model, judge: Classifier | None) -> CellResult:
        assert isinstance(model, GenerativeImputer)
        return self._samples.draw(model, cell.seed, judge)

    def _other(self, cell: Cell, model: Model) -> pd.DataFrame:
        """Compute a cell that scores windows."""
        windows = self._windows_of(cell)
        motion = self._corrupted(cell, windows)
        values = _scores(model, motion)
        if cell.task == "clean":
            values |= self._clean(cell, model, windows, motion)
        return window_table(windows, **values)

    def _windows_of(self, cell: Cell) -> Windows:
        """Return the windows of a cell: those of the actions fitted on, or all others."""
        if cell.task == "foreign":
            windows = self.foreign[cell.mechanism]
            # A recording there may have the name of one here.
            source = cell.mechanism + "/" + windows.index["source"].astype(str)
            return replace(windows, index=windows.index.assign(source=source))
        actions = self.protocol.models[cell.model].train_on
        if not actions:
            return self.test
        seen = self.test.index["action"].isin(actions).to_numpy()
        return self.test.take(~seen if cell.task == "unseen" else seen)

    def _corrupted(self, cell: Cell, windows: Windows) -> torch.Tensor:
        if cell.task != "corrupt":
            return windows.tensor().to(self.device)
        entry = self.protocol.corruption[cell.mechanism]
        (level,) = (level for level in entry.levels if entry.label(level) == cell.level)
        return torch.from_numpy(entry.at(level, cell.seed).apply(windows)).to(self.device)

    def _clean(
        self, cell: Cell, model: Model, windows: Windows, motion: torch.Tensor
    ) -> dict[str, Any]:
        """Return a generative model's reconstruction error, and how its latents tell actions."""
        values: dict[str, Any] = {}
        if isinstance(model, GenerativeImputer):
            error = (batched(model.reconstruct, motion) - motion).double().square()
            values["reconstruction_mse"] = error.flatten(1).mean(dim=1).cpu().numpy()
        if isinstance(model, Detector) and not self.protocol.models[cell.model].train_on:
            latents = self._latents(model, windows)
            if latents is not None:
                known = self._latents(model, self.train)
                values["action_correct"] = metrics.action_correct(
                    known, self.train.index["action"], latents, windows.index["action"]
                )
        return values

    def _latents(self, model: Detector, windows: Windows) -> Any:
        """Return ``(window, feature)`` latents on the CPU; None if the model has none."""
        motion = windows.tensor().to(self.device)
        if model.embed(motion[:1]) is None:
            return None
        return batched(model.embed, motion).cpu()

    def _impute(self, cell: Cell, model: Model) -> CellResult:
        """Complete windows, a batch at a time."""
        found = [self._impute_some(cell, model, windows) for windows in self._parts()]
        return CellResult(
            pd.concat([part.table for part in found], ignore_index=True),
            np.concatenate([part.completion for part in found]),
        )

    def _parts(self) -> list[Windows]:
        """Return the test windows, a batch at a time."""
        starts = range(0, len(self.test), BATCH)
        return [self.test.take(slice(start, start + BATCH)) for start in starts]

    def _impute_some(self, cell: Cell, model: Model, windows: Windows) -> CellResult:
        truth = windows.tensor().to(self.device)
        occluded = self._occluded(cell, windows).to(self.device)
        # By name: a label is not in the key, so no value may depend on it.
        inference = ""
        if isinstance(model, GenerativeImputer):
            chosen = self.protocol.inference.get(cell.inference)
            model.inference = chosen or INFERENCES.get(cell.inference)()
            inference = model.inference.name
        if isinstance(model, Imputer):
            with torch.random.fork_rng():
                torch.manual_seed(derive_seed("impute", inference, cell.seed, *windows.names))
                completed = model.impute(truth, occluded).motion
        else:
            completed = torch.where(occluded, model.mean, truth)
        values = _scores(model, completed)
        if cell.inference != DEGRADED:
            values |= self._errors(completed, truth, occluded)
        table = window_table(windows, _share(occluded).cpu().numpy(), **values)
        return CellResult(table, completed[occluded].cpu().numpy())

    def _occluded(self, cell: Cell, windows: Windows) -> torch.Tensor:
        entry = self.protocol.occlusion[cell.mechanism]
        return torch.from_numpy(entry.at(Level.parse(cell.level), cell.seed).occluded(windows))

    def _errors(
        self, completed: torch.Tensor, truth: torch.Tensor, occluded: torch.Tensor
    ) -> dict[str, Any]:
        spec = self.protocol.spec
        errors = metrics.completion_errors(
            completed, truth, occluded, spec.skeleton.bones, spec.fps
        )
        return {name: error.cpu().numpy() for name, error in errors.items()}


def _share(occluded: torch.Tensor) -> torch.Tensor:
    """Return ``(window,)`` the share of features that are hidden."""
    return occluded.flatten(1).double().mean(dim=1)


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
