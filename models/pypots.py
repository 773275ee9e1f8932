"""The nets of PyPOTS, imputers of time series, through one adapter.

PyPOTS is an extra: ``docs/pypots.md`` says how to install it. It is imported when a net is built.
"""

import importlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from io import BytesIO, TextIOWrapper
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from bench.fitting.training import FitContext, Progress, TrainingError, TrainSettings, train
from bench.motion import MotionSpec, Windows, derive_seed
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.features import Features
from bench.motion.mechanisms.sampler import MaskSampler, usual_masks
from models.base import Imputation, Imputer

STOCK = Level.parse("20%")
"""Share of points that PyPOTS' own training hides."""
OF_STOCK = {"epochs", "batch_size", "learning_rate"}
"""Settings of a fit that PyPOTS' own training has too."""


class PyPOTS(Imputer):
    """A net of PyPOTS, fitted by PyPOTS itself or with the masks of the protocol.

    ``masks: stock`` is PyPOTS' own ``fit``: Adam, and 20 % of all points hidden at random, which
    resembles no joint or gap that is lost. (BRITS and GP-VAE hide nothing while they are fitted,
    CSDI a random share.) ``masks: ours`` is the same net with the same loss in the fit loop of this
    project, every window of every epoch with a new mask of ``training_masks``. Both begin with the
    same weights and keep those of the best validation, by masks of the same kind. A window is
    ``(frame, feature)``, standardised by the train mean and deviation. CSDI and GP-VAE also draw
    samples, whose noise depends on the batch.
    """

    name = "pypots"
    trained = True
    uses_masks = True
    settings: Any

    class Settings(TrainSettings):
        """Which net, how it is fitted, and its size; ``stock`` has only three settings of a fit."""

        net: Literal["SAITS", "HELIX", "ImputeFormer", "BRITS", "CSDI", "GPVAE"] = Field(
            "SAITS", description="the net's class in `pypots.imputation`"
        )
        masks: Literal["stock", "ours"] = Field(
            "ours",
            description="stock: PyPOTS' own `fit`, which hides 20 % random points, without "
            "checkpoints; ours: fitted on `training_masks`",
        )
        layers: int = Field(2, ge=1, le=64, description="layers or blocks; not of BRITS, GPVAE")
        width: int = Field(
            128, ge=4, le=4096, description="features per position, or size of the latent state"
        )
        heads: int = Field(4, ge=1, description="attention heads; they divide `width`")
        dropout: float = Field(
            0.1, ge=0, lt=1, description="while fitting SAITS, HELIX, ImputeFormer"
        )
        samples: int = Field(10, ge=1, le=1000, description="draws per window of CSDI, GPVAE")
        diffusion_steps: int = Field(50, ge=2, le=10_000, description="of CSDI")
        epochs: int = Field(100, ge=1, le=1_000_000)
        batch_size: int = Field(32, ge=1)
        learning_rate: float = Field(1e-3, gt=0)

        @model_validator(mode="after")
        def _consistent(self) -> "PyPOTS.Settings":
            if self.width % 2 or self.width % self.heads:
                raise ValueError(
                    f"width {self.width} must be even and a multiple of the {self.heads} heads"
                )
            if self.masks == "stock":
                for name in sorted(TrainSettings.model_fields.keys() - OF_STOCK):
                    if getattr(self, name) != type(self).model_fields[name].default:
                        raise ValueError(f"{name} has no effect with masks: stock; leave it out")
            return self

        def micro_batch_size(self, device: str) -> int:
            """Return the whole batch: losses are means over what is hidden in all of it."""
            return self.micro_batch or self.batch_size

    @classmethod
    def unavailable(cls) -> str | None:
        """Return how to install PyPOTS if it is not installed."""
        if find_spec("pypots"):
            return None
        return "PyPOTS is not installed here: pip install -e '.[pypots]' (docs/pypots.md)"

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        self.sampler: MaskSampler = usual_masks(spec)
        # Without PyPOTS a protocol can still be read and planned.
        if self.unavailable() is None:
            self.net: Any = self._imputer(str(torch.get_default_device())).model

    def fit(
        self, train_windows: Windows, valid: Windows, context: FitContext | None = None
    ) -> None:
        """Fit the net; raises TrainingError if that does not succeed."""
        super().fit(train_windows, valid, context)
        context = context or FitContext()
        if self.settings.masks == "stock":
            self._fit_stock(train_windows, valid, context)
        else:
            self.sampler = context.masks or self.sampler
            train(self, train_windows, valid, self.settings, context)

    def losses(self, motion: Tensor) -> dict[str, Tensor]:
        """Return the net's own loss of a batch, with masks drawn anew; its metric in evaluation."""
        generator = np.random.default_rng(int(torch.randint(2**62, ())))
        hidden = self.sampler.draw(self.spec, generator, motion.cpu().numpy())
        observed = (~torch.from_numpy(hidden)).to(motion)
        found = self.net(self._inputs(self._scaled(motion), observed), calc_criterion=True)
        return {"loss": found["loss" if self.training else "metric"].sum()}

    @torch.no_grad()
    def complete(self, motion: Tensor, occluded: Tensor) -> Imputation:
        """Complete windows, ``batch_size`` at a time; with samples of CSDI and GP-VAE."""
        size = self.settings.batch_size
        scaled, observed = self._scaled(motion), (~occluded).to(motion)
        parts = [
            self._kind.fill(self.net, self._inputs(*part), self.settings.samples)
            for part in zip(scaled.split(size), observed.split(size), strict=True)
        ]
        points = self._unscaled(torch.cat([point for point, _ in parts]))
        drawn = [draws for _, draws in parts if draws is not None]
        samples = self._unscaled(torch.cat(drawn, dim=1)) if drawn else None
        return Imputation(points, samples=samples)

    @property
    def _kind(self) -> "_Net":
        return NETS[self.settings.net]

    def _imputer(self, device: str, **more: Any) -> Any:
        """Return PyPOTS' imputer, whose ``model`` is the net."""
        frames, features = self.spec.frames, 3 * len(self.spec.skeleton)
        cls = getattr(_library(), self.settings.net)
        sizes = self._kind.sizes(self.settings)
        return cls(frames, features, **sizes, **more, device=device, verbose=False)

    def _scaled(self, motion: Tensor) -> Tensor:
        return (motion - self.mean) / self.deviation

    def _unscaled(self, values: Tensor) -> Tensor:
        """Return motion of standardised ``(..., frame, feature)`` values."""
        return values.unflatten(-1, (-1, 3)) * self.deviation + self.mean

    def _inputs(self, scaled: Tensor, observed: Tensor) -> dict[str, Any]:
        return self._kind.inputs(scaled.flatten(2), observed.flatten(2))

    def _fit_stock(self, train_windows: Windows, valid: Windows, context: FitContext) -> None:
        settings = self.settings
        optimizer = importlib.import_module("pypots.optim").Adam(lr=settings.learning_rate)
        imputer = self._imputer(
            context.device,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            optimizer=optimizer,
        )
        imputer.model.load_state_dict(self.net.state_dict())
        values, truth = (
            self._scaled(windows.tensor()).flatten(2).numpy() for windows in (train_windows, valid)
        )
        hidden = Features(level=STOCK, seed=context.seed % 2**32).occluded(valid)
        seen = np.where(hidden.reshape(truth.shape), np.nan, truth)
        batches = settings.epochs * math.ceil(len(valid) / settings.batch_size)
        with (
            _seeded(derive_seed("train", context.seed)),
            _followed(imputer.model, batches, settings.epochs, len(train_windows), context),
        ):
            imputer.fit({"X": values}, {"X": seen, "X_ori": truth})
        self.net.load_state_dict(imputer.model.state_dict())
        self.eval()


