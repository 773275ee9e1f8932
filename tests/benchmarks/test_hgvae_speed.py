"""The paper-size HG-VAE: ``python -m pytest tests/benchmarks --benchmark-only``.

Nothing is asserted: rates depend on the machine. The JSON has the share of the GEMM rate.
"""

import functools

import pytest
import torch

from bench.protocol.listing import PAPER_SPEC
from bench.speed import hgvae
from bench.speed.work import batch_gflop, train_step, windows
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
    timed(work(motion), batch_gflop(work, motion))


def test_map(timed: Report, model: HGVAE) -> None:
    motion = windows(hgvae.WINDOWS)
    work = functools.partial(hgvae.ascent, model, inference=Map(steps=hgvae.STEPS))
    timed(work(motion), batch_gflop(work, motion))
