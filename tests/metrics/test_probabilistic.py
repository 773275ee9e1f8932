"""Scores of distributions, compared with scoringrules, with loops and with known distributions."""

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import scipy.stats
import scoringrules
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench import metrics
from bench.metrics import probabilistic as scores

SHAPE = (5, 6, 4, 3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def case(count: int, seed: int = 0, share: float = 0.4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return a completion, the truth, the mask and samples, of five windows in float32."""
    hidden = torch.rand(SHAPE, generator=generator(seed)) < share
    truth = 300 * normal(*SHAPE, seed=seed).float()
    motion = torch.where(hidden, truth + 40 * normal(*SHAPE, seed=seed + 1).float(), truth)
    draws = motion + 40 * normal(count, *SHAPE, seed=seed + 2).float()
    return motion, truth, hidden, torch.where(hidden, draws, truth)


@pytest.mark.parametrize("count", [2, 3, 20])
def test_the_crps_of_samples_is_that_of_scoringrules_and_of_all_pairs(count: int) -> None:
    truth, samples = normal(7, 3), 2 * normal(count, 7, 3, seed=1)
    found = metrics.crps_ensemble(truth, samples)
    library = scoringrules.crps_ensemble(truth.numpy(), samples.numpy(), m_axis=0, estimator="fair")
    np.testing.assert_allclose(found.numpy(), library, rtol=1e-9)
    pairs = torch.stack([(one - other).abs() for one, other in combinations(samples, 2)])
    expected = (samples - truth).abs().mean(dim=0) - pairs.mean(dim=0) / 2
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_the_crps_of_a_gaussian_is_that_of_scoringrules() -> None:
    truth, mean, sigma = 3 * normal(50), normal(50, seed=1), normal(50, seed=2).exp()
    library = scoringrules.crps_normal(truth.numpy(), mean.numpy(), sigma.numpy())
    np.testing.assert_allclose(metrics.crps_normal(truth, mean, sigma).numpy(), library, rtol=1e-9)


def test_a_gaussian_without_deviation_is_a_point() -> None:
    truth, mean = torch.tensor([3.0, -1.0, 2.0]), torch.tensor([1.0, 1.0, 2.0])
    assert metrics.crps_normal(truth, mean, torch.zeros(3)).tolist() == [2, 2, 0]
    below, up_to = scores.pit_normal(truth, mean, torch.zeros(3))
    assert below.tolist() == [1, 0, 0]
    assert up_to.tolist() == [1, 0, 1]


@pytest.mark.parametrize("count", [2, 5, 20])
def test_the_energy_score_is_fair_and_otherwise_that_of_scoringrules(count: int) -> None:
    """The library's estimate, less what it counts of samples against themselves."""
    truth, samples = normal(7, 3), 2 * normal(count, 7, 3, seed=1)
    biased = scoringrules.es_ensemble(
        truth.numpy(), samples.numpy(), m_axis=0, v_axis=-1, estimator="nrg"
    )
    distances = [(one - other).norm(dim=-1) for one, other in combinations(samples, 2)]
    mean = torch.stack(distances).mean(dim=0)
    # Of the count squared pairs that it averages, count are of distance 0.
    expected = biased - mean.numpy() / 2 / count
    np.testing.assert_allclose(metrics.energy_score(truth, samples).numpy(), expected, rtol=1e-9)
    torch.testing.assert_close(scores.sample_distance(samples), mean, rtol=1e-9, atol=1e-12)


def test_the_energy_score_of_one_coordinate_is_the_crps() -> None:
    truth, samples = normal(9), normal(6, 9, seed=1)
    energy = metrics.energy_score(truth[:, None], samples[..., None])
    torch.testing.assert_close(energy, metrics.crps_ensemble(truth, samples))


def test_scores_of_samples_do_not_depend_on_their_number_on_average() -> None:
    """Fair: two samples of a Gaussian have its own CRPS on average, unlike their empirical one."""
    truth = normal(200_000)
    exact = metrics.crps_normal(truth, torch.tensor(0.5), torch.tensor(2.0)).mean().item()
    samples = 0.5 + 2 * normal(2, len(truth), seed=1)
    assert metrics.crps_ensemble(truth, samples).mean().item() == pytest.approx(exact, abs=0.02)
    assert (samples - truth).abs().mean().item() > exact + 0.5


def test_intervals_of_a_gaussian_are_those_of_scipy() -> None:
    mean, sigma = normal(5), normal(5, seed=1).exp()
    for level, (low, high) in scores.intervals_normal(mean, sigma).items():
        ends = scipy.stats.norm.interval(level / 100, mean.numpy(), sigma.numpy())
        np.testing.assert_allclose(torch.stack([low, high]).numpy(), ends, rtol=1e-9)


@pytest.mark.parametrize("count", [3, 9, 19, 20, 39, 100])
def test_intervals_of_samples_are_weibull_quantiles(count: int) -> None:
    samples = normal(count, 4)
    for level, (low, high) in scores.intervals_ensemble(samples).items():
        tail = (100 - level) / 200
        ends = np.quantile(samples.numpy(), [tail, 1 - tail], axis=0, method="weibull")
        enough = count >= {50: 3, 80: 9, 90: 19, 95: 39}[level]
        for found, expected in zip((low, high), ends, strict=True):
            expected = expected if enough else np.full(4, math.nan)
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def cdf_of_pit(below: float, up_to: float, edge: float) -> float:
    """Czado, Gneiting and Held's function, by cases."""
    if edge <= below:
        return 0.0
    if edge >= up_to:
        return 1.0
    return (edge - below) / (up_to - below)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6))
