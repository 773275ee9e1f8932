"""Repeated reconstruction of hidden values."""

import torch
from pydantic import Field
from torch import Tensor

from models.base import GenerativeImputer
from models.inference.base import Inference, keep_best


class Reconstruct(Inference):
    """Puts the model's reconstruction where values are hidden, again and again; keeps the best.

    The pseudo-Gibbs sampler of Rezende et al. (2014, appendix F) with means in place of draws. It
    need not settle: where much is hidden it can run away. So of the start and of all steps, for
    each window the one of highest ELBO is kept.
    """

    name = "reconstruct"

    steps: int = Field(10, ge=1)

    @torch.no_grad()
    def complete(self, model: GenerativeImputer, motion: Tensor, occluded: Tensor) -> Tensor:
        """Return the best completion that ``steps`` reconstructions meet."""
        best, highest = motion, model.elbo(motion)
        for _ in range(self.steps):
            motion = torch.where(occluded, model.reconstruct(motion), motion)
            best, highest = keep_best(best, highest, motion, model.elbo(motion))
        return best
