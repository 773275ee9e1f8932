"""Two parts of a batch at once on a CPU, each with half of torch's threads.

Threads that share every operation wait for each other at every one, thousands of times a step:
where a neighbour takes one of two cores for a while, a step takes up to ten times as long. Lanes
meet only where a part ends.
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


def map_parallel(
    work: Callable[[Item], Result], items: Sequence[Item], device: torch.device
) -> Iterator[Result]:
    """Yield ``work(item)`` of each item, in their order.

    On a GPU, or where torch has a single thread, one after the other. What torch keeps for each
    thread, such as whether it records gradients, is as at a thread's start in a lane.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or min(threads, len(items)) < PARALLEL:
        yield from map(work, items)
        return
    share = threads // PARALLEL
    pool = ThreadPoolExecutor(PARALLEL, "lane", torch.set_num_threads, (share,))
    try:
        # Also of this thread, whose own work is not to wait for threads that the lanes keep busy.
        torch.set_num_threads(share)
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def even_parts(count: int, items: int) -> int:
    """Return how many parts to make of ``items`` so that no lane is left over, ``count`` or more.

    The same with one thread as with many, since draws are by part.
    """
    return count if count == 1 else min(items, PARALLEL * math.ceil(count / PARALLEL))


class OrderedTurns:
    """Lets lanes do one piece of their work in the order of the parts.

    So what draws from torch's generator draws as it would with a single lane.
    """

    def __init__(self) -> None:
        self._next = 0
        self._changed = Condition()

    @contextmanager
    def take(self, number: int) -> Iterator[None]:
        """Wait until all parts before ``number``, counted from 0, have had their turn."""
        with self._changed:
            self._changed.wait_for(lambda: self._next == number)
        try:
            yield
        finally:
            with self._changed:
                self._next += 1
                self._changed.notify_all()
