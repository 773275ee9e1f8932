"""Seconds, floating-point operations and memory, measured so that they can be compared."""

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
# glibc gives large blocks back to the system, and every new one then costs a page fault per page.
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
        rounds: how often each of two things is timed, in turns.
        threads: of torch.
        malloc: the allocator's settings that the process was started with.
        against: checkouts of published code, by what they are.
        device: where tensors lie.
    """

    rounds: int = 3
    threads: int = field(default_factory=torch.get_num_threads)
    malloc: str = "default"
    against: dict[str, Path] = field(default_factory=dict)
    device: str = "cpu"


@dataclass(frozen=True)
class Result:
    """One thing that was measured beside another.

    Attributes:
        row: what ``bench speed`` calls it.
        what: was measured.
        against: what it is held against; empty if nothing.
        ours: of each round, in ``unit``.
        other: of what it is held against, round by round.
        wanted: the least ratio of ``other`` to ``ours``.
        unit: s or GB.
        gflop: of matrix products in what was measured.
        other_gflop: of matrix products in what it is held against.
        malloc: the allocator's settings.
        note: what must be known to read it.
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
        """``other`` over ``ours``, round by round: the larger, the better is ours."""
        return tuple(b / a for a, b in zip(self.ours, self.other, strict=False))

    @property
    def ratio(self) -> float | None:
        """The median ratio; None where nothing is beside it."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def met(self) -> bool | None:
        """Whether the wanted ratio is reached; None where none is stated."""
        if self.ratio is None or self.wanted is None:
            return None
        return self.ratio >= self.wanted


def seconds(work: Callable[[], object]) -> float:
    """Return how long ``work`` takes, until the device has done it."""
    begun = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def in_turns(
    rounds: int,
    what: str,
    *works: Callable[[], object],
    gemm: Callable[[], float] | None = None,
) -> tuple[list[tuple[float, ...]], list[float]]:
    """Time things in turns, with the machine's GEMM rate about each round.

    Args:
        rounds: how often each.
        what: is timed, for messages.
        works: the things.
        gemm: measures that rate, FLOP/s; None: of float32 by torch's threads.

    Returns:
        The seconds of each thing, by round; and the GEMM rate of each round, FLOP/s.
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
        told = ", ".join(f"{one[-1]:.2f} s" for one in times)
        progress(f"{what}, round {number + 1} of {rounds}: {told}")
    return [tuple(one) for one in times], rates


def gemm_rate(device: str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """Return the rate of matrix products of a type, FLOP/s, the median of some.

    The device is that of torch's threads, or CUDA.
    """
    left = torch.randn(GEMM_SIZE, GEMM_SIZE, device=device).to(dtype)
    right = torch.randn(GEMM_SIZE, GEMM_SIZE, device=device).to(dtype)
    out = torch.empty_like(left)
    times = [seconds(lambda: torch.mm(left, right, out=out)) for _ in range(GEMM_TIMES)]
    return 2 * GEMM_SIZE**3 / statistics.median(times)


def against_gemm(
    row: str, what: str, ours: tuple[float, ...], gflop: float, rates: list[float], malloc: str
) -> Result:
    """Return a result beside the time that the machine's GEMM rate would take for as many FLOPs."""
    floor = tuple(gflop * 1e9 / rate for rate in rates)
    told = f"{statistics.median(rates) / 1e9:.0f} GFLOP/s"
    return Result(
        row, what, ours, GEMM, floor, 0.85, gflop=gflop, other_gflop=gflop, malloc=malloc, note=told
    )


def gflop(work: Callable[[], object]) -> float:
    """Return the floating-point operations of matrix products in ``work``, in 10^9."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9


def peak_memory(work: Callable[[], object]) -> float:
    """Return by how much ``work`` raises the memory of this process at most, GB (10^9 bytes).

    Measured from the system's own high-water mark, so in a process of its own; Linux only.
    """
    before = _memory("VmRSS")
    work()
    return (_memory("VmHWM") - before) / 1e9


def _memory(name: str) -> int:
    # Not getrusage: its mark of a child process begins at its parent's.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def in_child(work: Callable[..., T], setup: Setup, *arguments: object) -> T:
    """Run ``work(setup, *arguments)`` in a fresh process with the allocator that is asked for."""
    with (
        _environment(MALLOC[setup.malloc]),
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
    ):
        return pool.submit(_begin, work, setup, *arguments).result()


def _begin(work: Callable[..., T], setup: Setup, *arguments: object) -> T:
    torch.set_num_threads(setup.threads)
    torch.manual_seed(0)
    return work(setup, *arguments)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    kept = {name: os.environ.get(name) for name in MALLOC["tuned"]}
    for name in kept:
        os.environ.pop(name, None)
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def progress(text: str) -> None:
    """Say what goes on, beside the output."""
    print(text, file=sys.stderr, flush=True)
