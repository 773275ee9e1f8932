"""The control: the last frame, repeated."""

import hypothesis
import numpy as np
import torch
from hypothesis import strategies as st

from bench.core.registry import PREDICTORS
from predictors.zero_velocity import ZeroVelocity
from tests.predictors.helpers import windows_with_future


@hypothesis.given(st.integers(1, 5), st.integers(1, 30), st.integers(1, 30))
@hypothesis.settings(max_examples=25, deadline=None)
def test_every_predicted_frame_is_the_last_observed_one(count: int, past: int, future: int) -> None:
    windows = windows_with_future(count, past, future)
    predicted = ZeroVelocity(windows.spec).predict(windows.tensor())
    for ahead in range(future):
        assert np.array_equal(predicted[:, ahead], windows.motion[:, -1])


@hypothesis.given(st.floats(-1e3, 1e3), st.floats(0.1, 10))
@hypothesis.settings(max_examples=25, deadline=None)
def test_shifted_and_scaled_pasts_give_shifted_and_scaled_predictions(
    shift: float, scale: float
) -> None:
    windows = windows_with_future()
    predictor = ZeroVelocity(windows.spec)
    past = windows.tensor()
    moved = predictor.predict(past * scale + shift)
    torch.testing.assert_close(moved, predictor.predict(past) * scale + shift)


def test_it_is_a_control_with_nothing_to_learn() -> None:
    windows = windows_with_future()
    predictor = PREDICTORS.get("zero_velocity")(windows.spec)
    assert predictor.control
    assert predictor.parameter_count() == 0
    before = predictor.predict(windows.tensor())
    predictor.fit(windows, windows)
    assert torch.equal(predictor.predict(windows.tensor()), before)
