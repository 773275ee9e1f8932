"""Rotations to positions, the same code for numpy arrays and torch tensors."""

from typing import Any, TypeVar

import numpy as np
import torch
from array_api_compat import array_namespace
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bench.motion.skeleton import Skeleton

Array = TypeVar("Array", NDArray[Any], torch.Tensor)


def rotation_matrices(vectors: Array) -> Array:
    """Return the rotation matrices of rotation vectors (Rodrigues' formula).

    Args:
        vectors: ``(..., 3)`` axis times angle, radians.

    Returns:
        ``(..., 3, 3)`` matrices ``R`` with ``rotated = R @ column``; gradients at the zero
        rotation are finite.
    """
    xp = array_namespace(vectors)
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    squared = x * x + y * y + z * z
    small = squared < 1e-8
    safe = xp.where(small, xp.ones_like(squared), squared)
    angle = xp.sqrt(safe)
    # sin(a)/a and (1 - cos(a))/a**2, with their Taylor series near zero.
    first = xp.where(small, 1 - squared / 6, xp.sin(angle) / angle)
    second = xp.where(small, 0.5 - squared / 24, (1 - xp.cos(angle)) / safe)
    zero = xp.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    cross = xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)
    identity = xp.eye(3, dtype=vectors.dtype, device=vectors.device)
    return identity + first[..., None, None] * cross + second[..., None, None] * (cross @ cross)


def forward_kinematics(rotations: Array, skeleton: Skeleton) -> Array:
    """Return joint positions relative to the root for local rotations of a skeleton.

    Args:
        rotations: ``(..., joint, 3, 3)``, each joint's rotation in its parent's frame. A joint
            without a parent rotates in the root's frame; identity there keeps the body upright.
        skeleton: its rest pose gives the bone vectors.

    Returns:
        ``(..., joint, 3)`` positions in mm, of the dtype and on the device of ``rotations``.

    Raises:
        ValueError: the joint counts differ.
    """
    if rotations.shape[-3] != len(skeleton):
        raise ValueError(f"{rotations.shape[-3]} rotations for {len(skeleton)} joints")
    xp = array_namespace(rotations)
    offsets = xp.asarray(np.array(skeleton.offsets), dtype=rotations.dtype, device=rotations.device)
    turned: list[Array] = []
    placed: list[Array] = []
    for joint, parent in enumerate(skeleton.parents):
        local = rotations[..., joint, :, :]
        if parent < 0:
            turned.append(local)
            placed.append(xp.broadcast_to(offsets[joint], local.shape[:-1]))
        else:
            turned.append(turned[parent] @ local)
            placed.append(placed[parent] + (turned[parent] @ offsets[joint][:, None])[..., 0])
    return xp.stack(placed, axis=-2)


def resample_rotations(
    vectors: NDArray[np.float64], source_fps: float, fps: float
) -> NDArray[np.float64]:
    """Return local rotations at another frame rate, interpolated on the sphere.

    Interpolating rotations rather than positions keeps bone lengths exact at any ratio of rates.

    Args:
        vectors: ``(frame, joint, 3)`` rotation vectors at ``source_fps``, radians.
        source_fps: frames per second of ``vectors``.
        fps: frames per second asked for; frame 0 stays, the last is the last that fits.

    Returns:
        ``(frame, joint, 3, 3)`` rotation matrices at ``fps``.
    """
    frames, joints = vectors.shape[:2]
    if frames == 0:
        return np.empty((0, joints, 3, 3))
    before, after, part = neighbours(frames, source_fps, fps)
    return rotations_between(vectors[before], vectors[after], part)


def rotations_between(
    before: NDArray[np.float64], after: NDArray[np.float64], part: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return rotations on the way from some to others.

    Args:
        before: ``(frame, joint, 3)`` rotation vectors, radians.
        after: the same of what they turn to.
        part: ``(frame,)`` of the way that is gone, in [0, 1].

    Returns:
        ``(frame, joint, 3, 3)`` rotation matrices.
    """
    joints = before.shape[1]
    share = np.repeat(part, joints)[:, None]
    start = Rotation.from_rotvec(before.reshape(-1, 3))
    end = Rotation.from_rotvec(after.reshape(-1, 3))
    step = Rotation.from_rotvec(share * (start.inv() * end).as_rotvec())
    return (start * step).as_matrix().reshape(-1, joints, 3, 3)


def resample_positions(
    positions: NDArray[np.float64], source_fps: float, fps: float
) -> NDArray[np.float64]:
    """Return positions at another frame rate, on straight lines from one frame to the next.

    Args:
        positions: ``(frame, joint, 3)`` at ``source_fps``, nan where one is missing.
        source_fps: frames per second of ``positions``.
        fps: frames per second asked for; frame 0 stays, the last is the last that fits.

    Returns:
        ``(frame, joint, 3)`` at ``fps``; nan wherever a frame that it takes is.
    """
    if len(positions) == 0:
        return positions
    before, after, part = neighbours(len(positions), source_fps, fps)
    share = part[:, None, None]
    between = positions[before] * (1 - share) + positions[after] * share
    # What falls on a frame takes nothing of the next one, which may be missing.
    return np.where(share == 0, positions[before], between)


def neighbours(
    frames: int, source_fps: float, fps: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return which frames are around each one at another frame rate.

    Args:
        frames: how many there are.
        source_fps: their frames per second.
        fps: frames per second asked for.

    Returns:
        ``(frame,)`` the source frame at or before each frame at ``fps``, the one after it, and the
        part of the way from the one to the other, in [0, 1).
    """
    last = frames - 1
    # The small amounts keep a frame that rounding would push past the end, or off a source frame.
    times = np.arange(int(last / source_fps * fps + 1e-6) + 1) * (source_fps / fps)
    whole = np.rint(times)
    times = np.where(np.abs(times - whole) < 1e-6, whole, times)
    before = np.minimum(times, last).astype(np.int64)
    return before, np.minimum(before + 1, last), times - before


def orient(root: NDArray[np.float64], orientation: str) -> NDArray[np.float64]:
    """Return what is left of the root's rotation.

    Args:
        root: ``(frame, 3, 3)`` rotation of the body in the world, y up, z forward.
        orientation: ``removed`` leaves none; ``facing_removed`` takes away its turn about the
            vertical in every frame, so that the body leans but always faces forward; ``kept``
            leaves all of it.

    Returns:
        ``(frame, 3, 3)`` rotations.
    """
    if orientation == "kept":
        return root
    if orientation == "removed":
        return np.broadcast_to(np.eye(3), root.shape)
    # Where the body's own forward axis points, seen from above.
    heading = np.arctan2(root[:, 0, 2], root[:, 2, 2])
    return Rotation.from_euler("Y", -heading[:, None]).as_matrix() @ root


def facing(
    positions: NDArray[np.float64], body: NDArray[np.float64], orientation: str
) -> NDArray[np.float64]:
    """Return positions with the root's rotation dealt with as ``orient`` says.

    Args:
        positions: ``(frame, joint, 3)`` relative to the root, in the world, y up.
        body: ``(frame, 3, 3)`` rotation of the body in the world, nan where it is not known.
        orientation: ``removed``, ``facing_removed`` or ``kept``.

    Returns:
        ``(frame, joint, 3)``; nan in frames whose rotation is needed and not known.
    """
    if orientation == "kept":
        return positions
    known = np.isfinite(body).all(axis=(1, 2))
    turn = np.full(body.shape, np.nan)
    turn[known] = orient(body[known], orientation) @ body[known].swapaxes(1, 2)
    return positions @ turn.swapaxes(1, 2)
