"""What a body cannot do: positions that mark a missing sample, and those that no joint can have.

Recordings mark what was not seen by a number that lies far away, by zeros, by the last value seen,
or by one number in all coordinates. None of that is a position. A sample is taken for missing where

- it is a number that only marks (-9999), or the same in all coordinates several times,
- its joint stands at exactly 0, 0, 0, or leaps to 0 in one coordinate; not if positions are
  relative to that joint, or it passes there,
- it lies with half of the other joints in one point,
- it lies farther from the body's middle than a body is long,
- it repeats exactly while the body moves, and its distance from the next joint changes,
- its distances from the two joints next to it change by more than flesh and clothes allow, or
- it moves faster, against both joints next to it, than a limb.

A file in which no body can be in more than ``MOST`` of the samples is refused: it says something
else than was stated, such as other units.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError
from bench.core.notices import note
from bench.datasets.archive import File

FAR_MM = 3000.0
"""Greatest distance of a joint from the body's middle."""
LEAP_MM = 100.0
"""Greatest step between two frames by which a joint comes to 0, 0, 0 in passing."""
STRETCH = (200.0, 0.5)
"""Millimetres, and share of the usual distance, by which that to a next joint may change."""
HELD = (30.0, 0.15)
"""The same while a joint repeats exactly."""
HELD_SECONDS = 0.1
"""Least time for which a joint that repeats is held; at least three frames."""
SPEED = 40.0
"""Greatest speed of a joint against the next ones, metres per second; a pitcher's hand has half."""
STEP_MM = 300.0
"""Least step in mm that is too fast."""
LARGEST_TURN = 3 * np.pi
"""Greatest rotation of a joint from its rest pose, radians, with a turn of reserve."""
TURNING = 0.1
"""Greatest share of frames with a greater one."""
MOST = 0.5
"""Greatest share of samples where no body can be."""
SAMPLED = 100
"""Frames from which the usual distances are known."""
MARKS = np.array([sign * float("9" * digits) for digits in range(4, 13) for sign in (1, -1)])
"""Numbers that only mark a missing value."""

Bools = NDArray[np.bool_]
Numbers = NDArray[np.float64]


def is_mark(values: Numbers) -> Bools:
    """Return where values are numbers that only mark a missing value, such as -9999."""
    return np.isin(values, MARKS)


def check_radians(file: File, vectors: Numbers) -> None:
    """Raise InputError if ``(frame, joint, 3)`` rotation vectors can only be degrees."""
    greatest = np.linalg.norm(vectors, axis=2).max(axis=1, initial=0)
    if (greatest > LARGEST_TURN).sum() > TURNING * len(vectors):
        raise InputError(
            f"{file}: joints turn by up to {greatest.max():.0f} radians, so its rotations may be "
            "degrees; convert them to radians"
        )


def seen(
    file: File,
    positions: Numbers,
    mm: float,
    fps: float,
    roots: Sequence[int] = (),
    marks: Sequence[float] | None = None,
) -> Numbers:
    """Return positions with nan where a joint was not seen, and note how many such samples are.

    Args:
        file: for messages.
        positions: ``(frame, joint, 3)`` in the file's units, nan where missing.
        mm: millimetres of a unit.
        fps: frames per second.
        roots: numbers of the joints that the others are relative to, which may start at 0, 0, 0.
        marks: the numbers that mark a missing coordinate, 0 for three zeros; None: as found.

    Raises:
        InputError: no body can be in more than ``MOST`` of the samples.
    """
    found = positions.copy()
    known: Bools = np.asarray(np.isfinite(found).all(axis=2))
    marked = _marked(found, known, mm, roots, marks)
    found[marked] = np.nan
    if marked.any():
        note("marked as missing", _share(marked, "marked as missing, by zeros or a number"))
    impossible = np.zeros_like(marked)
    # A joint that is far from the middle must not be what others are compared with.
    for reason in (_far, _held, _stretched, _fast):
        bad = reason(found * mm, fps)
        found[bad] = np.nan
        impossible |= bad
    if impossible.any():
        note("impossible", _share(impossible, "where no body's joint can be, taken for missing"))
    if impossible.sum() > MOST * max(1, known.sum()):
        raise InputError(
            f"{file}: {_share(impossible, 'where no body can be')}; check the units, the order of "
            "the joints and what marks missing values"
        )
    return found


