"""What holds of every predictor; steps, losses, degraded pasts and fits of those that learn."""

from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.core.registry import PREDICTORS
from bench.fitting.learner import Learner
from bench.fitting.training import FitContext, Progress
from bench.motion import MotionSpec, Windows
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.features import Features
from predictors.base import TrainedPredictor, position_error
from predictors.zero_velocity import ZeroVelocity
from tests.predictors.helpers import SMALL, build, gait, going_on, settings_for

EVERY = list(PREDICTORS.all())
TRAINED = [name for name, cls in PREDICTORS.all().items() if cls.trained]
LENGTHS = [(10, 25), (50, 25), (13, 7), (31, 3), (50, 1)]


class Drift(TrainedPredictor):
    """Foretells that every coordinate goes on at one learnt rate, mm a frame."""

    name = "drift"

    class Settings(TrainedPredictor.Settings):
        overlap: int = 0
        batch_size: int = 4
        learning_rate: float = 0.1

    settings: Settings

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        self.overlap = self.settings.overlap
        self.rate = nn.Parameter(torch.tensor(1.0))
        self.histories: list[Tensor] = []

    def extrapolate(self, history: Tensor) -> Tensor:
        self.histories.append(history)
        ahead = torch.arange(1 - self.overlap, self.step + 1)[:, None, None]
        return history[:, -1:] + self.rate * ahead


def drift(windows: Windows, **settings: Any) -> Drift:
    return Drift(windows.spec, Drift.Settings(**settings))


def both(windows: Windows) -> Tensor:
    """Return past and future together."""
    return windows.with_future().tensor()


def assert_same(told: Tensor, expected: Tensor) -> None:
    """Check that two predictions differ by no more than rounding, mm."""
    torch.testing.assert_close(told, expected, rtol=1e-5, atol=1e-2)


# Every predictor


def test_the_usual_predictors_are_found() -> None:
    assert {"convseq2seq", "hisrep", "ltd", "simlpe", "zero_velocity"} <= set(EVERY)
    assert not PREDICTORS.get("zero_velocity").trained
    assert set(SMALL) <= set(TRAINED)


@pytest.mark.parametrize(("past", "future"), LENGTHS)
@pytest.mark.parametrize("name", EVERY)
def test_it_foretells_as_many_frames_as_are_asked_for(name: str, past: int, future: int) -> None:
    windows = going_on(3, past, future)
    predictor = build(name, windows, **settings_for(name, past, future))
    told = predictor.predict(windows.tensor())
    assert told.shape == (3, future, 18, 3)
    assert told.dtype == torch.float32
    assert torch.isfinite(told).all()
    assert not told.requires_grad
    assert predictor.predict(windows.tensor(slice(1))).shape == (1, future, 18, 3)


@pytest.mark.parametrize("step", [1, 3, 7])
@pytest.mark.parametrize("name", TRAINED)
def test_it_foretells_all_the_future_in_steps_of_any_length(name: str, step: int) -> None:
    windows = going_on(2, 17, 7)
    settings = {**settings_for(name, 17, 7), "step": step}
    told = build(name, windows, **settings).predict(windows.tensor())
    assert told.shape == (2, 7, 18, 3)
    assert torch.isfinite(told).all()


@pytest.mark.parametrize("name", EVERY)
@hypothesis.given(seed=st.integers(0, 1000), data=st.data())
@hypothesis.settings(max_examples=8, deadline=None)
def test_a_prediction_depends_on_its_own_window_alone(
    name: str, seed: int, data: st.DataObject
) -> None:
    windows = going_on(5, 20, 6)
    predictor = build(name, windows, **settings_for(name, 20, 6))
    past = going_on(5, 20, 6, seed).tensor()
    rows = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=7))
    among_all = predictor.predict(past)
    assert_same(predictor.predict(past[rows]), among_all[rows])
    strange = past.clone()
    strange[1:] = 1e4 * torch.randn_like(strange[1:])
    assert_same(predictor.predict(strange)[0], among_all[0])


@pytest.mark.parametrize("name", EVERY)
def test_predicting_changes_neither_its_input_nor_itself(name: str) -> None:
    windows = going_on(4, 20, 6)
    predictor = build(name, windows, **settings_for(name, 20, 6))
    past = windows.tensor()
    before = {name: value.clone() for name, value in predictor.state_dict().items()}
    first = predictor.predict(past).clone()
    assert torch.equal(past, windows.tensor())
    assert torch.equal(predictor.predict(past), first)
    assert all(torch.equal(value, before[key]) for key, value in predictor.state_dict().items())


