"""Which way up is, and forward, in a file that may have been turned on its way.

Programs disagree on the axes that point up and forward. What a file shows decides: the rest pose,
if it stands, else the trunk over time; the hips, which are fixed to the root; toes and knees; and,
for the world, how the body stands and walks in it. What these leave open is refused, not guessed.
"""

from collections.abc import Mapping
from itertools import product

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError
from bench.core.notices import note
from bench.datasets.archive import File
from bench.datasets.bvh_rigs import Axis, Rig, frame_of
from bench.motion.body import KEPT

Vectors = NDArray[np.float64]

STANDS = 0.9
"""Least ratio of the distance from feet to head to the bones between, of a pose that stands."""
LEAN = {"rest pose": 15.0, "trunk": 40.0}
"""Most degrees between a body's axes and the nearest ones of the file, by what shows the former."""
LEAN_WORLD = 35.0
"""Most degrees by which the body leans in its world, in the mean over frames."""
HIPS = 2.0
"""Weight of a deviation of the hips' axis."""
STEADY = 0.6
"""Least length of the mean over frames of the body's direction, of a body that stays as it is."""
TURNED = {"rest pose": 15.0, "trunk": 25.0}
"""The same for axes that the file shows, but that its rig does not have."""
TURNED_WORLD = 25.0
"""Most degrees by which the body leans from an axis that its rig does not have up."""
WALK_MM = 500.0
"""Least distance in mm that a body walks, from which the ground's plane is known."""
MEND = (
    "state the root's axes by dataset.up and dataset.forward, and the world's by dataset.vertical"
)

_SIGNED: tuple[Axis, ...] = ("x", "y", "z", "-x", "-y", "-z")
AXES: tuple[tuple[Axis, Axis], ...] = tuple(
    (up, forward) for up, forward in product(_SIGNED, _SIGNED) if up[-1] != forward[-1]
)
"""The 24 pairs of axes that may point up and forward."""


def of_root(
    file: File,
    rest: Mapping[str, Vectors],
    moving: Vectors,
    across: Vectors,
    rig: Rig,
) -> dict[str, Axis]:
    """Return ``up`` and ``forward``, the root's own axes that point where the body's do.

    Args:
        file: for messages.
        rest: ``(3,)`` position of the root and of the 18 joints in the rest pose, by name.
        moving: ``(frame, 18, 3)`` positions from the root, in its axes.
        across: ``(frame, 3)`` from the right hip to the left one, in the root's axes.
        rig: the rig, whose axes are preferred.

    Raises:
        InputError: the body shows neither the rig's axes nor clearly others.
    """
    median = dict(zip(KEPT, np.median(moving, axis=0), strict=True))
    left = np.median(across, axis=0)
    if not np.linalg.norm(left) > 0:
        left = median["left_shoulder"] - median["right_shoulder"]
    shows, up = "trunk", median["neck"]
    standing = _standing_rest(rest)
    # The trunk bends in motion, at rest it does not; but some rest poses have other axes.
    if standing is not None and _degrees(standing, up) < LEAN["trunk"]:
        shows, up = "rest pose", standing
    # The trunk turns against the hips about its own length only, so that these tell the sides.
    forward = np.cross(left, up)
    if not np.linalg.norm(forward) > 0.1 * np.linalg.norm(left) * np.linalg.norm(up):
        raise _unclear(file, "the hips lie along the trunk")
    off = {axes: _angle(frame_of(*axes), left, up) for axes in AXES}
    axes = min(off, key=lambda one: off[one])
    if axes == (rig.up, rig.forward) and off[axes] <= LEAN[shows]:
        return {}
    if off[axes] > TURNED[shows]:
        raise _unclear(
            file, f"by its {shows}, the body is {off[axes]:.0f} degrees off the root's axes"
        )
    if not _ahead(median) @ forward > 0:
        raise InputError(
            f"{file}: toes and knees point backwards, so that left is not left: left and right are "
            f"exchanged, or {MEND}"
        )
    note(
        "axes",
        f"by its {shows}, the root's {axes[0]} points up and its {axes[1]} forward, not "
        f"{rig.up} and {rig.forward} (dataset.up and dataset.forward state others)",
    )
    return dict(zip(("up", "forward"), axes, strict=True))


