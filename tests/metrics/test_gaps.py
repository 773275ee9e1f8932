"""Errors at the borders of gaps and of windows that lack whole frames, compared with loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import metrics
from tests.metrics.test_metrics import drawn, mean_of, tensors

WHOLE = [[2], [0, 1], [4, 5], [1, 3, 4], [0, 1, 2, 3, 4, 5]]
"""Hidden frames of windows of six."""


def whole_frames(frames: list[int], seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Return a completion, the truth and the mask of three windows without these frames."""
    _, truth, _ = drawn(seed)
    hidden = np.zeros(truth.shape, dtype=bool)
    hidden[:, frames] = True
    noise = np.random.default_rng(seed).normal(0, 50, truth.shape)
    return tensors((np.where(hidden, truth + noise, truth), truth, hidden))


@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
def test_mae_is_that_of_a_loop(share: float) -> None:
    completed, truth, hidden = drawn(1, share=share)
    means = [
        mean_of(
            [abs(completed[place] - truth[place]) for place in np.ndindex(row.shape) if row[place]]
        )
        for completed, truth, row in zip(completed, truth, hidden, strict=True)
    ]
    found = metrics.mae(*tensors((completed, truth, hidden))).tolist()
    assert found == pytest.approx(means, rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_border_jump_is_that_of_a_loop(seed: int, share: float) -> None:
    completed, truth, hides = drawn(seed, share=share)
    means = []
    for window in range(3):
        jumps = []
        for frame in range(5):
            for joint in range(truth.shape[2]):
                seen = [not hides[window, place, joint].any() for place in (frame, frame + 1)]
                if seen[0] == seen[1]:
                    continue
                steps = [
                    m[window, frame + 1, joint] - m[window, frame, joint]
                    for m in (completed, truth)
                ]
                jumps.append(math.dist(*steps))
        means.append(mean_of(jumps))
    found = metrics.border_jump(*tensors((completed, truth, hides))).tolist()
    assert found == pytest.approx(means, rel=1e-4, nan_ok=True)


def test_a_jump_is_counted_at_the_borders_of_a_gap_alone() -> None:
    truth = torch.zeros(1, 8, 2, 3)
    truth[0, :, 0, 0] = 100.0 * torch.arange(8)  # fast, without a jump
    completed, hidden = truth.clone(), torch.zeros_like(truth, dtype=torch.bool)
    hidden[0, 2:6, 0] = True
    assert metrics.border_jump(completed, truth, hidden).tolist() == [0]
    completed[0, 2, 0] += torch.tensor([0.0, 30.0, 40.0])
    completed[0, 3:5, 0, 1] = 900.0  # inside the gap
    assert metrics.border_jump(completed, truth, hidden).tolist() == pytest.approx([25])
    hidden[0, 6:, 0] = True  # now the gap has but one border
    assert metrics.border_jump(completed, truth, hidden).tolist() == pytest.approx([50])
    hidden[0, :, 0] = True  # and now none
    assert torch.isnan(metrics.border_jump(completed, truth, hidden)).all()


@pytest.mark.parametrize("frames", WHOLE)
def test_l2p_is_the_norm_over_all_joints_of_a_hidden_frame(frames: list[int]) -> None:
    completed, truth, hidden = whole_frames(frames)
    norms = [
        [
            math.dist(completed[window, frame].ravel(), truth[window, frame].ravel())
            for frame in frames
        ]
        for window in range(3)
    ]
    expected = [mean_of(found) for found in norms]
    assert metrics.l2p(completed, truth, hidden).tolist() == pytest.approx(expected, rel=1e-5)


def spectrum(values: np.ndarray) -> np.ndarray:
    """Return the power at each frequency of a series, by sums of cosines and sines."""
    time = np.arange(len(values))
    angles = 2 * np.pi * np.outer(time, time) / len(values)
    return (np.cos(angles) @ values) ** 2 + (np.sin(angles) @ values) ** 2


@pytest.mark.parametrize("frames", WHOLE)
def test_npss_is_that_of_a_loop_over_coordinates(frames: list[int]) -> None:
    completed, truth, hidden = whole_frames(frames, seed=4)
    expected = []
    for found, true in zip(completed.double().numpy(), truth.double().numpy(), strict=True):
        distances, weights = [], []
        for joint, axis in np.ndindex(true.shape[1:]):
            powers = [spectrum(motion[:, joint, axis]) for motion in (true, found)]
            shares = [np.cumsum(power / power.sum()) for power in powers]
            distances.append(np.abs(shares[0] - shares[1]).sum())
            weights.append(powers[0].sum())
        expected.append(np.average(distances, weights=weights))
    assert metrics.npss(completed, truth, hidden).tolist() == pytest.approx(expected, rel=1e-6)


def test_npss_sees_frequencies_not_phases_and_not_sizes() -> None:
    time = 2 * math.pi * torch.arange(24, dtype=torch.float64) / 24
    hidden = torch.ones(1, 24, 1, 3, dtype=torch.bool)

    def wave(cycles: int, phase: float = 0.0) -> torch.Tensor:
        return torch.sin(cycles * time + phase).view(1, 24, 1, 1).expand(1, 24, 1, 3)

    truth = wave(2)
    assert metrics.npss(truth, truth, hidden).tolist() == pytest.approx([0], abs=1e-12)
    assert metrics.npss(3 * wave(2, 1.0), truth, hidden).tolist() == pytest.approx([0], abs=1e-9)
    # Both halves of the power move by three frequencies, from 2 to 5 and from 22 to 19.
    assert metrics.npss(wave(5), truth, hidden).tolist() == pytest.approx([3], abs=1e-9)
    # Without any power all of the true spectrum lacks: half of it from 2 to 21, all of it after.
    lacking = metrics.npss(torch.zeros_like(truth), truth, hidden)
    assert lacking.tolist() == pytest.approx([20 * 0.5 + 2])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**18 - 1), st.integers(0, 71))
def test_frames_count_only_where_nothing_but_whole_frames_is_hidden(bits: int, place: int) -> None:
    """Any choice of frames of three windows, and one feature that makes or breaks a frame."""
    frames = torch.tensor([bits >> number & 1 for number in range(18)], dtype=torch.bool)
    hidden = frames.view(3, 6, 1, 1).repeat(1, 1, 4, 3)
    completed = torch.arange(hidden.numel()).view(hidden.shape).float()
    truth = completed.square()
    for metric in (metrics.npss, metrics.l2p):
        found = metric(completed, truth, hidden)
        assert found.isnan().tolist() == (~hidden.flatten(1).any(dim=1)).tolist()
        broken = hidden.clone()
        broken[0].view(-1)[place] ^= True
        again = metric(completed, truth, broken)
        assert again[0].isnan()
        assert again[1:].nan_to_num().tolist() == pytest.approx(found[1:].nan_to_num().tolist())


def test_errors_count_where_judged_and_gaps_are_where_hidden() -> None:
    """With noise on what is observed, errors are over all values; gaps are still gaps."""
    completed, truth, hidden = whole_frames([2, 3])
    noisy = completed + 5
    everything = torch.ones_like(hidden)
    found = metrics.completion_errors(noisy, truth, everything, hidden, [(0, 1)], 25.0)
    for name in ("mse", "mpjpe", "mae"):
        assert torch.equal(found[name], getattr(metrics, name)(noisy, truth, everything))
    for name in ("border_jump", "npss", "l2p"):
        assert torch.equal(found[name], getattr(metrics, name)(noisy, truth, hidden))
        assert found[name].isfinite().all()
