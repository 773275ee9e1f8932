"""Classes of hidden values, by the gap that they are in."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.motion import Skeleton
from models.trajectories import neighbours

LENGTHS = (1.5, 3.5, 6.5, 12.5, 24.5)
"""Upper ends of the classes of gaps between two seen frames, hidden frames; the last has none."""
DISTANCES = (2.5, 6.5, 12.5)
"""Upper ends of the classes of frames before the first or after the last seen one, by distance."""
STEPS = 3
"""Classes of joints that are never seen, by bones to the nearest one that is; the last is of three
bones or more."""
CLASSES = len(LENGTHS) + 1 + len(DISTANCES) + 1 + STEPS
"""Classes of hidden values: those of gaps, of open ends, and of what is never seen."""


def gap_class(hidden: Tensor, skeleton: Skeleton) -> Tensor:
    """Return the class of each coordinate in each frame by the gap that it is in.

    Gaps are classed by their length, open ends by the distance to the nearest seen frame, and what
    is never seen by the distance along bones to a joint that is.

    Args:
        hidden: bool ``(mask, frame, joint, 3)``.
        skeleton: of the joints.

    Returns:
        int64, the same shape, below ``CLASSES``.
    """
    near = neighbours(hidden)
    time = torch.arange(hidden.shape[1], device=hidden.device)[:, None, None]
    lengths, distances = (
        torch.tensor(edges, device=hidden.device) for edges in (LENGTHS, DISTANCES)
    )
    inside = torch.bucketize((near.after - near.before - 1).float(), lengths)
    outside = torch.bucketize((time - near.before).abs().float(), distances) + len(LENGTHS) + 1
    steps = [bones_to_seen(one, skeleton) for one in hidden.all(dim=3).all(dim=1).tolist()]
    unseen = torch.tensor(steps, device=hidden.device).clamp(1, STEPS) + CLASSES - STEPS - 1
    ended = torch.where(near.before == near.after, outside, inside)
    return torch.where(near.none, unseen[:, None, :, None], ended)


def bones_to_seen(never: Sequence[bool], skeleton: Skeleton) -> list[int]:
    """Return for each joint the number of bones to the nearest one that is seen, or to the root.

    Args:
        never: of each joint, whether it is never seen.
        skeleton: of the joints; those without a parent hang from the root, which is known.
    """
    count = len(skeleton)
    steps = [count if one else 0 for one in never] + [0]  # the last is the root's
    pairs = list(enumerate(skeleton.parents))
    # Parents come first, so one way down and one way up reach every joint.
    for child, parent in pairs[::-1]:
        steps[parent] = min(steps[parent], steps[child] + 1)
    for child, parent in pairs:
        steps[child] = min(steps[child], steps[parent] + 1)
    return steps[:count]
