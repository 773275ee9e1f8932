"""What there is to say of each gap of a recording once it was filled or left."""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pandas as pd

from bench.core.spacing import spaced
from bench.fill.gaps import Bools, Gap, Numbers
from bench.fill.support import spread_of

COLUMNS = (
    *("point", "start", "frames", "ms", "place", "status", "method", "sigma_mm"),
    *("jump_before_mm", "jump_after_mm", "stretch_mm", "warnings"),
)
NEIGHBOURS = 3
"""Other points whose distance to a filled one is compared."""
UNSURE_MM = 30.0
"""Predicted deviation from which a gap is flagged ``unsure``."""
STRETCHED_MM = 30.0
"""Change of distance to the neighbours from which a gap may be flagged ``stretched``."""
MEASURED = 1000
"""Frames that usual distances are measured on at most."""
FAST = 2.0
"""Multiple of a point's greatest seen speed from which a gap is flagged ``fast``."""


def account(
    positions: Numbers,
    sigma: Numbers,
    seen: Bools,
    gaps: Sequence[Gap],
    names: Sequence[str],
    fps: float,
    used: Mapping[Gap, tuple[str, ...]],
    reasons: Sequence[str],
) -> pd.DataFrame:
    """Return one row per gap.

    Columns: ``point``, ``start`` (frame, from 0), ``frames``, ``ms``, ``place`` (of
    ``bench.fill.gaps.Gap``), ``status`` (``filled``, or why it was left), ``method``, ``sigma_mm``
    (root mean square), ``jump_before_mm`` and ``jump_after_mm`` (change of the step from frame to
    frame at the borders), ``stretch_mm`` (greatest change of the mean distance to the three points
    that keep theirs best, against its mean elsewhere) and ``warnings``.

    Args:
        positions: ``(frame, point, 3)``, mm, filled.
        sigma: ``(frame, point)``, mm.
        seen: bool ``(frame, point)``, before anything was filled.
        gaps: all of them.
        names: of the points.
        fps: frames per second.
        used: methods of those filled.
        reasons: why each was left.
    """
    usual = _Usual(positions, seen)
    rows = []
    for gap, reason in zip(gaps, reasons, strict=True):
        row = outline(gap, names, fps) | {"status": reason or "filled", "warnings": ""}
        if gap in used:
            row |= _row(positions, sigma, seen, gap, usual) | {"method": " + ".join(used[gap])}
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


class _Usual:
    """What is usual of a recording's points; each is measured once, on frames evenly spaced."""

    def __init__(self, positions: Numbers, seen: Bools) -> None:
        frames = spaced(len(seen), MEASURED)
        self._positions, self._seen = positions[frames], seen[frames]
        self._all = positions, seen
        self.spread = cache(self._spread)
        self.speed = cache(self._speed)
        self.distance = cache(self._distance)

    def _spread(self, point: int) -> Numbers:
        """Return ``(point,)`` standard deviations of distances to a point, mm."""
        return spread_of(*self._all, point)

    def _speed(self, point: int) -> float:
        """Return the longest step between frames in which a point is seen, mm; nan of none."""
        positions, seen = self._all
        steps = np.linalg.norm(np.diff(positions[:, point], axis=0), axis=1)
        both = seen[1:, point] & seen[:-1, point]
        return float(steps[both].max()) if both.any() else float("nan")

    def _distance(self, point: int, near: tuple[int, ...]) -> tuple[float, float]:
        """Return mean and greatest change of the mean distance to other points, mm."""
        known = self._seen[:, [point, *near]].all(axis=1)
        if not known.any():
            return float("nan"), float("nan")
        distance = distance_of(self._positions[known], point, near)
        mean = float(distance.mean())
        return mean, float(np.abs(distance - mean).max())


def outline(gap: Gap, names: Sequence[str], fps: float) -> dict[str, object]:
    """Return where a gap is: ``point``, ``start``, ``frames``, ``ms`` and ``place``."""
    return {
        "point": names[gap.point],
        "start": gap.start,
        "frames": len(gap),
        "ms": round(1000 * len(gap) / fps, 3),
        "place": gap.place,
    }


def _row(
    positions: Numbers, sigma: Numbers, seen: Bools, gap: Gap, usual: _Usual
) -> dict[str, object]:
    around = positions[max(gap.start - 2, 0) : gap.stop + 2, gap.point]
    deviation = float(np.sqrt(np.square(sigma[gap.start : gap.stop, gap.point]).mean()))
    stretch, most = _stretch(positions, seen, gap, usual)
    steps = np.linalg.norm(np.diff(around, axis=0), axis=1)
    flags = {
        "unsure": deviation > UNSURE_MM,
        "stretched": stretch > max(STRETCHED_MM, 2 * most),
        "fast": np.nanmax(steps, initial=0) > FAST * usual.speed(gap.point) + 1,
    }
    return {
        "sigma_mm": deviation,
        "jump_before_mm": _bend(positions, gap.point, gap.start - 1),
        "jump_after_mm": _bend(positions, gap.point, gap.stop),
        "stretch_mm": stretch,
        "warnings": " ".join(name for name, holds in flags.items() if holds),
    }


def _bend(positions: Numbers, point: int, frame: int) -> float:
    """Return the change of the step at a frame, mm; nan at the ends or next to another gap."""
    if not 1 <= frame < len(positions) - 1:
        return float("nan")
    before, at, after = positions[frame - 1 : frame + 2, point]
    return float(np.linalg.norm(before - 2 * at + after))


def _stretch(positions: Numbers, seen: Bools, gap: Gap, usual: _Usual) -> tuple[float, float]:
    """Return the greatest change of distance to the neighbours in a gap, and elsewhere, mm."""
    spread = usual.spread(gap.point)
    usable = seen[gap.start : gap.stop].all(axis=0) & np.isfinite(spread)
    near = np.argsort(np.where(usable, spread, np.inf), kind="stable")[:NEIGHBOURS]
    near = near[usable[near]]
    if not len(near):
        return float("nan"), float("nan")
    others = tuple(near.tolist())
    mean, most = usual.distance(gap.point, others)
    inside = distance_of(positions[gap.start : gap.stop], gap.point, others)
    return float(np.abs(inside - mean).max()), most


def distance_of(positions: Numbers, point: int, others: tuple[int, ...]) -> Numbers:
    """Return the mean distance ``(frame,)`` of a point to others, mm."""
    apart = positions[:, list(others)] - positions[:, point, None]
    return np.asarray(np.linalg.norm(apart, axis=-1).mean(axis=1))
