"""What a predictor is: something that foretells how a motion goes on.

A new one is a new file in this folder with a subclass of ``Predictor`` or ``TrainedPredictor`` that
has a ``name``; nothing else has to know of it.
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
"""Joints of the Human3.6M benchmark, for which papers count parameters."""


METRE = 1000.0
"""Millimetres; some networks were made for motion in metres."""


class Predictor(Learner):
    """Foretells the ``spec.future`` frames after a window of ``spec.frames``.

    Attributes:
        published_parameters: how many its paper, or one that compares with it, prints for
            Human3.6M; None where nobody does.
        occlusions: what hides entries of the pasts that it is fitted on; they are then filled with
            the train mean. Empty to fit on clean motion.
    """

    published_parameters: ClassVar[float | None] = None
    occlusions: tuple[Mechanism, ...] = ()

    @abstractmethod
    def predict(self, past: Tensor) -> Tensor:
        """Return ``(window, future frame, joint, 3)`` for ``(window, frame, joint, 3)``, mm."""


class TrainedPredictor(Predictor):
    """A predictor that is fitted by gradient descent; a subclass implements ``extrapolate``.

    Attributes:
        past: how many of the last frames it sees.
        step: how many frames it foretells at a time.
        overlap: how many frames of the past ``extrapolate`` tells again before the future.
    """

    trained = True
    overlap: int = 0

    class Settings(TrainSettings):
        """What it sees and foretells, and how to fit."""

        past: int | None = Field(None, ge=1, description="last frames that it sees; None: all")
        step: int | None = Field(
            None,
            ge=1,
            description="frames foretold at a time, from what was foretold before; None: all",
        )

    settings: Settings

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        self.past = self.settings.past or spec.frames
        self.step = self.settings.step or spec.future
        if self.past > spec.frames:
            raise ValueError(f"past: {self.past} frames asked for, windows have {spec.frames}")
        if self.step > spec.future:
            raise ValueError(f"step: {self.step} frames asked for, futures have {spec.future}")

    @abstractmethod
    def extrapolate(self, history: Tensor) -> Tensor:
        """Return ``(window, overlap + step, joint, 3)``, mm: the history's end, and what follows.

        Args:
            history: ``(window, frame, joint, 3)``, mm, of at least ``spec.frames``.
        """

    def fit(
        self, train_windows: Windows, valid: Windows, context: FitContext | None = None
    ) -> None:
        """Minimise the error of the train windows' futures.

        Raises:
            ValueError: no recording goes on after a window.
        """
        super().fit(train_windows, valid)
        whole = train_windows.with_future(), valid.with_future()
        train(self, *whole, self.settings, context or FitContext())

    def losses(self, motion: Tensor) -> dict[str, Tensor]:
        """Return the loss of windows that are each past and future together, ``(window, ...)``.

        In training, the error of one step; else that of the whole future, in mm.
        """
        past, future = motion[:, : self.spec.frames], motion[:, self.spec.frames :]
        past = self._degraded(past)
        if not self.training:
            return {"loss": position_error(self.predict(past), future)}
        told = self.extrapolate(past)
        start = self.spec.frames - self.overlap
        return {"loss": self.error(told, motion[:, start : start + told.shape[1]])}

    def error(self, told: Tensor, truth: Tensor) -> Tensor:
        """Return what training minimises, for what ``extrapolate`` tells and what was true."""
        return position_error(told, truth)

    @torch.no_grad()
    def predict(self, past: Tensor) -> Tensor:
        """Foretell step after step."""
        history = past
        while history.shape[1] < past.shape[1] + self.spec.future:
            history = torch.cat([history, self.extrapolate(history)[:, self.overlap :]], dim=1)
        return history[:, past.shape[1] :][:, : self.spec.future]

    def _degraded(self, past: Tensor) -> Tensor:
        """Hide entries of each window by one of ``occlusions``, and put the mean in their place."""
        if not self.occlusions:
            return past
        # From torch's generator, which the fit seeds epoch by epoch.
        seeds = torch.randint(2**62, (len(past),)).tolist()
        hidden = np.stack([self._hide(np.random.default_rng(seed)) for seed in seeds])
        return torch.where(torch.from_numpy(hidden).to(past.device), self.mean, past)

    def _hide(self, generator: np.random.Generator) -> np.ndarray:
        mechanism = self.occlusions[generator.integers(len(self.occlusions))]
        return mechanism.hide(self.spec, generator)


def position_error(told: Tensor, truth: Tensor) -> Tensor:
    """Return the mean distance of joints, mm."""
    return torch.linalg.vector_norm(told - truth, dim=-1).mean()
