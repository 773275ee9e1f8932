"""A weighted mean of simple completions, with weights learnt by the kind of gap."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from bench.core.settings import Settings
from bench.fitting.training import FitContext
from bench.motion import MotionSpec, Windows, derive_seed
from bench.motion.mechanisms.sampler import MaskSampler, usual_masks
from models.base import Imputation, Imputer
from models.conditioning import Conditional, Gaussian, by_mask
from models.distances import Distances
from models.families import FAMILIES, calibration, family_number, of_families, trials
from models.frame_gaussian import FrameGaussian
from models.gap_classes import CLASSES, STEPS, gap_class
from models.noise import Denoiser
from models.similar_gaps import similar_gaps
from models.spectral_gaussian import SpectralGaussian
from models.spline import Spline
from models.stacking import ByClass, Trial, Weights, products_of

TOGETHER = 16
"""Windows that share a mask: a Gaussian is conditioned once for all of them."""
POSES = 1
"""Number of the completion by poses alone."""
TRIED = 64
"""Valid windows that deviations are calibrated on, for each family of masks."""
ENOUGH = 8
"""Windows by which a class of gaps is calibrated for itself."""


class Given(NamedTuple):
    """A Gaussian given what is seen of windows with one mask.

    Attributes:
        gaussian: of what is hidden.
        within: ``(frame, coordinate, coordinate)`` its covariance within each frame, 0 where seen.
        sigma: ``(frame, joint, 3)`` its deviations, mm, 0 where seen.
    """

    gaussian: Conditional
    within: Tensor
    sigma: Tensor


class Experts(nn.Module):
    """What is fitted to people and completes windows: a window Gaussian and a frame Gaussian."""

    def __init__(self, spec: MotionSpec) -> None:
        super().__init__()
        self.windows = SpectralGaussian(spec)
        self.frames = FrameGaussian(spec)

    def fit(self, train: Windows, valid: Windows, fold: int | None, context: FitContext) -> None:
        """Fit to windows.

        Args:
            train: of some people.
            valid: windows that choose among epochs, where there are any.
            fold: the fold of people that is left out; None if none is.
            context: of the whole fit.
        """
        self.windows.estimate(train)
        self.frames.fit(train, valid)


class Stacked(Imputer):
    """Weighted mean of Gaussians and a spline, its weights learnt on unseen people.

    Stacking (Wolpert 1992; Breiman 1996, "Stacked regressions", with weights that are not negative
    and sum to one): the weights that minimise the squared error of the mean, one set for each
    family of masks and class of gaps, by length, by distance from an end, or by bones to what is
    seen.
    Window Gaussians of several drifts complete twice each: as they are, and with the lengths of
    bones (``Distances``). A frame Gaussian, which knows poses alone, completes what is never seen.
    Train people are dealt into folds; what is weighed are completions of one fold's windows by
    Gaussians fitted to the other folds, since those that know the windows look better than they
    are. Valid people are one more fold. Where it helps on folds left out, weights go by a window's
    own errors too, on gaps like its own whose values are known (``similar_gaps``). ``sigma`` is the
    deviation of the weighted mixture, calibrated for each family and class on the valid windows.
    """

    name = "stacked"
    trained = True
    uses_masks = True

    class Settings(Settings):
        """What is weighed, and on how much."""

        drifts: tuple[float, ...] = Field(
            (1.0, 30.0, 1e3, 3e4), min_length=1, description="drift of each spectral Gaussian"
        )
        folds: int = Field(
            4, ge=2, description="groups of people; Gaussians for one are fitted to the others"
        )
        masks: int = Field(
            12, ge=1, description="masks of each family that are drawn for each fold"
        )

    settings: Any
    calibration: Tensor

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        count = self.completion_count
        self.experts = self.new_experts()
        self.distances = Distances(spec)
        self.denoiser = Denoiser(spec)
        self.spline = Spline(spec)
        usable = torch.ones(CLASSES, count, dtype=torch.bool)
        # Poses know nothing of time: they are for what is never seen.
        usable[: CLASSES - STEPS, POSES] = False
        self.weights = Weights(len(FAMILIES), usable)
        self.register_buffer("calibration", torch.ones(len(FAMILIES), CLASSES, dtype=torch.float64))

    @property
    def completion_count(self) -> int:
        """Number of completions: those of a spline and of poses, and two by each Gaussian."""
        return 2 * len(self.settings.drifts) + 2

    def new_experts(self) -> Experts:
        """Return what is fitted to people and completes windows, not fitted yet."""
        return Experts(self.spec)

    def fit(
        self, train_windows: Windows, valid: Windows, context: FitContext | None = None
    ) -> None:
        """Fit experts to all people, and weights by those fitted to all but one fold."""
        super().fit(train_windows, valid, context)
        context = context or FitContext()
        self.spline.mean.copy_(self.mean)
        self.distances.measure(train_windows)
        self.denoiser.measure(train_windows)
        self.experts.fit(train_windows, valid, None, context)
        self.weights.learn(list(self._trials(train_windows, valid, context)))
        self.calibration.copy_(self._calibrated(valid, _masks(self.spec, context), context.seed))

    def complete(self, motion: Tensor, occluded: Tensor) -> Imputation:
        """Complete windows, those with one mask together; noise on what is seen is taken off."""
        gaussians = [self.experts.windows.gaussian(one) for one in self.settings.drifts]
        motion, more, noisy = self.denoiser(motion, occluded, gaussians)
        mean, deviation = motion.clone(), torch.zeros_like(motion)
        for mask, rows in by_mask(occluded.flatten(1)):
            hidden = mask.view_as(self.mean)
            factor = self.calibration[family_number(hidden)][self._classes(hidden)]
            # What noise has been taken off no longer says how completions err.
            for some, trusted in ((rows[~noisy[rows]], True), (rows[noisy[rows]], False)):
                if len(some):
                    mean[some], spread = self._mixed(motion[some], hidden, trusted)
                    square = (spread * factor).square() + more[some]
                    deviation[some] = square.sqrt().to(motion.dtype)
        return Imputation(mean, deviation)

    def completions(
        self, motion: Tensor, hidden: Tensor, experts: Experts
    ) -> tuple[Tensor, Tensor]:
        """Return what is weighed: completions of windows with one mask, and their deviations.

        The spline, which states no deviation, has that of the Gaussian of most drift.

        Args:
            motion: ``(window, frame, joint, 3)``, mm; ignored where hidden.
            hidden: bool ``(frame, joint, 3)``.
            experts: fitted to people that are not in these windows.

        Returns:
            ``(completion, window, frame, joint, 3)`` and ``(completion, frame, joint, 3)``, mm.
        """
        given = [self._given(experts.windows.gaussian(one), hidden) for one in self.settings.drifts]
        occluded = hidden.expand(motion.shape)
        poses = experts.frames.impute(motion, occluded)
        assert poses.sigma is not None
        found = [
            (self.spline.impute(motion, occluded).motion, given[-1].sigma),
            (poses.motion, poses.sigma[0]),
        ]
        values = motion.double()
        free = [one.gaussian.filled(values.flatten(1)).view_as(values) for one in given]
        for one, fill, kept in zip(given, free, self.with_bones(free, given), strict=True):
            found += [(fill, one.sigma), (kept, one.sigma)]
        found += self.further(motion, hidden, experts, given)
        fills, sigmas = zip(*found, strict=True)
        return (
            torch.stack([fill.to(motion.dtype) for fill in fills]),
            torch.stack(sigmas).to(motion.dtype),
        )

    def further(
        self,
        motion: Tensor,
        hidden: Tensor,
        experts: Experts,
        given: Sequence[Given],
    ) -> list[tuple[Tensor, Tensor]]:
        """Return more completions and their deviations; here, none.

        Args:
            motion: as in ``completions``.
            hidden: as in ``completions``.
            experts: as in ``completions``.
            given: the Gaussian of each drift, given what is seen.
        """
        return []

    def with_bones(self, fills: Sequence[Tensor], given: Sequence[Given]) -> Sequence[Tensor]:
        """Return completions by each Gaussian with the lengths of bones, in the same order.

        Args:
            fills: ``(window, frame, joint, 3)`` each, mm, float64.
            given: the Gaussian of each, given what is seen.
        """
        # Frames are independent of each other, so those of all Gaussians are searched at once.
        within = torch.cat([one.within for one in given])
        return self.distances.kept(torch.cat(list(fills), dim=1), within).chunk(len(given), dim=1)

    def _given(self, gaussian: Gaussian, hidden: Tensor) -> Given:
        """Return a Gaussian given what is seen; ``hidden`` is bool ``(frame, joint, 3)``."""
        found = gaussian.given(hidden.flatten())
        sigma = gaussian.mean.new_zeros(hidden.shape)
        sigma[hidden] = found.variance.sqrt()
        return Given(found, found.blocks(self.spec.nodes), sigma)

    def _mixed(self, motion: Tensor, hidden: Tensor, trusted: bool = True) -> tuple[Tensor, Tensor]:
        """Return the mean and the deviation of the weighted mixture, the shape of ``motion``.

        Args:
            motion: as in ``completions``.
            hidden: as in ``completions``.
            trusted: whether weights may go by the windows' own errors.
        """
        fills, sigma = self.completions(motion, hidden, self.experts)
        family, classes = family_number(hidden), self._classes(hidden)
        trusted = trusted and bool(self.weights.trust[family])
        own = self._own(motion, hidden, self.experts) if trusted else {}
        found = self.weights(family, classes.unique().tolist(), own)
        rows = max(len(one) for one in found.values())
        weights = fills.new_zeros(len(fills), rows, *hidden.shape)
        for number, of_class in found.items():
            weights[..., classes == number] = of_class.T[..., None].to(fills)
        mean = (weights * fills).sum(dim=0)
        square = (weights * (sigma[:, None].square() + (fills - mean).square())).sum(dim=0)
        return mean, square.sqrt()

    def _classes(self, hidden: Tensor) -> Tensor:
        return gap_class(hidden[None], self.spec.skeleton)[0]

    def _own(self, motion: Tensor, hidden: Tensor, experts: Experts) -> ByClass:
        """Return products of errors of completions on gaps like those of windows with one mask."""
        tried = similar_gaps(hidden, self.spec.skeleton)
        return self._products(motion, *tried, experts) if tried else {}

    def _products(self, motion: Tensor, hidden: Tensor, known: Tensor, experts: Experts) -> ByClass:
        """Return products of completions' errors at those hidden values that are known."""
        fills, _ = self.completions(motion, hidden, experts)
        errors = (fills - motion)[..., known].double()
        return products_of(errors, self._classes(hidden)[known])

    def _trials(self, train: Windows, valid: Windows, context: FitContext) -> Iterator[Trial]:
        """Yield errors of completions on people left out."""
        for fold, motion, hidden, experts in self._held_out(train, valid, context):
            products = self._products(motion, hidden, hidden, experts)
            yield Trial(fold, family_number(hidden), products, self._own(motion, hidden, experts))

    def _held_out(
        self, train: Windows, valid: Windows, context: FitContext
    ) -> Iterator[tuple[int, Tensor, Tensor, Experts]]:
        """Yield a fold of people, windows of theirs, a mask, and experts fitted to the others.

        Valid people are the last fold: the experts of all train people are not fitted to them,
        although a network's epoch may be chosen by them.
        """
        folds = folds_of(train, self.settings.folds)
        count = folds.max() + 1
        for fold in range(count if count > 1 else 0):
            experts = self.new_experts()
            experts.fit(train.take(folds != fold), valid, fold, context)
            yield from self._masked(fold, train.take(folds == fold), experts, context)
        yield from self._masked(count, valid, self.experts, context)

    def _masked(
        self, fold: int, windows: Windows, experts: Experts, context: FitContext
    ) -> Iterator[tuple[int, Tensor, Tensor, Experts]]:
        """Yield a fold's number, windows, a mask, and the experts, for masks of each family."""
        masks = _masks(self.spec, context)
        for family in masks.families:
            generator = np.random.default_rng(derive_seed("stacked", fold, family, context.seed))
            for _ in range(self.settings.masks):
                motion = windows.tensor(generator.choice(len(windows), TOGETHER))
                drawn = masks.draw(self.spec, generator, motion[:1].numpy(), family)
                if drawn.any():
                    yield fold, motion, torch.from_numpy(drawn[0]), experts

    def _calibrated(self, valid: Windows, masks: MaskSampler, seed: int) -> Tensor:
        """Return factors of deviations, ``(family, class)``, by the valid windows.

        A class that few of a family's windows have is calibrated by those of all families; if they
        are few too, as the whole family.
        """
        found = {}
        trial = itertools.count()
        for family, (motion, hidden) in trials(valid, masks, seed, TRIED).items():
            parts = []
            for window, mask in zip(motion[:, None], hidden, strict=True):
                mean, spread = self._mixed(window, mask)
                error = (mean - window)[0][mask]
                number = torch.full_like(error, next(trial))
                classes = self._classes(mask)[mask]
                parts.append(torch.stack([error, spread[0][mask], classes, number]))
            found[family] = torch.cat(parts, dim=1)
        common = _factors(torch.cat(list(found.values()), dim=1))
        factors = {}
        for family, one in found.items():
            own = _factors(one)
            whole = torch.full_like(own, float(calibration(one[0], one[1])))
            factors[family] = torch.where(own.isnan(), common, own)
            factors[family] = torch.where(factors[family].isnan(), whole, factors[family])
        return of_families(factors)


