"""A marker by Gaussian process regression in the frame of the markers that move with it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from bench.core.settings import Settings
from bench.core.spacing import spaced
from bench.fitting.training import FitContext
from bench.motion import MotionSpec, Windows
from models.base import Imputation, Imputer
from models.linear import Linear
from models.rigid import TRIPLE, Rigid

REACHES = (4.0, 8.0, 16.0)
"""Reaches to choose from, mm: how fast a marker's weight falls with the spread of its distance."""
SCALES = (0.25, 0.5, 1.0)
"""Length scales of poses to choose from, in root mean squared distances from the mean pose."""
FLOOR = 1e-5
"""Least weight of a marker, so that those far away hold the frame where near ones are hidden."""
SHARPNESS = 3.0
"""The exponent of the rational quadratic kernel."""
JUDGES = 4
"""Train windows, at most, that the choice is judged on, each by the others."""
JUDGED = 6
"""Joints of each of them that are hidden, a sixth of all at most."""
GAP = 0.9
"""Share of the window for which each is hidden, in the middle."""


class MarkerProcess(Imputer):
    """A hidden joint by Gaussian process regression, in the frame of the joints that move with it.

    For every gap of a joint, the joints that are seen throughout it are weighted by
    ``exp(-spread / reach)``, where ``spread`` is the standard deviation of their distance to the
    hidden one over the train windows. The weighted rigid transform (Kabsch 1976) lays every pose on
    one train pose. There the position of the hidden joint is regressed on the weighted positions of
    the others. The kernel is the sum of a linear and a rational quadratic one over poses (Rasmussen
    and Williams 2006, sec. 4.2) and an exponential one over time within the window, by which the
    errors next to the gap correct its ends. It is fitted to train frames, and to those frames of
    the window in which all these joints are seen; no hidden value has a part in it.

    Kieu et al. 2022 (PLoS ONE, e0272407) also weight markers and poses by closeness, but project on
    principal components of the whole body. ``reach`` and the length scale of poses are those of
    least error where gaps are cut into train windows, which are completed by frames of the others.
    Linear in time where fewer than three joints are seen. ``sigma`` is the standard deviation of
    the process, scaled to the errors there.
    """

    name = "marker_process"
    seeded = False

    class Settings(Settings):
        """Variances of the kernel's parts, and how many frames it is fitted to."""

        # Chosen on the three blocks of karate that protocols/lwpca.yaml fits on, each completed by
        # the others.
        linear: float = Field(1000.0, ge=0, description="variance of the linear part, mm squared")
        local: float = Field(100.0, ge=0, description="that of the rational quadratic part")
        drift: float = Field(5.0, ge=0, description="that of the part over time")
        drift_ms: float = Field(800.0, gt=0, description="how long errors last, ms")
        noise: float = Field(1.0, gt=0, description="that of single positions, mm squared")
        memory: int = Field(300, ge=1, description="most train frames, evenly spaced")
        near: int = Field(
            100, ge=0, description="most frames of the window itself, those next to the gap"
        )

    settings: Settings
    pose: Tensor
    spread: Tensor
    memory: Tensor
    stored: Tensor
    reach: Tensor
    scale: Tensor
    inflation: Tensor

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        joints = len(spec.skeleton)
        for name, size in {
            "pose": (joints, 3),
            "spread": (joints, joints),
            "memory": (self.settings.memory, joints, 3),
        }.items():
            self.register_buffer(name, torch.zeros(size, dtype=torch.float64))
        self.register_buffer("stored", torch.tensor(0))
        self.register_buffer("reach", torch.tensor(REACHES[1], dtype=torch.float64))
        self.register_buffer("scale", torch.tensor(SCALES[1], dtype=torch.float64))
        self.register_buffer("inflation", torch.tensor(1.0, dtype=torch.float64))

    def fit(self, train: Windows, valid: Windows, context: FitContext | None = None) -> None:
        """Measure distances, store frames, and choose reach and scale on train windows."""
        super().fit(train, valid, context)
        rigid = Rigid(self.spec)
        rigid.fit(train, valid, context)
        self.spread.copy_(rigid.spread)
        self.pose.copy_(rigid.pose)
        if trials := list(self._trials(train)):
            self.choose(trials)
        stored = self._frames(train, np.arange(len(train)))
        self.memory.zero_()[: len(stored)] = stored
        self.stored.fill_(len(stored))

    def complete(self, motion: Tensor, occluded: Tensor) -> Imputation:
        """Complete each gap of each joint by itself."""
        completed = Linear(self.spec).complete(motion, occluded)
        sigma = self.deviation.expand_as(motion).clone()
        memory = self.memory[: int(self.stored)]
        reach, scale = float(self.reach), float(self.scale)
        for window, (values, hidden) in enumerate(zip(motion.double(), occluded, strict=True)):
            for gap in gaps(~hidden.any(dim=-1), self.settings.near):
                mean, deviation = self.regress(memory, values, gap, reach, scale)
                completed[window, gap.frames, gap.joint] = mean.to(motion.dtype)
                sigma[window, gap.frames, gap.joint] = (
                    (self.inflation * deviation).to(sigma.dtype)[:, None].expand(-1, 3)
                )
        return Imputation(completed, sigma)

    def choose(self, trials: list[tuple[Tensor, Tensor, "Gap"]]) -> None:
        """Choose the reach and scale of least mean absolute error, and what ``sigma`` lacks.

        Args:
            trials: gaps whose values are known, each as the first arguments of ``regress``.
        """
        truth = torch.cat([motion[gap.frames, gap.joint] for _, motion, gap in trials])
        least = torch.inf
        for reach, scale in product(REACHES, SCALES):
            found = [self.regress(*trial, reach, scale) for trial in trials]
            mean, sigma = (torch.cat(part) for part in zip(*found, strict=True))
            error = mean - truth
            if (size := float(error.abs().mean())) < least:
                least = size
                self.reach.fill_(reach)
                self.scale.fill_(scale)
                self.inflation.copy_((error / sigma[:, None]).square().mean().sqrt())

    def _trials(self, train: Windows) -> Iterator[tuple[Tensor, Tensor, "Gap"]]:
        """Yield gaps to cut into train windows, after the frames of the others and the window."""
        sources, starts = train.index["source"].to_numpy(), train.index["start"].to_numpy()
        frames, joints = self.spec.frames, len(self.spec.skeleton)
        border = round((1 - GAP) / 2 * frames)
        for row in spaced(len(train), JUDGES).tolist():
            apart = (sources != sources[row]) | (abs(starts - starts[row]) >= frames)
            if not apart.any() or 2 * border >= frames:
                continue
            motion = train.tensor(slice(row, row + 1))[0].double()
            memory = self._frames(train, np.flatnonzero(apart))
            generator = torch.Generator().manual_seed(row)
            hidden = torch.randperm(joints, generator=generator)[: min(JUDGED, joints // 6)]
            seen = torch.ones(frames, joints, dtype=torch.bool)
            seen[border : frames - border, hidden] = False
            for gap in gaps(seen, self.settings.near):
                yield memory, motion, gap

    def _frames(self, windows: Windows, rows: NDArray[np.int64]) -> Tensor:
        """Return frames of some windows ``(frame, joint, 3)``, float64, evenly spaced."""
        chosen = rows[spaced(len(rows), self.settings.memory)]
        frames = windows.tensor(chosen).double().flatten(0, 1)
        return frames[spaced(len(frames), self.settings.memory)]

    def regress(
        self, memory: Tensor, motion: Tensor, gap: "Gap", reach: float, scale: float
    ) -> tuple[Tensor, Tensor]:
        """Return a joint's positions ``(frame, 3)`` in its gap, mm, and deviations ``(frame,)``.

        Args:
            memory: ``(train frame, joint, 3)`` float64.
            motion: ``(frame, joint, 3)`` float64, the window; hidden values are not used.
            gap: what to complete.
            reach: how fast weights fall with the spread of distances, mm.
            scale: length scale of poses, in root mean squared distances of train frames.
        """
        weight = torch.exp(-self.spread[gap.joint, gap.others] / reach) + FLOOR
        frames = torch.cat([gap.donors, gap.frames])
        poses = torch.cat([memory[:, gap.others], motion[frames][:, gap.others]])
        rotation, centre = turns(poses, self.pose[gap.others], weight)
        known = len(memory) + len(gap.donors)
        target = torch.cat([memory[:, gap.joint], motion[gap.donors, gap.joint]])
        target = ((target - centre[:known])[:, None] @ rotation[:known])[:, 0]
        offset = target[: len(memory)].mean(dim=0)

        kernel = self._kernel((poses - centre[:, None]) @ rotation, weight, len(memory), scale)
        time = frames * (1000 / self.spec.fps / self.settings.drift_ms)
        kernel[len(memory) :, len(memory) :] += self.settings.drift * torch.exp(
            -(time[:, None] - time).abs()
        )
        noise = self.settings.noise * torch.eye(known).to(kernel)
        factor = torch.linalg.cholesky(kernel[:known, :known] + noise)
        across = kernel[:known, known:]
        mean = across.T @ torch.cholesky_solve(target - offset, factor) + offset
        explained = torch.linalg.solve_triangular(factor, across, upper=False).square().sum(dim=0)
        variance = (kernel.diagonal()[known:] - explained).clamp(min=0) + self.settings.noise
        return (
            (mean[:, None] @ rotation[known:].mT)[:, 0] + centre[known:],
            variance.sqrt(),
        )

    def _kernel(self, poses: Tensor, weight: Tensor, train: int, scale: float) -> Tensor:
        """Return ``(pose, pose)`` covariances by pose, mm squared.

        Args:
            poses: ``(pose, joint, 3)``, all laid on the same one; the first ``train`` are of train.
            weight: ``(joint,)``.
            train: number of train poses.
            scale: as in ``regress``.
        """
        shares = (weight / weight.mean()).sqrt()[:, None]
        rows = ((poses - poses[:train].mean(dim=0)) * shares).flatten(1)
        products = rows @ rows.T
        squares = products.diagonal()
        size = squares[:train].mean().clamp(min=1.0)
        distance = (squares[:, None] + squares - 2 * products).clamp(min=0)
        similar = (1 + distance / (2 * SHARPNESS * scale**2 * size)) ** -SHARPNESS
        return self.settings.linear * products / size + self.settings.local * similar


@dataclass(frozen=True)
class Gap:
    """A joint's gaps that are completed together; tensors are int64.

    Attributes:
        joint: the hidden joint.
        frames: ``(frame,)`` where it is hidden.
        others: ``(joint,)`` the joints that are seen in all of these frames, at least three.
        donors: ``(frame,)`` frames in which it and all others are seen.
    """

    joint: int
    frames: Tensor
    others: Tensor
    donors: Tensor


def gaps(seen: Tensor, near: int) -> Iterator[Gap]:
    """Yield the gaps of a window that have at least three seen joints throughout.

    Args:
        seen: bool ``(frame, joint)``.
        near: most donors of a gap, those next to it in time.
    """
    for joint in torch.nonzero(~seen.all(dim=0), as_tuple=True)[0].tolist():
        hidden = ~seen[:, joint]
        begins = hidden & ~torch.cat([hidden.new_zeros(1), hidden[:-1]])
        for number in range(1, int(begins.sum()) + 1):
            inside = hidden & (begins.cumsum(dim=0) == number)
            others = torch.nonzero(seen[inside].all(dim=0), as_tuple=True)[0]
            if len(others) < TRIPLE:
                continue
            frames = torch.nonzero(inside, as_tuple=True)[0]
            donors = torch.nonzero(seen[:, joint] & seen[:, others].all(dim=1), as_tuple=True)[0]
            away = torch.maximum(frames[0] - donors, donors - frames[-1])
            yield Gap(joint, frames, others, donors[away.argsort(stable=True)[:near]])


def turns(poses: Tensor, onto: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rotations and centres by which poses are laid on another one (Kabsch 1976).

    Args:
        poses: ``(pose, joint, 3)``.
        onto: ``(joint, 3)``.
        weight: ``(joint,)`` of each joint's squared distance.

    Returns:
        ``(pose, 3, 3)`` and ``(pose, 3)``: ``(poses - centre) @ rotation`` is closest to ``onto``
        relative to its own centre.
    """
    share = weight / weight.sum()
    centre = share @ poses
    target = onto - share @ onto
    left, _, right = torch.linalg.svd((poses - centre[:, None]).mT @ (share[:, None] * target))
    left[:, :, 2] *= torch.linalg.det(left @ right)[:, None]
    return left @ right, centre