def test_the_pit_is_spread_as_its_definition_says(ends: list[tuple[float, float]]) -> None:
    ordered = [(min(pair), max(pair)) for pair in ends]
    below, up_to = torch.tensor(ordered, dtype=torch.float64).T
    shares = scores.pit_shares(below, up_to)
    assert shares.shape == (10, len(ends))
    for column, pair in enumerate(ordered):
        edges = [0.0, *(cdf_of_pit(*pair, number / 10) for number in range(1, 10)), 1.0]
        assert shares[:, column].tolist() == pytest.approx(np.diff(edges).tolist(), abs=1e-9)


def test_a_pit_at_the_edge_of_two_bins_is_in_the_upper_one() -> None:
    values = torch.tensor([0.0, 0.5, 1.0])
    assert scores.pit_shares(values, values).argmax(dim=0).tolist() == [0, 5, 9]


def test_the_rank_of_the_truth_by_hand() -> None:
    samples = torch.tensor([[1.0, 1.0, 1.0], [2.0, 2.0, 5.0], [3.0, 2.0, 5.0]])
    truth = torch.tensor([2.5, 2.0, 0.0])
    below, up_to = scores.pit_ensemble(truth, samples)
    assert below.tolist() == [0.5, 0.25, 0]
    assert up_to.tolist() == [0.75, 1, 0.25]


Given = Callable[[Tensor, Tensor], dict[str, Tensor]]


def from_sigma(motion: Tensor, factor: Tensor) -> dict[str, Tensor]:
    return {"sigma": torch.full_like(motion, 40) * factor}


def from_samples(motion: Tensor, factor: Tensor) -> dict[str, Tensor]:
    return {"samples": motion + 40 * factor * normal(39, *motion.shape, seed=9).float()}


@pytest.mark.parametrize("given_", [from_sigma, from_samples])
def test_a_calibrated_distribution_looks_calibrated_and_others_do_not(given_: Given) -> None:
    motion = 100 * normal(4, 50, 18, 3).float()
    truth = motion + 40 * normal(4, 50, 18, 3, seed=5).float()
    hidden = torch.ones_like(motion, dtype=torch.bool)

    def mean(factor: float) -> dict[str, float]:
        given = given_(motion, torch.tensor(factor))
        found = metrics.probabilistic_scores(motion, truth, hidden, **given)
        return {name: value.mean().item() for name, value in found.items()}

    right, narrow, wide = mean(1), mean(0.5), mean(2)
    for level in (50, 80, 90, 95):
        name = f"coverage{level}"
        assert right[name] == pytest.approx(level, abs=1.5)
        assert narrow[name] < level - 10 < level < wide[name]
    pits = [[found[f"pit_{number}"] for number in range(10)] for found in (right, narrow, wide)]
    assert pits[0] == pytest.approx([0.1] * 10, abs=0.01)
    assert min(pits[1][0], pits[1][9]) > 0.15  # U-shaped
    assert min(pits[2][4], pits[2][5]) > 0.13  # a hump
    assert [sum(shares) for shares in pits] == pytest.approx([1] * 3)
    assert right["crps"] < min(narrow["crps"], wide["crps"])
    assert right["crps"] == pytest.approx(40 / math.sqrt(math.pi), rel=0.02)
    # Quantiles of few samples lie further out than those of their distribution.
    assert right["sharpness"] == pytest.approx(2 * 1.645 * 40, rel=0.08)