def _share(bad: Bools, what: str) -> str:
    frames = np.flatnonzero(bad.any(axis=1))
    return (
        f"{bad.sum()} samples of joints in {len(frames)} frames, first in frame "
        f"{frames[0] + 1 if len(frames) else 0}, {what}"
    )


def _marked(
    positions: Numbers,
    known: Bools,
    mm: float,
    roots: Sequence[int],
    marks: Sequence[float] | None,
) -> Bools:
    """Return ``(frame, joint)`` where numbers say that a joint was not seen."""
    zero = known & (positions == 0).all(axis=2)
    if marks is not None:
        bad = np.isin(positions, [mark for mark in marks if mark]).any(axis=2)
        return np.asarray(bad | zero if 0 in marks else bad)
    bad = known & is_mark(positions).any(axis=2)
    bad |= known & _one_number(positions)
    bad |= _collapsed(positions) | _one_zero(positions, mm)
    # Positions may be relative to a joint, which is then at 0, 0, 0 throughout.
    relative = zero[:, list(roots)].all()
    for joint in np.flatnonzero(zero.all(axis=0)).tolist():
        bad[:, joint] |= not relative and joint not in roots
    for joint in np.flatnonzero(zero.any(axis=0) & ~zero.all(axis=0)).tolist():
        for first, last in _runs(zero[:, joint]):
            steps = np.linalg.norm(_beside(positions[:, joint], first, last), axis=-1) * mm
            near = len(steps) > 0 and (steps <= LEAP_MM).all()
            passing = near and (last - first == 1 or (first == 0 and joint in roots))
            if not passing:
                bad[first:last, joint] = True
    return bad


def _one_number(positions: Numbers) -> Bools:
    """Return where one number other than 0 is in all coordinates, of a number that is so often."""
    same = (positions == positions[..., :1]).all(axis=2) & (positions[..., 0] != 0)
    if not same.any():
        return same
    numbers, counts = np.unique(positions[same][:, 0], return_counts=True)
    return same & np.isin(positions[..., 0], numbers[counts >= 3])


def _one_zero(positions: Numbers, mm: float) -> Bools:
    """Return where a single coordinate leaps to exactly 0 and away again."""
    bad = np.zeros(positions.shape[:2], dtype=np.bool_)
    zero = positions == 0
    for joint, axis in np.argwhere(zero.any(axis=0) & ~zero.all(axis=0)).tolist():
        values = positions[:, joint, axis]
        for first, last in _runs(zero[:, joint, axis]):
            beside = [values[at] for at in (first - 1, last) if 0 <= at < len(values)]
            if all(abs(one) * mm > LEAP_MM for one in beside):
                bad[first:last, joint] = True
    return bad


