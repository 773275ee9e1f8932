"""Imputers that complete a window from within it: low_rank, pca_gap, rigid and ensemble."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bench.core.registry import MODELS
from bench.motion import Windows
from models.base import Imputer
from models.ensemble import Ensemble
from models.linear import Linear
from models.low_rank import shrunk
from models.pca_gap import PCAGap
from models.rigid import carried
from tests.conftest import walk

TRAIN, TEST = walk(12, seed=1), walk(4, seed=2)
NAMES = ("low_rank", "pca_gap", "rigid", "ensemble")
JOINTS = len(TRAIN.skeleton)


def fitted(name: str, train: Windows = TRAIN, **values: object) -> Imputer:
    cls = MODELS.get(name)
    model = cls(train.spec, cls.Settings(**values))
    model.fit(train, train)
    return model


def joints(*places: tuple[slice | int, int]) -> torch.Tensor:
    """Return a mask of whole joints, given pairs of frames and joint."""
    hidden = torch.zeros(TEST.motion.shape, dtype=torch.bool)
    for frames, joint in places:
        hidden[:, frames, joint] = True
    return hidden


def random_mask(seed: int, share: float) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(TEST.motion.shape) < share)


def turning(windows: Windows, seed: int = 0) -> Windows:
    """Return windows whose joints turn and move together as one rigid body."""
    rng = np.random.default_rng(seed)
    body = windows.skeleton.rest + rng.normal(size=(JOINTS, 3)) * 100
    time = np.linspace(0, 1, windows.motion.shape[1])
    motion = [
        Rotation.from_rotvec(np.outer(time, rng.normal(size=3))).as_matrix() @ body.T
        + rng.normal(size=(1, 3, 1)) * 200 * time[:, None, None]
        for _ in range(len(windows))
    ]
    moved = np.stack(motion).swapaxes(2, 3).astype(np.float32)
    return replace(windows, motion=moved)


BODY = turning(TEST)


# All of them


@pytest.mark.parametrize("name", NAMES)
@given(st.integers(0, 99), st.floats(0, 1))
@settings(max_examples=5, deadline=None)
def test_hidden_values_are_ignored_bit_for_bit(name: str, seed: int, share: float) -> None:
    model, occluded = fitted(name), random_mask(seed, share)
    expected = model.impute(TEST.tensor(), occluded).motion
    for poison in (1e30, torch.nan):
        poisoned = torch.where(occluded, poison, TEST.tensor())
        assert torch.equal(model.impute(poisoned, occluded).motion, expected)


@pytest.mark.parametrize("name", NAMES)
def test_each_window_is_completed_by_itself(name: str) -> None:
    model, occluded = fitted(name), random_mask(1, 0.02) | joints((slice(10, 20), 4))
    together = model.impute(TEST.tensor(), occluded).motion
    for row in range(len(TEST)):
        one = model.impute(TEST.tensor()[row : row + 1], occluded[row : row + 1]).motion
        torch.testing.assert_close(one, together[row : row + 1], atol=1e-2, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_where_nothing_and_the_motion_where_all_is_seen(name: str) -> None:
    model, truth = fitted(name), TEST.tensor()
    completed = model.impute(truth, torch.ones_like(truth, dtype=torch.bool)).motion
    torch.testing.assert_close(completed, model.mean.expand_as(completed))
    completed = model.impute(truth, torch.zeros_like(truth, dtype=torch.bool)).motion
    assert torch.equal(completed, truth)


@pytest.mark.parametrize("name", ["pca_gap", "rigid", "ensemble"])
@pytest.mark.parametrize("frames", [slice(0, 49), slice(1, 50), slice(20, 30)])
def test_whole_hidden_frames_are_linear_in_time(name: str, frames: slice) -> None:
    occluded = joints(*((frames, joint) for joint in range(JOINTS)))
    line = Linear(TEST.spec).impute(TEST.tensor(), occluded).motion
    torch.testing.assert_close(fitted(name).impute(TEST.tensor(), occluded).motion, line)


# low_rank


@given(st.integers(0, 99), st.sampled_from([(4, 7), (7, 4)]), st.floats(0, 5))
@settings(max_examples=20, deadline=None)
def test_shrinking_is_that_of_singular_values(
    seed: int, shape: tuple[int, int], penalty: float
) -> None:
    matrix = np.random.default_rng(seed).normal(size=shape)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    expected = left * np.maximum(values - penalty, 0) @ right
    found = shrunk(torch.from_numpy(matrix)[None], torch.tensor([penalty]).double())[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_low_rank_ends_at_a_fixed_point_of_soft_impute() -> None:
    """Shrinking the completed matrix returns its hidden entries."""
    model = fitted("low_rank", tolerance=1e-9, iterations=5000, penalty=0.05)
    occluded = random_mask(3, 0.3)
    completed = model.impute(TEST.tensor(), occluded).motion
    mean = model.mean.double().flatten(1).numpy()
    for window in range(len(TEST)):
        hidden = occluded[window].flatten(1).numpy()
        matrix = completed[window].double().flatten(1).numpy() - mean
        penalty = 0.05 * np.linalg.norm(np.where(hidden, 0, matrix), ord=2)
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        again = left * np.maximum(values - penalty, 0) @ right
        np.testing.assert_allclose(again[hidden], matrix[hidden], atol=0.1)


def test_low_rank_recovers_a_matrix_of_low_rank() -> None:
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(4, 50, 2)) @ rng.normal(size=(4, 2, 54)) * 100
    motion = np.asarray(TRAIN.motion).mean(axis=0) + factors.reshape(TEST.motion.shape)
    truth, occluded = torch.from_numpy(motion.astype(np.float32)), random_mask(4, 0.3)
    found = fitted("low_rank", penalty=1e-4, iterations=500).impute(truth, occluded).motion
    assert (found - truth)[occluded].abs().mean() < 2


# rigid


@given(st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_carrying_is_kabschs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source, point = rng.normal(size=(3, 3)) * 100, rng.normal(size=3) * 100
    target = Rotation.random(rng=rng).apply(source) + rng.normal(size=3) * 100
    target += rng.normal(size=(3, 3))
    rotation, _ = Rotation.align_vectors(target - target.mean(0), source - source.mean(0))
    expected = rotation.apply(point - source.mean(0)) + target.mean(0)
    # Where the triangle is nearly a line, a pull towards no rotation decides.
    spread = np.linalg.svd(source - source.mean(0), compute_uv=False)
    assume(spread[1] > 0.3 * spread[0])
    parts = (torch.from_numpy(np.array(part))[None] for part in (point, source, target))
    np.testing.assert_allclose(carried(*parts)[0], expected, atol=1)


def test_three_joints_in_a_line_turn_no_more_than_needed() -> None:
    line = torch.tensor([[[0.0, 0, 0], [100, 0, 0], [200, 0, 0]]], dtype=torch.float64)
    point = torch.tensor([[100.0, 50, 0]], dtype=torch.float64)
    torch.testing.assert_close(carried(point, line, line + 7), point + 7)


@pytest.mark.parametrize("frames", [slice(0, 10), slice(20, 40), slice(40, 50)])
def test_rigid_completes_a_rigid_body_exactly(frames: slice) -> None:
    occluded = joints((frames, 3), (frames, 9))
    found = fitted("rigid", BODY).impute(BODY.tensor(), occluded).motion
    torch.testing.assert_close(found, BODY.tensor(), atol=1.0, rtol=0)


def test_a_joint_never_seen_is_placed_as_in_a_train_frame() -> None:
    occluded = joints((slice(None), 5))
    found = fitted("rigid", BODY).impute(BODY.tensor(), occluded).motion
    torch.testing.assert_close(found, BODY.tensor(), atol=1.0, rtol=0)


def test_rigid_chooses_the_joints_that_keep_their_distance() -> None:
    """The others move at random, so only the four of the body can give the answer."""
    rng = np.random.default_rng(3)
    motion = rng.normal(size=BODY.motion.shape).astype(np.float32) * 300
    body = [2, 6, 11, 15]
    motion[:, :, body] = BODY.motion[:, :, body]
    windows = replace(BODY, motion=motion)
    occluded = joints((slice(10, 30), 6))
    found = fitted("rigid", windows).impute(windows.tensor(), occluded).motion
    torch.testing.assert_close(found, windows.tensor(), atol=1.0, rtol=0)


def test_rigid_is_linear_where_fewer_than_three_joints_are_seen() -> None:
    occluded = joints(*((slice(10, 20), joint) for joint in range(2, JOINTS)))
    line = Linear(TEST.spec).impute(TEST.tensor(), occluded).motion
    torch.testing.assert_close(fitted("rigid").impute(TEST.tensor(), occluded).motion, line)


# pca_gap


def reference(
    motion: NDArray[np.float64], gap: NDArray[np.bool_], joint: int, model: PCAGap
) -> NDArray[np.float64]:
    """Reconstruct one joint of a window by singular value decompositions; others are all seen."""
    constants = model.settings
    train = motion[~gap]
    distance = np.linalg.norm(train - train[:, [joint]], axis=-1).mean(axis=0)
    weight = np.exp(-(distance**2) / (2 * constants.reach**2))
    weight[joint] = constants.gap_weight
    columns = np.repeat(weight, 3)
    mean, deviation = (part.reshape(-1) for part in (train.mean(axis=0), train.std(axis=0)))
    normalised = (motion.reshape(len(motion), -1) - mean) / deviation * columns
    gone = slice(3 * joint, 3 * joint + 3)
    known = normalised.copy()
    known[:, gone] = 0

    def components(data: NDArray[np.float64]) -> NDArray[np.float64]:
        _, values, right = np.linalg.svd(data, full_matrices=False)
        count = np.searchsorted(np.cumsum(values) / values.sum(), constants.explained) + 1
        return right[:count].T

    partial, full = components(known[~gap]), components(normalised[~gap])
    filled = known @ partial @ (partial.T @ full) @ full.T
    return filled[:, gone] / columns[gone] * deviation[gone] + mean[gone]


@pytest.mark.parametrize("frames", [slice(0, 12), slice(15, 35), slice(44, 50)])
def test_pca_gap_is_the_papers_reconstruction(frames: slice) -> None:
    model = fitted("pca_gap", continuous=False)
    assert isinstance(model, PCAGap)
    found = model.impute(TEST.tensor(), joints((frames, 7))).motion[:, frames, 7]
    gap = np.zeros(50, dtype=np.bool_)
    gap[frames] = True
    for window, completed in zip(np.asarray(TEST.motion).astype(np.float64), found, strict=True):
        expected = reference(window, gap, 7, model)[gap]
        np.testing.assert_allclose(completed, expected, atol=0.05)


def test_the_ramp_meets_what_is_seen_and_is_straight() -> None:
    inside, edge = joints((slice(15, 35), 7)), joints((slice(40, 50), 7))
    plain, ramped = (fitted("pca_gap", continuous=on) for on in (False, True))
    truth = TEST.tensor()
    gain = ramped.impute(truth, inside).motion - plain.impute(truth, inside).motion
    bend = gain[:, 15:35, 7].diff(n=2, dim=1)
    torch.testing.assert_close(bend, torch.zeros_like(bend), atol=1e-2, rtol=0)
    # Beyond the last seen frame, the ramp is the error there.
    gain = (ramped.impute(truth, edge).motion - plain.impute(truth, edge).motion)[:, 40:, 7]
    torch.testing.assert_close(gain, gain[:, :1].expand_as(gain), atol=1e-2, rtol=0)
    assert gain.abs().max() > 1


def test_pca_gap_recovers_joints_that_move_together() -> None:
    """All joints follow two curves, so two components are all there is."""
    rng = np.random.default_rng(5)
    time = np.linspace(0, 6, 50)
    curves = np.stack([np.sin(time), np.cos(1.7 * time)], axis=1)
    axes = rng.normal(size=(4, 2, JOINTS * 3)) * 100
    motion = TRAIN.skeleton.rest + (curves @ axes).reshape(4, 50, JOINTS, 3)
    truth = torch.from_numpy(motion.astype(np.float32))
    occluded = joints((slice(10, 25), 7), (slice(20, 35), 12))
    found = fitted("pca_gap", explained=0.999, gap_weight=1e-3).impute(truth, occluded).motion
    line = Linear(TEST.spec).impute(truth, occluded).motion
    error, other = ((part - truth)[occluded].abs().mean() for part in (found, line))
    assert error < 0.1 * other


def test_pca_gap_is_linear_where_it_has_nothing_to_go_by() -> None:
    """Too few complete frames, or no joint seen throughout the gap."""
    few = joints((slice(0, 31), 7))
    nobody = joints(*((slice(5 * n, 5 * n + 6), n) for n in range(9)), (slice(0, 49), 17))
    nobody[:, :25, 9:] = True
    for occluded in (few, nobody):
        line = Linear(TEST.spec).impute(TEST.tensor(), occluded).motion
        found = fitted("pca_gap").impute(TEST.tensor(), occluded).motion
        assert torch.equal(found[:, :, [7, 17]], line[:, :, [7, 17]])


# ensemble


def test_the_ensemble_weighs_by_the_likelihood_of_neighbour_distances() -> None:
    model = fitted("ensemble", neighbours=2, tolerance=15.0)
    assert isinstance(model, Ensemble)
    occluded = joints((slice(15, 30), 7), (slice(20, 26), 3))
    fills = [
        fitted(name).impute(TEST.tensor(), occluded).motion.double().numpy()
        for name in ("linear", "rigid", "pca_gap")
    ]
    frames = np.asarray(TRAIN.motion).astype(np.float64).reshape(-1, JOINTS, 3)
    found = model.impute(TEST.tensor(), occluded).motion
    for joint, frame in ((7, 22), (3, 25), (7, 16)):
        train = np.linalg.norm(frames - frames[:, [joint]], axis=-1)
        nearest = [other for other in train.std(axis=0).argsort() if other != joint][:2]
        for window in range(len(TEST)):
            likelihoods = []
            for fill in fills:
                pose = fill[window, frame]
                distances = np.linalg.norm(pose[nearest] - pose[joint], axis=-1)
                variance = train[:, nearest].var(axis=0) + 15.0**2
                errors = distances - train[:, nearest].mean(axis=0)
                likelihoods.append(np.exp(-(errors**2) / (2 * variance)).prod())
            positions = [fill[window, frame, joint] for fill in fills]
            expected = np.average(positions, axis=0, weights=likelihoods)
            np.testing.assert_allclose(found[window, frame, joint], expected, atol=1e-2)


def test_the_ensemble_follows_the_plausible_imputer() -> None:
    """In a turning rigid body, straight lines change distances and rigid fills do not."""
    occluded = joints((slice(5, 45), 3))
    model = fitted("ensemble", BODY, tolerance=1.0)
    truth = BODY.tensor()
    line = Linear(BODY.spec).impute(truth, occluded).motion
    error, other = (
        (part - truth)[occluded].square().mean()
        for part in (model.impute(truth, occluded).motion, line)
    )
    assert error < 0.05 * other


def test_low_rank_gains_by_iterating() -> None:
    few, many = (fitted("low_rank", iterations=count, tolerance=1e-9) for count in (1, 200))
    occluded = random_mask(6, 0.5)
    truth = TEST.tensor()
    errors = [(one.impute(truth, occluded).motion - truth).square().mean() for one in (few, many)]
    assert errors[1] < errors[0]