def test_scores_of_samples_are_means_over_what_is_hidden() -> None:
    """A loop over windows, joints and coordinates, with scoringrules."""
    motion, truth, hidden, samples = case(19)
    hidden[0] = False
    hidden[1] = False
    hidden[1, 2, 3, 1] = True
    found = metrics.probabilistic_scores(motion, truth, hidden, samples=samples)
    for window in range(1, SHAPE[0]):
        crps, covered, width, energy, distance = [], [], [], [], []
        for frame, joint in np.ndindex(SHAPE[1:3]):
            drawn = samples[:, window, frame, joint].double().numpy()
            true = truth[window, frame, joint].double().numpy()
            for axis in np.flatnonzero(hidden[window, frame, joint].numpy()):
                crps.append(
                    scoringrules.crps_ensemble(true[axis], drawn[:, axis], estimator="fair")
                )
                low, high = np.quantile(drawn[:, axis], [0.05, 0.95], method="weibull")
                covered.append(100 * (low <= true[axis] <= high))
                width.append(high - low)
            if hidden[window, frame, joint].any():
                apart = np.mean([math.dist(*pair) for pair in combinations(drawn, 2)])
                distance.append(apart)
                energy.append(np.mean([math.dist(row, true) for row in drawn]) - apart / 2)
        for name, expected in {
            "crps": crps,
            "coverage90": covered,
            "sharpness": width,
            "energy_score": energy,
            "sample_distance": distance,
        }.items():
            assert found[name][window].item() == pytest.approx(np.mean(expected), rel=1e-6), name
        best = min(
            metrics.mpjpe(sample[None, window], truth[None, window], hidden[None, window]).item()
            for sample in samples[:10]
        )
        assert found["best_of_10"][window].item() == pytest.approx(best)
    assert all(values[0].isnan() for values in found.values())
    assert found["coverage95"].isnan().all()  # needs 39 samples


def test_a_deviation_is_preferred_to_samples_for_single_coordinates() -> None:
    motion, truth, hidden, samples = case(40)
    sigma = torch.full_like(motion, 25.0)
    both = metrics.probabilistic_scores(motion, truth, hidden, sigma, samples)
    one = metrics.probabilistic_scores(motion, truth, hidden, sigma)
    other = metrics.probabilistic_scores(motion, truth, hidden, samples=samples)
    assert set(both) == set(other)
    assert set(other) - set(one) == {"energy_score", "best_of_10", "sample_distance"}
    for name, values in both.items():
        assert torch.equal(values, one.get(name, other[name])), name


def test_a_point_has_its_absolute_error_as_crps_and_nothing_else() -> None:
    motion, truth, hidden, _ = case(2)
    found = metrics.probabilistic_scores(motion, truth, hidden)
    assert list(found) == ["crps"]
    assert torch.equal(found["crps"], metrics.mae(motion, truth, hidden))
    sure = metrics.probabilistic_scores(motion, truth, hidden, sigma=torch.zeros_like(motion))
    torch.testing.assert_close(sure["crps"], found["crps"])


def test_one_sample_says_nothing_of_a_distribution() -> None:
    motion, truth, hidden, samples = case(1)
    found = metrics.probabilistic_scores(motion, truth, hidden, samples=samples)
    assert found["pit_0"].isfinite().all()
    for name in ("crps", "coverage50", "sharpness", "energy_score", "best_of_10"):
        assert found[name].isnan().all(), name


def test_what_is_not_hidden_has_no_influence() -> None:
    motion, truth, hidden, samples = case(12)
    sigma = torch.full_like(motion, 10.0)
    before = metrics.probabilistic_scores(motion, truth, hidden, sigma, samples)
    seen = ~hidden & hidden.any(dim=-1, keepdim=True).logical_not()
    changed = [torch.where(seen, 1e6, part) for part in (motion, truth, sigma, samples)]
    after = metrics.probabilistic_scores(changed[0], changed[1], hidden, changed[2], changed[3])
    for name in before:
        assert torch.equal(before[name], after[name]), name


@pytest.mark.parametrize("count", [0, 12])
def test_scoring_a_few_windows_at_a_time_changes_nothing(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    motion, truth, hidden, samples = case(count)
    given = {"samples": samples} if count else {"sigma": torch.full_like(motion, 10.0)}
    whole = metrics.probabilistic_scores(motion, truth, hidden, **given)
    monkeypatch.setattr(scores, "_VALUES", 2 * max(count, 1) * 72)  # two windows
    parts = metrics.probabilistic_scores(motion, truth, hidden, **given)
    assert all(values.shape == (5,) for values in parts.values())
    assert all(values.dtype == torch.float64 for values in parts.values())
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], equal_nan=True)
