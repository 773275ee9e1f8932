"""Properties of every simple detector, and what each computes."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from bench.datasets.synthetic import SKELETON
from bench.motion import Windows
from bench.motion.corruptions.noise import Noise
from models.base import Detector
from models.mahalanobis import Mahalanobis
from models.nearest import Nearest
from models.pca_error import PCAError
from models.principal import PrincipalDetector
from tests.conftest import walk

SMALL = SKELETON.select(SKELETON.names[:4])
FEATURES = 5 * 4 * 3

DETECTORS: list[type[PrincipalDetector]] = [Mahalanobis, Nearest, PCAError]

each = pytest.mark.parametrize("cls", DETECTORS, ids=lambda cls: cls.name)


@cache
def moves(count: int, seed: int = 0) -> Windows:
    """Return windows of 60 features that vary along every one, along some far more.

    Whatever the seed, they come from one distribution.
    """
    axes = np.random.default_rng(9).normal(size=(FEATURES, FEATURES))
    spread = 300 * 0.9 ** np.arange(FEATURES)
    along = np.random.default_rng(seed).normal(size=(count, FEATURES)) * spread
    base = walk(count, frames=5, seed=seed)
    motion = 500 + (along @ np.linalg.qr(axes)[0]).reshape(count, 5, 4, 3)
    return Windows(motion.astype(np.float32), base.index, 25.0, SMALL)


def flat(windows: Windows) -> NDArray[np.float64]:
    return np.asarray(windows.motion).reshape(len(windows), -1).astype(np.float64)


def fitted(cls: type[PrincipalDetector], train: Windows, **values: Any) -> Detector:
    model = cls(train.spec, cls.Settings(**values))
    model.fit(train, train)
    return model


def scores(model: Detector, windows: Windows) -> NDArray[np.float64]:
    found = model.score(windows.tensor())
    assert list(found) == ["distance"]
    assert found["distance"].dtype == torch.float32
    assert found["distance"].shape == (len(windows),)
    assert not found["distance"].requires_grad
    return found["distance"].double().numpy()


@each
@pytest.mark.parametrize("train", [walk(12, seed=1), moves(20), moves(100)], ids=len)
def test_anomalous_windows_score_above_normal_ones(
    cls: type[PrincipalDetector], train: Windows
) -> None:
    """Normal ones are the train windows with a little noise."""
    model = fitted(cls, train, components=8)
    assert not model.training
    normal = replace(train, motion=Noise(level=1).apply(train))
    anomalous = replace(train, motion=Noise(level=10_000).apply(train))
    assert scores(model, anomalous).min() > scores(model, normal).max()


@each
def test_weights_alone_restore_a_detector(cls: type[PrincipalDetector]) -> None:
    train, test = moves(12), moves(5, seed=1)
    model = fitted(cls, train)
    again = cls(train.spec)
    again.load_state_dict(model.state_dict())
    again.eval()
    np.testing.assert_array_equal(scores(again, test), scores(model, test))


@each
def test_a_second_fit_replaces_the_first(cls: type[PrincipalDetector]) -> None:
    few, many, test = moves(12), moves(100), moves(5, seed=1)
    model = fitted(cls, many)
    model.fit(few, few)
    np.testing.assert_array_equal(scores(model, test), scores(fitted(cls, few), test))


@each
def test_no_window_depends_on_another(cls: type[PrincipalDetector]) -> None:
    test = moves(30, seed=1)
    model = fitted(cls, moves(100), components=8)
    together = scores(model, test)
    for row in (0, 7):
        alone = model.score(test.tensor()[row : row + 1])["distance"]
        np.testing.assert_allclose(alone, together[row], rtol=1e-5)
        others = torch.full_like(test.tensor(), torch.nan)
        others[row] = test.tensor()[row]
        among = model.score(others)["distance"]
        np.testing.assert_allclose(among[row], together[row], rtol=1e-5)


def test_mahalanobis_is_that_of_the_train_covariance() -> None:
    """With every component it is the textbook's, by the pseudoinverse for few windows."""
    test = moves(20, seed=1)
    for count in (20, 300):
        train = moves(count)
        around = flat(test) - flat(train).mean(axis=0)
        inverse = np.linalg.pinv(np.cov(flat(train).T), rcond=1e-9, hermitian=True)
        expected = np.einsum("wf,fg,wg->w", around, inverse, around)
        model = fitted(Mahalanobis, train, components=FEATURES)
        np.testing.assert_allclose(scores(model, test), expected, rtol=1e-2)


