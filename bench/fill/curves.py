"""Curves through a point's own samples around a gap."""

from functools import lru_cache
from math import comb

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

from bench.core.spacing import spaced
from bench.fill.gaps import Bools, Frames, Gap, Numbers

KNOTS = 24
"""Samples on either side of a gap that a curve passes through."""
NEAR = 256
"""Frames on either side of a gap that are searched for them first."""
PATTERNS = 2048
"""Patterns of knots whose weights are kept."""
LENGTH_MS = 600.0
"""Length scale of smooth paths. Chosen on four complete recordings, as the exponent 7/2 was."""
SPREAD_MM = 1000.0
"""Standard deviation of a smooth path, and of its mean."""
ORDER = 6
"""Order of the differences that noise is measured by."""
MEASURED = 2000
"""Frames, in stretches, that noise is measured on at most."""
LEAST_NOISE = 1e-3
"""Least standard deviation of noise, mm."""
CURVES = ("linear", "pchip", "spline", "smooth")


def knots(seen: Bools, gap: Gap) -> Frames:
    """Return ``(knot,)`` seen frames next to a gap, at most ``KNOTS`` on either side, ascending.

    Args:
        seen: bool ``(frame, point)``.
        gap: of a point that is seen somewhere.
    """
    path = seen[:, gap.point]
    before = np.flatnonzero(path[max(gap.start - NEAR, 0) : gap.start]) + max(gap.start - NEAR, 0)
    after = np.flatnonzero(path[gap.stop : gap.stop + NEAR]) + gap.stop
    if len(before) < KNOTS:
        before = np.flatnonzero(path[: gap.start])
    if len(after) < KNOTS:
        after = np.flatnonzero(path[gap.stop :]) + gap.stop
    return np.concatenate([before[-KNOTS:], after[:KNOTS]])


def curve(name: str, frames: Frames, values: Numbers, gap: Gap) -> Numbers:
    """Return ``(frame, 3)`` positions in a gap, constant before the first and after the last knot.

    Args:
        name: ``linear``, ``pchip`` (Fritsch and Carlson 1980) or ``spline``, the natural cubic one.
        frames: ``(knot,)``, ascending.
        values: ``(knot, 3)``, mm.
        gap: what to fill.
    """
    if len(frames) == 1:
        return np.repeat(values, len(gap), axis=0)
    if name == "pchip":
        place = int(np.searchsorted(frames, gap.start))
        near = slice(max(place - 2, 0), place + 2)
        if place >= 2 and place + 2 <= len(frames):
            return _pchip(frames[near], values[near], np.arange(gap.start, gap.stop))
        at = np.arange(gap.start, gap.stop).clip(frames[0], frames[-1])
        return PchipInterpolator(frames, values)(at)
    return _cardinal(name, _after(frames, gap), len(gap)) @ values


def _pchip(frames: Frames, values: Numbers, at: Frames) -> Numbers:
    """Return what scipy's PchipInterpolator does between the middle two of four knots.

    Of many gaps, most time would go into making one of these for each.
    """
    apart = np.diff(frames).astype(np.float64)
    slopes = np.diff(values, axis=0) / apart[:, None]
    one, two = slopes[:-1], slopes[1:]
    first, second = (apart[:-1] + 2 * apart[1:])[:, None], (2 * apart[:-1] + apart[1:])[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (first + second) / (first / one + second / two)
    start, end = np.where(one * two > 0, mean, 0.0) * apart[1]
    time = ((at - frames[1]) / apart[1])[:, None]
    rest = 1 - time
    ends = values[1] * (1 + 2 * time) * rest**2 + values[2] * (3 - 2 * time) * time**2
    return np.asarray(ends + start * time * rest**2 - end * rest * time**2)


@lru_cache(maxsize=PATTERNS)
def _cardinal(name: str, knots: tuple[int, ...], length: int) -> Numbers:
    """Return weights ``(frame, knot)`` of samples, by which the curve is linear in them."""
    at = np.arange(length).clip(knots[0], knots[-1])
    each = np.eye(len(knots))
    if name == "linear":
        return np.stack([np.interp(at, knots, one) for one in each], axis=1)
    return CubicSpline(knots, each, bc_type="natural")(at)


def smooth(
    frames: Frames, values: Numbers, gap: Gap, fps: float, noise: float
) -> tuple[Numbers, Numbers]:
    """Return the mean ``(frame, 3)`` and deviation ``(frame,)`` of a smooth path in a gap, mm.

    Gaussian process regression with a Matern kernel of exponent 7/2 (Rasmussen and Williams 2006,
    eq. 2.19 and 4.14) of the point's own samples.

    Args:
        frames: ``(knot,)``, ascending.
        values: ``(knot, 3)``, mm.
        gap: what to fill.
        fps: frames per second.
        noise: standard deviation of a sample, mm.
    """
    weight, deviation = _matern(_after(frames, gap), len(gap), fps, noise)
    centre = values.mean(axis=0)
    return weight @ (values - centre) + centre, deviation


@lru_cache(maxsize=PATTERNS)
def _matern(
    knots: tuple[int, ...], length: int, fps: float, noise: float
) -> tuple[Numbers, Numbers]:
    """Return weights ``(frame, knot)`` of samples, and deviations ``(frame,)``."""
    time = np.concatenate([knots, np.arange(length)]) * (1000 / fps)
    scaled = np.sqrt(7) * np.abs(time[:, None] - time) / LENGTH_MS
    matern = (1 + scaled + 0.4 * scaled**2 + scaled**3 / 15) * np.exp(-scaled)
    kernel = SPREAD_MM**2 * (1 + matern)
    known = len(knots)
    solved = np.linalg.solve(kernel[:known, :known] + noise**2 * np.eye(known), kernel[:known])
    explained = (solved[:, known:] * kernel[:known, known:]).sum(axis=0)
    variance = kernel.diagonal()[known:] - explained
    return solved[:, known:].T, np.sqrt(variance.clip(0) + noise**2)


def _after(frames: Frames, gap: Gap) -> tuple[int, ...]:
    """Return knots counted from the start of a gap."""
    return tuple((frames - gap.start).tolist())


def noise_of(positions: Numbers, seen: Bools) -> float:
    """Return the standard deviation of noise of a coordinate, mm, the median over points.

    By the differences of sixth order, which smooth motion has no part in.

    Args:
        positions: ``(frame, point, 3)``, mm.
        seen: bool ``(frame, point)``; other values are not used.
    """
    starts = spaced(max(len(seen) - ORDER, 0), MEASURED)
    if not len(starts):
        return LEAST_NOISE
    signs = np.array([(-1) ** k * comb(ORDER, k) for k in range(ORDER + 1)], dtype=np.float64)
    known = np.asarray(np.stack([seen[starts + k] for k in range(ORDER + 1)]).all(axis=0))
    change = sum(signs[k] * positions[starts + k] for k in range(ORDER + 1))
    sizes = [np.median(np.abs(change[known[:, p], p])) for p in np.flatnonzero(known.any(axis=0))]
    gain = 0.6745 * float(np.sqrt(np.square(signs).sum()))
    return max(float(np.median(sizes)) / gain, LEAST_NOISE) if sizes else LEAST_NOISE
