"""Conditional Gaussians against the textbook's block formulas, and the imputers built on them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

from bench.core.registry import MECHANISMS
from bench.fitting.training import FitContext
from bench.motion import Windows, derive_seed
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.joints import Joints
from bench.motion.mechanisms.sampler import MaskSampler, family_of, usual_masks
from models.conditioning import SMALL, Gaussian, by_mask, shrunk
from models.families import FAMILIES
from models.frame_gaussian import FrameGaussian
from models.gaussian_mixture import GaussianMixture
from models.ppca import PPCA
from models.window_gaussian import WindowGaussian
from tests.conftest import walk

SIZE = 7


def gaussian(seed: int, size: int = SIZE) -> Gaussian:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size))
    return Gaussian(
        torch.from_numpy(rng.normal(size=size)), torch.from_numpy(root @ root.T + np.eye(size))
    )


def textbook(one: Gaussian, values: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return mean, covariance and log density by explicit inverses of the observed block."""
    mean, cov = one.mean.numpy(), one.covariance.numpy()
    h, o = np.flatnonzero(hidden), np.flatnonzero(~hidden)
    if not len(o):
        return np.tile(mean[h], (len(values), 1)), cov[np.ix_(h, h)], np.zeros(len(values))
    gain = cov[np.ix_(h, o)] @ np.linalg.inv(cov[np.ix_(o, o)])
    means = mean[h] + (values[:, o] - mean[o]) @ gain.T
    density = multivariate_normal(mean[o], cov[np.ix_(o, o)]).logpdf(values[:, o])
    return means, cov[np.ix_(h, h)] - gain @ cov[np.ix_(o, h)], np.atleast_1d(density)


@given(st.integers(0, 1000), st.integers(1, 2**SIZE - 1))
@settings(max_examples=60, deadline=None)
def test_conditional_moments_and_densities_are_the_textbooks(seed: int, bits: int) -> None:
    one, rng = gaussian(seed), np.random.default_rng(seed + 1)
    hidden = np.array([bool(bits >> place & 1) for place in range(SIZE)])
    values = rng.normal(size=(3, SIZE))
    poisoned = torch.from_numpy(np.where(hidden, np.nan, values))
    found = one.given(torch.from_numpy(hidden))
    means, covariance, density = textbook(one, values, hidden)
    np.testing.assert_allclose(found.mean(poisoned), means, atol=1e-8)
    np.testing.assert_allclose(found.variance, covariance.diagonal(), atol=1e-8)
    np.testing.assert_allclose(found.log_density(torch.from_numpy(values)), density, atol=1e-7)


@given(st.integers(0, 1000), st.integers(1, 2**6 - 1))
@settings(max_examples=40, deadline=None)
def test_blocks_are_those_of_the_textbooks_covariance(seed: int, bits: int) -> None:
    one = gaussian(seed)
    one = Gaussian(one.mean[:6], one.covariance[:6, :6])
    hidden = np.array([bool(bits >> place & 1) for place in range(6)])
    whole = np.zeros((6, 6))
    whole[np.ix_(hidden, hidden)] = textbook(one, np.zeros((1, 6)), hidden)[1]
    blocks = one.given(torch.from_numpy(hidden)).blocks(3)
    np.testing.assert_allclose(blocks[0], whole[:3, :3], atol=1e-8)
    np.testing.assert_allclose(blocks[1], whole[3:, 3:], atol=1e-8)


@pytest.mark.parametrize("count", [SMALL, SMALL + 1, 2 * SMALL + 3, 5 * SMALL])
def test_many_hidden_coordinates_have_the_textbooks_moments_too(count: int) -> None:
    size = 6 * SMALL
    one, rng = gaussian(count, size), np.random.default_rng(count)
    hidden = np.zeros(size, dtype=bool)
    hidden[rng.permutation(size)[:count]] = True
    values = rng.normal(size=(2, size))
    means, covariance, _ = textbook(one, values, hidden)
    found = one.given(torch.from_numpy(hidden))
    np.testing.assert_allclose(found.mean(torch.from_numpy(values)), means, atol=1e-6)
    np.testing.assert_allclose(found.variance, covariance.diagonal(), rtol=1e-6)
    whole = np.zeros((size, size))
    whole[np.ix_(hidden, hidden)] = covariance
    for number, block in enumerate(found.blocks(SMALL)):
        place = slice(number * SMALL, (number + 1) * SMALL)
        np.testing.assert_allclose(block, whole[place, place], atol=1e-6)


