"""How freed memory is kept for the next array."""

import ctypes
import sys
from functools import cache

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
KEPT = 2**30
"""Bytes of freed memory that a process may keep."""


@cache
def retain_freed_memory() -> None:
    """Let glibc keep what is freed, up to a GiB, for the next array.

    It gives large blocks back to the system at once, and every new one then costs a page fault per
    page: a tenth of a paper-size train step and more. Elsewhere than on Linux with glibc, nothing
    is done.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        # glibc takes no larger threshold than 32 MiB.
        mallopt(_MMAP_THRESHOLD, 2**25)
        mallopt(_TRIM_THRESHOLD, KEPT)
        mallopt(_TOP_PAD, 2**26)
