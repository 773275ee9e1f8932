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
        """The network's size, and how to fit; the defaults are those of the released code.

        It was fitted for a number of steps, about as many as these epochs on 16,000 windows. For
        Human3.6M it foretells 10 frames at a time (``step: 10``), for AMASS all 25.
        """

        blocks: int = Field(48, ge=0)
        epochs: int = Field(600, ge=1)
        batch_size: int = Field(256, ge=1)
        learning_rate: float = Field(3e-4, gt=0)
        learning_rate_decay: float = Field(
            1 / 30, gt=0, le=1, description="theirs falls in one step, after three quarters"
        )
        weight_decay: float = Field(1e-4, ge=0)

    settings: Settings
    dct: Tensor

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        if self.past < self.step:
            raise ValueError(f"it foretells at most its past, {self.past} frames, at a time")
        basis = torch.tensor(dct_matrix(self.past), dtype=torch.float32)
        self.register_buffer("dct", basis, persistent=False)
        self.enter = nn.Linear(spec.nodes, spec.nodes)
        self.blocks = nn.Sequential(
            *(_Block(self.past, spec.nodes) for _ in range(self.settings.blocks))
        )
        self.leave = nn.Linear(spec.nodes, spec.nodes)
        _nearly_nought(self.leave)

    def extrapolate(self, history: Tensor) -> Tensor:
        """Return the next ``step`` frames: the last one, and what changes from it."""
        past = history[:, -self.past :]
        # Frames first: a product over frames is then one matrix product.
        x = past.flatten(2).transpose(0, 1) / METRE
        with float32_products(x.device):
            x = _over_frames(self.dct, x)
        x = self.leave(self.blocks(self.enter(x)))
        with float32_products(x.device):
            change = _over_frames(self.dct.T, x.to(self.dct))[: self.step] * METRE
        return past[:, -1:] + change.transpose(0, 1).reshape(len(past), -1, *past.shape[2:])

    def error(self, told: Tensor, truth: Tensor) -> Tensor:
        """Return the errors of positions and of velocities, mm and mm a frame, in sum."""
        velocities = position_error(told.diff(dim=1), truth.diff(dim=1)) if self.step > 1 else 0
        return position_error(told, truth) + velocities


class _Block(nn.Module):
    """A linear map over frames, layer normalisation of each frame, and a residual connection."""

    def __init__(self, frames: int, nodes: int) -> None:
        super().__init__()
        self.over_frames = nn.Linear(frames, frames)
        self.norm = nn.LayerNorm(nodes)
        _nearly_nought(self.over_frames)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(frame, window, node)`` to the same shape."""
        y = _over_frames(self.over_frames.weight, x) + self.over_frames.bias[:, None, None]
        return x + self.norm(y)


def _over_frames(matrix: Tensor, x: Tensor) -> Tensor:
    """Return a product over the first axis of ``(frame, window, node)``."""
    return (matrix @ x.reshape(len(x), -1)).reshape(-1, *x.shape[1:])


def _nearly_nought(layer: nn.Linear) -> None:
    """Begin with what changes next to nothing."""
    nn.init.xavier_uniform_(layer.weight, gain=1e-8)
    nn.init.zeros_(layer.bias)