def _plain(truth: Tensor, observed: Tensor) -> dict[str, Any]:
    """Return a net's inputs from standardised windows and where they are seen.

    Both are ``(window, frame, feature)``; ``observed`` is 1 or 0.
    """
    hidden = 1 - observed
    seen = {"X": truth * observed, "missing_mask": observed}
    return {**seen, "X_ori": truth, "indicating_mask": hidden}


def _both_ways(truth: Tensor, observed: Tensor) -> dict[str, Any]:
    """Return BRITS' inputs: windows forwards and backwards, with frames since each was seen."""
    inputs = _plain(truth, observed)
    for direction, axes in (("forward", ()), ("backward", (1,))):
        seen = {name: inputs[name].flip(axes) for name in ("X", "missing_mask")}
        inputs[direction] = seen | {"deltas": _since(seen["missing_mask"])}
    return inputs


def _since(observed: Tensor) -> Tensor:
    """Return how many frames ago each feature was last seen, 0 in the first frame (GRU-D eq. 2)."""
    since = torch.zeros_like(observed)
    for frame in range(1, observed.shape[1]):
        since[:, frame] = 1 + (1 - observed[:, frame - 1]) * since[:, frame - 1]
    return since


def _upright(truth: Tensor, observed: Tensor) -> dict[str, Any]:
    """Return CSDI's inputs, ``(window, feature, frame)``."""
    inputs = {name: value.transpose(1, 2) for name, value in _plain(truth, observed).items()}
    frames = torch.arange(truth.shape[1], device=truth.device, dtype=truth.dtype)
    times = frames.expand(len(truth), -1)
    return inputs | {"cond_mask": inputs["missing_mask"], "observed_tp": times}


_Filled = tuple[Tensor, Tensor | None]
"""``(window, frame, feature)`` values, and ``(sample, window, frame, feature)`` draws or None."""


def _point(net: Any, inputs: dict[str, Any], count: int) -> _Filled:
    return net(inputs)["imputation"], None


def _diffused(net: Any, inputs: dict[str, Any], count: int) -> _Filled:
    """Return the mean of CSDI's draws, and the draws."""
    draws = net(inputs, n_sampling_times=count)["imputation"].transpose(0, 1)
    return draws.mean(dim=0), draws


