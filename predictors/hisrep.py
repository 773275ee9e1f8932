"""HisRepItself: Mao et al., History Repeats Itself (ECCV 2020)."""

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.fitting.precision import float32_matmul, float32_products
from bench.motion import MotionSpec, dct_matrix, from_nodes, to_nodes
from predictors.base import METRE, TrainedPredictor
from predictors.gcn import GCNSettings, ResidualGCN


class HisRepItself(TrainedPredictor):
    """Attention over like pieces of the past, then LTD's graph network (ECCV 2020)."""

    name = "hisrep"
    published_parameters: ClassVar[float] = 3.24e6

    class Settings(GCNSettings):
        """The network's size, and how to fit; the defaults are those of the released code.

        For Human3.6M it foretells 10 frames at a time (``step: 10``), for AMASS all 25.
        """

        kernel: int = Field(10, ge=2, description="frames that are compared with the past's last")
        dropout: float = Field(0.3, ge=0, lt=1)
        batch_size: int = Field(32, ge=2)
        learning_rate_decay: float = Field(0.1, gt=0, le=1)
        gradient_clip: float = Field(1e4, gt=0)

    settings: Settings
    dct: Tensor

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        options = self.settings
        self.overlap = options.kernel
        self.piece = options.kernel + self.step
        if self.past < self.piece:
            raise ValueError(
                f"kernel and step are {self.piece} frames, and its past has {self.past}: it looks "
                "there for what followed; a longer past or a smaller step can be had"
            )
        basis = torch.tensor(dct_matrix(self.piece), dtype=torch.float32)
        self.register_buffer("dct", basis, persistent=False)
        self.query, self.key = (
            _convolutions(spec.nodes, options.width, options.kernel) for _ in range(2)
        )
        self.gcn = ResidualGCN(
            spec.nodes, 2 * self.piece, options.width, options.blocks, options.dropout
        )

    def extrapolate(self, history: Tensor) -> Tensor:
        """Return the last ``kernel`` frames again and the next ``step``."""
        unseen = max(0, self.spec.frames - self.past)
        nodes = to_nodes(history[:, unseen:])
        last = nodes[..., -self.overlap :]
        padded = torch.cat([last, last[..., -1:].expand(-1, -1, self.step)], dim=-1)
        both = [float32_matmul(part, self.dct.T) for part in (padded, self._attend(nodes))]
        coefficients = self.gcn(torch.cat(both, dim=-1))[..., : self.piece]
        return from_nodes(float32_matmul(coefficients, self.dct))

    def _attend(self, nodes: Tensor) -> Tensor:
        """Return the past's pieces, ``(node, window, frame)``, weighted by likeness (eqs. 2, 3).

        A piece's key is made of its first ``kernel`` frames, so its weight tells how like them the
        last frames seen are.
        """
        metres = nodes.transpose(0, 1) / METRE
        keys = self.key(metres[..., : -self.step])
        likeness = (self.query(metres[..., -self.overlap :]) * keys).sum(dim=1) + 1e-15
        weight = likeness / likeness.sum(dim=1, keepdim=True)
        pieces = nodes.unfold(-1, self.piece, 1)
        with float32_products(nodes.device):
            return torch.einsum("bp,nbpf->nbf", weight.to(pieces), pieces)


def _convolutions(nodes: int, width: int, kernel: int) -> nn.Sequential:
    """Return two convolutions over time that together see ``kernel`` frames."""
    first = kernel // 2 + 1
    return nn.Sequential(
        nn.Conv1d(nodes, width, first, bias=False),
        nn.ReLU(),
        nn.Conv1d(width, width, kernel - first + 1, bias=False),
        nn.ReLU(),
    )
