"""Filling the gaps of a recording of points, and accounting for each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from bench.core.errors import InputError, did_you_mean
from bench.fill.account import account, outline
from bench.fill.calibration import CANDIDATES, CHECK, calibrated, completed, expected
from bench.fill.curves import CURVES
from bench.fill.gaps import Bools, Gap, Numbers, gaps_of, seen_in
from bench.fill.methods import Completed, Methods
from bench.fill.trials import kind_of, trials_of

if TYPE_CHECKING:  # runs are read when an imputer of one is wanted
    from bench.fill.run_imputer import RunImputer

METHODS = ("auto", *CURVES, "kalman", "rigid", "pca_gap", "marker")
"""What a gap can be filled by: see ``bench.fill.methods``."""
FARTHEST_MM = 1e6
"""Greatest coordinate that is taken for a position."""
FEWEST_SEEN = 2
"""Samples of a point from which its gaps are filled."""


@dataclass(frozen=True)
class Filled:
    """A filled recording.

    Attributes:
        positions: ``(frame, point, 3)``, mm; what was seen bit for bit as given, nan where a gap
            was left.
        filled: bool ``(frame, point)``, what was filled.
        sigma: ``(frame, point)``, mm, the predicted standard deviation of a coordinate; 0 where
            seen, nan where a gap was left.
        gaps: one row per gap, see ``bench.fill.account.account``.
    """

    positions: Numbers
    filled: Bools
    sigma: Numbers
    gaps: pd.DataFrame


def fill(
    positions: ArrayLike,
    fps: float,
    names: Sequence[str] | None = None,
    method: "str | RunImputer" = "auto",
    max_gap: float | None = None,
    edges: bool = False,
) -> Filled:
    """Fill the gaps of a recording of points.

    Each deviation is scaled by gaps like the recording's own, cut where its samples are seen; by
    them ``auto`` finds, for each duration, how much of each method gives the least error.

    Args:
        positions: ``(frame, point, 3)``, mm, nan where missing.
        fps: frames per second.
        names: of the points; numbers if None.
        method: one of ``METHODS``, or an imputer of a run; what that does not know is filled by
            ``auto``, and deviations are the imputer's own, nan if it states none. It alone fills
            points that are never seen.
        max_gap: duration, ms, above which a gap is left; None for no limit.
        edges: whether to fill before the first and after the last sample of a point too.

    Raises:
        InputError: the arguments are no recording, or there is no such method.
    """
    plain = method if isinstance(method, str) else "auto"
    given = checked(positions, fps, plain, max_gap)
    names = _names(names, given.shape[1])
    methods = Methods(given, fps)
    seen = methods.seen
    gaps = gaps_of(seen)
    reasons = reasons_of(gaps, seen, fps, max_gap, edges)
    wanted = [gap for gap, reason in zip(gaps, reasons, strict=True) if not reason]
    result = Filled(
        np.where(seen[..., None], given, np.nan),
        np.zeros_like(seen),
        np.where(seen, 0.0, np.nan),
        pd.DataFrame(),
    )
    never = []
    if not isinstance(method, str) and max_gap is None:
        # What no method can learn from the recording, an imputer may know.
        never = [gap for gap in gaps if gap.place == "never"]
    used: dict[Gap, tuple[str, ...]] = {}
    completions = _completions(methods, given, names, method, wanted, never)
    for gap, made in zip([*wanted, *never], completions, strict=True):
        if made is not None:
            place = slice(gap.start, gap.stop), gap.point
            result.positions[place] = made.positions
            result.filled[place] = True
            result.sigma[place] = made.deviation
            used[gap] = made.methods
    reasons = ["" if gap in used else reason for gap, reason in zip(gaps, reasons, strict=True)]
    table = account(result.positions, result.sigma, seen, gaps, names, fps, used, reasons)
    return replace(result, gaps=table)


def _completions(
    methods: Methods,
    given: Numbers,
    names: Sequence[str],
    method: "str | RunImputer",
    wanted: Sequence[Gap],
    never: Sequence[Gap],
) -> Iterator[Completed | None]:
    """Yield what fills each gap; those of points never seen come last, None if they are left."""
    combined = CANDIDATES if method == "auto" or not isinstance(method, str) else (method,)
    if not wanted and not never:
        return
    known = calibrated(methods, methods.seen, wanted, combined)
    if isinstance(method, str):
        yield from completed(known, wanted)
        return
    whole = fill(given, methods.fps, names, edges=True).positions
    gaps = [*wanted, *never]
    for gap, made in zip(gaps, method.fill(methods, whole, gaps, names), strict=True):
        yield made if made or gap.place == "never" else known.complete(gap, methods.seen)


def listed(
    positions: ArrayLike,
    fps: float,
    names: Sequence[str] | None = None,
    max_gap: float | None = None,
    edges: bool = False,
) -> pd.DataFrame:
    """Return the gaps of a recording without filling any, and whether ``fill`` would.

    Args:
        positions: ``(frame, point, 3)``, mm, nan where missing.
        fps: frames per second.
        names: of the points; numbers if None.
        max_gap: duration, ms, above which a gap is left.
        edges: whether to fill before the first and after the last sample of a point too.

    Returns:
        Columns ``point``, ``start``, ``frames``, ``ms``, ``place``, and ``status``, which is
        ``to fill`` or why the gap would be left.
    """
    given = checked(positions, fps, METHODS[0], max_gap)
    named = _names(names, given.shape[1])
    seen = seen_in(given)
    gaps = gaps_of(seen)
    rows = [
        outline(gap, named, fps) | {"status": reason or "to fill"}
        for gap, reason in zip(gaps, reasons_of(gaps, seen, fps, max_gap, edges), strict=True)
    ]
    return pd.DataFrame(rows, columns=["point", "start", "frames", "ms", "place", "status"])


def validate(
    positions: ArrayLike,
    fps: float,
    methods: Sequence[str] = ("auto", "linear", "pchip", "spline", "rigid", "pca_gap"),
    max_gap: float | None = None,
) -> pd.DataFrame:
    """Return the error that the gaps of a recording are likely to have.

    Gaps like its own are cut where its samples are seen, with whatever else is missing meanwhile,
    then filled and compared with what was there. Those that ``auto`` chooses by are others.

    Args:
        positions: ``(frame, point, 3)``, mm, nan where missing.
        fps: frames per second.
        methods: of ``METHODS``.
        max_gap: duration, ms, above which gaps are left.

    Returns:
        By duration and method: ``up_to_ms``, ``method``, ``gaps`` (how many were cut), and the
        distance from the truth, mean over a gap: ``mean_mm``, ``median_mm``, ``p90_mm``.

    Raises:
        InputError: as ``fill``; or no gap can be cut.
    """
    for method in methods:
        given = checked(positions, fps, method, max_gap)
    on = Methods(given, fps)
    seen = on.seen
    gaps = gaps_of(seen)
    reasons = reasons_of(gaps, seen, fps, max_gap, edges=False)
    wanted = [gap for gap, reason in zip(gaps, reasons, strict=True) if not reason]
    trials = trials_of(seen, wanted, fps, CHECK, on.nearness)
    if not trials:
        raise InputError("no point is seen for as long as the gaps last, so none can be cut")
    found = []
    for method in methods:
        known = calibrated(on, seen, wanted, CANDIDATES if method == "auto" else (method,))
        for trial in trials:
            hidden = trial.applied(seen)
            error = known.complete(trial.gap, hidden).positions - on.truth(trial.gap, hidden)
            mean = float(np.linalg.norm(error, axis=1).mean())
            found.append((kind_of(trial.gap, fps), method, mean))
    return expected(found)


def reasons_of(
    gaps: Sequence[Gap], seen: Bools, fps: float, max_gap: float | None, edges: bool
) -> list[str]:
    """Return why each gap is left; empty if it is to be filled."""
    counts = seen.sum(axis=0)
    return [_reason(gap, int(counts[gap.point]), fps, max_gap, edges) for gap in gaps]


def _reason(gap: Gap, count: int, fps: float, max_gap: float | None, edges: bool) -> str:
    """Return why a gap of a point that is seen so often is left; empty if it is to be filled."""
    if gap.place == "never":
        return "never seen"
    if gap.place == "edge" and not edges:
        return "before the first or after the last sample"
    if max_gap is not None and 1000 * len(gap) / fps > max_gap:
        return f"longer than {max_gap:g} ms"
    if count < FEWEST_SEEN:
        return "seen only once"
    return ""


def checked(positions: ArrayLike, fps: float, method: str, max_gap: float | None) -> Numbers:
    """Return positions as float64; raises InputError if the arguments are no recording."""
    given = np.asarray(positions, dtype=np.float64)
    if given.ndim != 3 or given.shape[2] != 3 or not given.size:
        raise InputError(f"positions of shape {given.shape}; give (frame, point, 3)")
    if not (np.isfinite(fps) and fps > 0):
        raise InputError(f"{fps} frames per second; give a rate above 0")
    if method not in METHODS:
        raise InputError(f"no method '{method}'{did_you_mean(method, METHODS)}")
    if max_gap is not None and not max_gap > 0:
        raise InputError(f"longest gap {max_gap} ms; give a duration above 0")
    far = np.argwhere(np.isfinite(given) & (np.abs(given) > FARTHEST_MM))
    if len(far):
        frame, point, axis = far[0]
        raise InputError(
            f"point {point} is at {given[frame, point, axis]:.3g} mm in frame {frame}, more than a "
            "kilometre away; the file is damaged, or in other units"
        )
    return given


def _names(names: Sequence[str] | None, points: int) -> list[str]:
    if names is None:
        return [str(number) for number in range(points)]
    if len(names) != points:
        raise InputError(f"{len(names)} names for {points} points; give one for each")
    return list(names)
