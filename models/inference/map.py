"""MAP inference: gradient ascent on the posterior or the ELBO over hidden values."""

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.fitting.adam import Adam
from models.base import GenerativeImputer
from models.inference.base import Inference, frozen, in_batches, keep_best

DEVIATIONS = 0.1
"""Default rate in units of a feature's standard deviation."""


class Map(Inference):
    """Maximum a posteriori: Adam on an objective over hidden entries, best step kept (sec. 6.3).

    The objective is evaluated at the start and after every step; each window keeps its best.
    """

    name = "map"

    steps: int = Field(10, ge=1)
    rate: float | None = Field(
        None, gt=0, description="Adam's rate; null: the model's own in mm, or 0.1 deviations"
    )
    unit: Literal["mm", "deviation"] = Field(
        "mm", description="of the rate: mm, or standard deviations of the feature over train"
    )
    objective: Literal["posterior", "elbo"] = Field(
        "posterior", description="maximised: the paper's log posterior, or the ELBO"
    )
    start: Literal["mean", "normal"] = Field(
        "mean", description="initial hidden entries: the train mean, or draws of N(0, 1) in mm"
    )
    accumulate: bool = Field(False, description="add up gradients over steps, never clear them")
    batch: int | None = Field(
        None,
        ge=1,
        description="windows of a micro-batch, without influence on the result; "
        "null: what a processor's cache holds, or all on a GPU",
    )

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "published_code": {"start": "normal", "accumulate": True}
    }

    def complete(self, model: GenerativeImputer, motion: Tensor, occluded: Tensor) -> Tensor:
        """Return the best completion among the start and ``steps`` steps of ascent."""
        if self.start == "normal":
            # One draw for all windows: a window's start must not depend on its batch.
            noise = torch.randn(motion.shape[1:], generator=torch.Generator().manual_seed(0))
            motion = torch.where(occluded, noise.to(motion), motion)
        with frozen(model):
            ascended = in_batches(
                lambda *part: self._ascend(model, *part), motion, occluded, self.batch
            )
            return torch.cat(list(ascended))

    def _ascend(self, model: GenerativeImputer, start: Tensor, occluded: Tensor) -> Tensor:
        rows = torch.nonzero(occluded.flatten(), as_tuple=True)[0]
        scale = self._scale(model, start, rows)
        # Only hidden entries are variables, so only they get gradients.
        hidden = (start.flatten()[rows] / scale).requires_grad_(True)
        optimizer = Adam([hidden], self._rate(model))
        best = start.clone()
        highest = torch.full((len(start),), -torch.inf, device=start.device)
        for step in range(self.steps + 1):
            motion = start.flatten().index_copy(0, rows, hidden * scale).view_as(start)
            value = self._objective(model, motion)
            best, highest = keep_best(best, highest, motion.detach(), value.detach())
            if step < self.steps:
                # A sum, not a mean: a window's steps must not depend on the size of its batch.
                (gradient,) = torch.autograd.grad(-value.sum(), hidden)
                if self.accumulate and hidden.grad is not None:
                    gradient += hidden.grad
                hidden.grad = gradient
                optimizer.step()
        return best

    def _objective(self, model: GenerativeImputer, motion: Tensor) -> Tensor:
        """Return the objective to maximise, ``(window,)``."""
        if self.objective == "elbo":
            return model.elbo(motion)
        return model.log_posterior(motion).sum(dim=1)

    def _rate(self, model: GenerativeImputer) -> float:
        if self.rate is not None:
            return self.rate
        return model.map_rate if self.unit == "mm" else DEVIATIONS

    def _scale(self, model: GenerativeImputer, motion: Tensor, rows: Tensor) -> Tensor:
        """Return the length in mm of one unit of the rate, for each hidden entry."""
        if self.unit == "mm":
            return torch.ones(len(rows), device=motion.device, dtype=motion.dtype)
        return model.deviation.expand_as(motion).flatten()[rows]
