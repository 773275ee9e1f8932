"""Errors of completed motion, one value per window."""

from collections.abc import Sequence

import torch
from torch import Tensor

Bones = Sequence[tuple[int, int]]
FAST = 500.0
"""Millimetres per second, relative to the root, from which a joint counts as fast."""


def completion_errors(
    completed: Tensor, truth: Tensor, judged: Tensor, hidden: Tensor, bones: Bones, fps: float
) -> dict[str, Tensor]:
    """Return every error of completed windows, by column name.

    Args:
        completed: ``(window, frame, joint, 3)``, mm.
        truth: the same shape, mm.
        judged: bool, the same shape, True where errors count: where hidden, or everywhere if what
            is observed has noise.
        hidden: bool, the same shape, True where hidden; it says where gaps are.
        bones: (parent, child) joint indices.
        fps: frames per second.

    Returns:
        By column name, ``(window,)`` values in the unit of the function that computes them.
    """
    windows = completed, truth, judged
    gaps = completed, truth, hidden
    fast = (speeds(truth, fps) >= FAST).unsqueeze(-1)
    return {
        "mse": mse(*windows),
        "mse_slow": mse(completed, truth, judged & ~fast),
        "mse_fast": mse(completed, truth, judged & fast),
        "mpjpe": mpjpe(*windows),
        "mae": mae(*windows),
        "bone_error": bone_error(*windows, bones),
        "acceleration_error": acceleration_error(*windows, fps),
        "border_jump": border_jump(*gaps),
        "npss": npss(*gaps),
        "l2p": l2p(*gaps),
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


def speeds(motion: Tensor, fps: float) -> Tensor:
    """Return the speed of each joint in each frame, of central differences in time.

    Args:
        motion: ``(window, frame, joint, 3)``, mm; two frames or more.
        fps: frames per second.

    Returns:
        ``(window, frame, joint)`` mm per second, float64; of the first and the last frame, that of
        the step to their neighbour.
    """
    (velocity,) = torch.gradient(motion.double(), spacing=1 / fps, dim=1)
    return torch.linalg.vector_norm(velocity, dim=-1)


def mpjpe(completed: Tensor, truth: Tensor, occluded: Tensor) -> Tensor:
    """Return the mean per joint position error (MPJPE) over joints with a hidden coordinate.

    Arguments are those of ``mse``. A joint counts in every frame in which at least one of its
    coordinates is hidden.

    Returns:
        ``(window,)`` mm; nan for a window with nothing hidden.
    """
    distance = torch.linalg.vector_norm((completed - truth).double(), dim=-1)
    return mean_where(distance.flatten(1), occluded.any(dim=-1).flatten(1))


def mae(completed: Tensor, truth: Tensor, occluded: Tensor) -> Tensor:
    """Return the mean absolute error of single coordinates over hidden features.

    Arguments are those of ``mse``.

    Returns:
        ``(window,)`` mm; nan for a window with nothing hidden.
    """
    absolute = (completed - truth).double().abs()
    return mean_where(absolute.flatten(1), occluded.flatten(1))


def bone_error(completed: Tensor, truth: Tensor, occluded: Tensor, bones: Bones) -> Tensor:
    """Return the mean absolute error of bone lengths over bones with a hidden coordinate.

    The first three arguments are those of ``mse``; ``bones`` are (parent, child) joint indices. A
    bone counts in every frame in which a coordinate of either end is hidden.

    Returns:
        ``(window,)`` mm; nan for a window in which no bone counts.
    """
    error = (bone_lengths(completed, bones) - bone_lengths(truth, bones)).abs()
    hidden = occluded.any(dim=-1)
    parents, children = _ends(bones)
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


def border_jump(completed: Tensor, truth: Tensor, occluded: Tensor) -> Tensor:
    """Return how far the steps of joints across the borders of their gaps are from the true steps.

    Arguments are those of ``mse``. A border is a pair of neighbouring frames in just one of which
    a coordinate of the joint is hidden; its step is the joint's displacement between the two. What
    counts is the length of the difference of the completed and the true step. A fast joint makes a
    large step, but no jump.

    Returns:
        ``(window,)`` mean over borders, mm; nan for a window in which no gap has a border.
    """
    step = torch.diff((completed - truth).double(), dim=1)
    hidden = occluded.any(dim=-1)
    borders = hidden[:, 1:] != hidden[:, :-1]
    return mean_where(torch.linalg.vector_norm(step, dim=-1).flatten(1), borders.flatten(1))


def npss(completed: Tensor, truth: Tensor, occluded: Tensor) -> Tensor:
    """Return the normalised power spectrum similarity (NPSS) of windows that lack whole frames.

    Arguments are those of ``mse``. The power spectrum of each coordinate over all frames of the
    window, normalised to the sum 1, is compared with the true one by the earth mover's distance:
    the sum over frequencies of the absolute difference of the cumulative spectra. The value is the
    mean over coordinates, each weighted by its true power.

    Source: Gopalakrishnan et al. 2019, "A neural temporal model for human motion prediction",
    CVPR, the section on NPSS. They compare Euler angles; here it is positions, window by window.

    Returns:
        ``(window,)`` without a unit, 0 for equal spectra; nan for a window that hides no frame, or
        a part of one.
    """
    true, found = (
        torch.fft.fft(motion.double(), dim=1).abs().square() for motion in (truth, completed)
    )
    power = true.sum(dim=1)
    distance = (_normalised(true) - _normalised(found)).cumsum(dim=1).abs().sum(dim=1)
    value = (distance * power).flatten(1).sum(dim=1) / power.flatten(1).sum(dim=1)
    return torch.where(_hidden_frames(occluded).any(dim=1), value, torch.nan)


def l2p(completed: Tensor, truth: Tensor, occluded: Tensor) -> Tensor:
    """Return the L2 norm of the position errors of all joints of a frame, over hidden frames (L2P).

    Arguments are those of ``mse``.

    Source: Harvey et al. 2020, "Robust motion in-betweening" (ACM Transactions on Graphics 39),
    the LaFAN1 benchmark. There positions are global and each coordinate is standardised by the
    train windows; here they are root-centred, in mm, so that values of the two do not compare.

    Returns:
        ``(window,)`` mean over hidden frames, mm; nan for a window that hides no frame, or a part
        of one.
    """
    error = (completed - truth).double().flatten(2)
    return mean_where(torch.linalg.vector_norm(error, dim=-1), _hidden_frames(occluded))


def _hidden_frames(occluded: Tensor) -> Tensor:
    """Return bool ``(window, frame)``, True for hidden frames; nowhere if part of one is hidden."""
    features = occluded.flatten(2)
    whole, some = features.all(dim=-1), features.any(dim=-1)
    return whole & (whole == some).all(dim=1, keepdim=True)


def _normalised(power: Tensor) -> Tensor:
    """Return spectra ``(window, frequency, ...)`` of the sum 1, or of zeros where all are zero."""
    total = power.sum(dim=1, keepdim=True)
    return power / total.clamp(min=torch.finfo(power.dtype).tiny)


def bone_lengths(motion: Tensor, bones: Bones) -> Tensor:
    """Return bone lengths, mm.

    Args:
        motion: ``(window, frame, joint, 3)``, mm.
        bones: (parent, child) joint indices.

    Returns:
        ``(window, frame, bone)``, float64.
    """
    parents, children = _ends(bones)
    between = motion[:, :, children].double() - motion[:, :, parents].double()
    return torch.linalg.vector_norm(between, dim=-1)


def _ends(bones: Bones) -> tuple[list[int], list[int]]:
    """Return the parents and the children of bones, of which there may be none."""
    return [parent for parent, _ in bones], [child for _, child in bones]


def mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Return ``(window,)`` means of ``(window, item)`` values where ``mask``; nan if nowhere."""
    return (values * mask).sum(dim=1) / mask.sum(dim=1)
