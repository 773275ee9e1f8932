"""A point by Gaussian process regression in the frame of the points that move with it.

The kernel over poses is that of ``models.marker_process``. Here each gap has points and frames of
its own, residuals are smooth as well as lasting, and what is learnt from the whole recording is
kept for the next gap that is filled from the same points.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from bench.fill.gaps import Numbers
from bench.fill.support import Support
from models.marker_process import FLOOR, REACHES, SCALES, SHARPNESS, turns

LINEAR, LOCAL = 1000.0, 100.0
"""Variances of the linear and the rational quadratic part of the kernel, mm squared."""
LASTING, LASTING_MS = 5.0, 800.0
"""Variance of errors that change like an Ornstein-Uhlenbeck process, mm squared, and how long."""
SMOOTH, SMOOTH_MS = 1.0, 100.0
"""Variance of errors that change smoothly (Matern 5/2), mm squared, and how long they last."""
KEPT = 200
"""Systems of equations that are kept."""


@dataclass(frozen=True)
class _Memory:
    """What was learnt from frames of the whole recording, of one point and its others.

    Attributes:
        weight: ``(other,)``.
        mean: ``(1, other, 3)``, mean pose.
        offset: ``(3,)``, mean position of the point.
        rows: ``(frame, 3 x other)`` weighted poses.
        size: mean square of a row.
        factor: ``(frame, frame)`` Cholesky factor of the covariance of what is seen.
        solved: ``(frame, 3)``, that factor's inverse times the targets.
    """

    weight: Tensor
    mean: Tensor
    offset: Tensor
    rows: Tensor
    size: Tensor
    factor: Tensor
    solved: Tensor


class Segment:
    """The regression on one recording.

    Args:
        positions: ``(frame, point, 3)``, mm; what a gap's support does not name is not used.
        pose: ``(point, 3)``, mm, that poses are laid on.
        fps: frames per second.
        noise: standard deviation of a coordinate's noise, mm.
    """

    def __init__(self, positions: Numbers, pose: Numbers, fps: float, noise: float) -> None:
        self._motion = torch.from_numpy(positions)
        self._pose = torch.from_numpy(pose)
        self._ms = 1000 / fps
        self._noise = noise**2
        self.reach, self.scale = REACHES[1], SCALES[1]
        self._known: OrderedDict[tuple[object, ...], _Memory] = OrderedDict()

    def choose(self, trials: Sequence[Support]) -> None:
        """Choose reach and scale, of least mean error in gaps whose values are known."""
        errors = {}
        for self.reach, self.scale in product(REACHES, SCALES):
            found = [self._error(trial) for trial in trials]
            errors[self.reach, self.scale] = sum(found) / len(found)
        self.reach, self.scale = min(errors, key=lambda choice: errors[choice])

    def _error(self, trial: Support) -> float:
        truth = self._motion[torch.from_numpy(trial.frames), trial.point]
        return float((torch.from_numpy(self.regress(trial)[0]) - truth).norm(dim=1).mean())

    def regress(self, support: Support) -> tuple[Numbers, Numbers]:
        """Return positions ``(frame, 3)`` and deviations ``(frame,)`` in a part of a gap, mm."""
        memory = self._memory(support)
        point, others = support.point, torch.from_numpy(support.others)
        frames = torch.from_numpy(support.frames)
        near = torch.from_numpy(support.near)
        known = len(near)
        rows, rotation, centre = self._laid(torch.cat([near, frames]), others, memory)
        target = self._target(near, point, rotation[:known], centre[:known]) - memory.offset

        across = torch.linalg.solve_triangular(
            memory.factor, self._by_pose(memory.rows, rows, memory.size), upper=False
        )
        first, second = across[:, :known], across[:, known:]
        time = torch.cat([near, frames]) * self._ms
        kernel = self._by_pose(rows[:known], rows, memory.size)
        kernel += _by_time(time[:known], time)
        kernel -= first.T @ across
        inner, outer = kernel[:, :known], kernel[:, known:]
        inner.diagonal().add_(self._noise + 1e-6)
        factor = torch.linalg.cholesky(inner)
        # What near frames add to what the whole recording says.
        added = torch.cholesky_solve(target - first.T @ memory.solved, factor)
        mean = second.T @ memory.solved + outer.T @ added + memory.offset
        explained = second.square().sum(dim=0)
        explained += torch.linalg.solve_triangular(factor, outer, upper=False).square().sum(dim=0)
        own = LINEAR * rows[known:].square().sum(dim=1) / memory.size + LOCAL + LASTING + SMOOTH
        variance = (own - explained).clamp(min=0) + self._noise
        placed = (mean[:, None] @ rotation[known:].mT)[:, 0] + centre[known:]
        return placed.numpy(), variance.sqrt().numpy()

    def _memory(self, support: Support) -> _Memory:
        parts = (support.others, support.memory, support.spread)
        key = support.point, self.reach, self.scale, *(part.tobytes() for part in parts)
        if key not in self._known:
            self._known[key] = self._learnt(support)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def _learnt(self, support: Support) -> _Memory:
        others = torch.from_numpy(support.others)
        frames = torch.from_numpy(support.memory)
        weight = torch.exp(-torch.from_numpy(support.spread) / self.reach) + FLOOR
        poses = self._motion[frames][:, others]
        rotation, centre = turns(poses, self._pose[others], weight)
        target = self._target(frames, support.point, rotation, centre)
        laid = (poses - centre[:, None]) @ rotation
        mean = laid.mean(dim=0)
        rows = _weighted(laid - mean, weight)
        size = rows.square().sum(dim=1).mean().clamp(min=1.0)
        kernel = self._by_pose(rows, rows, size)
        # Frames of the whole recording are far apart: their errors are taken as independent.
        kernel.diagonal().add_(LASTING + SMOOTH + self._noise)
        factor = torch.linalg.cholesky(kernel)
        offset = target.mean(dim=0)
        solved = torch.linalg.solve_triangular(factor, target - offset, upper=False)
        return _Memory(weight, mean, offset, rows, size, factor, solved)

    def _laid(
        self, frames: Tensor, others: Tensor, memory: _Memory
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return weighted poses ``(frame, 3 x other)`` and how they were laid on the pose."""
        poses = self._motion[frames][:, others]
        rotation, centre = turns(poses, self._pose[others], memory.weight)
        laid = (poses - centre[:, None]) @ rotation
        return _weighted(laid - memory.mean, memory.weight), rotation, centre

    def _target(self, frames: Tensor, point: int, rotation: Tensor, centre: Tensor) -> Tensor:
        return ((self._motion[frames, point] - centre)[:, None] @ rotation)[:, 0]

    def _by_pose(self, one: Tensor, other: Tensor, size: Tensor) -> Tensor:
        """Return covariances of poses, mm squared."""
        products = one @ other.T
        distance = one.square().sum(dim=1)[:, None] + other.square().sum(dim=1) - 2 * products
        similar = 1 + distance.clamp(min=0) / (2 * SHARPNESS * self.scale**2 * size)
        return LINEAR / size * products + LOCAL * similar.pow(SHARPNESS).reciprocal()


def _weighted(laid: Tensor, weight: Tensor) -> Tensor:
    return (laid * (weight / weight.mean()).sqrt()[:, None]).flatten(1)


def _by_time(one: Tensor, other: Tensor) -> Tensor:
    """Return covariances of errors at times in ms, mm squared."""
    apart = (one[:, None] - other).abs()
    scaled = 5**0.5 / SMOOTH_MS * apart
    smooth = (1 + scaled + scaled.square() / 3) * torch.exp(-scaled)
    return LASTING * torch.exp(-apart / LASTING_MS) + SMOOTH * smooth