def of_world(file: File, relative: Vectors, travel: Vectors, rig: Rig) -> dict[str, Axis]:
    """Return ``vertical``, the axis of the file's world that points up.

    Args:
        file: for messages.
        relative: ``(frame, 18, 3)`` positions from the root, in the file's world.
        travel: ``(frame, 3)`` positions of the root in the file's world, mm.
        rig: the rig, with the root's axes that the file shows.

    Raises:
        InputError: the body does not stand along the rig's axis, nor clearly along another.
    """
    joints = {name: relative[:, number] for number, name in enumerate(KEPT)}
    tall = joints["head"] - (joints["left_ankle"] + joints["right_ankle"]) / 2
    up = np.mean(tall / np.maximum(np.linalg.norm(tall, axis=1, keepdims=True), 1e-9), axis=0)
    if np.linalg.norm(up) < STEADY:  # it tumbles, and so shows nothing
        return {}
    off = {axis: _degrees(up, _vector(axis)) for axis in _SIGNED}
    axis = min(off, key=lambda one: off[one])
    if axis == (rig.vertical or "y") and off[axis] <= LEAN_WORLD:
        return {}
    # A body that lies also shows another axis; one whose root has that axis up, or that walks in
    # the plane across it, does not lie.
    if off[axis] <= TURNED_WORLD and (axis == rig.up or _walks_across(travel, axis)):
        note("axes of the world", f"the body stands along the world's {axis}, taken to point up")
        return {"vertical": axis}
    raise _unclear(
        file,
        f"the body does not stand along the world's {rig.vertical or 'y'}: it leans by "
        f"{off[rig.vertical or 'y']:.0f} degrees",
    )


def _standing_rest(rest: Mapping[str, Vectors]) -> Vectors | None:
    """Return the vector from the feet to the head of a rest pose that stands, None if it does not.

    Bones of some rigs all lie along one axis, so that legs and trunk lie side by side at rest.
    """
    middle = {
        joint: (rest[f"left_{joint}"] + rest[f"right_{joint}"]) / 2 for joint in ("knee", "ankle")
    }
    chain = [
        *(middle["ankle"], middle["knee"], rest["root"]),
        *(rest["spine2"], rest["spine3"], rest["neck"], rest["head"]),
    ]
    length = np.linalg.norm(np.diff(np.array(chain), axis=0), axis=1).sum()
    tall = chain[-1] - chain[0]
    return tall if np.linalg.norm(tall) > STANDS * length > 0 else None


def _ahead(points: Mapping[str, Vectors]) -> Vectors:
    """Return the sum of the vectors from the ankles to the feet, and of how far knees are bent."""
    ahead = np.zeros(3)
    for side in ("left", "right"):
        knee, ankle = points[f"{side}_knee"], points[f"{side}_ankle"]
        ahead += points[f"{side}_foot"] - ankle + 2 * (knee - ankle / 2)
    return ahead


def _angle(frame: Vectors, left: Vectors, up: Vectors) -> float:
    """Return by how many degrees a frame (columns left, up, forward) is off the body's axes."""
    # Hips are fixed to the root, the trunk is not: their deviation counts more.
    return max(HIPS * _degrees(frame[:, 0], left), _degrees(frame[:, 1], up))


def _degrees(one: Vectors, other: Vectors) -> float:
    length = np.linalg.norm(one) * np.linalg.norm(other)
    if not length > 0:
        return 180.0
    return float(np.degrees(np.arccos(np.clip(one @ other / length, -1, 1))))


def _vector(axis: Axis) -> Vectors:
    return np.eye(3)["xyz".index(axis[-1])] * (-1 if "-" in axis else 1)


def _walks_across(travel: Vectors, axis: Axis) -> bool:
    """Return whether a body walks, and mainly in the plane across an axis."""
    spread = np.ptp(travel, axis=0)
    along = spread["xyz".index(axis[-1])]
    return bool(np.delete(spread, "xyz".index(axis[-1])).max() > max(WALK_MM, 3 * along))


def _unclear(file: File, why: str) -> InputError:
    return InputError(f"{file}: it is unclear which way is up: {why}; {MEND}")
