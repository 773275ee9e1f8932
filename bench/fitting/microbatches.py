"""Parallel micro-batches on a CPU: two workers, each with half of torch's threads.

Threads that split every operation between them synchronise thousands of times a step: if another
process occupies one of two cores, a step takes up to ten times as long. Workers synchronise only
where a micro-batch ends.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

PARALLEL = 2
"""Number of workers."""


def map_parallel(
    work: Callable[[Item], Result], items: Sequence[Item], device: torch.device
) -> Iterator[Result]:
    """Yield ``work(item)`` for each item, in order, computed by parallel workers.

    Without workers, one after the other, on a GPU or where torch has a single thread. Settings
    that torch keeps per thread, such as whether gradients are recorded or autocast is on, have
    their defaults in a worker. An exception in ``work`` is raised here and cancels later items.

    Args:
        work: called with one item at a time, possibly in another thread.
        items: the arguments of ``work``.
        device: the device that ``work`` computes on.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or min(threads, len(items)) < PARALLEL:
        yield from map(work, items)
        return
    share = threads // PARALLEL
    pool = ThreadPoolExecutor(PARALLEL, "micro-batch", torch.set_num_threads, (share,))
    try:
        # In this thread too, so that its own work does not wait for cores that workers keep busy.
        torch.set_num_threads(share)
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def micro_batch_count(least: int, items: int) -> int:
    """Return how many micro-batches to make of ``items`` so that no worker is left idle.

    At least ``least`` and at most ``items``. The count does not depend on the number of threads,
    since each micro-batch has its own random draws.
    """
    return least if least == 1 else min(items, PARALLEL * math.ceil(least / PARALLEL))


class OrderedTurns:
    """Serialises one section of the workers' code, in the order of the micro-batches.

    Random draws within the section are then the same as with a single worker.
    """

    def __init__(self) -> None:
        self._next = 0
        self._changed = Condition()

    @contextmanager
    def take(self, number: int) -> Iterator[None]:
        """Wait until every micro-batch before ``number``, counted from 0, has had its turn."""
        with self._changed:
            self._changed.wait_for(lambda: self._next == number)
        try:
            yield
        finally:
            with self._changed:
                self._next += 1
                self._changed.notify_all()
