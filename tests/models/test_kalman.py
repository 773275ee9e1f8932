"""The Kalman smoother, against conditioning of the Gaussian that it factorises."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import multivariate_normal, norm

from bench.datasets.synthetic import SKELETON
from bench.motion import MotionSpec, Windows
from models.kalman import BOUNDS, Kalman

FPS = 25.0
RATE, VARIANCE, LEVEL, NOISE = 5.0, 900.0, 400.0, 4.0
"""Of a critically damped spring, 1/s, and variances, mm^2."""


def critical(frames: int) -> Kalman:
    model = Kalman(MotionSpec(frames, FPS, SKELETON))
    numbers = RATE**2, 2 * RATE, VARIANCE, LEVEL, NOISE
    for name, number in zip(BOUNDS, numbers, strict=True):
        getattr(model, name).fill_(number)
    return model


def matern(frames: int) -> NDArray[np.float64]:
    """Covariance of measurements: Matern-3/2, a level and noise (Rasmussen, eq. 4.17)."""
    apart = RATE * np.abs(np.subtract.outer(np.arange(frames), np.arange(frames))) / FPS
    return VARIANCE * (1 + apart) * np.exp(-apart) + LEVEL + NOISE * np.eye(frames)


def tensors(
    values: NDArray[np.float64], mask: NDArray[np.bool_]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give every coordinate the trajectories ``(window, frame)``."""
    shape = *values.shape, 18, 3
    motion = np.broadcast_to(values[:, :, None, None], shape).astype(np.float32)
    return torch.from_numpy(motion), torch.from_numpy(
        np.broadcast_to(mask[:, :, None, None], shape).copy()
    )


@settings(deadline=None, max_examples=30)
@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(0, 99))
def test_it_conditions_the_gaussian_on_what_is_seen(hidden: list[bool], seed: int) -> None:
    mask, frames = np.array(hidden), len(hidden)
    values = np.random.default_rng(seed).normal(0, 50, frames)
    model = critical(frames)
    model.mean.fill_(10)
    imputation = model.impute(*tensors(values[None], mask[None]))
    covariance = matern(frames)
    across = covariance[np.ix_(mask, ~mask)] @ np.linalg.inv(covariance[np.ix_(~mask, ~mask)])
    expected = 10 + across @ (values[~mask] - 10)
    spread = covariance[np.ix_(mask, mask)] - across @ covariance[np.ix_(~mask, mask)]
    assert imputation.sigma is not None
    found, sigma = (part[0, :, 7, 2].numpy() for part in (imputation.motion, imputation.sigma))
    np.testing.assert_allclose(found[mask], expected, atol=1e-2)
    np.testing.assert_allclose(sigma[mask], np.sqrt(np.diag(spread)), atol=1e-3)
    assert (sigma[~mask] == 0).all()


def drawn(count: int, frames: int = 40) -> Windows:
    factor = np.linalg.cholesky(matern(frames))
    noise = np.random.default_rng(0).normal(size=(count, 18, 3, frames))
    motion = np.moveaxis(noise @ factor.T, 3, 1).astype(np.float32)
    rows = [{"source": "one", "start": row, "action": "", "subject": ""} for row in range(count)]
    return Windows(motion, pd.DataFrame(rows), FPS, SKELETON)


def test_the_fit_finds_the_numbers_that_windows_were_drawn_with() -> None:
    train = drawn(400)
    model = Kalman(train.spec)
    model.fit(train, train)
    numbers = RATE**2, 2 * RATE, VARIANCE, LEVEL, NOISE
    for name, number, share in zip(BOUNDS, numbers, (0.1, 0.1, 0.1, 0.15, 0.05), strict=True):
        assert getattr(model, name).mean().item() == pytest.approx(number, rel=share), name


def test_one_step_predictions_of_the_fit_are_as_likely_as_those_of_the_truth() -> None:
    """The product of their densities is the joint density of a trajectory."""
    train, frames = drawn(20, 15), 15
    fitted, true = Kalman(train.spec), critical(frames)
    fitted.fit(train, train)

    def likelihood(model: Kalman) -> float:
        truth, total = train.tensor()[:, :, :1], 0.0
        for frame in range(frames):
            occluded = torch.zeros(20, frames, 18, 3, dtype=torch.bool)
            occluded[:, frame:] = True
            predicted = model.impute(train.tensor(), occluded)
            assert predicted.sigma is not None
            parts = (truth, predicted.motion, predicted.sigma)
            value, mean, sigma = (part[:, frame, 0, 0].double().numpy() for part in parts)
            total += np.sum(norm.logpdf(value, mean, sigma))
        return total

    trajectories = train.motion[:, :, 0, 0]
    joint = multivariate_normal(np.zeros(frames), matern(frames)).logpdf(trajectories).sum()
    assert likelihood(true) == pytest.approx(joint, abs=0.5)
    assert likelihood(fitted) > joint


def test_sigma_grows_into_a_gap_and_is_that_of_train_values_where_nothing_is_seen() -> None:
    mask = np.zeros((2, 31), dtype=np.bool_)
    mask[0, 5:26], mask[1] = True, True
    sigma = critical(31).impute(*tensors(np.zeros((2, 31)), mask)).sigma
    assert sigma is not None
    gap = sigma[0, 5:26, 0, 0]
    assert (gap.diff()[:10] > 0).all()
    torch.testing.assert_close(gap, gap.flip(0), rtol=1e-4, atol=1e-4)
    expected = float(np.sqrt(VARIANCE + LEVEL + NOISE))
    torch.testing.assert_close(sigma[1], torch.full((31, 18, 3), expected))


def test_coordinates_that_never_move_are_fitted() -> None:
    train = drawn(10)
    np.asarray(train.motion)[:, :, 4] = 123
    model = Kalman(train.spec)
    model.fit(train, train)
    occluded = torch.zeros(10, 40, 18, 3, dtype=torch.bool)
    occluded[:, 10:20] = True
    completed = model.impute(train.tensor(), occluded)
    torch.testing.assert_close(completed.motion[:, :, 4], train.tensor()[:, :, 4])