@pytest.mark.parametrize("count", [2, 5])
def test_draws_have_the_conditional_mean_and_covariance(count: int) -> None:
    one = gaussian(3)
    hidden = np.arange(SIZE) < count
    values = np.random.default_rng(4).normal(size=(1, SIZE))
    noise = torch.randn(100_000, 1, SIZE, dtype=torch.float64, generator=torch.manual_seed(0))
    drawn = one.given(torch.from_numpy(hidden)).draw(torch.from_numpy(values), noise)[:, 0].numpy()
    means, covariance, _ = textbook(one, values, hidden)
    scale = np.sqrt(covariance.diagonal())
    assert np.abs((drawn.mean(axis=0) - means[0]) / scale).max() < 0.02
    between = scale[:, None] * scale
    assert np.abs((np.cov(drawn.T) - covariance) / between).max() < 0.03


def test_masks_are_grouped_and_rows_without_hidden_values_left_out() -> None:
    hidden = torch.tensor([[True, False], [False, False], [True, False], [False, True]])
    groups = {tuple(mask.tolist()): rows.tolist() for mask, rows in by_mask(hidden)}
    assert groups == {(True, False): [0, 2], (False, True): [3]}


def test_shrinkage_adds_a_share_of_the_mean_variance() -> None:
    covariance = torch.tensor([[1.0, 0.5], [0.5, 3.0]])
    expected = torch.tensor([[1.2, 0.5], [0.5, 3.2]])
    torch.testing.assert_close(shrunk(covariance, 0.1), expected)


def masked(windows: Windows, name: str, level: str) -> torch.Tensor:
    mechanism = MECHANISMS.get(name)(level=Level.parse(level))
    return torch.from_numpy(mechanism.occluded(windows))


@pytest.mark.parametrize(("name", "level"), [("features", "40%"), ("joints", "5"), ("gaps", "1 s")])
def test_a_frame_gaussian_conditions_every_frame_by_itself(name: str, level: str) -> None:
    train, test = walk(12, seed=1), walk(3, seed=2)
    model = FrameGaussian(train.spec)
    model.fit(train, train)
    truth, hidden = test.tensor(), masked(test, name, level)
    found = model.impute(truth, hidden)
    one = Gaussian(model.centre, model.covariance)
    assert found.sigma is not None
    for window, frame in ((0, 0), (1, 20), (2, 30)):
        mask = hidden[window, frame].flatten().numpy()
        if not mask.any():
            continue
        values = truth[window, frame].double().flatten().numpy()[None]
        means, covariance, _ = textbook(one, values, mask)
        mine = found.motion[window, frame].flatten().numpy()[mask]
        np.testing.assert_allclose(mine, means[0], atol=1e-2)
        sigma = found.sigma[window, frame].flatten().numpy()[mask]
        np.testing.assert_allclose(sigma, np.sqrt(covariance.diagonal()), rtol=1e-3, atol=1e-3)


SHORT: dict[str, Any] = {"windows": 60, "frames": 12}
"""Windows of 648 values, quick to invert."""


@pytest.fixture(scope="module")
def fitted() -> WindowGaussian:
    train = walk(**SHORT, seed=1)
    model = WindowGaussian(train.spec, WindowGaussian.Settings(samples=64))
    model.fit(train, walk(**SHORT, seed=2))
    return model


