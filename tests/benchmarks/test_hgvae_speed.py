"""The paper-size HG-VAE: ``python -m pytest tests/benchmarks --benchmark-only``.

Nothing is asserted: a rate is a property of the machine, and the share of it is in the JSON.
"""

import functools

import pytest
import torch

from bench.protocol.listing import PAPER_SPEC
from bench.speed import hgvae
from bench.speed.work import of_windows, train_step, windows
from models.hgvae import HGVAE
from models.inference.map import Map
from tests.benchmarks.conftest import Report


@pytest.fixture
def model() -> HGVAE:
    torch.manual_seed(0)
    return HGVAE(PAPER_SPEC)


def test_train_step(timed: Report, model: HGVAE) -> None:
    motion = windows(hgvae.WINDOWS)
    work = functools.partial(train_step, model)
    timed(work(motion), of_windows(work, motion))


def test_map(timed: Report, model: HGVAE) -> None:
    motion = windows(hgvae.WINDOWS)
    work = functools.partial(hgvae.ascent, model, inference=Map(steps=hgvae.STEPS))
    timed(work(motion), of_windows(work, motion))
