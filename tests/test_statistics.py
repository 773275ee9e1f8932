"""Metrics by hand, intervals by simulation."""

import numpy as np
import pytest
import torch

from bench import metrics, statistics


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


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        # 30 recordings of 5 windows that share most of their value.
        recording = np.repeat(rng.normal(10, 2, 30), 5)
        values = recording + rng.normal(0, 0.1, 150)
        names = np.repeat([f"r{number}" for number in range(30)], 5)
        columns = np.column_stack([values, np.ones(150)])
        _, low, high = statistics.estimate(columns, names, statistics.mean)
        covered += low <= 10 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_overlapping_windows_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(1)
    means = rng.normal(0, 1, 20)

    def width(copies: int) -> float:
        columns = np.column_stack([np.repeat(means, copies), np.ones(20 * copies)])
        names = np.repeat(np.arange(20), copies).astype(str)
        _, low, high = statistics.estimate(columns, names, statistics.mean)
        return high - low

    assert width(50) == pytest.approx(width(1))


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