def test_a_window_gaussian_conditions_on_all_that_is_seen(fitted: WindowGaussian) -> None:
    test = walk(4, 12, seed=3)
    truth, hidden = test.tensor(), masked(test, "features", "30%")
    found = fitted.impute(truth, hidden)
    assert found.sigma is not None
    family = FAMILIES.index("features")
    share = float(fitted.chosen[family])
    covariance = shrunk(fitted.covariance.double(), share)
    one = Gaussian(fitted.centre, covariance)
    mask = hidden[1].flatten().numpy()
    values = truth[1].double().flatten().numpy()[None]
    means, spread, _ = textbook(one, values, mask)
    np.testing.assert_allclose(found.motion[1].flatten().numpy()[mask], means[0], atol=0.05)
    sigma = np.sqrt(spread.diagonal()) * float(fitted.calibration[family])
    np.testing.assert_allclose(found.sigma[1].flatten().numpy()[mask], sigma, rtol=1e-3)


def test_a_windows_completion_and_samples_do_not_depend_on_its_batch(
    fitted: WindowGaussian,
) -> None:
    test = walk(5, 12, seed=3)
    truth, hidden = test.tensor(), masked(test, "frames", "200 ms")
    whole, one = fitted.impute(truth, hidden), fitted.impute(truth[2:3], hidden[2:3])
    torch.testing.assert_close(whole.motion[2:3], one.motion, atol=1e-3, rtol=0)
    assert whole.samples is not None
    assert one.samples is not None
    torch.testing.assert_close(whole.samples[:, 2:3], one.samples, atol=1e-2, rtol=0)
    assert torch.equal(whole.samples[0][~hidden], truth[~hidden])
    assert whole.samples[:, hidden].std(dim=0).min() > 0


def test_calibrated_intervals_cover_unseen_windows(fitted: WindowGaussian) -> None:
    test = walk(40, 12, seed=5)
    truth, shares = test.tensor(), []
    for name, level in (("features", "50%"), ("joints", "4"), ("gaps", "200 ms")):
        hidden = masked(test, name, level)
        found = fitted.impute(truth, hidden)
        assert found.sigma is not None
        error = (found.motion - truth)[hidden].abs()
        shares.append((error < 1.645 * found.sigma[hidden]).double().mean().item())
    assert 0.8 < np.mean(shares) < 0.98


@pytest.mark.parametrize("how", ["one", 0.05])
def test_one_shrinkage_for_all_masks_can_be_asked_for(how: Any) -> None:
    train = walk(**SHORT, seed=1)
    model = WindowGaussian(train.spec, WindowGaussian.Settings(shrinkage=how))
    model.fit(train, walk(10, 12, seed=2))
    assert len(set(model.chosen.tolist())) == 1
    if how != "one":
        assert model.chosen[0] == how


def test_stated_masks_choose_the_shrinkage_and_others_take_what_is_best_for_them() -> None:
    train, valid = walk(**SHORT, seed=1), walk(10, 12, seed=2)
    joints = MaskSampler({"mine": (Joints(level=Level.parse("2")),)})
    model = WindowGaussian(train.spec)
    model.fit(train, valid, FitContext(masks=joints))
    assert len(set(model.chosen.tolist())) == 1
    rng = np.random.default_rng(derive_seed("shrinkage", "mine", 0))
    hidden = torch.from_numpy(joints.draw(train.spec, rng, np.asarray(valid.motion))).flatten(1)
    values = valid.tensor().double().flatten(1)
    errors = {choice: float(model._error(choice, values, hidden)) for choice in model.choices}
    assert model.chosen[0] == min(errors, key=lambda choice: errors[choice])


def test_every_usual_mask_is_of_its_family() -> None:
    windows = walk(3)
    sampler = usual_masks(windows.spec)
    for family, mechanisms in sampler.families.items():
        for mechanism in mechanisms:
            for hidden in mechanism.occluded(windows):
                assert family_of(hidden) == family, mechanism


