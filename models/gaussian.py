"""Diagonal Gaussians over graphs: the latent and output distributions of all VAEs here."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

LOG_TWO_PI = math.log(2 * math.pi)
# Avoids overflow; far outside the range of trained models.
LOG_VAR_RANGE = (-14.0, 8.0)
# Wider, since a likelihood over millimetres has large variances.
LIKELIHOOD_LOG_VAR_RANGE = (-14.0, 20.0)


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian per window; ``mean`` and ``log_var`` are ``(node, window, feature)``."""

    mean: Tensor
    log_var: Tensor

    @classmethod
    def from_head(
        cls, output: Tensor, log_var_range: tuple[float, float] = LOG_VAR_RANGE
    ) -> "Gaussian":
        """Split a fused head's ``(node, window, 2 * feature)`` into mean and log variance."""
        if output.dtype == torch.bfloat16:
            # The terms of a density need more precision than bf16 products.
            output = output.float()
        mean, log_var = output.chunk(2, dim=-1)
        return cls(mean, log_var.clamp(*log_var_range))

    @classmethod
    def likelihood(cls, output: Tensor, floor: Tensor) -> "Gaussian":
        """Return p(x | z) from a fused head, with ``floor ** 2`` added to its variance.

        Args:
            output: ``(node, window, 2 * feature)``, mean and log variance.
            floor: smallest standard deviation, in the units of ``x``; broadcast over features.
        """
        free = cls.from_head(output, LIKELIHOOD_LOG_VAR_RANGE)
        return cls(free.mean, torch.logaddexp(free.log_var, 2 * torch.log(floor)))

    @classmethod
    def standard(cls, like: Tensor) -> "Gaussian":
        """Return N(0, I) in the shape of ``like``."""
        return cls(torch.zeros_like(like), torch.zeros_like(like))

    def centre(self) -> Tensor:
        """Return the mean, in place of a random draw."""
        return self.mean

    def sample(self) -> Tensor:
        """Draw by the reparametrisation trick from torch's global generator."""
        # Contiguous, so that draws do not depend on the mean's memory layout.
        noise = torch.randn_like(self.mean, memory_format=torch.contiguous_format)
        return self.mean + torch.exp(0.5 * self.log_var) * noise

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density in nats, ``(window,)``, summed over nodes and features."""
        squared = (value - self.mean).square() * torch.exp(-self.log_var)
        return -0.5 * (squared + self.log_var + LOG_TWO_PI).sum(dim=(0, 2))

    def kl(self, prior: "Gaussian") -> Tensor:
        """Return KL(self || prior) in nats, ``(window,)``, summed over nodes and features."""
        ratio = self.log_var - prior.log_var
        squared = (self.mean - prior.mean).square() * torch.exp(-prior.log_var)
        return 0.5 * (ratio.exp() + squared - 1 - ratio).sum(dim=(0, 2))


class SharedNoise:
    """Draws with the same noise for every window, so that scores do not depend on the batch.

    Successive calls, one per latent, have different noise; a new instance repeats the sequence.

    Args:
        seed: seed of the noise.
    """

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, gaussian: Gaussian) -> Tensor:
        """Return ``(node, window, feature)`` draws by the reparametrisation trick."""
        nodes, _, features = gaussian.mean.shape
        noise = torch.randn(nodes, 1, features, generator=self.generator).to(gaussian.mean)
        return gaussian.mean + torch.exp(0.5 * gaussian.log_var) * noise


Draw = Callable[[Gaussian], Tensor]
"""How a latent is chosen from its distribution: a sample, the mean, a given value, ..."""


class Given:
    """Takes a model's latents, one call each, from a tensor of all of them.

    Args:
        z: ``(window, latent)``.

    Attributes:
        log_prob: ``(window,)``, the sum of the log densities of the latents taken so far, nats.
    """

    def __init__(self, z: Tensor) -> None:
        self.rest = z
        self.log_prob = z.new_zeros(len(z))

    def __call__(self, gaussian: Gaussian) -> Tensor:
        """Return the next latent in the shape of its distribution, ``(node, window, feature)``."""
        nodes, windows, features = gaussian.mean.shape
        latent = self.rest[:, : nodes * features].reshape(windows, nodes, features).transpose(0, 1)
        self.rest = self.rest[:, nodes * features :]
        self.log_prob = self.log_prob + gaussian.log_prob(latent)
        return latent


@dataclass(frozen=True)
class Chain:
    """A distribution of all latents of a model: Gaussians that depend on the latents before them.

    Attributes:
        visit: calls its argument with the Gaussian of each latent in turn and uses what it returns
            as that latent.
    """

    visit: Callable[[Draw], object]

    def draw(self, choose: Draw) -> tuple[Tensor, Tensor]:
        """Return ``(window, latent)`` latents and ``(window,)`` their log density, nats."""
        latents: list[Tensor] = []
        densities: list[Tensor] = []

        def record(gaussian: Gaussian) -> Tensor:
            latent = choose(gaussian)
            latents.append(latent.transpose(0, 1).flatten(1))
            densities.append(gaussian.log_prob(latent))
            return latent

        self.visit(record)
        return torch.cat(latents, dim=1), torch.stack(densities).sum(dim=0)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return ``(window,)`` the log density of latents ``(window, latent)``, nats."""
        given = Given(z)
        self.visit(given)
        return given.log_prob
