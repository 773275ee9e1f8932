"""The points and frames that a gap is filled from, where no frame need be complete."""

from dataclasses import dataclass

import numpy as np

from bench.core.spacing import spaced
from bench.fill.gaps import Bools, Frames, Gap, Numbers, seen_in

LEAST = 3
"""Fewest other points from which a place in space follows."""
MOST = 16
"""Most other points that a gap is filled from."""
DONORS = 30
"""Fewest frames in which the point and all others are seen."""
KEPT = 0.5
"""Least share of the frames of a point that a fourth or later one of the others must leave."""
MEMORY = 200
"""Most donors, evenly spaced over the recording."""
NEAR = 40
"""Most donors next to the gap."""
GRID = 1000
"""Frames, evenly spaced over the recording, among which memory is looked for."""
AROUND = 300
"""Frames on either side of a gap in which donors are looked for."""
SHORTEST = 4
"""Frames up to which a gap is not halved."""
MEASURED = 500
"""Frames, evenly spaced, that distances are measured on at most."""
SHARED = 20
"""Fewest of them in which both points of a distance are seen."""


@dataclass(frozen=True)
class Support:
    """Part of a gap, and what it is filled from.

    Attributes:
        point: the missing point.
        frames: ``(frame,)`` the part of the gap.
        others: ``(point,)`` points that are seen in all of ``frames``, steadiest distance first.
        spread: ``(point,)`` standard deviations of their distance to it, mm.
        memory: ``(frame,)`` donors, evenly spaced: frames in which the point and all others are
            seen.
        near: ``(frame,)`` donors next to the gap, nearest first.
    """

    point: int
    frames: Frames
    others: Frames
    spread: Numbers
    memory: Frames
    near: Frames


def spread_of(positions: Numbers, seen: Bools, point: int) -> Numbers:
    """Return ``(point,)`` standard deviations of distances to a point, mm; inf if rarely known.

    Args:
        positions: ``(frame, point, 3)``, mm.
        seen: bool ``(frame, point)``; other values are not used.
        point: number of the point.
    """
    frames = np.flatnonzero(seen[:, point])
    frames = frames[spaced(len(frames), MEASURED)]
    known = seen[frames]
    distance = np.linalg.norm(positions[frames] - positions[frames, point, None], axis=-1)
    count = known.sum(axis=0)
    mean = np.where(known, distance, 0).sum(axis=0) / count.clip(1)
    square = np.where(known, (distance - mean) ** 2, 0).sum(axis=0) / count.clip(1)
    return np.where(count >= SHARED, np.sqrt(square), np.inf)


class Supports:
    """What the gaps of a recording are filled from.

    Donors are looked for around each gap and among frames that are evenly spaced over the
    recording, so that a gap takes as long in a long recording as in a short one.

    Args:
        seen: bool ``(frame, point)``.
    """

    def __init__(self, seen: Bools) -> None:
        self._seen = seen
        self._grid = spaced(len(seen), GRID)
        self._apart = np.ones(len(seen), dtype=np.bool_)
        self._apart[self._grid] = False
        self._on_grid = _masks(seen[self._grid])

    def of(self, spread: Numbers, gap: Gap) -> tuple[list[Support], list[Gap]]:
        """Return the parts of a gap that other points can fill, and the rest.

        Where too few points are seen throughout, the gap is halved until enough are.

        Args:
            spread: ``(point,)``, as from ``spread_of`` for the gap's point.
            gap: what to fill.
        """
        if support := self._support(spread, gap):
            return [support], []
        if len(gap) <= SHORTEST:
            return [], [gap]
        middle = (gap.start + gap.stop) // 2
        found: list[Support] = []
        rest: list[Gap] = []
        for start, stop in ((gap.start, middle), (middle, gap.stop)):
            inside, outside = self.of(spread, Gap(gap.point, start, stop, gap.place))
            found += inside
            rest += outside
        return found, rest

    def _support(self, spread: Numbers, gap: Gap) -> Support | None:
        """Return what a gap is filled from: the points of steadiest distance that leave donors."""
        usable = self._seen[gap.start : gap.stop].all(axis=0) & np.isfinite(spread)
        usable[gap.point] = False
        if usable.sum() < LEAST:
            return None
        order = np.argsort(np.where(usable, spread, np.inf), kind="stable")[: usable.sum()]
        around = slice(max(gap.start - AROUND, 0), gap.stop + AROUND)
        apart = self._apart[around]
        near_by = _masks(self._seen[around] & apart[:, None])
        donors = self._on_grid[gap.point], near_by[gap.point]
        least = KEPT * _count(donors)
        others: list[int] = []
        for other in order.tolist():
            left = donors[0] & self._on_grid[other], donors[1] & near_by[other]
            if _count(left) >= max(DONORS, 0 if len(others) < LEAST else least):
                others.append(other)
                donors = left
                if len(others) == MOST:
                    break
        if len(others) < LEAST:
            return None
        lasting = self._grid[_unmasked(donors[0], len(self._grid))]
        found = np.concatenate([lasting, around.start + _unmasked(donors[1], len(apart))])
        away = np.maximum(gap.start - found, found - gap.stop + 1)
        near = found[np.argsort(away, kind="stable")[:NEAR]]
        # Of the whole recording only frames of the grid, so that other gaps share them.
        lasting = lasting if len(lasting) >= DONORS else np.sort(found)
        memory = lasting[spaced(len(lasting), MEMORY)]
        inside = np.arange(gap.start, gap.stop)
        chosen = np.array(others)
        return Support(gap.point, inside, chosen, spread[chosen], memory, near)


def _masks(seen: Bools) -> list[int]:
    """Return an integer per point whose bits are its frames, the first one highest."""
    return [int.from_bytes(row.tobytes()) for row in np.packbits(seen, axis=0).T]


def _count(masks: tuple[int, int]) -> int:
    return masks[0].bit_count() + masks[1].bit_count()


def _unmasked(mask: int, frames: int) -> Frames:
    """Return the frames of a mask, ascending."""
    size = -(-frames // 8)
    bits = np.unpackbits(np.frombuffer(mask.to_bytes(size), np.uint8), count=frames)
    return np.flatnonzero(bits)


def reference_pose(positions: Numbers) -> Numbers:
    """Return a ``(point, 3)`` pose of all points, mm, though no frame need have them all.

    It is the frame with most points; one that it lacks is laid into it by the rigid transform from
    the frame that shares most points with it (Kabsch 1976). It gives poses an orientation alone.

    Args:
        positions: ``(frame, point, 3)``, mm, nan where missing.
    """
    seen = seen_in(positions)
    first = int(seen.sum(axis=1).argmax())
    pose, known = positions[first].copy(), seen[first].copy()
    for point in np.flatnonzero(~known).tolist():
        shared = np.where(seen[:, point], (seen & known).sum(axis=1), -1)
        frame = int(shared.argmax())
        common = seen[frame] & known
        pose[point] = _carried(positions[frame], pose, point, common)
    return np.nan_to_num(pose)


def _carried(source: Numbers, onto: Numbers, point: int, common: Bools) -> Numbers:
    """Return a point of one pose where the rigid transform of common ones lays it in another."""
    if common.sum() < LEAST:
        return source[point]
    before, after = source[common].mean(axis=0), onto[common].mean(axis=0)
    left, _, right = np.linalg.svd((source[common] - before).T @ (onto[common] - after))
    left[:, 2] *= np.linalg.det(left @ right)
    return (source[point] - before) @ left @ right + after
