"""The fit loop: Adam, weight averaging, validation and checkpoints, for every model."""

import copy
import csv
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from pydantic import Field
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.core.files import atomic_file, readable
from bench.fitting.adam import Adam
from bench.fitting.loading import Batch, Loader, Variation, VariationSettings
from bench.fitting.matrix_products import CACHED_WINDOWS
from bench.fitting.microbatches import OrderedTurns, map_parallel, micro_batch_count
from bench.fitting.precision import Precision, matmul_precision
from bench.motion import Windows, derive_seed

if TYPE_CHECKING:  # for annotations alone: most models do not depend on masks to train on
    from bench.motion.mechanisms.sampler import MaskSampler

CHECKPOINT_SECONDS = 20.0
VALIDATION_BATCH = 256
PRECISION = (
    "of matrix products while fitting; validation is always float32; auto: bf16 on a processor "
    "with AMX, else float32"
)
"""The description of a setting."""


class TrainingError(RuntimeError):
    """A fit that cannot continue, for instance because its loss is not finite."""


class TrainSettings(VariationSettings):
    """How to fit by gradient descent."""

    epochs: int = Field(500, ge=1, le=1_000_000)
    batch_size: int = Field(800, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    gradient_clip: float = Field(100.0, gt=0, description="largest norm of the whole gradient")
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="most windows of a micro-batch; gradients add up over a batch; "
        "null: what a processor's cache holds, or the whole batch on a GPU",
    )
    weight_decay: float = Field(0.0, ge=0, description="Adam's L2 penalty")
    learning_rate_decay: float = Field(
        1.0, gt=0, le=1, description="last epoch's rate as a share of the first; geometric decay"
    )
    ema: float = Field(
        0.0, ge=0, lt=1, description="decay of the exponential moving average of weights; 0: none"
    )
    precision: Precision = Field("float32", description=PRECISION)
    skip_gradient: float | None = Field(
        None, gt=0, description="skip steps with a gradient norm above this"
    )

    def micro_batch_size(self, device: str) -> int:
        """Return the most windows of a micro-batch on a device type such as ``cpu``."""
        if self.micro_batch is not None:
            return self.micro_batch
        return CACHED_WINDOWS if device == "cpu" else self.batch_size

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        return self.learning_rate * self.learning_rate_decay ** (epoch / max(1, self.epochs - 1))

    def terms(self, epoch: int | None) -> dict[str, float]:
        """Return further arguments of ``losses`` in an epoch, counted from 0; None: validation."""
        return {}


class VariationalSettings(TrainSettings):
    """How to fit by maximising an ELBO with a warm-up of the KL terms' weight."""

    precision: Precision = Field("auto", description=PRECISION)
    beta: float = Field(1.0, ge=0, description="weight of the KL terms after warm-up")
    free_bits: float = Field(
        0.0, ge=0, description="KL per latent level that training does not lower further, nats"
    )
    kl_start: float = Field(0.001, ge=0, description="weight of the KL terms in epoch 0")
    kl_warmup: int = Field(200, ge=0, description="epochs of linear warm-up of the KL weight to 1")

    def terms(self, epoch: int | None) -> dict[str, float]:
        """Return the KL weight: linear from ``kl_start`` to 1 (sec. 5.2), 1 at validation."""
        if epoch is None or epoch >= self.kl_warmup:
            return {"kl_weight": 1.0}
        return {"kl_weight": self.kl_start + (1 - self.kl_start) * epoch / self.kl_warmup}


@dataclass(frozen=True)
class Progress:
    """The progress of a fit after an epoch.

    Attributes:
        epoch: number of finished epochs.
        epochs: number of epochs of the whole fit.
        losses: mean of each loss over the epoch, and over validation (``valid_...``); empty of a
            fit by a library that does not give them.
        windows_per_second: train windows per second since the fit began or was resumed.
        seconds_left: estimated seconds until the fit ends.
    """

    epoch: int
    epochs: int
    losses: dict[str, float]
    windows_per_second: float
    seconds_left: float


