"""Mahalanobis distance."""

from torch import Tensor

from models.principal import PrincipalDetector


class Mahalanobis(PrincipalDetector):
    """Squared Mahalanobis distance in the leading principal components of the train windows."""

    name = "mahalanobis"

    def distance(self, flat: Tensor) -> Tensor:
        """Return ``(window,)`` squared Mahalanobis distances from the train mean, no unit."""
        return (self.principal.project(flat).square() / self.principal.variance).sum(dim=1)
