"""Computes the cells of a protocol: one row of values per window."""

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
from bench.protocol.schema import Protocol
from bench.sweep import exhibits
from bench.sweep.cell_result import CellResult, check_shape, window_table
from bench.sweep.exhibits import Exhibit
from bench.sweep.forecasts import Forecasts
from bench.sweep.jobs import DEGRADED, Cell
from bench.sweep.occlusion import Occlusion, occlude
from bench.sweep.samples import Samples, batched, batched_windows
from models.base import Classifier, Detector, GenerativeImputer, Imputation, Imputer, Model
from predictors.base import Predictor

BATCH = 1600
"""Windows that are completed at a time; inference may split them into smaller batches."""


@dataclass(frozen=True)
class Evaluator:
    """Computes cells on one data set.

    Attributes:
        protocol: defines the labels of cells.
        train: windows that models were fitted on.
        test: windows to evaluate on.
        foreign: test windows of other data sets, by label.
        device: torch device to compute on.
    """

    protocol: Protocol
    train: Windows
    test: Windows
    foreign: dict[str, Windows]
    device: str

    def evaluate(self, cell: Cell, model: Model, judge: Classifier | None = None) -> CellResult:
        """Compute a cell of a fitted model.

        Windows are never batched with those of other cells: rounding depends on the batch, so
        the values would depend on which other cells are still to be computed.

        Args:
            cell: any cell but a forecast.
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
        """Predict the future of test windows from the true past or from a completed one.

        Args:
            cell: a forecast cell.
            predictor: the fitted predictor.
            completion: ``(hidden feature,)`` values filled in for the hidden ones of all test
                windows, mm; None for the true past.

        Raises:
            FloatingPointError: a prediction is not finite.
            ValueError: a prediction does not have the shape of the future.
        """
        return self._forecasts.predict(predictor, *self._past(cell, completion))

    @torch.no_grad()
    def rescore(
        self, cell: Cell, kept: NDArray[np.float32], past: NDArray[np.float32] | None = None
    ) -> pd.DataFrame:
        """Return the errors of a ``rescorable`` cell's kept motion, one row per window.

        Args:
            cell: a cell that is ``rescorable``.
            kept: ``CellResult.completion`` of the cell.
            past: that of the cell whose completion was predicted from; None for the true past.

        Raises:
            ValueError: the motion does not have the shape that this cell makes.
        """
        motion = torch.from_numpy(kept).to(self.device)
        if cell.task == "sample":
            return self._samples.rescore(motion)
        if cell.task == "forecast":
            return self._forecasts.rescore(motion, *self._past(cell, past))
        hidden = [occlude(self.protocol, cell, part, self.device) for part in self._batches()]
        counts = [int(part.hidden.sum()) for part in hidden]
        check_shape(motion, (sum(counts),))
        tables = []
        for windows, part, filled in zip(
            self._batches(), hidden, motion.split(counts), strict=True
        ):
            completed = part.observed.clone()
            completed[part.hidden] = filled
            tables.append(
                window_table(windows, **_numpy(part.shares | self._errors(completed, part)))
            )
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
        """Return a predictor's input ``(window, frame, joint, 3)``, mm, and the hidden shares."""
        past, share = self.test.tensor(), torch.zeros(len(self.test), dtype=torch.float64)
        if completion is not None:
            part = occlude(self.protocol, cell, self.test, "cpu")
            past = part.observed.clone()
            past[part.hidden] = torch.from_numpy(completion)
            share = part.shares["share"]
        return past, share

    def _sample(self, cell: Cell, model: Model, judge: Classifier | None) -> CellResult:
        assert isinstance(model, GenerativeImputer)
        return self._samples.draw(model, cell.seed, judge)

    def _other(self, cell: Cell, model: Model) -> pd.DataFrame:
        """Compute a cell that only scores windows."""
        windows = self._windows_of(cell)
        motion = self._corrupted(cell, windows)
        values = _scores(model, motion)
        if cell.task == "clean":
            values |= self._clean(cell, model, windows, motion)
        return window_table(windows, **values)

    def _windows_of(self, cell: Cell) -> Windows:
        """Return a cell's windows: with ``train_on``, those of its actions, or all others."""
        if cell.task == "foreign":
            windows = self.foreign[cell.mechanism]
            # Recordings of two data sets may have the same name.
            source = cell.mechanism + "/" + windows.index["source"].astype(str)
            return replace(windows, index=windows.index.assign(source=source))
        actions = self.protocol.models[cell.model].train_on
        if not actions:
            return self.test
        fitted = self.test.index["action"].isin(actions).to_numpy()
        return self.test.take(~fitted if cell.task == "unseen" else fitted)

    def _corrupted(self, cell: Cell, windows: Windows) -> torch.Tensor:
        if cell.task != "corrupt":
            return windows.tensor().to(self.device)
        entry = self.protocol.corruption[cell.mechanism]
        (level,) = (level for level in entry.levels if entry.label(level) == cell.level)
        return torch.from_numpy(entry.at(level, cell.seed).apply(windows)).to(self.device)

    def _clean(
        self, cell: Cell, model: Model, windows: Windows, motion: torch.Tensor
    ) -> dict[str, Any]:
        """Return reconstruction errors, and whether latents classify each window's action right."""
        values: dict[str, Any] = {}
        if isinstance(model, GenerativeImputer):
            error = (batched(model.reconstruct, motion) - motion).double().square()
            values["reconstruction_mse"] = error.flatten(1).mean(dim=1).cpu().numpy()
        if isinstance(model, Detector) and not self.protocol.models[cell.model].train_on:
            latents = self._latents(model, windows)
            if latents is not None:
                train = self._latents(model, self.train)
                values["action_correct"] = metrics.action_correct(
                    train, self.train.index["action"], latents, windows.index["action"]
                )
        return values

    def _latents(self, model: Detector, windows: Windows) -> Any:
        """Return ``(window, feature)`` latents on the CPU; None if the model has none."""
        if model.embed(windows.tensor(slice(0, 1)).to(self.device)) is None:
            return None
        return batched_windows(model.embed, windows, self.device).cpu()

    def _impute(self, cell: Cell, model: Model) -> CellResult:
        """Complete the test windows, a batch at a time."""
        shown = exhibits.rows_of(cell.windows, len(self.test))
        results = [
            self._impute_batch(cell, model, windows, start, shown)
            for start, windows in zip(self._starts(), self._batches(), strict=True)
        ]
        parts = [part.exhibit for part in results if part.exhibit]
        return CellResult(
            pd.concat([part.table for part in results], ignore_index=True),
            np.concatenate([part.completion for part in results]),
            exhibits.joined(parts) if parts else None,
        )

    def _starts(self) -> range:
        """Return the number of each batch's first window."""
        return range(0, len(self.test), BATCH)

    def _batches(self) -> list[Windows]:
        """Return the test windows in batches."""
        return [self.test.take(slice(start, start + BATCH)) for start in self._starts()]

    def _impute_batch(
        self, cell: Cell, model: Model, windows: Windows, start: int, shown: NDArray[np.int64]
    ) -> CellResult:
        """Complete a batch that begins with window ``start``, and keep the ``shown`` ones of it."""
        part = occlude(self.protocol, cell, windows, self.device)
        # The seed is made from the name: a label is not in the key, so no value may depend on it.
        inference = ""
        if isinstance(model, GenerativeImputer):
            chosen = self.protocol.inference.get(cell.inference)
            model.inference = chosen or INFERENCES.get(cell.inference)()
            inference = model.inference.name
        if isinstance(model, Imputer):
            with torch.random.fork_rng():
                torch.manual_seed(derive_seed("impute", inference, cell.seed, *windows.names))
                imputation = model.impute(part.observed, part.hidden)
        else:
            imputation = Imputation(torch.where(part.hidden, model.mean, part.observed))
        values = _scores(model, imputation.motion)
        if cell.inference != DEGRADED:
            values |= _numpy(self._errors(imputation.motion, part))
            values |= _numpy(_probabilistic_scores(imputation, part))
        table = window_table(windows, **_numpy(part.shares), **values)
        here = shown[(shown >= start) & (shown < start + len(windows))]
        kept = exhibits.of_rows(imputation, here - start)
        exhibit = Exhibit.of(here, kept, part.truth[torch.from_numpy(here - start)])
        completion = imputation.motion[part.hidden].cpu().numpy()
        return CellResult(table, completion, exhibit if len(here) else None)

    def _errors(self, completed: torch.Tensor, part: Occlusion) -> dict[str, torch.Tensor]:
        spec = self.protocol.spec
        return metrics.completion_errors(
            completed, part.truth, part.judged, part.hidden, spec.skeleton.bones, spec.fps
        )


def _probabilistic_scores(imputation: Imputation, part: Occlusion) -> dict[str, torch.Tensor]:
    return metrics.probabilistic_scores(
        imputation.motion, part.truth, part.hidden, imputation.sigma, imputation.samples
    )


def _numpy(values: dict[str, torch.Tensor]) -> dict[str, Any]:
    return {name: value.cpu().numpy() for name, value in values.items()}


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
