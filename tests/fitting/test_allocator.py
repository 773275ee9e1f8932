"""Freed memory is kept for the next array."""

import subprocess
import sys

import pytest

HALF_A_GB = """
import sys
import psutil
import torch
from bench.fitting.allocator import retain_freed_memory
if sys.argv[1] == "kept":
    retain_freed_memory()
before = psutil.Process().memory_info().rss
arrays = [torch.ones(2**21) for _ in range(64)]
del arrays
print(psutil.Process().memory_info().rss - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc's")
def test_freed_memory_is_kept() -> None:
    def left(how: str) -> int:
        command = [sys.executable, "-c", HALF_A_GB, how]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    assert left("kept") > 2**28
    assert left("given back") < 2**26
