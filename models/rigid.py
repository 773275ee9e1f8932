"""Completion of a joint from the seen joints that keep their distance to it."""

from typing import Any

import torch
from torch import Tensor

from bench.fitting.training import FitContext
from bench.motion import MotionSpec, Windows
from models.base import Imputer
from models.linear import Linear
from models.trajectories import neighbours

TRIPLE = 3
CHUNK = 20_000
"""Hidden joint positions that are completed at a time."""
FITTED = 1000
"""Windows, evenly spaced, that distances are measured on at most."""
STIFFNESS = 1e-4
"""Share of the squared size of a triangle by which every rotation is drawn to none."""


class Rigid(Imputer):
    """A hidden joint moves rigidly with the three seen joints that keep their distance to it best.

    What marker-based software calls a rigid body fill. Distances are ranked by their standard
    deviation over the train windows. The rigid transform (Kabsch 1976) is from the nearest frames
    before and after in which all four joints are seen, blended linearly in time; of a joint that is
    never seen, from the train frame nearest to the mean pose. Linear in time where there is no such
    frame, or fewer than three joints are seen.
    """

    name = "rigid"
    seeded = False
    distance: Tensor
    spread: Tensor
    pose: Tensor

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        joints = len(spec.skeleton)
        self.register_buffer("distance", torch.zeros(joints, joints, dtype=torch.float64))
        self.register_buffer("spread", torch.zeros(joints, joints, dtype=torch.float64))
        self.register_buffer("pose", torch.zeros(joints, 3, dtype=torch.float64))

    def fit(self, train: Windows, valid: Windows, context: FitContext | None = None) -> None:
        """Measure the mean and standard deviation of each distance, and choose the pose."""
        super().fit(train, valid, context)
        frames = train.thin(FITTED).tensor().double().flatten(0, 1)
        for joint in range(len(self.spread)):
            distances = (frames - frames[:, joint, None]).norm(dim=-1)
            self.distance[joint] = distances.mean(dim=0)
            self.spread[joint] = distances.std(dim=0, correction=0)
        from_mean = (frames - frames.mean(dim=0)).square().sum(dim=(1, 2))
        self.pose.copy_(frames[from_mean.argmin()])

    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor:
        """Complete each hidden joint of each frame."""
        completed = Linear(self.spec).complete(motion, occluded)
        seen = ~occluded.any(dim=-1)
        enough = seen.sum(dim=-1, keepdim=True) >= TRIPLE
        values = motion.double()
        for part in torch.nonzero(~seen & enough).split(CHUNK):
            positions, possible = self._place(values, seen, part)
            window, frame, joint = part[possible].T
            completed[window, frame, joint] = positions[possible].to(motion.dtype)
        return completed

    def _place(self, motion: Tensor, seen: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return positions of hidden joints.

        Args:
            motion: ``(window, frame, joint, 3)`` float64.
            seen: bool ``(window, frame, joint)``.
            places: ``(place, 3)``, window, frame and joint of each.

        Returns:
            ``(place, 3)`` positions, mm, and bool ``(place,)``, whether the joint's place relative
            to the three is known: from a frame of the window, or never seen and so from train.
        """
        window, frame, joint = places.T
        unsteady = torch.where(seen[window, frame], self.spread[joint], torch.inf)
        triple = unsteady.sort(dim=1, stable=True).indices[:, :TRIPLE]
        four = torch.cat([triple, joint[:, None]], dim=1)
        near = neighbours(~seen[window[:, None], :, four].all(dim=1))
        target = motion[window[:, None], frame[:, None], triple]

        place = torch.arange(len(places), device=places.device)

        def from_frame(source: Tensor) -> Tensor:
            shape = motion[window[:, None], source[place, frame][:, None], four]
            shape = torch.where(near.none[:, :1, None], self.pose[four], shape)
            return carried(shape[:, TRIPLE], shape[:, :TRIPLE], target)

        weight = near.weight[place, frame, None]
        possible = ~near.none[:, 0] | ~seen[window, :, joint].any(dim=1)
        return from_frame(near.before).lerp(from_frame(near.after), weight), possible


def carried(point: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Return points carried along by the rigid transforms that best map triangles onto others.

    A slight pull towards no rotation decides where a triangle is nearly a line.

    Args:
        point: ``(place, 3)``.
        source: ``(place, 3, 3)``, corners of each triangle near its point.
        target: the same shape, where the corners are now.

    Returns:
        ``(place, 3)``.
    """
    from_centre, to_centre = source.mean(dim=1), target.mean(dim=1)
    before, after = source - from_centre[:, None], target - to_centre[:, None]
    pull = STIFFNESS * before.square().sum(dim=(1, 2)) * torch.eye(3).to(point)[..., None]
    left, _, right = torch.linalg.svd(after.mT @ before + pull.permute(2, 0, 1))
    turn = torch.ones_like(point)
    turn[:, 2] = torch.linalg.det(left @ right)
    rotation = (left * turn[:, None]) @ right
    return to_centre + (rotation @ (point - from_centre)[..., None])[..., 0]
