"""A Gaussian over whole windows whose covariance is shrunk towards what holds for anybody."""

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bench.core.settings import Settings
from bench.motion import Windows, dct_matrix, mirrored
from models.window_gaussian import WindowGaussian

RIDGE = 1e-5
"""Share of the mean variance that is added to each value's, for a definite covariance."""
SMOOTHNESS = 4
"""Decay of the drift's variance over DCT frequencies k, as 1 / (1 + k) ** 4: as fast as that of the
integrated random walk, whose conditional mean is a cubic spline (Wahba 1990, ch. 1)."""
TOGETHER = 0.95
"""Share of the drift in which coordinates move together, as they do from pose to pose."""


class SpectralGaussian(WindowGaussian):
    """Conditional mean of a window Gaussian shrunk in the frequency domain.

    The covariance of the train windows and of their mirror images is mixed with itself without
    correlation between different DCT frequencies, which is what stationary motion has: 50 matrices
    over coordinates rather than one over 2,700 values, so that few people suffice. A smooth drift
    is added, whose covariance is that of poses times that of a function of time whose conditional
    mean is nearly a cubic spline. With much drift a gap is bridged by splines that know how
    coordinates move together, with little drift by motion that the train people made. How much is
    chosen on the valid windows for each family of masks.
    """

    name = "spectral_gaussian"
    choices: ClassVar[tuple[float, ...]] = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4)
    """Amounts of drift that are tried on the valid windows, as shares of the mean variance."""

    class Settings(Settings):
        """How the covariance is shrunk, and how many samples are drawn."""

        drift: float | Literal["family", "one"] = Field(
            "family",
            description="variance of the drift at frequency 0, as a share of the mean variance; "
            "'family': chosen on valid windows for each family of masks; 'one': for all together",
        )
        stationary: float = Field(
            0.6, ge=0, le=1, description="weight of the covariance without cross-frequency terms"
        )
        samples: int = Field(0, ge=0, le=1000, description="draws per window")

    settings: Any

    @property
    def stated(self) -> float | None:
        """The drift that the settings state; None if it is to be chosen."""
        return self.settings.drift if isinstance(self.settings.drift, float) else None

    @property
    def common(self) -> bool:
        """Whether one drift must serve all families of masks."""
        return bool(self.settings.drift == "one")

    def moments(self, train: Windows) -> tuple[Tensor, Tensor]:
        """Return mean and covariance of windows and mirror images, its spectrum mixed in."""
        mean, covariance = super().moments(train)
        if self.spec.skeleton.pairs:
            mean, covariance = self._symmetric(mean, covariance)
        mixed = torch.lerp(covariance, self._stationary(covariance), self.settings.stationary)
        return mean, mixed

    def regularised(self, covariance: Tensor, choice: float) -> Tensor:
        """Return the covariance with a ridge and an amount of drift."""
        frames, nodes = self.spec.frames, self.spec.nodes
        scale = covariance.diagonal().mean()
        transform, apart = self._transform.to(covariance), scale * torch.eye(nodes).to(covariance)
        variance = choice / (1 + torch.arange(frames).to(covariance)) ** SMOOTHNESS
        over_time = (transform.T * variance) @ transform
        within = covariance.view(frames, nodes, frames, nodes).diagonal(dim1=0, dim2=2)
        drift = torch.kron(over_time, torch.lerp(apart, within.mean(dim=-1), TOGETHER))
        return covariance + drift + scale * RIDGE * torch.eye(len(covariance)).to(covariance)

    def _symmetric(self, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the moments of windows and mirror images together."""
        shape = (self.spec.frames, len(self.spec.skeleton), 3)
        numbers = np.arange(1, self.spec.features + 1, dtype=np.float32).reshape(shape)
        places = torch.from_numpy(mirrored(numbers, self.spec.skeleton).ravel()).to(mean)
        sign, source = places.sign(), places.abs().long() - 1
        other_mean = sign * mean[source]
        other = sign[:, None] * covariance[source][:, source] * sign
        apart = (mean - other_mean) / 2
        return (mean + other_mean) / 2, (covariance + other) / 2 + torch.outer(apart, apart)

    def _stationary(self, covariance: Tensor) -> Tensor:
        """Return the covariance without correlation between different DCT frequencies."""
        frames, nodes = self.spec.frames, self.spec.nodes
        transform = self._transform.to(covariance)
        blocks = covariance.view(frames, nodes, frames, nodes)
        spectrum = torch.einsum("kf,fagb,kg->kab", transform, blocks, transform)
        back = torch.einsum("kf,kab,kg->fagb", transform, spectrum, transform)
        return back.reshape(covariance.shape)

    @property
    def _transform(self) -> Tensor:
        return torch.from_numpy(dct_matrix(self.spec.frames).copy())
