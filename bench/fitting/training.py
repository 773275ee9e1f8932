"""One fit loop for every trainable thing: Adam, averaging, validation, checkpoints."""

import copy
import csv
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import Field
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.core.files import atomic_file, readable
from bench.core.settings import Settings
from bench.fitting.adam import Adam
from bench.fitting.matrix_products import CACHED_WINDOWS
from bench.fitting.microbatches import OrderedTurns, even_parts, map_parallel
from bench.fitting.precision import Precision, matmul_precision
from bench.motion import Windows, derive_seed

CHECKPOINT_SECONDS = 20.0
VALIDATION_BATCH = 256


class TrainingError(RuntimeError):
    """A fit that cannot go on, such as one whose loss is not finite."""


class TrainSettings(Settings):
    """How to fit by gradient descent."""

    epochs: int = Field(500, ge=1, le=1_000_000)
    batch_size: int = Field(800, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    gradient_clip: float = Field(100.0, gt=0, description="largest norm of the whole gradient")
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="most windows of a part of a batch, whose gradients add up; "
        "null: what a processor's cache holds, or all on a GPU",
    )
    weight_decay: float = Field(0.0, ge=0, description="Adam's L2 penalty")
    learning_rate_decay: float = Field(
        1.0, gt=0, le=1, description="share of the rate left in the last epoch; falls geometrically"
    )
    ema: float = Field(
        0.0, ge=0, lt=1, description="decay of the running average of weights that is kept; 0: none"
    )
    precision: Precision = Field(
        "float32", description="of matrix products while fitting; validation is float32 always"
    )
    skip_gradient: float | None = Field(
        None, gt=0, description="a step whose gradient's norm is above this is not taken"
    )

    def at_a_time(self, device: str) -> int:
        """Return how many windows a part of a batch has at most."""
        if self.micro_batch is not None:
            return self.micro_batch
        return CACHED_WINDOWS if device == "cpu" else self.batch_size

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        return self.learning_rate * self.learning_rate_decay ** (epoch / max(1, self.epochs - 1))

    def terms(self, epoch: int | None) -> dict[str, float]:
        """Return what a loss is told beside the batch in an epoch; None stands for validation."""
        return {}


class VariationalSettings(TrainSettings):
    """How to fit by maximising an ELBO; the loss is told the weight of its KL terms."""

    beta: float = Field(1.0, ge=0, description="weight of the KL terms once warm-up has ended")
    free_bits: float = Field(
        0.0, ge=0, description="nats of each latent level that training does not charge for"
    )
    kl_start: float = Field(0.001, ge=0, description="weight of the KL terms in epoch 0")
    kl_warmup: int = Field(200, ge=0, description="epochs until that weight is 1, linearly")

    def terms(self, epoch: int | None) -> dict[str, float]:
        """Return the KL weight: linear from ``kl_start`` to 1 (sec. 5.2), 1 at validation."""
        if epoch is None or epoch >= self.kl_warmup:
            return {"kl_weight": 1.0}
        return {"kl_weight": self.kl_start + (1 - self.kl_start) * epoch / self.kl_warmup}


@dataclass(frozen=True)
class Progress:
    """Where a fit stands, after one epoch."""

    epoch: int
    epochs: int
    losses: dict[str, float]
    windows_per_second: float
    seconds_left: float


@dataclass
class FitContext:
    """What surrounds a fit: its seed, its device, where to keep checkpoints, whom to tell."""

    seed: int = 0
    device: str = "cpu"
    folder: Path | None = None
    report: Callable[[Progress], None] = lambda progress: None
    history: list[dict[str, float]] = field(default_factory=list)


class Trainable(Protocol):
    """A module with a loss made of named parts."""

    def losses(self, motion: Tensor, **more: Any) -> dict[str, Tensor]:
        """Return scalars for a batch, ``loss`` (to be minimised) among them.

        ``more`` are ``TrainSettings.terms``, and what ``Learner.loss_inputs`` gives of the windows.
        """


Batch = dict[str, Tensor]
"""What a loss is given of some windows, by name, ``(window, ...)`` each; their motion first."""


