"""How a generative model turns the observed part of a window into a completed window.

Any inference serves any generative model. Windows of a batch never influence each other, so a
batch may mix windows of many levels.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.core.settings import Settings
from models.base import GenerativeImputer


class Inference(Settings, ABC):
    """A way of completing; a subclass sets ``name`` and implements ``complete``."""

    name: ClassVar[str]
    presets: ClassVar[dict[str, dict[str, Any]]] = {}

    @abstractmethod
    def complete(self, model: GenerativeImputer, motion: Tensor, occluded: Tensor) -> Tensor:
        """Return ``motion`` completed; hidden entries arrive holding the train mean."""


def keep_best(
    best: Tensor, highest: Tensor, motion: Tensor, value: Tensor
) -> tuple[Tensor, Tensor]:
    """Return, for each window, whichever has the higher value, and that value; never nan."""
    better = value > highest
    return (
        torch.where(better[:, None, None, None], motion, best),
        torch.where(better, value, highest),
    )
