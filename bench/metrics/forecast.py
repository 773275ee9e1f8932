"""Errors of predicted motion, one value per window."""

import torch
from torch import Tensor


def forecast_error(told: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Return the error of predicted positions, frame by frame.

    Args:
        told: ``(window, frame, joint, 3)``, mm.
        truth: the same shape, mm.
        weights: ``(joint,)`` what each joint counts for; the mean over joints has 1 / joints.

    Returns:
        ``(window, frame)`` mm.
    """
    return torch.linalg.vector_norm((told - truth).double(), dim=-1) @ weights.double()


def eq4(told: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Return the error as eq. 4 of the HG-VAE paper has it: squared, over past and future.

    Arguments are those of ``forecast_error``, the past's frames before the future's.

    Returns:
        ``(window,)`` mm squared.
    """
    squared = (told - truth).double().square().sum(dim=-1)
    return (squared @ weights.double()).mean(dim=1)
