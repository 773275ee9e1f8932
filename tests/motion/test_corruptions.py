"""Corruptions: as strong as requested, the same for every model, and not in place."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.core.registry import CORRUPTIONS
from bench.motion import Windows
from bench.motion.corruptions.base import Corruption
from bench.motion.corruptions.joint_swap import JointSwap
from bench.motion.corruptions.noise import Noise
from bench.motion.corruptions.time_reversal import TimeReversal
from bench.motion.mechanisms.base import Level
from tests.conftest import walk

WINDOWS = walk(4)
SOME = [Noise(level=20), JointSwap(level=Level.parse("20%")), TimeReversal()]

each = pytest.mark.parametrize("corruption", SOME, ids=lambda corruption: corruption.name)


def swapped(corruption: JointSwap, windows: Windows) -> list[tuple[list[int], list[int]]]:
    """Return, for every window, the frames and the joints that changed."""
    changed = (corruption.apply(windows) != windows.motion).any(axis=3)
    return [
        (np.flatnonzero(window.any(axis=1)).tolist(), np.flatnonzero(window.any(axis=0)).tolist())
        for window in changed
    ]


def pairs(windows: Windows) -> list[list[int]]:
    return [windows.skeleton.index(pair) for pair in windows.skeleton.pairs]


def test_every_corruption_is_tested_here() -> None:
    assert set(CORRUPTIONS.all()) == {corruption.name for corruption in SOME}


@each
def test_the_given_motion_is_not_modified(corruption: Corruption, windows: Windows) -> None:
    before = np.asarray(windows.motion).copy()
    np.asarray(windows.motion).setflags(write=False)
    corrupted = corruption.apply(windows)
    assert corrupted.dtype == np.float32
    assert corrupted.flags.writeable
    assert not np.shares_memory(corrupted, windows.motion)
    np.testing.assert_array_equal(windows.motion, before)
    assert (corrupted != before).any(axis=(1, 2, 3)).all()
    one = corruption.corrupt(windows.motion[0], windows.spec, np.random.default_rng(0))
    assert not np.shares_memory(one, windows.motion)


@each
def test_a_corrupted_window_does_not_depend_on_its_batch(
    corruption: Corruption, windows: Windows
) -> None:
    whole = corruption.apply(windows)
    part = windows.thin(2)
    rows = [windows.names.index(name) for name in part.names]
    np.testing.assert_array_equal(corruption.apply(part), whole[rows])


def test_windows_levels_and_seeds_have_draws_of_their_own(windows: Windows) -> None:
    """The noise of one is not a multiple of another's."""
    same = replace(windows, motion=np.zeros_like(windows.motion))
    draws = [
        np.sign(Noise(level=level, seed=seed).apply(same)[row]).tobytes()
        for level in (5, 10)
        for seed in (0, 1)
        for row in range(len(windows))
    ]
    assert len(set(draws)) == len(draws)


@each
def test_stored_settings_corrupt_alike(corruption: Corruption, windows: Windows) -> None:
    again = type(corruption).model_validate_json(corruption.model_dump_json())
    np.testing.assert_array_equal(again.apply(windows), corruption.apply(windows))


@pytest.mark.parametrize("level", [10, 10.0, "10"])
def test_a_level_of_noise_is_one_however_it_is_written(level: object, windows: Windows) -> None:
    noise = Noise.model_validate({"level": level})
    np.testing.assert_array_equal(noise.apply(windows), Noise(level=10).apply(windows))


@given(st.floats(0.1, 1000), st.integers(0, 5))
@settings(max_examples=20)
def test_noise_is_gaussian_with_the_requested_deviation(level: float, seed: int) -> None:
    still = replace(WINDOWS, motion=np.zeros_like(WINDOWS.motion))
    noise = Noise(level=level, seed=seed).apply(still).astype(np.float64).ravel() / level
    # Five standard errors of each statistic of independent standard normals.
    error = 5 / np.sqrt(len(noise))
    assert abs(noise.mean()) < error
    assert abs(noise.std() - 1) < error / np.sqrt(2)
    assert abs((np.abs(noise) < 1).mean() - 0.6827) < error * np.sqrt(0.6827 * 0.3173)
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < error


def test_noise_is_added_to_the_motion() -> None:
    still = replace(WINDOWS, motion=np.zeros_like(WINDOWS.motion))
    added = Noise(level=5).apply(WINDOWS) - WINDOWS.motion
    np.testing.assert_allclose(added, Noise(level=5).apply(still), atol=1e-3)


@given(st.integers(1, 50), st.integers(0, 5))
@settings(max_examples=30)
def test_one_pair_changes_places_during_one_run_of_frames(count: int, seed: int) -> None:
    corruption = JointSwap(level=Level(count=count), seed=seed)
    corrupted = corruption.apply(WINDOWS)
    for window, (frames, joints) in enumerate(swapped(corruption, WINDOWS)):
        assert frames == list(range(frames[0], frames[0] + count))
        assert joints in [sorted(pair) for pair in pairs(WINDOWS)]
        left, right = joints
        motion = WINDOWS.motion[window, frames]
        np.testing.assert_array_equal(corrupted[window, frames, left], motion[:, right])
        np.testing.assert_array_equal(corrupted[window, frames, right], motion[:, left])


def test_all_pairs_and_all_starts_are_equally_likely() -> None:
    many = walk(700)
    found = swapped(JointSwap(level=Level(count=41)), many)
    for drawn, size in (
        ([frames[0] for frames, _ in found], 10),
        ([sorted(map(sorted, pairs(many))).index(joints) for _, joints in found], 7),
    ):
        rate = np.bincount(drawn, minlength=size) / len(many)
        assert len(rate) == size
        assert np.abs(rate - 1 / size).max() < 5 * np.sqrt((1 - 1 / size) / size / len(many))


@pytest.mark.parametrize(("level", "frames"), [("1%", 1), ("10%", 5), (0.5, 25), ("100%", 50)])
def test_a_share_is_a_share_of_the_frames(level: object, frames: int) -> None:
    for found, _ in swapped(JointSwap(level=Level.parse(level)), WINDOWS):
        assert len(found) == frames


@pytest.mark.parametrize(
    ("level", "message"),
    [(51, "over 100%: a window has 50 frames"), (0, "0 swaps nothing"), ("0%", "0% swaps nothing")],
)
def test_an_impossible_swap_is_refused(level: object, message: str) -> None:
    corruption = JointSwap(level=Level.parse(level))
    for act in (lambda: corruption.check(WINDOWS.spec), lambda: corruption.apply(WINDOWS)):
        with pytest.raises(ValueError, match=message):
            act()


def test_a_swap_needs_joints_that_mirror_each_other() -> None:
    skeleton = replace(WINDOWS.skeleton, pairs=())
    with pytest.raises(ValueError, match="mirror"):
        JointSwap(level=Level(count=5)).check(replace(WINDOWS.spec, skeleton=skeleton))


@pytest.mark.parametrize("level", [0, -1, float("nan"), float("inf"), None, "10%"])
def test_impossible_deviations_are_refused(level: object) -> None:
    with pytest.raises(ValidationError, match="level"):
        Noise.model_validate({"level": level})


def test_time_reversal_runs_backwards_and_has_no_level(windows: Windows) -> None:
    backwards = TimeReversal().apply(windows)
    for frame in range(50):
        np.testing.assert_array_equal(backwards[:, frame], windows.motion[:, 49 - frame])
    assert not TimeReversal.levelled
    with pytest.raises(ValidationError, match="level"):
        TimeReversal.model_validate({"level": 3})
