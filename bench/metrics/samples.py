"""Plausibility of sampled motion, one value per window."""

import torch
from torch import Tensor

from bench.metrics.completion import mean_where

CONTACT = 25.0
"""Difference of height, mm, below which both feet are assumed to be on the ground."""


def bones_in_range(lengths: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Compare bone lengths with the range that each bone has in real motion.

    Args:
        lengths: ``(window, frame, bone)`` mm, for example of samples.
        real: the same of real windows; each bone's range is its least to its largest length there.

    Returns:
        ``(window,)`` share of frames in which every bone is in its range, and ``(window,)`` mean
        distance of a bone's length from its range, mm.
    """
    low, high = real.flatten(0, 1).amin(dim=0), real.flatten(0, 1).amax(dim=0)
    # Lengths of a rigid bone differ by rounding; that must not count.
    slack = 1e-2
    excess = torch.maximum(low - lengths, lengths - high).clamp(min=0)
    return (excess <= slack).all(dim=-1).double().mean(dim=1), excess.mean(dim=(1, 2))


def foot_skate(motion: Tensor, feet: tuple[int, int], fps: float) -> Tensor:
    """Return how fast the feet slide relative to each other where both should be on the ground.

    Motion relative to the root has no ground plane. But two feet on the ground are at equal height
    and keep their distance, whatever the root does. The measure is therefore the horizontal speed
    of one foot relative to the other, in pairs of neighbouring frames in both of which their
    heights differ by less than ``CONTACT``. A rotation of the root that was removed shows as such a
    speed too: compare the value with that of real motion.

    Args:
        motion: ``(window, frame, joint, 3)``, mm, y up.
        feet: joint indices of the two feet.
        fps: frames per second.

    Returns:
        ``(window,)`` mean speed, mm/s; nan for a window in which they are never at equal height.
    """
    offset = (motion[:, :, feet[0]] - motion[:, :, feet[1]]).double()
    level = offset[..., 1].abs() < CONTACT
    speed = torch.linalg.vector_norm(torch.diff(offset[..., [0, 2]], dim=1), dim=-1) * fps
    return mean_where(speed, level[:, 1:] & level[:, :-1])
