"""Mean imputation."""

from torch import Tensor

from models.base import Imputer


class Mean(Imputer):
    """The train mean of every feature: the paper's starting point and reference."""

    name = "mean"

    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor:
        """Return ``motion`` as it came, the mean where hidden."""
        return motion
