"""The fit loop: interruption, divergence, warm-up, best weights, averaging, skipping."""

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.fitting.adam import Adam
from bench.fitting.training import (
    FitContext,
    Progress,
    TrainingError,
    TrainSettings,
    VariationalSettings,
    accumulate,
    train,
)
from bench.motion import Windows
from tests.conftest import Bench, run_of, walk

TRAIN, VALID = walk(24, seed=3), walk(8, seed=4)


class Toy(nn.Module):
    """Predicts one number per window, with noise in its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.batches = 0

    def losses(self, motion: Tensor, kl_weight: float) -> dict[str, Tensor]:
        self.batches += 1
        target = motion.mean(dim=(1, 2)) / 100
        error = (target - self.weight + 0.1 * torch.randn_like(target)).square().mean()
        return {"loss": error + kl_weight * self.weight.square().mean(), "error": error}


def fit(folder: Path | None, stop_after: int | None = None, **settings: Any) -> tuple[Toy, list]:
    module = Toy()

    def report(progress: Progress) -> None:
        if progress.epoch == stop_after:
            raise KeyboardInterrupt

    context = FitContext(seed=1, folder=folder, report=report)
    chosen = VariationalSettings(
        **{"epochs": 6, "batch_size": 5, "learning_rate": 0.05, **settings}
    )
    train(module, TRAIN, VALID, chosen, context)
    return module, context.history


def plain(history: list) -> list:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The first parameter after each step of any optimiser."""
    return after_each_step(monkeypatch, lambda adam: adam.parameters[0].detach().clone())


def after_each_step(monkeypatch: pytest.MonkeyPatch, seen: Callable[[Adam], Any]) -> list[Any]:
    """Return a list to which ``seen(optimiser)`` is appended after each of its steps."""
    taken: list[Any] = []
    take = Adam.step

    def step(adam: Adam) -> None:
        take(adam)
        taken.append(seen(adam))

    monkeypatch.setattr(Adam, "step", step)
    return taken


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ema": 0.9},
        {"ema": 0.5, "weight_decay": 0.1, "skip_gradient": 0.25},
        {"learning_rate_decay": 0.01},
    ],
)
def test_an_interrupted_fit_ends_as_an_uninterrupted_one(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    whole, history = fit(None, **settings)
    if "skip_gradient" in settings:
        assert 0 < sum(row["skipped"] for row in history) < len(history)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, stop_after=3, **settings)
    assert (tmp_path / "checkpoint.safetensors").exists()
    resumed, resumed_history = fit(tmp_path, **settings)
    assert torch.equal(resumed.weight, whole.weight)
    assert plain(resumed_history) == plain(history)
    assert resumed.batches < whole.batches


def test_the_time_of_a_fit_goes_on_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr("bench.fitting.training.time.monotonic", lambda: float(next(clock)))
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, stop_after=3)
    _, history = fit(tmp_path)
    taken = np.diff([0.0, *(row["seconds"] for row in history)])
    assert len(taken) == 6
    assert (taken > 0).all()
    assert taken.max() <= 3