@pytest.mark.parametrize("step", [5, 12])
@pytest.mark.parametrize("name", TRAINED)
def test_frames_before_its_past_are_not_seen(name: str, step: int) -> None:
    windows = going_on(3, 50, 12)
    settings = {**settings_for(name, 20, 12), "past": 20, "step": step}
    predictor = build(name, windows, **settings)
    past = windows.tensor()
    expected = predictor.predict(past)
    changed = past.clone()
    changed[:, :30] = 1e3 * torch.randn_like(changed[:, :30])
    assert_same(predictor.predict(changed), expected)
    # All of the past is: no frame of it is left out.
    for frame in range(30, 50):
        changed = past.clone()
        changed[:, frame] += 300 * torch.randn_like(changed[:, frame])
        assert not torch.allclose(predictor.predict(changed), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["ltd", "simlpe", "convseq2seq"])
def test_ten_frames_of_fifty_tell_as_much_as_ten(name: str) -> None:
    windows = going_on(3, 50, 25)
    settings = {**SMALL[name], "past": 10, "step": 10}
    predictor = build(name, windows, **settings)
    changed = windows.tensor()
    changed[:, :40] = torch.randn_like(changed[:, :40])
    assert_same(predictor.predict(changed), predictor.predict(windows.tensor()))


@pytest.mark.parametrize("name", TRAINED)
def test_a_past_longer_than_its_windows_is_refused(name: str) -> None:
    cls = PREDICTORS.get(name)
    settings = cls.Settings(**{**settings_for(name, 20, 5), "past": 21})
    with pytest.raises(ValueError, match="past: 21 frames asked for, windows have 20"):
        cls(going_on(2, 20, 5).spec, settings)


BEFORE_A_NORM = {
    # The mean over the coordinates of a frame is taken away again, and what is added to each.
    "simlpe": ("over_frames.bias",),
}
"""Biases that the published networks have and that can change nothing in training."""


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_reach_every_parameter_but_biases_before_a_norm(name: str) -> None:
    windows = going_on(6, 20, 6)
    predictor = build(name, windows, **settings_for(name, 20, 6)).double()
    # Dropout would leave some parameters of so small a network out.
    for module in predictor.train().modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    predictor.losses(both(windows).double())["loss"].backward()
    idle = BEFORE_A_NORM.get(name, ())
    for parameter, value in predictor.named_parameters():
        assert value.grad is not None, parameter
        size = float(value.grad.abs().max())
        if parameter.endswith(idle) and idle:
            assert size < 1e-9, parameter
        else:
            assert size > 1e-7, parameter


# Steps


@pytest.mark.parametrize("overlap", [0, 3])
@pytest.mark.parametrize("step", [1, 4, 5, 10])
def test_later_steps_follow_from_what_earlier_ones_foretold(step: int, overlap: int) -> None:
    windows = going_on(4, 12, 10)
    predictor = drift(windows, step=step, overlap=overlap)
    past = windows.tensor()
    expected = past[:, -1:] + torch.arange(1.0, 11)[:, None, None]
    told = predictor.predict(past)
    torch.testing.assert_close(told, expected)
    seen = [history.shape[1] for history in predictor.histories]
    assert seen == list(range(12, 22, step))
    torch.testing.assert_close(
        predictor.histories[-1], torch.cat([past, told], dim=1)[:, : seen[-1]]
    )


@pytest.mark.parametrize("name", TRAINED)
def test_a_prediction_in_steps_is_one_step_after_another(name: str) -> None:
    windows = going_on(3, 20, 9)
    settings = {**settings_for(name, 20, 9), "step": 4}
    predictor = build(name, windows, **settings)
    history = windows.tensor()
    with torch.no_grad():
        first = predictor.extrapolate(history)[:, -4:]
        history = torch.cat([history, first], dim=1)
        second = predictor.extrapolate(history)[:, -4:]
        history = torch.cat([history, second], dim=1)
        third = predictor.extrapolate(history)[:, -4:]
    by_hand = torch.cat([first, second, third[:, :1]], dim=1)
    told = predictor.predict(windows.tensor())
    assert_same(told, by_hand)
    # The steps are not those of one long step.
    assert not torch.allclose(told[:, :4], told[:, 4:8], atol=1)


# Losses


@pytest.mark.parametrize("overlap", [0, 3])
def test_training_minimises_the_error_of_one_step_and_of_what_is_told_again(overlap: int) -> None:
    windows = going_on(4, 12, 10)
    predictor = drift(windows, step=4, overlap=overlap).train()
    motion = both(windows).numpy()
    distances = []
    for window in motion:
        for ahead in range(1 - overlap, 5):
            for joint in range(18):
                told = window[11, joint] + ahead
                distances.append(np.linalg.norm(told - window[11 + ahead, joint]))
    loss = predictor.losses(both(windows))["loss"]
    assert float(loss.detach()) == pytest.approx(np.mean(distances), rel=1e-5)
    assert loss.requires_grad


