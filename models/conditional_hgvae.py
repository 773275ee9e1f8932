"""Class-conditional HG-VAE (the paper's contribution list and Fig. 3).

A one-hot vector of the action is appended to z0 where it enters the deterministic path: with the
paper's 13 actions of Human3.6M and 256 latent features, 269 features. The encoder is not
conditioned on the action. For a share of the windows of each training batch the vector is zero, so
that the same model scores and completes windows of unknown action. That share is not in the paper.
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
    """HG-VAE conditioned on the action by a one-hot at z0; samples windows given an action."""

    name = "conditional_hgvae"
    paper_parameters: ClassVar[float | None] = None

    class Settings(HGVAE.Settings):
        """Those of HG-VAE, and the share of train windows without an action."""

        untold: float = Field(
            0.1, ge=0, lt=1, description="share of train windows whose action is dropped"
        )

    settings: Settings

    def __init__(self, spec: MotionSpec, settings: Settings | None = None) -> None:
        if not spec.actions:
            raise ValueError("name the actions to condition on: actions at the top of the protocol")
        super().__init__(spec, settings)

    @property
    def condition_size(self) -> int:
        """The length of the one-hot vector, the number of actions."""
        return len(self.spec.actions)

    def loss_inputs(self, windows: Windows) -> dict[str, Tensor]:
        """Return ``condition``, ``(window, action)`` one-hots; zero where the action is unknown."""
        return {"condition": self._one_hot(windows.labels(self.spec.actions))}

    def losses(
        self, motion: Tensor, kl_weight: float, condition: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the loss of HG-VAE given actions; in training some are dropped."""
        if condition is not None and self.training:
            draws = torch.rand(len(condition), 1, device=condition.device)
            condition = condition * (draws >= self.settings.untold)
        return super().losses(motion, kl_weight, condition)

    @torch.no_grad()
    def sample(self, count: int, action: str | None = None) -> Tensor:
        """Return ``(count, frame, joint, 3)`` windows given one action, or given none, mm.

        Raises:
            ValueError: the action is not one of ``spec.actions``.
        """
        return self._draw(count, None) if action is None else self.sample_actions([action] * count)

    @torch.no_grad()
    def sample_actions(self, actions: Sequence[str]) -> Tensor:
        """Return one window per given action, mm; raises ValueError for an unknown one."""
        numbers = torch.tensor([self.spec.actions.index(action) for action in actions])
        return self._draw(len(actions), self._one_hot(numbers).to(self.mean.device))

    def _one_hot(self, numbers: Tensor) -> Tensor:
        """Return one-hots of the indices of actions; zeros for -1."""
        return one_hot(numbers + 1, self.condition_size + 1)[:, 1:].float()
