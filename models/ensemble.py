"""Average of several imputers, weighted by how plausible each one's distances are."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from bench.core.settings import Settings
from bench.fitting.training import FitContext
from bench.motion import MotionSpec, Windows
from models.base import Imputer
from models.linear import Linear
from models.pca_gap import PCAGap
from models.rigid import Rigid


class Ensemble(Imputer):
    """Average of linear, rigid and pca_gap, weighted by plausible distances (Tits et al. 2018).

    For each hidden joint of each frame, an imputer's weight is the likelihood of its distances to
    the neighbour joints, those that keep their distance best over the train windows, as independent
    Gaussians with the mean and standard deviation of the train windows.
    """

    name = "ensemble"
    seeded = False

    class Settings(Settings):
        """Which distances are judged, and how strictly."""

        neighbours: int = Field(3, ge=1, description="joints whose distance to a joint is judged")
        tolerance: float = Field(
            20.0, gt=0, description="standard deviation added to that of each distance, mm"
        )

    settings: Settings

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        self.rigid = Rigid(spec)
        self.linear = Linear(spec)
        self.pca_gap = PCAGap(spec)

    def fit(self, train: Windows, valid: Windows, context: FitContext | None = None) -> None:
        """Fit each imputer; ``rigid`` measures the distances."""
        super().fit(train, valid, context)
        for imputer in (self.linear, self.rigid, self.pca_gap):
            imputer.fit(train, valid, context)

    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor:
        """Complete with each imputer, and average."""
        fills = torch.stack(
            [
                imputer.impute(motion, occluded).motion
                for imputer in (self.linear, self.rigid, self.pca_gap)
            ]
        ).double()
        weights = torch.stack([self._log_likelihood(fill) for fill in fills]).softmax(dim=0)
        return (weights[..., None] * fills).sum(dim=0).to(motion.dtype)

    def _log_likelihood(self, motion: Tensor) -> Tensor:
        """Return ``(window, frame, joint)``, up to a constant."""
        count = min(self.settings.neighbours + 1, len(self.rigid.spread))
        # The steadiest distance is that of a joint to itself.
        neighbours = self.rigid.spread.sort(dim=1, stable=True).indices[:, 1:count]
        spread = self.rigid.spread.gather(1, neighbours)
        variance = spread.square() + self.settings.tolerance**2
        distance = (motion[..., neighbours, :] - motion[..., None, :]).norm(dim=-1)
        error = distance - self.rigid.distance.gather(1, neighbours)
        return -0.5 * (error.square() / variance).sum(dim=-1)
