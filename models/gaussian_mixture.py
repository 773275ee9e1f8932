"""A mixture of Gaussians over whole windows."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from bench.core.settings import Settings
from bench.fitting.moments import covariance
from bench.fitting.training import FitContext
from bench.motion import MotionSpec, Windows
from models.base import Imputation, Imputer
from models.conditioning import Gaussian, by_mask, shrunk
from models.principal import SAMPLE, Principal

SCORES = 20
"""Principal components that windows are clustered by."""


class GaussianMixture(Imputer):
    """Conditional mean of a mixture of window Gaussians, their covariances shrunk to a common one.

    Windows are clustered by k-means on principal components. Each cluster's covariance is mixed
    with the mean covariance within clusters, and has a share of the mean variance added to its
    diagonal. Given what is seen, the components' conditional means are weighted by their posterior
    probabilities; ``sigma`` is the deviation of the conditional mixture.
    """

    name = "gaussian_mixture"
    trained = True

    class Settings(Settings):
        """How many components there are, and how their covariances are regularised."""

        components: int = Field(3, ge=1, le=16, description="clusters of windows")
        common: float = Field(
            0.7, ge=0, le=1, description="weight of the common covariance in each component's"
        )
        shrinkage: float = Field(
            1e-2, gt=0, description="share of the mean variance added to every value's"
        )

    settings: Any
    centres: Tensor
    covariances: Tensor
    weights: Tensor

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        count, size = self.settings.components, spec.features
        self.register_buffer("centres", torch.zeros(count, size, dtype=torch.float64))
        # Kept as float32: 29 MB each for a window of 2700 values.
        self.register_buffer("covariances", torch.eye(size).repeat(count, 1, 1))
        self.register_buffer("weights", torch.full((count,), 1 / count, dtype=torch.float64))
        self._gaussians: list[Gaussian] = []

    def fit(self, train: Windows, valid: Windows, context: FitContext | None = None) -> None:
        """Cluster the train windows and fit a Gaussian to each cluster."""
        # Imported here, since the import costs every worker a second.
        from sklearn.cluster import KMeans

        super().fit(train, valid, context)
        self._gaussians = []
        principal = Principal(self.spec.features, SCORES)
        principal.fit(train.thin(SAMPLE).tensor().flatten(1))
        count = min(self.settings.components, len(train))
        parts = (part.tensor().flatten(1) for part in train.parts())
        scores = torch.cat([principal.project(part) for part in parts]).numpy()
        labels = KMeans(count, n_init=4, random_state=0).fit_predict(scores)
        clusters = [train.take(labels == number) for number in range(count)]
        weights = torch.tensor([len(one) / len(train) for one in clusters], dtype=torch.float64)
        found = [covariance(cluster, lambda motion: motion.flatten(1)) for cluster in clusters]
        spreads = torch.stack([spread for _, spread in found])
        within = torch.einsum("c,cij->ij", weights, spreads)
        self.weights.zero_()[:count] = weights
        for number, (mean, spread) in enumerate(found):
            mixed = torch.lerp(spread, within, self.settings.common)
            self.centres[number] = mean
            self.covariances[number] = shrunk(mixed, self.settings.shrinkage).float()

    def complete(self, motion: Tensor, occluded: Tensor) -> Imputation:
        """Complete windows, those with one mask together."""
        values, hidden = motion.double().flatten(1), occluded.flatten(1)
        mean, deviation = values.clone(), torch.zeros_like(values)
        for mask, rows in by_mask(hidden):
            where = torch.nonzero(mask, as_tuple=True)[0]
            centre, variance = self._mixed(values[rows], mask)
            mean[rows[:, None], where] = centre
            deviation[rows[:, None], where] = variance.sqrt()
        return Imputation(
            mean.view_as(motion).to(motion.dtype), deviation.view_as(motion).to(motion.dtype)
        )

    def _mixed(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(window, hidden)`` means and variances of the conditional mixture."""
        parts = [gaussian.given(mask) for gaussian in self._components()]
        density = torch.stack([part.log_density(values) for part in parts])
        used = self.weights[: len(parts), None].log()
        posterior = (used + density).softmax(dim=0)[..., None]
        means = torch.stack([part.mean(values) for part in parts])
        centre = (posterior * means).sum(dim=0)
        spread = torch.stack([part.variance for part in parts])[:, None] + (means - centre).square()
        return centre, (posterior * spread).sum(dim=0)

    def _components(self) -> list[Gaussian]:
        """Return the components that have windows; their factors are computed once."""
        if not self._gaussians:
            used = torch.nonzero(self.weights > 0, as_tuple=True)[0]
            self._gaussians = [
                Gaussian(self.centres[number], self.covariances[number].double()) for number in used
            ]
        return self._gaussians
