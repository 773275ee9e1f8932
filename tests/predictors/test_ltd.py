"""LTD compared with a loop over windows: scipy's DCT, graph convolutions, batch normalisation."""

import numpy as np
import pytest
import scipy.fft
import torch
from numpy.typing import NDArray

from predictors.ltd import LTD
from tests.predictors.helpers import H36M, SMALL, build, weights_of, windows_with_future


def graph_network(
    weights: dict[str, NDArray[np.float64]], H: NDArray[np.float64], blocks: int
) -> NDArray[np.float64]:
    """Return the network's output for one window, ``(node, feature)``, computed in numpy."""

    def convolve(name: str, A: NDArray[np.float64]) -> NDArray[np.float64]:
        return weights[f"{name}.S"] @ A @ weights[f"{name}.W"] + weights.get(f"{name}.b", 0.0)

    def layer(name: str, A: NDArray[np.float64]) -> NDArray[np.float64]:
        A = convolve(f"{name}.convolution", A)
        out = np.empty_like(A)
        for node in range(A.shape[0]):
            for feature in range(A.shape[1]):
                unit = node * A.shape[1] + feature
                mean, variance, factor, offset = (
                    weights[f"{name}.norm.{part}"][unit]
                    for part in ("running_mean", "running_var", "weight", "bias")
                )
                normal = (A[node, feature] - mean) / np.sqrt(variance + 1e-5)
                out[node, feature] = np.tanh(normal * factor + offset)
        return out

    y = layer("gcn.enter", H)
    for block in range(blocks):
        y = y + layer(f"gcn.blocks.{block}.1", layer(f"gcn.blocks.{block}.0", y))
    return H + convolve("gcn.leave", y)


@pytest.mark.parametrize("past", [10, 20])
@pytest.mark.parametrize("step", [5, 12])
def test_it_is_a_graph_network_on_the_dct_of_the_padded_past(past: int, step: int) -> None:
    windows = windows_with_future(3, 20, 12)
    predictor = build("ltd", windows, **SMALL["ltd"], past=past, step=step)
    weights = weights_of(predictor)
    with torch.no_grad():
        predicted = predictor.extrapolate(windows.tensor())
    assert predicted.shape == (3, past + step, 18, 3)
    for number, window in enumerate(windows.motion[:, -past:].astype(np.float64)):
        padded = np.concatenate([window, *[window[-1:]] * step]).reshape(past + step, 54)
        H = scipy.fft.dct(padded, norm="ortho", axis=0).T
        out = scipy.fft.idct(graph_network(weights, H, 2).T, norm="ortho", axis=0)
        expected = out.reshape(past + step, 18, 3)
        np.testing.assert_allclose(predicted[number], expected, rtol=1e-4, atol=1e-2)
        # The network changes its input noticeably, so the comparison above is not trivial.
        assert np.abs(expected - padded.reshape(expected.shape)).max() > 1


def test_a_zero_last_layer_returns_the_padded_past() -> None:
    windows = windows_with_future(4, 50, 25)
    predictor = build("ltd", windows, **SMALL["ltd"])
    with torch.no_grad():
        predictor.gcn.leave.W.zero_()
        predictor.gcn.leave.b.zero_()
        predicted = predictor.extrapolate(windows.tensor())
    expected = np.concatenate([windows.motion[:, -10:], *[windows.motion[:, -1:]] * 25], axis=1)
    np.testing.assert_allclose(predicted, expected, atol=1e-2)


def test_it_observes_ten_frames_by_default() -> None:
    predictor = build("ltd", windows_with_future(2, 50, 25), width=2, blocks=0)
    assert (predictor.past, predictor.step, predictor.overlap) == (10, 25, 10)
    everything = build("ltd", windows_with_future(2, 50, 25), width=2, blocks=0, past=None)
    assert (everything.past, everything.overlap) == (50, 50)


def test_parameter_count() -> None:
    nodes, frames, width, layers = 66, 10 + 25, 256, 2 * 12

    def convolution(below: int, above: int) -> int:
        return nodes * nodes + below * above

    norm = 2 * nodes * width  # a factor and an offset per feature of each node
    size = (
        convolution(frames, width)
        + norm
        + layers * (convolution(width, width) + norm)
        + convolution(width, frames)
        + frames  # bias of the last layer; the others are batch-normalised
    )
    predictor = LTD(H36M)
    assert predictor.parameter_count() == size == 2_548_875
    assert predictor.published_parameters == pytest.approx(size, rel=0.005)
