"""What a job costs: its time, and how much memory it takes at its peak."""

import ctypes
import sys
import time
from functools import cache
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""What resets VmHWM if it is written to ``_CLEAR`` (proc(5))."""


class Meter:
    """Measures a block: ``with Meter(device) as meter: ...``.

    Attributes:
        seconds: how long it took; until it has ended, 0.
        memory: MiB by which memory at its peak exceeded that at the beginning. On a GPU it is
            what torch allocated there. Otherwise it is the resident memory of this process alone,
            which includes what was read of memory-mapped files; None if this system does not
            tell (it has to be Linux, and to let a process reset its peak).
    """

    def __init__(self, device: str) -> None:
        self.seconds = 0.0
        self.memory: float | None = None
        self._cuda = device.startswith("cuda")

    def __enter__(self) -> "Meter":
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
            self._before: float | None = torch.cuda.memory_allocated() / 2**20
        else:
            self._before = _resident_from_now()
        self._begun = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._begun
        if self._before is not None:
            peak = torch.cuda.max_memory_allocated() / 2**20 if self._cuda else _status("VmHWM")
            self.memory = max(0.0, peak - self._before)


def _resident_from_now() -> float | None:
    """Reset the peak of this process to what is resident now, MiB, and return it; None if not."""
    # Memory that an earlier job freed, but this process kept, would hide that this job needs it.
    _trim()
    try:
        _CLEAR.write_text(_RESET_PEAK)
        return _status("VmRSS")
    except OSError:
        return None


def _status(name: str) -> float:
    """Return an entry of this process's status in MiB."""
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


@cache
def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform.startswith("linux") else None


def _trim() -> None:
    """Return freed memory to the system, if the C library can (glibc)."""
    trim = getattr(_libc(), "malloc_trim", None)
    if trim is not None:
        trim(0)
