"""Errors of windows and of samples, compared with loops over windows, frames and joints."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from bench import metrics

BONES = [(0, 1), (1, 2), (1, 3)]
JOINTS = 4
Arrays = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]


def drawn(seed: int, frames: int = 6, share: float = 0.2) -> Arrays:
    """Return a completion, the truth and what was hidden, of three windows."""
    rng = np.random.default_rng(seed)
    shape = (3, frames, JOINTS, 3)
    truth = rng.normal(0, 300, shape).astype(np.float32)
    hidden = rng.random(shape) < share
    completed = np.where(hidden, truth + rng.normal(0, 50, shape), truth).astype(np.float32)
    return completed.astype(np.float64), truth.astype(np.float64), hidden


def tensors(arrays: Arrays) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    completed, truth, hidden = arrays
    return (
        torch.from_numpy(completed.astype(np.float32)),
        torch.from_numpy(truth.astype(np.float32)),
        torch.from_numpy(hidden),
    )


def mean_of(values: list[float]) -> float:
    return float(np.mean(values)) if values else math.nan


WEIGHTS = [0.25, 0.25, 0.4, 0.1]


def predicted_and_truth(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a prediction and the truth, of three windows of six frames."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 300, (3, 6, JOINTS, 3))
    return truth + rng.normal(0, 50, truth.shape), truth


@pytest.mark.parametrize("weights", [WEIGHTS, [1 / JOINTS] * JOINTS, [0, 0, 1, 0]])
@pytest.mark.parametrize("seed", range(2))
def test_forecast_error_and_eq_4_are_those_of_a_loop(seed: int, weights: list[float]) -> None:
    predicted, truth = predicted_and_truth(seed)
    tensors_ = torch.from_numpy(predicted), torch.from_numpy(truth), torch.tensor(weights)
    errors, squares = metrics.forecast_error(*tensors_), metrics.eq4(*tensors_)
    assert errors.shape == (3, 6)
    assert squares.shape == (3,)
    for window in range(3):
        summed = 0.0
        for frame in range(6):
            distances = [
                math.dist(predicted[window, frame, j], truth[window, frame, j]) for j in range(4)
            ]
            error = sum(w * distance for w, distance in zip(weights, distances, strict=True))
            assert errors[window, frame].item() == pytest.approx(error, rel=1e-6)
            summed += sum(w * distance**2 for w, distance in zip(weights, distances, strict=True))
        assert squares[window].item() == pytest.approx(summed / 6, rel=1e-6)


def test_a_joint_out_of_place_counts_for_its_weight_in_its_frame() -> None:
    truth = torch.zeros(1, 4, JOINTS, 3)
    predicted = truth.clone()
    predicted[0, 2, 1] = torch.tensor([30.0, 0.0, 40.0])
    weights = torch.tensor(WEIGHTS)
    assert metrics.forecast_error(predicted, truth, weights).tolist() == [[0, 0, 0.25 * 50, 0]]
    assert metrics.eq4(predicted, truth, weights).tolist() == pytest.approx([0.25 * 50**2 / 4])


def test_errors_of_a_forecast_have_the_precision_of_doubles() -> None:
    """Far from the root a difference in float32 is rounded to more than a hundredth of a mm."""
    weights = torch.full((2,), 0.5, dtype=torch.float64)
    truth = torch.full((1, 1, 2, 3), 1000.0)
    predicted = truth + 2**-14  # about the resolution of float32 there
    error = metrics.forecast_error(predicted, truth, weights).item()
    assert error == pytest.approx(math.sqrt(3) * 2**-14, rel=1e-9)


def bone_errors(arrays: Arrays) -> list[float]:
    """Return each window's mean error of bone length, computed by a loop."""
    completed, truth, hides = arrays
    means = []
    for window in range(len(truth)):
        errors = []
        for frame in range(truth.shape[1]):
            for one, other in BONES:
                if hides[window, frame, one].any() or hides[window, frame, other].any():
                    lengths = [
                        math.dist(motion[window, frame, one], motion[window, frame, other])
                        for motion in (completed, truth)
                    ]
                    errors.append(abs(lengths[0] - lengths[1]))
        means.append(mean_of(errors))
    return means


