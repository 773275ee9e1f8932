"""siMLPe compared with its equations in numpy; its initial state and its loss."""

import copy

import numpy as np
import pytest
import scipy.fft
import torch
from numpy.typing import NDArray

from bench.fitting.learner import Learner
from bench.speed.work import train_step
from predictors.simlpe import SiMLPe
from tests.predictors.helpers import H36M, SMALL, build, weights_of, windows_with_future


def in_layers(predictor: SiMLPe, window: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the next frames of one window, ``(frame, node)`` in mm."""
    weights = weights_of(predictor)

    def linear(name: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    window = window[-predictor.past :]
    x = linear("enter", scipy.fft.dct(window / 1000, norm="ortho", axis=0))
    for block in range(predictor.settings.blocks):
        y = linear(f"blocks.{block}.over_frames", x.T).T
        y = (y - y.mean(axis=1, keepdims=True)) / np.sqrt(y.var(axis=1, keepdims=True) + 1e-5)
        norm = f"blocks.{block}.norm"
        x = x + y * weights[f"{norm}.weight"] + weights[f"{norm}.bias"]
    change = scipy.fft.idct(linear("leave", x), norm="ortho", axis=0) * 1000
    return window[-1] + change[: predictor.step]


@pytest.mark.parametrize(("past", "step"), [(20, 12), (20, 5), (13, 12), (13, 13)])
def test_it_is_linear_layers_on_the_dct_with_layer_normalisation(past: int, step: int) -> None:
    windows = windows_with_future(3, 20, 13)
    predictor = build("simlpe", windows, **SMALL["simlpe"], past=past, step=step)
    with torch.no_grad():
        predicted = predictor.extrapolate(windows.tensor())
    assert predicted.shape == (3, step, 18, 3)
    for number, window in enumerate(
        np.asarray(windows.motion).astype(np.float64).reshape(3, 20, 54)
    ):
        expected = in_layers(predictor, window)
        np.testing.assert_allclose(
            predicted[number].reshape(step, 54), expected, rtol=1e-4, atol=0.1
        )
        assert np.abs(expected - window[-1]).max() > 10


@pytest.mark.parametrize("step", [None, 10])
def test_before_a_fit_it_repeats_the_last_frame(step: int | None) -> None:
    windows = windows_with_future(4, 50, 25)
    predictor = SiMLPe(windows.spec, SiMLPe.Settings(step=step)).eval()
    Learner.fit(predictor, windows, windows)
    predicted = predictor.predict(windows.tensor())
    expected = windows.tensor()[:, -1:].expand_as(predicted)
    torch.testing.assert_close(predicted, expected, rtol=0, atol=0.01)


@pytest.mark.parametrize("near", [0.0, 0.7])
def test_its_loss_is_the_error_of_positions_plus_that_of_velocities(near: float) -> None:
    windows = windows_with_future(3, 20, 6)
    predictor = build("simlpe", windows, **SMALL["simlpe"], step=4, near=near).train()
    motion = windows.with_future().tensor()
    predicted = np.stack(
        [in_layers(predictor, w) for w in motion[:, :20].double().reshape(3, 20, 54).numpy()]
    )
    truth = motion[:, 20:24].double().numpy().reshape(3, 4, 18, 3)
    predicted = predicted.reshape(truth.shape)
    positions, velocities = [], []
    for window in range(3):
        for joint in range(18):
            a, b = predicted[window, :, joint], truth[window, :, joint]
            positions += [np.linalg.norm(a[t] - b[t]) for t in range(4)]
            velocities += [np.linalg.norm((a[t + 1] - a[t]) - (b[t + 1] - b[t])) for t in range(3)]
    weight = np.tile(np.arange(1, 5) ** -near, 3 * 18)
    expected = (np.average(positions, weights=weight) + np.mean(velocities)) / 1000
    assert float(predictor.losses(motion)["loss"].detach()) == pytest.approx(expected, rel=1e-4)


def test_one_frame_has_no_velocity_error() -> None:
    windows = windows_with_future(3, 20, 6)
    predictor = build("simlpe", windows, **SMALL["simlpe"], step=1)
    predicted, truth = torch.zeros(2, 1, 18, 3), torch.full((2, 1, 18, 3), 2.0)
    assert float(predictor.error(predicted, truth)) == pytest.approx(np.sqrt(12) / 1000)


def test_a_step_has_the_weight_decay_of_a_loss_in_metres_and_no_clipping() -> None:
    windows = windows_with_future(4, 20, 6)
    predictor = build("simlpe", windows, **SMALL["simlpe"], learning_rate=0.01).train()
    released = copy.deepcopy(predictor)
    optimizer = torch.optim.Adam(released.parameters(), lr=0.01, weight_decay=1e-4)
    motion = windows.with_future().tensor()
    step = train_step(predictor, motion)
    for _ in range(3):
        step()
        optimizer.zero_grad()
        loss = released.error(released.extrapolate(motion[:, :20]), motion[:, 20:])
        loss.backward()
        optimizer.step()
    # These biases are the same for all joints of a frame, and the normalisation takes them away.
    pairs = zip(predictor.named_parameters(), released.parameters(), strict=True)
    for (name, mine), other in pairs:
        if not name.endswith("over_frames.bias"):
            torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("settings", [{"past": 10}, {"step": 21, "past": 20}])
def test_a_step_longer_than_the_past_is_an_error(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"step: 2\d frames requested, at most past"):
        SiMLPe(H36M, SiMLPe.Settings(**settings))
    assert SiMLPe(H36M, SiMLPe.Settings(past=25, blocks=1)).step == 25


def test_parameter_count() -> None:
    nodes, frames, blocks = 66, 50, 48
    over_frames, norm = frames * frames + frames, 2 * nodes
    size = 2 * (nodes * nodes + nodes) + blocks * (over_frames + norm)
    predictor = SiMLPe(H36M)
    assert predictor.parameter_count() == size == 137_580
    assert predictor.published_parameters == pytest.approx(size, rel=0.005)
