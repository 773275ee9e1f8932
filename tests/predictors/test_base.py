"""Properties of every predictor; steps, losses, degraded pasts and fits of trained ones."""

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
from tests.predictors.helpers import SMALL, build, gait, settings_for, windows_with_future

ALL = list(PREDICTORS.all())
TRAINED = [name for name, cls in PREDICTORS.all().items() if cls.trained]
LENGTHS = [(10, 25), (50, 25), (13, 7), (31, 3), (50, 1)]


class Drift(TrainedPredictor):
    """Predicts that every coordinate changes at one learnt rate, mm per frame."""

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


def make_drift(windows: Windows, **settings: Any) -> Drift:
    return Drift(windows.spec, Drift.Settings(**settings))


def both(windows: Windows) -> Tensor:
    """Return past and future together."""
    return windows.with_future().tensor()


def assert_same(predicted: Tensor, expected: Tensor) -> None:
    """Check that two predictions are equal but for rounding, mm."""
    torch.testing.assert_close(predicted, expected, rtol=1e-5, atol=1e-2)


# Every predictor


def test_the_published_predictors_are_registered() -> None:
    assert {"convseq2seq", "hisrep", "ltd", "simlpe", "zero_velocity"} <= set(ALL)
    assert not PREDICTORS.get("zero_velocity").trained
    assert set(SMALL) <= set(TRAINED)


@pytest.mark.parametrize(("past", "future"), LENGTHS)
@pytest.mark.parametrize("name", ALL)
def test_it_predicts_as_many_frames_as_requested(name: str, past: int, future: int) -> None:
    windows = windows_with_future(3, past, future)
    predictor = build(name, windows, **settings_for(name, past, future))
    predicted = predictor.predict(windows.tensor())
    assert predicted.shape == (3, future, 18, 3)
    assert predicted.dtype == torch.float32
    assert torch.isfinite(predicted).all()
    assert not predicted.requires_grad
    assert predictor.predict(windows.tensor(slice(1))).shape == (1, future, 18, 3)


@pytest.mark.parametrize("step", [1, 3, 7])
@pytest.mark.parametrize("name", TRAINED)
def test_it_predicts_the_whole_future_in_steps_of_any_length(name: str, step: int) -> None:
    windows = windows_with_future(2, 17, 7)
    settings = {**settings_for(name, 17, 7), "step": step}
    predicted = build(name, windows, **settings).predict(windows.tensor())
    assert predicted.shape == (2, 7, 18, 3)
    assert torch.isfinite(predicted).all()


@pytest.mark.parametrize("name", ALL)
@hypothesis.given(seed=st.integers(0, 1000), data=st.data())
@hypothesis.settings(max_examples=8, deadline=None)
def test_a_prediction_depends_on_its_own_window_alone(
    name: str, seed: int, data: st.DataObject
) -> None:
    windows = windows_with_future(5, 20, 6)
    predictor = build(name, windows, **settings_for(name, 20, 6))
    past = windows_with_future(5, 20, 6, seed).tensor()
    rows = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=7))
    among_all = predictor.predict(past)
    assert_same(predictor.predict(past[rows]), among_all[rows])
    corrupted = past.clone()
    corrupted[1:] = 1e4 * torch.randn_like(corrupted[1:])
    assert_same(predictor.predict(corrupted)[0], among_all[0])


@pytest.mark.parametrize("name", ALL)
def test_predicting_changes_neither_its_input_nor_itself(name: str) -> None:
    windows = windows_with_future(4, 20, 6)
    predictor = build(name, windows, **settings_for(name, 20, 6))
    past = windows.tensor()
    before = {name: value.clone() for name, value in predictor.state_dict().items()}
    first = predictor.predict(past).clone()
    assert torch.equal(past, windows.tensor())
    assert torch.equal(predictor.predict(past), first)
    assert all(torch.equal(value, before[key]) for key, value in predictor.state_dict().items())


