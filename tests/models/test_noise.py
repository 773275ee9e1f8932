"""Noise on what is seen: its size, and what Gaussians make of it."""

import numpy as np
import pytest
import torch

from bench.motion import MotionSpec, Skeleton
from models.conditioning import Gaussian
from models.noise import MANY, Denoiser, roughness
from tests.conftest import walk

FRAMES, JOINTS = 12, 2
VALUES = FRAMES * JOINTS * 3


def smooth_gaussian(scale: float, seed: int) -> Gaussian:
    """Return a Gaussian whose draws are smooth over time."""
    rng = np.random.default_rng(seed)
    time = np.arange(FRAMES)
    over_time = np.exp(-0.5 * ((time[:, None] - time) / 6.0) ** 2) + 1e-6 * np.eye(FRAMES)
    covariance = scale**2 * np.kron(over_time, np.eye(JOINTS * 3))
    return Gaussian(torch.from_numpy(rng.normal(size=VALUES)), torch.from_numpy(covariance))


def denoiser_of(usual: float) -> Denoiser:
    names = tuple(f"j{number}" for number in range(JOINTS))
    body = Skeleton(names, (-1,) * JOINTS, np.zeros((JOINTS, 3)), {"all": names}, ())
    denoiser = Denoiser(MotionSpec(FRAMES, 25.0, body))
    denoiser.usual.fill_(usual)
    return denoiser


def drawn(gaussian: Gaussian, count: int, seed: int) -> torch.Tensor:
    noise = torch.from_numpy(np.random.default_rng(seed).normal(size=(count, VALUES)))
    motion = gaussian.mean + noise @ gaussian.factor.T
    return motion.view(count, FRAMES, JOINTS, 3)


def noisy(motion: torch.Tensor, deviation: float, seed: int = 5) -> torch.Tensor:
    noise = torch.from_numpy(np.random.default_rng(seed).normal(size=tuple(motion.shape)))
    return motion + deviation * noise.to(motion.dtype)


@pytest.mark.parametrize("deviation", [0.5, 30.0])
def test_roughness_is_the_deviation_of_white_noise(deviation: float) -> None:
    motion = noisy(torch.zeros(3, 50, 18, 3), deviation)
    occluded = torch.zeros_like(motion, dtype=torch.bool)
    occluded[:, 10:20, :9] = True
    found = roughness(torch.where(occluded, 1e4, motion), occluded)
    assert found.shape == (3, 18, 3)
    np.testing.assert_allclose(found.flatten(1).median(dim=1).values, deviation, rtol=0.1)


def test_what_one_joint_does_is_no_noise() -> None:
    motion = drawn(smooth_gaussian(100.0, seed=1), 1, seed=2)
    motion[:, ::2, 1, 0] += 300.0
    denoiser = denoiser_of(5.0)
    nothing = torch.zeros_like(motion, dtype=torch.bool)
    assert torch.equal(denoiser(motion, nothing, []).motion, motion)


@pytest.mark.parametrize("frames", [2, 3, 50])
def test_where_no_four_frames_in_a_row_are_seen_there_is_no_noise(frames: int) -> None:
    motion = noisy(torch.zeros(2, frames, JOINTS, 3), 30.0)
    occluded = torch.zeros_like(motion, dtype=torch.bool)
    occluded[:, ::4] = True
    assert roughness(motion, occluded).isnan().all()
    assert torch.equal(denoiser_of(1.0)(motion, occluded, []).motion, motion)


