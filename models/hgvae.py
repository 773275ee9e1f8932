"""HG-VAE, the hierarchical graph-convolutional VAE (the paper's secs. 4.3 and 5).

A window is 54 nodes, each with the DCT coefficients of one coordinate's trajectory. A bottom-up
pass shrinks the graph level by level; a top-down pass draws z0 (one node: the whole motion) to z3
(54 nodes) along a deterministic path of 54 nodes that every latent joins.

The paper draws the wiring of a stochastic layer in a figure only. Here, for each level below the
top: a block on the path; a prior from a further block, whose output also joins the path; a
posterior from the path and the bottom-up features of that level; the latent joins the path.
What joins the path is weighted by a learnable number, 0 at first.

Not in the paper: coefficients are divided by their root mean square over the train set, one
number per frequency (the likelihood is the same up to a constant), the likelihood's deviation is
held above a floor, adjacency matrices start near the identity where they are square, and
posteriors start narrow.
"""

from typing import ClassVar, NamedTuple, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from bench.motion import MotionSpec, Windows, dct_matrix, from_nodes, to_nodes
from bench.training import FitContext, TrainSettings, train
from models.base import GenerativeImputer
from models.gaussian import Gaussian
from models.graph import GCB, GCL, Residual

# A posterior that starts narrow lets the decoder find the latents useful before the KL pulls
# them to the prior.
POSTERIOR_LOG_VAR = -4.0


class HGVAE(GenerativeImputer):
    """HG-VAE: four levels of graph latents, imputes by ascent on its posterior."""

    name: ClassVar[str] = "hgvae"
    trained: ClassVar[bool] = True
    paper_parameters: ClassVar[float] = 3.21e6

    class Settings(TrainSettings):
        """Latent graphs from the top down, the path's width, and how to fit."""

        latents: tuple[tuple[int, int], ...] = Field(
            ((1, 256), (8, 128), (24, 128), (54, 128)),
            min_length=1,
            description="(nodes, features) of each latent, top first",
        )
        width: int = Field(256, ge=1, description="features of the deterministic path")
        residual: Residual = "input"
        sigma_floor: float = Field(
            1.0, gt=0, description="smallest standard deviation of a coefficient, mm"
        )

        @model_validator(mode="after")
        def _positive(self) -> "HGVAE.Settings":
            if any(size < 1 for latent in self.latents for size in latent):
                raise ValueError("latents need at least one node and one feature each")
            return self

    settings: Settings
    scale: Tensor
    dct: Tensor

    def __init__(self, spec: MotionSpec, settings: Settings | None = None) -> None:
        super().__init__(spec, settings)
        # Coefficients are divided by their root mean square over the train set, by frequency.
        self.register_buffer("scale", torch.ones(spec.frames))
        basis = torch.tensor(dct_matrix(spec.frames), dtype=torch.float32)
        self.register_buffer("dct", basis, persistent=False)
        bottom_up = self.settings.latents[::-1]
        sizes = zip(((spec.nodes, spec.frames), *bottom_up[:-1]), bottom_up, strict=True)
        width, residual = self.settings.width, self.settings.residual
        self.encoder = nn.ModuleList(_Encoder(below, above, residual) for below, above in sizes)
        (nodes, features), *lower = self.settings.latents
        self.top = _posterior_head(nodes, features, features)
        self.join_top = GCL((nodes, spec.nodes), (features, width))
        self.lower = nn.ModuleList(
            _StochasticLayer(latent, spec.nodes, width, residual) for latent in lower
        )
        self.last = GCB(spec.nodes, width, residual)
        self.output = GCL((spec.nodes, spec.nodes), (width, 2 * spec.frames), activation=False)

    @property
    def layers(self) -> "list[_StochasticLayer]":
        """The stochastic layers below the top, from the top down."""
        return cast("list[_StochasticLayer]", list(self.lower))

    def fit(
        self, train_windows: Windows, valid: Windows, context: FitContext | None = None
    ) -> None:
        """Maximise the ELBO."""
        self.measure(train_windows, valid)
        train(self, train_windows, valid, self.settings, context or FitContext())

    def measure(self, train_windows: Windows, valid: Windows) -> None:
        """Take the train set's mean and the scale of each frequency."""
        super().fit(train_windows, valid)
        coefficients = self._coefficients(train_windows.tensor())
        self.scale.copy_(coefficients.square().mean(dim=(0, 1)).sqrt().clamp(min=1e-3))

    def losses(self, motion: Tensor, kl_weight: float) -> dict[str, Tensor]:
        """Return the negative ELBO and its parts in nats per window (eq. 1), averaged."""
        x = self._coefficients(motion) / self.scale
        path, posteriors, priors = self._descend(self._ascend(x), draw=True)
        distortion = -self._likelihood(path).log_prob(x).mean()
        rates = [q.kl(p).mean() for q, p in zip(posteriors, priors, strict=True)]
        rate = torch.stack(rates).sum()
        parts = {f"kl_z{level}": value for level, value in enumerate(rates)}
        return {"loss": distortion + kl_weight * rate, "distortion": distortion, **parts}

    def log_posterior(self, motion: Tensor) -> Tensor:
        """Return, per latent level, the log density of the posterior's mean under the prior.

        This is the quantity that the paper calls the log posterior and its published code
        computes, with two differences: all levels count, and each latent on the way down is its
        posterior's mean rather than a draw, so that a window's score is one number.
        """
        x = self._coefficients(motion) / self.scale
        _, posteriors, priors = self._descend(self._ascend(x), draw=False, to_end=False)
        levels = [p.log_prob(q.mean) for q, p in zip(posteriors, priors, strict=True)]
        return torch.stack(levels, dim=1)

    @torch.no_grad()
    def reconstruct(self, motion: Tensor) -> Tensor:
        """Return the decoder's mean for the posteriors' means, of the shape of ``motion``, mm."""
        x = self._coefficients(motion) / self.scale
        path, _, _ = self._descend(self._ascend(x), draw=False)
        return self._motion(self._likelihood(path).mean)

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        """Return windows drawn top down from the prior, with the decoder's mean, mm."""
        nodes, features = self.settings.latents[0]
        path = self.join_top(torch.randn(nodes, count, features, device=self.mean.device))
        for layer in self.layers:
            step = layer(path, None)
            path = layer.join_path(step, step.prior.sample())
        return self._motion(self._likelihood(path).mean)

    def latent_shapes(self) -> list[tuple[int, int]]:
        """Return (nodes, features) of z0, z1, ... as the network computes them."""
        blank = torch.zeros(
            1, self.spec.frames, len(self.spec.skeleton), 3, device=self.mean.device
        )
        _, posteriors, _ = self._descend(self._ascend(self._coefficients(blank)), draw=False)
        return [(q.mean.shape[0], q.mean.shape[2]) for q in posteriors]

    def _coefficients(self, motion: Tensor) -> Tensor:
        """Return DCT coefficients of motion about the mean, mm: ``(node, window, frequency)``."""
        return to_nodes(motion - self.mean) @ self.dct.T

    def _motion(self, coefficients: Tensor) -> Tensor:
        return from_nodes(coefficients * self.scale @ self.dct) + self.mean

    def _ascend(self, x: Tensor) -> list[Tensor]:
        """Return the bottom-up features of every level, top first."""
        features = []
        for level in self.encoder:
            x = level(x)
            features.append(x)
        return features[::-1]

    def _descend(
        self, features: list[Tensor], draw: bool, to_end: bool = True
    ) -> tuple[Tensor, list[Gaussian], list[Gaussian]]:
        """Return the path's end and every level's posterior and prior.

        ``draw`` tells whether latents are drawn from the posterior or are its mean; ``to_end``
        whether the lowest latent need join the path, which a posterior does not depend on.
        """
        posterior = Gaussian.from_head(self.top(features[0]))
        posteriors, priors = [posterior], [Gaussian.standard(posterior.mean)]
        path = self.join_top(posterior.sample() if draw else posterior.mean)
        for number, (layer, feature) in enumerate(zip(self.layers, features[1:], strict=True), 1):
            step = layer(path, feature)
            posteriors.append(step.posterior)
            priors.append(step.prior)
            if to_end or number < len(self.layers):
                z = step.posterior.sample() if draw else step.posterior.mean
                path = layer.join_path(step, z)
        return path, posteriors, priors

    def _likelihood(self, path: Tensor) -> Gaussian:
        """Return p(x | z) over scaled coefficients, its deviation held above the floor."""
        free = Gaussian.from_head(self.output(self.last(path)))
        floor = 2 * torch.log(self.settings.sigma_floor / self.scale)
        return Gaussian(free.mean, torch.logaddexp(free.log_var, floor))


