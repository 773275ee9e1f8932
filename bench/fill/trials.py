"""Gaps cut where samples are seen, in the pattern of a recording's own gaps, and their errors."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.fill.gaps import Bools, Gap

if TYPE_CHECKING:  # torch is imported when something is to be filled
    from bench.fill.methods import Methods

BUCKETS_MS = (50, 100, 200, 500, 1000, 2000, np.inf)
"""Upper ends of the durations that are judged apart."""
USUAL_MS = (100, 200, 500, 1000, 2000)
"""Durations of the gaps that are cut into a recording that has none of its own."""
PER_BUCKET = 16
"""Trials of each duration, at most."""


@dataclass(frozen=True)
class Trial:
    """A gap cut where its point is seen.

    Attributes:
        gap: what is hidden of its point.
        pattern: bool ``(frame, point)``, what else may be used in the gap's frames.
    """

    gap: Gap
    pattern: Bools

    def applied(self, seen: Bools) -> Bools:
        """Return what is seen of a recording with this gap in it."""
        left = seen.copy()
        left[self.gap.start : self.gap.stop] &= self.pattern
        return left


def bucket_of(frames: int, fps: float) -> float:
    """Return the upper end, ms, of the durations that are judged with this one."""
    return float(BUCKETS_MS[int(np.searchsorted(BUCKETS_MS, 1000 * frames / fps - 1e-6))])


def trials_of(
    seen: Bools, gaps: Sequence[Gap], fps: float, seed: int, most: int = PER_BUCKET
) -> list[Trial]:
    """Return gaps to cut, by turns like the recording's own.

    Each is the pattern of a gap, with what else is missing meanwhile, moved to a time at which the
    point is seen throughout and on both sides; to another point where there is no such time.

    Args:
        seen: bool ``(frame, point)``.
        gaps: those to be like; of none, single points for ``USUAL_MS``.
        fps: frames per second.
        seed: of the draw.
        most: trials of each bucket of durations.
    """
    rng = np.random.default_rng([seed, *seen.shape])
    models = list(gaps) or _usual(seen, fps)
    found = []
    for bucket in BUCKETS_MS:
        alike = [gap for gap in models if bucket_of(len(gap), fps) == bucket]
        if not alike:
            continue
        order = rng.permutation(max(most, len(alike)))[:most] % len(alike)
        trials = (_trial(seen, alike[number], rng) for number in order)
        found += [trial for trial in trials if trial is not None]
    return found


def _usual(seen: Bools, fps: float) -> list[Gap]:
    """Return gaps of usual durations that fit into the recording."""
    lengths = [max(round(duration * fps / 1000), 1) for duration in USUAL_MS]
    points = np.flatnonzero(seen.any(axis=0)).tolist()
    return [
        Gap(point, 0, length, "inside")
        for length in lengths
        if length <= len(seen) // 2
        for point in points
    ]


def _trial(seen: Bools, gap: Gap, rng: np.random.Generator) -> Trial | None:
    """Return a gap of the same pattern elsewhere; None where no point is seen for so long."""
    others = rng.permutation(seen.shape[1])
    for point in [gap.point, *others.tolist()]:
        needed = len(gap) + 2
        if needed > len(seen):
            return None
        total = np.concatenate([[0], np.cumsum(seen[:, point])])
        starts = np.flatnonzero(total[needed:] - total[:-needed] == needed) + 1
        if len(starts):
            start = int(rng.choice(starts))
            pattern = seen[gap.start : gap.stop].copy()
            pattern[:, gap.point] = seen[start : start + len(gap), gap.point]
            pattern[:, point] = False
            return Trial(Gap(point, start, start + len(gap), "inside"), pattern)
    return None


def outcomes(
    methods: "Methods", seen: Bools, trials: Iterable[Trial], names: Sequence[str]
) -> pd.DataFrame:
    """Fill trials and return one row per trial and method.

    Columns: ``bucket`` (ms), ``method``, ``trial``, ``frames``, ``error`` (mean distance, mm), and
    ``ratio``, the errors of all coordinates ``(frame, 3)`` in units of the deviation stated.
    """
    rows = []
    for number, trial in enumerate(trials):
        hidden, gap = trial.applied(seen), trial.gap
        truth = methods.positions[gap.start : gap.stop, gap.point]
        for name in names:
            completed = methods.complete(name, gap, hidden)
            error = completed.positions - truth
            rows.append(
                {
                    "bucket": bucket_of(len(gap), methods.fps),
                    "method": name,
                    "trial": number,
                    "frames": len(gap),
                    "error": float(np.linalg.norm(error, axis=1).mean()),
                    "ratio": error / completed.deviation[:, None],
                }
            )
    return pd.DataFrame(rows, columns=["bucket", "method", "trial", "frames", "error", "ratio"])