@pytest.mark.parametrize("step", [5, 12])
@pytest.mark.parametrize("name", TRAINED)
def test_frames_before_its_past_are_ignored(name: str, step: int) -> None:
    windows = windows_with_future(3, 50, 12)
    settings = {**settings_for(name, 20, 12), "past": 20, "step": step}
    predictor = build(name, windows, **settings)
    past = windows.tensor()
    expected = predictor.predict(past)
    changed = past.clone()
    changed[:, :30] = 1e3 * torch.randn_like(changed[:, :30])
    assert_same(predictor.predict(changed), expected)
    # Every frame of the past matters.
    for frame in range(30, 50):
        changed = past.clone()
        changed[:, frame] += 300 * torch.randn_like(changed[:, frame])
        assert not torch.allclose(predictor.predict(changed), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["ltd", "simlpe", "convseq2seq"])
def test_of_fifty_frames_only_the_last_ten_are_used(name: str) -> None:
    windows = windows_with_future(3, 50, 25)
    settings = {**SMALL[name], "past": 10, "step": 10}
    predictor = build(name, windows, **settings)
    changed = windows.tensor()
    changed[:, :40] = torch.randn_like(changed[:, :40])
    assert_same(predictor.predict(changed), predictor.predict(windows.tensor()))


@pytest.mark.parametrize("name", TRAINED)
def test_a_past_longer_than_the_windows_is_an_error(name: str) -> None:
    cls = PREDICTORS.get(name)
    settings = cls.Settings(**{**settings_for(name, 20, 5), "past": 21})
    with pytest.raises(ValueError, match="past: 21 frames requested, windows have 20"):
        cls(windows_with_future(2, 20, 5).spec, settings)


BEFORE_A_NORM = {
    # Layer normalisation subtracts the mean over the coordinates of a frame, and so this bias.
    "simlpe": ("over_frames.bias",),
}
"""Biases of the published networks that have no effect."""


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_reach_every_parameter_but_biases_before_a_norm(name: str) -> None:
    windows = windows_with_future(6, 20, 6)
    predictor = build(name, windows, **settings_for(name, 20, 6)).double()
    # Dropout would leave some parameters of a network this small without a gradient.
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
def test_later_steps_use_earlier_predictions(step: int, overlap: int) -> None:
    windows = windows_with_future(4, 12, 10)
    predictor = make_drift(windows, step=step, overlap=overlap)
    past = windows.tensor()
    expected = past[:, -1:] + torch.arange(1.0, 11)[:, None, None]
    predicted = predictor.predict(past)
    torch.testing.assert_close(predicted, expected)
    seen = [history.shape[1] for history in predictor.histories]
    assert seen == list(range(12, 22, step))
    torch.testing.assert_close(
        predictor.histories[-1], torch.cat([past, predicted], dim=1)[:, : seen[-1]]
    )


@pytest.mark.parametrize("name", TRAINED)
def test_a_prediction_in_steps_equals_single_steps_by_hand(name: str) -> None:
    windows = windows_with_future(3, 20, 9)
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
    predicted = predictor.predict(windows.tensor())
    assert_same(predicted, by_hand)
    # The second step differs from the first.
    assert not torch.allclose(predicted[:, :4], predicted[:, 4:8], atol=1)


# Losses


@pytest.mark.parametrize("overlap", [0, 3])
def test_training_minimises_the_error_of_one_step_and_of_the_overlap(overlap: int) -> None:
    windows = windows_with_future(4, 12, 10)
    predictor = make_drift(windows, step=4, overlap=overlap).train()
    motion = both(windows).numpy()
    distances = []
    for window in motion:
        for ahead in range(1 - overlap, 5):
            for joint in range(18):
                predicted = window[11, joint] + ahead
                distances.append(np.linalg.norm(predicted - window[11 + ahead, joint]))
    loss = predictor.losses(both(windows))["loss"]
    assert float(loss.detach()) == pytest.approx(np.mean(distances), rel=1e-5)
    assert loss.requires_grad


