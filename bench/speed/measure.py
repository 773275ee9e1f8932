"""Comparable measurements of time, floating-point operations and memory."""

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

T = TypeVar("T")

GEMM_SIZE = 2048
GEMM_TIMES = 6
GEMM = "GEMM"

_BIG = str(2**30)
# By default glibc returns large blocks to the system; each new one costs a page fault per page.
MALLOC: dict[str, dict[str, str]] = {
    "default": {},
    "tuned": {
        "MALLOC_MMAP_THRESHOLD_": _BIG,
        "MALLOC_TRIM_THRESHOLD_": str(2**34),
        "MALLOC_TOP_PAD_": str(2**26),
    },
}


@dataclass(frozen=True)
class Setup:
    """How to measure.

    Attributes:
        rounds: how often each of two alternating computations is timed.
        threads: number of torch's threads.
        malloc: allocator settings of the process, a key of ``MALLOC``.
        against: checkouts of published code, by their key in ``published.KINDS``.
        device: device of the tensors, cpu or cuda.
    """

    rounds: int = 3
    threads: int = field(default_factory=torch.get_num_threads)
    malloc: str = "default"
    against: dict[str, Path] = field(default_factory=dict)
    device: str = "cpu"


@dataclass(frozen=True)
class Result:
    """A measurement and the reference that it is compared with.

    Attributes:
        row: name of the row on the command line of ``bench speed``.
        what: what was measured.
        against: name of the reference; empty if there is none.
        ours: measurement of each round, in ``unit``.
        other: measurement of the reference in each round, in ``unit``.
        wanted: target for the ratio of ``other`` to ``ours``; None if there is none.
        unit: s or GB.
        gflop: 10^9 floating-point operations of our matrix products.
        other_gflop: those of the reference.
        malloc: allocator settings, a key of ``MALLOC``.
        note: a remark needed to read the row.
    """

    row: str
    what: str
    ours: tuple[float, ...]
    against: str = ""
    other: tuple[float, ...] = ()
    wanted: float | None = None
    unit: str = "s"
    gflop: float | None = None
    other_gflop: float | None = None
    malloc: str = "default"
    note: str = ""

    @property
    def ratios(self) -> tuple[float, ...]:
        """``other`` / ``ours`` of each round; larger is better."""
        return tuple(b / a for a, b in zip(self.ours, self.other, strict=False))

    @property
    def ratio(self) -> float | None:
        """The median ratio; None if there is no reference."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def met(self) -> bool | None:
        """Whether the ratio reaches ``wanted``; None if either is missing."""
        if self.ratio is None or self.wanted is None:
            return None
        return self.ratio >= self.wanted


def seconds(work: Callable[[], object]) -> float:
    """Return the seconds that ``work`` takes, including pending work of a CUDA device."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turns(
    rounds: int,
    what: str,
    *works: Callable[[], object],
    gemm: Callable[[], float] | None = None,
) -> tuple[list[tuple[float, ...]], list[float]]:
    """Time functions alternately, with the machine's GEMM rate measured around each round.

    Args:
        rounds: how often each is timed.
        what: description for progress messages.
        works: the functions.
        gemm: measures the GEMM rate, FLOP/s; None: that of float32 on the CPU.

    Returns:
        The seconds of each function, by round; and the GEMM rate of each round, FLOP/s.
    """
    times: list[list[float]] = [[] for _ in works]
    gemm = gemm or gemm_rate
    rates, before = [], gemm()
    for number in range(rounds):
        for place, work in enumerate(works):
            times[place].append(seconds(work))
        after = gemm()
        rates.append((before + after) / 2)
        before = after
        latest = ", ".join(f"{one[-1]:.2f} s" for one in times)
        progress(f"{what}, round {number + 1} of {rounds}: {latest}")
    return [tuple(one) for one in times], rates


def gemm_rate(device: str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """Return the rate of ``GEMM_SIZE`` square matrix products, FLOP/s, median of ``GEMM_TIMES``.

    Args:
        device: cpu (torch's threads) or cuda.
        dtype: type of both factors.
    """
    left = torch.randn(GEMM_SIZE, GEMM_SIZE, device=device).to(dtype)
    right = torch.randn(GEMM_SIZE, GEMM_SIZE, device=device).to(dtype)
    out = torch.empty_like(left)
    times = [seconds(lambda: torch.mm(left, right, out=out)) for _ in range(GEMM_TIMES)]
    return 2 * GEMM_SIZE**3 / statistics.median(times)


def compare_with_gemm(
    row: str, what: str, ours: tuple[float, ...], gflop: float, rates: list[float], malloc: str
) -> Result:
    """Return a result compared with the time of as many FLOPs at the machine's GEMM rate.

    Args:
        row: name of the row.
        what: what was measured.
        ours: seconds of each round.
        gflop: 10^9 floating-point operations of the matrix products.
        rates: GEMM rate of each round, FLOP/s.
        malloc: allocator settings, a key of ``MALLOC``.
    """
    floor = tuple(gflop * 1e9 / rate for rate in rates)
    note = f"{statistics.median(rates) / 1e9:.0f} GFLOP/s"
    return Result(
        row, what, ours, GEMM, floor, 0.85, gflop=gflop, other_gflop=gflop, malloc=malloc, note=note
    )


def gflop(work: Callable[[], object]) -> float:
    """Return the floating-point operations of matrix products in ``work``, in 10^9."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9


def peak_memory(work: Callable[[], object]) -> float:
    """Return the peak increase of resident memory during ``work``, GB (10^9 bytes).

    Reads the high-water mark of the process, so call it once per process; Linux only.
    """
    before = _memory("VmRSS")
    work()
    return (_memory("VmHWM") - before) / 1e9


def _memory(name: str) -> int:
    # Not getrusage: the mark of a child process starts at that of its parent.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def in_child(work: Callable[..., T], setup: Setup, *arguments: object) -> T:
    """Run ``work(setup, *arguments)`` in a new process with the allocator of ``setup``."""
    with (
        _environment(MALLOC[setup.malloc]),
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
    ):
        return pool.submit(_start, work, setup, *arguments).result()


def _start(work: Callable[..., T], setup: Setup, *arguments: object) -> T:
    torch.set_num_threads(setup.threads)
    torch.manual_seed(0)
    return work(setup, *arguments)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    saved = {name: os.environ.get(name) for name in MALLOC["tuned"]}
    for name in saved:
        os.environ.pop(name, None)
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in saved.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def progress(text: str) -> None:
    """Print a progress message to standard error."""
    print(text, file=sys.stderr, flush=True)
