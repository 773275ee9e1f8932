"""A hierarchical VAE that infers its latents from what is seen of a window."""

from typing import cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from bench.fitting.moments import covariance, summed
from bench.fitting.precision import Precision
from bench.fitting.training import PRECISION, FitContext, VariationalSettings, train
from bench.motion import MotionSpec, Windows, dct_matrix, derive_seed, from_nodes, to_nodes
from bench.motion.mechanisms.sampler import MaskSampler, usual_masks
from models.base import GenerativeImputer
from models.conditioning import shrunk
from models.decoded import Decoded
from models.gaussian import Chain, Draw, Gaussian, Given, SharedNoise
from models.linear import interpolated

RIDGE = 0.01
"""Share of the mean variance that is added to each coordinate's in the Gaussian of poses."""
CALIBRATED = 400
"""Valid windows that the likelihood's deviations are calibrated on."""
SMALLEST = 0.1
"""Least scale of a frequency, mm; what moves less is no motion."""
UPPER = 2
"""Latents, from the top, that must predict a window without the others."""


class MaskedVAE(GenerativeImputer):
    """Hierarchical VAE whose encoder sees masks and is trained with them; imputes in one pass.

    A partial VAE (Ma et al. 2019, "EDDI") with the denoising criterion (Im et al. 2017): masks are
    drawn for train windows, the encoder is given what is seen and the mask, and the whole window
    must be decoded; so the posterior given what is seen is what completes a window. The latents are
    a ladder from z0 down, each with a prior given those above it (Sonderby et al. 2016). Low levels
    would copy details and leave the top ones without use, as in HG-VAE; a second likelihood, of
    windows decoded from z0 and z1 with the others at their priors' means, keeps what holds for the
    whole motion in them. The decoder gives DCT coefficients of trajectories, as HG-VAE's does, so
    that what is seen of a trajectory corrects the rest of it.
    """

    name = "masked_vae"
    trained = True
    uses_masks = True

    class Settings(VariationalSettings):
        """Sizes, the likelihood, and how masks and upper levels count."""

        latents: tuple[int, ...] = Field(
            (64, 128, 128), min_length=UPPER + 1, description="features of z0, z1, ..."
        )
        precision: Precision = Field("float32", description=PRECISION)
        width: int = Field(512, ge=1, description="features of hidden layers")
        blocks: int = Field(2, ge=1, description="residual blocks of the encoder")
        frequencies: int = Field(
            20, ge=1, description="lowest DCT frequencies that are encoded and decoded"
        )
        dropout: float = Field(0.2, ge=0, lt=1, description="of hidden features, in blocks")
        sigma_floor: float = Field(
            5.0, gt=0, description="smallest standard deviation of a coefficient, mm"
        )
        sigma_floor_share: float = Field(
            0.5, gt=0, description="or this share of its frequency's scale, where that is less"
        )
        complete: float = Field(
            0.1, ge=0, le=1, description="share of train windows of which nothing is hidden"
        )
        upper: float = Field(
            1.0, ge=0, description="weight of the likelihood given z0 and z1 alone"
        )

    settings: Settings
    scale: Tensor
    basis: Tensor
    pose_mean: Tensor
    pose_precision: Tensor
    spread: Tensor

    def __init__(self, spec: MotionSpec, settings: Settings | None = None) -> None:
        super().__init__(spec, settings)
        options = self.settings
        self._masks: MaskSampler = usual_masks(spec)
        self._kept = min(options.frequencies, spec.frames)
        self.register_buffer("scale", torch.ones(spec.frames))
        self.register_buffer("pose_mean", torch.zeros(spec.nodes))
        self.register_buffer("pose_precision", torch.eye(spec.nodes))
        # In double precision, since latents' densities are computed in it.
        basis = torch.tensor(dct_matrix(spec.frames).T.copy(), dtype=torch.float64)
        self.register_buffer("basis", basis, persistent=False)
        width, drop = options.width, options.dropout
        size = spec.nodes * self._kept + spec.frames * len(spec.skeleton)
        self.encoder = nn.Sequential(
            nn.Linear(size, width), *(_Block(width, drop) for _ in range(options.blocks))
        )
        self.start = nn.Parameter(torch.zeros(width))
        self.ladder = nn.ModuleList(_Level(width, latent, drop) for latent in options.latents)
        self.output = nn.Linear(width, 2 * spec.nodes * self._kept)
        nn.init.zeros_(self.output.weight)
        self.high = nn.Parameter(torch.zeros(spec.nodes, 1, spec.frames - self._kept))
        self.register_buffer("spread", torch.ones(spec.frames))

    @property
    def levels(self) -> "list[_Level]":
        """The latents' layers, from the top down."""
        return cast("list[_Level]", list(self.ladder))

    def fit(
        self, train_windows: Windows, valid: Windows, context: FitContext | None = None
    ) -> None:
        """Maximise the ELBO of windows given what masks leave of them."""
        super().fit(train_windows, valid)
        context = context or FitContext()
        self._masks = context.masks or self._masks
        squares = summed(train_windows, self._squares)
        self.scale.copy_((squares / len(train_windows)).sqrt().clamp(min=SMALLEST))
        mean, spread = covariance(train_windows, lambda motion: motion.reshape(-1, self.spec.nodes))
        self.pose_mean.copy_(mean)
        self.pose_precision.copy_(torch.linalg.inv(shrunk(spread, RIDGE)))
        train(self, train_windows, valid, self.settings, context)
        self.spread.copy_(self._calibrated(valid, context.seed))

    @torch.no_grad()
    def _calibrated(self, valid: Windows, seed: int) -> Tensor:
        """Return ``(frequency,)`` how many times as large as stated errors are on valid windows.

        On people that it was not fitted to, it errs more than it states, above all in the mean of a
        window; what is seen of a trajectory then corrects the rest too little.
        """
        motion = valid.thin(CALIBRATED).tensor().to(self.mean.device)
        torch.manual_seed(derive_seed("masked_vae", seed))
        features = self._encoded(motion, self._hidden(motion))
        path, _, _ = self._top_down(features, Gaussian.centre)
        found = self._likelihood(path)
        square = (self._scaled(motion) - found.mean).square() * torch.exp(-found.log_var)
        return square.mean(dim=(0, 1)).sqrt().clamp(min=1e-3)

    def _squares(self, motion: Tensor) -> Tensor:
        """Return each frequency's mean square over nodes, summed over windows."""
        return self._coefficients(motion.float()).double().square().mean(dim=0).sum(dim=0)

    def losses(self, motion: Tensor, kl_weight: float) -> dict[str, Tensor]:
        """Return the negative denoising ELBO and its terms, averaged over windows, in nats.

        Returns:
            ``loss``, ``distortion`` (negative log likelihood), ``upper`` (that given z0 and z1
            alone) and ``kl_z0``, ``kl_z1``, ...
        """
        x, drawn = self._scaled(motion), _Drawn()
        path, posteriors, priors = self._top_down(
            self._encoded(motion, self._hidden(motion)), drawn.sample
        )
        distortion = -self._likelihood(path).log_prob(x).mean()
        known = iter(drawn.latents[:UPPER])
        upper_path, _, _ = self._top_down(None, lambda prior: next(known, prior.mean), len(motion))
        upper = -self._likelihood(upper_path).log_prob(x).mean()
        rates = [q.kl(p).mean() for q, p in zip(posteriors, priors, strict=True)]
        parts = {f"kl_z{level}": value for level, value in enumerate(rates)}
        rate = self.settings.beta * kl_weight * torch.stack(rates).sum()
        loss = distortion + self.settings.upper * upper + rate
        return {"loss": loss, "distortion": distortion, "upper": upper, **parts}

    def log_posterior(self, motion: Tensor) -> Tensor:
        """Return ``(window, level)`` log densities of each posterior's mean under its prior, nats.

        Each latent is its posterior's mean, so that a window's score is deterministic.
        """
        _, posteriors, priors = self._top_down(self._encoded(motion), Gaussian.centre)
        levels = [p.log_prob(q.mean) for q, p in zip(posteriors, priors, strict=True)]
        return torch.stack(levels, dim=1)

    def elbo(self, motion: Tensor) -> Tensor:
        """Return the ELBO with one draw of the latents, the same noise for all windows."""
        path, posteriors, priors = self._top_down(self._encoded(motion), SharedNoise())
        rates = [q.kl(p) for q, p in zip(posteriors, priors, strict=True)]
        likelihood = self._likelihood(path).log_prob(self._scaled(motion))
        volume = self.spec.nodes * torch.log(self.scale).sum()
        return likelihood - torch.stack(rates).sum(dim=0) - volume

    @torch.no_grad()
    def reconstruct(self, motion: Tensor) -> Tensor:
        """Return the likelihood's mean given the posteriors' means, ``motion``'s shape, mm."""
        path, _, _ = self._top_down(self._encoded(motion), Gaussian.centre)
        return self._motion(self._likelihood(path).mean)

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        """Return the likelihood's mean given latents drawn from the prior, ``(count, ...)``, mm."""
        path, _, _ = self._top_down(None, Gaussian.sample, count)
        return self._motion(self._likelihood(path).mean)

    def infer(self, motion: Tensor) -> Chain:
        """Return q(z | motion), all of it seen."""
        return self.infer_seen(motion, torch.zeros_like(motion, dtype=torch.bool))

    def infer_seen(self, motion: Tensor, occluded: Tensor) -> Chain:
        """Return q(z | what is seen)."""
        features = self._encoded(motion, occluded)
        return Chain(lambda draw: self._top_down(features, draw))

    def decode(self, z: Tensor) -> Decoded:
        """Return p(x | z), DCT coefficients independent, and p(z)."""
        given = Given(z)
        path, _, _ = self._top_down(None, given, len(z))
        likelihood = self._likelihood(path)
        return Decoded(
            to_nodes(self._motion(likelihood.mean)),
            torch.exp(0.5 * likelihood.log_var) * self.scale,
            self.basis.to(z),
            to_nodes,
            from_nodes,
            given.log_prob,
        )

    @torch.no_grad()
    def embed(self, motion: Tensor) -> Tensor:
        """Return the mean of z0's posterior, ``(window, feature)``."""
        _, posteriors, _ = self._top_down(self._encoded(motion), Gaussian.centre)
        return posteriors[0].mean[0]

    def _scaled(self, motion: Tensor) -> Tensor:
        """Return scaled coefficients ``(node, window, frequency)``."""
        return self._coefficients(motion) / self.scale

    def _coefficients(self, motion: Tensor) -> Tensor:
        """Return DCT coefficients of motion, mm: ``(node, window, frequency)``."""
        return to_nodes(motion - self.mean) @ self.basis.to(motion)

    def _motion(self, scaled: Tensor) -> Tensor:
        """Invert ``_scaled``."""
        return from_nodes((scaled * self.scale) @ self.basis.T.to(scaled)) + self.mean

    def _encoded(self, motion: Tensor, occluded: Tensor | None = None) -> Tensor:
        """Return the encoder's features of windows, ``(window, width)``; None: all is seen."""
        if occluded is None:
            occluded = torch.zeros_like(motion, dtype=torch.bool)
        filled = interpolated(torch.where(occluded, self.mean, motion), occluded)
        posed = self._posed(filled, occluded.all(dim=1))
        low = self._scaled(posed)[..., : self._kept].transpose(0, 1).flatten(1)
        hidden = occluded.to(low).mean(dim=-1).flatten(1)
        return self.encoder(torch.cat([low, hidden], dim=1))

    def _posed(self, motion: Tensor, never: Tensor) -> Tensor:
        """Return motion with coordinates that are never seen by a Gaussian of poses.

        Args:
            motion: ``(window, frame, joint, 3)``, mm.
            never: bool ``(window, joint, 3)``.
        """
        unknown = never.flatten(1)
        away = (motion.flatten(2) - self.pose_mean) * ~unknown[:, None]
        both = unknown[:, :, None] & unknown[:, None, :]
        block = torch.where(both, self.pose_precision, torch.eye(self.spec.nodes).to(motion))
        pull = (away @ self.pose_precision) * unknown[:, None]
        poses = self.pose_mean + away - torch.linalg.solve(block, pull.mT).mT
        return torch.where(never[:, None], poses.view_as(motion), motion)

    def _top_down(
        self, features: Tensor | None, draw: Draw, count: int = 1
    ) -> tuple[Tensor, list[Gaussian], list[Gaussian]]:
        """Return the end of the path, and every level's posterior and prior, top first.

        Args:
            features: ``(window, width)`` of the encoder; None to draw from priors.
            draw: chooses each latent.
            count: number of windows, where there are no features.
        """
        path = self.start.expand(count if features is None else len(features), -1)
        posteriors, priors = [], []
        for level in self.levels:
            prior = level.prior_of(path)
            posterior = prior if features is None else level.posterior_of(path, features)
            path = level.joined(path, draw(posterior))
            posteriors.append(posterior)
            priors.append(prior)
        return path, posteriors, priors

    def _likelihood(self, path: Tensor) -> Gaussian:
        """Return p(x | z) over scaled coefficients, its standard deviation above the floor."""
        low = self.output(path).view(len(path), self.spec.nodes, 2, self._kept)
        mean, log_var = low.permute(2, 1, 0, 3)
        rest = self.spec.frames - self._kept
        high = self.high.expand(-1, len(path), -1)
        output = torch.cat([pad(mean, (0, rest)), log_var, high], dim=-1)
        floor = self.settings.sigma_floor / self.scale
        found = Gaussian.likelihood(output, floor.clamp(max=self.settings.sigma_floor_share))
        return Gaussian(found.mean, found.log_var + 2 * torch.log(self.spread))

    def _hidden(self, motion: Tensor) -> Tensor:
        """Draw a mask for each window, by a seed from torch's global generator."""
        generator = np.random.default_rng(int(torch.randint(2**62, ())))
        hidden = self._masks.draw(self.spec, generator, motion.numpy(force=True))
        hidden[generator.random(len(hidden)) < self.settings.complete] = False
        return torch.from_numpy(hidden).to(motion.device)


