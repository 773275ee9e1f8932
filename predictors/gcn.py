"""The residual graph network over DCT coefficients that LTD and HisRepItself share."""

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from models.graph import GCL, Convolution, Style
from predictors.base import TrainedPredictor

LINEAR = Style(bias="feature", activation=False)


class GCNSettings(TrainedPredictor.Settings):
    """Settings that the released code of LTD and HisRepItself share."""

    width: int = Field(256, ge=1)
    blocks: int = Field(12, ge=0)
    epochs: int = Field(50, ge=1)
    micro_batch: int = Field(200, ge=2, description="batch statistics are per micro-batch")
    learning_rate: float = Field(5e-4, gt=0)


class ResidualGCN(nn.Module):
    """Graph convolutions with learnt adjacency and a global residual connection (LTD, sec. 3.2).

    Args:
        nodes: number of nodes of the graph.
        features: features per node of input and output.
        width: features per node of the hidden layers.
        blocks: number of residual blocks of two layers.
        dropout: share of activations dropped in training.
    """

    def __init__(self, nodes: int, features: int, width: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.enter = _Layer(nodes, features, width, dropout)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(_Layer(nodes, width, width, dropout) for _ in range(2)))
            for _ in range(blocks)
        )
        self.leave = GCL((nodes, nodes), (width, features), LINEAR)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(node, window, feature)`` to the same shape."""
        y = self.enter(x)
        for block in self.blocks:
            y = y + block(y)
        return x + self.leave(y)


class _Layer(nn.Module):
    """A graph convolution, batch normalisation of each feature of each node, tanh and dropout."""

    def __init__(self, nodes: int, below: int, above: int, dropout: float) -> None:
        super().__init__()
        # No bias: batch normalisation would cancel it.
        self.convolution = Convolution((nodes, nodes), (below, above))
        self.norm = nn.BatchNorm1d(nodes * above)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        # Windows first from here on: the operations below would copy any other memory layout.
        y = self.convolution(x).transpose(0, 1)
        # In place: batch normalisation saves its input for the gradient, not its output.
        y = self.norm(y.flatten(1)).tanh_().reshape(y.shape)
        return self.dropout(y).transpose(0, 1)


class Dropout(nn.Module):
    """Dropout by 16 random bits per entry.

    On a CPU, ``torch.nn.Dropout`` takes three times as long, a fifth of a train step.

    Args:
        p: share of entries dropped in training, rounded to 1 / 65536.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop entries and rescale the others by 1 / (1 - p); the identity in evaluation mode."""
        dropped = min(round(self.p * 2**16), 2**16 - 1)
        if not self.training or not dropped:
            return x
        words = torch.empty(math.ceil(x.numel() / 4), dtype=torch.int64, device=x.device)
        bits = words.random_(-(2**63), None).view(torch.int16)[: x.numel()].view(x.shape)
        # As integers 0 and 1: torch takes five times as long to convert booleans to floats.
        kept = bits.ge_(dropped - 2**15).to(x.dtype)
        return x * kept.mul_(2**16 / (2**16 - dropped))
