"""The node layout, futures of windows, and the DCT."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.datasets.synthetic import SKELETON, Synthetic
from bench.motion import MotionSpec, Windows, dct_matrix, from_nodes, to_nodes
from tests.conftest import walk


def test_a_node_is_one_coordinate_over_time(windows: Windows) -> None:
    motion = windows.tensor()
    nodes = to_nodes(motion)
    assert nodes.shape == (54, len(windows), 50)
    for joint, axis in ((0, 0), (7, 2), (17, 1)):
        assert torch.equal(nodes[3 * joint + axis], motion[:, :, joint, axis])


def test_a_reshape_would_scramble_joints_into_time() -> None:
    """The published code's layout: neighbours in "time" are then other joints."""
    dataset = Synthetic(subjects=4, seconds=4)
    walking = next(source for source in dataset.sources(None) if source.action == "walk")
    motion = torch.from_numpy(dataset.read(walking)[None, :50])

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


def with_futures(windows: Windows, lost: dict[int, int]) -> Windows:
    """Return windows with four future frames each; ``lost`` gives by row how many are known."""
    future = np.random.default_rng(0).normal(0, 100, (len(windows), 4, 18, 3)).astype(np.float32)
    for row, known in lost.items():
        future[row, known:] = np.nan
    return replace(windows, future=future)


def test_only_windows_with_a_whole_future_count_as_continued(windows: Windows) -> None:
    assert not windows.continued.any()
    whole = with_futures(windows, {1: 0, 2: 3, 5: 1})
    assert whole.continued.tolist() == [True, False, False, True, True, False]
    assert whole.spec == MotionSpec(50, 25.0, SKELETON, 4)
    assert windows.spec.future == 0


def test_past_and_future_together_are_longer_windows(windows: Windows) -> None:
    some = with_futures(windows, {1: 0, 2: 3, 5: 1})
    assert some.future is not None
    whole = some.with_future()
    assert whole.motion.shape == (3, 54, 18, 3)
    for number, row in enumerate((0, 3, 4)):
        np.testing.assert_array_equal(whole.motion[number, :50], windows.motion[row])
        np.testing.assert_array_equal(whole.motion[number, 50:], some.future[row])
    assert whole.names == [windows.names[row] for row in (0, 3, 4)]
    assert whole.future is None


def test_windows_without_any_whole_future_are_refused(windows: Windows) -> None:
    for none in (windows, with_futures(windows, dict.fromkeys(range(6), 2))):
        with pytest.raises(ValueError, match="no recording is long enough"):
            none.with_future()


@pytest.mark.parametrize("rows", [slice(1, 4), np.array([5, 0]), np.arange(6) % 2 == 0])
def test_taken_windows_keep_their_futures(
    rows: slice | NDArray[np.int64] | NDArray[np.bool_], windows: Windows
) -> None:
    whole = with_futures(windows, {1: 0})
    some = whole.take(rows)
    assert whole.future is not None
    assert some.future is not None
    np.testing.assert_array_equal(some.future, whole.future[rows])
    np.testing.assert_array_equal(some.continued, whole.continued[rows])


@pytest.mark.parametrize("shape", [(5, 4, 18, 3), (6, 4, 17, 3), (6, 4, 18, 2)])
def test_futures_of_other_windows_are_refused(shape: tuple[int, ...], windows: Windows) -> None:
    with pytest.raises(ValueError, match="futures"):
        replace(windows, future=np.zeros(shape, dtype=np.float32))


@given(st.lists(st.integers(0, 5), max_size=8), st.integers(1, 6))
def test_futures_stay_with_their_windows_in_any_choice(rows: list[int], count: int) -> None:
    whole = with_futures(walk(), {1: 0, 4: 2})
    thin = np.linspace(0, 5, count).round().astype(int)
    for some, chosen in (
        (whole.take(np.array(rows, dtype=np.int64)), rows),
        (whole.thin(count), thin),
    ):
        assert whole.future is not None
        assert some.future is not None
        np.testing.assert_array_equal(some.motion, whole.motion[chosen])
        np.testing.assert_array_equal(some.future, whole.future[chosen])
        assert some.names == [whole.names[row] for row in chosen]
        assert some.spec == whole.spec
