"""Graph convolutions with learnt adjacency (HG-VAE, sec. 4.3, eqs. 2 and 3).

Graphs are ``(node, window, feature)``. In this layout the product over nodes, ``S A``, is one
matrix product with windows and features as columns, and the product over features, ``A W``, is
one with nodes and windows as rows: no batched small products and no copies.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

# Which term of eq. 3 alpha weights: the input, as the paper writes it, or the branch, as in ReZero,
# which the paper cites for it and its published code does.
Residual = Literal["input", "branch"]

# A gelu of N(0, 1) has second moment 0.425; without this gain a deep stack loses its signal.
GELU_GAIN = 0.425**-0.5


class GCL(nn.Module):
    """Graph convolutional layer: ``gelu(S A W + b)``, or ``S A W + b`` as a linear head (eq. 2).

    Args:
        nodes: (in, out) number of nodes.
        features: (in, out) number of features of a node.
        activation: whether to apply the gelu; heads of a distribution must not.
    """

    def __init__(
        self, nodes: tuple[int, int], features: tuple[int, int], activation: bool = True
    ) -> None:
        super().__init__()
        nodes_in, nodes_out = nodes
        features_in, features_out = features
        S = torch.randn(nodes_out, nodes_in) / math.sqrt(nodes_in)
        if nodes_in == nodes_out:
            # A joint's own features come first; what its neighbours add is learnt from there.
            S = torch.eye(nodes_in) + 0.1 * S
        self.S = nn.Parameter(S)
        gain = GELU_GAIN if activation else 1.0
        self.W = nn.Parameter(
            gain * torch.randn(features_in, features_out) / math.sqrt(features_in)
        )
        self.b = nn.Parameter(torch.zeros(nodes_out, features_out))
        self.activation = activation
        # The smaller of the two possible middle results makes the cheaper order of products.
        self.nodes_first = nodes_out * features_in * (nodes_in + features_out) <= (
            nodes_in * features_out * (features_in + nodes_out)
        )

    def forward(self, A: Tensor) -> Tensor:
        """Map ``(nodes in, window, features in)`` to ``(nodes out, window, features out)``."""
        if self.nodes_first:
            product = _over_nodes(self.S, A) @ self.W
        else:
            product = _over_nodes(self.S, A @ self.W)
        product = product + self.b[:, None]
        return gelu(product) if self.activation else product


class GCB(nn.Module):
    """Graph convolutional block of two layers and a residual connection (eq. 3).

    ``gelu(S2 gelu(S1 A W1 + b1) W2 + b2) + alpha A`` with a learnable alpha, 0 at first; or, with
    ``residual="branch"``, ``alpha gelu(...) + A``, which is the identity at first.
    """

    def __init__(self, nodes: int, features: int, residual: Residual = "input") -> None:
        super().__init__()
        self.residual = residual
        self.first = GCL((nodes, nodes), (features, features))
        self.second = GCL((nodes, nodes), (features, features))
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, A: Tensor) -> Tensor:
        """Map a graph to one of the same shape, ``(node, window, feature)``."""
        branch = self.second(self.first(A))
        if self.residual == "input":
            return torch.addcmul(branch, self.alpha, A)
        return torch.addcmul(A, self.alpha, branch)


def _over_nodes(S: Tensor, A: Tensor) -> Tensor:
    """Return ``S A`` for every window and feature as one matrix product."""
    return (S @ A.reshape(A.shape[0], -1)).reshape(S.shape[0], *A.shape[1:])