def test_a_run_states_the_whole_time_of_a_fit_that_was_resumed(
    tmp_path: Path, bench: Bench, undrawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resumed(module: Any, *given: Any) -> None:
        train(module, *given)
        given[-1].before = 1000.0

    monkeypatch.setattr("models.vae.train", resumed)
    run = {
        "name": "small",
        "dataset": {"name": "synthetic", "subjects": 4, "seconds": 3.5, "stride": 10},
        "models": {"vae": {"hidden": [8], "latent": 2, "epochs": 1}},
        "occlusion": {"features": {"levels": ["50%"]}},
        "scale": {"train": 20, "valid": 8, "test": 8},
    }
    assert bench(*run_of(run, tmp_path)).code == 0
    folder = tmp_path / "results" / "small" / "latest"
    (fit,) = json.loads((folder / "provenance.json").read_text())["fits"].values()
    times = pd.read_csv(folder / "times.csv").set_index("task")["seconds"]
    assert 1000 < fit["seconds"] < 1100
    assert times["fit"] == pytest.approx(fit["seconds"], abs=1)


def test_the_loss_falls_and_validation_draws_are_the_same_each_time() -> None:
    _, history = fit(None, epochs=40)
    assert history[-1]["valid_error"] < history[0]["valid_error"]
    assert [row["epoch"] for row in history] == list(range(1, 41))


def test_the_best_weights_are_kept_not_the_last() -> None:
    class Worse(Toy):
        def losses(self, motion: Tensor, kl_weight: float) -> dict[str, Tensor]:
            loss = super().losses(motion, kl_weight)["loss"]
            # Validation likes only the first epoch's weights.
            return {"loss": loss if self.training else self.weight.abs().sum()}

    module = Worse()
    context = FitContext(seed=1)
    train(
        module,
        TRAIN,
        VALID,
        VariationalSettings(epochs=5, batch_size=24, learning_rate=0.1),
        context,
    )
    best = min(context.history, key=lambda row: row["valid_loss"])
    assert best["epoch"] == 1
    assert float(module.weight.detach().abs().sum()) == pytest.approx(best["valid_loss"])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_loss_that_is_not_finite_stops_the_fit(value: float) -> None:
    class Broken(Toy):
        def losses(self, motion: Tensor, kl_weight: float) -> dict[str, Tensor]:
            losses = super().losses(motion, kl_weight)
            return {"loss": losses["loss"] * (value if self.batches == 3 else 1)}

    with pytest.raises(TrainingError, match="epoch 1, batch 3"):
        train(Broken(), TRAIN, VALID, VariationalSettings(epochs=2, batch_size=5), FitContext())


def test_warm_up_is_the_papers() -> None:
    settings = VariationalSettings()
    assert settings.terms(0)["kl_weight"] == pytest.approx(0.001)
    assert settings.terms(100)["kl_weight"] == pytest.approx(0.5005)
    assert settings.terms(200) == settings.terms(499) == settings.terms(None) == {"kl_weight": 1}
    assert VariationalSettings(kl_warmup=0).terms(0) == {"kl_weight": 1}


class Recorder(nn.Module):
    """Records the arguments of its loss other than motion, and whether in training."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.terms: list[tuple[bool, dict[str, float]]] = []

    def losses(self, motion: Tensor, **terms: float) -> dict[str, Tensor]:
        self.terms.append((self.training, terms))
        return {"loss": (motion.mean() - self.weight).square()}


def test_a_loss_gets_the_terms_of_its_settings_and_no_others() -> None:
    plain, variational = Recorder(), Recorder()
    train(plain, TRAIN, VALID, TrainSettings(epochs=2), FitContext())
    assert plain.terms == [(True, {}), (False, {})] * 2
    context = FitContext()
    settings = VariationalSettings(epochs=3, kl_start=0.2, kl_warmup=2)
    train(variational, TRAIN, VALID, settings, context)
    weights = [0.2, 0.6, 1.0]
    assert [terms["kl_weight"] for training, terms in variational.terms if training] == (
        pytest.approx(weights)
    )
    assert all(terms == {"kl_weight": 1} for training, terms in variational.terms if not training)
    assert [row["kl_weight"] for row in context.history] == pytest.approx(weights)


@pytest.mark.parametrize("epoch", [None, 0, 7])
def test_plain_settings_have_no_terms_and_refuse_those_of_an_elbo(epoch: int | None) -> None:
    assert TrainSettings().terms(epoch) == {}
    with pytest.raises(ValueError, match="beta"):
        TrainSettings.model_validate({"beta": 1.0})


@hypothesis.given(st.integers(1, 600), st.floats(1e-5, 1.0), st.floats(1e-3, 1.0, exclude_max=True))
@hypothesis.settings(max_examples=50, deadline=None)
def test_the_rate_falls_by_one_factor_per_epoch_to_the_requested_share(
    epochs: int, rate: float, share: float
) -> None:
    settings = TrainSettings(epochs=epochs, learning_rate=rate, learning_rate_decay=share)
    rates = [settings.rate(epoch) for epoch in range(epochs)]
    assert rates[0] == rate
    if epochs > 1:
        assert rates[-1] == pytest.approx(rate * share)
        steps = np.array(rates[1:]) / rates[:-1]
        np.testing.assert_allclose(steps, share ** (1 / (epochs - 1)))


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of each step of any optimiser."""
    return after_each_step(monkeypatch, lambda adam: adam.rate)


def test_every_step_has_its_epochs_rate_also_after_an_interruption(
    tmp_path: Path, rates: list[float]
) -> None:
    expected = [0.05 * 0.01 ** (epoch / 5) for epoch in range(6) for _ in range(5)]
    fit(None, learning_rate_decay=0.01)
    assert rates == pytest.approx(expected)
    assert (rates[0], rates[-1]) == (0.05, pytest.approx(0.0005))
    rates.clear()
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, stop_after=2, learning_rate_decay=0.01)
    assert rates == pytest.approx(expected[:10])
    rates.clear()
    fit(tmp_path, learning_rate_decay=0.01)
    assert rates == pytest.approx(expected[10:])


