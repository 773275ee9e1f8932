"""The fit loop: interruption, divergence, warm-up, best weights."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.motion import Windows
from bench.training import (
    FitContext,
    Progress,
    TrainingError,
    TrainSettings,
    accumulate,
    train,
    warmup,
)
from tests.conftest import walk

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


def fit(folder: Path | None, stop_after: int | None = None, **settings: float) -> tuple[Toy, list]:
    module = Toy()

    def report(progress: Progress) -> None:
        if progress.epoch == stop_after:
            raise KeyboardInterrupt

    context = FitContext(seed=1, folder=folder, report=report)
    chosen = TrainSettings(**{"epochs": 6, "batch_size": 5, "learning_rate": 0.05, **settings})
    train(module, TRAIN, VALID, chosen, context)
    return module, context.history


def plain(history: list) -> list:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


def test_an_interrupted_fit_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, history = fit(None)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, stop_after=3)
    assert (tmp_path / "checkpoint.safetensors").exists()
    resumed, resumed_history = fit(tmp_path)
    assert torch.equal(resumed.weight, whole.weight)
    assert plain(resumed_history) == plain(history)
    assert resumed.batches < whole.batches


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
    train(module, TRAIN, VALID, TrainSettings(epochs=5, batch_size=24, learning_rate=0.1), context)
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
        train(Broken(), TRAIN, VALID, TrainSettings(epochs=2, batch_size=5), FitContext())


def test_warm_up_is_the_papers() -> None:
    settings = TrainSettings()
    assert warmup(0, settings) == pytest.approx(0.001)
    assert warmup(100, settings) == pytest.approx(0.5005)
    assert warmup(200, settings) == warmup(499, settings) == 1
    assert warmup(0, TrainSettings(kl_warmup=0)) == 1


def test_the_gradient_is_clipped(windows: Windows) -> None:
    class Steep(Toy):
        def losses(self, motion: Tensor, kl_weight: float) -> dict[str, Tensor]:
            return {"loss": 1e6 * self.weight.sum()}

    module = Steep()
    settings = TrainSettings(epochs=1, batch_size=100, gradient_clip=1.0)
    train(module, windows, windows, settings, FitContext())
    assert module.weight.grad is not None
    assert float(module.weight.grad.norm()) == pytest.approx(1, rel=1e-3)


def test_parts_of_a_batch_add_up_to_the_batchs_gradient() -> None:
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
        losses = accumulate(module, TRAIN.tensor(), 1.0, micro_batch)
        gradients.append(module.weight.grad)
        errors.append(losses["error"])
    assert gradients[0] is not None
    torch.testing.assert_close(gradients[0], gradients[1])
    torch.testing.assert_close(errors[0], errors[1])
