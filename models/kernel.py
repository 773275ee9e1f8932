"""Kernel ridge regression from what is seen to what is hidden."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from bench.core.settings import Settings
from bench.fitting.training import FitContext
from bench.motion import MotionSpec, Windows
from models.base import Imputation, Imputer
from models.conditioning import by_mask

RIDGES = (1e-5, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridges to choose from, as shares of the mean of the kernel's diagonal."""


class Kernel(Imputer):
    """Kernel ridge regression from seen to hidden values, with a linear plus an RBF kernel.

    Saunders et al. 1998, over the train windows; solved for each mask, with the ridge of
    least error at the mask's hidden values of validation windows. ``sigma`` is the root mean
    squared error there. With the linear kernel alone it is the conditional mean of a window
    Gaussian with a ridge on its covariance.
    """

    name = "kernel"

    class Settings(Settings):
        """The kernel, and how many windows it is solved over."""

        # Of six pairs of share and length, the best over five kinds of masks on train subjects that
        # were left out of the memory.
        rbf: float = Field(0.5, ge=0, le=1, description="share of the RBF kernel; the rest: linear")
        length: float = Field(
            2.0, gt=0, description="of the RBF kernel, in mean distances between train windows"
        )
        memory: int = Field(1000, ge=1, description="most train windows to store, evenly spaced")
        judges: int = Field(
            50, ge=1, description="most validation windows that choose the ridge, evenly spaced"
        )

    settings: Settings
    memory: Tensor
    stored: Tensor
    judges: Tensor
    judging: Tensor

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        # Buffers have a size known before the fit; rows from the count on are not used.
        self.register_buffer("memory", torch.zeros(self.settings.memory, spec.features))
        self.register_buffer("stored", torch.tensor(0))
        self.register_buffer("judges", torch.zeros(self.settings.judges, spec.features))
        self.register_buffer("judging", torch.tensor(0))

    def fit(self, train: Windows, valid: Windows, context: FitContext | None = None) -> None:
        """Store train and validation windows."""
        super().fit(train, valid, context)
        for buffer, count, windows in (
            (self.memory, self.stored, train),
            (self.judges, self.judging, valid),
        ):
            kept = windows.thin(len(buffer)).tensor().flatten(1)
            buffer.zero_()[: len(kept)] = kept
            count.fill_(len(kept))

    def complete(self, motion: Tensor, occluded: Tensor) -> Imputation:
        """Solve the regression of each mask; a window with nothing seen gets the train mean."""
        mean = self.mean.double().flatten()
        train = self.memory[: int(self.stored)].double() - mean
        judges = self.judges[: int(self.judging)].double() - mean
        windows = motion.flatten(1).double() - mean
        gram = train @ train.T
        filled = motion.flatten(1).clone()
        sigma = self.deviation.flatten().expand_as(filled).clone()
        for mask, rows in by_mask(occluded.flatten(1)):
            if mask.all():
                continue
            hidden = torch.nonzero(mask, as_tuple=True)[0]
            tests = torch.cat([judges, windows[rows]])
            kernel, cross = self._kernels(train, tests, mask, gram)
            value, error = self._solve(kernel, cross, train[:, mask], judges[:, mask])
            filled[rows[:, None], hidden] = (value + mean[mask]).to(filled.dtype)
            sigma[rows[:, None], hidden] = error.to(sigma.dtype)
        return Imputation(filled.view_as(motion), sigma.view_as(motion))

    def _kernels(
        self, train: Tensor, tests: Tensor, mask: Tensor, gram: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return kernels over seen values, ``(train, train)`` and ``(train, test)``.

        Args:
            train: ``(train, feature)``, relative to the mean.
            tests: ``(test, feature)``, likewise.
            mask: bool ``(feature,)``, True where hidden.
            gram: ``(train, train)`` inner products over all features.
        """
        seen = train[:, ~mask]
        few_hidden = 2 * int(mask.sum()) < len(mask)
        inner = gram - train[:, mask] @ train[:, mask].T if few_hidden else seen @ seen.T
        across = seen @ tests[:, ~mask].T
        squares = inner.diagonal()
        scale = squares.mean()
        others = tests[:, ~mask].square().sum(dim=1)
        # The mean squared distance between two train windows is twice their mean square.
        width = 4 * self.settings.length**2 * scale

        def kernel(products: Tensor, square: Tensor) -> Tensor:
            distance = (squares[:, None] + square - 2 * products).clamp(min=0)
            share = self.settings.rbf
            return (1 - share) * products / scale + share * torch.exp(-distance / width)

        return kernel(inner, squares), kernel(across, others)

    def _solve(
        self, kernel: Tensor, cross: Tensor, target: Tensor, truth: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return predictions ``(window, hidden)`` and their root mean squared error ``(hidden,)``.

        Args:
            kernel: ``(train, train)``.
            cross: ``(train, judge + window)``.
            target: ``(train, hidden)``.
            truth: ``(judge, hidden)``.
        """
        least, chosen = torch.inf, (target, truth)
        for ridge in RIDGES:
            regularised = kernel + ridge * torch.eye(len(kernel)).to(kernel)
            factor = torch.linalg.cholesky(regularised)
            predicted = torch.cholesky_solve(cross, factor).T @ target
            squares = (predicted[: len(truth)] - truth).square().mean(dim=0)
            if (error := float(squares.mean())) < least:
                least, chosen = error, (predicted[len(truth) :], squares.sqrt())
        return chosen
