"""Completion of a window as a matrix of low rank."""

import torch
from pydantic import Field
from torch import Tensor

from bench.core.settings import Settings
from models.base import Imputer

PATH = 4
"""Penalties on the way from the largest to the final one, each warm started by the one before."""


class LowRank(Imputer):
    """Soft-impute: the window as a matrix of low nuclear norm (Mazumder et al. 2010, algorithm 1).

    The matrix is frames x coordinates with the train mean removed. Its singular values are shrunk
    and its hidden entries refilled in turn, along a path of falling penalties. A whole frame or a
    joint without a seen value shares nothing with the rest, and gets the train mean.
    """

    name = "low_rank"
    seeded = False

    class Settings(Settings):
        """The penalty, and when to stop."""

        penalty: float = Field(
            0.005,
            gt=0,
            lt=1,
            description="of the nuclear norm, as a share of the largest singular value seen",
        )
        tolerance: float = Field(
            1e-3, gt=0, description="relative change of a window at which iterations end"
        )
        iterations: int = Field(50, ge=1, description="most iterations per penalty")

    settings: Settings

    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor:
        """Complete each window by itself."""
        seen = (~occluded).flatten(2)
        observed = seen * (motion.double() - self.mean).flatten(2)
        filled = observed.clone()
        largest = torch.linalg.matrix_norm(observed, ord=2)
        for share in torch.logspace(0, 1, PATH + 1, base=self.settings.penalty).tolist()[1:]:
            self._iterate(filled, observed, seen, share * largest)
        return (filled.view_as(motion) + self.mean).to(motion.dtype)

    def _iterate(self, filled: Tensor, observed: Tensor, seen: Tensor, penalty: Tensor) -> None:
        """Shrink and refill in place until each window changes no more.

        Args:
            filled: ``(window, frame, coordinate)``, the matrix with hidden entries as far as known.
            observed: the same shape, the matrix with hidden entries 0.
            seen: bool, the same shape.
            penalty: ``(window,)``.
        """
        active = torch.arange(len(filled), device=filled.device)
        step = torch.zeros_like(filled)
        for number in range(self.settings.iterations):
            if not len(active):
                break
            before = filled[active]
            # Momentum as in accelerated proximal gradients (Beck and Teboulle 2009).
            ahead = before + number / (number + 3) * step[active]
            after = torch.where(seen[active], observed[active], shrunk(ahead, penalty[active]))
            filled[active] = after
            step[active] = after - before
            change, size = (part.flatten(1).norm(dim=1) for part in (after - before, before))
            active = active[change > self.settings.tolerance * size]


def shrunk(matrix: Tensor, penalty: Tensor) -> Tensor:
    """Return matrices with singular values lessened by a penalty, at least 0.

    Args:
        matrix: ``(window, row, column)`` float64.
        penalty: ``(window,)``.
    """
    # By the smaller of the two Gram matrices: ten times faster than singular value decomposition,
    # and what its squares lose lies far below the penalty.
    if matrix.shape[1] > matrix.shape[2]:
        return shrunk(matrix.mT, penalty).mT
    squares, vectors = torch.linalg.eigh(matrix @ matrix.mT)
    values = squares.clamp(min=0).sqrt()
    factors = torch.where(values > penalty[:, None], 1 - penalty[:, None] / values, 0.0)
    return vectors @ (factors[:, :, None] * (vectors.mT @ matrix))
