"""The methods that fill a gap of a recording."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from bench.core.spacing import spaced
from bench.fill.curves import CURVES, curve, knots, noise_of, smooth
from bench.fill.gaps import Bools, Frames, Gap, Numbers, seen_in
from bench.fill.support import MEASURED, Support, Supports, reference_pose, spread_of

if TYPE_CHECKING:  # torch is imported when a method needs it
    from bench.fill.segment import Segment
    from models.kalman import Kalman

FALLBACK = "pchip"
"""What fills where a method has too few other points."""
DECAY_MS = 100.0
"""How fast a correction of the ends of a gap decays into it."""


@dataclass(frozen=True)
class Completed:
    """A filled gap.

    Attributes:
        positions: ``(frame, 3)``, mm.
        deviation: ``(frame,)``, mm, a standard deviation but for a factor.
        methods: those that filled it, those with the greatest part in it first.
    """

    positions: Numbers
    deviation: Numbers
    methods: tuple[str, ...]


class Methods:
    """All methods on one recording.

    Args:
        positions: ``(frame, point, 3)``, mm, nan where missing.
        fps: frames per second.
    """

    def __init__(self, positions: Numbers, fps: float) -> None:
        self.positions = positions
        self.fps = fps
        self.seen = seen_in(positions)
        self._spreads: dict[int, Numbers] = {}
        self._kalmans: dict[int, Kalman | None] = {}
        self._last: tuple[Gap, Bools, Frames] | None = None

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
            return self._kalman(gap, seen) or self._curve(FALLBACK, gap, seen)
        return self._from_others(method, gap, seen)

    def truth(self, gap: Gap, seen: Bools) -> Numbers:
        """Return what is known of a gap, ``(frame, 3)``, as ``complete`` would have it."""
        return self.positions[gap.start : gap.stop, gap.point]

    def choose(self, gaps: Sequence[tuple[Gap, Bools]]) -> None:
        """Choose reach and scale of the marker process by gaps whose values are known.

        Args:
            gaps: each with what is seen if it is hidden.
        """
        found = [Supports(seen).of(self._spread(gap, seen), gap)[0] for gap, seen in gaps]
        if trials := [part for parts in found for part in parts]:
            self.segment.choose(trials)

    @cached_property
    def noise(self) -> float:
        """Standard deviation of a coordinate's noise, mm."""
        return noise_of(self.positions, self.seen)

    @cached_property
    def nearness(self) -> Frames:
        """The numbers of all points by their mean distance to each, ``(point, point)``."""
        frames = spaced(len(self.seen), MEASURED)
        some, known = self.positions[frames], self.seen[frames]
        order = []
        for point in range(known.shape[1]):
            both = known & known[:, point, None]
            apart = np.linalg.norm(some - some[:, point, None], axis=-1)
            total = np.where(both, apart, 0.0).sum(axis=0)
            count = both.sum(axis=0)
            mean = np.where(count > 0, total / count.clip(1), np.inf)
            mean[point] = -1.0
            order.append(np.argsort(mean, kind="stable"))
        return np.array(order)

    @cached_property
    def segment(self) -> "Segment":
        """Regression in the frame of the points that move with one."""
        from bench.fill.segment import Segment

        return Segment(self.positions, reference_pose(self.positions), self.fps, self.noise)

    @cached_property
    def _supports(self) -> Supports:
        return Supports(self.seen)

    def _spread(self, gap: Gap, seen: Bools) -> Numbers:
        if seen is not self.seen:
            return spread_of(self.positions, seen, gap.point)
        if gap.point not in self._spreads:
            self._spreads[gap.point] = spread_of(self.positions, seen, gap.point)
        return self._spreads[gap.point]

    def _knots(self, gap: Gap, seen: Bools) -> Frames:
        """Return the knots of a gap, which several methods ask for in turn."""
        if self._last is None or self._last[0] != gap or self._last[1] is not seen:
            self._last = gap, seen, knots(seen, gap)
        return self._last[2]

    def _curve(self, method: str, gap: Gap, seen: Bools) -> Completed:
        """Fill a gap by a curve through the point's own samples around it."""
        frames = self._knots(gap, seen)
        return self._through(method, frames, self.positions[frames, gap.point], gap)

    def _through(self, method: str, frames: Frames, values: Numbers, gap: Gap) -> Completed:
        """Fill a gap by a curve through values ``(knot, 3)``, mm, at frames around it."""
        if method == "smooth" and len(frames) > 1:
            return Completed(*smooth(frames, values, gap, self.fps, self.noise), (method,))
        return Completed(curve(method, frames, values, gap), bridge(gap), (method,))

    def _kalman(self, gap: Gap, seen: Bools) -> Completed | None:
        """Fill a gap by a Kalman smoother; None where the point is seen for too short a time.

        It is fitted once, to what could be used of the point when it was first asked for.
        """
        from bench.fill.imputers import fitted_kalman, smoothed

        if gap.point not in self._kalmans:
            self._kalmans[gap.point] = fitted_kalman(self.positions, seen, gap.point, self.fps)
        fitted = self._kalmans[gap.point]
        if fitted is None:
            return None
        return Completed(*smoothed(fitted, self.positions, seen, gap, self.fps), ("kalman",))

    def _from_others(self, method: str, gap: Gap, seen: Bools) -> Completed:
        """Fill a gap part by part, each from the points that are seen throughout it."""
        supports = self._supports if seen is self.seen else Supports(seen)
        parts, rest = supports.of(self._spread(gap, seen), gap)
        positions, deviation = np.empty((len(gap), 3)), np.empty(len(gap))
        counts = {method: len(gap) - sum(map(len, rest)), FALLBACK: sum(map(len, rest))}
        if rest:
            line = self._curve(FALLBACK, gap, seen)
            positions[:], deviation[:] = line.positions, line.deviation
        for part in parts:
            inside = part.frames - gap.start
            positions[inside], deviation[inside] = self._part(method, part, gap)
        if parts:
            positions += self.correction(positions, gap, seen)
        used = sorted((name for name in counts if counts[name]), key=lambda name: -counts[name])
        return Completed(positions, deviation, tuple(used))

    def _part(self, method: str, part: Support, gap: Gap) -> tuple[Numbers, Numbers]:
        if method == "marker":
            return self.segment.regress(part)
        from bench.fill.imputers import carried

        return carried(method, self.positions, part, self.fps), bridge(gap)[part.frames - gap.start]

    def correction(self, positions: Numbers, gap: Gap, seen: Bools) -> Numbers:
        """Return ``(frame, 3)`` by which a gap's ends meet what is seen, decaying into it."""
        ends = self._curve("smooth", gap, seen).positions[[0, -1]] - positions[[0, -1]]
        first = np.exp(-np.arange(len(gap)) * (1000 / self.fps / DECAY_MS))
        last = first[::-1]
        frames = self._knots(gap, seen)
        if len(gap) == 1 or frames[-1] < gap.stop:
            return np.outer(first, ends[0])
        if frames[0] >= gap.start:
            return np.outer(last, ends[1])
        # Each end is met whatever the other's correction leaves of it there.
        near = (ends - last[0] * ends[::-1]) / (1 - last[0] ** 2)
        return np.outer(first, near[0]) + np.outer(last, near[1])


def combined(
    found: Mapping[str, Completed], weights: Mapping[str, float], scale: Mapping[str, float]
) -> Completed:
    """Return the weighted mean of several completions, and the deviation of their mixture.

    Args:
        found: by method.
        weights: of each, of sum 1.
        scale: by method, what its stated deviation has to be multiplied by.
    """
    mean = np.asarray(
        np.sum([weights[name] * one.positions for name, one in found.items()], axis=0)
    )
    variance = np.zeros(len(mean))
    for name, one in found.items():
        apart = np.square(one.positions - mean).mean(axis=1)
        variance += weights[name] * (np.square(scale[name] * one.deviation) + apart)
    used = [
        part for name in sorted(found, key=lambda n: -weights[n]) for part in found[name].methods
    ]
    return Completed(mean, np.sqrt(variance), tuple(dict.fromkeys(used)))


def bridge(gap: Gap) -> Numbers:
    """Return ``(frame,)`` the course of an error that vanishes at both ends of a gap."""
    time = np.arange(1, len(gap) + 1) / (len(gap) + 1)
    return 4 * time * (1 - time)
