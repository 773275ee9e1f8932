"""Diagonal Gaussians over graphs: the distributions of every hierarchical model here."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LOG_TWO_PI = math.log(2 * math.pi)
# Beyond these a variance only overflows; they are far outside what trained models use.
LOG_VAR_RANGE = (-14.0, 8.0)


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian per window; ``mean`` and ``log_var`` are ``(node, window, feature)``."""

    mean: Tensor
    log_var: Tensor

    @classmethod
    def from_head(cls, output: Tensor) -> "Gaussian":
        """Split a fused head's ``(node, window, 2 * feature)`` into mean and log variance."""
        mean, log_var = output.chunk(2, dim=-1)
        return cls(mean, log_var.clamp(*LOG_VAR_RANGE))

    @classmethod
    def standard(cls, like: Tensor) -> "Gaussian":
        """Return N(0, I) in the shape of ``like``."""
        return cls(torch.zeros_like(like), torch.zeros_like(like))

    def sample(self) -> Tensor:
        """Draw by the reparametrisation trick from torch's global generator."""
        return self.mean + torch.exp(0.5 * self.log_var) * torch.randn_like(self.mean)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of ``value`` in nats, ``(window,)``: nodes and features summed."""
        squared = (value - self.mean).square() * torch.exp(-self.log_var)
        return -0.5 * (squared + self.log_var + LOG_TWO_PI).sum(dim=(0, 2))

    def kl(self, prior: "Gaussian") -> Tensor:
        """Return KL(self || prior) in nats, ``(window,)``: nodes and features summed."""
        ratio = self.log_var - prior.log_var
        squared = (self.mean - prior.mean).square() * torch.exp(-prior.log_var)
        return 0.5 * (ratio.exp() + squared - 1 - ratio).sum(dim=(0, 2))
