"""Completion by the train windows that are nearest in what is seen."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from bench.core.settings import Settings
from bench.fitting.training import FitContext
from bench.motion import MotionSpec, Windows
from models.base import Imputation, Imputer

CLOSEST = 1e-3
"""Distances below this, mm, count as this, so that a donor that agrees exactly can be weighted."""


class KNN(Imputer):
    """Mean of the train windows nearest in what is seen (k nearest neighbours, hot deck).

    The distance of two windows is the root mean square over the seen values of the occluded one
    (Troyanskaya et al. 2001, "KNNimpute"). With several neighbours, they are the samples. Equal
    distances are broken at random, so a window with nothing seen is given random donors.
    """

    name = "knn"

    class Settings(Settings):
        """How many donors there are, how they are weighted, and from how many they are chosen."""

        neighbours: int = Field(10, ge=1, description="donors of a window; 1 copies one donor")
        weighted: bool = Field(
            True, description="weight donors by the inverse of their distance, not equally"
        )
        memory: int = Field(4000, ge=1, description="most train windows to store, evenly spaced")

    settings: Settings
    memory: Tensor
    stored: Tensor

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        # Buffers have a size known before the fit; the rows from ``stored`` on are not used.
        shape = self.settings.memory, spec.frames, len(spec.skeleton), 3
        self.register_buffer("memory", torch.zeros(shape))
        self.register_buffer("stored", torch.tensor(0))

    def fit(self, train: Windows, valid: Windows, context: FitContext | None = None) -> None:
        """Store train windows in random order."""
        super().fit(train, valid, context)
        kept = train.thin(self.settings.memory).tensor().to(self.memory)
        order = torch.randperm(len(kept), generator=torch.Generator().manual_seed(0))
        self.memory.zero_()[: len(kept)] = kept[order]
        self.stored.fill_(len(kept))

    def complete(self, motion: Tensor, occluded: Tensor) -> Imputation:
        """Complete each window by its donors."""
        donors = self.memory[: int(self.stored)]
        distances = self._distances(motion, occluded, donors)
        nearest = distances.sort(dim=1, stable=True)
        count = min(self.settings.neighbours, len(donors))
        samples = donors[nearest.indices[:, :count].T]
        weights = torch.ones_like(nearest.values[:, :count])
        if self.settings.weighted:
            weights = 1 / nearest.values[:, :count].clamp(min=CLOSEST)
        weights = weights / weights.sum(dim=1, keepdim=True)
        mean = torch.einsum("wk,kwfjc->wfjc", weights, samples.double()).to(motion.dtype)
        return Imputation(mean, samples=samples if count > 1 else None)

    def _distances(self, motion: Tensor, occluded: Tensor, donors: Tensor) -> Tensor:
        """Return ``(window, donor)`` distances over seen values, mm; 0 where nothing is seen."""
        seen = (~occluded).flatten(1).double()
        # Relative to the mean, so that squares of differences cancel less.
        values = seen * (motion.double() - self.mean).flatten(1)
        stored = (donors.double() - self.mean).flatten(1)
        squares = values.square().sum(dim=1, keepdim=True) + seen @ stored.square().T
        squares = squares - 2 * values @ stored.T
        return (squares / seen.sum(dim=1, keepdim=True).clamp(min=1)).clamp(min=0).sqrt()
