"""Probabilistic principal components of whole windows."""

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bench.core.settings import Settings
from bench.fitting.training import FitContext
from bench.motion import Windows
from models.window_gaussian import WindowGaussian


class PPCA(WindowGaussian):
    """Conditional mean of probabilistic PCA over whole windows (Tipping and Bishop 1999).

    The Gaussian of a few principal components with equal noise on every value: ``W W' + s2 I`` at
    maximum likelihood, where ``s2`` is the mean variance of what the components leave. The number
    of components is chosen on the valid windows, as the shrinkage of ``window_gaussian`` is.
    """

    name = "ppca"
    choices: ClassVar[tuple[float, ...]] = (32, 64, 128, 256)

    class Settings(Settings):
        """How many components there are, and how many samples are drawn."""

        components: int | None = Field(
            None, ge=1, description="null: chosen on valid windows for each family of masks"
        )
        samples: int = Field(0, ge=0, le=1000, description="draws per window")

    settings: Any
    _spectrum: tuple[Tensor, Tensor] | None = None

    def fit(self, train: Windows, valid: Windows, context: FitContext | None = None) -> None:
        """Fit mean and components to the train windows; choose their number on the valid ones."""
        self._spectrum = None
        super().fit(train, valid, context)

    @property
    def stated(self) -> float | None:
        """The number of components that the settings state; None if it is to be chosen."""
        return self.settings.components

    @property
    def common(self) -> bool:
        """Never: families of masks have choices of their own."""
        return False

    def regularised(self, covariance: Tensor, choice: float) -> Tensor:
        """Return the maximum-likelihood covariance with ``choice`` components (eqs. 7 and 8)."""
        size = len(covariance)
        count = min(int(choice), size - 1)
        if self._spectrum is None:
            # The same for every choice, and the costly part.
            self._spectrum = torch.linalg.eigh(covariance)
        variance, directions = self._spectrum
        noise = variance[: size - count].mean().clamp(min=1e-3)
        kept = directions[:, size - count :]
        loading = (variance[size - count :] - noise).clamp(min=0)
        return (kept * loading) @ kept.T + torch.diag(noise.expand(size))
