"""Which samples of a recording are missing, and why."""

from collections.abc import Iterator

import numpy as np

from bench.core.errors import InputError, did_you_mean
from bench.fill.coded import Coded
from bench.fill.gaps import Bools, Numbers, seen_in

RULES = ("auto", "nan", "zero", "residual", "held")
"""What may count as missing next to what is no number, and ``auto``, all of it."""
HELD = 10
"""Frames from which a sample that repeats exactly may be held."""
REPEATS = 0.01
"""Greatest share of samples that repeat exactly in a recording in which one may be held."""
LEAP = 5.0
"""Multiple of a point's usual step by which it must leap where a held value ends."""
NEAR_MM = 50.0
"""Distance from the origin up to which a point may have come to 0, 0, 0 in passing."""


def missing_of(coded: Coded, rule: str = "auto") -> tuple[Bools, list[str]]:
    """Return which samples are missing, bool ``(frame, point)``, and what was decided.

    ``nan`` takes what is no number (an empty cell, or NaN), which is missing by any rule;
    ``residual`` also a negative residual, ``zero`` exactly 0, 0, 0 and ``held`` a value held
    constant beyond doubt. ``auto`` is all of them, unless a point comes to 0, 0, 0 in passing; of
    rotations, which often are 0 or constant, it is ``nan``.

    Raises:
        InputError: there is no such rule.
    """
    if rule not in RULES:
        raise InputError(f"--missing {rule}: no such rule{did_you_mean(rule, RULES)}")
    missing = np.zeros(coded.values.shape[:2], dtype=np.bool_)
    notes = []
    for name, found in _kinds(coded, rule):
        if count := int((found & ~missing).sum()):
            notes.append(f"{count} samples missing: {name}")
        missing |= found
    if never := [coded.names[point] for point in np.flatnonzero(missing.all(axis=0))]:
        notes.append(f"never seen: {', '.join(never)}")
    if not (~missing).all(axis=1).any():
        notes.append("no frame is complete")
    return missing, notes


def _kinds(coded: Coded, rule: str) -> Iterator[tuple[str, Bools]]:
    """Yield what is missing by each rule that applies, with its name."""
    values, rotations = coded.values, coded.tree is not None
    if rotations and rule == "auto":
        rule = "nan"
    if rule in ("auto", "residual") and coded.residual is not None:
        yield "negative residual", coded.residual < 0
    yield "no number", ~seen_in(values)
    if rule in ("auto", "zero"):
        zero: Bools = (values == 0).all(axis=-1)
        if rule == "auto":
            zero &= ~_passing(values, zero, NEAR_MM / coded.scale)
        if rotations:
            zero &= ~zero.all(axis=0)
        yield "exactly at 0, 0, 0", zero
    if rule in ("auto", "held"):
        yield "held constant", _held(values)


def _passing(values: Numbers, zero: Bools, reach: float) -> Bools:
    """Return which samples at the origin belong to a point that is near it just before or after."""
    near = (np.abs(values).max(axis=-1) < reach) & ~zero
    passing = np.zeros_like(zero)
    for point in np.flatnonzero(zero.any(axis=0) & near.any(axis=0)):
        for start, stop in _runs(zero[:, point]):
            passing[start:stop, point] = near[max(start - 1, 0) : stop + 1, point].any()
    return passing


def _held(values: Numbers) -> Bools:
    """Return which samples repeat the one before for so long, and then leap, that none were taken.

    Nothing is held where samples often repeat, as they do at rest in files with few decimals.
    """
    same = np.zeros(values.shape[:2], dtype=np.bool_)
    same[1:] = (values[1:] == values[:-1]).all(axis=-1) & (values[1:] != 0).any(axis=-1)
    held = np.zeros_like(same)
    for point in np.flatnonzero(same.sum(axis=0) >= HELD - 1):
        runs = [run for run in _runs(same[:, point]) if run[1] - run[0] >= HELD - 1]
        steps = np.linalg.norm(np.diff(values[:, point], axis=0), axis=1)
        moving = steps[np.isfinite(steps) & (steps > 0)]
        inside = sum(stop - start for start, stop in runs)
        if not len(moving) or same[:, point].sum() - inside > REPEATS * len(same):
            continue
        for start, stop in runs:
            if stop < len(same) and steps[stop - 1] > LEAP * np.median(moving):
                held[start:stop, point] = True
    return held


def _runs(where: Bools) -> list[tuple[int, int]]:
    """Return first frame, and the one after the last, of each run."""
    padded = np.concatenate([[False], where, [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2)
    return [(int(start), int(stop)) for start, stop in edges]
