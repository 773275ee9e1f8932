"""What a protocol says, every setting of it stated; ``resolving`` makes one from a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from bench.core.errors import InputError, did_you_mean, reason_of
from bench.core.registry import (
    CORRUPTIONS,
    MECHANISMS,
    MODELS,
    PREDICTORS,
)
from bench.core.settings import Settings
from bench.datasets.base import Dataset
from bench.fitting.learner import parameters
from bench.motion import MotionSpec
from bench.motion.corruptions.base import Corruption
from bench.motion.mechanisms.base import Level, Mechanism
from models.base import Classifier
from models.inference.base import Inference

MOST_PARAMETERS = 10**10
"""Learnable values of a model at most: 40 GB."""


class Scale(Settings):
    """How many windows to use of each split, evenly spaced over it; None for all."""

    train: int | None = Field(None, ge=1)
    valid: int | None = Field(None, ge=1)
    test: int | None = Field(None, ge=1)
    samples: int = Field(
        200, ge=1, le=100_000, description="windows to draw from each generative model"
    )


class Share(Settings):
    """What one Ray trial reserves; a share of a GPU is only counted, not enforced."""

    cpus: float = Field(1, gt=0)
    gpus: float = Field(0, ge=0)


class Resources(Settings):
    """What fits and evaluations may use."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    fit: Share = Share()
    evaluate: Share = Share()
    cells_per_trial: int = Field(
        16, ge=1, description="cells share a Ray trial, which costs time of its own"
    )
    fit_timeout_s: float | None = Field(
        None, gt=0, description="a fit that takes longer is ended and failed; null: none is"
    )
    cell_timeout_s: float | None = Field(
        None, gt=0, description="a cell that takes longer is ended and failed; null: none is"
    )
    memory_gib: float | None = Field(
        None,
        gt=0,
        description="a trial that takes more beyond what its worker starts with fails (Linux)",
    )
    keep_completions: Literal["needed", "all"] = Field(
        "needed",
        description="what models complete, draw and foretell is kept where predictors and figures "
        "need it, or all of it, as bench rescore does",
    )


class Comparison(Settings):
    """One line of a run's comparisons: an imputer's error against that of another."""

    model: str
    inference: str = ""
    against: str


class Shown(Settings):
    """One completion to be drawn, window and all (the paper's Fig. 1)."""

    model: str
    inference: str = ""
    mechanism: str
    level: str | int
    every: int = Field(8, ge=1, description="frames from one drawn pose to the next")

    @property
    def cell(self) -> tuple[str, str, str, str]:
        """The model, inference, mechanism and level of the cell that is shown."""
        return self.model, self.inference, self.mechanism, str(self.level)


class Forecast(Settings):
    """When predictions are judged, and whose completions predictors are fed."""

    horizons_ms: tuple[int, ...] | None = Field(
        None, description="time after the past's last frame; None for the usual ones"
    )
    imputers: tuple[str, ...] | None = Field(
        None, description="models whose completions predictors are fed; None for all"
    )


class Published(Settings):
    """Somebody's errors of a predictor, to stand beside a run's own."""

    predictor: str
    source: str = Field(description="who printed them, and where")
    windows: str = Field("all", description="which choice of test windows they are about")
    mm: dict[str, tuple[Annotated[float, Field(ge=0)] | None, ...]] = Field(
        min_length=1,
        description="errors by action, or their average, at each of forecast.horizons_ms",
    )


@dataclass(frozen=True)
class ModelEntry:
    """A model with its settings, under a label.

    Attributes:
        model: its name.
        settings: its settings.
        inference: labels of the inferences that complete with it; None for all.
        train_on: the actions that it is fitted on, and that are then not asked of it: such a model
            only scores, test windows of these actions against all others. None for no such thing.
    """

    model: str
    settings: Any
    inference: tuple[str, ...] | None = None
    train_on: tuple[str, ...] | None = None

    @property
    def cls(self) -> Any:
        """What the model is."""
        return MODELS.get(self.model)


