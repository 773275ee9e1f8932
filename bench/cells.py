"""What the cells of a protocol compute: one row of values per window."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench import judging, metrics
from bench.motion import Windows, derive_seed
from bench.motion.occlusion import Level
from bench.plan import DEGRADED, Cell
from bench.protocol import Protocol
from bench.registry import INFERENCES
from models.base import (
    Classifier,
    ConditionalImputer,
    Detector,
    GenerativeImputer,
    Imputer,
    Model,
)
from predictors.base import Predictor

BATCH = 1600
"""Windows of a cell that are taken at a time; inference may take them in parts."""
FORECAST_BATCH = 200
"""Windows whose futures are told at a time: more would not stay in a processor's cache."""
AVERAGE = "mpjpe_average"
"""The metric that is the mean of the errors of all frames of the future."""


def horizon_metric(milliseconds: int) -> str:
    """Return the column of a forecast's error at a horizon."""
    return f"mpjpe@{milliseconds}"


@dataclass(frozen=True)
class Found:
    """What a cell computed.

    Attributes:
        table: one row per window.
        completion: what was put in place of the hidden values of all windows, in their order, mm;
            or ``(window, frame, joint, 3)`` what was drawn or foretold; empty for other tasks.
    """

    table: pd.DataFrame
    completion: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))


