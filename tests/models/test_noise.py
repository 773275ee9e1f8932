"""Noise on what is seen: its size, and what Gaussians make of it."""

import numpy as np
import pytest
import torch

from models.conditioning import Gaussian
from models.noise import Denoiser, roughness
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
    np.testing.assert_allclose(found, deviation, rtol=0.1)


def test_what_one_joint_does_is_no_noise() -> None:
    motion = torch.zeros(1, 50, 18, 3)
    motion[:, ::2, 4] = 300.0
    nothing = torch.zeros_like(motion, dtype=torch.bool)
    assert float(roughness(motion, nothing)) == 0


def test_where_no_four_frames_in_a_row_are_seen_there_is_no_noise() -> None:
    motion = noisy(torch.zeros(1, 50, 18, 3), 30.0)
    occluded = torch.zeros_like(motion, dtype=torch.bool)
    occluded[:, ::4] = True
    assert float(roughness(motion, occluded)) == 0


def test_clean_windows_stay_and_noisy_ones_come_nearer_to_the_truth() -> None:
    gaussian = smooth_gaussian(100.0, seed=1)
    denoiser = Denoiser()
    denoiser.usual.fill_(2.0)
    motion = drawn(gaussian, 6, seed=2)
    given = torch.cat([motion[:3], noisy(motion[3:], 20.0)])
    found = denoiser(given, torch.zeros_like(given, dtype=torch.bool), [gaussian])
    assert torch.equal(found[:3], motion[:3])
    error = (found[3:] - motion[3:]).square().mean()
    assert error < 0.5 * (given[3:] - motion[3:]).square().mean()


def test_hidden_values_given_denoised_ones_are_those_given_the_noisy_ones() -> None:
    gaussian = smooth_gaussian(100.0, seed=1)
    denoiser = Denoiser()
    denoiser.usual.fill_(1.0)
    motion = noisy(drawn(gaussian, 1, seed=2), 20.0)
    occluded = torch.zeros_like(motion, dtype=torch.bool)
    occluded[:, 5:8, 0] = True
    hidden = occluded.flatten()
    found = denoiser(motion, occluded, [gaussian])
    completed = gaussian.given(hidden).mean(found.flatten(1))[0].numpy()

    variance = float(roughness(motion, occluded)) ** 2
    covariance, mask = gaussian.covariance.numpy(), hidden.numpy()
    seen = covariance[~mask][:, ~mask] + variance * np.eye((~mask).sum())
    deviation = (motion.flatten() - gaussian.mean).numpy()[~mask]
    expected = covariance[mask][:, ~mask] @ np.linalg.solve(seen, deviation)
    np.testing.assert_allclose(completed, gaussian.mean.numpy()[mask] + expected, atol=1e-3)


def test_the_likelier_gaussian_is_used() -> None:
    small, large = smooth_gaussian(30.0, seed=1), smooth_gaussian(3000.0, seed=1)
    denoiser = Denoiser()
    denoiser.usual.fill_(1.0)
    motion = noisy(drawn(small, 1, seed=3), 20.0)
    nothing = torch.zeros_like(motion, dtype=torch.bool)
    alone = denoiser(motion, nothing, [small])
    assert not torch.allclose(alone, denoiser(motion, nothing, [large]))
    assert torch.equal(alone, denoiser(motion, nothing, [large, small]))


def test_train_windows_are_not_noisy() -> None:
    train = walk(40, 20, seed=1)
    denoiser = Denoiser()
    denoiser.measure(train)
    motion = train.tensor()
    assert 0 < float(denoiser.usual) < 100
    found = denoiser(motion, torch.zeros_like(motion, dtype=torch.bool), [])
    assert torch.equal(found, motion)
