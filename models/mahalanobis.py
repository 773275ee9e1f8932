"""Mahalanobis distance."""

from torch import Tensor

from models.principal import PrincipalDetector


class Mahalanobis(PrincipalDetector):
    """Squared Mahalanobis distance in the leading principal components of the train windows."""

    name = "mahalanobis"

    def distance(self, flat: Tensor) -> Tensor:
        """Return the squared distance from the train mean in standard deviations, ``(window,)``."""
        return (self.principal.project(flat).square() / self.principal.variance).sum(dim=1)
