"""Spherical interpolation of bone directions in time."""

from typing import Any

import torch
from torch import Tensor

from bench.fitting.moments import summed
from bench.fitting.training import FitContext
from bench.motion import MotionSpec, Windows
from models.linear import Linear
from models.trajectories import neighbours


class Slerp(Linear):
    """Spherical linear interpolation of bone directions, with bone lengths kept.

    Slerp of Shoemake (1985), of directions in place of quaternions. A hidden joint is put at a
    bone's length from its parent, which is seen or completed before it. The bone's direction is
    interpolated between the nearest frames that see the joint, and constant at the ends. Its length
    is the mean over the frames of the window that see both ends; where there are none, and for
    joints without a parent, whose bones start at the origin, the length is interpolated too.

    A joint that is never seen is put at the train mean's bone, stretched to the train mean of its
    length, from its parent; without a parent, at its train mean. Hidden coordinates of a joint
    whose others are seen are interpolated linearly before all this.
    """

    name = "slerp"
    bones: Tensor
    """Buffer ``(frame, joint, 3)``: the bones of joints that are never seen, mm."""

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        self.register_buffer("bones", torch.zeros_like(self.mean, dtype=torch.float64))

    def fit(self, train: Windows, valid: Windows, context: FitContext | None = None) -> None:
        """Compute the mean bones and their lengths."""
        super().fit(train, valid, context)
        total = summed(train, lambda motion: self._bones(motion).sum(dim=0)) / len(train)
        lengths = summed(
            train, lambda motion: self._bones(motion).norm(dim=-1).mean(dim=1).sum(dim=0)
        ) / len(train)
        for joint, parent in enumerate(self.spec.skeleton.parents):
            mean = total[:, joint]
            if parent >= 0:
                mean = mean * lengths[joint] / _norm(mean)
            self.bones[:, joint] = mean

    def _bones(self, motion: Tensor) -> Tensor:
        """Return the vector to each joint from where its bone starts, the shape of motion."""
        starts = [_start(motion, parent) for parent in self.spec.skeleton.parents]
        return motion - torch.stack(starts, dim=2)

    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor:
        """Complete joint by joint, each after its parent, in float64."""
        positions = super().complete(motion, occluded).double()
        hidden, seen = occluded.all(dim=-1), ~occluded.any(dim=-1)
        for joint, parent in enumerate(self.spec.skeleton.parents):
            start = _start(positions, parent)
            bones = positions[:, :, joint] - start
            around = neighbours(hidden[:, :, joint, None])
            before, after = (
                bones.gather(1, frame.expand_as(bones)) for frame in (around.before, around.after)
            )
            length = torch.lerp(_norm(before), _norm(after), around.weight)
            if parent >= 0:
                both = (seen[:, :, joint] & seen[:, :, parent])[..., None]
                count = both.sum(dim=1, keepdim=True)
                own = (_norm(bones) * both).sum(dim=1, keepdim=True) / count.clamp(min=1)
                length = torch.where(count > 0, own, length)
            turned = length * directions_between(before, after, around.weight)
            bones = torch.where(around.none, self.bones[:, joint], turned)
            positions[:, :, joint] = torch.where(
                hidden[:, :, joint, None], start + bones, positions[:, :, joint]
            )
        return positions.to(motion.dtype)


def directions_between(before: Tensor, after: Tensor, weight: Tensor) -> Tensor:
    """Return unit vectors on the shorter great circle from one direction to another.

    Between opposite directions, any half circle.

    Args:
        before: ``(..., 3)`` vectors at weight 0, of any length but 0.
        after: ``(..., 3)`` vectors at weight 1, of any length but 0.
        weight: in [0, 1]; broadcast.
    """
    start, end = before / _norm(before), after / _norm(after)
    along = (start * end).sum(dim=-1, keepdim=True)
    across = end - along * start
    angle = torch.atan2(across.norm(dim=-1, keepdim=True), along)
    # Perpendicular to start: along the axis that it is least along.
    axis = torch.nn.functional.one_hot(start.abs().argmin(dim=-1), 3).to(start)
    other = axis - (axis * start).sum(dim=-1, keepdim=True) * start
    across = torch.where(across.norm(dim=-1, keepdim=True) > 1e-9, across, other)
    turn = weight * angle
    return turn.cos() * start + turn.sin() * across / _norm(across)


def _start(positions: Tensor, parent: int) -> Tensor:
    """Return where a bone starts, ``(window, frame, 3)``: at the parent, or at the origin."""
    return positions[:, :, parent] if parent >= 0 else torch.zeros_like(positions[:, :, 0])


def _norm(vectors: Tensor) -> Tensor:
    """Return ``(..., 1)`` lengths, above 0."""
    return vectors.norm(dim=-1, keepdim=True).clamp(min=1e-9)