def test_validation_is_by_the_error_of_the_whole_future() -> None:
    windows = going_on(4, 12, 10)
    predictor = drift(windows, step=4, overlap=3).eval()
    motion = both(windows).numpy()
    ahead = np.arange(1, 11)[None, :, None, None]
    distances = np.linalg.norm(motion[:, 11:12] + ahead - motion[:, 12:], axis=-1)
    losses = predictor.losses(both(windows))
    assert list(losses) == ["loss"]
    assert float(losses["loss"]) == pytest.approx(distances.mean(), rel=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_validation_is_in_millimetres_whatever_training_minimises(name: str) -> None:
    windows = going_on(4, 20, 9)
    settings = {**settings_for(name, 20, 9), "step": 4}
    predictor = build(name, windows, **settings)
    told = predictor.predict(windows.tensor())
    assert windows.future is not None
    expected = np.linalg.norm(told.numpy() - windows.future, axis=-1).mean()
    assert float(predictor.losses(both(windows))["loss"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_training_compares_a_step_with_the_frames_that_it_tells(name: str) -> None:
    windows = going_on(4, 20, 9)
    settings = {**settings_for(name, 20, 9), "step": 4}
    predictor = build(name, windows, **settings)
    with torch.no_grad():
        told = predictor.extrapolate(windows.tensor())
        assert told.shape == (4, predictor.overlap + 4, 18, 3)
        truth = both(windows)[:, 20 - predictor.overlap : 24]
        expected = predictor.error(told, truth)
    # Only the bookkeeping of training: batch statistics and dropout would change what is told.
    predictor.training = True
    torch.testing.assert_close(predictor.losses(both(windows))["loss"].detach(), expected)


def test_position_error_is_the_mean_distance() -> None:
    told = torch.zeros(2, 1, 2, 3)
    told[0, 0, 0] = torch.tensor([3.0, 4.0, 0.0])
    told[1, 0, 1] = torch.tensor([0.0, 0.0, 7.0])
    assert float(position_error(told, torch.zeros_like(told))) == pytest.approx((5 + 7) / 4)


# Degraded pasts


def hiding(*levels: str) -> tuple[Features, ...]:
    return tuple(Features(level=Level.parse(level)) for level in levels)


@pytest.mark.parametrize("training", [True, False])
def test_hidden_entries_of_a_degraded_past_hold_the_train_mean(training: bool) -> None:
    windows = going_on(40, 12, 10)
    predictor = drift(windows).train(training)
    Learner.fit(predictor, windows, windows)
    predictor.occlusions = hiding("10%", "50%")
    motion = both(windows)
    truth = motion.clone()
    torch.manual_seed(3)
    loss = predictor.losses(motion)["loss"]
    assert torch.equal(motion, truth)
    past = predictor.histories[0]
    hidden = past != truth[:, :12]
    assert torch.equal(past[hidden], predictor.mean.expand_as(past)[hidden])
    # Both levels come up, each window with a mask of its own.
    shares = hidden.flatten(1).double().mean(dim=1)
    assert {round(float(share), 1) for share in shares} == {0.1, 0.5}
    assert len({tuple(row.tolist()) for row in hidden.flatten(1)}) == len(windows)
    # What is to be foretold stays the truth.
    told = past[:, -1:] + torch.arange(1.0, 11)[:, None, None]
    expected = torch.linalg.vector_norm(told - truth[:, 12:], dim=-1).mean()
    assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-5)


def test_what_is_told_again_of_a_degraded_past_is_compared_with_the_truth() -> None:
    windows = going_on(5, 12, 10)
    predictor = drift(windows, overlap=12).train()
    Learner.fit(predictor, windows, windows)
    predictor.occlusions = hiding("100%")
    motion = both(windows)
    loss = float(predictor.losses(motion)["loss"].detach())
    told = predictor.mean[-1] + torch.arange(-11.0, 11)[:, None, None]
    expected = torch.linalg.vector_norm(told - motion, dim=-1).mean()
    assert loss == pytest.approx(float(expected), rel=1e-5)


def test_the_same_seed_degrades_alike_and_another_does_not() -> None:
    windows = going_on(6, 12, 10)
    predictor = drift(windows).train()
    Learner.fit(predictor, windows, windows)
    predictor.occlusions = hiding("30%")
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        predictor.losses(both(windows))
    first, again, other = predictor.histories
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_past_is_clean_unless_something_hides_it() -> None:
    windows = going_on(6, 12, 10)
    predictor = drift(windows).train()
    predictor.losses(both(windows))
    assert torch.equal(predictor.histories[0], windows.tensor())


# Fits


FITTED: dict[str, dict[str, Any]] = {
    "ltd": {"width": 32, "blocks": 1, "dropout": 0.0, "epochs": 30, "learning_rate": 3e-3},
    "hisrep": {"width": 32, "blocks": 1, "dropout": 0.0, "epochs": 30, "learning_rate": 1e-2},
    "simlpe": {"blocks": 3, "epochs": 40, "learning_rate": 1e-2},
    "convseq2seq": {"filters": 2, "width": 32, "epochs": 15, "learning_rate": 3e-3},
}


@pytest.mark.parametrize("name", FITTED)
def test_it_learns_to_beat_a_body_that_stops(name: str) -> None:
    train, valid, unseen = (gait(n, seed=seed) for n, seed in ((64, 1), (16, 2), (16, 3)))
    torch.manual_seed(0)
    cls = PREDICTORS.get(name)
    predictor = cls(train.spec, cls.Settings(**FITTED[name], batch_size=8))
    context = FitContext()
    predictor.fit(train, valid, context)
    assert not predictor.training
    assert min(row["valid_loss"] for row in context.history) < context.history[0]["valid_loss"]
    stopped = ZeroVelocity(train.spec)
    for windows in (train, unseen):
        truth = torch.from_numpy(np.array(windows.future))
        learnt, still = (
            float(position_error(p.predict(windows.tensor()), truth)) for p in (predictor, stopped)
        )
        assert learnt < 0.9 * still, (learnt, still)


@pytest.mark.parametrize("degraded", [False, True])
@pytest.mark.parametrize("name", TRAINED)
def test_an_interrupted_fit_ends_as_if_it_had_not_been(
    name: str, degraded: bool, tmp_path: Path
) -> None:
    train, valid = going_on(17, 20, 6, seed=1), going_on(8, 20, 6, seed=2)
    cls = PREDICTORS.get(name)
    settings = cls.Settings(
        **{**settings_for(name, 20, 6), "epochs": 4, "batch_size": 8, "learning_rate_decay": 0.1}
    )

    def fit(folder: Path | None, stop_after: int | None = None) -> Any:
        torch.manual_seed(0)
        predictor = cls(train.spec, settings)
        predictor.occlusions = hiding("20%") if degraded else ()

        def report(progress: Progress) -> None:
            if progress.epoch == stop_after:
                raise KeyboardInterrupt

        predictor.fit(train, valid, FitContext(seed=3, folder=folder, report=report))
        return predictor

    start = cls(train.spec, settings).state_dict()
    whole = fit(None).state_dict()
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, stop_after=2)
    resumed = fit(tmp_path).state_dict()
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert not any(torch.equal(whole[name], start[name]) for name in ("mean", "deviation"))


def test_a_fit_takes_only_windows_whose_recording_goes_on() -> None:
    train, valid = going_on(9, 12, 10, seed=1), going_on(5, 12, 10, seed=2)
    for windows in (train, valid):
        assert windows.future is not None
        windows.future[::2, -3:] = np.nan
    predictor = drift(train, epochs=2)
    context = FitContext()
    predictor.fit(train, valid, context)
    seen = {len(history) for history in predictor.histories}
    assert seen == {4, 2}
    assert all(np.isfinite(row["loss"] + row["valid_loss"]) for row in context.history)
    # Mean and deviation are of all windows all the same.
    np.testing.assert_allclose(predictor.mean, train.motion.mean(axis=0), atol=1e-3)


@pytest.mark.parametrize("name", [*TRAINED, "drift"])
@pytest.mark.parametrize("which", ["train", "valid"])
def test_windows_none_of_which_goes_on_cannot_be_fitted(name: str, which: str) -> None:
    train, valid = going_on(6, 20, 6, seed=1), going_on(6, 20, 6, seed=2)
    ended = {"train": train, "valid": valid}[which]
    assert ended.future is not None
    ended.future[:, -1] = np.nan
    cls = Drift if name == "drift" else PREDICTORS.get(name)
    predictor = cls(train.spec, cls.Settings(**settings_for(name, 20, 6)))
    with pytest.raises(ValueError, match="no recording is long enough"):
        predictor.fit(train, valid)


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_rate_of_a_fit_is_learnt(epochs: int) -> None:
    windows = going_on(8, 12, 10)
    ramp = windows.motion[:, :1] + 5.0 * np.arange(22)[None, :, None, None]
    steady = Windows(
        ramp[:, :12].astype(np.float32),
        windows.index,
        25.0,
        windows.skeleton,
        ramp[:, 12:].astype(np.float32),
    )
    predictor = drift(steady, epochs=40 * epochs)
    predictor.fit(steady, steady)
    assert abs(float(predictor.rate.detach()) - 5) < (2 if epochs == 1 else 0.5)