def test_the_rate_is_constant_by_default(rates: list[float]) -> None:
    fit(None)
    assert rates == [0.05] * 30


def test_the_gradient_is_clipped(windows: Windows) -> None:
    class Steep(Toy):
        def losses(self, motion: Tensor, kl_weight: float) -> dict[str, Tensor]:
            return {"loss": 1e6 * self.weight.sum()}

    module = Steep()
    settings = VariationalSettings(epochs=1, batch_size=100, gradient_clip=1.0)
    train(module, windows, windows, settings, FitContext())
    assert module.weight.grad is not None
    assert float(module.weight.grad.norm()) == pytest.approx(1, rel=1e-3)


def test_micro_batches_add_up_to_the_batchs_gradient() -> None:
    class Smooth(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def losses(self, motion: Tensor, kl_weight: float) -> dict[str, Tensor]:
            error = (motion.mean(dim=(1, 2)) * self.weight).square().mean()
            return {"loss": error, "error": error}

    gradients, errors = [], []
    for micro_batch in (24, 7):
        module = Smooth()
        settings = VariationalSettings(micro_batch=micro_batch)
        losses = accumulate(module, {"motion": TRAIN.tensor()}, settings, kl_weight=1.0)
        gradients.append(module.weight.grad)
        errors.append(losses["error"])
    assert gradients[0] is not None
    torch.testing.assert_close(gradients[0], gradients[1])
    torch.testing.assert_close(errors[0], errors[1])


def running_average(start: Tensor, steps: list[Tensor], decay: float) -> NDArray[np.float64]:
    average = start.double().numpy()
    for step in steps:
        average = decay * average + (1 - decay) * step.double().numpy()
    return average


@pytest.mark.parametrize("decay", [0.3, 0.9, 0.99])
def test_the_final_weights_are_the_running_average(decay: float, steps: list[Tensor]) -> None:
    module, history = fit(None, ema=decay)
    assert len(steps) == 6 * 5  # five batches an epoch
    best = min(history, key=lambda row: row["valid_loss"])["epoch"]
    expected = running_average(torch.zeros(3), steps[: 5 * best], decay)
    np.testing.assert_allclose(module.weight.detach(), expected, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(module.weight, steps[5 * best - 1], rtol=1e-2)


def test_averaging_does_not_change_the_path_of_the_weights(steps: list[Tensor]) -> None:
    fit(None)
    plainly = list(steps)
    steps.clear()
    fit(None, ema=0.9)
    assert torch.equal(torch.stack(steps), torch.stack(plainly))


def test_the_average_is_validated_with_the_latest_batch_statistics() -> None:
    seen: dict[bool, list[tuple[float, float]]] = {True: [], False: []}

    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(54))
            self.norm = nn.BatchNorm1d(54, affine=False)

        def losses(self, motion: Tensor, kl_weight: float) -> dict[str, Tensor]:
            normal = self.norm(motion.mean(dim=1).flatten(1))
            loss = (normal + 1 - self.weight).square().mean()
            assert self.norm.running_mean is not None
            now = (float(self.weight.detach()[0]), float(self.norm.running_mean[0]))
            seen[self.training].append(now)
            return {"loss": loss}

    context = FitContext(seed=1)
    settings = VariationalSettings(epochs=3, batch_size=24, learning_rate=0.05, ema=0.8)
    module = Normalised()
    train(module, TRAIN, VALID, settings, context)
    (_, first), (second, _), (third, _) = seen[True]
    # After the first two steps, as the second and the third batch see the weights.
    once, twice = 0.2 * second, 0.8 * 0.2 * second + 0.2 * third
    assert [weight for weight, _ in seen[False]][:2] == pytest.approx([once, twice], rel=1e-4)
    assert seen[False][0][1] == pytest.approx(first)
    assert [mean for _, mean in seen[False]] == [mean for _, mean in seen[True]]
    best = min(context.history, key=lambda row: row["valid_loss"])["epoch"]
    assert float(module.weight.detach()[0]) == seen[False][int(best) - 1][0]
    assert not module.training


class Rough(Toy):
    """Has a gradient a million times as large for some batches."""

    rough: tuple[int, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.before: list[Tensor] = []

    def losses(self, motion: Tensor, kl_weight: float) -> dict[str, Tensor]:
        losses = super().losses(motion, kl_weight)
        if self.training:
            self.before.append(self.weight.detach().clone())
            if self.batches in self.rough:
                losses["loss"] = 1e6 * losses["loss"]
        return losses


@pytest.mark.parametrize("ema", [0.0, 0.6])
@pytest.mark.parametrize(
    ("rough", "share"), [((), 0), ((2, 5), 9 / 24), ((1,), 5 / 24), ((1, 2, 3, 4, 5), 1)]
)
def test_a_step_with_too_large_a_gradient_is_skipped_and_counted(
    rough: tuple[int, ...], share: float, ema: float, steps: list[Tensor]
) -> None:
    module, context = Rough(), FitContext(seed=1)
    module.rough = rough
    settings = VariationalSettings(
        epochs=1, batch_size=5, learning_rate=0.05, ema=ema, skip_gradient=1e3, gradient_clip=1.0
    )
    train(module, TRAIN, VALID, settings, context)
    assert len(module.before) == 5
    taken = iter(steps)
    expected = torch.zeros(3)
    for number, before in enumerate(module.before, 1):
        assert torch.equal(before, expected)
        if number not in rough:
            expected = next(taken)
            assert not torch.equal(before, expected)
    assert next(taken, None) is None
    assert context.history[0]["skipped"] == pytest.approx(share)
    average = running_average(torch.zeros(3), steps, ema)
    np.testing.assert_allclose(module.weight.detach(), average, rtol=1e-4, atol=1e-6)


def test_a_skipped_step_leaves_no_trace_in_later_ones(steps: list[Tensor]) -> None:
    """Not in Adam's moments either: the next step is as large as a first step."""
    module = Rough()
    module.rough = (1,)
    settings = VariationalSettings(epochs=1, batch_size=5, learning_rate=0.05, skip_gradient=1e3)
    train(module, TRAIN, VALID, settings, FitContext(seed=1))
    torch.testing.assert_close(steps[0].abs(), torch.full((3,), 0.05), rtol=1e-3, atol=0)


def test_no_step_is_skipped_by_default(steps: list[Tensor]) -> None:
    module, context = Rough(), FitContext(seed=1)
    module.rough = (1, 2)
    train(module, TRAIN, VALID, VariationalSettings(epochs=1, batch_size=5), context)
    assert len(steps) == 5
    assert "skipped" not in context.history[0]


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_steps_are_adams_with_its_penalty_on_weights(
    weight_decay: float, steps: list[Tensor]
) -> None:
    """Compared with Adam as Kingma and Ba write it, with the penalty's gradient added."""
    target = torch.tensor([1.0, -2.0, 0.5])

    class Bowl(Toy):
        def losses(self, motion: Tensor, kl_weight: float) -> dict[str, Tensor]:
            return {"loss": (self.weight - target).square().sum()}

    settings = VariationalSettings(
        epochs=30, batch_size=12, learning_rate=0.1, weight_decay=weight_decay
    )
    train(Bowl(), TRAIN, VALID, settings, FitContext())
    weight, first, second = np.zeros(3), np.zeros(3), np.zeros(3)
    assert len(steps) == 60
    for number, step in enumerate(steps, 1):
        gradient = 2 * (weight - target.numpy()) + weight_decay * weight
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        unbiased = first / (1 - 0.9**number), second / (1 - 0.999**number)
        weight = weight - 0.1 * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
        np.testing.assert_allclose(step, weight, rtol=1e-3, atol=1e-4)
    # Where the two gradients cancel: 2 (w - a) + decay w = 0.
    converged = target.numpy() * 2 / (2 + weight_decay)
    np.testing.assert_allclose(weight, converged, rtol=0.1)


class Counter(nn.Module):
    """Records the batches of training."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.parts: list[Tensor] = []

    def losses(self, motion: Tensor, kl_weight: float) -> dict[str, Tensor]:
        if self.training:
            self.parts.append(motion)
        return {"loss": (motion.flatten(1).mean(dim=1) - self.weight).square().mean()}


def assert_even(sizes: list[int], total: int, largest: int, count: int) -> None:
    assert sum(sizes) == total
    assert len(sizes) == count
    assert max(sizes) <= largest
    assert max(sizes) - min(sizes) <= 1


@hypothesis.given(st.integers(1, 40), st.integers(1, 50))
@hypothesis.settings(max_examples=50, deadline=None)
def test_micro_batches_have_nearly_equal_sizes(windows: int, micro_batch: int) -> None:
    module, batch = Counter(), torch.arange(float(windows))[:, None]
    settings = VariationalSettings(micro_batch=micro_batch)
    loss = accumulate(module, {"motion": batch}, settings, kl_weight=1.0)["loss"]
    least = math.ceil(windows / micro_batch)
    # An even number, for two workers, unless there are too few windows.
    count = least if least in (1, windows) else least + least % 2
    assert_even([len(part) for part in module.parts], windows, micro_batch, count)
    assert torch.equal(torch.cat(module.parts), batch)
    # However the batch is split, loss and gradient are those of the whole batch.
    values = np.arange(windows)
    np.testing.assert_allclose(loss, np.square(values).mean(), rtol=1e-5)
    assert module.weight.grad is not None
    np.testing.assert_allclose(module.weight.grad, -2 * values.mean(), rtol=1e-5)


@pytest.mark.parametrize("count", [24, 17, 9, 8])
@pytest.mark.parametrize("batch_size", [4, 8, 16])
def test_batches_of_an_epoch_have_nearly_equal_sizes(count: int, batch_size: int) -> None:
    module, windows = Counter(), TRAIN.take(slice(count))
    train(
        module, windows, VALID, VariationalSettings(epochs=1, batch_size=batch_size), FitContext()
    )
    sizes = [len(part) for part in module.parts]
    assert_even(sizes, count, batch_size, math.ceil(count / batch_size))
    shown = torch.cat(module.parts).flatten(1)
    # Every window once, in another order.
    expected = windows.tensor().flatten(1)
    assert sorted(shown.tolist()) == sorted(expected.tolist())
    assert not torch.equal(shown, expected)
