"""Interpolation in time of each coordinate's trajectory, from the frames that are seen."""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.motion import from_nodes, to_nodes
from models.base import Imputer
from models.conditioning import by_mask


@dataclass(frozen=True)
class Neighbours:
    """The nearest seen frames of every frame; tensors are ``(window, frame, ...)``.

    Attributes:
        before: int64, the last seen frame up to this one; the first seen one where there is none.
        after: int64, the first seen frame from this one on; the last seen one where there is none.
        weight: float64 in [0, 1], how far this frame is on the way from ``before`` to ``after``.
        none: bool, whether no frame is seen; ``before`` and ``after`` are then any frame.
    """

    before: Tensor
    after: Tensor
    weight: Tensor
    none: Tensor


def neighbours(hidden: Tensor) -> Neighbours:
    """Return the nearest seen frames, given bool ``(window, frame, ...)``."""
    frames = hidden.shape[1]
    shape = 1, frames, *[1] * (hidden.ndim - 2)
    time = torch.arange(frames, device=hidden.device).view(shape).expand_as(hidden)
    before = torch.where(hidden, -1, time).cummax(dim=1).values
    after = torch.where(hidden, frames, time).flip(1).cummin(dim=1).values.flip(1)
    # Beyond the first or last seen frame both neighbours are that frame.
    left = torch.where(before < 0, after, before).clamp(max=frames - 1)
    right = torch.where(after == frames, before, after).clamp(min=0)
    weight = (time - left).double() / (right - left).clamp(min=1)
    return Neighbours(left, right, weight, (before < 0) & (after == frames))


class CurveImputer(Imputer):
    """Passes a curve through the seen values of every coordinate's trajectory.

    It is constant at the ends; where no frame is seen, the train mean remains. A subclass
    implements ``curve``.
    """

    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor:
        """Interpolate every coordinate's trajectory independently, in float64."""
        nodes, windows, frames = to_nodes(motion).shape
        values = to_nodes(motion).reshape(-1, frames).double().numpy(force=True)
        for mask, members in by_mask(to_nodes(occluded).reshape(-1, frames).cpu()):
            rows, hidden = members.numpy(), np.flatnonzero(mask)
            seen = np.flatnonzero(~mask)
            if len(seen):
                known = values[np.ix_(rows, seen)]
                at = hidden.clip(seen[0], seen[-1])
                values[np.ix_(rows, hidden)] = (
                    self.curve(seen, known, at) if len(seen) > 1 else known
                )
        completed = torch.from_numpy(values).view(nodes, windows, frames)
        return from_nodes(completed).to(motion)

    @abstractmethod
    def curve(
        self, seen: NDArray[np.int64], known: NDArray[np.float64], at: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return ``(trajectory, len(at))`` values of the curves.

        Args:
            seen: two or more frames, ascending.
            known: ``(trajectory, len(seen))`` values there.
            at: frames between the first and the last seen one.
        """
