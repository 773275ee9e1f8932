"""The curves that fill the gaps of joints' rotations, each in the axes of its parent.

A rotation is filled from its own samples, as a rotation: ``linear`` is the spherical interpolation
of Shoemake (1985), ``spline`` a curve of continuous angular acceleration. ``pchip``, ``smooth`` and
weighted means are of rotation vectors from a rotation half way between the ends of the gap. A
vector counts in millimetres, by how far it moves the joints below on average, so that errors and
deviations of rotations and of positions are of one kind.
"""

import warnings
from functools import cache, cached_property
from typing import Any, cast

import numpy as np
from scipy.spatial.transform import Rotation, RotationSpline, Slerp

from bench.core.spacing import spaced
from bench.datasets.bvh_file import AXES
from bench.fill.curves import noise_of
from bench.fill.gaps import Bools, Frames, Gap, Numbers
from bench.fill.methods import Completed, Methods, bridge
from bench.fill.tree import Track, Tree

MEASURED = 50
"""Frames that the distance to the joints below is measured on at most."""
LEAST_MM = 1.0
"""Least distance to the joints below, and least movement of what gaps are cut into."""
LEAST_STEP = 1e-6
"""Least movement that deviations are stated by, mm."""
FARTHEST = 2 * np.pi / 3
"""Greatest angle of a sample that a gap is filled from, as farther ones have no clear direction."""


class JointMethods(Methods):
    """The curves on the tracks of a tree.

    Args:
        tree: of the joints.
        values: ``(frame, track, 3)`` as in the file, nan where missing.
        fps: frames per second.
        scale: millimetres of a unit of the file.
    """

    def __init__(self, tree: Tree, values: Numbers, fps: float, scale: float) -> None:
        self.tree, self.values, self.scale = tree, values, scale
        self._whole = _bridged(tree, values)
        self._placed = self._whole[spaced(len(values), MEASURED)]
        self.levers = [self._lever(track) for track in tree.tracks]
        handles = [self._handle(number) for number in range(len(tree.tracks))]
        super().__init__(np.stack(handles, axis=1), fps)
        self.movement = cache(self._movement)

    def complete(self, method: str, gap: Gap, seen: Bools) -> Completed:
        """Fill a gap; ``positions`` are as ``truth`` has them.

        Args:
            method: one of ``METHODS`` but ``auto``.
            gap: what to fill.
            seen: bool ``(frame, track)``, what may be used.
        """
        deviation = self.movement(gap.point, len(gap)) * bridge(gap)
        if not self._is_turn(gap.point):
            return Completed(self._curve(method, gap, seen).positions, deviation, (method,))
        frames, turns, middle = self._around(gap, seen)
        if method in ("linear", "spline") and len(frames) > 1:
            at = np.arange(gap.start, gap.stop).clip(frames[0], frames[-1])
            path = (Slerp if method == "linear" else RotationSpline)(frames, turns)
            return Completed(self._vectors(gap, middle, path(at)), deviation, (method,))
        found = self._through(method, frames, self._vectors(gap, middle, turns), gap)
        return Completed(found.positions, deviation, (method,))

    def truth(self, gap: Gap, seen: Bools) -> Numbers:
        """Return what is known of a gap, ``(frame, 3)`` in mm: a position, or a rotation vector."""
        if not self._is_turn(gap.point):
            return self.positions[gap.start : gap.stop, gap.point]
        _, _, middle = self._around(gap, seen)
        return self._vectors(gap, middle, self._turns(gap.point, np.arange(gap.start, gap.stop)))

    def channels(self, gap: Gap, seen: Bools, found: Numbers) -> Numbers:
        """Return ``(frame, 3)`` values for the file, continuous with the sample before or after."""
        track, lever = self.tree.tracks[gap.point], self.levers[gap.point]
        if not track.turns:
            return found / self.scale
        if self._is_turn(gap.point):
            _, _, middle = self._around(gap, seen)
            angles = _angles(middle * Rotation.from_rotvec(found / lever), track.axes)
        else:
            angles = np.degrees(found / lever)
        if gap.start > 0:
            return _continuous(angles, self.values[gap.start - 1, gap.point], len(track.axes))
        if gap.stop < len(seen):
            after = self.values[gap.stop, gap.point]
            return _continuous(angles[::-1], after, len(track.axes))[::-1]
        return angles

    def degrees(self, point: int, one: Numbers, other: Numbers) -> Numbers:
        """Return the angles ``(frame,)`` between values of a track that turns; nan of another."""
        track = self.tree.tracks[point]
        found = np.full(len(one), np.nan)
        known = np.isfinite(one + other).all(axis=1)
        if track.turns and known.any():
            apart = track.rotation(one[known]).inv() * track.rotation(other[known])
            found[known] = np.degrees(apart.magnitude())
        return found

    def nodes(self, point: int, values: Numbers, frames: Frames) -> Numbers:
        """Return where values of a track put the nodes that it moves, in the axes of its parent.

        Args:
            point: number of the track.
            values: ``(frame, 3)`` of it.
            frames: those in which the joints below are as they are taken to be.

        Returns:
            ``(frame, node, 3)``, mm.
        """
        track = self.tree.tracks[point]
        if not track.turns:
            return (values * self.scale)[:, None]
        arms = self.tree.placed(self._whole[frames], track.node)[:, self.tree.moved(track)]
        turns = track.rotation(values).as_matrix()
        return self.scale * np.einsum("fij,fnj->fni", turns, arms)

    @cached_property
    def moving(self) -> Bools:
        """Bool ``(frame, track)``: what is seen of tracks that move at all."""
        far = np.zeros(self.seen.shape[1])
        for number in np.flatnonzero(self.seen.any(axis=0)):
            far[number] = np.ptp(self.positions[self.seen[:, number], number], axis=0).max()
        return self.seen & (far > LEAST_MM)

    @cached_property
    def noise(self) -> float:
        """Standard deviation of a coordinate's noise, mm."""
        return noise_of(self.positions, self.moving)

    def _movement(self, point: int, frames: int) -> float:
        """Return how far a track moves in so many frames, mm, the root mean square."""
        apart = self.positions[frames:, point] - self.positions[:-frames, point]
        square = np.square(apart[np.isfinite(apart).all(axis=1)]).sum(axis=1)
        return max(float(np.sqrt(square.mean())) if len(square) else LEAST_MM, LEAST_STEP)

    def deviation_deg(self, point: int, deviation: float) -> float:
        """Return a deviation in degrees, given one in mm; nan of a position."""
        turns = self.tree.tracks[point].turns
        return float(np.degrees(deviation / self.levers[point])) if turns else float("nan")

    def _is_turn(self, point: int) -> bool:
        """Return whether a track is any rotation: two axes or one are filled as angles."""
        track = self.tree.tracks[point]
        return track.turns and len(track.axes) == len(AXES)

    def _lever(self, track: Track) -> float:
        """Return by how many millimetres a radian moves the nodes below, the root mean square."""
        if not track.turns:
            return 1.0
        arms = self.tree.placed(self._placed, track.node)[:, self.tree.moved(track)] * self.scale
        square = np.square(arms).sum(axis=-1)
        # Of an axis in any direction, two thirds of a distance's square are across it.
        return max(float(np.sqrt(square.mean() * 2 / 3)) if square.size else 0.0, LEAST_MM)

    def _handle(self, number: int) -> Numbers:
        """Return positions ``(frame, 3)`` of a track, mm: of a rotation, of one point it turns."""
        track, values, lever = self.tree.tracks[number], self.values[:, number], self.levers[number]
        if not track.turns:
            return values * self.scale
        known = np.isfinite(values).all(axis=1)
        found = np.full_like(values, np.nan)
        if self._is_turn(number) and known.any():
            found[known] = track.rotation(values[known]).apply(np.full(3, lever / np.sqrt(3)))
        elif known.any():
            found[known] = lever * np.radians(np.unwrap(values[known], period=360, axis=0))
        return found

    def _turns(self, point: int, frames: Frames) -> Rotation:
        return self.tree.tracks[point].rotation(self.values[frames, point])

    def _around(self, gap: Gap, seen: Bools) -> tuple[Frames, Rotation, Rotation]:
        """Return the samples that a gap is filled from, and the rotation half way between its ends.

        Samples stop where one is too far from that rotation.
        """
        frames = self._knots(gap, seen)
        turns = self._turns(gap.point, frames)
        place = int(np.searchsorted(frames, gap.start))
        ends = np.unique([max(place - 1, 0), min(place, len(frames) - 1)])
        middle = turns[ends].mean()
        far = np.flatnonzero((middle.inv() * turns).magnitude() > FARTHEST)
        far = far[~np.isin(far, ends)]
        first = max(far[far < place], default=-1) + 1
        last = min(far[far >= place], default=len(frames))
        return frames[first:last], turns[first:last], middle

    def _vectors(self, gap: Gap, middle: Rotation, turns: Rotation) -> Numbers:
        return self.levers[gap.point] * (middle.inv() * turns).as_rotvec()


