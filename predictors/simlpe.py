"""siMLPe: Guo et al., Back to MLP: A Simple Baseline for Human Motion Prediction (WACV 2023)."""

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.fitting.precision import float32_products
from bench.motion import MotionSpec, dct_matrix
from predictors.base import METRE, TrainedPredictor, position_error


class SiMLPe(TrainedPredictor):
    """Linear layers over the DCT of the past, with layer normalisation (WACV 2023)."""

    name = "simlpe"
    published_parameters: ClassVar[float] = 0.138e6

    class Settings(TrainedPredictor.Settings):
        """Size of the network, and how to fit; the defaults are those of the released code.

        The released code counts steps: about as many as 600 epochs of 16,000 windows. It predicts
        10 frames at a time for Human3.6M (``step: 10``), all 25 for AMASS.
        """

        blocks: int = Field(48, ge=0)
        epochs: int = Field(600, ge=1)
        batch_size: int = Field(256, ge=1)
        learning_rate: float = Field(3e-4, gt=0)
        learning_rate_decay: float = Field(
            1 / 30,
            gt=0,
            le=1,
            description="released code: one drop, after three quarters",
        )
        weight_decay: float = Field(1e-4, ge=0)
        gradient_clip: float = Field(1e6, gt=0, description="released code: none")

    settings: Settings
    dct: Tensor

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        if self.past < self.step:
            raise ValueError(
                f"step: {self.step} frames requested, at most past ({self.past}) can be predicted "
                "at a time"
            )
        basis = torch.tensor(dct_matrix(self.past), dtype=torch.float32)
        self.register_buffer("dct", basis, persistent=False)
        self.enter = nn.Linear(spec.nodes, spec.nodes)
        self.blocks = nn.Sequential(
            *(_Block(self.past, spec.nodes) for _ in range(self.settings.blocks))
        )
        self.leave = nn.Linear(spec.nodes, spec.nodes)
        _initialise_near_zero(self.leave)

    def extrapolate(self, history: Tensor) -> Tensor:
        """Return the next ``step`` frames as the last one plus a predicted change.

        Shape ``(window, step, joint, 3)``, mm; ``overlap`` is 0.
        """
        past = history[:, -self.past :]
        # Frames first, so that a product over frames is one matrix product.
        x = past.flatten(2).transpose(0, 1) / METRE
        with float32_products(x.device):
            x = _over_frames(self.dct, x)
        x = self.leave(self.blocks(self.enter(x)))
        with float32_products(x.device):
            change = _over_frames(self.dct.T, x.to(self.dct))[: self.step] * METRE
        return past[:, -1:] + change.transpose(0, 1).reshape(len(past), -1, *past.shape[2:])

    def error(self, predicted: Tensor, truth: Tensor) -> Tensor:
        """Return the position error plus the velocity error per frame, both in metres.

        ``near`` weighs positions, not velocities, whose errors grow little with the distance.
        In millimetres, gradients would be a thousand times as large, and the weight decay, which
        Adam adds to them, without effect.
        """
        predicted, truth = predicted / METRE, truth / METRE
        positions = super().error(predicted, truth)
        if self.step == 1:
            return positions
        return positions + position_error(predicted.diff(dim=1), truth.diff(dim=1))


class _Block(nn.Module):
    """A linear layer over frames, layer normalisation of each frame, and a residual connection."""

    def __init__(self, frames: int, nodes: int) -> None:
        super().__init__()
        self.over_frames = nn.Linear(frames, frames)
        self.norm = nn.LayerNorm(nodes)
        _initialise_near_zero(self.over_frames)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(frame, window, node)`` to the same shape."""
        y = _over_frames(self.over_frames.weight, x) + self.over_frames.bias[:, None, None]
        return x + self.norm(y)


def _over_frames(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply a matrix with the first axis of ``(frame, window, node)``."""
    return (matrix @ x.reshape(len(x), -1)).reshape(-1, *x.shape[1:])


def _initialise_near_zero(layer: nn.Linear) -> None:
    """Initialise a layer so that its output is near zero."""
    nn.init.xavier_uniform_(layer.weight, gain=1e-8)
    nn.init.zeros_(layer.bias)
