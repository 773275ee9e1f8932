"""Class-conditional HG-VAE (the paper's contribution list and Fig. 3).

A one-hot vector of the action is appended to z0 on its way into the deterministic path: with the
paper's 13 actions of Human3.6M and 256 features, 269. The encoder is not told the action. A share
of the windows of each training batch is not told either, noughts in the vector's place, so that
the same model scores and completes windows whose action is unknown. That share is ours.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from bench.motion import MotionSpec, Windows
from models.base import ConditionalImputer
from models.hgvae import HGVAE


class ConditionalHGVAE(HGVAE, ConditionalImputer):
    """HG-VAE told the action by a one-hot at z0; draws windows of an action asked for."""

    name = "conditional_hgvae"
    paper_parameters: ClassVar[float | None] = None

    class Settings(HGVAE.Settings):
        """Those of HG-VAE, and how much of the train set it is not told the action of."""

        untold: float = Field(
            0.1, ge=0, lt=1, description="share of train windows whose action is withheld"
        )

    settings: Settings

    def __init__(self, spec: MotionSpec, settings: Settings | None = None) -> None:
        if not spec.actions:
            raise ValueError("name the actions to tell it: actions at the top of the protocol")
        super().__init__(spec, settings)

    @property
    def conditions(self) -> int:
        """The length of the one-hot."""
        return len(self.spec.actions)

    def loss_inputs(self, windows: Windows) -> dict[str, Tensor]:
        """Return ``told``, ``(window, action)`` one-hots; noughts where the action is not known."""
        return {"told": self._told(windows.labels(self.spec.actions))}

    def losses(
        self, motion: Tensor, kl_weight: float, told: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the loss of HG-VAE, in training with some actions withheld."""
        if told is not None and self.training:
            told = told * (torch.rand(len(told), 1, device=told.device) >= self.settings.untold)
        return super().losses(motion, kl_weight, told)

    @torch.no_grad()
    def sample(self, count: int, action: str | None = None) -> Tensor:
        """Return windows of one action, or of none in particular, mm.

        Raises:
            ValueError: the action is not one of ``spec.actions``.
        """
        return self._draw(count, None) if action is None else self.sample_actions([action] * count)

    @torch.no_grad()
    def sample_actions(self, actions: Sequence[str]) -> Tensor:
        """Return one window of each action asked for, mm; raises ValueError for one not known."""
        places = torch.tensor([self.spec.actions.index(action) for action in actions])
        return self._draw(len(actions), self._told(places).to(self.mean.device))

    def _told(self, places: Tensor) -> Tensor:
        """Return one-hots of the places of actions, noughts for -1."""
        return one_hot(places + 1, self.conditions + 1)[:, 1:].float()
