"""Exact conditioning of Gaussians: what hidden coordinates are, given the observed ones.

With covariance ``S`` and precision ``P`` of all coordinates, and ``h``, ``o`` the hidden and the
observed ones, the conditional mean is ``m_h + S_ho S_oo^-1 (x_o - m_o)``, which is also
``m_h - P_hh^-1 P_ho (x_o - m_o)``, and the conditional covariance ``P_hh^-1`` (Bishop 2006,
sec. 2.3.1). The smaller of the two systems is solved.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

SMALL = 128
"""Rows of a triangular matrix that is inverted at once."""


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A Gaussian over the coordinates of a window or frame, float64.

    Attributes:
        mean: ``(coordinate,)``.
        covariance: ``(coordinate, coordinate)``, positive definite.
    """

    mean: Tensor
    covariance: Tensor

    @cached_property
    def factor(self) -> Tensor:
        """The lower Cholesky factor of the covariance."""
        return torch.linalg.cholesky(self.covariance)

    @cached_property
    def precision(self) -> Tensor:
        """The inverse of the covariance."""
        return torch.cholesky_inverse(self.factor)

    def given(self, hidden: Tensor) -> "Conditional":
        """Return the conditional Gaussian of the hidden coordinates, bool ``(coordinate,)``."""
        return Conditional(self, hidden)


