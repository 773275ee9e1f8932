"""Choices and calibration by family of masks, made on valid windows."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from bench.motion import Windows, derive_seed
from bench.motion.mechanisms.sampler import USUAL, MaskSampler, family_of

FAMILIES = tuple(USUAL)
"""Families of masks, each with choices of its own."""
COVERED = 0.9
"""Share of hidden values that calibrated intervals of that level cover on the valid windows."""


def family_number(mask: Tensor) -> int:
    """Return the number in ``FAMILIES`` of a window's mask, ``(frame, joint, 3)``."""
    return FAMILIES.index(family_of(mask.cpu().numpy()))


def trials(
    valid: Windows, masks: MaskSampler, seed: int, count: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return valid windows and masks for them by family, ``(window, frame, joint, 3)`` each.

    Args:
        valid: windows to choose from.
        masks: each of its families hides entries of the same windows.
        seed: of the masks.
        count: how many windows, evenly spaced.
    """
    windows = valid.thin(count)
    motion = np.asarray(windows.motion, dtype=np.float32)
    drawn = []
    for name in masks.families:
        generator = np.random.default_rng(derive_seed("shrinkage", name, seed))
        drawn.append(masks.draw(windows.spec, generator, motion, name))
    hidden = np.concatenate(drawn)
    families = np.array([family_of(mask) for mask in hidden])
    repeated = windows.tensor().repeat(len(drawn), 1, 1, 1)
    found = {}
    for family in FAMILIES:
        (rows,) = np.nonzero(families == family)
        if len(rows):
            found[family] = repeated[rows], torch.from_numpy(hidden[rows])
    return found


def of_families(found: Mapping[str, Tensor]) -> Tensor:
    """Return a value for each of ``FAMILIES``; for one that was not tried, the others' mean."""
    mean = torch.stack(list(found.values())).mean(dim=0)
    return torch.stack([found.get(family, mean) for family in FAMILIES])


def calibration(error: Tensor, sigma: Tensor) -> Tensor:
    """Return the factor by which ``sigma`` must grow for intervals to cover ``COVERED``.

    Args:
        error: ``(value,)``.
        sigma: ``(value,)`` predicted standard deviations.
    """
    scores = error.abs() / sigma.clamp(min=1e-6)
    # At most a million values: what ``torch.quantile`` takes.
    scores = scores[:: max(1, len(scores) // 1_000_000 + 1)]
    normal = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor((1 + COVERED) / 2))
    return torch.quantile(scores, COVERED) / normal
