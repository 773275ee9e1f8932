"""Gibbs-style draws of hidden values, in turn with latents."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from models.base import GenerativeImputer, Imputation
from models.decoded import Decoded
from models.gaussian import SharedNoise
from models.inference.base import Inference, in_batches, joined


class Gibbs(Inference):
    """Pseudo-Gibbs: draws latents given the window, then hidden values given latents, in turn.

    Rezende et al. (2014, appendix F). The encoder is not the exact posterior, so neither are the
    draws; with ``metropolis`` a draw of latents is accepted or rejected by its importance weight,
    and the chain converges to the model's own distribution of what is hidden (Mattei and Frellsen
    2018, algorithm 2). The first half of the burn-in accepts every draw, so as to leave the train
    mean. The completion is the mean of the draws. All windows share their noise, so that none
    depends on its batch. With a model that fits badly the chain may diverge where much is hidden.
    """

    name: ClassVar[str] = "gibbs"

    burn_in: int = Field(20, ge=0, description="steps before the first draw that is kept")
    draws: int = Field(20, ge=2, description="steps after it, each of which gives a draw")
    metropolis: bool = Field(False, description="accept or reject latents by importance weights")

    def complete(self, model: GenerativeImputer, motion: Tensor, occluded: Tensor) -> Imputation:
        """Return the mean of ``draws`` draws, and these."""
        return joined(in_batches(lambda *part: self._draw(model, *part), motion, occluded))

    @torch.no_grad()
    def _draw(self, model: GenerativeImputer, motion: Tensor, occluded: Tensor) -> Imputation:
        noise = SharedNoise()
        kept = []
        z: Tensor | None = None
        for step in range(self.burn_in + self.draws):
            posterior = model.infer(motion)
            proposed, density = posterior.draw(noise)
            decoded = model.decode(proposed)
            level = torch.rand((), generator=noise.generator)
            if z is not None and self.metropolis and 2 * step >= self.burn_in:
                ratio = _log_weight(decoded, density, motion) - _log_weight(
                    model.decode(z), posterior.log_prob(z), motion
                )
                proposed = torch.where((level.log().to(ratio) < ratio)[:, None], proposed, z)
                decoded = model.decode(proposed)
            z = proposed
            motion = decoded.given(motion, occluded).fill(noise)
            if step >= self.burn_in:
                kept.append(motion)
        samples = torch.stack(kept)
        return Imputation(samples.mean(dim=0), samples=samples)


def _log_weight(decoded: Decoded, density: Tensor, motion: Tensor) -> Tensor:
    """Return ``(window,)`` log p(motion, z) - log q(z | motion) of a completed window."""
    seen = torch.zeros_like(motion, dtype=torch.bool)
    return decoded.given(motion, seen).log_joint - density
