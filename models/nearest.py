"""Distance to the nearest train windows."""

import torch
from pydantic import Field
from torch import Tensor

from bench.fitting.training import FitContext
from bench.motion import MotionSpec, Windows
from models.principal import PrincipalDetector


class Nearest(PrincipalDetector):
    """Distance to the k-th nearest train window in the leading principal components."""

    name = "nearest"

    class Settings(PrincipalDetector.Settings):
        """Components, the neighbour's rank, and how many train windows to store."""

        neighbours: int = Field(5, ge=1, description="k: 1 for the nearest train window")
        memory: int = Field(4000, ge=1, description="most train windows to store, evenly spaced")

    settings: Settings
    memory: Tensor

    def __init__(self, spec: MotionSpec, settings: Settings | None = None) -> None:
        super().__init__(spec, settings)
        # Buffers have a size known before the fit; rows without a train window are infinite.
        shape = self.settings.memory, self.settings.components
        self.register_buffer("memory", torch.full(shape, torch.inf))

    def fit(self, train: Windows, valid: Windows, context: FitContext | None = None) -> None:
        """Compute the components and store train windows; raises ValueError for fewer than two."""
        super().fit(train, valid)
        kept = train.thin(self.settings.memory).tensor().to(self.memory)
        self.memory.fill_(torch.inf)[: len(kept)] = self.principal.project(kept.flatten(1))

    def distance(self, flat: Tensor) -> Tensor:
        """Return ``(window,)`` distances to the k-th nearest, or to the farthest of fewer."""
        stored = self.memory[self.memory.isfinite().all(dim=1)]
        # The other modes lose precision by cancellation, and how much depends on the batch.
        float32_products = "donot_use_mm_for_euclid_dist"
        distances = torch.cdist(self.principal.project(flat), stored, compute_mode=float32_products)
        return distances.kthvalue(min(self.settings.neighbours, len(stored)), dim=1).values
