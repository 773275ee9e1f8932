"""Inference by repeated reconstruction of hidden values."""

import torch
from pydantic import Field
from torch import Tensor

from models.base import GenerativeImputer
from models.inference.base import Inference, keep_best


class Reconstruct(Inference):
    """Repeatedly replaces hidden values by the model's reconstruction; keeps the best step.

    The pseudo-Gibbs sampler of Rezende et al. (2014, appendix F) with means in place of draws. It
    may diverge where much is hidden, so each window keeps the step, or start, of highest ELBO.
    """

    name = "reconstruct"

    steps: int = Field(10, ge=1)

    @torch.no_grad()
    def complete(self, model: GenerativeImputer, motion: Tensor, occluded: Tensor) -> Tensor:
        """Return the best completion among the start and ``steps`` reconstructions."""
        best, highest = motion, model.elbo(motion)
        for _ in range(self.steps):
            motion = torch.where(occluded, model.reconstruct(motion), motion)
            best, highest = keep_best(best, highest, motion, model.elbo(motion))
        return best