@dataclass(frozen=True)
class Evaluator:
    """Computes cells on one data set.

    Attributes:
        protocol: what the cells' labels mean.
        train: windows that models were fitted on.
        test: windows to judge by.
        foreign: test windows of other data sets, by label.
        device: where to compute.
    """

    protocol: Protocol
    train: Windows
    test: Windows
    foreign: dict[str, Windows]
    device: str

    def evaluate(self, cell: Cell, model: Model, judge: Classifier | None = None) -> Found:
        """Return what a cell of a fitted model finds.

        It hangs on that cell alone: were its windows batched with those of other cells, which of
        them are still to be done would decide its last digits.

        Args:
            cell: what is asked for.
            model: of whom.
            judge: who judges drawn windows; None: nobody.

        Raises:
            FloatingPointError: a completion, a score or a drawn window is not finite.
        """
        if cell.task == "impute":
            return self._impute(cell, model)
        if cell.task == "sample":
            return self._sample(cell, model, judge)
        if cell.task == "real":
            return Found(self._real(judge))
        return Found(self._other(cell, model))

    @torch.no_grad()
    def forecast(
        self, cell: Cell, predictor: Predictor, completion: NDArray[np.float32] | None
    ) -> Found:
        """Foretell how test windows go on, from the true past or from a completed one.

        Args:
            cell: what is asked for.
            predictor: who foretells.
            completion: what stands in place of the hidden values of all test windows, mm; None for
                the true past.

        Raises:
            FloatingPointError: a prediction is not finite.
            ValueError: a prediction is not of the future's shape.
        """
        past, share = self._past(cell, completion)
        told = torch.empty_like(self._future)
        for start in range(0, len(past), FORECAST_BATCH):
            rows = slice(start, start + FORECAST_BATCH)
            part = predictor.predict(past[rows])
            if part.shape != told[rows].shape:
                shapes = f"{tuple(part.shape)}, not {tuple(told[rows].shape)}"
                raise ValueError(f"{predictor.name} foretold {shapes}")
            told[rows] = part
        if not torch.isfinite(told).all():
            raise FloatingPointError(f"{predictor.name} foretold values that are not finite")
        return Found(self._foretold(told, past, share), told.cpu().numpy())

    @torch.no_grad()
    def rescore(
        self, cell: Cell, kept: NDArray[np.float32], past: NDArray[np.float32] | None = None
    ) -> pd.DataFrame:
        """Return what hangs on a ``rescorable`` cell's completion alone, one row per window.

        Args:
            cell: what was asked for.
            kept: the completion that ``Found`` had of it.
            past: that of the cell whose completion a forecast is from.

        Raises:
            ValueError: the completion is not of this cell's shape.
        """
        motion = torch.from_numpy(kept).to(self.device)
        if cell.task == "sample":
            asked = self._asked()
            _check_shape(motion, (len(asked), *self.test.motion.shape[1:]))
            return self._drawn(motion, asked)
        if cell.task == "forecast":
            _check_shape(motion, self._future.shape)
            return self._foretold(motion, *self._past(cell, past))
        parts = [(windows, self._occluded(cell, windows)) for windows in self._parts()]
        counts = [int(occluded.sum()) for _, occluded in parts]
        _check_shape(motion, (sum(counts),))
        tables = []
        for (windows, occluded), filled in zip(parts, motion.split(counts), strict=True):
            truth, hidden = windows.tensor().to(self.device), occluded.to(self.device)
            completed = truth.clone()
            completed[hidden] = filled
            share = occluded.flatten(1).double().mean(dim=1).numpy()
            tables.append(_table(windows, share, **self._errors(completed, truth, hidden)))
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def _future(self) -> torch.Tensor:
        """What follows the test windows that go on."""
        future = self.test.take(self.test.continued).future
        assert future is not None
        return torch.from_numpy(np.array(future)).to(self.device)

    def _past(
        self, cell: Cell, completion: NDArray[np.float32] | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the test windows that go on as a predictor sees them, and the share hidden."""
        past, share = self.test.tensor(), torch.zeros(len(self.test), dtype=torch.float64)
        if completion is not None:
            occluded = self._occluded(cell, self.test)
            past = past.clone()
            past[occluded] = torch.from_numpy(completion)
            share = occluded.flatten(1).double().mean(dim=1)
        going_on = torch.from_numpy(self.test.continued)
        return past[going_on].to(self.device), share[going_on]

    def _foretold(
        self, told: torch.Tensor, past: torch.Tensor, share: torch.Tensor
    ) -> pd.DataFrame:
        """Hold what a predictor foretold from a past against what followed."""
        future = self._future
        windows = self.test.take(self.test.continued)
        truth = windows.tensor().to(self.device)
        weights = torch.from_numpy(self.protocol.dataset.joint_weights).to(self.device)
        errors = metrics.forecast_error(told, future, weights)
        values = {
            horizon_metric(horizon): errors[:, frame]
            for horizon, frame in self.protocol.horizons.items()
        }
        both = torch.cat([past, told], dim=1), torch.cat([truth, future], dim=1)
        values |= {AVERAGE: errors.mean(dim=1), "eq4": metrics.eq4(*both, weights)}
        columns = {name: value.cpu().numpy() for name, value in values.items()}
        return _table(windows, share.numpy(), **columns)

    def _other(self, cell: Cell, model: Model) -> pd.DataFrame:
        """Compute a cell that scores windows."""
        windows = self._windows_of(cell)
        motion = self._corrupted(cell, windows)
        values = _scores(model, motion)
        if cell.task == "clean":
            values |= self._clean(cell, model, windows, motion)
        return _table(windows, **values)

    def _windows_of(self, cell: Cell) -> Windows:
        """Return the windows that a cell is about; those of actions fitted on, or all others."""
        if cell.task == "foreign":
            windows = self.foreign[cell.mechanism]
            # A recording there may have the name of one here.
            source = cell.mechanism + "/" + windows.index["source"].astype(str)
            return replace(windows, index=windows.index.assign(source=source))
        actions = self.protocol.models[cell.model].train_on
        if not actions:
            return self.test
        seen = self.test.index["action"].isin(actions).to_numpy()
        return self.test.take(~seen if cell.task == "unseen" else seen)

    def _corrupted(self, cell: Cell, windows: Windows) -> torch.Tensor:
        if cell.task != "corrupt":
            return windows.tensor().to(self.device)
        entry = self.protocol.corruption[cell.mechanism]
        (level,) = (level for level in entry.levels if entry.label(level) == cell.level)
        return torch.from_numpy(entry.at(level, cell.seed).apply(windows)).to(self.device)

    def _clean(
        self, cell: Cell, model: Model, windows: Windows, motion: torch.Tensor
    ) -> dict[str, Any]:
        """Return how well a generative model reconstructs, and how well its latents tell actions"""
        values: dict[str, Any] = {}
        if isinstance(model, GenerativeImputer):
            error = (_batched(model.reconstruct, motion) - motion).double().square()
            values["reconstruction_mse"] = error.flatten(1).mean(dim=1).cpu().numpy()
        if isinstance(model, Detector) and not self.protocol.models[cell.model].train_on:
            latents = self._latents(model, windows)
            if latents is not None:
                known = self._latents(model, self.train)
                values["action_correct"] = metrics.action_correct(
                    known, self.train.index["action"], latents, windows.index["action"]
                )
        return values

    def _latents(self, model: Detector, windows: Windows) -> Any:
        """Return ``(window, feature)`` latents on the CPU; None if the model has none."""
        motion = windows.tensor().to(self.device)
        if model.embed(motion[:1]) is None:
            return None
        return _batched(model.embed, motion).cpu()

    @torch.no_grad()
    def _sample(self, cell: Cell, model: Model, judge: Classifier | None) -> Found:
        """Draw windows from a model, hold their bones against real ones', and have them judged."""
        assert isinstance(model, GenerativeImputer)
        asked = self._asked()
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed("sample", cell.seed))
            if isinstance(model, ConditionalImputer):
                drawn = model.sample_actions(asked)
            else:
                # It cannot be asked: how often it does as asked is what ignoring the action gives.
                drawn = model.sample(len(asked))
        table = self._drawn(drawn, asked)
        if not np.isfinite(table["bone_excess"]).all():
            raise FloatingPointError(f"{model.name} drew windows with values not finite")
        if judge is not None:
            table = self._judged(table, drawn, judge)
        return Found(table, drawn.cpu().numpy())

    def _asked(self) -> list[str]:
        """Return the action asked for of each window to be drawn; empty where there is no choice"""
        count = self.protocol.scale.samples
        if not self.protocol.actions:
            return [""] * count
        return judging.shares(self.protocol.actions, self.test.index["action"], count)

    def _drawn(self, drawn: torch.Tensor, asked: list[str]) -> pd.DataFrame:
        """Hold the bones of drawn windows against those of real ones."""
        bones = self.protocol.spec.skeleton.bones
        real = metrics.bone_lengths(self.test.tensor().to(self.device), bones)
        share, excess = metrics.bones_in_range(metrics.bone_lengths(drawn, bones), real)
        names = [f"sample@{number}" for number in range(len(drawn))]
        labels = {"window": names, "source": names, "action": asked, "share": 0.0}
        return pd.DataFrame(
            {**labels, "bones_in_range": share.cpu().numpy(), "bone_excess": excess.cpu().numpy()}
        )

    @torch.no_grad()
    def _real(self, judge: Classifier | None) -> pd.DataFrame:
        """Judge real test windows as drawn ones are, and train windows as if drawn from them."""
        assert judge is not None
        table = self._judged(_table(self.test), self.test.tensor(), judge)
        drawn = self.train.take(
            judging.alike(
                self.train.index["action"],
                judging.shares(
                    judge.spec.actions, self.test.index["action"], self.protocol.scale.samples
                ),
            )
        )
        train = self._seen_by(judge, drawn.tensor(), drawn.index["action"])
        whole = table["window"] == judging.SET
        table.loc[whole, "frechet"] = judging.frechet(train.features, self._real_as(judge).features)
        return table

    def _judged(self, table: pd.DataFrame, motion: torch.Tensor, judge: Classifier) -> pd.DataFrame:
        """Return a table of windows with what a judge says of each, and a row of them all."""
        windows = self._seen_by(judge, motion, table["action"])
        told = table.assign(action_told=windows.right)
        names = self.protocol.spec.skeleton.names
        if {"left_foot", "right_foot"} <= set(names):
            feet = names.index("left_foot"), names.index("right_foot")
            skate = metrics.foot_skate(motion, feet, self.protocol.spec.fps)
            told["foot_skate"] = skate.cpu().numpy()
        labels = {"window": judging.SET, "source": judging.SET, "action": "", "share": 0.0}
        whole = pd.DataFrame([labels | judging.of_set(windows, self._real_as(judge))])
        return pd.concat([told, whole], ignore_index=True)

    def _real_as(self, judge: Classifier) -> judging.Judged:
        """Return the real test windows of known actions as a judge sees them."""
        known = self.test.take(self.test.index["action"].isin(judge.spec.actions).to_numpy())
        return self._seen_by(judge, known.tensor(), known.index["action"])

    def _seen_by(
        self, judge: Classifier, motion: torch.Tensor, actions: Iterable[str]
    ) -> judging.Judged:
        """Return windows as a judge sees them; an action that it does not know is none."""
        known = np.array(judge.spec.actions, dtype=object)
        features = _batched(judge.features, motion.to(self.device))
        told = judge.scores(features).argmax(dim=1).cpu().numpy()
        named = [action if action in judge.spec.actions else "" for action in actions]
        return judging.Judged(
            features.double().cpu().numpy(), np.array(named, dtype=object), known[told]
        )

    def _impute(self, cell: Cell, model: Model) -> Found:
        """Complete windows, a batch at a time."""
        found = [self._impute_some(cell, model, windows) for windows in self._parts()]
        return Found(
            pd.concat([part.table for part in found], ignore_index=True),
            np.concatenate([part.completion for part in found]),
        )

    def _parts(self) -> list[Windows]:
        """Return the test windows, a batch at a time."""
        starts = range(0, len(self.test), BATCH)
        return [self.test.take(slice(start, start + BATCH)) for start in starts]

    def _impute_some(self, cell: Cell, model: Model, windows: Windows) -> Found:
        truth = windows.tensor().to(self.device)
        occluded = self._occluded(cell, windows).to(self.device)
        way = ""  # by name: a label is not in the key, so no value may hang on it
        if isinstance(model, GenerativeImputer):
            chosen = self.protocol.inference.get(cell.inference)
            model.inference = chosen or INFERENCES.get(cell.inference)()
            way = model.inference.name
        if isinstance(model, Imputer):
            with torch.random.fork_rng():
                torch.manual_seed(derive_seed("impute", way, cell.seed, *windows.names))
                completed = model.impute(truth, occluded).motion
        else:
            completed = torch.where(occluded, model.mean, truth)
        values = {"share": occluded.flatten(1).double().mean(dim=1).cpu().numpy()}
        values |= _scores(model, completed)
        if cell.inference != DEGRADED:
            values |= self._errors(completed, truth, occluded)
        return Found(_table(windows, **values), completed[occluded].cpu().numpy())

    def _occluded(self, cell: Cell, windows: Windows) -> torch.Tensor:
        entry = self.protocol.occlusion[cell.mechanism]
        return torch.from_numpy(entry.at(Level.parse(cell.level), cell.seed).occluded(windows))

    def _errors(
        self, completed: torch.Tensor, truth: torch.Tensor, occluded: torch.Tensor
    ) -> dict[str, Any]:
        spec = self.protocol.spec
        given = completed, truth, occluded
        errors = {
            "mse": metrics.mse(*given),
            "mpjpe": metrics.mpjpe(*given),
            "bone_error": metrics.bone_error(*given, spec.skeleton.bones),
            "acceleration_error": metrics.acceleration_error(*given, spec.fps),
        }
        return {name: error.cpu().numpy() for name, error in errors.items()}


def _check_shape(motion: torch.Tensor, shape: tuple[int, ...]) -> None:
    if motion.shape != shape:
        raise ValueError(f"it is of shape {tuple(motion.shape)}, not {tuple(shape)}")


def _table(windows: Windows, share: Any = 0.0, **values: Any) -> pd.DataFrame:
    """Return values by window, ``(window,)`` each, as a cell's table."""
    index = windows.index
    named = {"window": windows.names, "source": index["source"], "action": index["action"]}
    return pd.DataFrame({**named, "share": share, **values})


def _scores(model: Model, motion: torch.Tensor) -> dict[str, np.ndarray]:
    if not isinstance(model, Detector):
        return {}
    scores = model.score(motion)
    for name, score in scores.items():
        if not torch.isfinite(score).all():
            raise FloatingPointError(f"{model.name}: {name} of some windows is not finite")
    if "negative_elbo" in scores:
        scores["elbo"] = -scores.pop("negative_elbo")
    return {name: score.double().cpu().numpy() for name, score in scores.items()}


def _batched(function: Callable[[torch.Tensor], Any], motion: torch.Tensor) -> torch.Tensor:
    """Return what a function makes of every window, a batch at a time."""
    return torch.cat([function(part) for part in motion.split(BATCH)])
