"""Metrics of sets of windows, compared with closed forms and plain loops."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.judging import Judged, frechet, matching_windows, set_metrics, shares, spread


def test_the_frechet_distance_of_gaussians_along_axes_has_a_closed_form() -> None:
    """For covariances that commute: squared differences of means and of deviations."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(400, 3))
    # Whitened, so that sample moments are exactly those put in.
    white = (base - base.mean(axis=0)) @ np.linalg.inv(
        np.linalg.cholesky(np.cov(base, rowvar=False)).T
    )
    first = white * [1.0, 2.0, 3.0] + [0.0, 1.0, -1.0]
    second = white[::-1] * [2.0, 2.0, 0.5] + [1.0, 1.0, 3.0]
    expected = 1 + 16 + (1 - 2) ** 2 + (3 - 0.5) ** 2
    assert frechet(first, second) == pytest.approx(expected, rel=1e-6)
    assert frechet(second, first) == pytest.approx(expected, rel=1e-6)
    assert frechet(first, first) == pytest.approx(0, abs=1e-6)


def test_the_frechet_distance_of_fewer_windows_than_features_is_finite() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.normal(size=(5, 32)), rng.normal(size=(50, 32))
    assert 0 < frechet(few, many) < 1000


def test_a_single_window_has_no_frechet_distance() -> None:
    features = np.ones((3, 4))
    assert np.isnan(frechet(features[:1], features))
    assert np.isnan(frechet(features, features[:0]))


def test_spread_is_the_mean_distance_of_different_windows_of_a_group() -> None:
    features = np.array([[0.0, 0.0], [3.0, 4.0], [100.0, 0.0], [100.0, 2.0], [7.0, 7.0]])
    groups = np.array(["a", "a", "b", "b", "alone"])
    rng = np.random.default_rng(0)
    assert spread(features, groups, rng) == pytest.approx((5 + 2) / 2)
    pairs = [np.linalg.norm(a - b) for i, a in enumerate(features) for b in features[:i]]
    assert spread(features, np.zeros(5), rng) == pytest.approx(np.mean(pairs), rel=0.05)
    assert np.isnan(spread(features[:1], np.zeros(1), rng))


def test_a_set_of_one_action_has_no_more_spread_within_actions_than_in_all() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(60, 4))
    features[30:] += 50
    actions = np.array(["a"] * 30 + ["b"] * 30, dtype=object)
    real = Judged(features, actions, actions)
    found = set_metrics(real, real)
    assert found["frechet"] == pytest.approx(0, abs=1e-4)
    assert found["multimodality"] < 5 < 20 < found["diversity"]
    nameless = Judged(features, np.array([""] * 60, dtype=object), actions)
    assert np.isnan(set_metrics(nameless, real)["multimodality"])
    assert np.isnan(nameless.right).all()


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 40), min_size=1),
    st.integers(10, 200),
)
def test_actions_are_requested_in_the_proportions_of_real_windows(
    times: dict[str, int], count: int
) -> None:
    real = [action for action, number in times.items() for _ in range(number)]
    requested = shares("abcdefgh", real, count)
    counts = Counter(requested)
    assert len(requested) == count
    assert set(counts) == set(times)
    for action, number in times.items():
        quota = count * number / len(real)
        # At least one of each, taken from the actions that have most above their quota.
        assert counts[action] >= 1
        assert counts[action] <= quota + 1


def test_matching_windows_are_evenly_spaced_over_those_of_the_action() -> None:
    rows = matching_windows(["a", "b", "a", "a", "c", "a", "a"], ["a", "a", "a", "c", "z"])
    assert rows.tolist() == [0, 3, 6, 4]
