"""How fast the paper-size HG-VAE is, as a share of this machine's own matrix-product rate.

Run with ``python -m pytest tests/benchmarks --benchmark-only -s``. Nothing is asserted: a rate
is a property of the machine, and the share of it is printed.
"""

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.listing import PAPER_SPEC
from bench.training import accumulate
from models.hgvae import HGVAE
from models.inference import Map

WINDOWS = 800


@pytest.fixture(scope="module")
def gemm_rate() -> float:
    """float32 matrix-product rate of this machine, FLOP/s: the median of several 2048^3."""
    size = 2048
    left, right = torch.randn(size, size), torch.randn(size, size)
    seconds = []
    for _ in range(8):
        begun = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - begun)
    return 2 * size**3 / sorted(seconds)[len(seconds) // 2]


@pytest.fixture(scope="module")
def model() -> HGVAE:
    torch.manual_seed(0)
    return HGVAE(PAPER_SPEC)


def flops(work: Callable[[], object]) -> int:
    """Return the floating-point operations of matrix products in ``work``."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def report(name: str, benchmark: Any, work: Callable[[], object], rate: float) -> None:
    """Time ``work`` and print its share of the machine's rate."""
    count = flops(work)
    benchmark.pedantic(work, rounds=3, warmup_rounds=1)
    seconds = benchmark.stats.stats.median
    share = count / seconds / rate
    benchmark.extra_info.update(gflop=count / 1e9, gemm_gflops=rate / 1e9, share=share)
    print(
        f"\n{name}: {seconds:.2f} s for {count / 1e9:.0f} GFLOP, "
        f"{count / seconds / 1e9:.0f} of {rate / 1e9:.0f} GFLOP/s ({100 * share:.0f} %)"
    )


def test_train_step(benchmark: Any, model: HGVAE, gemm_rate: float) -> None:
    motion = 100 * torch.randn(WINDOWS, 50, 18, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        accumulate(model, {"motion": motion}, model.settings.micro_batch, kl_weight=1.0)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 100.0)
        optimizer.step()

    report(f"train step of {WINDOWS} windows", benchmark, step, gemm_rate)


def test_map(benchmark: Any, model: HGVAE, gemm_rate: float) -> None:
    motion = 100 * torch.randn(WINDOWS, 50, 18, 3)
    occluded = torch.rand_like(motion) < 0.1
    inference = Map(steps=10)
    report(
        f"10 MAP steps of {WINDOWS} windows",
        benchmark,
        lambda: inference.complete(model, motion, occluded),
        gemm_rate,
    )
