"""Optimisation of latents for what is seen."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bench.fitting.adam import Adam
from models.base import GenerativeImputer
from models.gaussian import Gaussian
from models.inference.base import Inference, frozen, in_batches, keep_best


class Latent(Inference):
    """Most probable latents given what is seen, by Adam; the decoder's mean fills the rest.

    The objective is log p(seen, z), as HM-VAE completes motion (Li et al. 2021); the start is the
    posterior's mean given the train mean. Each window keeps its best step.
    Where the decoder's values are correlated, the mean is that given the latents and what is seen.
    """

    name: ClassVar[str] = "latent"

    steps: int = Field(100, ge=1)
    rate: float = Field(0.05, gt=0, description="Adam's rate, in units of the latents")

    def complete(self, model: GenerativeImputer, motion: Tensor, occluded: Tensor) -> Tensor:
        """Return the completion by the best latents among the start and ``steps`` steps."""
        with frozen(model):
            parts = in_batches(lambda *part: self._ascend(model, *part), motion, occluded)
            return torch.cat(list(parts))

    def _ascend(self, model: GenerativeImputer, motion: Tensor, occluded: Tensor) -> Tensor:
        with torch.no_grad():
            best, _ = model.infer(model.mean.expand_as(motion)).draw(Gaussian.centre)
        z = best.clone().requires_grad_(True)
        highest = torch.full((len(motion),), -torch.inf, dtype=torch.float64, device=motion.device)
        optimizer = Adam([z], self.rate)
        for step in range(self.steps + 1):
            value = model.decode(z).given(motion, occluded).log_joint
            best, highest = keep_best(best, highest, z.detach().clone(), value.detach())
            if step < self.steps:
                # A sum, not a mean: a window's steps must not depend on the size of its batch.
                (z.grad,) = torch.autograd.grad(-value.sum(), z)
                optimizer.step()
        with torch.no_grad():
            return model.decode(best).given(motion, occluded).fill(Gaussian.centre)
