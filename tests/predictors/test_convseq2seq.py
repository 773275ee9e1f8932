"""The convolutional sequence-to-sequence model: padding, convolution, decoding, normalisation."""

from itertools import pairwise

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from predictors.convseq2seq import ConvSeq2Seq, _Encoder, _same
from tests.predictors.helpers import H36M, SMALL, build, windows_with_future


def tensorflow_same(size: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """Return output size and zeros before and after, by TensorFlow's documentation."""
    out = int(np.ceil(size / stride))
    total = max(kernel - stride, 0) if size % stride == 0 else max(kernel - size % stride, 0)
    return out, total // 2, total - total // 2


def convolved(x: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convolve ``(in, frame, node)`` to ``(out, frame, node)`` with explicit zero padding."""
    rows, top, bottom = tensorflow_same(x.shape[1], 2, 2)
    columns, left, right = tensorflow_same(x.shape[2], 7, 2)
    padded = np.zeros((len(x), x.shape[1] + top + bottom, x.shape[2] + left + right))
    padded[:, top : top + x.shape[1], left : left + x.shape[2]] = x
    out = np.empty((len(kernel), rows, columns))
    for row in range(rows):
        for column in range(columns):
            seen = padded[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 7]
            out[:, row, column] = (kernel * seen).sum(axis=(1, 2, 3))
    return out


def leaky(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(x > 0, x, 0.2 * x)


@hypothesis.given(st.integers(1, 60), st.integers(1, 80))
@hypothesis.settings(max_examples=60, deadline=None)
def test_padding_is_tensorflows_same(frames: int, nodes: int) -> None:
    rows, top, bottom = tensorflow_same(frames, 2, 2)
    columns, left, right = tensorflow_same(nodes, 7, 2)
    x = torch.ones(1, 1, frames, nodes)
    padded = _same(x)
    assert padded.shape == (1, 1, frames + top + bottom, nodes + left + right)
    inside = padded[:, :, top : top + frames, left : left + nodes]
    assert torch.equal(inside, x)
    assert float(padded.sum()) == frames * nodes
    assert functional.conv2d(padded, torch.ones(1, 1, 2, 7), stride=2).shape[2:] == (rows, columns)


@pytest.mark.parametrize(("frames", "nodes"), [(9, 54), (6, 54), (1, 9), (19, 66)])
def test_an_encoder_is_three_convolutions_and_a_linear_map(frames: int, nodes: int) -> None:
    torch.manual_seed(0)
    encoder = _Encoder(frames, nodes, filters=2, width=5).double().eval()
    x = torch.randn(2, frames, nodes, dtype=torch.float64)
    codes = encoder(x).detach().numpy()
    weights = {name: value.numpy() for name, value in encoder.state_dict().items()}
    for window, code in zip(x.numpy(), codes, strict=True):
        y = window[None]
        for number in range(3):
            y = leaky(convolved(y, weights[f"convolutions.{number}.weight"]))
        assert len(y) == 16
        expected = weights["code.weight"] @ y.ravel() + weights["code.bias"]
        np.testing.assert_allclose(code, expected, rtol=1e-9, atol=1e-12)


def body(predictor: ConvSeq2Seq) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and deviation of every coordinate over all frames of all windows."""
    motion = np.asarray(windows_with_future(6, 20, 5).motion).astype(np.float64).reshape(-1, 54)
    return motion.mean(axis=0), motion.std(axis=0)


@pytest.mark.parametrize("past", [20, 9, 4])
def test_each_frame_is_decoded_from_those_before_it(past: int) -> None:
    windows = windows_with_future(6, 20, 5)
    predictor = build("convseq2seq", windows, **SMALL["convseq2seq"], past=past, step=2)
    recent = min(6, past)
    weights = {name: value.double().numpy() for name, value in predictor.state_dict().items()}
    mean, deviation = body(predictor)
    frames = (np.asarray(windows.motion).astype(np.float64).reshape(6, 20, 54) - mean) / deviation

    def encoded(net: torch.nn.Module, x: NDArray[np.float64]) -> NDArray[np.float64]:
        with torch.no_grad():
            return net(torch.tensor(x, dtype=torch.float32)).double().numpy()

    def decoded(code: NDArray[np.float64]) -> NDArray[np.float64]:
        hidden = leaky(code @ weights["decoder.0.weight"].T + weights["decoder.0.bias"])
        return hidden @ weights["decoder.3.weight"].T + weights["decoder.3.bias"]

    long_term = encoded(predictor.long_term, frames[:, 20 - past : -1])
    last = frames[:, 20 - recent :]
    first = frames[:, -1] + decoded(
        np.concatenate([long_term, encoded(predictor.short_term, last)], axis=1)
    )
    moved = np.concatenate([frames[:, 20 - recent + 1 :], first[:, None]], axis=1)
    assert moved.shape == (6, recent, 54)
    second = first + decoded(
        np.concatenate([long_term, encoded(predictor.short_term, moved)], axis=1)
    )
    expected = np.stack([first, second], axis=1) * deviation + mean
    with torch.no_grad():
        predicted = predictor.extrapolate(windows.tensor())
    np.testing.assert_allclose(predicted.reshape(6, 2, 54), expected, rtol=1e-4, atol=1e-2)
    assert np.abs(first - frames[:, -1]).max() > 0.05


def test_a_decoder_with_zero_output_repeats_the_last_frame() -> None:
    windows = windows_with_future(4, 50, 25)
    predictor = build("convseq2seq", windows, **SMALL["convseq2seq"])
    with torch.no_grad():
        predictor.decoder[3].weight.zero_()
        predictor.decoder[3].bias.zero_()
    predicted = predictor.predict(windows.tensor())
    torch.testing.assert_close(
        predicted, windows.tensor()[:, -1:].expand_as(predicted), rtol=0, atol=1e-3
    )


@hypothesis.given(st.floats(-300, 300), st.floats(0.2, 5))
@hypothesis.settings(max_examples=10, deadline=None)
def test_shifted_and_scaled_data_give_shifted_and_scaled_predictions(
    shift: float, scale: float
) -> None:
    """Coordinates are normalised, so units and origin of the data do not matter."""
    windows = windows_with_future(4, 20, 5)
    predictor = build("convseq2seq", windows, **SMALL["convseq2seq"])
    expected = predictor.predict(windows.tensor()) * scale + shift
    predictor.mean.copy_(predictor.mean * scale + shift)
    predictor.deviation.mul_(scale)
    predicted = predictor.predict(windows.tensor() * scale + shift)
    torch.testing.assert_close(predicted, expected, rtol=1e-3, atol=0.05 * scale)


def test_training_minimises_the_mean_squared_error_of_normalised_coordinates() -> None:
    windows = windows_with_future(6, 20, 5)
    predictor = build("convseq2seq", windows, **SMALL["convseq2seq"])
    _, deviation = body(predictor)
    predicted, truth = torch.randn(2, 3, 5, 18, 3).unbind()
    error = (predicted - truth).double().numpy().reshape(3, 5, 54) / deviation
    assert float(predictor.error(predicted, truth)) == pytest.approx(
        np.square(error).mean(), rel=1e-4
    )


def test_a_past_of_one_frame_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs at least 2"):
        ConvSeq2Seq(H36M, ConvSeq2Seq.Settings(past=1))
    two = build("convseq2seq", windows_with_future(2, 20, 5), **SMALL["convseq2seq"], past=2)
    predicted: Tensor = two.predict(windows_with_future(2, 20, 5).tensor())
    assert predicted.shape == (2, 5, 18, 3)


def test_parameter_count() -> None:
    channels, kernel, width, nodes = (1, 64, 128, 128), 2 * 7, 512, 66

    def encoder(frames: int) -> int:
        convolutions = sum(kernel * below * above for below, above in pairwise(channels))
        rows, columns = int(np.ceil(frames / 8)), int(np.ceil(nodes / 8))
        return convolutions + 128 * rows * columns * width + width

    decoder = 2 * width * width + width + width * nodes + nodes
    size = encoder(49) + encoder(20) + decoder
    assert ConvSeq2Seq(H36M).parameter_count() == size == 7_147_842
