"""Completion from a window that has nothing to do with the one to complete."""

from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bench.core.settings import Settings
from bench.fitting.training import FitContext
from bench.motion import MotionSpec, Windows, derive_seed
from models.base import Imputer


class Shuffled(Imputer):
    """Control: the hidden values of a randomly chosen train window.

    Plausible motion, but the wrong one. The choice depends on nothing but the window's own seen
    values, so it is the same in every batch.
    """

    name = "shuffled"
    control = True

    class Settings(Settings):
        """How many windows there are to choose from."""

        donors: int = Field(200, ge=1, description="train windows to choose from, evenly spaced")

    settings: Settings
    donors: Tensor

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        shape = self.settings.donors, spec.frames, len(spec.skeleton), 3
        self.register_buffer("donors", torch.zeros(shape))

    def fit(self, train: Windows, valid: Windows, context: FitContext | None = None) -> None:
        """Store train windows, some of them repeatedly if there are fewer than ``donors``."""
        super().fit(train, valid, context)
        rows = np.linspace(0, len(train) - 1, self.settings.donors).round().astype(np.int64)
        self.donors.copy_(train.tensor(rows))

    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor:
        """Return one stored window for each window."""
        windows = motion.numpy(force=True)
        seeds = [derive_seed(self.name, window.tobytes()) for window in windows]
        return self.donors[[seed % len(self.donors) for seed in seeds]]
