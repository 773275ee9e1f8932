"""HisRepItself: attention compared with loops, attention weights, the network, bad settings."""

import numpy as np
import pytest
import scipy.fft
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.motion import to_nodes
from predictors.hisrep import HisRepItself
from tests.predictors.helpers import H36M, build, weights_of, windows_with_future
from tests.predictors.test_ltd import graph_network

KERNEL, STEP = 5, 4


def small(frames: int = 20, **settings: int) -> HisRepItself:
    windows = windows_with_future(3, frames, 8)
    defaults = {"width": 6, "blocks": 1, "kernel": KERNEL, "step": STEP}
    return build("hisrep", windows, **{**defaults, **settings})


def convolved(
    weights: dict[str, NDArray[np.float64]], net: str, piece: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the code of one sub-sequence, ``(frame, node)`` in metres."""

    def convolve(layer: int, x: NDArray[np.float64]) -> NDArray[np.float64]:
        kernel = weights[f"{net}.{layer}.weight"]  # (out, in, frames)
        length = kernel.shape[2]
        out = np.empty((len(x) - length + 1, len(kernel)))
        for start in range(len(out)):
            for unit in range(len(kernel)):
                out[start, unit] = (x[start : start + length].T * kernel[unit]).sum()
        return np.maximum(out, 0)

    code = convolve(2, convolve(0, piece))
    assert len(code) == 1
    return code[0]


def attention(
    predictor: HisRepItself, window: NDArray[np.float64], kernel: int, step: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return attention weights and sub-sequences of one window, ``(frame, node)``, by a loop."""
    weights = weights_of(predictor)
    query = convolved(weights, "query", window[-kernel:] / 1000)
    starts = range(len(window) - kernel - step + 1)
    pieces = [window[start : start + kernel + step] for start in starts]
    keys = [convolved(weights, "key", piece[:kernel] / 1000) for piece in pieces]
    similarity = np.array([query @ key + 1e-15 for key in keys])
    return similarity / similarity.sum(), np.stack(pieces)


def attended(predictor: HisRepItself, motion: Tensor) -> NDArray[np.float64]:
    """Return the predictor's attention-weighted sum, ``(window, frame, node)``."""
    with torch.no_grad():
        return predictor._attend(to_nodes(motion)).permute(1, 2, 0).double().numpy()


@pytest.mark.parametrize(("kernel", "step"), [(5, 4), (10, 8), (2, 1), (12, 8)])
def test_attention_weighs_pieces_by_similarity_of_their_beginnings_to_the_end(
    kernel: int, step: int
) -> None:
    predictor = small(kernel=kernel, step=step)
    motion = windows_with_future(3, 20, 8, seed=5).tensor()
    found = attended(predictor, motion)
    assert found.shape == (3, kernel + step, 54)
    for number, window in enumerate(motion.double().numpy().reshape(3, 20, 54)):
        weight, pieces = attention(predictor, window, kernel, step)
        assert len(weight) == 20 - kernel - step + 1
        assert weight.sum() == pytest.approx(1)
        assert weight.min() >= 0
        expected = np.einsum("p,pfn->fn", weight, pieces)
        np.testing.assert_allclose(found[number], expected, rtol=1e-4, atol=1e-2)
        if len(weight) > 2:
            assert np.ptp(weight) > 1e-3


def test_weights_sum_to_one() -> None:
    """The weighted sum of a joint that does not move is its position."""
    predictor, motion = small(), windows_with_future(3, 20, 8, seed=6).tensor()
    motion[:, :, 7] = torch.tensor([-300.0, 20.0, 1234.0])
    still = attended(predictor, motion)[..., 21:24]
    np.testing.assert_allclose(still, np.broadcast_to([-300.0, 20.0, 1234.0], still.shape), 1e-5)


def test_zero_similarity_gives_equal_weights() -> None:
    predictor, motion = small(), windows_with_future(3, 20, 8, seed=6).tensor()
    with torch.no_grad():
        predictor.query.get_parameter("0.weight").zero_()
    pieces = motion.numpy().reshape(3, 20, 54)
    mean = np.mean([pieces[:, start : start + 9] for start in range(12)], axis=0)
    np.testing.assert_allclose(attended(predictor, motion), mean, rtol=1e-4, atol=1e-2)


def equal_nets(past: int) -> HisRepItself:
    predictor = small(past)
    predictor.key.load_state_dict(predictor.query.state_dict())
    return predictor


def test_attention_finds_a_repeated_movement_and_what_followed_it() -> None:
    """A still past with one movement, which begins again at its end."""
    predictor, rng = equal_nets(40), np.random.default_rng(0)
    before = 12
    window = np.zeros((40, 54))
    window[-KERNEL:] = window[before : before + KERNEL] = 200 * rng.normal(size=(KERNEL, 54))
    window[before + KERNEL : before + KERNEL + STEP] = 77.0
    weight, _ = attention(predictor, window, KERNEL, STEP)
    assert weight.argmax() == before
    # Pieces that do not begin in the movement are zero, and so is their weight.
    touched = np.zeros(len(weight), dtype=bool)
    touched[before - KERNEL + 1 : before + KERNEL + STEP] = True
    touched[40 - 2 * KERNEL + 1 :] = True
    assert weight[~touched].max() < 1e-6
    motion = torch.tensor(window, dtype=torch.float32).reshape(1, 40, 18, 3)
    found = attended(predictor, motion)[0]
    expected = sum(
        share * window[start : start + KERNEL + STEP] for start, share in enumerate(weight)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("period", [6, 7, 11])
def test_attention_is_periodic_in_a_periodic_past(
    period: int,
) -> None:
    predictor, rng = equal_nets(40), np.random.default_rng(period)
    once = 200 * rng.normal(size=(period, 54))
    window = np.tile(once, (8, 1))[:40]
    weight, _ = attention(predictor, window, KERNEL, STEP)
    np.testing.assert_allclose(weight[period:], weight[:-period], rtol=1e-9)
    weights = weights_of(predictor)
    query = convolved(weights, "query", window[-KERNEL:] / 1000)
    last = len(window) - KERNEL
    in_phase = np.arange(len(weight)) % period == last % period
    assert in_phase.sum() >= 2
    keys = np.stack(
        [
            convolved(weights, "key", window[start : start + KERNEL] / 1000)
            for start in range(len(weight))
        ]
    )
    np.testing.assert_allclose(keys[in_phase], np.broadcast_to(query, keys[in_phase].shape))
    # The weighted sum has the period of the past.
    motion = torch.tensor(window, dtype=torch.float32).reshape(1, 40, 18, 3)
    found = attended(predictor, motion)[0]
    if period < KERNEL + STEP:
        np.testing.assert_allclose(found[period:], found[:-period], rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("past", [20, 15, 9])
def test_the_network_gets_the_padded_end_and_the_attended_piece(past: int) -> None:
    predictor = small(20, past=past)
    motion = windows_with_future(3, 20, 8, seed=4).tensor()
    with torch.no_grad():
        predicted = predictor.extrapolate(motion)
    assert predicted.shape == (3, KERNEL + STEP, 18, 3)
    weights = weights_of(predictor)
    for number, window in enumerate(motion.double().numpy().reshape(3, 20, 54)[:, -past:]):
        weight, pieces = attention(predictor, window, KERNEL, STEP)
        padded = np.concatenate([window[-KERNEL:], *[window[-1:]] * STEP])
        both = [padded, np.einsum("p,pfn->fn", weight, pieces)]
        H = np.concatenate([scipy.fft.dct(part, norm="ortho", axis=0).T for part in both], axis=1)
        out = graph_network(weights, H, 1)[:, : KERNEL + STEP]
        expected = scipy.fft.idct(out.T, norm="ortho", axis=0).reshape(KERNEL + STEP, 18, 3)
        np.testing.assert_allclose(predicted[number], expected, rtol=1e-4, atol=1e-1)
        assert np.abs(expected - padded.reshape(expected.shape)).max() > 1


def test_later_steps_attend_to_earlier_predictions() -> None:
    predictor, motion = small(20), windows_with_future(3, 20, 8, seed=4).tensor()
    longer = torch.cat([motion, windows_with_future(3, 4, 8, seed=9).tensor()], dim=1)
    found = attended(predictor, longer)
    weight, pieces = attention(predictor, longer[0].double().numpy().reshape(24, 54), KERNEL, STEP)
    assert len(weight) == 24 - KERNEL - STEP + 1
    expected = np.einsum("p,pfn->fn", weight, pieces)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    ("frames", "settings"),
    [(8, {}), (20, {"past": 8}), (20, {"kernel": 17}), (20, {"kernel": 13, "step": 8})],
)
def test_a_past_shorter_than_one_piece_is_an_error(frames: int, settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="use a longer past or a smaller step"):
        small(frames, **settings)


def test_a_past_of_one_piece_is_enough() -> None:
    predictor, motion = small(9), windows_with_future(3, 9, 8, seed=4).tensor()
    assert np.array_equal(attended(predictor, motion), motion.double().numpy().reshape(3, 9, 54))


@pytest.mark.parametrize(("step", "size"), [(25, 3_424_942), (10, 3_409_552)])
def test_parameter_count(step: int, size: int) -> None:
    nodes, width, layers = 66, 256, 2 * 12
    features = 2 * (10 + step)

    def convolution(below: int, above: int) -> int:
        return nodes * nodes + below * above

    over_time = nodes * width * 6 + width * width * 5
    norm = 2 * nodes * width
    network = (
        convolution(features, width)
        + norm
        + layers * (convolution(width, width) + norm)
        + convolution(width, features)
        + features  # bias of the last layer; the others are batch-normalised
    )
    predictor = HisRepItself(H36M, HisRepItself.Settings(step=step))
    assert predictor.parameter_count() == 2 * over_time + network == size
    # The published count is from the comparison in siMLPe's paper.
    assert predictor.published_parameters == pytest.approx(size, rel=0.06)
