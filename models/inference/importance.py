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

    Latents are proposed by the encoder given the window as filled so far, and weighted by
    p(seen, z) / q(z): self-normalised importance sampling (Rubin 1987; with VAEs, Burda et al.
    2016). A round's mean fills the window of the next, whose proposals are closer. All windows
    share their noise, so that none depends on its batch.
    """

    name: ClassVar[str] = "importance"

    particles: int = Field(50, ge=1, description="latents proposed per round and window")
    rounds: int = Field(3, ge=1, description="times that the mean becomes the proposals' input")
    draws: int = Field(20, ge=2, description="completions resampled in the last round")

    def complete(self, model: GenerativeImputer, motion: Tensor, occluded: Tensor) -> Imputation:
        """Return the weighted mean of the last round, and draws."""
        return joined(in_batches(lambda *part: self._refine(model, *part), motion, occluded))

    @torch.no_grad()
    def _refine(self, model: GenerativeImputer, motion: Tensor, occluded: Tensor) -> Imputation:
        noise = SharedNoise()
        for _ in range(self.rounds - 1):
            motion = self._round(model, motion, occluded, noise, 0).motion
        return self._round(model, motion, occluded, noise, self.draws)

    def _round(
        self,
        model: GenerativeImputer,
        motion: Tensor,
        occluded: Tensor,
        noise: SharedNoise,
        draws: int,
    ) -> Imputation:
        """Return the weighted mean over particles, and ``draws`` draws by their weights.

        One particle is held at a time: it replaces each draw with the probability of its share of
        the weights so far (Chao 1982). A window none of whose weights is finite stays as it is.
        """
        posterior = model.infer(motion)
        mean, samples = motion, motion.expand(draws, *motion.shape)
        total = torch.full((len(motion),), -torch.inf, dtype=torch.float64, device=motion.device)
        for _ in range(self.particles):
            z, density = posterior.draw(noise)
            hidden = model.decode(z).given(motion, occluded)
            weight = (hidden.log_joint - density).nan_to_num(nan=-torch.inf)
            total = torch.logaddexp(total, weight)
            share = (weight - total).exp().nan_to_num(nan=0.0)[:, None, None, None]
            filled = hidden.fill(Gaussian.centre)
            mean = torch.where(share > 0, mean + share * (filled - mean), mean).to(motion.dtype)
            if draws:
                level = torch.rand(draws, 1, 1, 1, 1, generator=noise.generator).to(share)
                samples = torch.where(level < share, hidden.fill(noise), samples)
        return Imputation(mean, samples=samples)
