"""Linear interpolation in time."""

import torch
from torch import Tensor

from models.base import Imputer


class Linear(Imputer):
    """Linear interpolation in time, constant at the ends; the mean where no frame is observed."""

    name = "linear"

    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor:
        """Interpolate every coordinate's trajectory independently."""
        frames = motion.shape[1]
        time = torch.arange(frames, device=motion.device).view(1, frames, 1, 1).expand_as(motion)
        before = torch.where(occluded, -1, time).cummax(dim=1).values
        after = torch.where(occluded, frames, time).flip(1).cummin(dim=1).values.flip(1)
        nothing = (before < 0) & (after == frames)
        # Beyond the first or last observed frame both neighbours are that frame.
        left = torch.where(before < 0, after, before).clamp(max=frames - 1)
        right = torch.where(after == frames, before, after).clamp(min=0)
        weight = (time - left) / (right - left).clamp(min=1)
        line = torch.lerp(motion.gather(1, left), motion.gather(1, right), weight.to(motion.dtype))
        return torch.where(nothing, motion, line)
