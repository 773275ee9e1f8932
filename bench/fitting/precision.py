"""The precision of the matrix products of a fit."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["float32", "tf32", "bf16"]


@contextmanager
def matmul_precision(precision: Precision, device: str) -> Iterator[None]:
    """Compute the matrix products of the block, and their gradients, in a given precision.

    Sums, activations and stored values stay float32.

    Args:
        precision: ``float32``: 23 mantissa bits, whatever torch's global setting; ``tf32``: 10
            mantissa bits within a product, on GPUs that support it; ``bf16``: factors and
            products have 7 (autocast).
        device: device of the tensors, such as ``cpu`` or ``cuda``.
    """
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
