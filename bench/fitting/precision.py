"""The precision of the matrix products of a fit."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["auto", "float32", "tf32", "bf16"]


@cache
def has_amx() -> bool:
    """Return whether the processor has units that multiply bf16 matrices (AMX)."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def chosen(precision: Precision, device: str) -> Precision:
    """Return what ``auto`` stands for on a device: bf16 on a processor with AMX, else float32.

    Decided by the processor, not by timing, so that runs repeat exactly.
    """
    if precision != "auto":
        return precision
    return "bf16" if torch.device(device).type == "cpu" and has_amx() else "float32"


@contextmanager
def matmul_precision(precision: Precision, device: str) -> Iterator[None]:
    """Compute the matrix products of the block, and their gradients, in a given precision.

    Sums, activations and stored values stay float32.

    Args:
        precision: ``float32``: 23 mantissa bits, whatever torch's global setting; ``tf32``: 10
            mantissa bits within a product, on GPUs that support it; ``bf16``: factors and
            products have 7 (autocast); ``auto``: as ``chosen`` says.
        device: device of the tensors, such as ``cpu`` or ``cuda``.
    """
    precision = chosen(precision, device)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        kind = torch.device(device).type
        with torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def float32_products(device: torch.device) -> Iterator[None]:
    """Compute the matrix products of the block in float32, whatever the surrounding precision.

    For values in millimetres: with 7 mantissa bits, a coordinate of 1 m is rounded to 4 mm.
    """
    with matmul_precision("float32", str(device)):
        yield


def float32_matmul(left: Tensor, right: Tensor) -> Tensor:
    """Return the matrix product in the dtype of ``right``, ignoring any surrounding autocast."""
    with float32_products(left.device):
        return left.to(right.dtype) @ right
