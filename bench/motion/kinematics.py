"""Forward kinematics, for numpy arrays and torch tensors alike, and resampling of motion."""

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
        vectors: ``(..., 3)`` axis times angle, in radians.

    Returns:
        ``(..., 3, 3)`` matrices ``R`` that rotate column vectors, ``R @ v``; gradients are finite
        at the zero rotation too.
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
    orientations: list[Array] = []
    positions: list[Array] = []
    for joint, parent in enumerate(skeleton.parents):
        local = rotations[..., joint, :, :]
        if parent < 0:
            orientations.append(local)
            positions.append(xp.broadcast_to(offsets[joint], local.shape[:-1]))
        else:
            bone = (orientations[parent] @ offsets[joint][:, None])[..., 0]
            orientations.append(orientations[parent] @ local)
            positions.append(positions[parent] + bone)
    return xp.stack(positions, axis=-2)


def resample_rotations(
    vectors: NDArray[np.float64], source_fps: float, fps: float
) -> NDArray[np.float64]:
    """Return local rotations at another frame rate, by spherical linear interpolation.

    Interpolating rotations rather than positions keeps bone lengths exact at any ratio of rates.

    Args:
        vectors: ``(frame, joint, 3)`` rotation vectors at ``source_fps``, in radians.
        source_fps: frames per second of ``vectors``.
        fps: frames per second of the result, which starts at frame 0 and ends within the source.

    Returns:
        ``(frame, joint, 3, 3)`` rotation matrices at ``fps``.
    """
    frames, joints = vectors.shape[:2]
    if frames == 0:
        return np.empty((0, joints, 3, 3))
    before, after, fraction = neighbours(frames, source_fps, fps)
    return rotations_between(vectors[before], vectors[after], fraction)


def rotations_between(
    before: NDArray[np.float64], after: NDArray[np.float64], fraction: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return rotations interpolated on the sphere between two sets of rotations.

    Args:
        before: ``(frame, joint, 3)`` rotation vectors at fraction 0, in radians.
        after: ``(frame, joint, 3)`` rotation vectors at fraction 1, in radians.
        fraction: ``(frame,)`` how far from ``before`` to ``after``, in [0, 1].

    Returns:
        ``(frame, joint, 3, 3)`` rotation matrices.
    """
    joints = before.shape[1]
    repeated = np.repeat(fraction, joints)[:, None]
    start = Rotation.from_rotvec(before.reshape(-1, 3))
    end = Rotation.from_rotvec(after.reshape(-1, 3))
    step = Rotation.from_rotvec(repeated * (start.inv() * end).as_rotvec())
    return (start * step).as_matrix().reshape(-1, joints, 3, 3)


def resample_positions(
    positions: NDArray[np.float64], source_fps: float, fps: float
) -> NDArray[np.float64]:
    """Return positions at another frame rate, by linear interpolation.

    Args:
        positions: ``(frame, joint, 3)`` at ``source_fps``, nan where missing.
        source_fps: frames per second of ``positions``.
        fps: frames per second of the result, which starts at frame 0 and ends within the source.

    Returns:
        ``(frame, joint, 3)`` at ``fps``; nan where a source frame that it needs is.
    """
    if len(positions) == 0:
        return positions
    before, after, fraction = neighbours(len(positions), source_fps, fps)
    weight = fraction[:, None, None]
    between = positions[before] * (1 - weight) + positions[after] * weight
    # Exactly on a source frame, the next one has no weight but may be nan.
    return np.where(weight == 0, positions[before], between)


def neighbours(
    frames: int, source_fps: float, fps: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the two source frames around each frame at another frame rate.

    Args:
        frames: number of source frames.
        source_fps: frames per second of the source.
        fps: frames per second of the result.

    Returns:
        Three arrays ``(frame,)``: the source frame at or before each frame at ``fps``, the one
        after it, and the fraction of the way from the former to the latter, in [0, 1).
    """
    last = frames - 1
    # The tolerances keep a frame that rounding would move past the end or off a source frame.
    times = np.arange(int(last / source_fps * fps + 1e-6) + 1) * (source_fps / fps)
    whole = np.rint(times)
    times = np.where(np.abs(times - whole) < 1e-6, whole, times)
    before = np.minimum(times, last).astype(np.int64)
    return before, np.minimum(before + 1, last), times - before


def orient(root: NDArray[np.float64], orientation: str) -> NDArray[np.float64]:
    """Return the part of the root's rotation that is kept.

    Args:
        root: ``(frame, 3, 3)`` rotation of the body in the world, y up, z forward.
        orientation: ``removed`` gives the identity; ``facing_removed`` removes the rotation about
            the vertical axis in every frame, so that the body leans but always faces forward;
            ``kept`` gives ``root`` unchanged.

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
    """Return positions with the root's rotation removed or kept as in ``orient``.

    Args:
        positions: ``(frame, joint, 3)`` relative to the root, in the world, y up.
        body: ``(frame, 3, 3)`` rotation of the body in the world, nan where unknown.
        orientation: ``removed``, ``facing_removed`` or ``kept``.

    Returns:
        ``(frame, joint, 3)``; nan in frames with unknown rotation, unless it is kept.
    """
    if orientation == "kept":
        return positions
    known = np.isfinite(body).all(axis=(1, 2))
    turn = np.full(body.shape, np.nan)
    turn[known] = orient(body[known], orientation) @ body[known].swapaxes(1, 2)
    return positions @ turn.swapaxes(1, 2)


def mirrored(motion: NDArray[np.float32], skeleton: Skeleton) -> NDArray[np.float32]:
    """Return motion with left and right exchanged: reflected, joints renamed by the pairs.

    Args:
        motion: ``(..., joint, 3)``, mm, relative to the root, x to the left of the body or, where
            its rotation is kept, horizontal.
        skeleton: its ``pairs`` say which joints exchange.
    """
    partner = np.arange(len(skeleton))
    for left, right in (skeleton.index(pair) for pair in skeleton.pairs):
        partner[[left, right]] = right, left
    image = np.take(motion, partner, axis=-2)
    image[..., 0] *= -1
    return image