@dataclass
class FitContext:
    """The circumstances of a fit.

    Attributes:
        seed: seed of all random draws.
        device: device to fit on, such as ``cpu`` or ``cuda``.
        folder: folder for checkpoints; None for no checkpoints.
        masks: what the protocol's ``training_masks`` hide, for models that ask for masks by
            ``Learner.uses_masks``; None for ``usual_masks``.
        report: called with the progress after each epoch.
        history: filled with one row of losses per epoch.
        before: seconds that the fit took before it was interrupted and resumed.
    """

    seed: int = 0
    device: str = "cpu"
    folder: Path | None = None
    masks: "MaskSampler | None" = None
    report: Callable[[Progress], None] = lambda progress: None
    history: list[dict[str, float]] = field(default_factory=list)
    before: float = 0.0


class Trainable(Protocol):
    """A module with a loss that has named parts."""

    def losses(self, motion: Tensor, **more: Any) -> dict[str, Tensor]:
        """Return scalars for a batch by name, among them ``loss``, which is minimised.

        ``more`` are ``TrainSettings.terms`` and ``Learner.loss_inputs``.
        """


def train(
    module: nn.Module,
    train_windows: Windows,
    valid_windows: Windows,
    settings: TrainSettings,
    context: FitContext,
) -> None:
    """Fit ``module`` (a Trainable) and leave it with its best weights, in evaluation mode.

    The best weights are those with the lowest validation loss, the KL at full weight. With a folder
    in the context, checkpoints are written there, and the fit resumes from one that is found, with
    the same outcome as without the interruption. The random draws of an epoch depend on the seed
    and the epoch only.

    Raises:
        TrainingError: the loss or its gradient is not finite.
    """
    module.to(context.device).train()
    state = _State(module, settings, context)
    state.resume()
    data = Loader(train_windows, module, context.device)
    valid = Loader(valid_windows, module, context.device)
    begun, first_epoch, saved = time.monotonic(), state.epoch, time.monotonic()
    try:
        while state.epoch < settings.epochs:
            row = _epoch(module, data, settings, context, state)
            row |= _validate(state.averaged, valid, settings, context)
            seconds = time.monotonic() - begun
            row["seconds"] = context.before + seconds
            state.finish_epoch(row)
            done = state.epoch - first_epoch
            context.report(
                Progress(
                    epoch=state.epoch,
                    epochs=settings.epochs,
                    losses=row,
                    windows_per_second=done * len(train_windows) / seconds,
                    seconds_left=seconds / done * (settings.epochs - state.epoch),
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


def _epoch(
    module: Any, data: Loader, settings: TrainSettings, context: FitContext, state: "_State"
) -> dict[str, float]:
    """Run one epoch; return its number, terms and the mean of each loss over windows."""
    epoch = state.epoch
    _seed_draws(context, "epoch", epoch)
    terms = settings.terms(epoch)
    state.optimizer.rate = settings.rate(epoch)
    varied = _variation(data, settings, context, epoch)
    order = torch.randperm(len(data), device=data.device)
    totals: dict[str, Tensor] = {}
    for number, rows in enumerate(_batches(order, settings.batch_size)):
        state.optimizer.clear()
        batch = data.batch(rows, varied)
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
    means = {name: float(total) / len(data) for name, total in totals.items()}
    return {"epoch": epoch + 1, **terms, **means}


def _variation(
    data: Loader, settings: TrainSettings, context: FitContext, epoch: int
) -> Variation | None:
    """Return how an epoch varies the train windows; None if the settings have it vary nothing."""
    if not settings.varied:
        return None
    seed = derive_seed("train", context.seed, "variation", epoch)
    return Variation.drawn(data.clips, settings, np.random.default_rng(seed))


def accumulate(
    module: Any, batch: Batch, settings: TrainSettings, **terms: float
) -> dict[str, Tensor]:
    """Add the gradient of a batch's mean loss to the parameters, one micro-batch at a time.

    Micro-batches keep activations in cache and need little memory; their gradients add up to the
    batch's. While one is in the backward pass, the next is in the forward pass.

    Args:
        module: a Trainable.
        batch: inputs of its loss.
        settings: size of micro-batches and precision.
        terms: further arguments of its loss, as from ``TrainSettings.terms``.

    Returns:
        Each loss, averaged over the batch, without a graph.
    """
    motion = batch["motion"]
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    turns = OrderedTurns()

    def run(numbered: tuple[int, Tensor]) -> tuple[dict[str, Tensor], list[Tensor | None]]:
        number, rows = numbered
        inputs = {name: values[rows[0] : rows[-1] + 1] for name, values in batch.items()}
        share = len(rows) / len(motion)
        # Autocast is set per thread, so each worker has to enable it.
        with turns.take(number), matmul_precision(settings.precision, str(motion.device)):
            losses = module.losses(**inputs, **terms)
        gradients = torch.autograd.grad(losses["loss"] * share, weights, allow_unused=True)
        return {name: value.detach() * share for name, value in losses.items()}, list(gradients)

    least = math.ceil(len(motion) / settings.micro_batch_size(motion.device.type))
    parts = torch.arange(len(motion)).tensor_split(micro_batch_count(least, len(motion)))
    totals: dict[str, Tensor] = {}
    with matmul_precision(settings.precision, str(motion.device)):
        for losses, gradients in map_parallel(run, list(enumerate(parts)), motion.device):
            for weight, gradient in zip(weights, gradients, strict=True):
                _add_gradient(weight, gradient)
            for name, value in losses.items():
                totals[name] = totals[name] + value if name in totals else value
    return totals


def _add_gradient(weight: Tensor, gradient: Tensor | None) -> None:
    """Add to a weight's accumulated gradient; None adds nothing."""
    if gradient is None:
        return
    if weight.grad is None:
        # A copy: autograd returns one and the same tensor for two weights that are added up.
        weight.grad = gradient.clone(memory_format=torch.contiguous_format)
    else:
        weight.grad += gradient


def _batches(rows: Tensor, size: int) -> tuple[Tensor, ...]:
    """Return batches of at most ``size`` rows, with sizes that differ by at most one.

    A last batch of a few rows would have a noisy gradient and useless batch statistics.
    """
    return rows.tensor_split(math.ceil(len(rows) / size))


@torch.no_grad()
def _validate(
    module: Any, valid: Loader, settings: TrainSettings, context: FitContext
) -> dict[str, float]:
    """Return the mean of each loss over the validation windows, with the same draws every time."""
    training = module.training
    module.eval()
    _seed_draws(context, "valid")
    totals: dict[str, float] = {}
    count = len(valid)
    for rows in torch.arange(count).split(VALIDATION_BATCH):
        batch = valid.batch(rows)
        for name, value in module.losses(**batch, **settings.terms(None)).items():
            totals[name] = totals.get(name, 0.0) + float(value) * len(rows)
    module.train(training)
    return {f"valid_{name}": total / count for name, total in totals.items()}


def _seed_draws(context: FitContext, *names: object) -> None:
    torch.manual_seed(derive_seed("train", context.seed, *names))


class _State:
    """The state of a fit, which a checkpoint holds completely."""

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
        """Take a step of the optimiser and update the averaged weights."""
        self.optimizer.step()
        if self.averaged is self.module:
            return
        with torch.no_grad():
            pairs = zip(self.averaged.parameters(), self.module.parameters(), strict=True)
            for average, parameter in pairs:
                average.lerp_(parameter, 1 - self.settings.ema)
            for copied, buffer in zip(self.averaged.buffers(), self.module.buffers(), strict=True):
                copied.copy_(buffer)

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
        state = {"epoch": self.epoch, "best_loss": self.best_loss, "history": self.context.history}
        with atomic_file(self.path) as draft:
            save_file(tensors, draft, metadata={"state": json.dumps(state)})

    def resume(self) -> None:
        if self.path is None or not self.path.exists():
            return
        parts: dict[str, dict[str, Tensor]] = {"module": {}, "best": {}, "average": {}, "adam": {}}
        with (
            readable(self.path),
            safe_open(self.path, "pt", device=self.context.device) as file,
        ):
            state = json.loads(file.metadata()["state"])
            for key in file.keys():  # noqa: SIM118 - a safetensors file is not a mapping
                part, name = key.split(".", 1)
                parts[part][name] = file.get_tensor(key)
        self.module.load_state_dict(parts["module"])
        self.averaged.load_state_dict(parts["average"])
        self.best = parts["best"]
        self.epoch, self.best_loss = state["epoch"], state["best_loss"]
        self.context.history[:] = state["history"]
        self.context.before = self.context.history[-1]["seconds"] if self.epoch else 0.0
        self.optimizer.restore(parts["adam"])


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def write_history(history: list[dict[str, float]], path: Path) -> None:
    """Write the losses of every epoch as CSV; nothing if there is no epoch."""
    if not history:
        return
    with atomic_file(path) as draft, draft.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
