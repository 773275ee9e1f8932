"""Predictors compared with their published code: outputs, gradients, and the first train steps.

    python scripts/predictor_parity.py CHECKOUT... [--steps 500] [--batch 4] [--blocks N]
        [--csv FILE]

CHECKOUT is a folder with wei-mao-2019/LearnTrajDep, wei-mao-2019/HisRepItself or dulucas/siMLPe.
Both networks have the published size, unless N says otherwise, and the same initial weights, and
see the same batches of synthetic motion. Ours takes the steps of the fit loop with its default
settings, theirs those of its own train loop. All is in double precision, since Adam magnifies
rounding errors from step to step, and without dropout, which the two would draw differently.

Printed, relative: the largest difference of predictions, of the loss and of a weight's gradient,
with random weights; the largest difference of the loss over the steps; and that of the published
code from itself, begun with weights changed by 1e-15.
"""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from bench.fitting.adam import Adam
from bench.fitting.training import accumulate
from bench.motion import dct_matrix, derive_seed
from bench.speed.published import kind
from bench.speed.published_predictors import (
    ADAPTERS,
    FUTURE,
    SPEC,
    Published,
    agreement,
    without_dropout,
)
from bench.speed.work import relative, windows
from predictors.base import TrainedPredictor

WINDOWS = 2000
"""Different train windows."""
CHANGE = 0.05
"""Of weights, since initial ones hide what is multiplied by zero."""
ROUNDING = 1e-15
"""Of weights, to see how differences grow by themselves."""


@dataclass(frozen=True)
class Parity:
    """How far ours is from the published code; a row of the table."""

    predictor: str
    predictions: float
    loss: float
    gradients: float
    losses_of_steps: float
    theirs_rounded: float
    first_loss: float
    last_losses: float


def our_losses(model: TrainedPredictor, batches: list[Tensor]) -> list[float]:
    """Take a step of the fit loop on each batch; return the losses."""
    settings = model.settings
    optimizer = Adam(model.parameters(), settings.learning_rate, settings.weight_decay)
    model.train()
    losses = []
    for batch in batches:
        optimizer.clear()
        found = accumulate(model, {"motion": batch}, settings, **settings.terms(None))
        nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
        optimizer.step()
        losses.append(float(found["loss"]))
    return losses


def their_losses(theirs: Published, batches: list[Tensor]) -> list[float]:
    """Take a step of the published train loop on each batch; return the losses."""
    optimizer = theirs.optimizer()
    return [float(theirs.train_step(batch, optimizer)()) for batch in batches]


def compared(label: str, checkout: Path, blocks: int, batches: list[Tensor]) -> Parity:
    """Return how far a predictor is from its published code."""
    ours, theirs = pair(label, checkout, blocks)
    _, rounded = pair(label, checkout, blocks)
    randomise(rounded, ROUNDING)
    with (
        without_dropout(ours),
        without_dropout(theirs.network),
        without_dropout(rounded.network),
    ):
        other, again = their_losses(theirs, batches), their_losses(rounded, batches)
        mine = our_losses(ours, batches)
    apart, by_rounding = (
        float(np.abs(np.array(one) / np.array(other) - 1).max()) for one in (mine, again)
    )
    ours, theirs = pair(label, checkout, blocks)
    randomise(theirs, CHANGE)
    loss, gradients = agreement(ours, theirs, batches[0])
    ours.eval()
    past = batches[0][:, : SPEC.frames]
    predictions = relative(ours.predict(past), theirs.predict(batches[0])())
    return Parity(
        label,
        predictions,
        loss,
        gradients,
        apart,
        by_rounding,
        other[0],
        float(np.mean(other[-20:])),
    )


def pair(label: str, checkout: Path, blocks: int) -> tuple[Any, Published]:
    """Return our predictor and the published one, in double precision, with the same weights."""
    torch.manual_seed(0)
    cls, published = ADAPTERS[label]
    chosen = {"blocks": blocks} if blocks else {}
    ours: Any = cls(SPEC, cls.Settings.model_validate(chosen)).double()
    ours.dct = torch.tensor(dct_matrix(len(ours.dct)))
    theirs = published(checkout, ours)
    theirs.network.double()
    return ours, theirs


@torch.no_grad()
def randomise(theirs: Published, scale: float) -> None:
    """Change the weights of both networks by normal draws of a standard deviation."""
    for mine, other in theirs.pairs:
        other.add_(scale * torch.randn_like(other))
        mine.copy_(other.reshape(mine.shape))


def main() -> None:
    """Compare with each checkout that is given, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkouts", type=Path, nargs="+", metavar="CHECKOUT")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument(
        "--blocks", type=int, default=0, help="of the networks; as published by default"
    )
    parser.add_argument("--csv", type=Path)
    chosen = parser.parse_args()
    motion = windows(WINDOWS, SPEC.frames + FUTURE).double()
    rng = np.random.default_rng(derive_seed("parity"))
    rows = rng.integers(len(motion), size=(chosen.steps, chosen.batch))
    batches = [motion[torch.from_numpy(some)] for some in rows]
    found = [
        compared(kind(path), path.resolve(), chosen.blocks, batches) for path in chosen.checkouts
    ]
    table = pd.DataFrame([asdict(one) for one in found])
    print(table.T.to_string(header=False, float_format="{:.2e}".format))
    if chosen.csv:
        table.to_csv(chosen.csv, index=False, float_format="%.3g")


if __name__ == "__main__":
    main()
