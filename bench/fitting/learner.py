"""What everything that is fitted to windows of motion has in common."""

from abc import ABC
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.core.settings import Settings
from bench.fitting.training import FitContext
from bench.motion import MotionSpec, Windows


class Learner(nn.Module, ABC):
    """What learns from windows of motion of one shape.

    A subclass sets ``name`` and may nest a ``Settings`` class for what a protocol may set. What it
    must remember are parameters and buffers: they are kept as safetensors. Its docstring's first
    line is its description in ``bench list``.

    Attributes:
        name: what protocols call it.
        control: whether it must not look good; if it does, the protocol is broken.
        trained: whether ``fit`` takes long enough to deserve a trial of its own.
        presets: settings that a protocol can take up by a name.
        mean: buffer ``(frame, joint, 3)``, the train mean of every feature, mm.
        deviation: buffer ``(frame, joint, 3)``, its standard deviation over the train set, mm,
            one where a feature does not move.
    """

    name: ClassVar[str]
    control: ClassVar[bool] = False
    trained: ClassVar[bool] = False
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    mean: Tensor
    deviation: Tensor

    class Settings(Settings):
        """Nothing to set."""

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__()
        self.spec = spec
        self.settings = self.Settings() if settings is None else settings
        self.register_buffer("mean", torch.zeros(spec.frames, len(spec.skeleton), 3))
        self.register_buffer("deviation", torch.ones(spec.frames, len(spec.skeleton), 3))

    def fit(self, train: Windows, valid: Windows, context: FitContext | None = None) -> None:
        """Learn from the train windows; here, mean and deviation of every feature."""
        motion = train.tensor().double()
        deviation = motion.std(dim=0, correction=0)
        self.mean.copy_(motion.mean(dim=0))
        self.deviation.copy_(torch.where(deviation > 1e-3, deviation, 1.0))

    def loss_inputs(self, windows: Windows) -> dict[str, Tensor]:
        """Return what a loss is given of windows beside motion, by name, ``(window, ...)`` each."""
        return {}

    def parameter_count(self) -> int:
        """Return the number of learnable values."""
        return sum(parameter.numel() for parameter in self.parameters())


def parameters(cls: Any, spec: MotionSpec, settings: Any) -> int:
    """Return how many learnable values a learner has, without giving them memory."""
    with torch.device("meta"):
        return cls(spec, settings).parameter_count()
