"""Inference in one pass of the encoder."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from models.base import GenerativeImputer, Imputation
from models.gaussian import Draw, Gaussian, SharedNoise
from models.inference.base import Inference, in_batches, joined


class Amortised(Inference):
    """Mean of hidden values given seen ones and the latents that the encoder infers, in one pass.

    Amortised inference (Kingma and Welling 2014): nothing is optimised or iterated. Models that
    were trained on masks, such as ``masked_vae``, infer from what is seen alone (partial VAEs, Ma
    et al. 2019); others from windows that are at the train mean where values are hidden.
    """

    name: ClassVar[str] = "amortised"

    draws: int = Field(20, ge=0, description="completions drawn, of latents and hidden values")

    def complete(self, model: GenerativeImputer, motion: Tensor, occluded: Tensor) -> Imputation:
        """Return the mean given the latents' mean, and draws."""
        return joined(in_batches(lambda *part: self._decoded(model, *part), motion, occluded))

    @torch.no_grad()
    def _decoded(self, model: GenerativeImputer, motion: Tensor, occluded: Tensor) -> Imputation:
        posterior, noise = model.infer_seen(motion, occluded), SharedNoise()

        def drawn(draw: Draw) -> Tensor:
            z, _ = posterior.draw(draw)
            return model.decode(z).given(motion, occluded).fill(draw)

        samples = [drawn(noise) for _ in range(self.draws)]
        return Imputation(drawn(Gaussian.centre), samples=torch.stack(samples) if samples else None)
