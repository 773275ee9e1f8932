"""Graph convolutions with learnt adjacency (HG-VAE, sec. 4.3, eqs. 2 and 3).

Graphs are ``(node, window, feature)``. In this layout the product over nodes, ``S A``, is one
matrix product with windows and features as columns, and the product over features, ``A W``, is
one with nodes and windows as rows: no batched small products and no copies.

Where MKL is used, graphs are stored with windows first in memory, in spite of their shape: MKL is
faster at one small product per window than at the thin product over nodes.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import gelu

from bench.fitting import matrix_products

Residual = Literal["input", "branch"]
Bias = Literal["node", "feature"]

# Initial log variances far from zero would dominate the first losses, through their exponential.
LOG_VAR_GAIN = 0.01

# gelu(x) of x ~ N(0, 1) has second moment 0.425; without this gain, signals fade in deep stacks.
GELU_GAIN = 0.425**-0.5


@dataclass(frozen=True)
class Style:
    """Variants of eqs. 2 and 3 where paper and published code differ; defaults as in the paper.

    Attributes:
        residual: which term of eq. 3 alpha multiplies: ``input``, as in the paper, or ``branch``,
            as in ReZero, which the paper cites, and in the published code.
        bias: whether b is per ``node`` and feature, as in the paper, or per ``feature`` only.
        activation: whether layers outside blocks have the gelu of eq. 2.
    """

    residual: Residual = "input"
    bias: Bias = "node"
    activation: bool = True


PAPER = Style()


class Convolution(nn.Module):
    """Graph convolution ``S A W``, in the cheaper order of the two products.

    Args:
        nodes: (in, out) number of nodes.
        features: (in, out) number of features of a node.
        gain: scale of the initial W; 1 keeps the variance of the input.
        S: ``(out, in)`` fixed adjacency, such as pooling by limbs; None to learn it.
    """

    S: Tensor

    def __init__(
        self,
        nodes: tuple[int, int],
        features: tuple[int, int],
        gain: float = 1.0,
        S: Tensor | None = None,
    ) -> None:
        super().__init__()
        nodes_in, nodes_out = nodes
        features_in, features_out = features
        if S is None:
            self.S = nn.Parameter(_initial_adjacency(nodes_in, nodes_out))
        else:
            self.register_buffer("S", S, persistent=False)
        self.W = nn.Parameter(
            gain * torch.randn(features_in, features_out) / math.sqrt(features_in)
        )
        # The order with fewer multiplications.
        self.nodes_first = nodes_out * features_in * (nodes_in + features_out) <= (
            nodes_in * features_out * (features_in + nodes_out)
        )

    def forward(self, A: Tensor) -> Tensor:
        """Map ``(nodes in, window, features in)`` to ``(nodes out, window, features out)``."""
        if self.nodes_first:
            return _over_features(_over_nodes(self.S, A), self.W)
        return _over_nodes(self.S, _over_features(A, self.W))


class GCL(Convolution):
    """Graph convolutional layer: ``gelu(S A W + b)``, or ``S A W + b`` without the gelu (eq. 2).

    Args:
        nodes: (in, out) number of nodes.
        features: (in, out) number of features of a node.
        style: which variant of the equation.
        head: whether it outputs a distribution's means and log variances, then without a gelu.
        S: ``(out, in)`` fixed adjacency; None to learn it.
    """

    def __init__(
        self,
        nodes: tuple[int, int],
        features: tuple[int, int],
        style: Style = PAPER,
        head: bool = False,
        S: Tensor | None = None,
    ) -> None:
        activation = style.activation and not head
        super().__init__(nodes, features, GELU_GAIN if activation else 1.0, S)
        self.activation = activation
        if head:
            self.W.data[:, features[1] // 2 :] *= LOG_VAR_GAIN
        rows = nodes[1] if style.bias == "node" else 1
        self.b = nn.Parameter(torch.zeros(rows, features[1]))

    def forward(self, A: Tensor) -> Tensor:
        """Map ``(nodes in, window, features in)`` to ``(nodes out, window, features out)``."""
        # Not in place: autograd would copy the gradient of a modified view.
        A = super().forward(A) + self.b[:, None]
        return _gelu(A) if self.activation else A


class GCB(nn.Module):
    """Graph convolutional block of two layers and a residual connection (eq. 3).

    ``gelu(S2 gelu(S1 A W1 + b1) W2 + b2) + alpha A`` with a learnable alpha, initially 0; or, with
    alpha on the branch, ``alpha gelu(...) + A``, initially the identity.
    """

    def __init__(self, nodes: int, features: int, style: Style = PAPER) -> None:
        super().__init__()
        self.residual = style.residual
        inner = replace(style, activation=True)
        self.first = GCL((nodes, nodes), (features, features), inner)
        self.second = GCL((nodes, nodes), (features, features), inner)
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, A: Tensor) -> Tensor:
        """Map a graph to one of the same shape, ``(node, window, feature)``."""
        branch = self.second(self.first(A))
        if self.residual == "input":
            return weighted_sum(branch, self.alpha, A)
        return weighted_sum(A, self.alpha, branch)


def weighted_sum(A: Tensor, weight: Tensor, B: Tensor) -> Tensor:
    """Return ``A + weight * B`` for a learnable scalar ``weight``."""
    return _WeightedSum.apply(A, weight, B)


class _WeightedSum(torch.autograd.Function):
    """Computes the weight's gradient as an inner product; torch would store every term first."""

    @staticmethod
    def forward(ctx: Any, A: Tensor, weight: Tensor, B: Tensor) -> Tensor:
        ctx.save_for_backward(weight, B)
        return torch.addcmul(A, weight, B)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, B = ctx.saved_tensors
        _, needs_weight, needs_B = ctx.needs_input_grad
        return (
            gradient,
            _inner(gradient, B) if needs_weight else None,
            weight * gradient if needs_B else None,
        )


def _initial_adjacency(nodes_in: int, nodes_out: int) -> Tensor:
    S = torch.randn(nodes_out, nodes_in) / math.sqrt(nodes_in)
    if nodes_in == nodes_out:
        # Near the identity: a node initially keeps mostly its own features.
        return torch.eye(nodes_in) + 0.1 * S
    return S


def _over_nodes(S: Tensor, A: Tensor) -> Tensor:
    """Return ``S A`` for every window and feature."""
    if A.device.type == "cpu" and not matrix_products.ONEDNN:
        windows = A.transpose(0, 1)
        return torch.bmm(S.expand(len(windows), -1, -1), windows).transpose(0, 1)
    return matrix_products.matmul(S, A.flatten(1)).unflatten(1, A.shape[1:])


def _over_features(A: Tensor, W: Tensor) -> Tensor:
    """Return ``A W`` for every node and window as one matrix product."""
    if _windows_first(A):
        return _over_features(A.transpose(0, 1), W).transpose(0, 1)
    return matrix_products.matmul(A.flatten(0, 1), W).unflatten(0, A.shape[:2])


def _gelu(A: Tensor) -> Tensor:
    # torch copies a tensor whose memory layout differs from its shape's order.
    return gelu(A.transpose(0, 1)).transpose(0, 1) if _windows_first(A) else gelu(A)


def _inner(A: Tensor, B: Tensor) -> Tensor:
    """Return the inner product of two graphs."""
    if _windows_first(A):
        A, B = A.transpose(0, 1), B.transpose(0, 1)
    return torch.dot(A.flatten(), B.flatten())


def _windows_first(A: Tensor) -> bool:
    """Return whether windows come before nodes in memory."""
    return not A.is_contiguous() and A.transpose(0, 1).is_contiguous()
