"""How exactly the matrix products of a fit are computed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["float32", "tf32", "bf16"]


@contextmanager
def matmul_precision(precision: Precision, device: str) -> Iterator[None]:
    """Let the matrix products of the block, and their gradients, be of a precision.

    Sums, activations and what is kept between products stay float32.

    Args:
        precision: float32: all 23 bits of a mantissa, whatever the user has set; tf32: 10 bits
            within a product, where a GPU can; bf16: factors and products have 7.
        device: where tensors lie, such as cpu or cuda.
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
    """Let the products of the block be float32, whatever surrounds it.

    For what is in millimetres: 7 bits of a coordinate of 1 m are good for 4 mm.
    """
    with matmul_precision("float32", str(device)):
        yield


def float32_matmul(left: Tensor, right: Tensor) -> Tensor:
    """Return the matrix product in the precision of ``right``, whatever surrounds it."""
    with float32_products(left.device):
        return left.to(right.dtype) @ right
