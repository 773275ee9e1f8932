"""A Gaussian over whole windows."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.core.settings import Settings
from bench.fitting.moments import covariance
from bench.fitting.training import FitContext
from bench.motion import MotionSpec, Windows, derive_seed
from bench.motion.mechanisms.sampler import usual_masks
from models.base import Imputation, Imputer
from models.conditioning import Gaussian, by_mask, shrunk
from models.families import FAMILIES, calibration, family_number, of_families, trials

TRIED = 16
"""Valid windows that shrinkage and calibration are chosen on, for each family of masks."""


class WindowGaussian(Imputer):
    """Conditional mean of a Gaussian over all values of a window, its covariance shrunk.

    The linear minimum mean squared error estimate of hidden values from all seen ones, over joints
    and time at once. The covariance has a share of its mean variance added to the diagonal (ridge);
    the share is chosen on the valid windows, by the protocol's ``training_masks``, for each family
    of ``bench.motion.mechanisms.sampler``. A factor for each family, chosen there too,
    calibrates ``sigma``: people differ more in what a limb does than in how a joint goes on.
    """

    name = "window_gaussian"
    trained = True
    uses_masks = True
    choices: ClassVar[tuple[float, ...]] = (1e-4, 1e-3, 1e-2, 0.1, 0.3, 1.0)
    """Shrinkages that are tried on the valid windows, as shares of the mean variance."""

    settings: Any

    class Settings(Settings):
        """How the covariance is shrunk, and how many samples are drawn."""

        shrinkage: float | Literal["family", "one"] = Field(
            "family",
            description="share of the mean variance that is added to each; 'family': chosen on "
            "valid windows for each family of masks; 'one': chosen for all families together",
        )
        samples: int = Field(0, ge=0, le=1000, description="draws per window")

    centre: Tensor
    covariance: Tensor
    chosen: Tensor
    calibration: Tensor

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        size = spec.features
        self.register_buffer("centre", torch.zeros(size, dtype=torch.float64))
        # Kept as float32: 29 MB for a window of 2700 values.
        self.register_buffer("covariance", torch.eye(size, dtype=torch.float32))
        self.register_buffer("chosen", torch.full((len(FAMILIES),), self.choices[0]).double())
        self.register_buffer("calibration", torch.ones(len(FAMILIES), dtype=torch.float64))
        self._gaussians: dict[float, Gaussian] = {}

    def fit(self, train: Windows, valid: Windows, context: FitContext | None = None) -> None:
        """Fit mean and covariance to the train windows; choose shrinkage on the valid ones."""
        super().fit(train, valid, context)
        self.estimate(train)
        context = context or FitContext()
        masks = context.masks or usual_masks(self.spec)
        tried = {
            family: (motion.double().flatten(1), hidden.flatten(1))
            for family, (motion, hidden) in trials(valid, masks, context.seed, TRIED).items()
        }
        if self.stated is not None:
            self.chosen.fill_(self.stated)
        else:
            self.chosen.copy_(self._best(tried))
        factors = {family: self._factor(*trial) for family, trial in tried.items()}
        self.calibration.copy_(of_families(factors))

    def estimate(self, train: Windows) -> None:
        """Set mean and covariance to those of the train windows."""
        mean, spread = self.moments(train)
        self.centre.copy_(mean)
        self.covariance.copy_(spread.float())
        self._gaussians.clear()

    @property
    def stated(self) -> float | None:
        """The shrinkage that the settings state; None if it is to be chosen."""
        shrinkage = self.settings.shrinkage
        return shrinkage if isinstance(shrinkage, float) else None

    @property
    def common(self) -> bool:
        """Whether one choice must serve all families of masks."""
        return bool(self.settings.shrinkage == "one")

    def moments(self, train: Windows) -> tuple[Tensor, Tensor]:
        """Return the mean and covariance of the train windows, float64."""
        return covariance(train, lambda motion: motion.flatten(1))

    def regularised(self, covariance: Tensor, choice: float) -> Tensor:
        """Return a covariance of the train windows, regularised by one of the ``choices``."""
        return shrunk(covariance, choice)

    def complete(self, motion: Tensor, occluded: Tensor) -> Imputation:
        """Complete windows, those with one mask together."""
        values, hidden = motion.double().flatten(1), occluded.flatten(1)
        mean, deviation = values.clone(), torch.zeros_like(values)
        count = self.settings.samples
        samples = values.expand(count, -1, -1).clone() if count else None
        for mask, rows in by_mask(hidden):
            family = self._family(mask)
            found = self.gaussian(float(self.chosen[family])).given(mask)
            where = torch.nonzero(mask, as_tuple=True)[0]
            mean[rows[:, None], where] = centre = found.mean(values[rows])
            deviation[rows[:, None], where] = found.variance.sqrt() * self.calibration[family]
            if samples is not None:
                # The spread around the mean is calibrated as sigma is.
                spread = found.draw(values[rows], self._noise(mask, count)) - centre
                samples[:, rows[:, None], where] = centre + spread * self.calibration[family]
        return Imputation(
            mean.view_as(motion).to(motion.dtype),
            deviation.view_as(motion).to(motion.dtype),
            None if samples is None else samples.view(count, *motion.shape).to(motion.dtype),
        )

    def _noise(self, mask: Tensor, count: int) -> Tensor:
        """Return ``(sample, 1, value)`` noise: one set for all windows, whatever their batch."""
        generator = torch.Generator().manual_seed(derive_seed("window_gaussian"))
        shape = (count, 1, self.spec.features)
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(mask.device)

    def gaussian(self, choice: float) -> Gaussian:
        """Return the Gaussian with a choice; its factors are computed once."""
        if choice not in self._gaussians:
            covariance = self.regularised(self.covariance.double(), choice)
            self._gaussians[choice] = Gaussian(self.centre, covariance)
        return self._gaussians[choice]

    def _family(self, mask: Tensor) -> int:
        """Return the number of the family of a mask, ``(value,)``."""
        shape = (self.spec.frames, len(self.spec.skeleton), 3)
        return family_number(mask.view(shape))

    def _best(self, trials: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
        """Return the choice of each family, or the same for all, of least error.

        A family that was not tried has the choice that is best for those that were.
        """
        errors = {
            family: torch.stack([self._error(choice, *trial) for choice in self.choices]).log()
            for family, trial in trials.items()
        }
        mean = torch.stack(list(errors.values())).mean(dim=0)
        rows = [mean if self.common else errors.get(family, mean) for family in FAMILIES]
        best = torch.tensor(self.choices, dtype=torch.float64)[torch.stack(rows).argmin(dim=1)]
        # Only what was chosen is needed again.
        self._gaussians = {one: self._gaussians[one] for one in set(best.tolist())}
        return best

    def _error(self, choice: float, values: Tensor, hidden: Tensor) -> Tensor:
        """Return the geometric mean over windows of the mean squared error, mm squared."""
        gaussian = self.gaussian(choice)
        errors = []
        for mask, rows in by_mask(hidden):
            error = gaussian.given(mask).mean(values[rows]) - values[rows][:, mask]
            errors.append(error.square().mean(dim=1))
        return torch.cat(errors).clamp(min=1e-6).log().mean().exp()

    def _factor(self, values: Tensor, hidden: Tensor) -> Tensor:
        """Return the factor that calibrates the deviations of one family."""
        errors, deviations = [], []
        for mask, rows in by_mask(hidden):
            found = self.gaussian(float(self.chosen[self._family(mask)])).given(mask)
            error = found.mean(values[rows]) - values[rows][:, mask]
            errors.append(error.flatten())
            deviations.append(found.variance.sqrt().expand_as(error).flatten())
        return calibration(torch.cat(errors), torch.cat(deviations))