def train(
    module: nn.Module,
    train_windows: Windows,
    valid_windows: Windows,
    settings: TrainSettings,
    context: FitContext,
) -> None:
    """Fit ``module`` (a Trainable) and leave it with its best weights, in evaluation mode.

    The best weights are those of the lowest validation loss with the KL at full weight. With a
    folder in the context, a checkpoint is written there as the fit goes and taken up again if
    one is found; the outcome is the same as without the interruption. The random draws of an
    epoch depend on the seed and the epoch alone.

    Raises:
        TrainingError: the loss is not finite.
    """
    module.to(context.device).train()
    state = _State(module, settings, context)
    state.resume()
    data = _given(module, train_windows, context)
    valid = _given(module, valid_windows, context)
    begun, first_epoch, saved = time.monotonic(), state.epoch, time.monotonic()
    try:
        while state.epoch < settings.epochs:
            row = _epoch(module, data, settings, context, state)
            row |= _validate(state.averaged, valid, settings, context)
            row["seconds"] = time.monotonic() - begun
            state.finish_epoch(row)
            done = state.epoch - first_epoch
            context.report(
                Progress(
                    epoch=state.epoch,
                    epochs=settings.epochs,
                    losses=row,
                    windows_per_second=done * len(train_windows) / row["seconds"],
                    seconds_left=row["seconds"] / done * (settings.epochs - state.epoch),
                )
            )
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                state.save()
                saved = time.monotonic()
    except KeyboardInterrupt:
        state.save()
        raise
    module.load_state_dict(state.best)
    module.eval()


def _given(module: Any, windows: Windows, context: FitContext) -> Batch:
    loss_inputs = module.loss_inputs(windows) if hasattr(module, "loss_inputs") else {}
    given = {"motion": windows.tensor(), **loss_inputs}
    return {name: part.to(context.device) for name, part in given.items()}


def _epoch(
    module: Any, data: Batch, settings: TrainSettings, context: FitContext, state: "_State"
) -> dict[str, float]:
    """Run one epoch and return the mean of each loss over it, by window."""
    epoch = state.epoch
    _seed_draws(context, "epoch", epoch)
    terms = settings.terms(epoch)
    state.optimizer.rate = settings.rate(epoch)
    motion = data["motion"]
    order = torch.randperm(len(motion), device=motion.device)
    totals: dict[str, Tensor] = {}
    for number, rows in enumerate(_batches(order, settings.batch_size)):
        state.optimizer.clear()
        batch = {name: part[rows] for name, part in data.items()}
        losses = accumulate(module, batch, settings, **terms)
        norm = nn.utils.clip_grad_norm_(module.parameters(), settings.gradient_clip)
        if not torch.isfinite(norm) or not torch.isfinite(losses["loss"]):
            raise TrainingError(
                f"the loss or its gradient is not finite in epoch {epoch + 1}, batch {number + 1}; "
                f"a lower learning_rate than {settings.learning_rate:g} may help"
            )
        if settings.skip_gradient is not None:
            losses["skipped"] = (norm > settings.skip_gradient).to(norm)
        if not losses.get("skipped"):
            state.step()
        for name, value in losses.items():
            totals[name] = totals.get(name, torch.zeros_like(value)) + value * len(rows)
    means = {name: float(total) / len(motion) for name, total in totals.items()}
    return {"epoch": epoch + 1, **terms, **means}


def accumulate(
    module: Any, batch: Batch, settings: TrainSettings, **terms: float
) -> dict[str, Tensor]:
    """Add the gradient of a batch's mean loss to the parameters, a part of the batch at a time.

    Small parts keep activations in cache and memory low; the gradient is the whole batch's. While
    one part goes backward, the next goes forward.

    Returns:
        Each loss, averaged over the batch, without a graph.
    """
    motion = batch["motion"]
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    turns = OrderedTurns()

    def part(numbered: tuple[int, Tensor]) -> tuple[dict[str, Tensor], list[Tensor | None]]:
        number, rows = numbered
        given = {name: values[rows[0] : rows[-1] + 1] for name, values in batch.items()}
        share = len(rows) / len(motion)
        # A lane is a thread of its own, in which autocast has to be switched on anew.
        with turns.take(number), matmul_precision(settings.precision, str(motion.device)):
            losses = module.losses(**given, **terms)
        slopes = torch.autograd.grad(losses["loss"] * share, weights, allow_unused=True)
        return {name: value.detach() * share for name, value in losses.items()}, list(slopes)

    count = math.ceil(len(motion) / settings.at_a_time(motion.device.type))
    parts = torch.arange(len(motion)).tensor_split(even_parts(count, len(motion)))
    totals: dict[str, Tensor] = {}
    with matmul_precision(settings.precision, str(motion.device)):
        for losses, slopes in map_parallel(part, list(enumerate(parts)), motion.device):
            for weight, slope in zip(weights, slopes, strict=True):
                _add(weight, slope)
            for name, value in losses.items():
                totals[name] = totals[name] + value if name in totals else value
    return totals


