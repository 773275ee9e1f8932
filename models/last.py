"""The last seen value, held."""

import torch
from torch import Tensor

from models.base import Imputer
from models.trajectories import neighbours


class Last(Imputer):
    """The last seen value of every coordinate; before the first one, the first.

    The train mean where no frame is seen. Known in clinical trials as last observation carried
    forward.
    """

    name = "last"
    seeded = False

    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor:
        """Hold every coordinate's last seen value."""
        near = neighbours(occluded)
        return torch.where(near.none, motion, motion.gather(1, near.before))
