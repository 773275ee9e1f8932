"""Errors of completed and drawn windows, one value per window."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Bones = Sequence[tuple[int, int]]
NEIGHBOURS = 5
CONTACT = 25.0
"""Difference of height up to which both feet are taken to stand, mm."""


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


def bone_error(completed: Tensor, truth: Tensor, occluded: Tensor, bones: Bones) -> Tensor:
    """Return the mean absolute error of bone lengths over bones with something hidden.

    The first three arguments are those of ``mse``; ``bones`` are (parent, child) joint numbers. A
    bone counts in every frame in which a coordinate of either end is hidden.

    Returns:
        ``(window,)`` mm; nan for a window without such a bone.
    """
    error = (bone_lengths(completed, bones) - bone_lengths(truth, bones)).abs()
    hidden = occluded.any(dim=-1)
    parents, children = map(list, zip(*bones, strict=True))
    touched = hidden[:, :, parents] | hidden[:, :, children]
    return _mean_where(error.flatten(1), touched.flatten(1))


def acceleration_error(completed: Tensor, truth: Tensor, occluded: Tensor, fps: float) -> Tensor:
    """Return the mean error of acceleration over joints and frames that something hidden touches.

    The first three arguments are those of ``mse``. Acceleration is the second difference of three
    neighbouring frames; it counts where any of the joint's coordinates in them is hidden.

    Returns:
        ``(window,)`` m/s^2; nan for a window with nothing hidden or of fewer than three frames.
    """
    second = torch.diff((completed - truth).double(), n=2, dim=1) * fps**2 / 1000
    hidden = occluded.any(dim=-1)
    touched = hidden[:, 2:] | hidden[:, 1:-1] | hidden[:, :-2]
    return _mean_where(torch.linalg.vector_norm(second, dim=-1).flatten(1), touched.flatten(1))


def bone_lengths(motion: Tensor, bones: Bones) -> Tensor:
    """Return ``(window, frame, bone)`` lengths, mm."""
    parents, children = map(list, zip(*bones, strict=True))
    between = motion[:, :, children].double() - motion[:, :, parents].double()
    return torch.linalg.vector_norm(between, dim=-1)


def bones_in_range(lengths: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Compare bone lengths with the range that each bone has in real motion.

    Args:
        lengths: ``(window, frame, bone)`` mm, as of samples.
        real: the same of real windows; each bone's range is its least to its largest length there.

    Returns:
        ``(window,)`` share of frames in which every bone is in its range, and ``(window,)`` how
        far a bone is out of it on average, mm.
    """
    low, high = real.flatten(0, 1).amin(dim=0), real.flatten(0, 1).amax(dim=0)
    # Lengths of one rigid bone differ by rounding alone; that must not count.
    slack = 1e-2
    excess = torch.maximum(low - lengths, lengths - high).clamp(min=0)
    return (excess <= slack).all(dim=-1).double().mean(dim=1), excess.mean(dim=(1, 2))


def foot_skate(motion: Tensor, feet: tuple[int, int], fps: float) -> Tensor:
    """Return how fast the feet slide against each other where both must stand.

    Motion relative to the root has no ground. But feet that both stand are at one height and keep
    their distance, whatever the root does; so what is measured is the horizontal speed of one foot
    against the other while they are within ``CONTACT`` of one height in two neighbouring frames. A
    turn of the root that was removed shows as such a speed too: compare with real motion.

    Args:
        motion: ``(window, frame, joint, 3)``, mm, y up.
        feet: joint numbers of the two feet.
        fps: frames per second.

    Returns:
        ``(window,)`` mean speed, mm/s; nan for a window in which they are never at one height.
    """
    apart = (motion[:, :, feet[0]] - motion[:, :, feet[1]]).double()
    level = apart[..., 1].abs() < CONTACT
    speed = torch.linalg.vector_norm(torch.diff(apart[..., [0, 2]], dim=1), dim=-1) * fps
    return _mean_where(speed, level[:, 1:] & level[:, :-1])


def action_correct(
    train: Tensor, train_actions: Iterable[str], test: Tensor, test_actions: Iterable[str]
) -> NDArray[np.float64]:
    """Return 1.0 for each test window whose action its neighbours in a latent space tell.

    ``train`` and ``test`` are ``(window, feature)``; features are put on one scale first. The
    action is that of most of the five nearest train windows.
    """
    # Here: importing it takes a second, which every worker would spend.
    from sklearn.neighbors import KNeighborsClassifier

    origin, scale = train.mean(dim=0), train.std(dim=0).clamp(min=1e-6)
    nearest = KNeighborsClassifier(min(NEIGHBOURS, len(train)))
    nearest.fit(((train - origin) / scale).cpu().numpy(), np.asarray(list(train_actions)))
    told = nearest.predict(((test - origin) / scale).cpu().numpy())
    return (told == np.asarray(list(test_actions))).astype(np.float64)


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum(dim=1) / chosen.sum(dim=1)
