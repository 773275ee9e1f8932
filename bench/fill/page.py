"""A page of a filled recording: what was seen and what was filled, to be played, and every gap."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bench.fill.filling import Filled
from bench.fill.gaps import Numbers
from bench.motion import Skeleton
from bench.report import exhibition, page

WHOLE = 600_000
"""Samples of points up to which the page has the whole recording."""
STRETCHES = 12
"""Gaps, least sure first, whose stretches are shown by themselves."""
AROUND_S = 0.5
"""Seconds on either side of a gap that are shown."""
LONGEST_S = 10.0
"""Seconds of a stretch, at most."""
ROWS = 500
"""Most gaps that the page lists."""


def write_page(
    path: Path,
    title: str,
    result: Filled,
    fps: float,
    names: Sequence[str],
    notes: Sequence[str],
    parents: Sequence[int] | None = None,
) -> None:
    """Write a page of a filled recording.

    Args:
        path: the page.
        title: of the page.
        result: what was filled.
        fps: frames per second.
        names: of the points.
        notes: to be shown, one sentence each.
        parents: the point that each one's bone begins at, -1 for none; None for points alone.
    """
    upright = _upright(result.positions)
    done = result.gaps[result.gaps["status"] == "filled"]
    worst = done.sort_values("sigma_mm", ascending=False, kind="stable")
    spans = []
    if result.filled.size <= WHOLE:
        spans.append(("whole recording", 0, len(upright)))
    around = round(AROUND_S * fps)
    for rank, row in enumerate(worst.head(STRETCHES).to_dict("records"), start=1):
        first = max(int(row["start"]) - around, 0)
        last = min(int(row["start"] + row["frames"]) + around, first + round(LONGEST_S * fps))
        name = f"{rank}. {row['point']} at {row['start'] / fps:.2f} s, ± {row['sigma_mm']:.3g} mm"
        spans.append((name, first, last))
    if not spans:
        spans.append((f"first {LONGEST_S:g} s", 0, round(LONGEST_S * fps)))
    stretches = [
        exhibition.Stretch(
            name,
            np.where(result.filled[first:last, :, None], np.nan, upright[first:last]),
            np.where(result.filled[first:last, :, None], upright[first:last], np.nan),
            np.where(result.filled[first:last], result.sigma[first:last], 0.0),
        )
        for name, first, last in spans
    ]
    named = tuple(names)
    bones = tuple(parents or [-1] * len(named))
    skeleton = Skeleton(named, bones, np.zeros((len(named), 3)), {"points": named}, ())
    motion = exhibition.of_stretches(stretches, skeleton, fps)
    left = result.gaps[result.gaps["status"] != "filled"]
    tables = {"Filled, least sure first": _written(worst.drop(columns=["status"]))}
    if len(left):
        tables["Left"] = _written(left)[["point", "start", "frames", "ms", "place", "status"]]
    page.write_viewer(motion, title, notes, path, tables)


def _written(gaps: pd.DataFrame) -> pd.DataFrame:
    """Return the first rows of a table of gaps, with few digits."""
    shown = gaps.head(ROWS)
    return shown.map(lambda one: f"{one:.4g}" if isinstance(one, float) else one)


def _upright(positions: Numbers) -> Numbers:
    """Return positions with y up: of y and z, the one along which the points extend farther."""
    some = positions[:: max(len(positions) // 500, 1)]
    seen = some[np.isfinite(some).all(axis=-1).sum(axis=1) > 1]
    extents = np.nanmax(seen, axis=1) - np.nanmin(seen, axis=1) if len(seen) else np.ones((1, 3))
    _, along_y, along_z = np.median(extents, axis=0)
    if along_y >= along_z:
        return positions
    return np.stack([positions[..., 0], positions[..., 2], -positions[..., 1]], axis=-1)