def _factors(tried: Tensor) -> Tensor:
    """Return ``(class,)`` factors of deviations, nan of a class that few trials have.

    Args:
        tried: ``(4, value)``: errors, deviations, classes, and numbers of trials.
    """
    errors, deviations, classes, trial = tried
    factors = torch.full((CLASSES,), torch.nan, dtype=tried.dtype)
    for number in classes.unique().long().tolist():
        own = classes == number
        if len(trial[own].unique()) >= ENOUGH:
            factors[number] = calibration(errors[own], deviations[own])
    return factors


def _masks(spec: MotionSpec, context: FitContext) -> MaskSampler:
    return context.masks or usual_masks(spec)


def folds_of(windows: Windows, count: int) -> NDArray[np.int64]:
    """Return ``(window,)`` the fold of each window: people are dealt into folds of similar size.

    Where the performers are not known, recordings are. There are fewer folds than ``count`` if
    there are fewer people.
    """
    people = windows.index["subject"].to_numpy(dtype=str)
    if len(set(people)) < 2:
        people = windows.index["source"].to_numpy(dtype=str)
    names, of, sizes = np.unique(people, return_inverse=True, return_counts=True)
    fold, totals = np.zeros(len(names), dtype=np.int64), np.zeros(min(count, len(names)))
    for person in np.argsort(-sizes, kind="stable"):
        fold[person] = totals.argmin()
        totals[fold[person]] += sizes[person]
    return fold[of]
