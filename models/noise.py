"""Noise on what is seen: how much there is, and what Gaussians make of it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.motion import MotionSpec, Windows
from models.conditioning import Gaussian

ORDER = 3
"""Differences of this order over time are those of noise, where motion is smooth."""
GAIN = 20.0
"""Variance of such a difference of white noise of variance 1: 1 + 9 + 9 + 1."""
NORMAL_MEDIAN = 0.6745
"""Median of the absolute value of a standard normal number."""
CLEAN = 0.999
"""Share of train windows whose roughness counts as that of motion without noise."""
MANY = 1.5
"""Times that roughness, at half of what is seen, from which a window is taken to be noisy."""


class Denoised(NamedTuple):
    """Windows without the noise on what is seen.

    Attributes:
        motion: ``(window, frame, joint, 3)``, mm.
        variance: the same shape, by how much more uncertain hidden values are for the noise, mm^2.
        noisy: bool ``(window,)``, those that had noise.
    """

    motion: Tensor
    variance: Tensor
    noisy: Tensor


class Denoiser(nn.Module):
    """Replaces what is seen of noisy windows by its mean under a Gaussian.

    A Gaussian's mean of hidden values given noisy ones is that given the mean of the noisy ones
    (iterated expectations), so completions by that Gaussian need no more than this; their variance
    is larger. Windows of which not half is rougher than it is in nearly all train windows are left
    alone, and so are those of which nothing is hidden.

    Attributes:
        usual: buffer ``(joint, 3)``, the largest roughness of each coordinate without noise, mm.
    """

    usual: Tensor

    def __init__(self, spec: MotionSpec) -> None:
        super().__init__()
        self.register_buffer("usual", torch.full((len(spec.skeleton), 3), torch.inf))

    def measure(self, train: Windows) -> None:
        """Find the roughness of windows without noise."""
        parts = (part.tensor() for part in train.parts())
        found = [roughness(motion, torch.zeros_like(motion, dtype=torch.bool)) for motion in parts]
        largest = torch.quantile(torch.cat(found), CLEAN, dim=0)
        # Windows too short to tell have none that is usual: nothing is noise then.
        self.usual.copy_(largest.clamp(min=1e-3).nan_to_num(torch.inf))

    def forward(self, motion: Tensor, occluded: Tensor, gaussians: Sequence[Gaussian]) -> Denoised:
        """Return windows with the seen values of noisy ones replaced.

        Args:
            motion: ``(window, frame, joint, 3)``, mm; ignored where occluded.
            occluded: bool, the same shape.
            gaussians: of whole windows; what is seen decides which of them is used.
        """
        rough = roughness(motion, occluded)
        times = (rough / self.usual).flatten(1).nanmedian(dim=1).values
        deviation = rough.flatten(1).nanmedian(dim=1).values
        noisy = (times > MANY) & occluded.flatten(1).any(dim=1)
        result = Denoised(motion.clone(), torch.zeros_like(motion), noisy)
        for row in torch.nonzero(noisy)[:, 0].tolist():
            values, hidden = motion[row].double().flatten(), occluded[row].flatten()
            smoothed, more = _smoothed(values, hidden, float(deviation[row]) ** 2, gaussians)
            result.motion[row] = smoothed.view_as(motion[row]).to(motion.dtype)
            result.variance[row] = more.view_as(motion[row]).to(motion.dtype)
        return result


def roughness(motion: Tensor, occluded: Tensor) -> Tensor:
    """Return the deviation of white noise that is as rough as each coordinate's trajectory, mm.

    It is the median over third differences of what is seen, so that a jump counts little.

    Args:
        motion: ``(window, frame, joint, 3)``, mm; ignored where occluded.
        occluded: bool, the same shape.

    Returns:
        ``(window, joint, 3)``, nan where no four frames in a row are seen.
    """
    if motion.shape[1] <= ORDER:
        return motion.new_full((len(motion), *motion.shape[2:]), torch.nan)
    size = motion.diff(n=ORDER, dim=1).abs()
    seen = (~occluded).unfold(1, ORDER + 1, 1).all(dim=-1)
    median = torch.where(seen, size, torch.nan).nanmedian(dim=1).values
    return median / NORMAL_MEDIAN / GAIN**0.5


def _smoothed(
    values: Tensor, hidden: Tensor, variance: float, gaussians: Sequence[Gaussian]
) -> tuple[Tensor, Tensor]:
    """Return values of a window, those seen replaced by their mean under the likeliest Gaussian.

    Next to them, by how much the noise makes those hidden more uncertain, mm^2.

    Args:
        values: ``(value,)``.
        hidden: bool, the same shape; at least one is.
        variance: of the noise on those seen, mm^2.
        gaussians: as of ``Denoiser``.
    """
    seen = ~hidden
    found = []
    for one in gaussians:
        covariance = one.covariance[seen][:, seen]
        noise = variance * torch.eye(len(covariance)).to(covariance)
        marginal = Gaussian(one.mean[seen], covariance + noise)
        deviation = (values[seen] - marginal.mean)[:, None]
        weights = torch.cholesky_solve(deviation, marginal.factor)[:, 0]
        unlikely = float(deviation[:, 0] @ weights + 2 * marginal.factor.diagonal().log().sum())
        found.append((unlikely, weights, marginal, one))
    _, weights, marginal, chosen = min(found, key=lambda one: one[0])
    smoothed, more = values.clone(), torch.zeros_like(values)
    smoothed[seen] = values[seen] - variance * weights
    across = chosen.covariance[seen][:, hidden]
    explained = torch.linalg.solve_triangular(marginal.factor, across, upper=False)
    left = chosen.covariance.diagonal()[hidden] - explained.square().sum(dim=0)
    more[hidden] = (left - chosen.given(hidden).variance).clamp(min=0)
    return smoothed, more
