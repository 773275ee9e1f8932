"""Metrics by hand, intervals by simulation, tests by enumeration."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test

from bench import metrics
from bench.analysis import statistics


def test_mse_and_mpjpe_count_hidden_entries_alone() -> None:
    truth = torch.zeros(2, 2, 2, 3)
    completed = truth.clone()
    occluded = torch.zeros_like(truth, dtype=torch.bool)
    completed[0, 0, 1] = torch.tensor([3.0, 4.0, 0.0])
    occluded[0, 0, 1] = torch.tensor([True, True, False])
    completed[0, 1, 0, 2], occluded[0, 1, 0, 2] = 2.0, True
    occluded[1, 0, 0, 0] = True  # a perfect completion
    assert metrics.mse(completed, truth, occluded).tolist() == pytest.approx([(9 + 16 + 4) / 3, 0])
    assert metrics.mpjpe(completed, truth, occluded).tolist() == pytest.approx([(5 + 2) / 2, 0])


def test_nothing_hidden_has_no_error() -> None:
    blank = torch.zeros(1, 2, 2, 3)
    assert torch.isnan(metrics.mse(blank, blank, blank.bool())).all()


def test_the_interval_has_its_nominal_coverage_which_one_over_windows_has_not() -> None:
    """30 recordings of 8 windows of 50 frames of noise, each ten frames after the one before."""
    rng = np.random.default_rng(0)
    recordings = np.repeat([f"r{number}" for number in range(30)], 8)
    alone = np.arange(240).astype(str)
    covered = {"recordings": 0, "windows": 0}
    for _ in range(200):
        frames = rng.normal(0, 5, (30, 120)) + rng.normal(10, 1, (30, 1))
        values = np.stack([frames[:, at : at + 50].mean(axis=1) for at in range(0, 80, 10)], axis=1)
        columns = np.column_stack([values.ravel(), np.ones(240)])
        for name, units in (("recordings", recordings), ("windows", alone)):
            _, low, high = statistics.estimate(columns, units, statistics.mean)
            covered[name] += low <= 10 <= high
    assert 0.9 <= covered["recordings"] / 200 <= 0.99
    assert covered["windows"] / 200 < 0.7


def test_overlapping_windows_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(1)
    means = rng.normal(0, 1, 20)

    def width(copies: int) -> float:
        columns = np.column_stack([np.repeat(means, copies), np.ones(20 * copies)])
        names = np.repeat(np.arange(20), copies).astype(str)
        _, low, high = statistics.estimate(columns, names, statistics.mean)
        return high - low

    assert width(50) == pytest.approx(width(1))


def crossed(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return values of 8 seeds and 20 recordings of 3 windows, each with an effect of its own."""
    seed, recording = rng.normal(0, 1, 8), rng.normal(0, 1, 20)
    values = 10 + seed[:, None, None] + recording[:, None] + rng.normal(0, 0.5, (8, 20, 3))
    seeds, recordings, _ = np.indices(values.shape)
    return values.ravel(), recordings.ravel().astype(str), seeds.ravel()


def test_the_interval_over_recordings_and_seeds_has_the_coverage_that_neither_alone_has() -> None:
    rng = np.random.default_rng(4)
    covered = {"both": 0, "recordings": 0, "seeds": 0}
    for _ in range(200):
        values, recordings, seeds = crossed(rng)
        columns = np.column_stack([values, np.ones(len(values))])
        for name, units in {
            "both": (recordings, seeds),
            "recordings": (recordings, None),
            "seeds": (seeds.astype(str), None),
        }.items():
            _, low, high = statistics.estimate(columns, units[0], statistics.mean, units[1])
            covered[name] += low <= 10 <= high
    assert 0.87 <= covered["both"] / 200 <= 0.99
    assert covered["recordings"] / 200 < 0.8
    assert covered["seeds"] / 200 < 0.9


