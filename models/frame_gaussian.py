"""A Gaussian over the joints of a single frame."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from bench.core.settings import Settings
from bench.fitting.moments import covariance
from bench.fitting.training import FitContext
from bench.motion import MotionSpec, Windows
from models.base import Imputation, Imputer

CHUNK = 4096
"""Frames that are completed at a time."""


class FrameGaussian(Imputer):
    """Conditional mean of a Gaussian over the joints of one frame, without regard to time.

    The linear minimum mean squared error estimate of hidden coordinates from those seen in the same
    frame; what marker-based methods build on (Kieu et al. 2022). A frame without a seen coordinate
    gets the train mean over frames.
    """

    name = "frame_gaussian"
    seeded = False

    settings: Any

    class Settings(Settings):
        """How the covariance is regularised."""

        shrinkage: float = Field(
            1e-3, gt=0, description="share of the mean variance added to every coordinate's"
        )

    centre: Tensor
    covariance: Tensor

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        self.register_buffer("centre", torch.zeros(spec.nodes, dtype=torch.float64))
        self.register_buffer("covariance", torch.eye(spec.nodes, dtype=torch.float64))

    def fit(self, train: Windows, valid: Windows, context: FitContext | None = None) -> None:
        """Fit mean and covariance to all frames of the train windows."""
        super().fit(train, valid, context)
        mean, spread = covariance(train, lambda motion: motion.flatten(0, 1).flatten(1))
        ridge = self.settings.shrinkage * spread.diagonal().mean()
        self.centre.copy_(mean)
        self.covariance.copy_(spread + ridge * torch.eye(self.spec.nodes))

    def complete(self, motion: Tensor, occluded: Tensor) -> Imputation:
        """Complete every frame by itself; ``sigma`` is the conditional standard deviation."""
        values = motion.double().flatten(0, 1).flatten(1)
        hidden = occluded.flatten(0, 1).flatten(1)
        parts = [
            self._complete(*part)
            for part in zip(values.split(CHUNK), hidden.split(CHUNK), strict=True)
        ]
        mean, variance = (torch.cat(part) for part in zip(*parts, strict=True))
        return Imputation(
            mean.view_as(motion).to(motion.dtype),
            variance.sqrt().view_as(motion).to(motion.dtype),
        )

    def _complete(self, values: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return conditional means and variances of ``(frame, coordinate)``.

        Every frame has a mask of its own, so the observed blocks are cut out by masking: rows and
        columns of hidden coordinates become those of an identity, which leaves the rest's solution.
        """
        seen = (~hidden).double()
        block = seen[:, :, None] * self.covariance * seen[:, None, :]
        block = block + torch.diag_embed(hidden.double())
        factor = torch.linalg.cholesky(block)
        deviation = torch.where(hidden, 0.0, values - self.centre)
        weights = torch.cholesky_solve(deviation[..., None], factor)[..., 0]
        mean = self.centre + weights @ self.covariance
        across = torch.linalg.solve_triangular(
            factor, seen[:, :, None] * self.covariance, upper=False
        )
        variance = self.covariance.diagonal() - across.square().sum(dim=1)
        return mean, variance.clamp(min=0)
