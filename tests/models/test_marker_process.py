"""The process of a marker in the frame of the markers that move with it."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bench.motion import Skeleton, Windows
from models.linear import Linear
from models.marker_process import FLOOR, SHARPNESS, MarkerProcess, gaps, turns
from tests.conftest import walk

TRAIN, TEST = walk(12, seed=1), walk(3, seed=2)
JOINTS = len(TRAIN.skeleton)


def fitted(train: Windows = TRAIN, **values: float) -> MarkerProcess:
    model = MarkerProcess(train.spec, MarkerProcess.Settings(**values))
    model.fit(train, train)
    return model


@cache
def default() -> MarkerProcess:
    return fitted()


def hidden(windows: Windows, *places: tuple[slice, int]) -> torch.Tensor:
    mask = torch.zeros(windows.motion.shape, dtype=torch.bool)
    for frames, joint in places:
        mask[:, frames, joint] = True
    return mask


def moved(windows: Windows, turn: Rotation, shift: NDArray[np.float64]) -> Windows:
    """Return windows turned and shifted as a whole."""
    motion = windows.motion @ turn.as_matrix().T + shift
    return replace(windows, motion=motion.astype(np.float32))


def bodies(count: int, seed: int) -> Windows:
    """Return windows of two rigid bodies of nine points, each of which moves on its own."""
    rng = np.random.default_rng(seed)
    shape = np.random.default_rng(0).normal(0, 150, (JOINTS, 3))
    time = np.linspace(0, 1, 50)[:, None]
    halves = [
        [
            Rotation.from_rotvec(time * rng.normal(0, 1.5, 3)).as_matrix() @ half.T
            + (time * rng.normal(0, 500, 3) + rng.normal(0, 500, 3))[..., None]
            for half in (shape[:9], shape[9:])
        ]
        for _ in range(count)
    ]
    motion = np.stack([np.concatenate(pair, axis=2).swapaxes(1, 2) for pair in halves])
    return replace(walk(count), motion=motion.astype(np.float32))


def test_a_marker_that_moves_rigidly_with_others_is_found() -> None:
    model, test = fitted(bodies(12, 1)), bodies(2, 2)
    mask = hidden(test, (slice(0, 50), 3), (slice(5, 48), 12))
    completed = model.impute(test.tensor(), mask)
    error = (completed.motion - test.tensor())[mask].abs().mean()
    line = (Linear(test.spec).impute(test.tensor(), mask).motion - test.tensor())[mask].abs().mean()
    assert float(error) < 3 < 20 < float(line)


def test_the_regression_is_that_of_the_equations() -> None:
    """One gap, computed again in numpy: every weight, rotation and covariance by itself."""
    model = fitted(memory=20, near=6)
    joint, inside = 5, range(10, 40)
    mask = hidden(TEST, (slice(10, 40), joint))
    found = model.impute(TEST.tensor(), mask)
    memory = model.memory[: int(model.stored)].numpy()
    others = [one for one in range(JOINTS) if one != joint]
    weight = np.exp(-model.spread[joint, others].numpy() / float(model.reach)) + FLOOR
    donors = sorted([*range(10), *range(40, 50)], key=lambda f: min(abs(f - 10), abs(f - 39)))[:6]
    window = TEST.motion[0].astype(np.float64)
    poses = [*memory, *(window[frame] for frame in [*donors, *inside])]
    onto = model.pose.numpy()[others]
    rows, targets, back = [], [], []
    for pose in poses:
        centre = np.average(pose[others], axis=0, weights=weight)
        turn, _ = Rotation.align_vectors(
            onto - np.average(onto, axis=0, weights=weight), pose[others] - centre, weights=weight
        )
        rows.append(turn.apply(pose[others] - centre))
        targets.append(turn.apply(pose[joint] - centre))
        back.append((turn, centre))
    mean = np.mean(rows[: len(memory)], axis=0)
    features = [((row - mean) * np.sqrt(weight / weight.mean())[:, None]).ravel() for row in rows]
    size = np.mean([row @ row for row in features[: len(memory)]])
    chosen, scale = model.settings, float(model.scale)

    def covariance(a: int, b: int) -> float:
        apart = ((features[a] - features[b]) ** 2).sum() / (2 * SHARPNESS * scale**2 * size)
        value = chosen.linear * features[a] @ features[b] / size
        value += chosen.local * (1 + apart) ** -SHARPNESS
        frames = [*[None] * len(memory), *donors, *inside]
        first, second = frames[a], frames[b]
        if first is not None and second is not None:
            seconds = abs(first - second) / TEST.fps
            value += chosen.drift * np.exp(-1000 * seconds / chosen.drift_ms)
        return value

    known, whole = range(len(memory) + 6), range(len(poses))
    full = np.array([[covariance(a, b) for b in whole] for a in whole])
    count = len(known)
    inner = np.linalg.inv(full[:count, :count] + chosen.noise * np.eye(count))
    offset = np.mean(targets[: len(memory)], axis=0)
    local = full[count:, :count] @ inner @ (np.array(targets)[:count] - offset) + offset
    expected = [
        turn.inv().apply(place) + centre
        for place, (turn, centre) in zip(local, back[count:], strict=True)
    ]
    np.testing.assert_allclose(found.motion[0, 10:40, joint], expected, atol=0.02)
    across = full[count:, :count]
    variance = np.diag(full)[count:] - np.einsum("ab,bc,ac->a", across, inner, across)
    sigma = float(model.inflation) * np.sqrt(variance + chosen.noise)
    assert found.sigma is not None
    np.testing.assert_allclose(found.sigma[0, 10:40, joint, 1], sigma, rtol=1e-3)


def test_a_completion_moves_with_the_body() -> None:
    """No pose is laid on another by where it is in the room, or which way it faces."""
    model = default()
    elsewhere = moved(TEST, Rotation.from_rotvec([0.3, 2.0, -0.5]), np.array([900, 50, -2000]))
    mask = hidden(TEST, (slice(3, 47), 4), (slice(0, 45), 11))
    near, far = (model.impute(one.tensor(), mask).motion.numpy() for one in (TEST, elsewhere))
    again = moved(
        replace(TEST, motion=near),
        Rotation.from_rotvec([0.3, 2.0, -0.5]),
        np.array([900, 50, -2000]),
    )
    np.testing.assert_allclose(far, again.motion, atol=0.05)


def test_what_is_hidden_has_no_part_in_the_completion() -> None:
    model = default()
    mask = hidden(TEST, (slice(3, 47), 4), (slice(0, 45), 11))
    expected = model.impute(TEST.tensor(), mask)
    for poison in (1e30, torch.nan):
        found = model.impute(torch.where(mask, poison, TEST.tensor()), mask)
        assert torch.equal(found.motion, expected.motion)
        assert found.sigma is not None
        assert expected.sigma is not None
        assert torch.equal(found.sigma, expected.sigma)


def test_a_gap_takes_the_joints_and_frames_that_are_seen() -> None:
    seen = torch.ones(10, 5, dtype=torch.bool)
    seen[2:5, 0] = seen[7:9, 0] = False
    seen[4:8, 1] = False
    first, second, third = gaps(seen, near=3)
    assert (first.joint, first.frames.tolist(), first.others.tolist()) == (0, [2, 3, 4], [2, 3, 4])
    assert first.donors.tolist() == [1, 5, 0]
    assert (second.joint, second.frames.tolist()) == (0, [7, 8])
    assert second.donors.tolist() == [6, 9, 5]
    assert (third.joint, third.others.tolist()) == (1, [2, 3, 4])
    assert list(gaps(seen[:, :3], near=3)) == []  # fewer than three others


def test_lines_fill_what_too_few_joints_are_seen_for() -> None:
    model = default()
    mask = torch.ones(TEST.motion.shape, dtype=torch.bool)
    mask[:, :, :2] = False
    mask[:, ::7] = False
    line = Linear(TEST.spec)
    line.fit(TRAIN, TRAIN)
    assert torch.equal(
        model.impute(TEST.tensor(), mask).motion, line.impute(TEST.tensor(), mask).motion
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_weighted_rotation_is_that_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pose, onto, weight = rng.normal(size=(7, 3)), rng.normal(size=(7, 3)), rng.random(7)
    rotation, centre = turns(*map(torch.from_numpy, (pose[None], onto, weight)))
    np.testing.assert_allclose(centre[0], np.average(pose, axis=0, weights=weight))
    middle = np.average(onto, axis=0, weights=weight)
    expected, _ = Rotation.align_vectors(onto - middle, pose - centre[0].numpy(), weights=weight)
    np.testing.assert_allclose(rotation[0].T, expected.as_matrix(), atol=1e-7)


def test_the_choice_is_made_on_train_windows_alone() -> None:
    """Neither the validation windows nor overlapping windows of the same recording count."""
    one = MarkerProcess(TRAIN.spec)
    one.fit(TRAIN, TEST)
    other = default()
    for name, buffer in one.named_buffers():
        assert torch.equal(buffer, dict(other.named_buffers())[name])
    alone = MarkerProcess(TRAIN.spec)
    alone.fit(TRAIN.take(slice(0, 1)), TRAIN)
    assert (float(alone.reach), float(alone.inflation)) == (8, 1)


def test_it_needs_no_bones() -> None:
    names = TEST.skeleton.names
    points = Skeleton(names, (-1,) * JOINTS, np.zeros((JOINTS, 3)), {"all": names}, ())
    train, test = (replace(one, skeleton=points) for one in (TRAIN, TEST))
    mask = hidden(TEST, (slice(3, 47), 4))
    expected = default().impute(TEST.tensor(), mask).motion
    assert torch.equal(fitted(train).impute(test.tensor(), mask).motion, expected)
