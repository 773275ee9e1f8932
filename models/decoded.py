"""What latents decode to: a Gaussian over motion, of which some values may be seen."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.gaussian import LOG_TWO_PI, Draw, Gaussian

RIDGE = 1e-13
"""Share of hidden values' mean precision that is added to each one's, against rounding."""


@dataclass(frozen=True)
class Decoded:
    """p(x | z) over motion in mm, and p(z), of a batch of latents.

    Motion is laid out in rows, such as one coordinate's trajectory. Rows are independent given the
    latents; a row is ``mean + basis @ (deviation * noise)`` with standard normal noise.

    Attributes:
        mean: ``(row, window, value)``, mm.
        deviation: ``(row, window, component)``, standard deviations, mm.
        basis: ``(value, component)``, orthonormal.
        rows: lays out ``(window, frame, joint, 3)`` as ``(row, window, value)``.
        motion: undoes ``rows``.
        log_prior: ``(window,)``, log p(z), nats.
    """

    mean: Tensor
    deviation: Tensor
    basis: Tensor
    rows: Callable[[Tensor], Tensor]
    motion: Callable[[Tensor], Tensor]
    log_prior: Tensor

    def given(self, motion: Tensor, occluded: Tensor) -> "Conditional":
        """Return the distribution of hidden values given seen ones, both given the latents.

        Args:
            motion: ``(window, frame, joint, 3)``, mm; without influence where hidden.
            occluded: bool, the same shape, True where the value is hidden.
        """
        return Conditional(self, motion, occluded)


class Conditional:
    """p(hidden | seen, z) of a batch, in double precision.

    A row's hidden values have, given its seen ones, the precision matrix that is their block of the
    row's (Rue and Held 2005, theorem 2.5); it is small where little is hidden.

    Attributes:
        log_joint: ``(window,)``, log p(seen, z), nats over mm, differentiable.
    """

    def __init__(self, decoded: Decoded, motion: Tensor, occluded: Tensor) -> None:
        self._decoded, self._motion, self._occluded = decoded, motion, occluded
        self._mean, deviation = decoded.mean.double(), decoded.deviation.double()
        basis, hidden = decoded.basis.double(), decoded.rows(occluded)
        self._residual = torch.where(hidden, 0.0, decoded.rows(motion).double() - self._mean)
        self._rows = hidden.any(dim=-1)
        # The places of a row's hidden values, followed by those of seen ones to fill up.
        order = hidden[self._rows].byte().argsort(dim=-1, descending=True, stable=True)
        self._places = order[:, : int(hidden.sum(dim=-1).max())]
        self._present = hidden[self._rows].gather(1, self._places)
        white = basis[self._places] / deviation[self._rows][:, None, :]
        white = white * self._present[..., None]
        precision = white @ white.mT
        mean = precision.diagonal(dim1=-2, dim2=-1).mean(dim=-1, keepdim=True)
        precision = precision + torch.diag_embed(torch.where(self._present, RIDGE * mean, 1.0))
        # Latents that are not finite give results that are not finite, rather than an exception.
        self._factor, _ = torch.linalg.cholesky_ex(precision)
        with torch.no_grad():
            pull = white @ (self._residual @ basis / deviation)[self._rows][..., None]
            self._pull = torch.linalg.solve_triangular(self._factor, pull, upper=False)
            # At the hidden values' mode, so that they need no gradient.
            mode = self._place(torch.zeros_like(self._mean)) - self._residual
        components = (self._residual + mode) @ basis / deviation
        density = -0.5 * components.square() - deviation.log()
        volume = -self._factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
        rows = density.sum(dim=-1).index_put((self._rows,), volume, accumulate=True)
        constant = 0.5 * LOG_TWO_PI * (~hidden).sum(dim=(0, 2), dtype=torch.float64)
        self.log_joint = decoded.log_prior.double() + rows.sum(dim=0) - constant

    def fill(self, choose: Draw) -> Tensor:
        """Return motion with hidden values by ``choose``, ``Gaussian.centre`` for their mean."""
        rows = self._mean + self._place(choose(Gaussian.standard(self._mean)))
        filled = self._decoded.motion(rows).to(self._motion.dtype)
        return torch.where(self._occluded, filled, self._motion)

    def _place(self, noise: Tensor) -> Tensor:
        """Return deviations from the mean, hidden ones from noise, ``(row, window, value)``."""
        own = noise[self._rows].gather(1, self._places)[..., None] - self._pull
        hidden = torch.linalg.solve_triangular(self._factor.mT, own, upper=True)[..., 0]
        rows = self._residual[self._rows].scatter_add(1, self._places, hidden * self._present)
        return self._residual.index_put((self._rows,), rows)
