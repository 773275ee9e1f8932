"""How each job of a sweep stands, on disk while it runs and after.

``status/<key>.json`` says it, written by whoever does the job the moment that it begins or ends.
Who does a job holds its lock, which its process's death frees: a job that is ``running`` and not
locked was left by a worker that died.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from bench.core.files import atomic_file, writing

State = Literal["waiting", "running", "done", "failed", "skipped"]
WAIT = 0.5


@dataclass(frozen=True)
class Status:
    """How a job stands.

    Attributes:
        key: of the job.
        title: its name for messages.
        status: ``running``, ``done``, ``failed``, ``skipped`` for want of what it needs, or
            ``waiting``, which is not kept.
        since: when it began, seconds since 1970.
        host: the machine that does or did it.
        pid: the process there.
        attempt: 1, and one more for each worker that died at it.
        limit: seconds after which its worker ends itself; None: never.
        seconds: how long it computed; of a failure, how long it took.
        error: why it failed or was skipped; of one running, why the last worker died, if known.
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
    error: str = ""
    trace: str = ""


@dataclass(frozen=True)
class Statuses:
    """The statuses in one folder."""

    folder: Path

    def read(self, key: str) -> Status | None:
        """Return how a job stands; None if nobody has begun it."""
        try:
            return Status(**json.loads(self._path(key).read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            # What another version wrote says nothing.
            return None

    def write(self, status: Status) -> None:
        """Keep how a job stands."""
        with atomic_file(self._path(status.key)) as draft:
            draft.write_text(json.dumps(asdict(status)), encoding="utf-8")

    def forget(self, key: str) -> None:
        """Make a job one that nobody has begun."""
        with writing(self._path(key)):
            self._path(key).unlink(missing_ok=True)

    def last_words(self, key: str) -> Path:
        """Where a worker that ends itself at a limit leaves the traceback of what it was doing."""
        return self.folder / f"{key}.trace"

    @contextmanager
    def held(self, key: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold a job; call ``waiting`` now and then while another process holds it."""
        while True:
            with self._lock(key, WAIT) as got:
                if got:
                    yield
                    return
            waiting()

    @contextmanager
    def if_free(self, key: str) -> Iterator[bool]:
        """Hold a job unless another process does it; give whether that is so."""
        with self._lock(key, 0) as got:
            yield got

    def free(self, key: str) -> bool:
        """Return whether no process does a job now."""
        with self.if_free(key) as free:
            return free

    @contextmanager
    def _lock(self, key: str, seconds: float) -> Iterator[bool]:
        """Try for some seconds to hold a job; give whether that came about."""
        path = self.folder / "locks" / key
        lock = FileLock(path)
        with writing(path), suppress(Timeout):
            lock.acquire(timeout=seconds)
        try:
            yield lock.is_locked
        finally:
            if lock.is_locked:
                # Whoever waits for a lock whose file is gone makes it anew.
                path.unlink(missing_ok=True)
                lock.release()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def now() -> float:
    """Return seconds since 1970, to a millisecond."""
    return round(time.time(), 3)
