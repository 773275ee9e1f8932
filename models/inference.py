"""How a generative model turns the observed part of a window into a completed window.

Any inference serves any generative model.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bench.settings import Settings

if TYPE_CHECKING:
    from models.base import GenerativeImputer


class Inference(Settings, ABC):
    """A way of completing; a subclass sets ``name`` and implements ``complete``."""

    name: ClassVar[str]

    @abstractmethod
    def complete(self, model: "GenerativeImputer", motion: Tensor, occluded: Tensor) -> Tensor:
        """Return ``motion`` completed; hidden entries arrive holding the train mean."""


class Mean(Inference):
    """Leaves the train mean where values are hidden: the degraded input that OOD scores judge."""

    name = "mean"

    def complete(self, model: "GenerativeImputer", motion: Tensor, occluded: Tensor) -> Tensor:
        """Return ``motion`` as it came."""
        return motion


class Map(Inference):
    """Maximum a posteriori: Adam on the negative log posterior over hidden entries (sec. 6.3).

    The start and the outcome of every step are evaluated, and for each window the one of highest
    posterior is kept. The windows of a batch do not influence each other.
    """

    name = "map"

    steps: int = Field(10, ge=1)
    rate: float | None = Field(None, gt=0, description="Adam's step, mm; None: the model's own")
    batch: int = Field(200, ge=1, description="windows at a time; no influence on the outcome")

    def complete(self, model: "GenerativeImputer", motion: Tensor, occluded: Tensor) -> Tensor:
        """Return the best completion that ``steps`` steps of ascent meet."""
        pairs = zip(motion.split(self.batch), occluded.split(self.batch), strict=True)
        return torch.cat([self._ascend(model, *pair) for pair in pairs])

    def _ascend(self, model: "GenerativeImputer", start: Tensor, occluded: Tensor) -> Tensor:
        rows = torch.nonzero(occluded.flatten(), as_tuple=True)[0]
        hidden = start.flatten()[rows].requires_grad_(True)
        optimizer = torch.optim.Adam([hidden], lr=self.rate or model.map_rate)
        best = start.clone()
        highest = torch.full((len(start),), -torch.inf, device=start.device)
        for step in range(self.steps + 1):
            motion = start.flatten().index_copy(0, rows, hidden).view_as(start)
            posterior = model.log_posterior(motion).sum(dim=1)
            better = (posterior.detach() > highest)[:, None, None, None]
            best = torch.where(better, motion.detach(), best)
            highest = torch.maximum(highest, posterior.detach())
            if step < self.steps:
                # A sum, not a mean: a window's path must not depend on how many share its batch.
                (hidden.grad,) = torch.autograd.grad(-posterior.sum(), hidden)
                optimizer.step()
        return best
