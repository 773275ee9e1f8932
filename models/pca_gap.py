"""Completion by principal components within the window."""

import torch
from pydantic import Field
from torch import Tensor

from bench.core.settings import Settings
from models.base import Imputer
from models.linear import Linear

CHUNK = 2000
"""Joints of windows that are completed at a time."""
STILL = 1e-6
"""Standard deviations up to this, mm, are of coordinates that do not move."""


class PCAGap(Imputer):
    """Principal components within the window, weighted by distance (Gløersen and Federolf 2016).

    Each joint with gaps is completed by itself (their strategy 2), from the joints that are seen
    wherever it is hidden. Nothing but the window is used. Linear in time where no joint is seen
    throughout, or too few frames are complete.
    """

    name = "pca_gap"
    seeded = False

    class Settings(Settings):
        """Constants of the paper, and what happens at the borders of a gap."""

        reach: float = Field(
            200.0, gt=0, description="distance at which a joint's weight is exp(-1/2), mm"
        )
        gap_weight: float = Field(0.02, gt=0, le=1, description="of the joint with the gap")
        explained: float = Field(
            0.99, gt=0, lt=1, description="share of the sum of singular values to keep"
        )
        complete_frames: int = Field(
            20, ge=2, description="fewest frames that components are computed from"
        )
        continuous: bool = Field(
            True,
            description="add a linear ramp, so that a gap's ends meet what is seen "
            "(Tits et al. 2018)",
        )

    settings: Settings

    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor:
        """Complete each joint with gaps by itself."""
        completed = Linear(self.spec).complete(motion, occluded)
        seen = ~occluded.any(dim=-1)
        frames_seen = seen.sum(dim=1)
        gappy = torch.nonzero(
            (frames_seen >= self.settings.complete_frames) & (frames_seen < seen.shape[1])
        )
        for part in gappy.split(CHUNK):
            window, joint = part.T
            filled, usable = self._reconstruct(motion[window].double(), seen[window], joint)
            gap = ~seen[window, :, joint]
            if self.settings.continuous:
                filled = filled + self._ramp(motion[window, :, joint] - filled, gap)
            replaced = (gap & usable[:, None])[..., None]
            line = completed[window, :, joint]
            completed[window, :, joint] = torch.where(replaced, filled.to(line.dtype), line)
        return completed

    def _ramp(self, error: Tensor, gap: Tensor) -> Tensor:
        """Return ``(row, frame, 3)`` errors at the ends of gaps, interpolated inside them."""
        hidden = gap[..., None, None].expand(*error.shape[:2], 1, 3)
        return Linear(self.spec).complete(error[:, :, None], hidden)[:, :, 0]

    def _reconstruct(self, motion: Tensor, seen: Tensor, joint: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct one joint per row in all frames.

        Args:
            motion: ``(row, frame, joint, 3)`` float64.
            seen: bool ``(row, frame, joint)``.
            joint: ``(row,)``.

        Returns:
            ``(row, frame, 3)`` positions, mm, and bool ``(row,)``, whether there are joints and
            complete frames to reconstruct from.
        """
        row = torch.arange(len(motion), device=motion.device)
        gap = ~seen[row, :, joint]
        used = (seen | ~gap[..., None]).all(dim=1)
        used[row, joint] = False
        complete = ~gap & (seen | ~used[:, None]).all(dim=2)
        usable = used.any(dim=1) & (complete.sum(dim=1) >= self.settings.complete_frames)

        count = complete.sum(dim=1).clamp(min=1)[:, None, None]
        whole = complete[..., None, None]
        mean = torch.where(whole, motion, 0.0).sum(dim=1) / count
        centred = motion - mean[:, None]
        deviation = (torch.where(whole, centred, 0.0).square().sum(dim=1) / count).sqrt()
        deviation = torch.where(deviation > STILL, deviation, 1.0)
        weight = self._weights(motion, complete, used, joint)
        scale = (weight[..., None] / deviation).flatten(1)[:, None]

        normalised = centred.flatten(2) * scale
        known = torch.where(used[:, None, :, None], normalised.view_as(motion), 0.0).flatten(2)
        train = complete[..., None]
        full = self._projector(torch.where(train, normalised, 0.0))
        partial = self._projector(torch.where(train, known, 0.0))
        # From the components of the joints used to those of all (Federolf 2013).
        filled = (known @ partial @ full).view_as(motion)[row, :, joint]
        return mean[row, joint][:, None] + filled * (
            deviation[row, joint] / self.settings.gap_weight
        )[:, None], usable

    def _weights(self, motion: Tensor, complete: Tensor, used: Tensor, joint: Tensor) -> Tensor:
        """Return ``(row, joint)`` weights: of a used joint by its mean distance, else 0."""
        row = torch.arange(len(motion), device=motion.device)
        distance = (motion - motion[row, :, joint][:, :, None]).norm(dim=-1)
        distance = torch.where(complete[..., None], distance, 0.0).sum(dim=1)
        distance = distance / complete.sum(dim=1).clamp(min=1)[:, None]
        weight = used * torch.exp(-0.5 * (distance / self.settings.reach).square())
        weight[row, joint] = self.settings.gap_weight
        return weight

    def _projector(self, data: Tensor) -> Tensor:
        """Return ``(row, coordinate, coordinate)`` projections on the leading components."""
        squares, vectors = torch.linalg.eigh(data.mT @ data)
        values = squares.clamp(min=0).sqrt().flip(1)
        before = values.cumsum(dim=1) - values
        kept = before < self.settings.explained * values.sum(dim=1, keepdim=True)
        vectors = vectors.flip(2) * kept[:, None]
        return vectors @ vectors.mT
