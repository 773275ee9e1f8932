"""The resolved protocol, with every setting stated; ``resolving`` makes one from a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

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
from bench.motion.mechanisms.sampler import MaskSampler
from models.base import Classifier
from models.inference.base import Inference

MAX_PARAMETERS = 10**10
"""Upper limit of a model's learnable values: 40 GB in float32."""


class Scale(Settings):
    """Number of windows to use of each split, evenly spaced over it; None for all."""

    train: int | None = Field(None, ge=1)
    valid: int | None = Field(None, ge=1)
    test: int | None = Field(None, ge=1)
    samples: int = Field(
        200, ge=1, le=100_000, description="windows to draw from each generative model"
    )


class Share(Settings):
    """CPUs and GPUs that one Ray trial reserves; a fraction of a GPU is counted, not enforced."""

    cpus: float = Field(1, gt=0)
    gpus: float = Field(0, ge=0)


class Resources(Settings):
    """Hardware, time limits and storage that fits and cells may use."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    fit: Share = Share()
    evaluate: Share = Share()
    cells_per_trial: int = Field(
        16, ge=1, description="cells that share a Ray trial, since starting a trial takes time"
    )
    fit_timeout_s: float | None = Field(
        None, gt=0, description="a fit that takes longer is ended and marked failed; null: no limit"
    )
    cell_timeout_s: float | None = Field(
        None,
        gt=0,
        description="a cell that takes longer is ended and marked failed; null: no limit",
    )
    memory_gib: float | None = Field(
        None,
        gt=0,
        description="a job whose worker allocates more than this after its start fails (Linux)",
    )
    keep_completions: Literal["needed", "all"] = Field(
        "needed",
        description="keep completed, drawn and predicted motion only where predictors and figures "
        "need it, or all of it, as bench rescore does",
    )
    keep_windows: int = Field(
        12,
        ge=0,
        le=1000,
        description="test windows, evenly spaced, whose completions under the first seed are kept "
        "for the report's viewer",
    )
    show_windows: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), description="further test windows for the viewer, by number, as --show adds them"
    )


class Comparison(Settings):
    """One line of a run's comparisons: the error of ``model`` compared with that of ``against``."""

    model: str
    inference: str = ""
    against: str


class Shown(Settings):
    """A cell whose completion a figure shows next to the true window (the paper's Fig. 1)."""

    model: str
    inference: str = ""
    mechanism: str
    level: str | int
    every: int = Field(8, ge=1, description="frames from one drawn pose to the next")

    @property
    def cell(self) -> tuple[str, str, str, str]:
        """The model, inference, mechanism and level that identify the cell."""
        return self.model, self.inference, self.mechanism, str(self.level)


class Forecast(Settings):
    """Horizons to score predictions at, and imputers whose completions are predicted from."""

    horizons_ms: tuple[int, ...] | None = Field(
        None, description="times after the past's last frame; null for the default ones"
    )
    imputers: tuple[str, ...] | None = Field(
        None, description="models whose completions predictors are given; null for all"
    )


class Published(Settings):
    """Published errors of a predictor, shown next to those of a run."""

    predictor: str
    source: str = Field(description="the publication and the table in it")
    windows: str = Field("all", description="the choice of test windows that they were measured on")
    mm: dict[str, tuple[Annotated[float, Field(ge=0)] | None, ...]] = Field(
        min_length=1,
        description="errors in mm by action, or their average, at each of forecast.horizons_ms",
    )


class PublishedImputation(Settings):
    """Published errors of an imputer, shown next to those of a run's."""

    imputer: str = Field(min_length=1, description="its name, and what its errors depend on")
    source: str = Field(min_length=1, description="the publication and the table in it")
    occlusion: str = Field(description="label of the occlusion that they were measured under")
    metric: Literal["mae", "mpjpe", "mse"] = Field("mae", description="which error it is")
    errors: dict[str, Annotated[float, Field(ge=0)]] = Field(
        min_length=1, description="errors by level, in the unit of the metric"
    )

    @field_validator("errors", mode="before")
    @classmethod
    def _levels_are_text(cls, errors: Any) -> Any:
        if not isinstance(errors, dict):
            return errors
        return {str(level): error for level, error in errors.items()}


@dataclass(frozen=True)
class ModelEntry:
    """A model with its settings, under a label.

    Attributes:
        model: its name.
        settings: its settings.
        inference: labels of the inferences that complete with it; None for all.
        train_on: the actions that it is fitted on; None for all. A detector then only scores test
            windows, those of these actions as clean and all others as unseen; an imputer that is no
            detector completes all of them.
    """

    model: str
    settings: Any
    inference: tuple[str, ...] | None = None
    train_on: tuple[str, ...] | None = None

    @property
    def cls(self) -> Any:
        """The model's class; raises InputError if no such model is registered."""
        return MODELS.get(self.model)


