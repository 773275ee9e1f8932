"""The fully connected VAE that HG-VAE is compared with (the paper's sec. 6.2)."""

from itertools import pairwise
from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from bench.fitting.training import FitContext, VariationalSettings, train
from bench.motion import MotionSpec, Windows
from models.base import GenerativeImputer
from models.decoded import Decoded
from models.gaussian import Chain, Gaussian, Given, SharedNoise


class VAE(GenerativeImputer):
    """Fully connected VAE with batch normalisation over all features of a window."""

    name = "vae"
    trained = True
    map_rate: ClassVar[float] = 100.0
    paper_parameters: ClassVar[float] = 20.81e6

    class Settings(VariationalSettings):
        """Layers from the input to the latent, and how to fit.

        Epochs and rate are the paper's; the batch size is HG-VAE's. A batch is one micro-batch,
        since batch normalisation needs its statistics.
        """

        hidden: tuple[int, ...] = Field(
            (2000, 1000, 500, 100, 50), min_length=1, description="widths of the encoder's layers"
        )
        latent: int = Field(50, ge=1)
        normalise: bool = Field(True, description="features by their train mean and deviation")
        sigma_floor: float = Field(1.0, ge=0, description="smallest deviation of a feature, mm")
        epochs: int = Field(200, ge=1)
        learning_rate: float = Field(1e-3, gt=0)
        micro_batch: int = Field(800, ge=1, description="batch statistics are per micro-batch")

        @model_validator(mode="after")
        def _positive(self) -> "VAE.Settings":
            if min(self.hidden) < 1:
                raise ValueError("hidden layers need at least one unit")
            return self

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper_recipe": {"normalise": False, "sigma_floor": 0.0},
    }

    settings: Settings

    def __init__(self, spec: MotionSpec, settings: Settings | None = None) -> None:
        super().__init__(spec, settings)
        inward = (spec.features, *self.settings.hidden)
        outward = (self.settings.latent, *self.settings.hidden[::-1])
        self.encoder = _layers(inward)
        self.posterior = nn.Linear(inward[-1], 2 * self.settings.latent)
        self.decoder = _layers(outward)
        self.output = nn.Linear(outward[-1], 2 * spec.features)

    def fit(
        self, train_windows: Windows, valid: Windows, context: FitContext | None = None
    ) -> None:
        """Maximise the ELBO."""
        super().fit(train_windows, valid)
        train(self, train_windows, valid, self.settings, context or FitContext())

    def losses(self, motion: Tensor, kl_weight: float) -> dict[str, Tensor]:
        """Return the negative ELBO (eq. 1) and its terms, averaged over windows, in nats."""
        x = self._features(motion)
        posterior = self._infer(x)
        distortion = -self._likelihood(posterior.sample()).log_prob(x).mean()
        rate = posterior.kl(Gaussian.standard(posterior.mean)).mean()
        clamped = rate.clamp(min=self.settings.free_bits) if self.training else rate
        loss = distortion + self.settings.beta * kl_weight * clamped
        return {"loss": loss, "distortion": distortion, "kl_z0": rate}

    def log_posterior(self, motion: Tensor) -> Tensor:
        """Return ``(window, 1)`` log densities of the posterior's mean under N(0, I), nats.

        As in the published code.
        """
        mean = self._infer(self._features(motion)).mean
        return Gaussian.standard(mean).log_prob(mean)[:, None]

    def elbo(self, motion: Tensor) -> Tensor:
        """Return the ELBO (eq. 1) with one draw of the latent, the same noise for all windows."""
        x = self._features(motion)
        posterior = self._infer(x)
        likelihood = self._likelihood(SharedNoise()(posterior)).log_prob(x)
        rate = posterior.kl(Gaussian.standard(posterior.mean))
        return likelihood - rate - torch.log(self._scale).sum()

    @torch.no_grad()
    def reconstruct(self, motion: Tensor) -> Tensor:
        """Return the likelihood's mean given the posterior's mean, ``motion``'s shape, mm."""
        mean = self._infer(self._features(motion)).mean
        return self._motion(self._likelihood(mean).mean)

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        """Return the likelihood's mean given latents drawn from the prior, ``(count, ...)``, mm."""
        z = torch.randn(1, count, self.settings.latent, device=self.mean.device)
        return self._motion(self._likelihood(z).mean)

    def infer(self, motion: Tensor) -> Chain:
        """Return q(z | motion), the encoder's Gaussian."""
        posterior = self._infer(self._features(motion))
        return Chain(lambda draw: draw(posterior))

    def decode(self, z: Tensor) -> Decoded:
        """Return p(x | z), features independent, and p(z)."""
        given = Given(z)
        likelihood = self._likelihood(given(Gaussian.standard(z[None])))
        deviation = torch.exp(0.5 * likelihood.log_var[0]) * self._scale
        return Decoded(
            _rows(self._motion(likelihood.mean)),
            _rows(deviation),
            torch.ones_like(self.mean[:1, 0, 0, None]),
            _rows,
            lambda rows: rows[..., 0].T.reshape(-1, *self.mean.shape),
            given.log_prob,
        )

    @torch.no_grad()
    def embed(self, motion: Tensor) -> Tensor:
        """Return the posterior's mean, ``(window, latent)``."""
        return self._infer(self._features(motion)).mean[0]

    def _features(self, motion: Tensor) -> Tensor:
        """Return the network's input, scaled, as a graph of one node: ``(1, window, feature)``."""
        return ((motion.flatten(1) - self._origin) / self._scale)[None]

    def _motion(self, features: Tensor) -> Tensor:
        """Invert ``_features``."""
        return (features[0] * self._scale + self._origin).reshape(-1, *self.mean.shape)

    @property
    def _origin(self) -> Tensor:
        return self.mean.flatten() * self.settings.normalise

    @property
    def _scale(self) -> Tensor:
        deviation = self.deviation.flatten()
        return deviation if self.settings.normalise else torch.ones_like(deviation)

    def _infer(self, x: Tensor) -> Gaussian:
        """Return q(z | x)."""
        return Gaussian.from_head(self.posterior(self.encoder(x[0]))[None])

    def _likelihood(self, z: Tensor) -> Gaussian:
        """Return p(x | z) over scaled features, its standard deviation above the floor."""
        output = self.output(self.decoder(z[0]))[None]
        return Gaussian.likelihood(output, self.settings.sigma_floor / self._scale)


def _rows(values: Tensor) -> Tensor:
    """Return ``(feature, window, 1)``: each feature of a window is a row of its own."""
    return values.flatten(1).T[..., None]


def _layers(widths: tuple[int, ...]) -> nn.Sequential:
    """Return linear layers, each followed by batch normalisation and a gelu."""
    return nn.Sequential(
        *(
            nn.Sequential(nn.Linear(below, above), nn.BatchNorm1d(above), nn.GELU())
            for below, above in pairwise(widths)
        )
    )
