"""Li et al., Convolutional Sequence to Sequence Model for Human Dynamics (CVPR 2018)."""

from itertools import pairwise
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from bench.motion import MotionSpec
from predictors.base import TrainedPredictor

KERNEL = (2, 7)
STRIDE = 2
LEAK = 0.2


class ConvSeq2Seq(TrainedPredictor):
    """Long-term and short-term convolutional encoders, decoded frame by frame (CVPR 2018)."""

    name = "convseq2seq"
    published_parameters: ClassVar[float] = 15.58e6

    class Settings(TrainedPredictor.Settings):
        """Size of the network, and how to fit; the defaults are those of the released code.

        The adversarial loss, of weight 0.01, and its discriminator are left out.
        """

        filters: int = Field(16, ge=1, description="convolutions have 4, 8 and 8 times as many")
        width: int = Field(512, ge=1, description="of both codes and of the decoder")
        recent: int = Field(20, ge=1, description="frames of the short-term encoder")
        epochs: int = Field(20, ge=1)
        batch_size: int = Field(16, ge=1)
        learning_rate: float = Field(5e-5, gt=0)
        weight_decay: float = Field(1e-3, ge=0)

    settings: Settings

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        options = self.settings
        if self.past < 2:
            raise ValueError("past: 1 frame is too few, the long-term encoder needs at least 2")
        self.recent = min(options.recent, self.past)
        self.long_term = _Encoder(self.past - 1, spec.nodes, options.filters, options.width)
        self.short_term = _Encoder(self.recent, spec.nodes, options.filters, options.width)
        change = nn.Linear(options.width, spec.nodes)
        # Changes accumulate over the future, so they start near zero.
        nn.init.xavier_uniform_(change.weight, gain=0.01)
        self.decoder = nn.Sequential(
            nn.Linear(2 * options.width, options.width),
            nn.LeakyReLU(LEAK),
            nn.Dropout(0.5),
            change,
        )

    def extrapolate(self, history: Tensor) -> Tensor:
        """Return the next ``step`` frames, each decoded as a change of the previous one.

        Shape ``(window, step, joint, 3)``, mm; ``overlap`` is 0.
        """
        pose, spread = self._pose()
        frames = ((history[:, -self.past :] - pose) / spread).flatten(2)
        code = self.long_term(frames[:, :-1])
        recent = frames[:, -self.recent :]
        for _ in range(self.step):
            codes = torch.cat([code, self.short_term(recent[:, -self.recent :])], dim=1)
            following = recent[:, -1] + self.decoder(codes)
            recent = torch.cat([recent, following[:, None]], dim=1)
        predicted = recent[:, -self.step :]
        return predicted.reshape(len(predicted), self.step, *pose.shape) * spread + pose

    def error(self, predicted: Tensor, truth: Tensor) -> Tensor:
        """Return the mean squared error of normalised coordinates."""
        square = ((predicted - truth) / self._pose()[1]).square()
        return self.over_frames(square.mean(dim=(0, 2, 3)))

    def _pose(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of each coordinate over frames, ``(joint, 3)``, mm."""
        pose = self.mean.mean(dim=0)
        variance = self.deviation.square() + (self.mean - pose).square()
        return pose, variance.mean(dim=0).sqrt()


class _Encoder(nn.Module):
    """Three strided convolutions over frames and coordinates, and a linear layer."""

    def __init__(self, frames: int, nodes: int, filters: int, width: int) -> None:
        super().__init__()
        channels = (1, 4 * filters, 8 * filters, 8 * filters)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(below, above, KERNEL, STRIDE, bias=False)
            for below, above in pairwise(channels)
        )
        for _ in self.convolutions:
            frames, nodes = -(-frames // STRIDE), -(-nodes // STRIDE)
        self.code = nn.Linear(channels[-1] * frames * nodes, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(window, frame, node)`` to ``(window, width)``."""
        x = x[:, None]
        for convolution, dropped in zip(self.convolutions, (0.2, 0.2, 0.5), strict=True):
            x = functional.leaky_relu(convolution(_same(x)), LEAK)
            x = functional.dropout(x, dropped, self.training)
        return self.code(x.flatten(1))


def _same(x: Tensor) -> Tensor:
    """Pad as TensorFlow's "same": half the size, rounded up; an odd zero goes to the end."""
    padding: list[int] = []
    for size, kernel in zip(x.shape[:1:-1], KERNEL[::-1], strict=True):
        missing = max(0, (-(-size // STRIDE) - 1) * STRIDE + kernel - size)
        padding += [missing // 2, missing - missing // 2]
    return functional.pad(x, padding)
