"""Forward kinematics compared with scipy, and properties of any rotation."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from bench.datasets.synthetic import BODY, SKELETON
from bench.motion import forward_kinematics, rotation_matrices
from bench.motion.kinematics import resample_rotations

VECTORS = arrays(np.float64, (3, len(BODY), 3), elements=st.floats(-4, 4))


@given(VECTORS)
def test_rotation_matrices_match_scipy(vectors: np.ndarray) -> None:
    expected = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(*vectors.shape, 3)
    np.testing.assert_allclose(rotation_matrices(vectors), expected, atol=1e-7)


def test_gradient_at_the_zero_rotation_is_finite() -> None:
    vectors = torch.zeros(1, len(BODY), 3, requires_grad=True)
    forward_kinematics(rotation_matrices(vectors), BODY).sum().backward()
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()
    assert vectors.grad.abs().sum() > 0


@given(VECTORS)
def test_numpy_and_torch_agree_to_a_hundredth_of_a_millimetre(vectors: np.ndarray) -> None:
    exact = forward_kinematics(rotation_matrices(vectors), BODY)
    single = torch.from_numpy(vectors.astype(np.float32))
    placed = forward_kinematics(rotation_matrices(single), BODY)
    assert placed.dtype == torch.float32
    np.testing.assert_allclose(placed.numpy(), exact, atol=1e-2)


@given(VECTORS)
def test_bones_keep_their_length(vectors: np.ndarray) -> None:
    placed = forward_kinematics(rotation_matrices(vectors), BODY)
    for parent, child in BODY.bones:
        length = np.linalg.norm(placed[:, child] - placed[:, parent], axis=-1)
        np.testing.assert_allclose(length, np.linalg.norm(BODY.offsets[child]), rtol=1e-9)


def test_a_chain_is_placed_as_by_hand() -> None:
    vectors = np.random.default_rng(0).normal(size=(len(BODY), 3))
    placed = forward_kinematics(rotation_matrices(vectors), BODY)
    chain = [BODY.names.index(name) for name in ("pelvis", "left_hip", "left_knee", "left_ankle")]
    position, turned = np.zeros(3), Rotation.identity()
    for joint, following in pairwise(chain):
        turned = turned * Rotation.from_rotvec(vectors[joint])
        position = position + turned.apply(BODY.rest[following] - BODY.rest[joint])
        np.testing.assert_allclose(placed[following], position, atol=1e-9)


def test_no_rotation_gives_the_rest_pose() -> None:
    still = np.tile(np.eye(3), (len(BODY), 1, 1))
    np.testing.assert_allclose(forward_kinematics(still, BODY), BODY.rest)


def test_wrong_joint_count_is_refused() -> None:
    with pytest.raises(ValueError, match="18 rotations for 22 joints"):
        forward_kinematics(np.zeros((18, 3, 3)), BODY)


def test_selection_keeps_the_nearest_kept_ancestor() -> None:
    few = BODY.select(["spine1", "left_shoulder", "left_wrist"])
    assert few.parents == (-1, 0, 1)
    assert len(SKELETON) == 18
    assert SKELETON.parents[SKELETON.names.index("left_ankle")] == 0


def test_resampling_at_a_whole_ratio_picks_frames() -> None:
    vectors = np.random.default_rng(1).normal(size=(25, 4, 3))
    every_fourth = resample_rotations(vectors, 100, 25)
    expected = rotation_matrices(vectors[::4])
    np.testing.assert_allclose(every_fourth, expected, atol=1e-7)


def test_resampling_follows_a_steady_turn_exactly() -> None:
    rate = 2.0  # radians per second
    vectors = np.zeros((121, 1, 3))
    vectors[:, 0, 2] = rate * np.arange(121) / 120
    turned = Rotation.from_matrix(resample_rotations(vectors, 120, 25)[:, 0]).as_rotvec()
    assert len(turned) == 26  # one second at 25 fps, both ends
    np.testing.assert_allclose(turned[:, 2], rate * np.arange(26) / 25, atol=1e-9)