def acceleration_errors(arrays: Arrays, fps: float) -> list[float]:
    """Return each window's mean error of acceleration in m/s^2, by a loop."""
    completed, truth, hides = arrays
    means = []
    for window in range(len(truth)):
        errors = []
        for middle in range(1, truth.shape[1] - 1):
            around = (middle - 1, middle, middle + 1)
            for joint in range(truth.shape[2]):
                if not any(hides[window, frame, joint].any() for frame in around):
                    continue
                metres = [
                    [motion[window, frame, joint] / 1000 for frame in around]
                    for motion in (completed, truth)
                ]
                # Velocity after the frame less velocity before it, over one frame's time.
                accelerations = [
                    ((after - here) * fps - (here - before) * fps) * fps
                    for before, here, after in metres
                ]
                errors.append(math.dist(*accelerations))
        means.append(mean_of(errors))
    return means


@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_bone_error_is_that_of_a_loop(seed: int, share: float) -> None:
    arrays = drawn(seed, share=share)
    means = metrics.bone_error(*tensors(arrays), BONES).tolist()
    assert means == pytest.approx(bone_errors(arrays), rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("fps", [25.0, 60.0])
@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_acceleration_error_is_that_of_a_loop(seed: int, share: float, fps: float) -> None:
    arrays = drawn(seed, share=share)
    means = metrics.acceleration_error(*tensors(arrays), fps).tolist()
    assert means == pytest.approx(acceleration_errors(arrays, fps), rel=1e-5, nan_ok=True)


def test_bone_error_counts_a_bone_if_one_coordinate_of_either_end_is_hidden() -> None:
    truth = torch.zeros(1, 2, JOINTS, 3)
    truth[:, :, 1, 0], truth[:, :, 2, 0], truth[:, :, 3, 1] = 100.0, 300.0, 50.0
    completed, hidden = truth.clone(), torch.zeros_like(truth, dtype=torch.bool)
    completed[0, 1, 2, 0], hidden[0, 1, 2, 0] = 260.0, True
    # Joint 2 is the end of one bone only, 200 mm long and 160 in the completion, in one frame.
    assert metrics.bone_error(completed, truth, hidden, BONES).tolist() == pytest.approx([40.0])
    hidden[0, 0, 0, 2] = True  # the end of bone (0, 1), completed without an error
    assert metrics.bone_error(completed, truth, hidden, BONES).tolist() == pytest.approx([20.0])


def test_moving_a_whole_body_gives_no_bone_error() -> None:
    _, truth, _ = tensors(drawn(0))
    everything = torch.ones_like(truth, dtype=torch.bool)
    moved = truth + torch.tensor([1000.0, -500.0, 0.0])
    assert metrics.bone_error(moved, truth, everything, BONES).tolist() == pytest.approx(
        [0, 0, 0], abs=1e-3
    )
    assert (metrics.mpjpe(moved, truth, everything) > 1000).all()


def test_one_frame_out_of_place_is_an_acceleration_in_metres() -> None:
    truth = torch.zeros(1, 5, 1, 3)
    completed, hidden = truth.clone(), torch.zeros_like(truth, dtype=torch.bool)
    completed[0, 2, 0, 1], hidden[0, 2, 0, 1] = 8.0, True
    # 8 mm in one frame of 25 per second: 5, -10 and 5 m/s^2 in the three frames that involve it.
    error = metrics.acceleration_error(completed, truth, hidden, 25.0)
    assert error.tolist() == pytest.approx([(5 + 10 + 5) / 3])


def test_a_constant_velocity_error_gives_no_acceleration_error() -> None:
    _, truth, hidden = tensors(drawn(1))
    drift = 7.0 * torch.arange(truth.shape[1])[None, :, None, None].expand_as(truth)
    error = metrics.acceleration_error(truth + drift, truth, hidden, 25.0)
    assert error.tolist() == pytest.approx([0, 0, 0], abs=1e-3)


def test_what_is_not_hidden_has_no_bone_or_acceleration_error() -> None:
    blank = torch.zeros(2, 5, JOINTS, 3)
    assert torch.isnan(metrics.bone_error(blank, blank, blank.bool(), BONES)).all()
    assert torch.isnan(metrics.acceleration_error(blank, blank, blank.bool(), 25.0)).all()
    two_frames = torch.zeros(1, 2, JOINTS, 3)
    everything = torch.ones_like(two_frames, dtype=torch.bool)
    assert torch.isnan(metrics.acceleration_error(two_frames, two_frames, everything, 25.0)).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.05, 0.9))
