"""Diagonal Gaussians over graphs: the distributions of every hierarchical model here."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LOG_TWO_PI = math.log(2 * math.pi)
# Beyond these a variance only overflows; they are far outside what trained models use.
LOG_VAR_RANGE = (-14.0, 8.0)
# A likelihood may be over millimetres, whose variances are large.
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
            # A density's terms need more digits than a product computed in fewer.
            output = output.float()
        mean, log_var = output.chunk(2, dim=-1)
        return cls(mean, log_var.clamp(*log_var_range))

    @classmethod
    def likelihood(cls, output: Tensor, floor: Tensor) -> "Gaussian":
        """Return p(x | z) from a fused head, its deviation held above ``floor``, softly."""
        free = cls.from_head(output, LIKELIHOOD_LOG_VAR_RANGE)
        return cls(free.mean, torch.logaddexp(free.log_var, 2 * torch.log(floor)))

    @classmethod
    def standard(cls, like: Tensor) -> "Gaussian":
        """Return N(0, I) in the shape of ``like``."""
        return cls(torch.zeros_like(like), torch.zeros_like(like))

    def centre(self) -> Tensor:
        """Return the mean, as a draw that leaves nothing to chance."""
        return self.mean

    def sample(self) -> Tensor:
        """Draw by the reparametrisation trick from torch's global generator."""
        # In the order of its shape, however the mean lies in memory.
        noise = torch.randn_like(self.mean, memory_format=torch.contiguous_format)
        return self.mean + torch.exp(0.5 * self.log_var) * noise

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of ``value`` in nats, ``(window,)``: nodes and features summed."""
        squared = (value - self.mean).square() * torch.exp(-self.log_var)
        return -0.5 * (squared + self.log_var + LOG_TWO_PI).sum(dim=(0, 2))

    def kl(self, prior: "Gaussian") -> Tensor:
        """Return KL(self || prior) in nats, ``(window,)``: nodes and features summed."""
        ratio = self.log_var - prior.log_var
        squared = (self.mean - prior.mean).square() * torch.exp(-prior.log_var)
        return 0.5 * (ratio.exp() + squared - 1 - ratio).sum(dim=(0, 2))


class SharedNoise:
    """Draws with the same noise for every window, and the same at every use.

    Where a window's draw hung on its place in a batch, so would its score. Each latent's noise is
    of its own shape, and of its place in the order of draws.

    Args:
        seed: of the noise.
    """

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, gaussian: Gaussian) -> Tensor:
        """Return ``(node, window, feature)`` draws by the reparametrisation trick."""
        nodes, _, features = gaussian.mean.shape
        noise = torch.randn(nodes, 1, features, generator=self.generator).to(gaussian.mean)
        return gaussian.mean + torch.exp(0.5 * gaussian.log_var) * noise
