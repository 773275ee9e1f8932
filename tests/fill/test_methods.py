"""The equations of the methods, against independent computations."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from bench.fill import calibration, fill
from bench.fill.curves import LENGTH_MS, SPREAD_MM, curve, noise_of, smooth
from bench.fill.gaps import Gap, gaps_of, seen_in
from bench.fill.methods import Completed, Methods, combined
from bench.fill.segment import LASTING, LASTING_MS, LINEAR, LOCAL, SMOOTH, SMOOTH_MS, Segment
from bench.fill.support import Supports, reference_pose, spread_of
from bench.fill.trials import Kind, Outcome
from models.marker_process import FLOOR, SHARPNESS
from tests.fill.test_fill import FPS, body, gappy


@pytest.mark.parametrize("seed", range(20))
def test_pchip_is_that_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = np.unique([*rng.integers(0, 20, 8), *rng.integers(30, 50, 8)])
    # Whole numbers have equal neighbours, and slopes of 0.
    values = rng.integers(-3, 4, (len(frames), 3)).astype(np.float64)
    found = curve("pchip", frames, values, Gap(0, 20, 30, "inside"))
    expected = PchipInterpolator(frames, values)(np.arange(20, 30))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_smooth_path_is_a_gaussian_process() -> None:
    rng = np.random.default_rng(0)
    frames = np.array([0, 1, 3, 4, 15, 16, 18])
    values = rng.normal(0, 50, (len(frames), 3))
    gap = Gap(0, 5, 15, "inside")
    mean, deviation = smooth(frames, values, gap, FPS, 0.5)
    # Matern 7/2 in closed form, of which scikit-learn takes half-integer exponents by Bessel's.
    kernel = SPREAD_MM**2 * (Matern(LENGTH_MS, nu=3.5) + ConstantKernel(1.0))
    model = GaussianProcessRegressor(kernel, alpha=0.25, optimizer=None)
    model.fit(frames[:, None] * 10.0, values - values.mean(axis=0))
    expected, spread = model.predict(np.arange(5, 15)[:, None] * 10.0, return_std=True)
    np.testing.assert_allclose(mean, expected + values.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(deviation, np.sqrt(spread[:, 0] ** 2 + 0.25), rtol=0.02)


def test_noise_is_found_in_a_smooth_path() -> None:
    rng = np.random.default_rng(0)
    path = 300 * np.sin(np.arange(2000)[:, None, None] / 100 + np.arange(4)[:, None])
    noisy = path + rng.normal(0, 0.3, (2000, 4, 3))
    assert noise_of(noisy, seen_in(noisy)) == pytest.approx(0.3, rel=0.1)


def test_the_regression_is_that_of_one_joint_gaussian() -> None:
    """The two steps, of lasting memory and of near frames, are one Gaussian process."""
    positions = body(300) + np.random.default_rng(1).normal(0, 3, (300, 7, 3))
    seen = seen_in(positions)
    seen[100:130, 2] = False
    gap = Gap(2, 100, 130, "inside")
    (part,), _ = Supports(seen).of(spread_of(positions, seen, 2), gap)
    pose = reference_pose(positions)
    segment = Segment(positions, pose, FPS, noise=0.5)
    found, sigma = segment.regress(part)

    weight = np.exp(-part.spread / segment.reach) + FLOOR
    frames = [*part.memory, *part.near, *part.frames]
    onto = pose[part.others] - np.average(pose[part.others], axis=0, weights=weight)
    laid, targets, back = [], [], []
    for frame in frames:
        others = positions[frame, part.others]
        centre = np.average(others, axis=0, weights=weight)
        turn, _ = Rotation.align_vectors(onto, others - centre, weights=weight)
        laid.append(turn.apply(others - centre))
        targets.append(turn.apply(positions[frame, 2] - centre))
        back.append((turn, centre))
    memory, known = len(part.memory), len(part.memory) + len(part.near)
    rows = np.array(laid) - np.mean(laid[:memory], axis=0)
    rows = (rows * np.sqrt(weight / weight.mean())[:, None]).reshape(len(frames), -1)
    size = max(np.square(rows[:memory]).sum(axis=1).mean(), 1.0)
    apart = np.square(rows[:, None] - rows).sum(axis=-1)
    kernel = LINEAR * rows @ rows.T / size
    kernel += LOCAL * (1 + apart / (2 * SHARPNESS * segment.scale**2 * size)) ** -SHARPNESS
    time = np.array(frames) * 1000 / FPS
    between = np.abs(time[:, None] - time)
    scaled = np.sqrt(5) * between / SMOOTH_MS
    errors = LASTING * np.exp(-between / LASTING_MS)
    errors += SMOOTH * (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    errors[:memory] = errors[:, :memory] = 0
    errors[range(memory), range(memory)] = LASTING + SMOOTH
    kernel += errors
    inner = np.linalg.inv(kernel[:known, :known] + 0.25 * np.eye(known))
    offset = np.mean(targets[:memory], axis=0)
    local = kernel[known:, :known] @ inner @ (np.array(targets)[:known] - offset) + offset
    expected = [
        turn.inv().apply(place) + centre
        for place, (turn, centre) in zip(local, back[known:], strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    variance = kernel[known:, known:] - kernel[known:, :known] @ inner @ kernel[:known, known:]
    np.testing.assert_allclose(sigma, np.sqrt(variance.diagonal() + 0.25), rtol=1e-4)


def outcome(truth: NDArray[np.float64], **found: NDArray[np.float64]) -> Outcome:
    made = {name: Completed(one, np.ones(len(one)), (name,)) for name, one in found.items()}
    return Outcome(Kind("inside", 100.0), truth, made)


def test_weights_are_those_of_least_mean_distance() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((10, 3))
    trials = [
        outcome(
            truth,
            **{
                name: rng.normal(bias, 1, (10, 3))
                for name, bias in zip("abc", (1, -1, 5), strict=True)
            },
        )
        for _ in range(12)
    ]
    weights = calibration.best_weights(trials, tuple("abc"))
    assert sum(weights.values()) == pytest.approx(1)

    def loss(shares: tuple[float, ...]) -> float:
        mixed = [
            sum(s * one.error(n) for s, n in zip(shares, "abc", strict=True)) for one in trials
        ]
        return float(np.mean([np.linalg.norm(one, axis=1).mean() for one in mixed]))

    grid = [s for s in itertools.product(np.linspace(0, 1, 21), repeat=3) if abs(sum(s) - 1) < 1e-9]
    found = loss(tuple(weights.get(name, 0.0) for name in "abc"))
    assert found <= min(map(loss, grid)) * 1.01


def test_a_method_that_takes_long_is_left_out_where_it_is_of_no_use() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((10, 3))
    both = [rng.normal(0, 1, (10, 3)) for _ in range(12)]
    trials = [outcome(truth, slow=one, fast=one) for one in both]
    assert calibration.best_weights(trials, ("slow", "fast")) == {"fast": 1.0}


def test_a_mixture_is_unsure_where_its_parts_disagree() -> None:
    parts = {
        name: Completed(np.full((4, 3), value), np.full(4, 2.0), (name,))
        for name, value in (("a", 0.0), ("b", 10.0))
    }
    made = combined(parts, {"a": 0.75, "b": 0.25}, {"a": 1.0, "b": 2.0})
    np.testing.assert_allclose(made.positions, 2.5)
    samples = np.random.default_rng(0).choice([0.0, 10.0], 100_000, p=[0.75, 0.25])
    expected = np.sqrt(samples.var() + 0.75 * 4 + 0.25 * 16)
    np.testing.assert_allclose(made.deviation, expected, rtol=0.01)
    assert made.methods == ("a", "b")


@pytest.mark.parametrize("method", ["rigid", "marker", "auto"])
def test_what_is_filled_joins_what_is_seen(method: str) -> None:
    truth, given = gappy()
    result = fill(given, FPS, method=method)
    usual = np.linalg.norm(np.diff(truth, 2, axis=0), axis=-1).max()
    jumps = result.gaps[["jump_before_mm", "jump_after_mm"]].to_numpy()
    assert jumps.max() < 2 * usual + 0.5


def test_a_gap_is_filled_from_as_few_frames_in_a_long_recording() -> None:
    positions = np.concatenate([body(400)] * 20)
    seen = seen_in(positions)
    seen[4000:4050, 1] = False
    (part,), _ = Supports(seen).of(spread_of(positions, seen, 1), Gap(1, 4000, 4050, "inside"))
    assert len(part.memory) <= 200
    assert len(part.near) == 40
    assert set(part.near) == {*range(3980, 4000), *range(4050, 4070)}
    assert np.ptp(part.memory) > 7000


def test_processes_fill_as_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    _, given = gappy()
    one = fill(given, FPS)
    monkeypatch.setattr(calibration, "MANY", 2)
    monkeypatch.setattr(calibration, "effective_n_jobs", lambda _: 2)
    two = fill(given, FPS)
    np.testing.assert_allclose(two.positions, one.positions, atol=1e-6)
    assert list(two.gaps["method"]) == list(one.gaps["method"])


def test_hidden_samples_of_edges_have_no_part_in_trials() -> None:
    from bench.fill.trials import trials_of

    _, given = gappy()
    given[:20, 3] = np.nan
    given[390:, 4] = np.nan
    seen = seen_in(given)
    edges = [gap for gap in gaps_of(seen) if gap.place == "edge"]
    for trial in trials_of(seen, edges, FPS, 0, Methods(given, FPS).nearness):
        path = trial.applied(seen)[:, trial.gap.point]
        early = trial.gap.start < 200
        assert not (path[: trial.gap.stop] if early else path[trial.gap.start :]).any()


def test_memory_is_kept_by_what_it_was_learnt_with() -> None:
    positions = body(300)
    on = Methods(positions, FPS)
    gap = Gap(2, 100, 120, "inside")
    seen = on.seen.copy()
    seen[100:120, 2] = False
    before = on.complete("marker", gap, seen).positions
    on.segment.reach, on.segment.scale = 4.0, 0.25
    on.complete("marker", gap, seen)
    on.segment.reach, on.segment.scale = 8.0, 0.5
    np.testing.assert_array_equal(on.complete("marker", gap, seen).positions, before)