def test_errors_of_a_window_do_not_depend_on_the_others(seed: int, share: float) -> None:
    together = tensors(drawn(seed, share=share))
    for row in range(3):
        completed, truth, hidden = (tensor[row : row + 1] for tensor in together)
        alone = completed, truth, hidden
        for whole, one in (
            (metrics.bone_error(*together, BONES), metrics.bone_error(*alone, BONES)),
            (
                metrics.acceleration_error(*together, 25),
                metrics.acceleration_error(*alone, 25),
            ),
        ):
            assert whole[row].item() == pytest.approx(one.item(), nan_ok=True)


def test_bone_lengths_are_distances_between_ends() -> None:
    _, truth, _ = drawn(2)
    lengths = metrics.bone_lengths(torch.from_numpy(truth), BONES)
    assert lengths.shape == (3, 6, 3)
    for window, frame, bone in np.ndindex(3, 6, 3):
        one, other = BONES[bone]
        expected = math.dist(truth[window, frame, one], truth[window, frame, other])
        assert lengths[window, frame, bone].item() == pytest.approx(expected)


def test_the_share_of_frames_in_range_and_the_excess_by_hand() -> None:
    # Two bones; over all real windows and frames they are 10 to 12 mm and 100 to 130 mm long.
    real = torch.tensor([[[10.0, 100.0], [11.0, 130.0]], [[12.0, 120.0], [10.0, 110.0]]])
    lengths = torch.tensor(
        [
            [[10.0, 100.0], [12.0, 130.0], [11.0, 115.0]],  # at the ends of the ranges: in
            [[9.0, 115.0], [12.0, 134.0], [11.0, 120.0]],  # 1 mm short, 4 mm long, in
            [[22.0, 90.0], [8.0, 140.0], [15.0, 100.0]],  # nowhere in
        ]
    )
    share, excess = metrics.bones_in_range(lengths, real)
    assert share.tolist() == pytest.approx([1, 1 / 3, 0])
    assert excess.tolist() == pytest.approx([0, (1 + 4) / 6, (10 + 10 + 2 + 10 + 3) / 6])


def test_rounding_puts_no_bone_out_of_its_range() -> None:
    # A rigid bone's lengths differ by what float32 rounds off far from the root.
    real = torch.tensor([[[411.3]]]).double()
    for difference, inside in ((0.0, 1.0), (1e-3, 1.0), (-1e-3, 1.0), (0.1, 0.0), (-0.1, 0.0)):
        share, excess = metrics.bones_in_range(real + difference, real)
        assert share.item() == inside
        assert excess.item() == pytest.approx(abs(difference), abs=1e-9)


def test_motion_is_in_its_own_range() -> None:
    _, truth, _ = tensors(drawn(3))
    lengths = metrics.bone_lengths(truth, BONES)
    share, excess = metrics.bones_in_range(lengths, lengths)
    assert share.tolist() == [1, 1, 1]
    assert excess.tolist() == [0, 0, 0]