def _latent(net: Any, inputs: dict[str, Any], count: int) -> _Filled:
    """Return what GP-VAE decodes from the mean latents, and draws given drawn latents.

    PyPOTS itself decodes the mean ``n_sampling_times`` times over.
    """
    backbone = net.backbone
    latents = backbone.encode(inputs["X"])
    draws = [backbone.decode(latents.sample()).sample() for _ in range(count)]
    return backbone.decode(latents.mean).mean, torch.stack(draws)


@dataclass(frozen=True)
class _Net:
    """What the adapter must know of a net.

    Attributes:
        sizes: the arguments of its class that set its size, from the settings.
        inputs: its inputs, as ``_plain`` describes them.
        fill: how it completes a batch.
    """

    sizes: Callable[[Any], dict[str, Any]]
    inputs: Callable[[Tensor, Tensor], dict[str, Any]] = _plain
    fill: Callable[[Any, dict[str, Any], int], _Filled] = _point


NETS: Mapping[str, _Net] = {
    "SAITS": _Net(
        lambda s: {
            "n_layers": s.layers,
            "d_model": s.width,
            "n_heads": s.heads,
            "d_k": s.width // s.heads,
            "d_v": s.width // s.heads,
            "d_ffn": 2 * s.width,
            "dropout": s.dropout,
        }
    ),
    "HELIX": _Net(
        lambda s: {
            "n_layers": s.layers,
            "d_model": s.width,
            "n_heads": s.heads,
            "dropout": s.dropout,
        }
    ),
    "ImputeFormer": _Net(
        lambda s: {
            "n_layers": s.layers,
            "d_input_embed": s.width // 2,
            "d_learnable_embed": s.width // 2,
            "d_proj": 8,
            "d_ffn": 2 * s.width,
            "n_temporal_heads": s.heads,
            "dropout": s.dropout,
        }
    ),
    "BRITS": _Net(lambda s: {"rnn_hidden_size": s.width}, _both_ways),
    "CSDI": _Net(
        lambda s: {
            "n_layers": s.layers,
            "n_heads": s.heads,
            "n_channels": s.width,
            "d_time_embedding": 2 * s.width,
            "d_feature_embedding": 16,
            "d_diffusion_embedding": 2 * s.width,
            "n_diffusion_steps": s.diffusion_steps,
        },
        _upright,
        _diffused,
    ),
    "GPVAE": _Net(
        lambda s: {
            "latent_size": s.width // 4,
            "encoder_sizes": (s.width, s.width),
            "decoder_sizes": (s.width, s.width),
        },
        fill=_latent,
    ),
}
"""The nets by their class in ``pypots.imputation``."""


@cache
def _library() -> Any:
    """Return ``pypots.imputation``; importing it prints a banner, and it logs to the terminal."""
    # A model whose parameters are only counted is built on the device "meta".
    with torch.device("cpu"), redirect_stdout(TextIOWrapper(BytesIO(), "utf-8")):
        library = importlib.import_module("pypots.imputation")
        log: logging.Logger = importlib.import_module("pypots.utils.logging").logger
    log.handlers[:] = [logging.NullHandler()]
    log.propagate = False
    return library


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch and numpy's global generator, which PyPOTS draws from, for the block."""
    before = np.random.get_state()
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)


@contextmanager
def _followed(
    net: Any, batches: int, epochs: int, windows: int, context: FitContext
) -> Iterator[None]:
    """Report the epochs of PyPOTS' own training; it must not end early unnoticed.

    PyPOTS catches interruptions and errors, and goes on with the weights that it has then.

    Args:
        net: the net that is trained.
        batches: how many batches of validation a whole training has.
        epochs: of a whole training.
        windows: train windows.
        context: of the fit; its ``report`` may interrupt.

    Raises:
        TrainingError: PyPOTS caught an error.
        KeyboardInterrupt: it caught an interruption.
    """
    log: logging.Logger = importlib.import_module("pypots.utils.logging").logger
    failures, stops = _Failures(logging.ERROR), list[KeyboardInterrupt]()
    begun, seen = time.monotonic(), [0]

    def follow(module: Any, inputs: Any) -> None:
        if module.training:
            return
        done, rest = divmod(seen[0] * epochs, batches)
        seen[0] += 1
        if rest:
            return
        seconds = time.monotonic() - begun
        left = seconds / (done + 1) * (epochs - done - 1)
        try:
            context.report(Progress(done + 1, epochs, {}, (done + 1) * windows / seconds, left))
        except KeyboardInterrupt as stop:
            stops.append(stop)
            raise

    log.addHandler(failures)
    handle = net.register_forward_pre_hook(follow)
    try:
        yield
    finally:
        handle.remove()
        log.removeHandler(failures)
    if stops:
        raise stops[0]
    if failures.messages:
        raise TrainingError(f"PyPOTS: {failures.messages[0]}")
    if seen[0] < batches:
        raise KeyboardInterrupt


class _Failures(logging.Handler):
    """Keeps the messages of a log."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        self.messages.append(record.getMessage())
