"""Reconstruction error of principal components."""

from torch import Tensor

from models.principal import PrincipalDetector


class PCAError(PrincipalDetector):
    """Squared error of a window rebuilt from leading principal components of the train windows."""

    name = "pca_error"

    def distance(self, flat: Tensor) -> Tensor:
        """Return the mean squared error over a window's features, ``(window,)``, mm^2."""
        return self.principal.residual(flat).square().mean(dim=1)