class _Block(nn.Module):
    """A residual block of two layers; at first it changes nothing."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.outer.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.outer(self.dropout(gelu(self.inner(self.norm(x)))))


class _Level(nn.Module):
    """One latent of the top-down pass: prior, posterior, and its way into the path."""

    def __init__(self, width: int, latent: int, dropout: float) -> None:
        super().__init__()
        self.prior = _head(width, latent)
        self.posterior = _head(2 * width, latent)
        self.join = nn.Linear(latent, width)
        self.block = _Block(width, dropout)

    def prior_of(self, path: Tensor) -> Gaussian:
        """Return p(z | path), ``(1, window, feature)``; at first N(0, 1)."""
        return Gaussian.from_head(self.prior(path)[None])

    def posterior_of(self, path: Tensor, features: Tensor) -> Gaussian:
        """Return q(z | path, features), ``(1, window, feature)``."""
        return Gaussian.from_head(self.posterior(torch.cat([path, features], dim=-1))[None])

    def joined(self, path: Tensor, z: Tensor) -> Tensor:
        """Return the path with a latent, ``(1, window, feature)``."""
        return self.block(path + self.join(z[0]))


def _head(width: int, latent: int) -> nn.Sequential:
    head = nn.Linear(width, 2 * latent)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    return nn.Sequential(nn.LayerNorm(width), head)


class _Drawn:
    """Samples latents and keeps them."""

    def __init__(self) -> None:
        self.latents: list[Tensor] = []

    def sample(self, gaussian: Gaussian) -> Tensor:
        self.latents.append(gaussian.sample())
        return self.latents[-1]
