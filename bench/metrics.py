"""Errors of completed windows, one value per window."""

import torch
from torch import Tensor


def mse(completed: Tensor, truth: Tensor, occluded: Tensor) -> Tensor:
    """Return the mean squared error over hidden features.

    Args:
        completed: ``(window, frame, joint, 3)``, mm.
        truth: the same shape, mm.
        occluded: bool, the same shape, True where hidden.

    Returns:
        ``(window,)`` mm squared; nan for a window with nothing hidden.
    """
    squared = (completed - truth).double().square()
    return _mean_where(squared.flatten(1), occluded.flatten(1))


def mpjpe(completed: Tensor, truth: Tensor, occluded: Tensor) -> Tensor:
    """Return the mean per joint position error over joints with something hidden.

    Arguments are those of ``mse``. A joint counts in every frame in which at least one of its
    coordinates is hidden.

    Returns:
        ``(window,)`` mm; nan for a window with nothing hidden.
    """
    distance = torch.linalg.vector_norm((completed - truth).double(), dim=-1)
    return _mean_where(distance.flatten(1), occluded.any(dim=-1).flatten(1))


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum(dim=1) / chosen.sum(dim=1)
