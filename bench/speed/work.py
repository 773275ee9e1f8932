"""What is timed: windows, steps of the fit loop, and how many operations these are."""

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
"""Share of features that MAP completes."""
FEW = 40
"""Windows to count floating-point operations with, which are in proportion to windows."""


def windows(count: int, frames: int = PAPER_SPEC.frames, device: str = "cpu") -> Tensor:
    """Return windows of synthetic motion, ``(count, frames, 18, 3)``, mm."""
    found: list[Tensor] = []
    for source in Synthetic().sources(None):
        take = torch.from_numpy(Synthetic().read(source))
        found += [take[start : start + frames] for start in range(0, len(take) - frames, 5)]
        if len(found) >= 4 * count:
            break
    rows = np.linspace(0, len(found) - 1, count).round().astype(int)
    return torch.stack([found[row] for row in rows]).to(device)


def hide(motion: Tensor) -> Tensor:
    """Return which features are hidden, bool, the shape of ``motion``."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(motion.shape, generator=generator) < HIDDEN).to(motion.device)


def train_step(model: Any, motion: Tensor) -> Callable[[], None]:
    """Return what takes a step of the fit loop on a batch, the KL terms at full weight."""
    settings = model.settings
    optimizer = Adam(model.parameters(), settings.learning_rate, settings.weight_decay)

    def step() -> None:
        optimizer.clear()
        accumulate(model, {"motion": motion}, settings, **settings.terms(None))
        nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
        optimizer.step()

    return step


def of_windows(work: Callable[[Tensor], Callable[[], object]], motion: Tensor) -> float:
    """Return the GFLOP of ``work(motion)``, counted with a few of its windows."""
    few = motion[:FEW]
    return gflop(work(few)) * len(motion) / len(few)


def relative(mine: Tensor, other: Tensor) -> float:
    """Return the norm of the difference, in norms of ``other``."""
    return float(((mine - other).norm() / other.norm()).detach())
