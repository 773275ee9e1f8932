"""Importance sampling of latents given what is seen."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from models.base import GenerativeImputer, Imputation
from models.gaussian import Gaussian, SharedNoise
from models.inference.base import Inference, in_batches, joined


class Importance(Inference):
    """Importance-weighted conditional mean of hidden values; draws by resampling.

    Latents are proposed by the encoder and weighted by p(seen, z) / q(z): self-normalised
    importance sampling (Rubin 1987; with VAEs, Burda et al. 2016). The first round proposes from
    the train mean, since windows that jump to their mean where values are hidden are unlike any
    that the encoder was fitted on; the others from the completion so far, so that proposals come
    closer. Particles of all rounds count by their weights, as in population Monte Carlo (Cappe et
    al. 2004): a round whose proposals are worse changes nothing. All windows share their noise, so
    that none depends on its batch.
    """

    name: ClassVar[str] = "importance"

    particles: int = Field(50, ge=1, description="latents proposed per round and window")
    rounds: int = Field(3, ge=1, description="times that latents are proposed")
    draws: int = Field(20, ge=2, description="completions resampled by the weights")

    def complete(self, model: GenerativeImputer, motion: Tensor, occluded: Tensor) -> Imputation:
        """Return the weighted mean, and draws by the weights.

        A window none of whose weights is finite stays as it is.
        """
        return joined(in_batches(lambda *part: self._refine(model, *part), motion, occluded))

    @torch.no_grad()
    def _refine(self, model: GenerativeImputer, motion: Tensor, occluded: Tensor) -> Imputation:
        """Complete a batch, one particle at a time.

        A particle replaces each draw with the probability of its share of the weights so far (Chao
        1982).
        """
        noise = SharedNoise()
        source, mean = model.mean.expand_as(motion), motion
        samples = motion.expand(self.draws, *motion.shape)
        total = motion.new_full((len(motion),), -torch.inf, dtype=torch.float64)
        for _ in range(self.rounds):
            posterior = model.infer(source)
            for _ in range(self.particles):
                z, density = posterior.draw(noise)
                hidden = model.decode(z).given(motion, occluded)
                weight = (hidden.log_joint - density).nan_to_num(nan=-torch.inf)
                total = torch.logaddexp(total, weight)
                share = (weight - total).exp().nan_to_num(nan=0.0)[:, None, None, None]
                filled = hidden.fill(Gaussian.centre)
                mean = torch.where(share > 0, mean + share * (filled - mean), mean).to(motion.dtype)
                level = torch.rand(self.draws, 1, 1, 1, 1, generator=noise.generator).to(share)
                samples = torch.where(level < share, hidden.fill(noise), samples)
            source = mean
        return Imputation(mean, samples=samples)
