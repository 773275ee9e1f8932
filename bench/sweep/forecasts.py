"""Forecast cells: predict the future of test windows and compare it with the true one."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from bench import metrics
from bench.motion import Windows
from bench.protocol.schema import Protocol
from bench.sweep.cell_result import CellResult, check_shape, window_table
from predictors.base import Predictor

BATCH = 200
"""Windows that are predicted at a time; more do not fit in a processor's cache."""
AVERAGE = "mpjpe_average"
"""Name of the metric that averages the error over all frames of the future."""


def horizon_metric(milliseconds: int) -> str:
    """Return the name of the column for the error at a horizon in ms."""
    return f"mpjpe@{milliseconds}"


@dataclass(frozen=True)
class Forecasts:
    """Computes and scores predictions of the test windows' future.

    Attributes:
        protocol: defines the horizons, and the weight of each joint in the error.
        test: all test windows; those without a future are left out.
        device: torch device to compute on.
    """

    protocol: Protocol
    test: Windows
    device: str

    def predict(self, predictor: Predictor, past: torch.Tensor, share: torch.Tensor) -> CellResult:
        """Return a predictor's errors and its predictions.

        Args:
            predictor: the fitted predictor.
            past: ``(window, frame, joint, 3)``, mm, of every test window, true or completed.
            share: ``(window,)`` share of the past that was hidden before it was completed.

        Raises:
            FloatingPointError: a prediction is not finite.
            ValueError: a prediction does not have the shape of the future.
        """
        past, share = self._continued(past, share)
        predicted = torch.empty_like(self._future)
        for start in range(0, len(past), BATCH):
            rows = slice(start, start + BATCH)
            part = predictor.predict(past[rows])
            if part.shape != predicted[rows].shape:
                shapes = f"{tuple(part.shape)}, not {tuple(predicted[rows].shape)}"
                raise ValueError(f"{predictor.name} predicted motion of shape {shapes}")
            predicted[rows] = part
        if not torch.isfinite(predicted).all():
            raise FloatingPointError(f"{predictor.name} predicted values that are not finite")
        return CellResult(self._table(predicted, past, share), predicted.cpu().numpy())

    def rescore(
        self, predicted: torch.Tensor, past: torch.Tensor, share: torch.Tensor
    ) -> pd.DataFrame:
        """Return the errors of kept predictions; ``past`` and ``share`` as in ``predict``.

        Raises:
            ValueError: the predictions do not have the shape of the future.
        """
        check_shape(predicted, self._future.shape)
        return self._table(predicted, *self._continued(past, share))

    @cached_property
    def _future(self) -> torch.Tensor:
        """``(window, frame, joint, 3)`` true future of the test windows that have one, mm."""
        future = self.test.take(self.test.continued).future
        assert future is not None
        return torch.from_numpy(np.array(future)).to(self.device)

    def _continued(
        self, past: torch.Tensor, share: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the pasts and shares of the test windows that have a future."""
        continued = torch.from_numpy(self.test.continued)
        return past[continued].to(self.device), share[continued]

    def _table(
        self, predicted: torch.Tensor, past: torch.Tensor, share: torch.Tensor
    ) -> pd.DataFrame:
        """Return the errors of predictions, one row per window."""
        future = self._future
        windows = self.test.take(self.test.continued)
        truth = windows.tensor().to(self.device)
        weights = torch.from_numpy(self.protocol.dataset.joint_weights).to(self.device)
        errors = metrics.forecast_error(predicted, future, weights)
        values = {
            horizon_metric(horizon): errors[:, frame]
            for horizon, frame in self.protocol.horizons.items()
        }
        both = torch.cat([past, predicted], dim=1), torch.cat([truth, future], dim=1)
        values |= {AVERAGE: errors.mean(dim=1), "eq4": metrics.eq4(*both, weights)}
        columns = {name: value.cpu().numpy() for name, value in values.items()}
        return window_table(windows, share.numpy(), **columns)
