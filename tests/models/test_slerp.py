"""Spherical interpolation of bones."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import geometric_slerp
from torch import Tensor

from bench.core.registry import MODELS
from bench.datasets.synthetic import SKELETON
from bench.motion import Skeleton, Windows, forward_kinematics, rotation_matrices
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.flicker import Flicker
from models.slerp import Slerp, directions_between
from tests.conftest import walk

FRAMES = 30
ARM = Skeleton(
    ("shoulder", "elbow", "wrist"),
    (-1, 0, 1),
    np.eye(3),
    {"arm": ("shoulder", "elbow", "wrist")},
    (),
)


def windows(motion: NDArray[np.float64], skeleton: Skeleton) -> Windows:
    rows = [
        {"source": "one", "start": row, "action": "", "subject": ""} for row in range(len(motion))
    ]
    return Windows(motion.astype(np.float32), pd.DataFrame(rows), 25.0, skeleton)


def articulated(count: int, seed: int) -> Windows:
    """Smooth motion with the bones of the synthetic skeleton."""
    rng = np.random.default_rng(seed)
    phase, speed = rng.uniform(0, 6, (2, count, 1, 18, 3))
    time = np.arange(FRAMES)[:, None, None] / 25
    rotations = rotation_matrices(0.7 * np.sin(speed * time + phase))
    return windows(forward_kinematics(rotations, SKELETON), SKELETON)


def arm(elbow_turns: float = 0.5, still: bool = False) -> NDArray[np.float64]:
    """``(frame, 3, 3)``: the shoulder leaves the root, the forearm is 20 mm long, both turn."""
    time = np.zeros(FRAMES) if still else np.arange(FRAMES) / FRAMES
    zero = np.zeros(FRAMES)
    shoulder = np.outer(50 + 40 * time, [0, 0.6, 0.8])
    upper, lower = 2 * np.pi * elbow_turns * time, 1 + 3 * time
    elbow = shoulder + 30 * np.stack([np.cos(upper), np.sin(upper), zero], axis=-1)
    wrist = elbow + 20 * np.stack([zero, np.cos(lower), np.sin(lower)], axis=-1)
    return np.stack([shoulder, elbow, wrist], axis=1)


def slerp(train: Windows) -> Slerp:
    model = Slerp(train.spec)
    model.fit(train, train)
    return model


def impute(model: Slerp, truth: NDArray[np.float64], hidden: NDArray[np.bool_]) -> Tensor:
    """Complete one window, given bool ``(frame, joint)``."""
    occluded = torch.from_numpy(np.repeat(hidden[None, :, :, None], 3, axis=3))
    return model.impute(torch.from_numpy(truth[None].astype(np.float32)), occluded).motion[0]


DIRECTIONS = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda vector: np.linalg.norm(vector) > 0.1)


@settings(deadline=None)
@given(DIRECTIONS, DIRECTIONS, st.floats(0, 1))
def test_directions_are_scipys(
    first: tuple[float, ...], second: tuple[float, ...], weight: float
) -> None:
    before, after = np.array(first), np.array(second)
    units = before / np.linalg.norm(before), after / np.linalg.norm(after)
    found = directions_between(
        torch.from_numpy(3 * before), torch.from_numpy(after), torch.tensor([weight]).double()
    )
    assert found.norm().item() == pytest.approx(1, abs=1e-9)
    if np.linalg.norm(units[0] + units[1]) > 1e-6:  # SciPy refuses opposite directions
        expected = geometric_slerp(*units, weight).reshape(3)
        np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("axis", range(3))
def test_between_opposite_directions_is_a_half_circle(axis: int) -> None:
    start = torch.eye(3, dtype=torch.float64)[axis]
    weight = torch.linspace(0, 1, 7, dtype=torch.float64)[:, None]
    path = directions_between(start.expand(7, 3), -start.expand(7, 3), weight)
    torch.testing.assert_close(path @ start, torch.cos(torch.pi * weight[:, 0]))
    torch.testing.assert_close(path.norm(dim=-1), torch.ones(7, dtype=torch.float64))


def test_bones_that_turn_at_constant_speed_are_restored() -> None:
    truth = arm()
    hidden = np.zeros((FRAMES, 3), dtype=np.bool_)
    hidden[5:18], hidden[20:24, 1], hidden[19:26, 2] = True, True, True
    completed = impute(slerp(windows(truth[None], ARM)), truth, hidden)
    np.testing.assert_allclose(completed, truth, atol=1e-3)


def test_bones_of_hidden_joints_keep_their_length() -> None:
    train, test = articulated(5, seed=0), articulated(4, seed=1)
    hidden = torch.from_numpy(Flicker(level=Level.parse("40%")).occluded(test))
    completed = slerp(train).impute(test.tensor(), hidden).motion
    for parent, joint in SKELETON.bones:
        lengths = (completed[:, :, joint] - completed[:, :, parent]).norm(dim=-1)
        of_hidden = lengths[hidden[:, :, joint, 0]].numpy()
        np.testing.assert_allclose(of_hidden, np.linalg.norm(SKELETON.offsets[joint]), rtol=1e-4)


def test_beyond_the_seen_frames_a_bone_keeps_its_direction_and_follows_its_parent() -> None:
    truth = arm()
    hidden = np.zeros((FRAMES, 3), dtype=np.bool_)
    hidden[:4, 2], hidden[25:, 2] = True, True
    completed = impute(slerp(windows(truth[None], ARM)), truth, hidden)
    bone = truth[:, 2] - truth[:, 1]
    np.testing.assert_allclose(completed[:4, 2], truth[:4, 1] + bone[4], atol=1e-3)
    np.testing.assert_allclose(completed[25:, 2], truth[25:, 1] + bone[24], atol=1e-3)


def test_a_joint_never_seen_has_the_train_means_direction_and_length() -> None:
    still, turned = arm(still=True), arm(still=True)
    turned[:, 1:] += [-30, 30, 0]  # the upper arm along y in place of x
    model = slerp(windows(np.stack([still, turned]), ARM))
    hidden = np.zeros((FRAMES, 3), dtype=np.bool_)
    hidden[:, 1] = True
    completed = impute(model, arm(), hidden)
    between = 30 * np.array([1, 1, 0]) / np.sqrt(2)
    np.testing.assert_allclose(completed[:, 1], arm()[:, 0] + between, atol=1e-3)


def test_a_joint_of_which_the_parent_is_never_seen_does_not_jump() -> None:
    model = slerp(windows(arm(still=True)[None], ARM))
    truth = arm(still=True) + np.array([0, 15, -25])
    hidden = np.zeros((FRAMES, 3), dtype=np.bool_)
    hidden[:, :2], hidden[8:20, 2] = True, True
    completed = impute(model, truth, hidden)
    np.testing.assert_allclose(completed[:, 2], truth[:, 2], atol=1e-3)


def test_a_root_joint_never_seen_is_at_its_train_mean() -> None:
    model = slerp(windows(np.stack([arm(), arm(0.1) + 8]), ARM))
    hidden = np.ones((FRAMES, 3), dtype=np.bool_)
    completed = impute(model, arm(), hidden)
    torch.testing.assert_close(completed[:, 0], model.mean[:, 0])


def test_single_hidden_coordinates_are_interpolated_linearly() -> None:
    data = walk(4, seed=7)
    occluded = torch.zeros(4, 50, 18, 3, dtype=torch.bool)
    occluded[:, 3:40:2, ::2, 1] = True
    linear = MODELS.get("linear")(data.spec)
    linear.fit(data, data)
    expected = linear.impute(data.tensor(), occluded).motion
    assert torch.equal(slerp(data).impute(data.tensor(), occluded).motion, expected)
