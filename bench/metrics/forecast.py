"""Errors of predicted motion, one value per window."""

import torch
from torch import Tensor


def forecast_error(predicted: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Return the error of predicted positions, frame by frame.

    Args:
        predicted: ``(window, frame, joint, 3)``, mm.
        truth: the same shape, mm.
        weights: ``(joint,)`` weight of each joint in the sum over joints; 1 / joints each gives
            the mean per joint position error.

    Returns:
        ``(window, frame)`` mm.
    """
    return torch.linalg.vector_norm((predicted - truth).double(), dim=-1) @ weights.double()


def eq4(predicted: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Return the error of the HG-VAE paper's eq. 4: squared, averaged over past and future.

    Arguments are those of ``forecast_error``; frames are those of the past, then of the future.

    Returns:
        ``(window,)`` mm squared.
    """
    squared = (predicted - truth).double().square().sum(dim=-1)
    return (squared @ weights.double()).mean(dim=1)