def _add(weight: Tensor, slope: Tensor | None) -> None:
    """Add to a weight's gradient."""
    if slope is None:
        return
    if weight.grad is None:
        # A copy: two weights of a sum are told one and the same tensor as their slope.
        weight.grad = slope.clone(memory_format=torch.contiguous_format)
    else:
        weight.grad += slope


def _batches(rows: Tensor, size: int) -> tuple[Tensor, ...]:
    """Return batches of at most ``size`` rows and as nearly as can be of one size.

    A last one of a few rows would have a noisy gradient, and no batch statistics.
    """
    return rows.tensor_split(math.ceil(len(rows) / size))


@torch.no_grad()
def _validate(
    module: Any, valid: Batch, settings: TrainSettings, context: FitContext
) -> dict[str, float]:
    """Return each loss over the validation windows, the same draws every time."""
    training = module.training
    module.eval()
    _seed_draws(context, "valid")
    totals: dict[str, float] = {}
    count = len(valid["motion"])
    for start in range(0, count, VALIDATION_BATCH):
        batch = {name: given[start : start + VALIDATION_BATCH] for name, given in valid.items()}
        for name, value in module.losses(**batch, **settings.terms(None)).items():
            totals[name] = totals.get(name, 0.0) + float(value) * len(batch["motion"])
    module.train(training)
    return {f"valid_{name}": total / count for name, total in totals.items()}


def _seed_draws(context: FitContext, *names: object) -> None:
    torch.manual_seed(derive_seed("train", context.seed, *names))


class _State:
    """All that a fit must keep to go on after an interruption."""

    def __init__(self, module: nn.Module, settings: TrainSettings, context: FitContext) -> None:
        self.module, self.context = module, context
        self.optimizer = Adam(module.parameters(), settings.learning_rate, settings.weight_decay)
        # Without averaging these are the same weights.
        self.averaged = copy.deepcopy(module) if settings.ema else module
        self.epoch = 0
        self.best_loss = math.inf
        self.best = _copy(module)
        self.settings = settings

    @property
    def path(self) -> Path | None:
        return self.context.folder and self.context.folder / "checkpoint.safetensors"

    def step(self) -> None:
        """Take an optimiser's step, and let the averaged weights follow."""
        self.optimizer.step()
        if self.averaged is self.module:
            return
        with torch.no_grad():
            pairs = zip(self.averaged.parameters(), self.module.parameters(), strict=True)
            for average, parameter in pairs:
                average.lerp_(parameter, 1 - self.settings.ema)
            for kept, buffer in zip(self.averaged.buffers(), self.module.buffers(), strict=True):
                kept.copy_(buffer)

    def finish_epoch(self, row: dict[str, float]) -> None:
        self.epoch += 1
        self.context.history.append(row)
        if not math.isfinite(row["valid_loss"]):
            raise TrainingError(f"the validation loss is not finite after epoch {self.epoch}")
        if row["valid_loss"] < self.best_loss:
            self.best_loss, self.best = row["valid_loss"], _copy(self.averaged)

    def save(self) -> None:
        if self.path is None:
            return
        tensors = {f"module.{name}": value for name, value in _copy(self.module).items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        tensors |= {f"average.{name}": value for name, value in _copy(self.averaged).items()}
        tensors |= {f"adam.{name}": value for name, value in self.optimizer.state().items()}
        note = {"epoch": self.epoch, "best_loss": self.best_loss, "history": self.context.history}
        with atomic_file(self.path) as draft:
            save_file(tensors, draft, metadata={"state": json.dumps(note)})

    def resume(self) -> None:
        if self.path is None or not self.path.exists():
            return
        parts: dict[str, dict[str, Tensor]] = {"module": {}, "best": {}, "average": {}, "adam": {}}
        with (
            readable(self.path),
            safe_open(self.path, "pt", device=self.context.device) as file,
        ):
            note = json.loads(file.metadata()["state"])
            for key in file.keys():  # noqa: SIM118 - a safetensors file is no mapping
                part, name = key.split(".", 1)
                parts[part][name] = file.get_tensor(key)
        self.module.load_state_dict(parts["module"])
        self.averaged.load_state_dict(parts["average"])
        self.best = parts["best"]
        self.epoch, self.best_loss = note["epoch"], note["best_loss"]
        self.context.history[:] = note["history"]
        self.optimizer.restore(parts["adam"])


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def write_history(history: list[dict[str, float]], path: Path) -> None:
    """Write the losses of every epoch as CSV."""
    if not history:
        return
    with atomic_file(path) as draft, draft.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
