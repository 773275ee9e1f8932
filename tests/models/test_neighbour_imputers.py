"""Imputers that complete a window from train windows: knn and kernel."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.gaussian_process.kernels import RBF, DotProduct
from sklearn.impute import KNNImputer
from sklearn.kernel_ridge import KernelRidge

from bench.datasets.synthetic import SKELETON
from bench.motion import Windows
from models.base import Imputation
from models.kernel import RIDGES, Kernel
from models.knn import KNN
from tests.conftest import walk

SMALL = SKELETON.select(SKELETON.names[:3])


def small(count: int, seed: int) -> Windows:
    """Return windows of 6 frames and 3 joints."""
    windows = walk(count, frames=6, seed=seed)
    return replace(windows, motion=windows.motion[:, :, :3], skeleton=SMALL)


TRAIN, VALID, TEST = small(30, 1), small(8, 2), small(5, 3)


def mask(seed: int, share: float) -> torch.Tensor:
    """Return one mask for all test windows."""
    hidden = np.random.default_rng(seed).random((1, 6, 3, 3)) < share
    return torch.from_numpy(np.repeat(hidden, len(TEST), axis=0))


def knn(**values: Any) -> KNN:
    model = KNN(TRAIN.spec, KNN.Settings(**values))
    model.fit(TRAIN, VALID)
    return model


def kernel(**values: Any) -> Kernel:
    model = Kernel(TRAIN.spec, Kernel.Settings(**values))
    model.fit(TRAIN, VALID)
    return model


def impute(model: KNN | Kernel, occluded: torch.Tensor) -> Imputation:
    return model.impute(TEST.tensor(), occluded)


def flat(values: torch.Tensor | NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)


@pytest.mark.parametrize("weighted", [False, True])
@given(st.integers(0, 99), st.integers(1, 6), st.floats(0.1, 0.8))
@settings(max_examples=15, deadline=None)
def test_knn_is_that_of_scikit_learn(
    weighted: bool, seed: int, neighbours: int, share: float
) -> None:
    occluded = mask(seed, share)
    completed = impute(knn(neighbours=neighbours, weighted=weighted), occluded).motion
    values = np.where(flat(occluded) > 0, np.nan, flat(np.asarray(TEST.motion)))
    peer = KNNImputer(n_neighbors=neighbours, weights="distance" if weighted else "uniform")
    expected = peer.fit(flat(np.asarray(TRAIN.motion))).transform(values)
    np.testing.assert_allclose(flat(completed), expected, atol=1e-2)


def test_one_donor_is_copied_and_is_the_nearest() -> None:
    occluded = mask(0, 0.5)
    found = impute(knn(neighbours=1), occluded)
    assert found.samples is None
    seen = ~occluded[0].flatten().numpy()
    for completed, truth in zip(flat(found.motion), flat(np.asarray(TEST.motion)), strict=True):
        errors = np.abs(flat(np.asarray(TRAIN.motion))[:, seen] - truth[seen])
        nearest = np.square(errors).sum(axis=1).argmin()
        np.testing.assert_array_equal(
            completed[~seen], flat(np.asarray(TRAIN.motion))[nearest, ~seen]
        )


def test_samples_are_train_windows_and_their_mean_is_the_completion() -> None:
    occluded = mask(1, 0.5)
    found = impute(knn(neighbours=4, weighted=False), occluded)
    assert found.samples is not None
    assert found.samples.shape == (4, *TEST.motion.shape)
    hidden = occluded[0].flatten().numpy()
    for sample in flat(found.samples.flatten(0, 1)):
        assert (flat(np.asarray(TRAIN.motion))[:, hidden] == sample[hidden]).all(axis=1).any()
    torch.testing.assert_close(found.samples.mean(dim=0), found.motion)


def test_a_train_window_completes_itself() -> None:
    truth, occluded = TRAIN.tensor(), mask(2, 0.5)[:1].expand(len(TRAIN), -1, -1, -1)
    completed = knn(neighbours=3).impute(truth, occluded).motion
    torch.testing.assert_close(completed, truth, atol=0.05, rtol=0)


def test_memory_bounds_the_donors() -> None:
    model = knn(memory=4, neighbours=10)
    found = impute(model, mask(3, 0.5))
    assert found.samples is not None
    assert len(found.samples) == 4
    stored = {row.tobytes() for row in np.asarray(model.memory)}
    assert stored == {row.tobytes() for row in TRAIN.thin(4).motion}


def test_with_nothing_seen_donors_are_not_the_first_windows() -> None:
    found = impute(knn(neighbours=5), torch.ones(TEST.motion.shape, dtype=torch.bool))
    assert found.samples is not None
    assert not torch.equal(found.samples[:, 0], TRAIN.tensor()[:5])


@pytest.mark.parametrize("share", [0.15, 0.7], ids=["few hidden", "most hidden"])
@pytest.mark.parametrize("rbf", [0.0, 0.5])
def test_kernel_is_ridge_regression_with_the_best_ridge(share: float, rbf: float) -> None:
    occluded = mask(4, share)
    hidden = occluded[0].flatten().numpy()
    mean = flat(np.asarray(TRAIN.motion)).mean(axis=0)
    train, valid, test = (flat(np.asarray(part.motion)) - mean for part in (TRAIN, VALID, TEST))
    scale = np.square(train[:, ~hidden]).sum(axis=1).mean()
    length = 1.3 * np.sqrt(2 * scale)
    functions = (1 - rbf) / scale * DotProduct(0, "fixed") ** 1
    if rbf:
        functions = functions + rbf * RBF(length, "fixed")
    fits = []
    for ridge in RIDGES:
        peer = KernelRidge(alpha=ridge, kernel="precomputed")
        peer.fit(functions(train[:, ~hidden]), train[:, hidden])
        judged = peer.predict(functions(valid[:, ~hidden], train[:, ~hidden]))
        errors = np.square(judged - valid[:, hidden])
        filled = peer.predict(functions(test[:, ~hidden], train[:, ~hidden]))
        fits.append((errors.mean(), filled, np.sqrt(errors.mean(axis=0))))
    _, filled, sigma = min(fits, key=lambda fit: fit[0])
    found = impute(kernel(rbf=rbf, length=1.3), occluded)
    np.testing.assert_allclose(
        flat(found.motion)[:, hidden], filled + mean[hidden], atol=0.1, rtol=1e-4
    )
    assert found.sigma is not None
    np.testing.assert_allclose(flat(found.sigma)[:, hidden], np.tile(sigma, (5, 1)), rtol=1e-2)


def test_the_linear_kernel_is_the_conditional_mean_of_a_gaussian() -> None:
    occluded = mask(5, 0.4)
    h = occluded[0].flatten().numpy()
    mean = flat(np.asarray(TRAIN.motion)).mean(axis=0)
    centred = flat(np.asarray(TRAIN.motion)) - mean
    scale = np.square(centred[:, ~h]).sum(axis=1).mean()
    candidates = []
    for ridge in RIDGES:
        covariance = centred.T @ centred + ridge * scale * np.eye(centred.shape[1])
        weights = np.linalg.solve(covariance[np.ix_(~h, ~h)], covariance[np.ix_(~h, h)])
        candidates.append((flat(np.asarray(TEST.motion)) - mean)[:, ~h] @ weights + mean[h])
    filled = flat(impute(kernel(rbf=0.0), occluded).motion)[:, h]
    assert min(np.abs(filled - one).max() for one in candidates) < 0.1


def test_kernel_gives_the_mean_where_nothing_is_seen() -> None:
    found = impute(kernel(), torch.ones(TEST.motion.shape, dtype=torch.bool))
    expected = np.tile(np.asarray(TRAIN.motion).astype(np.float64).mean(axis=0), (5, 1, 1, 1))
    np.testing.assert_allclose(found.motion, expected, atol=1e-3)
    assert found.sigma is not None
    deviation = np.asarray(TRAIN.motion).astype(np.float64).std(axis=0)
    np.testing.assert_allclose(found.sigma[0], deviation, rtol=1e-3)


@pytest.mark.parametrize("model", [knn(), kernel()], ids=["knn", "kernel"])
def test_each_window_is_completed_by_itself(model: KNN | Kernel) -> None:
    occluded = torch.cat([mask(6, 0.3)[:3], mask(7, 0.3)[:2]])
    together = impute(model, occluded).motion
    for row in range(len(TEST)):
        one = model.impute(TEST.tensor()[row : row + 1], occluded[row : row + 1]).motion
        torch.testing.assert_close(one, together[row : row + 1], atol=1e-2, rtol=0)


@pytest.mark.parametrize("model", [knn(), kernel()], ids=["knn", "kernel"])
@pytest.mark.parametrize("poison", [1e30, torch.nan])
def test_hidden_values_are_ignored_bit_for_bit(model: KNN | Kernel, poison: float) -> None:
    occluded = mask(8, 0.4)
    expected = impute(model, occluded)
    found = model.impute(torch.where(occluded, poison, TEST.tensor()), occluded)
    assert torch.equal(found.motion, expected.motion)
    for one, other in ((found.sigma, expected.sigma), (found.samples, expected.samples)):
        assert (one is None) == (other is None)
        assert one is None or other is None or torch.equal(one, other)