@dataclass(frozen=True)
class PredictorEntry:
    """A predictor with its settings, under a label.

    Attributes:
        predictor: its name.
        settings: its settings.
        degraded: labels of the occlusion that the pasts it is fitted on have, at all levels alike,
            filled with the mean; empty to fit on clean motion.
    """

    predictor: str
    settings: Any
    degraded: tuple[str, ...] = ()

    @property
    def cls(self) -> Any:
        """What the predictor is."""
        return PREDICTORS.get(self.predictor)


@dataclass(frozen=True)
class OcclusionEntry:
    """A mechanism with its settings and the levels to try, under a label."""

    mechanism: str
    levels: tuple[Level, ...]
    settings: Mapping[str, Any]

    def at(self, level: Level, seed: int) -> Mechanism:
        """Return the mechanism at one level under one seed."""
        return MECHANISMS.get(self.mechanism)(level=level, seed=seed, **self.settings)


@dataclass(frozen=True)
class CorruptionEntry:
    """A corruption with its settings and the levels to try, under a label."""

    corruption: str
    levels: tuple[Any, ...]
    settings: Mapping[str, Any]

    def label(self, level: Any) -> str:
        """Return a level as tables state it, with its unit; empty if there are no levels."""
        if level is None:
            return ""
        number = f"{level:.10g}" if isinstance(level, float) else str(level)
        return f"{number} {CORRUPTIONS.get(self.corruption).unit}".strip()

    def at(self, level: Any, seed: int) -> Corruption:
        """Return the corruption at one level under one seed."""
        stated = {} if level is None else {"level": level}
        return CORRUPTIONS.get(self.corruption)(seed=seed, **stated, **self.settings)


