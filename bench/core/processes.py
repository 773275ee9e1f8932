"""Processes beside this one, for work that needs little to begin with and takes long."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from bench.core import registry

Given = ParamSpec("Given")
Found = TypeVar("Found")

MOST = 4
"""Processes, at most: each holds a copy of what it works on."""
SAFE_PATH = "PYTHONSAFEPATH"
"""The variable that keeps Python from importing what lies where it was started."""


def available_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def imports_its_parents_script() -> bool:
    """Return whether this is a worker process that is still importing its parent's main script."""
    # Python checks the same attribute to prevent such a process from starting others.
    return getattr(multiprocessing.current_process(), "_inheriting", False)


@dataclass(frozen=True)
class Beside:
    """Processes that work beside this one; without a pool, this one does all work itself."""

    pool: ProcessPoolExecutor | None = None

    def submit(
        self, function: Callable[Given, Found], *given: Given.args, **named: Given.kwargs
    ) -> Callable[[], Found]:
        """Begin to call a function of a module; return what waits for its result.

        Without a pool the function is called when its result is asked for, and so it is where a
        process cannot be started, or was killed before it had the result.
        """
        work = partial(function, *given, **named)
        if self.pool is None:
            return work
        try:
            future = self.pool.submit(work)
        except (BrokenProcessPool, OSError, EOFError):
            return partial(_here, work)

        def result() -> Found:
            try:
                return future.result()
            except BrokenProcessPool:
                return _here(work)

        return result


ALONE = Beside()


def _here(work: Callable[[], Found]) -> Found:
    """Do what no other process did."""
    return work()


@contextmanager
def beside(modules: Sequence[str]) -> Iterator[Beside]:
    """Start processes that have imported some modules: one for each CPU, at most ``MOST``.

    Where there is one CPU, no fork server, or no way to start it, there are none. An interrupt
    reaches this process alone, and ends the others, and so does its own end.
    """
    if imports_its_parents_script():
        # That script has no main guard, and its parent does the work.
        sys.exit()
    pool = _pool(modules)
    try:
        yield Beside(pool)
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _pool(modules: Sequence[str]) -> ProcessPoolExecutor | None:
    count = min(available_cpus(), MOST)
    if count < 2 or "forkserver" not in multiprocessing.get_all_start_methods():
        return None
    try:
        return ProcessPoolExecutor(
            count, fork_server(modules), _prepare, (tuple(registry.plugins().values()),)
        )
    except OSError:
        return None


def fork_server(modules: Sequence[str]) -> Any:
    """Return a multiprocessing context with a fork server that has imported some modules.

    It imports them while this process goes on; one that runs already has its own modules.

    Raises:
        OSError: the system does not let it start.
    """
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        with _ignoring_interrupts():
            forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before
    return context


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Ignore interrupts for the block, and in the processes that it starts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _prepare(plugins: Sequence[Path]) -> None:
    """Load the user's plugins, whose classes a protocol has."""
    end_with_parent()
    for path in plugins:
        registry.load_plugin(path)


def end_with_parent() -> None:
    """Have this child process ignore interrupts, and end when its parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_the_parent, daemon=True).start()


def _wait_for_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
