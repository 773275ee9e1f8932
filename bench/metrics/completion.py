"""Errors of completed motion, one value per window."""

from collections.abc import Sequence

import torch
from torch import Tensor

Bones = Sequence[tuple[int, int]]


def completion_errors(
    completed: Tensor, truth: Tensor, occluded: Tensor, bones: Bones, fps: float
) -> dict[str, Tensor]:
    """Return every error of completed windows, by column name.

    Args:
        completed: ``(window, frame, joint, 3)``, mm.
        truth: the same shape, mm.
        occluded: bool, the same shape, True where hidden.
        bones: (parent, child) joint indices.
        fps: frames per second.

    Returns:
        By column name, ``(window,)`` values in the unit of the function that computes them.
    """
    windows = completed, truth, occluded
    return {
        "mse": mse(*windows),
        "mpjpe": mpjpe(*windows),
        "bone_error": bone_error(*windows, bones),
        "acceleration_error": acceleration_error(*windows, fps),
    }


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
    return mean_where(squared.flatten(1), occluded.flatten(1))


def mpjpe(completed: Tensor, truth: Tensor, occluded: Tensor) -> Tensor:
    """Return the mean per joint position error (MPJPE) over joints with a hidden coordinate.

    Arguments are those of ``mse``. A joint counts in every frame in which at least one of its
    coordinates is hidden.

    Returns:
        ``(window,)`` mm; nan for a window with nothing hidden.
    """
    distance = torch.linalg.vector_norm((completed - truth).double(), dim=-1)
    return mean_where(distance.flatten(1), occluded.any(dim=-1).flatten(1))


def bone_error(completed: Tensor, truth: Tensor, occluded: Tensor, bones: Bones) -> Tensor:
    """Return the mean absolute error of bone lengths over bones with a hidden coordinate.

    The first three arguments are those of ``mse``; ``bones`` are (parent, child) joint indices. A
    bone counts in every frame in which a coordinate of either end is hidden.

    Returns:
        ``(window,)`` mm; nan for a window in which no bone counts.
    """
    error = (bone_lengths(completed, bones) - bone_lengths(truth, bones)).abs()
    hidden = occluded.any(dim=-1)
    parents, children = map(list, zip(*bones, strict=True))
    counted = hidden[:, :, parents] | hidden[:, :, children]
    return mean_where(error.flatten(1), counted.flatten(1))


def acceleration_error(completed: Tensor, truth: Tensor, occluded: Tensor, fps: float) -> Tensor:
    """Return the mean error of joint accelerations that involve a hidden coordinate.

    The first three arguments are those of ``mse``; ``fps`` is frames per second. Acceleration is
    the second difference of three neighbouring frames; a joint's counts where any of its
    coordinates in those frames is hidden.

    Returns:
        ``(window,)`` m/s^2; nan for a window with nothing hidden or of fewer than three frames.
    """
    second = torch.diff((completed - truth).double(), n=2, dim=1) * fps**2 / 1000
    hidden = occluded.any(dim=-1)
    counted = hidden[:, 2:] | hidden[:, 1:-1] | hidden[:, :-2]
    return mean_where(torch.linalg.vector_norm(second, dim=-1).flatten(1), counted.flatten(1))


def bone_lengths(motion: Tensor, bones: Bones) -> Tensor:
    """Return bone lengths, mm.

    Args:
        motion: ``(window, frame, joint, 3)``, mm.
        bones: (parent, child) joint indices.

    Returns:
        ``(window, frame, bone)``, float64.
    """
    parents, children = map(list, zip(*bones, strict=True))
    between = motion[:, :, children].double() - motion[:, :, parents].double()
    return torch.linalg.vector_norm(between, dim=-1)


def mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Return ``(window,)`` means of ``(window, item)`` values where ``mask``; nan if nowhere."""
    return (values * mask).sum(dim=1) / mask.sum(dim=1)
