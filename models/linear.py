"""Linear interpolation in time."""

import torch
from torch import Tensor

from models.base import Imputer
from models.trajectories import neighbours


class Linear(Imputer):
    """Linear interpolation in time, constant at the ends; the mean where no frame is observed."""

    name = "linear"
    seeded = False

    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor:
        """Interpolate every coordinate's trajectory independently."""
        near = neighbours(occluded)
        left, right = motion.gather(1, near.before), motion.gather(1, near.after)
        line = torch.lerp(left, right, near.weight.to(motion.dtype))
        return torch.where(near.none, motion, line)
