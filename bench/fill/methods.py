"""The methods that fill a gap, by the imputers of the harness."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench.fill.gaps import Bools, Gap, Numbers
from bench.fill.support import Support, reference_pose, spread_of, supports
from bench.motion import MotionSpec, Skeleton, Windows
from models import marker_process
from models.kalman import Kalman
from models.linear import Linear
from models.marker_process import MarkerProcess
from models.pca_gap import PCAGap
from models.pchip import Pchip
from models.rigid import Rigid
from models.spline import Spline
from models.trajectories import CurveImputer

CURVES: dict[str, type[Linear] | type[CurveImputer]] = {
    "linear": Linear,
    "pchip": Pchip,
    "spline": Spline,
}
FALLBACK = "pchip"
"""What fills where a method has too few other points."""
MARGIN = 50
"""Frames on either side of a gap that a curve passes through."""
LONG_MARGIN = 200
"""Frames on either side of a gap that a Kalman smoother sees."""
STRETCH = 32
"""Frames of the stretches without gaps that the Kalman smoother is fitted to."""


@dataclass(frozen=True)
class Completed:
    """A filled gap.

    Attributes:
        positions: ``(frame, 3)``, mm.
        deviation: ``(frame,)``, mm, a standard deviation but for a factor.
        methods: those that filled it, most frames first.
    """

    positions: Numbers
    deviation: Numbers
    methods: tuple[str, ...]


class Methods:
    """All methods on one recording.

    Args:
        positions: ``(frame, point, 3)``, mm; what is not seen is not used.
        fps: frames per second.
    """

    def __init__(self, positions: Numbers, fps: float) -> None:
        self.positions = positions
        self.fps = fps
        self._kalmans: dict[int, Kalman] = {}

    def complete(self, method: str, gap: Gap, seen: Bools) -> Completed:
        """Fill a gap of a point that is seen elsewhere.

        Args:
            method: one of ``bench.fill.METHODS`` but ``auto``.
            gap: what to fill.
            seen: bool ``(frame, point)``, what may be used.
        """
        if method in CURVES:
            return self._curve(method, gap, seen)
        if method == "kalman":
            return self._kalman(gap, seen)
        return self._from_others(method, gap, seen)

    def supported(self, gap: Gap, seen: Bools) -> bool:
        """Return whether other points can fill the whole of a gap."""
        return not supports(seen, spread_of(self.positions, seen, gap.point), gap)[1]

    def choose(self, gaps: Sequence[tuple[Gap, Bools]]) -> None:
        """Choose reach and scale of the marker process by gaps whose values are known.

        Args:
            gaps: each with what is seen if it is hidden.
        """
        trials = []
        for gap, seen in gaps:
            spread = spread_of(self.positions, seen, gap.point)
            self._process.spread[gap.point] = torch.from_numpy(spread)
            parts, _ = supports(seen, spread, gap)
            trials += [self._sample(part) for part in parts]
        if trials:
            self._process.choose(trials)

    def _curve(self, method: str, gap: Gap, seen: Bools) -> Completed:
        """Fill a gap by a curve through the point's own samples around it."""
        first = max(gap.start - MARGIN, 0)
        around = slice(first, gap.stop + MARGIN)
        hidden, motion = self._alone(gap.point, around, seen)
        model = CURVES[method](spec_of(1, motion.shape[1], self.fps))
        line = model.complete(motion, hidden)[0, :, 0].numpy()
        return Completed(line[gap.start - first :][: len(gap)], bridge(gap), (method,))

    def _alone(self, point: int, frames: slice, seen: Bools) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what is hidden of one point and its motion, both ``(1, frame, 1, 3)``."""
        known = torch.from_numpy(seen[frames, point])[None, :, None, None].expand(-1, -1, 1, 3)
        motion = torch.from_numpy(self.positions[frames, point])[None, :, None]
        return ~known, torch.where(known, motion, 0.0)

    def _kalman(self, gap: Gap, seen: Bools) -> Completed:
        """Fill a gap by a Kalman smoother of the point's own samples around it."""
        numbers = self._kalman_numbers(gap.point, seen[:, gap.point])
        if numbers is None:
            return self._curve(FALLBACK, gap, seen)
        first = max(gap.start - LONG_MARGIN, 0)
        around = slice(first, gap.stop + LONG_MARGIN)
        known = seen[around, gap.point]
        values = self.positions[around, gap.point]
        model = Kalman(spec_of(1, len(values), self.fps))
        for name in ("stiffness", "damping", "variance", "level_variance", "noise"):
            getattr(model, name).copy_(getattr(numbers, name))
        model.mean.copy_(torch.from_numpy(values[known].mean(axis=0)))
        hidden, motion = self._alone(gap.point, around, seen)
        found = model.complete(motion, hidden)
        assert found.sigma is not None
        part = slice(gap.start - first, gap.stop - first)
        sigma = found.sigma[0, part, 0].double().square().mean(dim=-1).sqrt()
        return Completed(found.motion[0, part, 0].double().numpy(), sigma.numpy(), ("kalman",))

    def _kalman_numbers(self, point: int, seen: Bools) -> Kalman | None:
        """Return a smoother fitted to stretches of a point without gaps; None if there are few."""
        if point not in self._kalmans:
            whole = np.lib.stride_tricks.sliding_window_view(seen, STRETCH)[:: STRETCH // 2]
            starts = np.flatnonzero(whole.all(axis=1)) * (STRETCH // 2)
            if len(starts) < 2:
                return None
            motion = np.stack([self.positions[start : start + STRETCH, point] for start in starts])
            windows = windows_of(motion[:, :, None], self.fps)
            self._kalmans[point] = Kalman(windows.spec)
            self._kalmans[point].fit(windows, windows)
        return self._kalmans[point]

    def _from_others(self, method: str, gap: Gap, seen: Bools) -> Completed:
        """Fill a gap part by part, each from the points that are seen throughout it."""
        spread = spread_of(self.positions, seen, gap.point)
        parts, rest = supports(seen, spread, gap)
        positions, deviation = np.empty((len(gap), 3)), np.empty(len(gap))
        counts = {method: len(gap) - sum(map(len, rest)), FALLBACK: sum(map(len, rest))}
        if rest:
            curve = self._curve(FALLBACK, gap, seen)
            positions[:], deviation[:] = curve.positions, curve.deviation
        for part in parts:
            inside = part.frames - gap.start
            if method == "marker":
                positions[inside], deviation[inside] = self._marker(part, spread)
            else:
                model = Rigid if method == "rigid" else PCAGap
                positions[inside] = self._piece(model, part)
                deviation[inside] = bridge(gap)[inside]
        used = sorted((name for name in counts if counts[name]), key=lambda name: -counts[name])
        return Completed(positions, deviation, tuple(used))

    def _marker(self, part: Support, spread: Numbers) -> tuple[Numbers, Numbers]:
        self._process.spread[part.point] = torch.from_numpy(spread)
        reach, scale = float(self._process.reach), float(self._process.scale)
        mean, sigma = self._process.regress(*self._sample(part), reach, scale)
        return mean.numpy(), (self._process.inflation * sigma).numpy()

    @cached_property
    def _process(self) -> MarkerProcess:
        model = MarkerProcess(spec_of(self.positions.shape[1], len(self.positions), self.fps))
        model.pose.copy_(torch.from_numpy(reference_pose(self.positions)))
        return model

    def _sample(self, part: Support) -> tuple[torch.Tensor, torch.Tensor, marker_process.Gap]:
        """Return memory, motion and gap as the marker process takes them."""
        motion = torch.from_numpy(self.positions)
        frames, others, near = map(torch.from_numpy, (part.frames, part.others, part.near))
        return motion[part.memory], motion, marker_process.Gap(part.point, frames, others, near)

    def _piece(self, kind: type[Rigid] | type[PCAGap], part: Support) -> Numbers:
        """Fill by an imputer that sees the donors and the gap alone, in the order of time."""
        donors = np.union1d(part.memory, part.near)
        frames = np.sort(np.concatenate([donors, part.frames]))
        points = np.concatenate([[part.point], part.others])
        motion = self.positions[frames][:, points]
        inside = np.isin(frames, part.frames)
        hidden = torch.zeros((1, *motion.shape), dtype=torch.bool)
        hidden[0, torch.from_numpy(inside), 0] = True
        train = windows_of(self.positions[donors][:, points][None], self.fps)
        model = kind(train.spec)
        model.fit(train, train)
        visible = torch.where(hidden, 0.0, torch.from_numpy(motion)[None])
        return model.complete(visible, hidden)[0, torch.from_numpy(inside), 0].numpy()


def bridge(gap: Gap) -> Numbers:
    """Return ``(frame,)`` the course of an error that vanishes at both ends of a gap."""
    time = np.arange(1, len(gap) + 1) / (len(gap) + 1)
    return 4 * time * (1 - time)


def spec_of(points: int, frames: int, fps: float) -> MotionSpec:
    """Return the shape of a recording of points without names or bones."""
    names = tuple(map(str, range(points)))
    skeleton = Skeleton(names, (-1,) * points, np.zeros((points, 3)), {"points": names}, ())
    return MotionSpec(frames, fps, skeleton)


def windows_of(motion: NDArray[np.float64], fps: float) -> Windows:
    """Return windows ``(window, frame, point, 3)`` of one recording to fit to."""
    spec = spec_of(motion.shape[2], motion.shape[1], fps)
    index = pd.DataFrame({"source": "", "start": range(len(motion)), "action": "", "subject": ""})
    return Windows(motion.astype(np.float32), index, fps, spec.skeleton)
