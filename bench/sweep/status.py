"""The status of each job of a sweep, on disk while it runs and after.

The worker that runs a job writes ``status/<key>.json`` when the job begins and when it ends. It
holds the job's lock, which the operating system releases if the process dies: a job that is
``running`` but not locked was left by a worker that died.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from bench.core.files import atomic_file, writing

State = Literal["waiting", "running", "done", "failed", "skipped"]
WAIT = 0.5
"""Seconds between two calls of ``waiting`` while another process holds a lock."""


@dataclass(frozen=True)
class Status:
    """The status of a job.

    Attributes:
        key: of the job.
        title: the job's name in messages.
        status: ``running``, ``done``, ``failed``, ``skipped`` because a job or a library that it
            needs is missing, or ``waiting``, which is never stored.
        since: when it began, seconds since 1970.
        host: the machine that runs or ran it.
        pid: the worker's process on that machine.
        attempt: 1, plus one for each worker that died while running it.
        limit: timeout in seconds, after which its worker exits; None for no timeout.
        seconds: how long it computed; of a failure, the time until then.
        memory: MiB that it took at its peak (``costs.Meter``); None if unknown.
        error: why it failed or was skipped; of a running one, why the last worker died, if known.
        trace: the traceback of a failure.
    """

    key: str
    title: str
    status: State
    since: float = 0.0
    host: str = ""
    pid: int = 0
    attempt: int = 1
    limit: float | None = None
    seconds: float = 0.0
    memory: float | None = None
    error: str = ""
    trace: str = ""


@dataclass(frozen=True)
class Statuses:
    """Reads, writes and locks the statuses in one folder."""

    folder: Path

    def read(self, key: str) -> Status | None:
        """Return a job's status; None if the job has not begun, or the file is not readable."""
        try:
            return Status(**json.loads(self._path(key).read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            # Another version may have written other fields.
            return None

    def write(self, status: Status) -> None:
        """Store a job's status."""
        with atomic_file(self._path(status.key)) as temporary:
            temporary.write_text(json.dumps(asdict(status)), encoding="utf-8")
        if status.status != "running":
            self._progress(status.key).unlink(missing_ok=True)

    def forget(self, key: str) -> None:
        """Delete a job's status, as if it had not begun."""
        with writing(self._path(key)):
            self._path(key).unlink(missing_ok=True)
            self._progress(key).unlink(missing_ok=True)

    def timeout_trace(self, key: str) -> Path:
        """Return the file where a worker that exits at a timeout leaves its traceback."""
        return self.folder / f"{key}.trace"

    def write_progress(self, key: str, progress: dict[str, Any]) -> None:
        """Store the progress of a running fit, as plain values."""
        with atomic_file(self._progress(key)) as temporary:
            temporary.write_text(json.dumps(progress), encoding="utf-8")

    def read_progress(self, key: str) -> dict[str, Any] | None:
        """Return the last progress of a running fit; None where there is none."""
        try:
            return json.loads(self._progress(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    @contextmanager
    def lock(self, key: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Lock a job for the block; call ``waiting`` regularly while another process holds it."""
        while True:
            with self._acquire(key, WAIT) as locked:
                if locked:
                    yield
                    return
            waiting()

    @contextmanager
    def try_lock(self, key: str) -> Iterator[bool]:
        """Lock a job for the block unless another process holds it; yield whether it is locked."""
        with self._acquire(key, 0) as locked:
            yield locked

    def is_free(self, key: str) -> bool:
        """Return whether no process holds a job's lock now."""
        with self.try_lock(key) as locked:
            return locked

    @contextmanager
    def _acquire(self, key: str, timeout: float) -> Iterator[bool]:
        """Try for some seconds to lock a job; yield whether it is locked."""
        path = self.folder / "locks" / key
        lock = FileLock(path)
        with writing(path), suppress(Timeout):
            lock.acquire(timeout=timeout)
        try:
            yield lock.is_locked
        finally:
            if lock.is_locked:
                # A process that waits for the lock creates the file again.
                path.unlink(missing_ok=True)
                lock.release()

    def _progress(self, key: str) -> Path:
        return self.folder / f"{key}.progress"

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def now() -> float:
    """Return seconds since 1970, to a millisecond."""
    return round(time.time(), 3)
