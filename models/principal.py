"""Principal components of the train windows, and the base class of detectors that use them."""

from abc import abstractmethod

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.core.settings import Settings
from bench.fitting.training import FitContext
from bench.motion import MotionSpec, Windows
from models.base import Detector

# Standard deviations 1e-5 of the largest are near the rounding error of float32.
SMALLEST_VARIANCE = 1e-10
"""A component's variance, as a share of the first one's, at or below which it counts as zero."""

SAMPLE = 10_000
"""Most train windows that components are computed of, evenly spaced."""


class Principal(nn.Module):
    """The leading principal components of vectors.

    If the data have fewer components than requested, the others are zero with variance one, so
    that projections on them are zero.

    Args:
        features: length of a vector.
        count: how many components to keep.

    Attributes:
        origin: buffer ``(feature,)``, the mean.
        components: buffer ``(component, feature)``, orthonormal, largest variance first.
        variance: buffer ``(component,)``, variance of the data along each, with n - 1 degrees of
            freedom.
    """

    origin: Tensor
    components: Tensor
    variance: Tensor

    def __init__(self, features: int, count: int) -> None:
        super().__init__()
        self.register_buffer("origin", torch.zeros(features))
        self.register_buffer("components", torch.zeros(count, features))
        self.register_buffer("variance", torch.ones(count))

    def fit(self, flat: Tensor) -> None:
        """Fit to ``(vector, feature)`` data; a single vector is the origin of no components."""
        # Imported here, since the import costs every worker a second.
        from sklearn.decomposition import PCA

        if len(flat) == 1:
            self.origin.copy_(flat[0])
            self.components.zero_()
            self.variance.fill_(1)
            return
        count = min(len(self.components), *flat.shape)
        pca = PCA(count, svd_solver="randomized", random_state=0)
        pca.fit(flat.double().numpy(force=True))
        variance = torch.from_numpy(pca.explained_variance_)
        kept = int((variance > SMALLEST_VARIANCE * variance[0]).sum())
        self.origin.copy_(torch.from_numpy(pca.mean_))
        self.components.zero_()[:kept] = torch.from_numpy(pca.components_[:kept])
        self.variance.fill_(1)[:kept] = variance[:kept]

    def project(self, flat: Tensor) -> Tensor:
        """Return the coordinates ``(vector, component)`` of ``(vector, feature)``."""
        return (flat - self.origin) @ self.components.T

    def residual(self, flat: Tensor) -> Tensor:
        """Return ``(vector, feature)`` minus the origin and minus its projection."""
        centred = flat - self.origin
        return centred - centred @ self.components.T @ self.components


class PrincipalDetector(Detector):
    """Scores a window by its coordinates along principal components of the train windows.

    A subclass implements ``distance``.
    """

    class Settings(Settings):
        """The number of components."""

        components: int = Field(
            64, ge=1, description="leading principal components of the train windows"
        )

    settings: Settings

    def __init__(self, spec: MotionSpec, settings: Settings | None = None) -> None:
        super().__init__(spec, settings)
        self.principal = Principal(spec.features, self.settings.components)

    def fit(self, train: Windows, valid: Windows, context: FitContext | None = None) -> None:
        """Compute the components of the train windows, or of ``SAMPLE`` of them."""
        super().fit(train, valid)
        self.principal.fit(train.thin(SAMPLE).tensor().flatten(1))
        self.eval()

    @torch.no_grad()
    def score(self, motion: Tensor) -> dict[str, Tensor]:
        """Return ``distance``, ``(window,)``, of ``(window, frame, joint, 3)`` motion, mm."""
        return {"distance": self.distance(motion.flatten(1))}

    def embed(self, motion: Tensor) -> Tensor:
        """Return a window's coordinates along the components, ``(window, component)``."""
        return self.principal.project(motion.flatten(1))

    @abstractmethod
    def distance(self, flat: Tensor) -> Tensor:
        """Return ``(window,)`` distances of ``(window, feature)``, mm, from the train windows."""