@given(st.integers(2, 90), st.integers(1, 90))
@settings(max_examples=10, deadline=None)
def test_mahalanobis_of_train_windows_adds_up(count: int, components: int) -> None:
    """Their squared distances sum to n - 1 for every component there is, and for no other."""
    train = moves(count)
    model = fitted(Mahalanobis, train, components=components)
    there = min(components, count - 1, FEATURES)
    np.testing.assert_allclose(scores(model, train).sum(), there * (count - 1), rtol=1e-3)


def test_repeated_windows_add_no_components() -> None:
    train, test = moves(6), moves(5, seed=1)
    thrice = Windows(np.tile(train.motion, (3, 1, 1, 1)), walk(18).index, train.fps, train.skeleton)
    # Nothing but the degrees of freedom differs: 17 / 18 of the variance, not 5 / 6.
    once = scores(fitted(Mahalanobis, train), test)
    ratio = (17 / 18) / (5 / 6)
    np.testing.assert_allclose(scores(fitted(Mahalanobis, thrice), test), ratio * once, rtol=1e-3)


@pytest.mark.parametrize("components", [1, 8, FEATURES, 90])
def test_pca_error_is_the_residual_of_the_leading_components(components: int) -> None:
    train, test = moves(300), moves(20, seed=1)
    around = flat(test) - flat(train).mean(axis=0)
    axes = np.linalg.svd(flat(train) - flat(train).mean(axis=0), full_matrices=False)[2]
    left = around @ axes[components:].T
    expected = np.square(left).sum(axis=1) / FEATURES
    model = fitted(PCAError, train, components=components)
    np.testing.assert_allclose(scores(model, test), expected, rtol=2e-2, atol=1e-5)


@pytest.mark.parametrize(("neighbours", "memory"), [(1, 300), (5, 4000), (3, 40), (9, 4)])
def test_nearest_equals_a_search_over_all_train_windows(neighbours: int, memory: int) -> None:
    """With every component, distances are those between the windows themselves."""
    train, test = moves(300), moves(20, seed=1)
    model = fitted(Nearest, train, components=FEATURES, neighbours=neighbours, memory=memory)
    remembered = flat(train.thin(memory))
    brute = NearestNeighbors(n_neighbors=min(neighbours, memory), algorithm="brute")
    expected = brute.fit(remembered).kneighbors(flat(test))[0][:, -1]
    np.testing.assert_allclose(scores(model, test), expected, rtol=1e-4)


def test_nearest_uses_leading_components_only() -> None:
    """A shift along the last component does not count, one along the first does."""
    train = moves(300)
    axes = np.linalg.svd(flat(train) - flat(train).mean(axis=0), full_matrices=False)[2]
    model = fitted(Nearest, train, components=8, neighbours=1)
    for axis, distance in ((axes[0], 10_000), (axes[-1], 0)):
        moved = flat(train) + 10_000 * axis
        far = replace(train, motion=moved.reshape(train.motion.shape).astype(np.float32))
        assert abs(np.median(scores(model, far)) - distance) < 1_000


def test_a_stored_window_is_its_own_nearest() -> None:
    train = moves(12)
    own = scores(fitted(Nearest, train, neighbours=1), train)
    np.testing.assert_allclose(own, 0, atol=0.01)
    farthest = scores(fitted(Nearest, train, neighbours=50), train)
    between = np.linalg.norm(flat(train)[:, None] - flat(train)[None], axis=2)
    np.testing.assert_allclose(farthest, between.max(axis=1), rtol=1e-4)


def test_a_single_train_window_is_what_others_are_compared_with() -> None:
    """As in a quick look: there are no components, so the error is the distance to it."""
    one, others = walk(1, seed=1), walk(3, seed=2)
    model = PCAError(one.spec)
    model.fit(one, one)
    distance = model.score(others.tensor())["distance"]
    direct = (others.tensor() - one.tensor()).flatten(1).norm(dim=1)
    assert (distance.argsort() == direct.argsort()).all()
    assert model.score(one.tensor())["distance"].item() == pytest.approx(0, abs=1e-3)