def test_a_sampler_draws_every_family_and_leaves_out_what_cannot_be() -> None:
    windows = walk(60)
    sampler = usual_masks(windows.spec)
    drawn = sampler.draw(windows.spec, np.random.default_rng(0), np.asarray(windows.motion))
    assert {family_of(hidden) for hidden in drawn} == set(sampler.families)
    again = sampler.draw(windows.spec, np.random.default_rng(0), np.asarray(windows.motion))
    np.testing.assert_array_equal(drawn, again)
    only = sampler.draw(
        windows.spec, np.random.default_rng(1), np.asarray(windows.motion), "joints"
    )
    assert {family_of(hidden) for hidden in only} == {"joints"}
    short = walk(1, 6).spec
    few = usual_masks(short)
    assert sum(map(len, few.families.values())) < sum(map(len, sampler.families.values()))
    for mechanism in (one for family in few.families.values() for one in family):
        mechanism.check(short)


def test_probabilistic_pca_is_that_of_sklearn() -> None:
    train, test = walk(**SHORT, seed=1), walk(3, 12, seed=3)
    model = PPCA(train.spec, PPCA.Settings(components=5))
    model.fit(train, walk(6, 12, seed=2))
    values = train.tensor().double().flatten(1)
    # sklearn divides by n - 1, maximum likelihood by n.
    share = (len(values) - 1) / len(values)
    expected = PCA(5, svd_solver="full").fit(values.numpy()).get_covariance() * share
    found = model.regularised(model.covariance.double(), 5)
    # Its noise is the mean of the components that data of 60 windows have; here all others count.
    noise = np.linalg.eigvalsh(found.numpy())[0]
    leading = np.linalg.eigvalsh(expected)[-5:]
    np.testing.assert_allclose(np.linalg.eigvalsh(found.numpy())[-5:], leading, rtol=1e-3)
    variance = np.linalg.eigvalsh(model.covariance.double().numpy())
    assert noise == pytest.approx(max(1e-3, variance[:-5].mean()), rel=1e-3)
    truth, hidden = test.tensor(), masked(test, "features", "30%")
    mask = hidden[0].flatten().numpy()
    one = Gaussian(model.centre, found)
    means, _, _ = textbook(one, truth[:1].double().flatten(1).numpy(), mask)
    mine = model.impute(truth, hidden).motion[0].flatten().numpy()[mask]
    np.testing.assert_allclose(mine, means[0], atol=0.05)


def test_a_mixture_of_one_is_its_gaussian_and_clusters_are_told_apart() -> None:
    train, test = walk(**SHORT, seed=1), walk(3, 12, seed=3)
    single = GaussianMixture(train.spec, GaussianMixture.Settings(components=1))
    single.fit(train, train)
    truth, hidden = test.tensor(), masked(test, "features", "30%")
    mask = hidden[0].flatten().numpy()
    one = Gaussian(single.centres[0], single.covariances[0].double())
    values = truth[:1].double().flatten(1).numpy()
    means, spread, _ = textbook(one, values, mask)
    found = single.impute(truth, hidden)
    assert found.sigma is not None
    np.testing.assert_allclose(found.motion[0].flatten().numpy()[mask], means[0], atol=0.05)
    sigma = found.sigma[0].flatten().numpy()[mask]
    np.testing.assert_allclose(sigma, np.sqrt(spread.diagonal()), rtol=1e-3)
    # Two groups of windows a metre apart: what is seen says which one a window is of.
    shifted = np.asarray(train.motion).copy()
    shifted[30:] += 1000
    both = replace(train, motion=shifted)
    pair = GaussianMixture(train.spec, GaussianMixture.Settings(components=2))
    pair.fit(both, both)
    motion = torch.from_numpy(shifted[[0, 59]])
    hidden = torch.zeros_like(motion, dtype=torch.bool)
    hidden[:, :, 9:] = True
    error = (pair.impute(motion, hidden).motion - motion)[hidden].abs().mean()
    lone = (single.impute(motion, hidden).motion - motion)[hidden].abs().mean()
    assert error < 150 < lone
