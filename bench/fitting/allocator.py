"""The memory allocator: keep freed memory for the next array."""

import ctypes
import sys
from functools import cache

# From glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
KEPT = 2**30
"""Bytes of freed memory that a process may keep."""


@cache
def retain_freed_memory() -> None:
    """Let glibc keep freed memory, up to 1 GiB, for the next array.

    By default it returns large blocks to the system at once, so every new one costs a page fault
    per page: a tenth of a paper-size train step or more. Does nothing except on Linux with glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        # glibc accepts thresholds up to 32 MiB.
        mallopt(_MMAP_THRESHOLD, 2**25)
        mallopt(_TRIM_THRESHOLD, KEPT)
        mallopt(_TOP_PAD, 2**26)
