"""The work that is timed: windows, masks and train steps; and its floating-point operations."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.datasets.synthetic import Synthetic
from bench.fitting.adam import Adam
from bench.fitting.training import accumulate
from bench.protocol.listing import PAPER_SPEC
from bench.speed.measure import gflop

HIDDEN = 0.1
"""Share of features that are hidden for MAP."""
COUNTED = 40
"""Windows on which floating-point operations are counted; they scale with the batch."""


def windows(count: int, frames: int = PAPER_SPEC.frames, device: str = "cpu") -> Tensor:
    """Return windows of synthetic motion, ``(count, frames, 18, 3)``, mm, on ``device``."""
    found: list[Tensor] = []
    for source in Synthetic().sources(None):
        take = torch.from_numpy(Synthetic().read(source))
        found += [take[start : start + frames] for start in range(0, len(take) - frames, 5)]
        if len(found) >= 4 * count:
            break
    rows = np.linspace(0, len(found) - 1, count).round().astype(int)
    return torch.stack([found[row] for row in rows]).to(device)


def hide(motion: Tensor) -> Tensor:
    """Return a random mask, bool, the shape of ``motion``, True where hidden; always the same."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(motion.shape, generator=generator) < HIDDEN).to(motion.device)


def train_step(model: Any, motion: Tensor) -> Callable[[], None]:
    """Return a function that takes a step of the fit loop on a batch, with full KL weight."""
    settings = model.settings
    optimizer = Adam(model.parameters(), settings.learning_rate, settings.weight_decay)

    def step() -> None:
        optimizer.clear()
        accumulate(model, {"motion": motion}, settings, **settings.terms(None))
        nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
        optimizer.step()

    return step


def batch_gflop(work: Callable[[Tensor], Callable[[], object]], motion: Tensor) -> float:
    """Return the GFLOP of ``work(motion)()``, extrapolated from a few of its windows."""
    few = motion[:COUNTED]
    return gflop(work(few)) * len(motion) / len(few)


def relative(mine: Tensor, other: Tensor) -> float:
    """Return the relative difference ``||mine - other|| / ||other||``."""
    return float(((mine - other).norm() / other.norm()).detach())