def test_a_crossed_draw_weighs_each_pair_by_both_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: each value is repeated by the product of the counts of its recording and seed."""
    rng = np.random.default_rng(6)
    values, recordings, seeds = crossed(rng)
    of_recordings = rng.multinomial(20, np.full(20, 1 / 20), size=1)
    of_seeds = rng.multinomial(8, np.full(8, 1 / 8), size=1)
    monkeypatch.setattr(
        statistics, "resamples", lambda count, stream=0: of_seeds if stream else of_recordings
    )
    columns = np.column_stack([values, np.ones(len(values))])
    value, low, high = statistics.estimate(columns, recordings, statistics.mean, seeds)
    names = np.unique(recordings)
    times = [
        of_recordings[0][np.flatnonzero(names == name)[0]] * of_seeds[0][seed]
        for name, seed in zip(recordings, seeds, strict=True)
    ]
    assert value == pytest.approx(values.mean())
    assert low == high == pytest.approx(np.repeat(values, times).mean())


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(8)
    values, recordings, seeds = crossed(rng)
    columns = np.column_stack([values, np.ones(len(values))])
    mixed = rng.permutation(len(values))
    one = statistics.estimate(columns, recordings, statistics.mean, seeds)
    other = statistics.estimate(columns[mixed], recordings[mixed], statistics.mean, seeds[mixed])
    assert one == pytest.approx(other)


def test_change_is_paired() -> None:
    base = np.array([1.0, 100.0, 10000.0])
    columns = np.column_stack([0.5 * base, base])
    value, low, high = statistics.estimate(columns, np.array(list("abc")), statistics.change)
    assert (value, low, high) == pytest.approx((-50, -50, -50))


def test_one_recording_has_no_interval() -> None:
    columns = np.ones((4, 2))
    value, low, high = statistics.estimate(columns, np.array(["a"] * 4), statistics.mean)
    assert value == 1
    assert np.isnan(low)
    assert np.isnan(high)


def enumerated(difference: list[float], recordings: list[str]) -> float:
    """Return the share of all sign flips of recordings with a mean at least as far from 0."""
    names = sorted(set(recordings))
    sums = [
        sum(value for value, name in zip(difference, recordings, strict=True) if name == wanted)
        for wanted in names
    ]
    seen = abs(sum(sums))
    flipped = [
        abs(sum(sign * part for sign, part in zip(signs, sums, strict=True)))
        for signs in product((-1, 1), repeat=len(sums))
    ]
    return sum(total >= seen - 1e-9 for total in flipped) / len(flipped)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(-30, 30), st.sampled_from("abcdefg")), min_size=2, max_size=20
    ).filter(lambda rows: len({name for _, name in rows}) > 1)
)
def test_sign_flip_p_is_that_of_all_flips(rows: list[tuple[int, str]]) -> None:
    difference, recordings = [float(value) for value, _ in rows], [name for _, name in rows]
    p = statistics.sign_flip_p(np.array(difference), np.array(recordings, dtype=object))
    assert p == pytest.approx(enumerated(difference, recordings))
    assert 0 < p <= 1


def test_sign_flip_p_by_hand() -> None:
    # Sums by recording are 3, 2 and -1. Of the eight flips +-4 and +-6 are as far out as 4.
    difference = np.array([1.0, 2.0, 2.0, -1.0])
    p = statistics.sign_flip_p(difference, np.array(["a", "a", "b", "c"], dtype=object))
    assert p == pytest.approx(4 / 8)


def test_sign_flip_p_is_two_sided_and_has_no_unit() -> None:
    rng = np.random.default_rng(3)
    difference = rng.normal(0.4, 1, 40)
    recordings = np.array([f"r{number % 10}" for number in range(40)], dtype=object)
    p = statistics.sign_flip_p(difference, recordings)
    assert 0.0 < p < 0.9
    assert statistics.sign_flip_p(-difference, recordings) == pytest.approx(p)
    assert statistics.sign_flip_p(1000 * difference, recordings) == pytest.approx(p)


@pytest.mark.parametrize("count", [2, 5, 9, 13, 14, 40])
def test_sign_flip_p_is_that_of_scipy(count: int) -> None:
    rng = np.random.default_rng(count)
    names = np.array([f"r{number:02d}" for number in range(count)], dtype=object)
    # Tenths have sums that are equal but for rounding.
    for difference in (rng.normal(0.2, 1, count), rng.integers(-2, 4, count) / 10):
        expected = permutation_test(
            (difference,),
            np.mean,
            permutation_type="samples",
            vectorized=True,
            n_resamples=statistics.FLIPS,
            rng=np.random.default_rng(0),
        )
        assert statistics.sign_flip_p(difference, names) == expected.pvalue


@pytest.mark.parametrize(("recordings", "least"), [(2, 0.5), (4, 0.125), (5, 0.0625)])
def test_few_recordings_cannot_have_a_small_p(recordings: int, least: float) -> None:
    # However many windows agree: they come from the same few recordings.
    names = np.repeat([f"r{number}" for number in range(recordings)], 500).astype(object)
    assert statistics.sign_flip_p(np.full(len(names), -1.0), names) == pytest.approx(least)


def test_one_recording_or_no_difference_is_no_evidence() -> None:
    ones = np.ones(100)
    assert statistics.sign_flip_p(ones, np.array(["a"] * 100, dtype=object)) == 1
    many = np.array([f"r{number}" for number in range(100)], dtype=object)
    assert statistics.sign_flip_p(np.zeros(100), many) == 1
    assert statistics.sign_flip_p(ones, many) < 0.001


def test_no_difference_is_rejected_at_the_nominal_rate() -> None:
    rng = np.random.default_rng(5)
    names = np.repeat([f"r{number}" for number in range(10)], 5).astype(object)
    rejected = 0
    for _ in range(200):
        # Windows of a recording share most of their difference.
        difference = np.repeat(rng.normal(0, 1, 10), 5) + rng.normal(0, 0.1, 50)
        rejected += statistics.sign_flip_p(difference, names) < 0.05
    assert rejected / 200 < 0.1


def test_holm_by_hand() -> None:
    # In order 0.005 * 4, 0.01 * 3, 0.03 * 2 and 0.04 * 1, which must not be less than 0.06.
    corrected = statistics.holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert corrected.tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm(np.array([0.9, 0.6])).tolist() == [1, 1]
    assert statistics.holm(np.array([0.02])).tolist() == [0.02]
    assert statistics.holm(np.array([])).tolist() == []


probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@settings(deadline=None)
@given(probabilities)
def test_holm_keeps_the_order_and_only_raises(p: list[float]) -> None:
    corrected = statistics.holm(np.array(p))
    assert (corrected >= np.array(p)).all()
    assert (corrected <= 1).all()
    for one, raised in zip(p, corrected, strict=True):
        for other, raised_other in zip(p, corrected, strict=True):
            assert one > other or raised <= raised_other
    # It lies between no correction and Bonferroni's.
    assert (corrected <= np.minimum(len(p) * np.array(p), 1) + 1e-12).all()


@settings(deadline=None)
@given(probabilities, st.integers(0, 1000))
def test_holm_does_not_depend_on_the_order(p: list[float], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(p))
    shuffled = statistics.holm(np.array(p)[order])
    assert shuffled.tolist() == pytest.approx(statistics.holm(np.array(p))[order].tolist())


@pytest.mark.filterwarnings("ignore:All-NaN")
@pytest.mark.parametrize(("seeds", "recordings"), [(1, 1), (1, 7), (3, 2), (4, 9)])
def test_groups_resampled_together_are_those_resampled_alone(
    seeds: int, recordings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "TOGETHER", 2 * seeds)
    rng = np.random.default_rng(0)
    sums = rng.uniform(1, 9, (seeds, recordings, 5, 2))
    sums[0, 0, 3, 1] = np.nan
    found = statistics.estimates(sums, statistics.change)
    seed, recording = (part.ravel() for part in np.indices((seeds, recordings)))
    for group in range(5):
        columns = sums[:, :, group].reshape(-1, 2)
        alone = statistics.estimate(columns, recording, statistics.change, seed)
        np.testing.assert_allclose(found[group], alone, rtol=1e-12)
    assert np.isnan(found[:, 1]).all() == (recordings == 1)
