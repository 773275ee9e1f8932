"""The layout models see, and the DCT."""

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.datasets.synthetic import SKELETON, Synthetic
from bench.motion import Windows, dct_matrix, from_nodes, to_nodes


def test_a_node_is_one_coordinate_over_time(windows: Windows) -> None:
    motion = windows.tensor()
    nodes = to_nodes(motion)
    assert nodes.shape == (54, len(windows), 50)
    for joint, axis in ((0, 0), (7, 2), (17, 1)):
        assert torch.equal(nodes[3 * joint + axis], motion[:, :, joint, axis])


def test_a_reshape_would_scramble_joints_into_time() -> None:
    """The published code's layout: neighbours in "time" are then other joints."""
    recordings = Synthetic(subjects=4, seconds=4).recordings(None)
    recording = next(r for r in recordings if r.action == "walk")
    motion = torch.from_numpy(recording.motion[None, :50])

    def smoothness(layout: torch.Tensor) -> float:
        around = layout - layout.mean(dim=-1, keepdim=True)
        return float((around[..., 1:] * around[..., :-1]).sum() / around.square().sum())

    assert smoothness(to_nodes(motion)) > 0.8
    assert smoothness(motion.reshape(54, 1, 50)) < 0.5


@given(st.integers(1, 5), st.integers(2, 9), st.integers(1, 4))
def test_layout_can_be_undone(count: int, frames: int, joints: int) -> None:
    motion = torch.randn(count, frames, joints, 3)
    assert torch.equal(from_nodes(to_nodes(motion)), motion)


@pytest.mark.parametrize("length", [1, 2, 10, 50])
def test_dct_is_scipys_and_the_papers(length: int) -> None:
    matrix = dct_matrix(length)
    samples = np.random.default_rng(0).normal(size=(length, 3))
    expected = scipy.fft.dct(samples, norm="ortho", axis=0)
    np.testing.assert_allclose(matrix @ samples, expected, atol=1e-12)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(length), atol=1e-12)
    # The formula of sec. 3.1, with its indices from 1.
    n = np.arange(1, length + 1)
    for row in range(1, length + 1):
        first = np.sqrt(2 / length) / np.sqrt(1 + (row == 1))
        formula = first * np.cos(np.pi / (2 * length) * (2 * n - 1) * (row - 1))
        np.testing.assert_allclose(matrix[row - 1], formula, atol=1e-12)


def test_thinning_is_even_and_keeps_names(windows: Windows) -> None:
    thin = windows.thin(3)
    assert len(thin) == 3
    assert set(thin.names) <= set(windows.names)
    assert {thin.names[0], thin.names[-1]} == {windows.names[0], windows.names[-1]}
    assert windows.thin(None) is windows
    assert windows.thin(99) is windows


def test_motion_and_index_must_match(windows: Windows) -> None:
    with pytest.raises(ValueError, match="5 index rows for 6 windows"):
        Windows(windows.motion, windows.index.iloc[:5], 25.0, SKELETON)
    with pytest.raises(ValueError, match="for 18 joints"):
        Windows(windows.motion[:, :, :5], windows.index, 25.0, SKELETON)