def _collapsed(positions: Numbers) -> Bools:
    """Return where a joint lies in the same point as half of the joints or more."""
    joints = positions.shape[1]
    if joints < 4:
        return np.zeros(positions.shape[:2], dtype=np.bool_)
    ordered = np.sort(positions, axis=1)
    middle = ordered[:, joints // 2]
    same = (positions == middle[:, None]).all(axis=2)
    return np.asarray(same & (same.sum(axis=1) >= joints / 2)[:, None])


def _beside(values: Numbers, first: int, last: int) -> Numbers:
    """Return the finite values just before and just after a run."""
    beside = [values[at] for at in (first - 1, last) if 0 <= at < len(values)]
    return np.array([one for one in beside if np.isfinite(one).all()]).reshape(-1, 3)


def _runs(mask: Bools) -> Iterator[tuple[int, int]]:
    """Yield the first frame of each run of True, and the one after its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _middle(positions: Numbers) -> Numbers:
    """Return ``(frame, 1, 3)`` median of the joints that are known; nan where none is."""
    found = np.full((len(positions), 1, 3), np.nan)
    some = np.asarray(np.isfinite(positions).all(axis=2)).any(axis=1)
    found[some] = np.nanmedian(positions[some], axis=1, keepdims=True)
    return found


def _far(positions: Numbers, fps: float) -> Bools:
    """Return where a joint is farther from the body's middle than a body is long."""
    return np.linalg.norm(positions - _middle(positions), axis=2) > FAR_MM


def _median(values: Numbers) -> Numbers:
    """Return the median over frames; nan where all are nan."""
    found = np.full(values.shape[1:], np.nan)
    some = np.isfinite(values).any(axis=0)
    found[some] = np.nanmedian(values[:, some], axis=0)
    return found


def _next_joints(positions: Numbers) -> list[tuple[int, int]]:
    """Return for each joint the two others whose distance from it changes least."""
    whole = np.flatnonzero(np.isfinite(positions).all(axis=(1, 2)))
    if len(whole) < 3:
        whole = np.flatnonzero(np.asarray(np.isfinite(positions).all(axis=2)).any(axis=1))
    some = positions[whole[np.unique(np.linspace(0, len(whole) - 1, SAMPLED).astype(np.int64))]]
    pairs = []
    for joint in range(positions.shape[1]):
        distance = np.linalg.norm(some - some[:, joint : joint + 1], axis=2)
        usual = _median(distance)
        # Of joints that move alike, the nearer one is on the same limb.
        spread = _median(np.abs(distance - usual)) + 0.05 * usual
        spread[joint] = np.inf
        one, other = np.argsort(np.nan_to_num(spread, nan=np.inf), kind="stable")[:2].tolist()
        pairs.append((one, other))
    return pairs


def _changes(positions: Numbers, joint: int, other: int, bounds: tuple[float, float]) -> Bools:
    """Return the frames in which the distance of two joints is unusual by more than ``bounds``."""
    distance = np.linalg.norm(positions[:, joint] - positions[:, other], axis=1)
    if not np.isfinite(distance).any():
        return np.zeros(len(positions), dtype=np.bool_)
    usual = np.nanmedian(distance)
    return np.abs(distance - usual) > max(bounds[0], bounds[1] * usual)


def _stretched(positions: Numbers, fps: float) -> Bools:
    """Return where the distances of a joint from both joints next to it cannot be."""
    bad = np.zeros(positions.shape[:2], dtype=np.bool_)
    if not _comparable(positions):
        return bad
    for joint, others in enumerate(_next_joints(positions)):
        bad[:, joint] = np.logical_and(
            *(_changes(positions, joint, other, STRETCH) for other in others)
        )
    return bad


def _held(positions: Numbers, fps: float) -> Bools:
    """Return where a joint repeats exactly while its distance from the next one changes."""
    bad = np.zeros(positions.shape[:2], dtype=np.bool_)
    still = (np.diff(positions, axis=0) == 0).all(axis=2)
    if not still.any() or not _comparable(positions):
        return bad
    least = max(3, round(HELD_SECONDS * fps))
    pairs = _next_joints(positions)
    for joint in np.flatnonzero(still.any(axis=0) & ~still.all(axis=0)).tolist():
        changes = _changes(positions, joint, pairs[joint][0], HELD)
        for first, last in _runs(still[:, joint]):
            # The first frame of a run was seen; the others repeat it.
            if last - first + 1 >= least and changes[first : last + 1].any():
                bad[first + 1 : last + 1, joint] = True
    return bad


def _fast(positions: Numbers, fps: float) -> Bools:
    """Return both ends of every step of a joint that is too fast against both next to it."""
    bad = np.zeros(positions.shape[:2], dtype=np.bool_)
    if not _comparable(positions):
        return bad
    steps = np.diff(positions, axis=0)
    for joint, others in enumerate(_next_joints(positions)):
        own = steps[:, joint, None] - steps[:, list(others)]
        fast = (np.linalg.norm(own, axis=2) > max(STEP_MM, SPEED * 1000 / fps)).all(axis=1)
        bad[1:, joint] |= fast
        bad[:-1, joint] |= fast
    return bad


def _comparable(positions: Numbers) -> bool:
    """Return whether there are joints to compare with."""
    return positions.shape[1] > 2 and bool(np.isfinite(positions).all(axis=2).any())