@dataclass(frozen=True, eq=False)
class Conditional:
    """The conditional Gaussian of hidden coordinates, for any number of windows with one mask.

    Attributes:
        gaussian: of all coordinates.
        hidden: bool ``(coordinate,)``; at least one is hidden.
    """

    gaussian: Gaussian
    hidden: Tensor

    def mean(self, values: Tensor) -> Tensor:
        """Return ``(window, hidden)`` conditional means.

        Args:
            values: ``(window, coordinate)``; ignored where hidden.
        """
        deviation = torch.where(self.hidden, 0.0, values - self.gaussian.mean)
        if self._by_observed:
            weights = torch.cholesky_solve(deviation[:, self._seen].T, self._factor)
            offset = self._across @ weights
        else:
            pull = self.gaussian.precision.index_select(0, self._places) @ deviation.T
            offset = -torch.cholesky_solve(pull, self._factor)
        return self.gaussian.mean[self._places] + offset.T

    def filled(self, values: Tensor) -> Tensor:
        """Return ``values``, ``(window, coordinate)``, with conditional means where hidden."""
        filled = values.clone()
        filled[:, self.hidden] = self.mean(values)
        return filled

    @cached_property
    def variance(self) -> Tensor:
        """``(hidden,)`` conditional variances; they depend on the mask alone."""
        squares = self._root.square().sum(dim=0)
        if self._by_observed:
            return (self.gaussian.covariance.diagonal()[self.hidden] - squares).clamp(min=0)
        return squares

    @cached_property
    def _root(self) -> Tensor:
        """``(row, hidden)``, whose product with itself is what is explained, or what is left."""
        if self._by_observed:
            return torch.linalg.solve_triangular(self._factor, self._across.T, upper=False)
        return _inverse(self._factor)

    def blocks(self, size: int) -> Tensor:
        """Return conditional covariances within consecutive blocks of coordinates, such as frames.

        Args:
            size: coordinates of a block; it divides their number.

        Returns:
            ``(block, size, size)``, 0 where observed.
        """
        prior = self.gaussian.covariance
        found = prior.new_zeros(len(prior) // size, size, size)
        inside = self.hidden.view(-1, size)
        ends = inside.sum(dim=1).cumsum(dim=0).tolist()
        for number, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
            if begin == end:
                continue
            rows = torch.nonzero(inside[number])[:, 0]
            # What comes before a block in a triangular root is 0.
            above = 0 if self._by_observed else begin
            root = self._root[above:, begin:end]
            block = root.T @ root
            if self._by_observed:
                block = _block(prior, number * size + rows, number * size + rows) - block
            found[number, rows[:, None], rows] = block
        return found

    def log_density(self, values: Tensor) -> Tensor:
        """Return ``(window,)`` log densities of the observed coordinates, nats.

        Args:
            values: ``(window, coordinate)``; ignored where hidden.
        """
        if self._by_observed:
            deviation = (values - self.gaussian.mean)[:, ~self.hidden]
            whitened = torch.linalg.solve_triangular(self._factor, deviation.T, upper=False)
            square = whitened.square().sum(dim=0)
            log_determinant = 2 * self._factor.diagonal().log().sum()
        else:
            # With the conditional mean in place of what is hidden, the quadratic form of all
            # coordinates is that of the observed ones.
            deviation = self.filled(values) - self.gaussian.mean
            square = (deviation * (deviation @ self.gaussian.precision)).sum(dim=1)
            log_determinant = 2 * self.gaussian.factor.diagonal().log().sum()
            log_determinant = log_determinant + 2 * self._factor.diagonal().log().sum()
        count = int((~self.hidden).sum())
        constant = count * torch.log(torch.tensor(2 * torch.pi, dtype=square.dtype))
        return -0.5 * (square + log_determinant + constant)

    def draw(self, values: Tensor, noise: Tensor) -> Tensor:
        """Return draws from the conditional Gaussian, by Matheron's rule.

        A draw of all coordinates is corrected by the conditional mean of its own error at the
        observed ones (Wilson et al. 2020, eq. 8), so no conditional covariance is factored.

        Args:
            values: ``(window, coordinate)``; ignored where hidden.
            noise: ``(sample, 1 or window, coordinate)`` independent standard normal numbers.

        Returns:
            ``(sample, window, hidden)``.
        """
        joint = noise @ self.gaussian.factor.T
        centre = self.gaussian.mean
        error = torch.where(self.hidden, 0.0, values - centre - joint)
        corrected = self.mean((centre + error).flatten(0, 1)).unflatten(0, error.shape[:2])
        return joint[..., self.hidden] + corrected

    @cached_property
    def _places(self) -> Tensor:
        """``(hidden,)``, where the hidden coordinates are."""
        return torch.nonzero(self.hidden)[:, 0]

    @cached_property
    def _seen(self) -> Tensor:
        """``(observed,)``, where the observed coordinates are."""
        return torch.nonzero(~self.hidden)[:, 0]

    @property
    def _by_observed(self) -> bool:
        """Whether the system of the observed coordinates is the smaller one."""
        return len(self._seen) <= len(self._places)

    @cached_property
    def _factor(self) -> Tensor:
        """The Cholesky factor of the smaller system: ``S_oo``, or ``P_hh``."""
        if self._by_observed:
            return torch.linalg.cholesky(_block(self.gaussian.covariance, self._seen, self._seen))
        return torch.linalg.cholesky(_block(self.gaussian.precision, self._places, self._places))

    @cached_property
    def _across(self) -> Tensor:
        """``S_ho``."""
        return _block(self.gaussian.covariance, self._places, self._seen)


def shrunk(covariance: Tensor, share: float) -> Tensor:
    """Return a covariance with ``share`` of its mean variance added to its diagonal."""
    ridge = share * covariance.diagonal().mean()
    return covariance + torch.diag(ridge.expand(len(covariance)))


def by_mask(hidden: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each mask of a batch once, with the rows that have it; masks of nothing are left out.

    Args:
        hidden: bool ``(row, coordinate)``.

    Yields:
        bool ``(coordinate,)`` and int64 ``(row,)``.
    """
    masks, places = torch.unique(hidden, dim=0, return_inverse=True)
    for number, mask in enumerate(masks):
        if mask.any():
            yield mask, torch.nonzero(places == number, as_tuple=True)[0]


def _block(matrix: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return matrix[rows[:, None], columns]


def _inverse(lower: Tensor) -> Tensor:
    """Return the inverse of a lower triangular matrix, by halves.

    Solving for an identity takes half as many products again, since it does not use that the result
    is triangular too.
    """
    size = len(lower)
    if size <= SMALL:
        identity = torch.eye(size, dtype=lower.dtype, device=lower.device)
        return torch.linalg.solve_triangular(lower, identity, upper=False)
    half = size // 2
    first, second = _inverse(lower[:half, :half]), _inverse(lower[half:, half:])
    inverse = lower.new_zeros(size, size)
    inverse[:half, :half], inverse[half:, half:] = first, second
    inverse[half:, :half] = -second @ (lower[half:, :half] @ first)
    return inverse