def _bridged(tree: Tree, values: Numbers) -> Numbers:
    """Return values with gaps bridged by straight lines, to tell roughly where joints are."""
    found = np.zeros_like(values)
    frames = np.arange(len(values))
    for number, track in enumerate(tree.tracks):
        known = np.flatnonzero(np.isfinite(values[:, number]).all(axis=1))
        if not len(known):
            if not track.turns:
                offset = tree.nodes[track.node].offset
                found[:, number, : len(track.axes)] = [offset[AXES.index(a)] for a in track.axes]
            continue
        own = values[known, number]
        if track.turns:
            own = np.unwrap(own, period=360, axis=0)
        for axis in range(3):
            found[:, number, axis] = np.interp(frames, known, own[:, axis])
    return found


def _angles(turns: Rotation, axes: str) -> Numbers:
    with warnings.catch_warnings():
        # Where two axes coincide, any sum of two angles will do.
        warnings.simplefilter("ignore", UserWarning)
        return np.asarray(turns.as_euler(cast("Any", axes), degrees=True))


def _continuous(angles: Numbers, before: Numbers, count: int) -> Numbers:
    """Return the same rotations by the angles that are nearest to those of the frame before.

    Args:
        angles: ``(frame, 3)``, degrees.
        before: ``(3,)`` those before the first.
        count: of channels; three have two solutions, others are angles by themselves.
    """
    found = np.empty_like(angles)
    for frame, one in enumerate(angles):
        options = one[None]
        if count == len(AXES):
            options = np.stack([one, [one[0] + 180, 180 - one[1], one[2] + 180]])
        options = options + 360 * np.round((before - options) / 360)
        before = found[frame] = options[np.abs(options - before).sum(axis=1).argmin()]
    return found
