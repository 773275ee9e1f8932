"""float32 matrix products on a CPU by the faster of two libraries, MKL and oneDNN.

torch multiplies float32 matrices with MKL, which uses the widest vector instructions on Intel
processors only. On others oneDNN, which torch ships for convolutions, is up to two and a half times
as fast, and more for thin matrices. On Intel processors it is slower, by half where the left factor
is transposed. Both compute in float32.
"""

import platform
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import register_flop_formula


def _is_intel() -> bool:
    """Return whether the processor is an Intel one."""
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return "GenuineIntel" in platform.processor()


ONEDNN = not _is_intel()
"""Whether to use oneDNN: decided by the processor, not by timing, so that runs repeat exactly."""
_LINEAR: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
MIN_SIZE = 8
"""Fewest rows and columns of a result for which oneDNN's kernels run in parallel."""
CACHED_WINDOWS = 64
"""Most windows for which a paper-size network's activations stay in a processor's cache."""


def matmul(left: Tensor, right: Tensor) -> Tensor:
    """Return the matrix product of ``(row, inner)`` and ``(inner, column)``, differentiable once.

    Uses oneDNN where that is faster and applicable (see ``onednn_applies``), else torch's ``@``.
    """
    if not (ONEDNN and onednn_applies(left, right)):
        return left @ right
    return _Product.apply(left, right)


def onednn_applies(left: Tensor, right: Tensor) -> bool:
    """Return whether oneDNN can multiply two matrices: float32 on a CPU, no autocast, not tiny."""
    return (
        _LINEAR is not None
        and left.device.type == right.device.type == "cpu"
        and left.dtype == right.dtype == torch.float32
        and min(left.shape[0], right.shape[1]) >= MIN_SIZE
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
        needs_left, needs_right = ctx.needs_input_grad
        # The gradient of a sum is an expanded scalar, for which oneDNN has only slow kernels.
        gradient = gradient.contiguous()
        return (
            matmul(gradient, right.T) if needs_left else None,
            matmul(left.T, gradient) if needs_right else None,
        )


if _LINEAR is not None:

    @register_flop_formula(_LINEAR)
    def _operations(left: Any, right: Any, *rest: Any, out_shape: Any = None, **more: Any) -> int:
        """Return the FLOPs: a multiplication and an addition per term, as torch counts them."""
        return 2 * left[0] * left[1] * right[0]
