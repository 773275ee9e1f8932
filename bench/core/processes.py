"""Processes beside this one, for work that needs little to begin with and takes long."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from bench.core import registry

Given = ParamSpec("Given")
Found = TypeVar("Found")

MOST = 4
"""Processes, at most: each holds a copy of what it works on."""


@dataclass(frozen=True)
class Beside:
    """Processes that work beside this one; without a pool, this one does all work itself."""

    pool: ProcessPoolExecutor | None = None

    def submit(
        self, function: Callable[Given, Found], *given: Given.args, **named: Given.kwargs
    ) -> Callable[[], Found]:
        """Begin to call a function of a module; return what waits for its result.

        Without a pool the function is called when its result is asked for, and again where a
        process was killed before it had one.
        """
        here = partial(function, *given, **named)
        if self.pool is None:
            return here
        try:
            future = self.pool.submit(here)
        except BrokenProcessPool:
            return here

        def result() -> Found:
            try:
                return future.result()
            except BrokenProcessPool:
                return here()

        return result


ALONE = Beside()


@contextmanager
def beside(modules: Sequence[str]) -> Iterator[Beside]:
    """Start processes that have imported some modules, one for each processor.

    Where there is one processor, or no fork server, there are none. An interrupt reaches this
    process alone, and ends the others.
    """
    count = min(os.cpu_count() or 1, MOST)
    if count < 2 or "forkserver" not in multiprocessing.get_all_start_methods():
        yield ALONE
        return
    context: Any = multiprocessing.get_context("forkserver")
    # It imports while this process goes on; a fork server that runs already has its own modules.
    context.set_forkserver_preload(list(modules))
    forkserver.ensure_running()
    pool = ProcessPoolExecutor(count, context, _prepare, (tuple(registry.plugins().values()),))
    try:
        yield Beside(pool)
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(plugins: Sequence[Path]) -> None:
    """Load the user's plugins, whose classes a protocol has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for path in plugins:
        registry.load_plugin(path)
