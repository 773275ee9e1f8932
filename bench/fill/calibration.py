"""Which method fills gaps of a duration, and by how much its stated deviation is too small."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.fill.gaps import Bools, Gap
from bench.fill.trials import BUCKETS_MS, bucket_of, outcomes, trials_of

if TYPE_CHECKING:  # torch is imported when something is to be filled
    from bench.fill.methods import Methods

CANDIDATES = ("marker", "spline", "pchip")
"""Methods that ``auto`` chooses from."""
SHORT_MS = 50
"""Durations that ``auto`` fills by a spline where too few trials can be cut."""
FEWEST = 6
"""Trials of a duration from which a choice is made, and from which deviations are scaled."""
MARGIN = 1.25
"""How many times the error of a curve that of the marker process may be: so few trials say little
else, and it has least error in most recordings."""
CHOICE, CHECK = 0, 1
"""Seeds: trials that a choice is made on have no part in its check."""
CHOOSING = 4
"""Trials of each duration that the marker process is chosen on."""


@dataclass(frozen=True)
class Calibration:
    """What trials cut into a recording say of the methods.

    Attributes:
        scale: by method and bucket of durations, the root mean square of errors in units of the
            deviation stated.
        error: by bucket and method, mean distance, mm.
        fps: frames per second.
    """

    scale: dict[tuple[str, float], float]
    error: dict[float, dict[str, float]]
    fps: float

    def method_for(self, gap: Gap) -> str:
        """Return the method of least error in trials as long as a gap."""
        bucket = bucket_of(len(gap), self.fps)
        if errors := self.error.get(bucket):
            return min(errors, key=lambda name: errors[name] / (MARGIN if name == "marker" else 1))
        return "spline" if bucket <= SHORT_MS else "marker"

    def scale_for(self, method: str, gap: Gap) -> float:
        """Return the factor of a method's deviation in a gap; that of the next duration known."""
        bucket = bucket_of(len(gap), self.fps)
        known = {end: scale for (name, end), scale in self.scale.items() if name == method}
        if not known:
            return 1.0
        rank = BUCKETS_MS.index(bucket)
        return known[min(known, key=lambda end: (abs(BUCKETS_MS.index(end) - rank), -end))]


def calibrated(
    methods: "Methods", seen: Bools, gaps: Sequence[Gap], names: Sequence[str]
) -> Calibration:
    """Cut gaps like a recording's own into it, fill them, and compare with what was there.

    Args:
        methods: of the recording.
        seen: bool ``(frame, point)``.
        gaps: those to be like.
        names: methods to try.
    """
    trials = trials_of(seen, gaps, methods.fps, CHOICE)
    if "marker" in names:
        chosen = trials_of(seen, gaps, methods.fps, CHOICE, CHOOSING)
        methods.choose([(trial.gap, trial.applied(seen)) for trial in chosen])
    table = outcomes(methods, seen, trials, names)
    scale: dict[tuple[str, float], float] = {}
    error: dict[float, dict[str, float]] = {}
    for _, rows in table.groupby(["bucket", "method"]):
        bucket, method = float(rows["bucket"].iloc[0]), str(rows["method"].iloc[0])
        if len(rows) >= FEWEST:
            ratios = np.concatenate(rows["ratio"].tolist())
            scale[method, bucket] = float(np.sqrt(np.square(ratios).mean()))
            error.setdefault(bucket, {})[method] = float(rows["error"].mean())
    return Calibration(scale, error, methods.fps)


def expected(table: pd.DataFrame) -> pd.DataFrame:
    """Return the errors of ``outcomes`` by duration and method.

    Columns: ``up_to_ms``, ``method``, ``gaps``, ``mean_mm``, ``median_mm``, ``p90_mm``.
    """
    errors = table.groupby(["bucket", "method"], sort=True)["error"]
    found = errors.agg(
        gaps="size", mean_mm="mean", median_mm="median", p90_mm=lambda rows: rows.quantile(0.9)
    )
    return found.reset_index().rename(columns={"bucket": "up_to_ms"})
