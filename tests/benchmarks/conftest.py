"""Fixtures that time work with pytest-benchmark."""

import statistics
from collections.abc import Callable
from typing import Any

import pytest

from bench.speed.measure import gemm_rate, seconds

Report = Callable[[Callable[[], object], float | None], None]
Paired = Callable[..., tuple[list[float], list[float]]]


@pytest.fixture
def timed(benchmark: Any) -> Report:
    """Time work, and record its rate of operations and the machine's GEMM rate."""

    def run(work: Callable[[], object], gflop: float | None = None) -> None:
        before = gemm_rate()
        benchmark.pedantic(work, rounds=3, warmup_rounds=1)
        if gflop is not None:
            rate = statistics.mean([before, gemm_rate()]) / 1e9
            share = gflop / benchmark.stats.stats.median / rate
            benchmark.extra_info.update(gflop=gflop, gemm_gflops=rate, share=share)

    return run


@pytest.fixture
def paired(benchmark: Any) -> Paired:
    """Time two functions alternately, and return the seconds of each by round."""

    def run(
        ours: Callable[[], object], other: Callable[[], object], rounds: int
    ) -> tuple[list[float], list[float]]:
        others: list[float] = []
        benchmark.pedantic(ours, setup=lambda: others.append(seconds(other)), rounds=rounds)
        return list(benchmark.stats.stats.data), others

    return run


@pytest.fixture
def record(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Store figures in the benchmark's JSON, and print them."""

    def run(**figures: object) -> None:
        benchmark.extra_info.update(figures)
        with capsys.disabled():
            parts = (
                f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in figures.items()
            )
            print(f"\n{', '.join(parts)}")

    return run