@dataclass(frozen=True)
class PredictorEntry:
    """A predictor with its settings, under a label.

    Attributes:
        predictor: its name.
        settings: its settings.
        degraded: labels of the occlusions that hide parts of the pasts it is fitted on, at every
            level equally often, filled with the mean; empty to fit on clean motion.
    """

    predictor: str
    settings: Any
    degraded: tuple[str, ...] = ()

    @property
    def cls(self) -> Any:
        """The predictor's class; raises InputError if no such predictor is registered."""
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

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as plain values."""
        levels = [level.plain for level in self.levels]
        return {
            "mechanism": self.mechanism,
            **({"levels": levels} if self.levels != (Level(),) else {}),
            **self.settings,
        }


@dataclass(frozen=True)
class CorruptionEntry:
    """A corruption with its settings and the levels to try, under a label."""

    corruption: str
    levels: tuple[Any, ...]
    settings: Mapping[str, Any]

    def label(self, level: Any) -> str:
        """Return a level as tables show it, with its unit; empty if there are no levels."""
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
    """An experiment, with every setting stated.

    Attributes:
        name: of the experiment; its runs are in a folder of this name.
        description: free text.
        dataset: the motion that models are fitted and tested on.
        models: imputers and detectors, by label.
        predictors: motion predictors, by label.
        forecast: how predictions are made and scored.
        published: published errors of predictors.
        published_imputation: published errors of imputers.
        inference: inferences of generative models, by label.
        occlusion: mechanisms that hide entries, by label.
        training_masks: mechanisms whose masks models train on that ask for some, by label; empty
            for ``usual_masks``.
        corruption: corruptions that detectors should notice, by label.
        foreign: other data sets that detectors should notice, by label.
        actions: the actions that conditional models and the classifier distinguish.
        show: cells with completions to plot.
        references: labels of the models that skill and changes are stated against.
        comparisons: pairs of imputers to compare, by label.
        seeds: one fit and one set of masks each.
        scale: the number of windows to use.
        limit: upper limit of windows per split and of drawn windows, for a quick look whose fits
            are shortened as ``resolving.LIMITED`` says; None for the whole experiment.
        resources: what fits and cells may use; no value depends on them.
    """

    name: str
    description: str
    dataset: Dataset
    models: Mapping[str, ModelEntry]
    predictors: Mapping[str, PredictorEntry]
    forecast: Forecast
    published: tuple[Published, ...]
    published_imputation: tuple[PublishedImputation, ...]
    inference: Mapping[str, Inference]
    occlusion: Mapping[str, OcclusionEntry]
    training_masks: Mapping[str, OcclusionEntry]
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
        """The name of the folder of its runs; a quick look has a folder of its own."""
        return f"{self.name}-limit-{self.limit}" if self.limit else self.name

    def labelled(self, data: str) -> str:
        """Return the data's name for tables and figures, with its folds; it marks a quick look."""
        data = f"{data}{self._folds}"
        return f"{data} (smoke run, limit {self.limit}: not a result)" if self.limit else data

    @property
    def _folds(self) -> str:
        if self.dataset.fold is None:
            return ""
        folds, (_, of) = self.dataset.folds, self.dataset.fold
        numbers = ", ".join(map(str, folds))
        return (
            f", {len(folds)} of {of} folds ({numbers})"
            if folds[1:]
            else f", fold {numbers} of {of}"
        )

    @property
    def spec(self) -> MotionSpec:
        """The shape of the data set's windows, and the actions that models may condition on."""
        return replace(spec_of(self.dataset), actions=self.actions)

    @property
    def masks(self) -> MaskSampler | None:
        """What ``training_masks`` hide, entries equally often; None if there are none."""
        # Sorted, since no value may depend on the order of a protocol's entries.
        families = {
            label: tuple(entry.at(level, 0) for level in entry.levels)
            for label, entry in sorted(self.training_masks.items())
        }
        return MaskSampler(families) if families else None

    @property
    def judge(self) -> str:
        """The label of the first classifier, which judges drawn windows; empty if there is none."""
        judges = (label for label, e in self.models.items() if issubclass(e.cls, Classifier))
        return next(judges, "")

    @property
    def learners(self) -> dict[str, ModelEntry | PredictorEntry]:
        """Models and predictors, by label."""
        return {**self.models, **self.predictors}

    @property
    def horizons(self) -> dict[int, int]:
        """The frame of the future that is scored, counted from 0, by horizon in ms."""
        return frames_of(self.forecast.horizons_ms or (), self.spec)

    def parameters(self, label: str) -> int:
        """Return the number of learnable values of a model or predictor.

        Raises:
            InputError: its settings do not suit windows of this shape, or it is too large.
        """
        entry = self.learners[label]
        where = f"{'models' if label in self.models else 'predictors'}.{label}"
        try:
            count = parameters(entry.cls, self.spec, entry.settings)
        except Exception as error:
            # A class of the user's own may fail in any way; ours raise ValueError.
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            raise InputError(f"{where}: {kind}{reason_of(error)}") from None
        if count > MAX_PARAMETERS:
            raise InputError(
                f"{where}: {count:.1e} parameters exceed the limit of {MAX_PARAMETERS:.0e}; "
                "lower its settings"
            )
        return count

    def to_dict(self) -> dict[str, Any]:
        """Return plain values from which ``resolve`` makes an equal protocol."""
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
            "published_imputation": [
                table.model_dump(mode="json") for table in self.published_imputation
            ],
            "inference": {
                label: {"inference": entry.name, **entry.model_dump(mode="json")}
                for label, entry in self.inference.items()
            },
            "occlusion": {label: entry.to_dict() for label, entry in self.occlusion.items()},
            "training_masks": {
                label: entry.to_dict() for label, entry in self.training_masks.items()
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
        """Return the protocol with only the named models and predictors, and what refers to them.

        Raises:
            InputError: a label is neither a model nor a predictor.
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
    """Return the shape of a data set's windows: frames, rate, skeleton and future frames."""
    return MotionSpec(dataset.frames, dataset.fps, dataset.skeleton, dataset.future)


def frames_of(horizons: Sequence[int], spec: MotionSpec) -> dict[int, int]:
    """Return the future frame, counted from 0, of each horizon in ms that falls on a frame."""
    frames = {horizon: horizon * spec.fps / 1000 for horizon in horizons}
    return {
        horizon: round(frame) - 1
        for horizon, frame in frames.items()
        if 1 <= frame <= spec.future and abs(frame - round(frame)) < 1e-6
    }
