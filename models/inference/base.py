"""The base class of inferences: from the observed part of a window to a completed window.

Any inference works with any generative model. Windows of a batch never influence each other, so a
batch may mix windows of several levels.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.core.settings import Settings
from models.base import GenerativeImputer


class Inference(Settings, ABC):
    """A way of completing windows; a subclass sets ``name`` and implements ``complete``.

    Attributes:
        name: its name in protocols.
        presets: named groups of settings that a protocol can refer to.
    """

    name: ClassVar[str]
    presets: ClassVar[dict[str, dict[str, Any]]] = {}

    @abstractmethod
    def complete(self, model: GenerativeImputer, motion: Tensor, occluded: Tensor) -> Tensor:
        """Return ``motion`` completed.

        Args:
            model: a fitted model.
            motion: ``(window, frame, joint, 3)``, mm; hidden entries hold the train mean.
            occluded: bool, the same shape, True where the value is hidden.
        """


def keep_best(
    best: Tensor, highest: Tensor, motion: Tensor, value: Tensor
) -> tuple[Tensor, Tensor]:
    """Return for each window the motion with the higher value, and that value.

    Args:
        best: ``(window, frame, joint, 3)``, the best motion so far.
        highest: ``(window,)``, its value.
        motion: ``(window, frame, joint, 3)``, a candidate.
        value: ``(window,)``, its value; a candidate with nan is never taken.
    """
    better = value > highest
    return (
        torch.where(better[:, None, None, None], motion, best),
        torch.where(better, value, highest),
    )
