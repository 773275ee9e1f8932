import statistics
from collections.abc import Callable
from typing import Any

import pytest

from bench.speed.measure import gemm_rate

Report = Callable[[Callable[[], object], float | None], None]


@pytest.fixture
def timed(benchmark: Any) -> Report:
    """Time work, and note its floating-point operations beside the machine's GEMM rate."""

    def run(work: Callable[[], object], gflop: float | None = None) -> None:
        before = gemm_rate()
        benchmark.pedantic(work, rounds=3, warmup_rounds=1)
        if gflop is not None:
            rate = statistics.mean([before, gemm_rate()]) / 1e9
            share = gflop / benchmark.stats.stats.median / rate
            benchmark.extra_info.update(gflop=gflop, gemm_gflops=rate, share=share)

    return run