def _posterior_head(nodes: int, width: int, features: int) -> GCL:
    """Return a fused head for mean and log variance, the latter low at first."""
    head = GCL((nodes, nodes), (width, 2 * features), activation=False)
    nn.init.constant_(head.b[:, features:], POSTERIOR_LOG_VAR)
    return head


class _Encoder(nn.Module):
    """One bottom-up step: change the graph's size, then a block."""

    def __init__(self, below: tuple[int, int], above: tuple[int, int], residual: Residual) -> None:
        super().__init__()
        self.resize = GCL((below[0], above[0]), (below[1], above[1]))
        self.block = GCB(*above, residual)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.resize(x))


class _StochasticLayer(nn.Module):
    """One stochastic layer of the top-down pass (the paper's Fig. 2)."""

    def __init__(self, latent: tuple[int, int], nodes: int, width: int, residual: Residual) -> None:
        super().__init__()
        inner, features = latent
        self.block = GCB(nodes, width, residual)
        self.prior_block = GCB(nodes, width, residual)
        self.prior = GCL((nodes, inner), (width, 2 * features), activation=False)
        self.reduce = GCL((nodes, inner), (width, features))
        self.posterior_block = GCB(inner, 2 * features, residual)
        self.posterior = _posterior_head(inner, 2 * features, features)
        self.join = GCL((inner, nodes), (features, width))
        self.prior_weight = nn.Parameter(torch.zeros(()))
        self.latent_weight = nn.Parameter(torch.zeros(()))

    def forward(self, path: Tensor, feature: Tensor | None) -> "_Step":
        """Return this level's prior and posterior; without bottom-up features, the prior twice."""
        path = self.block(path)
        context = self.prior_block(path)
        prior = posterior = Gaussian.from_head(self.prior(context))
        if feature is not None:
            joined = torch.cat([self.reduce(path), feature], dim=-1)
            posterior = Gaussian.from_head(self.posterior(self.posterior_block(joined)))
        return _Step(path, context, posterior, prior)

    def join_path(self, step: "_Step", z: Tensor) -> Tensor:
        """Return the path with the prior's features and the latent on it."""
        path = torch.addcmul(step.path, self.prior_weight, step.context)
        return torch.addcmul(path, self.latent_weight, self.join(z))


class _Step(NamedTuple):
    """What a stochastic layer knows before its latent is settled."""

    path: Tensor
    context: Tensor
    posterior: Gaussian
    prior: Gaussian
