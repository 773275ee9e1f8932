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
    """Motion attention over similar sub-sequences of the past, then LTD's network (ECCV 2020)."""

    name = "hisrep"
    published_parameters: ClassVar[float] = 3.24e6

    class Settings(GCNSettings):
        """Size of the network, and how to fit; the defaults are those of the released code.

        It predicts 10 frames at a time for Human3.6M (``step: 10``), all 25 for AMASS.
        """

        kernel: int = Field(10, ge=2, description="frames of a key, and of the query")
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
                f"kernel and step are {self.piece} frames together, but past has only {self.past}: "
                "use a longer past or a smaller step"
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
        """Reconstruct the last ``kernel`` frames and predict the next ``step``.

        Shape ``(window, kernel + step, joint, 3)``, mm.
        """
        unused = max(0, self.spec.frames - self.past)
        nodes = to_nodes(history[:, unused:])
        last = nodes[..., -self.overlap :]
        padded = torch.cat([last, last[..., -1:].expand(-1, -1, self.step)], dim=-1)
        inputs = [float32_matmul(part, self.dct.T) for part in (padded, self._attend(nodes))]
        coefficients = self.gcn(torch.cat(inputs, dim=-1))[..., : self.piece]
        return from_nodes(float32_matmul(coefficients, self.dct))

    def _attend(self, nodes: Tensor) -> Tensor:
        """Return the attention-weighted sum of sub-sequences (eqs. 2 and 3).

        The key of a sub-sequence is computed from its first ``kernel`` frames, the query from the
        last ``kernel`` frames of the past.

        Args:
            nodes: ``(node, window, frame)``, mm.

        Returns:
            ``(node, window, kernel + step)``, mm.
        """
        metres = nodes.transpose(0, 1) / METRE
        keys = self.key(metres[..., : -self.step])
        similarity = (self.query(metres[..., -self.overlap :]) * keys).sum(dim=1) + 1e-15
        weight = similarity / similarity.sum(dim=1, keepdim=True)
        pieces = nodes.unfold(-1, self.piece, 1)
        with float32_products(nodes.device):
            return torch.einsum("bp,nbpf->nbf", weight.to(pieces), pieces)


def _convolutions(nodes: int, width: int, kernel: int) -> nn.Sequential:
    """Return two convolutions over time with a receptive field of ``kernel`` frames."""
    first = kernel // 2 + 1
    return nn.Sequential(
        nn.Conv1d(nodes, width, first, bias=False),
        nn.ReLU(),
        nn.Conv1d(width, width, kernel - first + 1, bias=False),
        nn.ReLU(),
    )
