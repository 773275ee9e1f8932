"""LTD: Mao et al., Learning Trajectory Dependencies for Human Motion Prediction (ICCV 2019)."""

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bench.fitting.precision import float32_matmul
from bench.motion import MotionSpec, dct_matrix, from_nodes, to_nodes
from predictors.base import TrainedPredictor
from predictors.gcn import GCNSettings, ResidualGCN


class LTD(TrainedPredictor):
    """Graph network on the DCT of the past, padded by repeating its last frame (ICCV 2019)."""

    name = "ltd"
    published_parameters: ClassVar[float] = 2.56e6

    class Settings(GCNSettings):
        """Size of the network, and how to fit; the defaults are those of the released code."""

        past: int | None = Field(10, ge=1, description="last frames that it observes; None: all")
        dropout: float = Field(0.5, ge=0, lt=1)
        batch_size: int = Field(16, ge=2)
        learning_rate_decay: float = Field(
            0.36, gt=0, le=1, description="0.96 every two epochs, 50 epochs"
        )
        gradient_clip: float = Field(1.0, gt=0)

    settings: Settings
    dct: Tensor

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        self.overlap = self.past
        frames = self.past + self.step
        options = self.settings
        basis = torch.tensor(dct_matrix(frames), dtype=torch.float32)
        self.register_buffer("dct", basis, persistent=False)
        self.gcn = ResidualGCN(spec.nodes, frames, options.width, options.blocks, options.dropout)

    def extrapolate(self, history: Tensor) -> Tensor:
        """Reconstruct the last ``past`` frames and predict the next ``step`` (secs. 3.1 and 3.2).

        Shape ``(window, past + step, joint, 3)``, mm.
        """
        past = history[:, -self.past :]
        padded = torch.cat([past, past[:, -1:].expand(-1, self.step, -1, -1)], dim=1)
        coefficients = self.gcn(float32_matmul(to_nodes(padded), self.dct.T))
        return from_nodes(float32_matmul(coefficients, self.dct))
