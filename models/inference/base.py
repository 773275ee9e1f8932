"""The base class of inferences: from the observed part of a window to a completed window.

Any inference works with any generative model. Windows of a batch never influence each other, so a
batch may mix windows of several levels.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from bench.core.settings import Settings
from bench.fitting.matrix_products import CACHED_WINDOWS
from bench.fitting.microbatches import map_parallel, micro_batch_count
from models.base import GenerativeImputer, Imputation

Result = TypeVar("Result")


class Inference(Settings, ABC):
    """A way of completing windows; a subclass sets ``name`` and implements ``complete``.

    Attributes:
        name: its name in protocols.
        presets: named groups of settings that a protocol can refer to.
    """

    name: ClassVar[str]
    presets: ClassVar[dict[str, dict[str, Any]]] = {}

    @abstractmethod
    def complete(
        self, model: GenerativeImputer, motion: Tensor, occluded: Tensor
    ) -> Tensor | Imputation:
        """Return ``motion`` completed, or with it draws of the completion.

        Args:
            model: a fitted model.
            motion: ``(window, frame, joint, 3)``, mm; hidden entries hold the train mean.
            occluded: bool, the same shape, True where the value is hidden.
        """


def keep_best(
    best: Tensor, highest: Tensor, candidate: Tensor, value: Tensor
) -> tuple[Tensor, Tensor]:
    """Return for each window the candidate with the higher value, and that value.

    Args:
        best: ``(window, ...)``, the best motion, or latents, so far.
        highest: ``(window,)``, its value.
        candidate: the same shape as ``best``.
        value: ``(window,)``, its value; a candidate with nan is never taken.
    """
    better = value > highest
    return (
        torch.where(better.view(-1, *[1] * (best.ndim - 1)), candidate, best),
        torch.where(better, value, highest),
    )


def in_batches(
    work: Callable[[Tensor, Tensor], Result],
    motion: Tensor,
    occluded: Tensor,
    size: int | None = None,
) -> Iterator[Result]:
    """Yield ``work(motion, occluded)`` for micro-batches of windows, in parallel on a CPU.

    Args:
        work: completes a batch; it may be called in other threads.
        motion: ``(window, frame, joint, 3)``, mm.
        occluded: bool, the same shape.
        size: windows of a micro-batch; None for what a processor's cache holds, or all on a GPU.
    """
    size = size or (CACHED_WINDOWS if motion.device.type == "cpu" else len(motion))
    parts = micro_batch_count(math.ceil(len(motion) / size), len(motion))
    pairs = list(zip(motion.tensor_split(parts), occluded.tensor_split(parts), strict=True))
    return map_parallel(lambda pair: work(*pair), pairs, motion.device)


def joined(parts: Iterator[Imputation]) -> Imputation:
    """Return the completions of micro-batches, and their samples if any, as of the whole batch."""
    motions, samples = zip(*((part.motion, part.samples) for part in parts), strict=True)
    drawn = None if samples[0] is None else torch.cat(samples, dim=1)
    return Imputation(torch.cat(motions), samples=drawn)


@contextmanager
def frozen(model: GenerativeImputer) -> Iterator[None]:
    """Disable gradients of a model's weights within the block."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