def test_clean_windows_stay_and_noisy_ones_come_nearer_to_the_truth() -> None:
    gaussian = smooth_gaussian(100.0, seed=1)
    denoiser = denoiser_of(2.0)
    motion = drawn(gaussian, 6, seed=2)
    given = torch.cat([motion[:3], noisy(motion[3:], 20.0)])
    occluded = torch.zeros_like(given, dtype=torch.bool)
    occluded[:, 5:7, 0] = True
    found, more, noisy_ones = denoiser(given, occluded, [gaussian])
    assert noisy_ones.tolist() == [False] * 3 + [True] * 3
    assert not more[:3].any()
    assert bool((more[3:] > 0)[occluded[3:]].all())
    assert not more[~occluded].any()
    assert torch.equal(found[:3], motion[:3])
    seen = ~occluded[3:]
    error = (found[3:] - motion[3:])[seen].square().mean()
    assert error < 0.5 * (given[3:] - motion[3:])[seen].square().mean()


def test_hidden_values_given_denoised_ones_are_those_given_the_noisy_ones() -> None:
    gaussian = smooth_gaussian(100.0, seed=1)
    denoiser = denoiser_of(1.0)
    motion = noisy(drawn(gaussian, 1, seed=2), 20.0)
    occluded = torch.zeros_like(motion, dtype=torch.bool)
    occluded[:, 5:8, 0] = True
    hidden = occluded.flatten()
    found, more, _ = denoiser(motion, occluded, [gaussian])
    given = gaussian.given(hidden)
    completed = given.mean(found.flatten(1))[0].numpy()

    variance = float(roughness(motion, occluded).nanmedian()) ** 2
    covariance, mask = gaussian.covariance.numpy(), hidden.numpy()
    seen = covariance[~mask][:, ~mask] + variance * np.eye((~mask).sum())
    deviation = (motion.flatten() - gaussian.mean).numpy()[~mask]
    gain = np.linalg.solve(seen, covariance[~mask][:, mask]).T
    np.testing.assert_allclose(completed, gaussian.mean.numpy()[mask] + gain @ deviation, atol=1e-3)
    left = np.diag(covariance[mask][:, mask] - gain @ covariance[~mask][:, mask])
    np.testing.assert_allclose((given.variance + more.flatten()[hidden]).numpy(), left, rtol=1e-3)


def test_the_likelier_gaussian_is_used() -> None:
    small, large = smooth_gaussian(30.0, seed=1), smooth_gaussian(3000.0, seed=1)
    denoiser = denoiser_of(1.0)
    motion = noisy(drawn(small, 1, seed=3), 20.0)
    occluded = torch.zeros_like(motion, dtype=torch.bool)
    occluded[:, 5] = True
    alone = denoiser(motion, occluded, [small]).motion
    assert not torch.allclose(alone, denoiser(motion, occluded, [large]).motion)
    assert torch.equal(alone, denoiser(motion, occluded, [large, small]).motion)


def test_where_nothing_is_hidden_noise_is_of_no_concern() -> None:
    gaussian = smooth_gaussian(100.0, seed=1)
    motion = noisy(drawn(gaussian, 1, seed=2), 20.0)
    found = denoiser_of(2.0)(motion, torch.zeros_like(motion, dtype=torch.bool), [gaussian])
    assert torch.equal(found.motion, motion)
    assert not found.noisy.any()


@pytest.mark.parametrize("seen", [18, 9, 1])
def test_windows_of_other_people_are_not_noisy_whatever_is_seen_of_them(seen: int) -> None:
    """Fast joints are rougher than slow ones, so each is held against itself."""
    train, test = walk(200, 20, seed=1), walk(200, 20, seed=2).tensor()
    denoiser = Denoiser(train.spec)
    denoiser.measure(train)
    rng = np.random.default_rng(0)
    occluded = torch.ones_like(test, dtype=torch.bool)
    for row in range(200):
        occluded[row, :, rng.choice(18, seen, replace=False)] = False
    rough = roughness(test, occluded) / denoiser.usual
    noisy_ones = rough.flatten(1).nanmedian(dim=1).values > MANY
    assert float(noisy_ones.float().mean()) <= 0.01


def test_trajectories_too_short_to_tell_are_never_noisy() -> None:
    train = walk(20, 3, seed=1)
    denoiser = Denoiser(train.spec)
    denoiser.measure(train)
    assert denoiser.usual.isinf().all()