def votes(
    train: NDArray[np.float64], actions: list[str], test: NDArray[np.float64]
) -> list[str | None]:
    """Return the majority action of the five nearest train rows; None where two actions tie."""
    origin, scale = train.mean(axis=0), train.std(axis=0, ddof=1)
    known, queries = (train - origin) / scale, (test - origin) / scale
    majority: list[str | None] = []
    for row in queries:
        nearest = np.argsort(((known - row) ** 2).sum(axis=1))[:5]
        names, counts = np.unique([actions[number] for number in nearest], return_counts=True)
        most = names[counts == counts.max()]
        majority.append(str(most[0]) if len(most) == 1 else None)
    return majority


@pytest.mark.parametrize("seed", range(3))
def test_action_correct_is_the_vote_of_five_neighbours_on_one_scale(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = ["bow", "kick", "walk"]
    actions = [names[number] for number in rng.integers(0, 3, 60)]
    test_actions = [names[number] for number in rng.integers(0, 3, 40)]
    centre = {"bow": 0.0, "kick": 1.0, "walk": 2.0}
    # The second feature is pure noise and, unless scaled, dominates the first.
    train, test = (
        np.column_stack([[centre[name] for name in labels], np.zeros(len(labels))])
        + rng.normal(0, [0.5, 500.0], (len(labels), 2))
        for labels in (actions, test_actions)
    )
    correct = metrics.action_correct(
        torch.from_numpy(train), actions, torch.from_numpy(test), test_actions
    )
    expected = votes(train, actions, test)
    settled = [number for number, name in enumerate(expected) if name is not None]
    assert len(settled) > 20
    assert [correct[number] for number in settled] == [
        float(expected[number] == test_actions[number]) for number in settled
    ]
    origin, scale = train.mean(axis=0), train.std(axis=0, ddof=1)
    sklearn = KNeighborsClassifier(5).fit((train - origin) / scale, actions)
    predicted = sklearn.predict((test - origin) / scale)
    assert correct.tolist() == (predicted == np.array(test_actions)).astype(float).tolist()
    assert 0.4 < correct.mean() < 1


def test_latents_that_separate_actions_are_always_right() -> None:
    rng = np.random.default_rng(0)
    actions = ["a", "b", "c", "d"] * 10
    latents = np.eye(4)[[ord(name) - ord("a") for name in actions]]
    noisy = torch.from_numpy(latents + rng.normal(0, 0.05, latents.shape))
    assert metrics.action_correct(noisy, actions, noisy[:12], actions[:12]).tolist() == [1.0] * 12
    wrong = ["b", "c", "d", "a"] * 3
    assert metrics.action_correct(noisy, actions, noisy[:12], wrong).tolist() == [0.0] * 12


def test_uninformative_latents_are_right_by_chance() -> None:
    rng = np.random.default_rng(1)
    actions = [str(number % 10) for number in range(400)]
    train, test = (torch.from_numpy(rng.normal(size=(400, 6))) for _ in range(2))
    assert metrics.action_correct(train, actions, test, actions).mean() == pytest.approx(
        0.1, abs=0.05
    )


def test_a_constant_latent_and_few_windows_do_no_harm() -> None:
    train = torch.tensor([[0.0, 3.0], [1.0, 3.0], [0.1, 3.0]])
    correct = metrics.action_correct(train, ["a", "b", "a"], torch.tensor([[0.9, 3.0]]), ["a"])
    assert correct.tolist() == [1.0]  # all three vote, two of them for a


def test_foot_skate_is_the_relative_speed_of_feet_at_equal_height() -> None:
    """Compared with a loop over frames; a moving root changes nothing."""
    rng = np.random.default_rng(3)
    motion = rng.normal(0, 60, (4, 12, 5, 3))
    fps = 25.0
    expected = []
    for window in motion:
        speeds = []
        for now, then in zip(window[1:], window[:-1], strict=True):
            if abs(now[1, 1] - now[3, 1]) < 25 and abs(then[1, 1] - then[3, 1]) < 25:
                slid = (now[1] - now[3]) - (then[1] - then[3])
                speeds.append(np.hypot(slid[0], slid[2]) * fps)
        expected.append(np.mean(speeds) if speeds else np.nan)
    speed = metrics.foot_skate(torch.from_numpy(motion), (1, 3), fps)
    np.testing.assert_allclose(speed.numpy(), expected)
    assert np.isfinite(expected).any()
    walked = motion + rng.normal(0, 100, (4, 12, 1, 3))
    np.testing.assert_allclose(
        metrics.foot_skate(torch.from_numpy(walked), (1, 3), fps).numpy(), expected
    )


def test_feet_that_stand_do_not_skate_and_feet_never_level_are_not_judged() -> None:
    still = torch.zeros(1, 5, 2, 3)
    assert float(metrics.foot_skate(still, (0, 1), 25.0)) == 0
    still[:, :, 0, 1] = 300
    assert torch.isnan(metrics.foot_skate(still, (0, 1), 25.0)).all()


def speed_of(truth: NDArray[np.float64], window: int, frame: int, joint: int, fps: float) -> float:
    """Return a joint's speed between its neighbouring frames, or to the only one."""
    frames = truth.shape[1]
    before, after = max(frame - 1, 0), min(frame + 1, frames - 1)
    step = truth[window, after, joint] - truth[window, before, joint]
    return float(np.linalg.norm(step)) * fps / (after - before)


@pytest.mark.parametrize("seed", range(3))
def test_errors_by_speed_are_those_of_a_loop(seed: int) -> None:
    """With speeds around the threshold, so that each window has both."""
    fps = 1.5
    completed, truth, hidden = drawn(seed)
    found = metrics.completion_errors(
        *tensors((completed, truth, hidden)), torch.from_numpy(hidden), BONES, fps
    )
    expected: dict[str, list[list[float]]] = {
        "mse_slow": [[] for _ in truth],
        "mse_fast": [[] for _ in truth],
    }
    for window, frame, joint, axis in np.argwhere(hidden):
        kind = "fast" if speed_of(truth, window, frame, joint, fps) >= metrics.FAST else "slow"
        error = completed[window, frame, joint, axis] - truth[window, frame, joint, axis]
        expected[f"mse_{kind}"][window].append(error**2)
    for name, windows in expected.items():
        assert all(windows), name
        assert found[name].tolist() == pytest.approx([mean_of(one) for one in windows], rel=1e-5)
    counts = [[len(one) for one in expected[f"mse_{kind}"]] for kind in ("slow", "fast")]
    both = (found["mse_slow"].numpy(), found["mse_fast"].numpy())
    whole = sum(n * e for n, e in zip(map(np.array, counts), both, strict=True)) / np.sum(counts, 0)
    assert found["mse"].tolist() == pytest.approx(whole.tolist())


def test_what_is_fast_is_said_by_the_truth_alone() -> None:
    """A joint that stands still is slow, whatever an imputer makes of it."""
    truth = torch.zeros(1, 6, JOINTS, 3)
    hidden = torch.zeros(1, 6, JOINTS, 3, dtype=torch.bool)
    hidden[:, 2:4, 1] = True
    completed = torch.where(hidden, 9e3 * torch.rand(truth.shape), truth)
    errors = metrics.completion_errors(completed, truth, hidden, hidden, BONES, 25)
    assert errors["mse_slow"].tolist() == errors["mse"].tolist()
    assert errors["mse_fast"].isnan().all()
    moving = truth + torch.arange(6)[:, None, None] * torch.tensor([metrics.FAST / 25, 0, 0])
    assert metrics.speeds(moving, 25).flatten().tolist() == pytest.approx([metrics.FAST] * 24)