@dataclass(frozen=True)
class Protocol:
    """An experiment, every setting of it stated.

    ``limit`` makes it a quick look: no split has more windows than that, no model draws more, and
    no fit has more than ``resolving.LIMITED_EPOCHS`` epochs. None: it is the whole experiment.
    """

    name: str
    description: str
    dataset: Dataset
    models: Mapping[str, ModelEntry]
    predictors: Mapping[str, PredictorEntry]
    forecast: Forecast
    published: tuple[Published, ...]
    inference: Mapping[str, Inference]
    occlusion: Mapping[str, OcclusionEntry]
    corruption: Mapping[str, CorruptionEntry]
    foreign: Mapping[str, Dataset]
    actions: tuple[str, ...]
    show: tuple[Shown, ...]
    references: tuple[str, ...]
    comparisons: Mapping[str, Comparison]
    seeds: tuple[int, ...]
    scale: Scale
    limit: int | None
    resources: Resources

    @property
    def folder(self) -> str:
        """The name of the folder that runs of it are in; a quick look is never in a whole one's."""
        return f"{self.name}-limit-{self.limit}" if self.limit else self.name

    def labelled(self, data: str) -> str:
        """Return what tables and figures call the data, which says so if this is a quick look."""
        return f"{data} (smoke run, limit {self.limit}: not a result)" if self.limit else data

    @property
    def spec(self) -> MotionSpec:
        """The shape of the data set's windows, and the actions that models can be told."""
        return replace(spec_of(self.dataset), actions=self.actions)

    @property
    def judge(self) -> str:
        """The label of the classifier that judges drawn windows; empty if there is none."""
        usual = (label for label, e in self.models.items() if issubclass(e.cls, Classifier))
        return next(usual, "")

    @property
    def learners(self) -> dict[str, ModelEntry | PredictorEntry]:
        """All that is fitted, by label."""
        return {**self.models, **self.predictors}

    @property
    def horizons(self) -> dict[int, int]:
        """Which frame of the future is judged, counted from 0, by horizon in ms."""
        return frames_of(self.forecast.horizons_ms or (), self.spec)

    def parameters(self, label: str) -> int:
        """Return how many learnable values a model or predictor has.

        Raises:
            InputError: there is no such one for windows of this shape, or on any machine.
        """
        entry = self.learners[label]
        where = f"{'models' if label in self.models else 'predictors'}.{label}"
        try:
            count = parameters(entry.cls, self.spec, entry.settings)
        except Exception as error:
            # A class of the user's own may fail in any way; ours raise ValueError.
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            raise InputError(f"{where}: {kind}{reason_of(error)}") from None
        if count > MOST_PARAMETERS:
            raise InputError(f"{where}: {count:.1e} parameters fit nowhere; lower its settings")
        return count

    def to_dict(self) -> dict[str, Any]:
        """Return plain values from which ``resolve`` makes the same protocol again."""
        return {
            "name": self.name,
            "description": self.description,
            "dataset": {"name": self.dataset.name, **self.dataset.model_dump(mode="json")},
            "models": {
                label: {
                    "model": entry.model,
                    **({"inference": list(entry.inference)} if entry.inference is not None else {}),
                    **({"train_on": list(entry.train_on)} if entry.train_on else {}),
                    **entry.settings.model_dump(mode="json"),
                }
                for label, entry in self.models.items()
            },
            "predictors": {
                label: {
                    "predictor": entry.predictor,
                    **({"degraded": list(entry.degraded)} if entry.degraded else {}),
                    **entry.settings.model_dump(mode="json"),
                }
                for label, entry in self.predictors.items()
            },
            "forecast": self.forecast.model_dump(mode="json"),
            "published": [table.model_dump(mode="json") for table in self.published],
            "inference": {
                label: {"inference": entry.name, **entry.model_dump(mode="json")}
                for label, entry in self.inference.items()
            },
            "occlusion": {
                label: {
                    "mechanism": entry.mechanism,
                    "levels": [
                        level.count if level.share is None else str(level) for level in entry.levels
                    ],
                    **entry.settings,
                }
                for label, entry in self.occlusion.items()
            },
            "corruption": {
                label: {
                    "corruption": entry.corruption,
                    **({} if entry.levels == (None,) else {"levels": list(entry.levels)}),
                    **entry.settings,
                }
                for label, entry in self.corruption.items()
            },
            "foreign": {
                label: {"name": dataset.name, **dataset.model_dump(mode="json")}
                for label, dataset in self.foreign.items()
            },
            "actions": list(self.actions),
            "show": [shown.model_dump(mode="json") for shown in self.show],
            "references": list(self.references),
            "comparisons": {
                label: comparison.model_dump() for label, comparison in self.comparisons.items()
            },
            "seeds": list(self.seeds),
            "scale": self.scale.model_dump(mode="json"),
            "limit": self.limit,
            "resources": self.resources.model_dump(mode="json"),
        }

    def only(self, labels: Sequence[str]) -> "Protocol":
        """Return the protocol with the named models and predictors alone.

        Raises:
            InputError: a name is of neither.
        """
        for label in labels:
            if label not in self.learners:
                near = did_you_mean(label, self.learners)
                raise InputError(f"--only: no model or predictor '{label}'{near}")
        fed = self.forecast.imputers
        chosen = fed and tuple(label for label in fed if label in labels)
        return replace(
            self,
            models={label: entry for label, entry in self.models.items() if label in labels},
            predictors={k: entry for k, entry in self.predictors.items() if k in labels},
            forecast=self.forecast.model_copy(update={"imputers": chosen}),
            published=tuple(table for table in self.published if table.predictor in labels),
            show=tuple(shown for shown in self.show if shown.model in labels),
            references=tuple(label for label in self.references if label in labels),
            comparisons={
                label: comparison
                for label, comparison in self.comparisons.items()
                if {comparison.model, comparison.against} <= set(labels)
            },
        )


def spec_of(dataset: Dataset) -> MotionSpec:
    """Return the shape of a data set's windows."""
    return MotionSpec(dataset.frames, dataset.fps, dataset.skeleton, dataset.future)


def frames_of(horizons: Sequence[int], spec: MotionSpec) -> dict[int, int]:
    """Return the frame of the future, counted from 0, of each horizon in ms that has one."""
    frames = {horizon: horizon * spec.fps / 1000 for horizon in horizons}
    return {
        horizon: round(frame) - 1
        for horizon, frame in frames.items()
        if 1 <= frame <= spec.future and abs(frame - round(frame)) < 1e-6
    }
