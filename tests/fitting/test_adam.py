"""Adam compared with torch's own, saving and restoring its state, and what it does not import."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from bench.fitting.adam import Adam

STEPS = 20


def parameters() -> list[Tensor]:
    """Return three of different shapes, the last of which never has a gradient."""
    torch.manual_seed(0)
    return [torch.randn(shape, requires_grad=True) for shape in ((3, 4), (7,), (2,))]


def gradients(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(shape, generator=generator) for shape in ((3, 4), (7,))]


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_its_steps_are_those_of_torchs_own(weight_decay: float) -> None:
    ours, theirs = parameters(), parameters()
    mine = Adam(ours, 0.1, weight_decay)
    own = torch.optim.Adam(theirs, lr=0.1, weight_decay=weight_decay)
    for step in range(STEPS):
        mine.rate = own.param_groups[0]["lr"] = 0.1 / (step + 1)
        for some in (ours, theirs):
            for parameter, gradient in zip(some[:2], gradients(step), strict=True):
                parameter.grad = gradient
        mine.step()
        own.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert torch.equal(ours[2], parameters()[2])


def test_it_continues_from_a_saved_state() -> None:
    def descend(optimizer: Adam, some: list[Tensor], steps: range) -> None:
        for step in steps:
            for parameter, gradient in zip(some[:2], gradients(step), strict=True):
                parameter.grad = gradient
            optimizer.step()

    whole = parameters()
    descend(Adam(whole, 0.1), whole, range(STEPS))

    halved = parameters()
    first = Adam(halved, 0.1)
    descend(first, halved, range(STEPS // 2))
    saved = {name: value.clone() for name, value in first.state().items()}
    second = Adam(halved, 0.1)
    second.restore(saved)
    descend(second, halved, range(STEPS // 2, STEPS))
    assert all(torch.equal(*pair) for pair in zip(whole, halved, strict=True))


def test_clearing_leaves_no_gradient_and_a_step_without_one_changes_nothing() -> None:
    some = parameters()
    optimizer = Adam(some, 0.1)
    some[0].grad = torch.ones(3, 4)
    optimizer.clear()
    optimizer.step()
    assert all(one.grad is None for one in some)
    assert all(torch.equal(*pair) for pair in zip(some, parameters(), strict=True))


WORK = """
import sys, torch
from bench.fitting.training import FitContext
from models.inference.map import Map
from models.vae import VAE
from tests.conftest import walk
windows = walk(8, seed=1)
settings = VAE.Settings(hidden=[4], latent=2, epochs=1)
model = VAE(windows.spec, settings)
model.fit(windows, windows, FitContext())
motion = windows.tensor()
Map(steps=1).complete(model, motion, motion > 0)
assert "torch._dynamo" not in sys.modules
"""


def test_neither_fits_nor_ascents_import_torchs_compiler() -> None:
    """It takes two seconds in each process of a sweep."""
    subprocess.run([sys.executable, "-c", WORK], check=True)
