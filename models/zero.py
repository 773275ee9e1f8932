"""Zero imputation."""

import torch
from torch import Tensor

from models.base import Imputer


class Zero(Imputer):
    """Control: zeros, which puts every hidden coordinate at the root."""

    name = "zero"
    control = True

    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor:
        """Return zeros."""
        return torch.zeros_like(motion)
