"""Plausibility of sampled motion, one value per window."""

import torch
from torch import Tensor

from bench.metrics.completion import mean_where

CONTACT = 25.0
"""Difference of height up to which both feet are taken to stand, mm."""


def bones_in_range(lengths: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Compare bone lengths with the range that each bone has in real motion.

    Args:
        lengths: ``(window, frame, bone)`` mm, as of samples.
        real: the same of real windows; each bone's range is its least to its largest length there.

    Returns:
        ``(window,)`` share of frames in which every bone is in its range, and ``(window,)`` how
        far a bone is out of it on average, mm.
    """
    low, high = real.flatten(0, 1).amin(dim=0), real.flatten(0, 1).amax(dim=0)
    # Lengths of one rigid bone differ by rounding alone; that must not count.
    slack = 1e-2
    excess = torch.maximum(low - lengths, lengths - high).clamp(min=0)
    return (excess <= slack).all(dim=-1).double().mean(dim=1), excess.mean(dim=(1, 2))


def foot_skate(motion: Tensor, feet: tuple[int, int], fps: float) -> Tensor:
    """Return how fast the feet slide against each other where both must stand.

    Motion relative to the root has no ground. But feet that both stand are at one height and keep
    their distance, whatever the root does; so what is measured is the horizontal speed of one foot
    against the other while they are within ``CONTACT`` of one height in two neighbouring frames. A
    turn of the root that was removed shows as such a speed too: compare with real motion.

    Args:
        motion: ``(window, frame, joint, 3)``, mm, y up.
        feet: joint numbers of the two feet.
        fps: frames per second.

    Returns:
        ``(window,)`` mean speed, mm/s; nan for a window in which they are never at one height.
    """
    apart = (motion[:, :, feet[0]] - motion[:, :, feet[1]]).double()
    level = apart[..., 1].abs() < CONTACT
    speed = torch.linalg.vector_norm(torch.diff(apart[..., [0, 2]], dim=1), dim=-1) * fps
    return mean_where(speed, level[:, 1:] & level[:, :-1])
