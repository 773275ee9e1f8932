"""The control: the last frame for ever."""

import hypothesis
import numpy as np
import torch
from hypothesis import strategies as st

from bench.core.registry import PREDICTORS
from predictors.zero_velocity import ZeroVelocity
from tests.predictors.helpers import going_on


@hypothesis.given(st.integers(1, 5), st.integers(1, 30), st.integers(1, 30))
@hypothesis.settings(max_examples=25, deadline=None)
def test_every_frame_foretold_is_the_last_one_seen(count: int, past: int, future: int) -> None:
    windows = going_on(count, past, future)
    told = ZeroVelocity(windows.spec).predict(windows.tensor())
    for ahead in range(future):
        assert np.array_equal(told[:, ahead], windows.motion[:, -1])


@hypothesis.given(st.floats(-1e3, 1e3), st.floats(0.1, 10))
@hypothesis.settings(max_examples=25, deadline=None)
def test_it_has_no_place_and_no_scale_of_its_own(shift: float, scale: float) -> None:
    windows = going_on()
    predictor = ZeroVelocity(windows.spec)
    past = windows.tensor()
    moved = predictor.predict(past * scale + shift)
    torch.testing.assert_close(moved, predictor.predict(past) * scale + shift)


def test_it_is_a_control_with_nothing_to_learn() -> None:
    windows = going_on()
    predictor = PREDICTORS.get("zero_velocity")(windows.spec)
    assert predictor.control
    assert predictor.parameter_count() == 0
    before = predictor.predict(windows.tensor())
    predictor.fit(windows, windows)
    assert torch.equal(predictor.predict(windows.tensor()), before)
