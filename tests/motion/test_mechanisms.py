"""Occlusion masks: exactly the requested amount, and the same for every model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.motion import Windows
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.features import Features
from tests.conftest import walk

WINDOWS = walk(4)


@given(st.integers(0, 2700), st.integers(0, 5))
@settings(max_examples=30)
def test_exactly_the_requested_count_is_hidden_in_every_window(count: int, seed: int) -> None:
    hidden = Features(level=Level(count=count), seed=seed).occluded(WINDOWS)
    assert hidden.shape == WINDOWS.motion.shape
    assert (hidden.reshape(4, -1).sum(axis=1) == count).all()


@pytest.mark.parametrize(("level", "count"), [("1%", 27), ("10%", 270), ("90%", 2430), (0.5, 1350)])
def test_a_share_is_a_share_of_all_features(level: object, count: int) -> None:
    assert Level.parse(level).of(2700) == count


def test_a_windows_mask_does_not_depend_on_its_batch(windows: Windows) -> None:
    mechanism = Features(level=Level(count=100), seed=3)
    whole = mechanism.occluded(windows)
    part = windows.thin(2)
    rows = [windows.names.index(name) for name in part.names]
    np.testing.assert_array_equal(mechanism.occluded(part), whole[rows])


def test_windows_levels_and_seeds_have_masks_of_their_own(windows: Windows) -> None:
    masks = [
        Features(level=Level.parse(level), seed=seed).occluded(windows)[row].tobytes()
        for level in (270, "10%")
        for seed in (0, 1)
        for row in range(len(windows))
    ]
    assert len(set(masks)) == len(masks)


def test_every_feature_is_equally_likely() -> None:
    many = walk(400)
    hidden = Features(level=Level.parse("20%")).occluded(many)
    rate = hidden.mean(axis=0)
    # 2700 binomials of 400 draws: five standard deviations around 0.2.
    assert np.abs(rate - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 400)


@pytest.mark.parametrize("text", ["110%", 1.01, "many", -1, "-3%", True, None, [1], "10 %%"])
def test_impossible_levels_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="level"):
        Level.parse(text)


def test_a_count_over_all_features_is_refused() -> None:
    with pytest.raises(ValueError, match="over 100%: a window has 2700"):
        Level(count=2701).of(2700)


@given(st.one_of(st.integers(0, 5000), st.floats(0, 1).map(lambda x: f"{100 * x:.3f}%")))
def test_a_level_reads_back_what_it_writes(value: int | str) -> None:
    level = Level.parse(value)
    again = Level.parse(str(level))
    assert again.of(10**6) == level.of(10**6)
