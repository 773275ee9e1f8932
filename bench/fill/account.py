"""What there is to say of each gap of a recording once it was filled or left."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

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
    spread = {point: spread_of(positions, seen, point) for point in {gap.point for gap in used}}
    rows = []
    for gap, reason in zip(gaps, reasons, strict=True):
        row = outline(gap, names, fps) | {"status": reason or "filled", "warnings": ""}
        if gap in used:
            row |= _row(positions, sigma, seen, gap, spread[gap.point]) | {
                "method": " + ".join(used[gap])
            }
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


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
    positions: Numbers, sigma: Numbers, seen: Bools, gap: Gap, spread: Numbers
) -> dict[str, object]:
    path = positions[:, gap.point]
    deviation = float(np.sqrt(np.square(sigma[gap.start : gap.stop, gap.point]).mean()))
    stretch, usual = _stretch(positions, seen, gap, spread)
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    both = seen[1:, gap.point] & seen[:-1, gap.point]
    inside = steps[max(gap.start - 1, 0) : gap.stop]
    flags = {
        "unsure": deviation > UNSURE_MM,
        "stretched": stretch > max(STRETCHED_MM, 2 * usual),
        "fast": both.any() and np.nanmax(inside, initial=0) > FAST * steps[both].max(initial=0) + 1,
    }
    return {
        "sigma_mm": deviation,
        "jump_before_mm": _bend(path, gap.start - 1),
        "jump_after_mm": _bend(path, gap.stop),
        "stretch_mm": stretch,
        "warnings": " ".join(name for name, holds in flags.items() if holds),
    }


def _bend(path: Numbers, frame: int) -> float:
    """Return the change of the step at a frame, mm; nan at the ends or next to another gap."""
    if not 1 <= frame < len(path) - 1:
        return float("nan")
    return float(np.linalg.norm(path[frame - 1] - 2 * path[frame] + path[frame + 1]))


def _stretch(positions: Numbers, seen: Bools, gap: Gap, spread: Numbers) -> tuple[float, float]:
    """Return the greatest change of distance to the neighbours in a gap, and elsewhere, mm."""
    usable = seen[gap.start : gap.stop].all(axis=0) & np.isfinite(spread)
    near = np.argsort(np.where(usable, spread, np.inf), kind="stable")[:NEIGHBOURS]
    near = near[usable[near]]
    if not len(near):
        return float("nan"), float("nan")
    known = seen[:, [gap.point, *near]].all(axis=1)
    frames = np.concatenate([np.flatnonzero(known), np.arange(gap.start, gap.stop)])
    distance = np.linalg.norm(
        positions[frames][:, near] - positions[frames, gap.point, None], axis=-1
    ).mean(axis=1)
    change = np.abs(distance - distance[: known.sum()].mean())
    return float(change[known.sum() :].max()), float(change[: known.sum()].max(initial=0))
