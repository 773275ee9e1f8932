"""The base class of everything that is fitted to windows of motion."""

from abc import ABC
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.core.settings import Settings
from bench.fitting.loading import VariationSettings
from bench.fitting.moments import summed
from bench.fitting.training import FitContext
from bench.motion import MotionSpec, Windows


class Learner(nn.Module, ABC):
    """A module that is fitted to windows of motion of one shape.

    A subclass sets ``name`` and may nest a ``Settings`` class for what a protocol may set. All of
    its fitted state must be parameters and buffers: they are stored as safetensors. Its
    docstring's first line is its description in ``bench list``.

    Attributes:
        name: its name in protocols.
        control: whether it is a control, which must score badly; if not, the protocol is broken.
        trained: whether ``fit`` takes long enough to be a trial of its own.
        uses_masks: whether ``fit`` draws masks from ``FitContext.masks``; if not, no weights may
            depend on them.
        seeded: whether a fit depends on the seed; if not, all seeds share one fit.
        presets: named groups of settings that a protocol can refer to.
        mean: buffer ``(frame, joint, 3)``, the train mean of every feature, mm.
        deviation: buffer ``(frame, joint, 3)``, its standard deviation over the train set, mm,
            1 where a feature is constant.
    """

    name: ClassVar[str]
    control: ClassVar[bool] = False
    trained: ClassVar[bool] = False
    uses_masks: ClassVar[bool] = False
    seeded: ClassVar[bool] = True
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    mean: Tensor
    deviation: Tensor

    class Settings(Settings):
        """No settings."""

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why this machine cannot run it; None if it can.

        What is missing is usually a library that is no dependency of this project. Its fits and
        cells are then skipped, for this reason; it must be possible to build it all the same.
        """
        return None

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__()
        self.spec = spec
        self.settings = self.Settings() if settings is None else settings
        if isinstance(self.settings, VariationSettings):
            self.settings.check(spec)
        self.register_buffer("mean", torch.zeros(spec.frames, len(spec.skeleton), 3))
        self.register_buffer("deviation", torch.ones(spec.frames, len(spec.skeleton), 3))

    def fit(self, train: Windows, valid: Windows, context: FitContext | None = None) -> None:
        """Fit to the train windows; here, compute mean and deviation of every feature.

        Args:
            train: windows to fit to.
            valid: windows that choose among epochs, where there are any.
            context: seed, device, checkpoint folder and masks; the defaults if None.
        """
        mean = summed(train, lambda motion: motion.sum(dim=0)) / len(train)
        squares = summed(train, lambda motion: (motion - mean).square().sum(dim=0))
        deviation = (squares / len(train)).sqrt()
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 1e-3, deviation, 1.0))

    def loss_inputs(self, windows: Windows) -> dict[str, Tensor]:
        """Return further inputs of ``losses`` next to motion, by name, each ``(window, ...)``."""
        return {}

    def parameter_count(self) -> int:
        """Return the number of learnable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())


def parameters(cls: Any, spec: MotionSpec, settings: Any) -> int:
    """Return the number of learnable parameters of a learner, without allocating them."""
    with torch.device("meta"):
        return cls(spec, settings).parameter_count()
