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
        return interpolated(motion, occluded)


def interpolated(motion: Tensor, occluded: Tensor) -> Tensor:
    """Return motion with lines in place of hidden values; as it is where no frame is seen.

    Args:
        motion: ``(window, frame, joint, 3)``.
        occluded: bool, the same shape, True where the value is hidden.
    """
    near = neighbours(occluded)
    left, right = motion.gather(1, near.before), motion.gather(1, near.after)
    line = torch.lerp(left, right, near.weight.to(motion.dtype))
    return torch.where(near.none, motion, line)
