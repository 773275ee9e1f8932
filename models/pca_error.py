"""PCA reconstruction error."""

from torch import Tensor

from models.principal import PrincipalDetector


class PCAError(PrincipalDetector):
    """Squared error of reconstruction from leading principal components of the train windows."""

    name = "pca_error"

    def distance(self, flat: Tensor) -> Tensor:
        """Return ``(window,)`` mean squared reconstruction errors over features, mm^2."""
        return self.principal.residual(flat).square().mean(dim=1)
