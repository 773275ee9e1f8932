"""float32 matrix products on a CPU by the faster of two libraries.

torch multiplies float32 matrices with MKL, which uses the widest vectors of Intel's processors
only; on others oneDNN, which torch brings along for convolutions, is up to two and a half times as
fast, and thin products gain more. On Intel's own it is slower, by half where the left factor is
transposed. It is float32 either way.
"""

import platform
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import register_flop_formula


def _is_intel() -> bool:
    """Return whether the processor is one of Intel's."""
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return "GenuineIntel" in platform.processor()


ONEDNN = not _is_intel()
"""Whether oneDNN is the faster one: a fact of the machine, so that a run repeats to the bit."""
_LINEAR: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
FEWEST = 8
"""Rows or columns of a result below which oneDNN's kernels have nothing to share out."""
CACHED_WINDOWS = 64
"""Windows of which a paper-size network's activations stay in a processor's cache."""


def matmul(left: Tensor, right: Tensor) -> Tensor:
    """Return the matrix product of ``(row, inner)`` and ``(inner, column)``, differentiable once.

    By oneDNN where that is the faster one and can have it (type, device, no autocast), else by
    torch's own.
    """
    if not (ONEDNN and onednn_applies(left, right)):
        return left @ right
    return _Product.apply(left, right)


def onednn_applies(left: Tensor, right: Tensor) -> bool:
    """Return whether oneDNN can multiply these two."""
    return (
        _LINEAR is not None
        and left.device.type == right.device.type == "cpu"
        and left.dtype == right.dtype == torch.float32
        and min(left.shape[0], right.shape[1]) >= FEWEST
        and torch.backends.mkldnn.is_available()
        and not torch.is_autocast_enabled("cpu")
    )


def _multiply(left: Tensor, right: Tensor) -> Tensor:
    return _LINEAR(left, right.T, None, "none", [], "")


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        return _multiply(left, right)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        left, right = ctx.saved_tensors
        for_left, for_right = ctx.needs_input_grad
        # That of a sum is one number over and over, for which oneDNN has slow kernels alone.
        gradient = gradient.contiguous()
        return (
            matmul(gradient, right.T) if for_left else None,
            matmul(left.T, gradient) if for_right else None,
        )


if _LINEAR is not None:

    @register_flop_formula(_LINEAR)
    def _operations(left: Any, right: Any, *rest: Any, out_shape: Any = None, **more: Any) -> int:
        """Count a multiplication and an addition for each term, as for torch's own products."""
        return 2 * left[0] * left[1] * right[0]
