"""Base classes of motion predictors, which predict the frames that follow an observed past.

To add one, put a file with a subclass of ``Predictor`` or ``TrainedPredictor`` that has a ``name``
in this folder; there is no list to extend.
"""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bench.fitting.learner import Learner
from bench.fitting.training import FitContext, TrainSettings, train
from bench.motion import MotionSpec, Windows
from bench.motion.mechanisms.base import Mechanism

PUBLISHED_JOINTS = 22
"""Joints of the Human3.6M skeleton, for which papers report parameter counts."""

METRE = 1000.0
"""Millimetres in a metre; some networks were designed for motion in metres."""


class Predictor(Learner):
    """Predicts the ``spec.future`` frames that follow a window of ``spec.frames``.

    Attributes:
        published_parameters: parameter count for Human3.6M, as printed by the paper or by a
            later comparison; None if there is none.
        occlusions: mechanisms that hide entries of each past during fitting; hidden entries are
            replaced by the train mean. Empty to fit on clean motion.
    """

    published_parameters: ClassVar[float | None] = None
    occlusions: tuple[Mechanism, ...] = ()

    @abstractmethod
    def predict(self, past: Tensor) -> Tensor:
        """Predict the future of each window.

        Args:
            past: ``(window, frame, joint, 3)``, mm.

        Returns:
            ``(window, future frame, joint, 3)``, mm.
        """


class TrainedPredictor(Predictor):
    """A predictor fitted by gradient descent; a subclass implements ``extrapolate``.

    Attributes:
        past: number of last frames that it observes.
        step: number of frames predicted at a time; longer futures are predicted autoregressively.
        overlap: number of last past frames that ``extrapolate`` reconstructs before the future.
    """

    trained = True
    overlap: int = 0

    class Settings(TrainSettings):
        """How much is observed and predicted at a time, and how to fit."""

        past: int | None = Field(None, ge=1, description="last frames that it observes; None: all")
        step: int | None = Field(
            None,
            ge=1,
            description="frames predicted at a time, autoregressively; None: all at once",
        )
        near: float = Field(
            0.0,
            ge=0,
            le=4,
            description="training weighs the error of the k-th predicted frame by k ** -near; far "
            "frames, whose errors are large and hard to lower, otherwise decide",
        )

    settings: Settings

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        self.past = self.settings.past or spec.frames
        self.step = self.settings.step or spec.future
        if self.past > spec.frames:
            raise ValueError(f"past: {self.past} frames requested, windows have {spec.frames}")
        if self.step > spec.future:
            raise ValueError(f"step: {self.step} frames requested, futures have {spec.future}")

    @abstractmethod
    def extrapolate(self, history: Tensor) -> Tensor:
        """Reconstruct the last ``overlap`` frames of a history and predict the next ``step``.

        Args:
            history: ``(window, frame, joint, 3)``, mm, at least ``spec.frames`` frames.

        Returns:
            ``(window, overlap + step, joint, 3)``, mm.
        """

    def fit(
        self, train_windows: Windows, valid: Windows, context: FitContext | None = None
    ) -> None:
        """Minimise the prediction error on the train windows that have a future.

        Args:
            train_windows: windows to fit on.
            valid: windows by which the best weights are chosen.
            context: seed, device and checkpoint folder of the fit.

        Raises:
            ValueError: no train window, or no validation window, has a complete future.
        """
        super().fit(train_windows, valid)
        whole = train_windows.with_future(), valid.with_future()
        train(self, *whole, self.settings, context or FitContext())

    def losses(self, motion: Tensor) -> dict[str, Tensor]:
        """Return ``{"loss": scalar}`` for windows of past and future frames.

        In training mode the loss is ``error`` of one step, in evaluation mode the mean position
        error of the whole future, in mm.

        Args:
            motion: ``(window, past + future frames, joint, 3)``, mm.
        """
        past, future = motion[:, : self.spec.frames], motion[:, self.spec.frames :]
        past = self._degraded(past)
        if not self.training:
            return {"loss": position_error(self.predict(past), future)}
        predicted = self.extrapolate(past)
        start = self.spec.frames - self.overlap
        return {"loss": self.error(predicted, motion[:, start : start + predicted.shape[1]])}

    def error(self, predicted: Tensor, truth: Tensor) -> Tensor:
        """Return the scalar that training minimises: the mean position error, unless overridden.

        Args:
            predicted: what ``extrapolate`` returns, ``(window, overlap + step, joint, 3)``, mm.
            truth: the true frames, of the same shape.
        """
        distances = torch.linalg.vector_norm(predicted - truth, dim=-1)
        return self.over_frames(distances.mean(dim=(0, 2)))

    def over_frames(self, errors: Tensor) -> Tensor:
        """Return the mean of the errors of single frames, weighted as ``near`` says.

        Args:
            errors: ``(overlap + step,)``; frames before the future weigh as much as its first.
        """
        number = torch.arange(1, len(errors) + 1).to(errors) - self.overlap
        weight = number.clamp(min=1) ** -self.settings.near
        return (weight * errors).sum() / weight.sum()

    @torch.no_grad()
    def predict(self, past: Tensor) -> Tensor:
        """Predict ``step`` frames at a time, each step from the past and all steps before it."""
        history = past
        while history.shape[1] < past.shape[1] + self.spec.future:
            history = torch.cat([history, self.extrapolate(history)[:, self.overlap :]], dim=1)
        return history[:, past.shape[1] :][:, : self.spec.future]

    def _degraded(self, past: Tensor) -> Tensor:
        """Hide entries of each window by a random mechanism and replace them by the train mean."""
        if not self.occlusions:
            return past
        # Drawn from torch's global generator, which the fit seeds for each epoch.
        seeds = torch.randint(2**62, (len(past),)).tolist()
        windows = past.cpu().numpy()
        hidden = np.stack(
            [
                self._hide(np.random.default_rng(seed), window)
                for seed, window in zip(seeds, windows, strict=True)
            ]
        )
        return torch.where(torch.from_numpy(hidden).to(past.device), self.mean, past)

    def _hide(self, generator: np.random.Generator, window: np.ndarray) -> np.ndarray:
        mechanism = self.occlusions[generator.integers(len(self.occlusions))]
        return mechanism.hide(self.spec, generator, window)


def position_error(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return the mean Euclidean distance of joints over all axes but the last, in mm (MPJPE)."""
    return torch.linalg.vector_norm(predicted - truth, dim=-1).mean()
