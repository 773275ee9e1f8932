"""HisRepItself: attention against loops, where weight goes, the network, and what it needs."""

import numpy as np
import pytest
import scipy.fft
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.motion import to_nodes
from predictors.hisrep import HisRepItself
from tests.predictors.helpers import H36M, build, going_on, weights_of
from tests.predictors.test_ltd import graph_network

KERNEL, STEP = 5, 4


def small(frames: int = 20, **settings: int) -> HisRepItself:
    windows = going_on(3, frames, 8)
    usual = {"width": 6, "blocks": 1, "kernel": KERNEL, "step": STEP}
    return build("hisrep", windows, **{**usual, **settings})


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
    """Return weights and pieces of one window, ``(frame, node)``, a sub-sequence at a time."""
    weights = weights_of(predictor)
    query = convolved(weights, "query", window[-kernel:] / 1000)
    starts = range(len(window) - kernel - step + 1)
    pieces = [window[start : start + kernel + step] for start in starts]
    keys = [convolved(weights, "key", piece[:kernel] / 1000) for piece in pieces]
    likeness = np.array([query @ key + 1e-15 for key in keys])
    return likeness / likeness.sum(), np.stack(pieces)


def attended(predictor: HisRepItself, motion: Tensor) -> NDArray[np.float64]:
    """Return what the predictor attends to, ``(window, frame, node)``."""
    with torch.no_grad():
        return predictor._attend(to_nodes(motion)).permute(1, 2, 0).double().numpy()


@pytest.mark.parametrize(("kernel", "step"), [(5, 4), (10, 8), (2, 1), (12, 8)])
def test_pieces_are_weighted_by_how_like_their_beginnings_are_to_the_end(
    kernel: int, step: int
) -> None:
    predictor = small(kernel=kernel, step=step)
    motion = going_on(3, 20, 8, seed=5).tensor()
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
    """Pieces of a joint that stands still are all the same, and so is what is made of them."""
    predictor, motion = small(), going_on(3, 20, 8, seed=6).tensor()
    motion[:, :, 7] = torch.tensor([-300.0, 20.0, 1234.0])
    still = attended(predictor, motion)[..., 21:24]
    np.testing.assert_allclose(still, np.broadcast_to([-300.0, 20.0, 1234.0], still.shape), 1e-5)


def test_nothing_alike_is_the_same_as_everything_alike() -> None:
    predictor, motion = small(), going_on(3, 20, 8, seed=6).tensor()
    with torch.no_grad():
        predictor.query.get_parameter("0.weight").zero_()
    pieces = motion.numpy().reshape(3, 20, 54)
    mean = np.mean([pieces[:, start : start + 9] for start in range(12)], axis=0)
    np.testing.assert_allclose(attended(predictor, motion), mean, rtol=1e-4, atol=1e-2)


def equal_nets(past: int) -> HisRepItself:
    predictor = small(past)
    predictor.key.load_state_dict(predictor.query.state_dict())
    return predictor


def test_a_movement_seen_before_gets_the_weight_and_tells_what_followed() -> None:
    """One movement in a still past, which begins again at its end."""
    predictor, rng = equal_nets(40), np.random.default_rng(0)
    before = 12
    window = np.zeros((40, 54))
    window[-KERNEL:] = window[before : before + KERNEL] = 200 * rng.normal(size=(KERNEL, 54))
    window[before + KERNEL : before + KERNEL + STEP] = 77.0
    weight, _ = attention(predictor, window, KERNEL, STEP)
    assert weight.argmax() == before
    # Pieces whose beginning has nothing of it get none: they are all noughts.
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
def test_pieces_one_period_apart_have_one_weight_and_those_in_phase_the_querys_own(
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
    # What the code attends to is as periodic as the past.
    motion = torch.tensor(window, dtype=torch.float32).reshape(1, 40, 18, 3)
    found = attended(predictor, motion)[0]
    if period < KERNEL + STEP:
        np.testing.assert_allclose(found[period:], found[:-period], rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("past", [20, 15, 9])
def test_the_network_sees_the_padded_end_beside_what_was_attended_to(past: int) -> None:
    predictor = small(20, past=past)
    motion = going_on(3, 20, 8, seed=4).tensor()
    with torch.no_grad():
        told = predictor.extrapolate(motion)
    assert told.shape == (3, KERNEL + STEP, 18, 3)
    weights = weights_of(predictor)
    for number, window in enumerate(motion.double().numpy().reshape(3, 20, 54)[:, -past:]):
        weight, pieces = attention(predictor, window, KERNEL, STEP)
        padded = np.concatenate([window[-KERNEL:], *[window[-1:]] * STEP])
        both = [padded, np.einsum("p,pfn->fn", weight, pieces)]
        H = np.concatenate([scipy.fft.dct(part, norm="ortho", axis=0).T for part in both], axis=1)
        out = graph_network(weights, H, 1)[:, : KERNEL + STEP]
        expected = scipy.fft.idct(out.T, norm="ortho", axis=0).reshape(KERNEL + STEP, 18, 3)
        np.testing.assert_allclose(told[number], expected, rtol=1e-4, atol=1e-1)
        assert np.abs(expected - padded.reshape(expected.shape)).max() > 1


def test_what_was_foretold_is_attended_to_in_later_steps() -> None:
    predictor, motion = small(20), going_on(3, 20, 8, seed=4).tensor()
    longer = torch.cat([motion, going_on(3, 4, 8, seed=9).tensor()], dim=1)
    found = attended(predictor, longer)
    weight, pieces = attention(predictor, longer[0].double().numpy().reshape(24, 54), KERNEL, STEP)
    assert len(weight) == 24 - KERNEL - STEP + 1
    expected = np.einsum("p,pfn->fn", weight, pieces)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    ("frames", "settings"),
    [(8, {}), (20, {"past": 8}), (20, {"kernel": 17}), (20, {"kernel": 13, "step": 8})],
)
def test_a_past_without_anything_to_attend_to_is_refused(
    frames: int, settings: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match="a longer past or a smaller step"):
        small(frames, **settings)


def test_a_past_of_one_piece_is_enough() -> None:
    predictor, motion = small(9), going_on(3, 9, 8, seed=4).tensor()
    assert np.array_equal(attended(predictor, motion), motion.double().numpy().reshape(3, 9, 54))


@pytest.mark.parametrize(("step", "size"), [(25, 3_424_942), (10, 3_409_552)])
def test_its_size_is_what_its_layers_add_up_to(step: int, size: int) -> None:
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
        + features  # the last one's bias: a normalisation would take those of the others away
    )
    predictor = HisRepItself(H36M, HisRepItself.Settings(step=step))
    assert predictor.parameter_count() == 2 * over_time + network == size
    # Printed in the comparison of siMLPe; the released network has these layers all the same.
    assert predictor.published_parameters == pytest.approx(size, rel=0.06)
