"""A weighted mean of Gaussians, splines and a network, with weights learnt by the kind of gap."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from bench.fitting.training import FitContext
from bench.motion import MotionSpec, Windows
from models.gaussian import Gaussian
from models.masked_vae import MaskedVAE
from models.stacked import Experts, Given, Stacked


class StackedVAE(Stacked):
    """``stacked`` with a ``masked_vae``, and Gaussians around what it decodes, in the mixture.

    A Gaussian corrects what the VAE decodes for the whole window by its errors where it is seen, as
    kriging with a given trend does (Rasmussen and Williams 2006, sec. 2.7), and bones keep their
    lengths. Each fold of people has a VAE of its own.
    """

    name = "stacked_vae"

    class Settings(MaskedVAE.Settings, Stacked.Settings):
        """Those of both."""

        folds: int = Field(
            3, ge=2, description="groups of people; experts for one are fitted to the others"
        )

    settings: Settings

    @property
    def completion_count(self) -> int:
        """Number of completions: those of ``stacked``, one by each Gaussian, and the VAE's."""
        return super().completion_count + len(self.settings.drifts) + 1

    def new_experts(self) -> "_Experts":
        """Return Gaussians and a VAE, not fitted yet."""
        return _Experts(self.spec, self.settings)

    @torch.no_grad()
    def further(
        self,
        motion: Tensor,
        hidden: Tensor,
        experts: Experts,
        given: Sequence[Given],
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the VAE's completion, and those of each Gaussian around what it decodes.

        None states a deviation of its own; they have those of the Gaussians.
        """
        assert isinstance(experts, _Experts)
        occluded = hidden.expand(motion.shape)
        z, _ = experts.vae.infer_seen(motion, occluded).draw(Gaussian.centre)
        decoded = experts.vae.decode(z)
        found = [(decoded.given(motion, occluded).fill(Gaussian.centre), given[-1].sigma)]
        predicted = decoded.motion(decoded.mean).double().flatten(1)
        around = []
        for one in given:
            offset = one.gaussian.gaussian.mean - predicted
            fill = one.gaussian.filled(motion.double().flatten(1) + offset) - offset
            around.append(fill.view_as(motion))
        kept = self.with_bones(around, given)
        return found + [(fill, one.sigma) for fill, one in zip(kept, given, strict=True)]


class _Experts(Experts):
    """Gaussians, and a VAE next to them."""

    def __init__(self, spec: MotionSpec, settings: MaskedVAE.Settings) -> None:
        super().__init__(spec)
        self.vae = MaskedVAE(spec, settings)

    def fit(self, train: Windows, valid: Windows, fold: int | None, context: FitContext) -> None:
        """Fit all; each VAE has a checkpoint of its own."""
        super().fit(train, valid, fold, context)
        folder = context.folder and context.folder / ("whole" if fold is None else f"fold{fold}")
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        history = context.history if fold is None else []
        own = replace(context, folder=folder, history=history, before=0.0)
        self.vae.fit(train, valid, own)
        context.before += own.before
        # Next to Gaussians, which are not fitted on the device.
        self.vae.to(self.windows.mean.device)