def test_validation_uses_the_error_of_the_whole_future() -> None:
    windows = windows_with_future(4, 12, 10)
    predictor = make_drift(windows, step=4, overlap=3).eval()
    motion = both(windows).numpy()
    ahead = np.arange(1, 11)[None, :, None, None]
    distances = np.linalg.norm(motion[:, 11:12] + ahead - motion[:, 12:], axis=-1)
    losses = predictor.losses(both(windows))
    assert list(losses) == ["loss"]
    assert float(losses["loss"]) == pytest.approx(distances.mean(), rel=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_validation_is_in_millimetres_whatever_training_minimises(name: str) -> None:
    windows = windows_with_future(4, 20, 9)
    settings = {**settings_for(name, 20, 9), "step": 4}
    predictor = build(name, windows, **settings)
    predicted = predictor.predict(windows.tensor())
    assert windows.future is not None
    expected = np.linalg.norm(predicted.numpy() - windows.future, axis=-1).mean()
    assert float(predictor.losses(both(windows))["loss"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_training_compares_a_step_with_the_frames_it_predicts(name: str) -> None:
    windows = windows_with_future(4, 20, 9)
    settings = {**settings_for(name, 20, 9), "step": 4}
    predictor = build(name, windows, **settings)
    with torch.no_grad():
        predicted = predictor.extrapolate(windows.tensor())
        assert predicted.shape == (4, predictor.overlap + 4, 18, 3)
        truth = both(windows)[:, 20 - predictor.overlap : 24]
        expected = predictor.error(predicted, truth)
    # Set the flag of this module alone: batch statistics and dropout would change predictions.
    predictor.training = True
    torch.testing.assert_close(predictor.losses(both(windows))["loss"].detach(), expected)


def test_position_error_is_the_mean_distance() -> None:
    predicted = torch.zeros(2, 1, 2, 3)
    predicted[0, 0, 0] = torch.tensor([3.0, 4.0, 0.0])
    predicted[1, 0, 1] = torch.tensor([0.0, 0.0, 7.0])
    assert float(position_error(predicted, torch.zeros_like(predicted))) == pytest.approx(
        (5 + 7) / 4
    )


@pytest.mark.parametrize("near", [0.0, 0.7, 2.0])
def test_near_frames_can_weigh_more_in_training(near: float) -> None:
    windows = windows_with_future(2, 20, 6)
    predictor = build("ltd", windows, **settings_for("ltd", 20, 6), near=near)
    overlap = predictor.overlap
    assert overlap > 0
    errors = np.random.default_rng(0).uniform(1, 9, overlap + 6)
    weight = np.array([1.0] * overlap + [k**-near for k in range(1, 7)])
    expected = (weight * errors).sum() / weight.sum()
    assert float(predictor.over_frames(torch.from_numpy(errors))) == pytest.approx(expected)
    predicted, truth = torch.zeros(2, overlap + 6, 18, 3), torch.zeros(2, overlap + 6, 18, 3)
    predicted[..., 0] = torch.from_numpy(errors)[:, None]
    assert float(predictor.error(predicted, truth)) == pytest.approx(expected, rel=1e-5)


# Degraded pasts


def hiding(*levels: str) -> tuple[Features, ...]:
    return tuple(Features(level=Level.parse(level)) for level in levels)


@pytest.mark.parametrize("training", [True, False])
def test_hidden_entries_of_a_degraded_past_are_the_train_mean(training: bool) -> None:
    windows = windows_with_future(40, 12, 10)
    predictor = make_drift(windows).train(training)
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
    # Both levels occur, and each window has its own mask.
    shares = hidden.flatten(1).double().mean(dim=1)
    assert {round(float(share), 1) for share in shares} == {0.1, 0.5}
    assert len({tuple(row.tolist()) for row in hidden.flatten(1)}) == len(windows)
    # The future is not degraded.
    predicted = past[:, -1:] + torch.arange(1.0, 11)[:, None, None]
    expected = torch.linalg.vector_norm(predicted - truth[:, 12:], dim=-1).mean()
    assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-5)


def test_the_overlap_of_a_degraded_past_is_compared_with_the_truth() -> None:
    windows = windows_with_future(5, 12, 10)
    predictor = make_drift(windows, overlap=12).train()
    Learner.fit(predictor, windows, windows)
    predictor.occlusions = hiding("100%")
    motion = both(windows)
    loss = float(predictor.losses(motion)["loss"].detach())
    predicted = predictor.mean[-1] + torch.arange(-11.0, 11)[:, None, None]
    expected = torch.linalg.vector_norm(predicted - motion, dim=-1).mean()
    assert loss == pytest.approx(float(expected), rel=1e-5)


def test_degradation_depends_on_the_seed() -> None:
    windows = windows_with_future(6, 12, 10)
    predictor = make_drift(windows).train()
    Learner.fit(predictor, windows, windows)
    predictor.occlusions = hiding("30%")
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        predictor.losses(both(windows))
    first, again, other = predictor.histories
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_past_is_clean_without_occlusions() -> None:
    windows = windows_with_future(6, 12, 10)
    predictor = make_drift(windows).train()
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
def test_a_fitted_predictor_beats_zero_velocity(name: str) -> None:
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
def test_a_resumed_fit_equals_an_uninterrupted_one(
    name: str, degraded: bool, tmp_path: Path
) -> None:
    train, valid = windows_with_future(17, 20, 6, seed=1), windows_with_future(8, 20, 6, seed=2)
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


def test_a_fit_uses_only_windows_with_a_whole_future() -> None:
    train, valid = windows_with_future(9, 12, 10, seed=1), windows_with_future(5, 12, 10, seed=2)
    for windows in (train, valid):
        assert windows.future is not None
        np.asarray(windows.future)[::2, -3:] = np.nan
    predictor = make_drift(train, epochs=2)
    context = FitContext()
    predictor.fit(train, valid, context)
    seen = {len(history) for history in predictor.histories}
    assert seen == {4, 2}
    assert all(np.isfinite(row["loss"] + row["valid_loss"]) for row in context.history)
    # Mean and deviation are still those of all windows.
    np.testing.assert_allclose(predictor.mean, np.asarray(train.motion).mean(axis=0), atol=1e-3)


@pytest.mark.parametrize("name", [*TRAINED, "drift"])
@pytest.mark.parametrize("which", ["train", "valid"])
def test_a_fit_without_any_future_is_an_error(name: str, which: str) -> None:
    train, valid = windows_with_future(6, 20, 6, seed=1), windows_with_future(6, 20, 6, seed=2)
    ended = {"train": train, "valid": valid}[which]
    assert ended.future is not None
    np.asarray(ended.future)[:, -1] = np.nan
    cls = Drift if name == "drift" else PREDICTORS.get(name)
    predictor = cls(train.spec, cls.Settings(**settings_for(name, 20, 6)))
    with pytest.raises(ValueError, match="no recording is long enough"):
        predictor.fit(train, valid)


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_rate_of_a_fit_is_learnt(epochs: int) -> None:
    windows = windows_with_future(8, 12, 10)
    ramp = windows.motion[:, :1] + 5.0 * np.arange(22)[None, :, None, None]
    steady = Windows(
        ramp[:, :12].astype(np.float32),
        windows.index,
        25.0,
        windows.skeleton,
        ramp[:, 12:].astype(np.float32),
    )
    predictor = make_drift(steady, epochs=40 * epochs)
    predictor.fit(steady, steady)
    assert abs(float(predictor.rate.detach()) - 5) < (2 if epochs == 1 else 0.5)
