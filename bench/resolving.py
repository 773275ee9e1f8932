"""A protocol file, or plain values, to a validated, fully resolved Protocol.

An entry of ``models``, ``predictors``, ``inference``, ``occlusion`` or ``corruption`` has a label
of the user's choice. What it is comes from its key ``model``, ``predictor``, ``inference``,
``mechanism`` or ``corruption``, or else from the label; the other keys are that thing's own
settings. An entry may say ``preset: NAME`` to start from settings that its class has under that
name, and one of ``models`` or ``predictors`` may say ``like: LABEL`` to start from those of
another.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from bench import plain
from bench.datasets.base import Dataset
from bench.errors import InputError, did_you_mean
from bench.motion import MotionSpec
from bench.motion.occlusion import Level
from bench.protocol import (
    Comparison,
    CorruptionEntry,
    Forecast,
    ModelEntry,
    OcclusionEntry,
    PredictorEntry,
    Protocol,
    Published,
    Resources,
    Scale,
    Shown,
    frames_of,
    spec_of,
)
from bench.registry import (
    CORRUPTIONS,
    DATASETS,
    INFERENCES,
    MECHANISMS,
    MODELS,
    PREDICTORS,
    Registry,
)
from bench.settings import Settings
from bench.validation import validated
from models.base import Detector, GenerativeImputer, Imputer


def _legible(label: str) -> str:
    """Return a label that tables, messages and names of files can have as it is."""
    if not label.isprintable() or label != label.strip() or {"/", "\\"} & set(label):
        raise ValueError("a label is printable text without / and \\")
    return label


Label = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_legible)]
Seed = Annotated[int, Field(ge=0)]
REFERENCES = ("mean", "linear")
"""Models that the others' error is stated against unless a protocol names others."""
LIMITED_EPOCHS = 2
"""Epochs that a fit of a quick look has at most."""
HORIZONS_MS = (80, 160, 320, 400, 560, 720, 880, 1000)
"""When predictions are judged unless a protocol says otherwise, where windows have these frames."""


def _map_alone() -> dict[str, dict[str, Any] | None]:
    return {"map": None}


class _Head(Settings):
    """The parts of a protocol that need no registry; the others are only shaped here."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)
    description: str = ""
    dataset: dict[str, Any]
    models: dict[Label, dict[str, Any] | None] = Field(default_factory=dict)
    predictors: dict[Label, dict[str, Any] | None] = Field(default_factory=dict)
    forecast: dict[str, Any] = Field(default_factory=dict)
    published: list[dict[str, Any]] = Field(default_factory=list)
    inference: dict[Label, dict[str, Any] | None] = Field(default_factory=_map_alone)
    occlusion: dict[Label, dict[str, Any]] = Field(default_factory=dict)
    corruption: dict[Label, dict[str, Any] | None] = Field(default_factory=dict)
    foreign: dict[Label, dict[str, Any] | None] = Field(default_factory=dict)
    actions: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    show: list[dict[str, Any]] = Field(default_factory=list)
    references: list[str] | None = None
    comparisons: dict[Label, dict[str, Any]] = Field(default_factory=dict)
    seeds: list[Seed] = Field([0], min_length=1)
    scale: Scale = Scale()
    limit: int | None = Field(None, ge=1)
    resources: Resources = Resources()


def load(path: Path, overrides: Sequence[str] = ()) -> Protocol:
    """Read a protocol file, apply ``key.path=value`` overrides, and resolve it.

    Raises:
        InputError: the file is missing, not YAML, or says something that cannot be.
    """
    raw = plain.read(path)
    if not isinstance(raw, dict):
        raise InputError(f"{path}: a protocol is a mapping of keys such as dataset and models")
    for override in overrides:
        _apply(raw, override)
    raw.setdefault("name", path.stem)
    try:
        protocol = resolve(raw)
        for label in protocol.learners:
            protocol.parameters(label)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return protocol


def resolve(raw: Mapping[str, Any]) -> Protocol:
    """Return the Protocol of plain values; raises InputError naming the first thing wrong."""
    head = validated(_Head, raw, "")
    dataset = _dataset(head.dataset)
    spec = spec_of(dataset)
    if not head.models and not head.predictors:
        raise InputError("models: missing; name a model, or a predictor under predictors")
    if head.models and not head.occlusion:
        raise InputError("occlusion: missing")
    for label in set(head.models) & set(head.predictors):
        raise InputError(f"{label}: a label of models or predictors is one of them only")
    if head.scale.samples < len(head.actions):
        raise InputError(
            f"scale.samples: {head.scale.samples} windows cannot be of {len(head.actions)} "
            "actions; draw more"
        )
    labels = Counter([*head.occlusion, *head.corruption, *head.foreign])
    for label in (label for label, times in labels.items() if times > 1):
        raise InputError(
            f"{label}: a label of occlusion, corruption or foreign is one of them only"
        )
    _check_apart([*head.models, *head.predictors])
    _check_apart(labels)
    _check_apart(head.inference)
    protocol = Protocol(
        name=head.name,
        description=head.description,
        dataset=dataset,
        models={label: _model(head, label) for label in head.models},
        predictors={label: _predictor(head, label) for label in head.predictors},
        forecast=(forecast := _forecast(head, spec)),
        published=tuple(
            _published(head, number, forecast) for number in range(len(head.published))
        ),
        inference={
            label: _named(INFERENCES, "inference", label, entry or {})
            for label, entry in head.inference.items()
        },
        occlusion={label: _occlusion(label, e, spec) for label, e in head.occlusion.items()},
        corruption={
            label: _corruption(label, e or {}, spec) for label, e in head.corruption.items()
        },
        foreign={label: _foreign(label, e or {}, spec) for label, e in head.foreign.items()},
        actions=_distinct(head.actions, "actions"),
        show=tuple(_shown(head, number) for number in range(len(head.show))),
        references=_references(head),
        comparisons={label: _comparison(head, label) for label in head.comparisons},
        seeds=_distinct(head.seeds, "seeds"),
        scale=head.scale,
        limit=head.limit,
        resources=head.resources,
    )
    return protocol if head.limit is None else _limited(protocol, head.limit)


def _limited(protocol: Protocol, limit: int) -> Protocol:
    """Return a protocol cut down to a quick look; one that is so already stays as it is."""

    def short(entry: Any) -> Any:
        epochs = getattr(entry.settings, "epochs", LIMITED_EPOCHS)
        if epochs <= LIMITED_EPOCHS:
            return entry
        settings = entry.settings.model_copy(update={"epochs": LIMITED_EPOCHS})
        return replace(entry, settings=settings)

    splits = {
        split: min(limit, getattr(protocol.scale, split) or limit)
        for split in ("train", "valid", "test")
    }
    # A window of each action is the least that can be drawn.
    drawn = min(protocol.scale.samples, max(limit, len(protocol.actions)))
    return replace(
        protocol,
        models={label: short(entry) for label, entry in protocol.models.items()},
        predictors={label: short(entry) for label, entry in protocol.predictors.items()},
        scale=protocol.scale.model_copy(update={**splits, "samples": drawn}),
    )


def dataset(name: str, overrides: Sequence[str] = ()) -> Dataset:
    """Return a data set with ``key=value`` settings; raises InputError if there is no such."""
    raw: dict[str, Any] = {}
    for override in overrides:
        _apply(raw, override)
    return validated(DATASETS.get(name), raw, name)


def _dataset(raw: dict[str, Any], where: str = "dataset") -> Dataset:
    settings = dict(raw)
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise InputError(f"{where}.name: say which{did_you_mean('', DATASETS.all())}")
    return validated(_found(DATASETS, name, f"{where}.name"), settings, where)


def _foreign(label: str, raw: dict[str, Any], spec: MotionSpec) -> Dataset:
    where = f"foreign.{label}"
    shape = {"frames": spec.frames, "fps": spec.fps}
    dataset = _dataset({"name": label, **shape, **raw}, where)
    if (dataset.frames, dataset.fps) != (spec.frames, spec.fps):
        raise InputError(f"{where}: its windows must have the {spec.frames} frames and the rate")
    if len(dataset.skeleton) != len(spec.skeleton):
        joints = f"{len(dataset.skeleton)} joints, not {len(spec.skeleton)}"
        raise InputError(f"{where}: it has {joints}; choose a data set of the same joints")
    if others := [name for name in dataset.skeleton.names if name not in spec.skeleton.names]:
        raise InputError(
            f"{where}: its joints {', '.join(others)} are not in the windows that models are "
            "fitted on; choose a data set of the same joints"
        )
    return dataset


def _references(head: _Head) -> tuple[str, ...]:
    """Return whom errors are stated against: as asked, or the usual ones that take part."""
    if head.references is None:
        return tuple(label for label in REFERENCES if label in head.models)
    for label in head.references:
        _check_label(label, head.models, "references")
        _check_completed(head, label, "", "references")
    return _distinct(head.references, "references")


def _shown(head: _Head, number: int) -> Shown:
    where = f"show.{number}"
    shown = validated(Shown, head.show[number], where)
    _check_label(shown.model, head.models, f"{where}.model")
    if shown.inference:
        _check_label(shown.inference, head.inference, f"{where}.inference")
    _check_label(shown.mechanism, head.occlusion, f"{where}.mechanism")
    levels = head.occlusion[shown.mechanism].get("levels") or ()
    _check_label(str(shown.level), {str(level): None for level in levels}, f"{where}.level")
    _check_completed(head, shown.model, shown.inference, where)
    return shown


def _comparison(head: _Head, label: str) -> Comparison:
    where = f"comparisons.{label}"
    comparison = validated(Comparison, head.comparisons[label], where)
    _check_label(comparison.model, head.models, f"{where}.model")
    _check_label(comparison.against, head.models, f"{where}.against")
    if comparison.inference:
        _check_label(comparison.inference, head.inference, f"{where}.inference")
    if comparison.model == comparison.against:
        raise InputError(f"{where}: {comparison.model} is held against itself; name another")
    _check_completed(head, comparison.model, comparison.inference, where)
    _check_completed(head, comparison.against, "", where)
    return comparison


def _check_completed(head: _Head, label: str, inference: str, where: str) -> None:
    """Raise InputError if no window is completed by a model in that way."""
    entry = _model(head, label)
    if not issubclass(entry.cls, Imputer) or entry.train_on:
        raise InputError(f"{where}: {label} completes nothing")
    known = [""]
    if issubclass(entry.cls, GenerativeImputer):
        known = [way for way in entry.inference or head.inference if way != "mean"]
    if inference not in known:
        how = f"inference: {' or '.join(known)}" if any(known) else "no inference"
        raise InputError(f"{where}: {label} is completed with {how}")


def _forecast(head: _Head, spec: MotionSpec) -> Forecast:
    forecast = validated(Forecast, head.forecast, "forecast")
    for label in forecast.imputers or ():
        _check_label(label, head.models, "forecast.imputers")
        if not issubclass(_model(head, label).cls, Imputer):
            raise InputError(f"forecast.imputers: {label} completes nothing; leave it out")
    if forecast.horizons_ms is None:
        usual = tuple(frames_of(HORIZONS_MS, spec))
        return forecast.model_copy(update={"horizons_ms": usual})
    _distinct(forecast.horizons_ms, "forecast.horizons_ms")
    for horizon in forecast.horizons_ms:
        if horizon not in frames_of([horizon], spec):
            first, last = 1000 / spec.fps, 1000 * spec.future / spec.fps
            raise InputError(
                f"forecast.horizons_ms: no frame {horizon} ms ahead; there is one every "
                f"{first:g} ms, to {last:g} ms (dataset.future)"
            )
    return forecast


def _published(head: _Head, number: int, forecast: Forecast) -> Published:
    where = f"published.{number}"
    table = validated(Published, head.published[number], where)
    _check_label(table.predictor, head.predictors, f"{where}.predictor")
    count = len(forecast.horizons_ms or ())
    for action, errors in table.mm.items():
        if len(errors) != count:
            raise InputError(
                f"{where}.mm.{action}: {len(errors)} numbers for the {count} horizons of "
                "forecast.horizons_ms"
            )
    for other in head.published[:number]:
        if (other["predictor"], other.get("windows", "all")) == (table.predictor, table.windows):
            raise InputError(f"{where}: there is a table of {table.predictor} and these windows")
    return table


def _check_label(label: object, known: Mapping[str, Any], where: str) -> None:
    if not isinstance(label, str) or label not in known:
        raise InputError(f"{where}: no entry '{label}'{did_you_mean(str(label), known)}")


@dataclass(frozen=True)
class _Section:
    """A part of a protocol whose entries can be like each other."""

    name: str
    key: str
    registry: Registry[Any]
    entries: Mapping[str, dict[str, Any] | None]


def _predictor(head: _Head, label: str) -> PredictorEntry:
    where = f"predictors.{label}"
    section = _Section("predictors", "predictor", PREDICTORS, head.predictors)
    settings = _inherited(section, label, ())
    name, degraded = settings.pop("predictor", label), settings.pop("degraded", None) or []
    cls = _found(PREDICTORS, name, where)
    if not isinstance(degraded, list):
        raise InputError(f"{where}.degraded: give a list")
    for occlusion in degraded:
        _check_label(occlusion, head.occlusion, f"{where}.degraded")
    if degraded and not cls.trained:
        raise InputError(f"{where}.degraded: {name} is not fitted, so to it all pasts are alike")
    return PredictorEntry(
        name,
        validated(cls.Settings, settings, where),
        _distinct(degraded, f"{where}.degraded"),
    )


def _model(head: _Head, label: str) -> ModelEntry:
    where = f"models.{label}"
    settings = _inherited(_Section("models", "model", MODELS, head.models), label, ())
    name = settings.pop("model", label)
    inference, train_on = settings.pop("inference", None), settings.pop("train_on", None)
    cls = _found(MODELS, name, where)
    for key, labels in (("inference", inference), ("train_on", train_on)):
        if labels is not None and not isinstance(labels, list):
            raise InputError(f"{where}.{key}: give a list")
    for other in inference or ():
        _check_label(other, head.inference, f"{where}.inference")
    if train_on and not issubclass(cls, Detector):
        raise InputError(f"{where}.train_on: {name} scores nothing, so nothing is unseen to it")
    return ModelEntry(
        name,
        validated(cls.Settings, settings, where),
        None if inference is None else _distinct(inference, f"{where}.inference"),
        tuple(map(str, train_on)) if train_on else None,
    )


def _with_preset(cls: Any, settings: dict[str, Any], where: str) -> dict[str, Any]:
    """Return settings over those of the preset that they name."""
    settings = dict(settings)
    name = settings.pop("preset", None)
    if name is None:
        return settings
    presets = getattr(cls, "presets", {})
    if not isinstance(name, str) or name not in presets:
        raise InputError(f"{where}.preset: no preset '{name}'{did_you_mean(str(name), presets)}")
    return presets[name] | settings


def _inherited(section: _Section, label: str, seen: tuple[str, ...]) -> dict[str, Any]:
    """Return an entry's keys over those of its preset, over those of the entry it is like.

    What the other entry is, the model itself, stays its own.
    """
    where = f"{section.name}.{label}"
    settings = dict(section.entries[label] or {})
    other = settings.pop("like", None)
    if "preset" in settings:
        cls = _found(section.registry, settings.get(section.key, label), where)
        settings = _with_preset(cls, settings, where)
    if other is None:
        return settings
    if not isinstance(other, str) or other not in section.entries:
        near = did_you_mean(str(other), section.entries)
        raise InputError(f"{where}.like: no {section.key} '{other}'{near}")
    if other in (*seen, label):
        raise InputError(f"{where}.like: entries are like each other in a circle")
    base = _inherited(section, other, (*seen, label))
    base.pop(section.key, None)
    return base | settings


def _named(registry: Any, key: str, label: str, raw: dict[str, Any]) -> Any:
    settings = dict(raw)
    name = settings.pop(key, label)
    if label == "mean" and name != label:
        raise InputError(f"{key}.mean: this label is the degraded input's own; choose another")
    where = f"{key}.{label}"
    cls = _found(registry, name, where)
    return validated(cls, _with_preset(cls, settings, where), where)


def _occlusion(label: str, raw: dict[str, Any], spec: MotionSpec) -> OcclusionEntry:
    where = f"occlusion.{label}"
    settings = dict(raw)
    name = settings.pop("mechanism", label)
    cls = _found(MECHANISMS, name, where)
    settings = _with_preset(cls, settings, where)
    levels = _levels(settings, where, "[27, 10%, 50%]")
    parsed = []
    for level in levels:
        try:
            parsed.append(Level.parse(level))
        except ValueError as error:
            raise InputError(f"{where}.levels: {error}") from None
        built = validated(cls, {"level": level, **settings}, where)
        try:
            built.check(spec)
        except ValueError as error:
            raise InputError(f"{where}.levels: {error}") from None
        count = parsed[-1].features(spec.features)
        if count == 0:
            raise InputError(
                f"{where}.levels: level {level} hides nothing; leave it out, "
                "clean windows are always scored"
            )
        alike = [str(p) for p in parsed if p.features(spec.features) == count]
        if len(alike) > 1:
            raise InputError(f"{where}.levels: {' and '.join(alike)} hide the same; keep one")
    kept = built.model_dump(mode="json", exclude={"level", "seed"})
    return OcclusionEntry(name, tuple(parsed), kept)


def _corruption(label: str, raw: dict[str, Any], spec: MotionSpec) -> CorruptionEntry:
    where = f"corruption.{label}"
    settings = dict(raw)
    name = settings.pop("corruption", label)
    cls = _found(CORRUPTIONS, name, where)
    settings = _with_preset(cls, settings, where)
    if not cls.levelled and "levels" in settings:
        raise InputError(f"{where}.levels: {name} has no levels; leave them out")
    if not cls.levelled:
        settings["levels"] = [None]
    levels = _levels(settings, where, "[5, 20]")
    stated = []
    for level in levels:
        built = validated(cls, {**settings, **({} if level is None else {"level": level})}, where)
        try:
            built.check(spec)
        except ValueError as error:
            raise InputError(f"{where}.levels: {error}") from None
        stated.append(built.model_dump(mode="json")["level"])
    kept = built.model_dump(mode="json", exclude={"level", "seed"})
    return CorruptionEntry(name, _distinct(stated, f"{where}.levels"), kept)


def _levels(settings: dict[str, Any], where: str, example: str) -> list[Any]:
    """Take the levels out of an entry's settings."""
    levels = settings.pop("levels", None)
    if not isinstance(levels, list) or not levels:
        raise InputError(f"{where}.levels: give a list such as {example}")
    for reserved in {"level", "seed"} & set(settings):
        raise InputError(f"{where}.{reserved}: set levels here and seeds at the top")
    return levels


def _found(registry: Any, name: object, where: str) -> Any:
    try:
        return registry.get(str(name))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _check_apart(labels: Iterable[str]) -> None:
    """Raise InputError for labels that a reader, or a file system, may take for each other."""
    seen: dict[str, str] = {}
    for label in labels:
        if (other := seen.setdefault(label.casefold(), label)) != label:
            raise InputError(f"{other}, {label}: labels differ in capitals alone; rename one")


def _distinct(values: Sequence[Any], where: str) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise InputError(f"{where}: {', '.join(map(str, values))} names the same one twice")
    return tuple(values)


def _apply(raw: dict[str, Any], override: str) -> None:
    """Put one ``key.path=value`` into a raw protocol; the value is read as YAML."""
    path, equals, text = override.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise InputError(f"--set {override}: write it as models.hgvae.epochs=5")
    try:
        value = plain.parse(text)
    except ValueError as error:
        raise InputError(f"--set {override}: the value is not valid YAML: {error}") from None
    place = raw
    for key in keys[:-1]:
        if place.get(key) is None:
            place[key] = {}
        if not isinstance(place[key], dict):
            raise InputError(f"--set {override}: '{key}' has no keys of its own")
        place = place[key]
    place[keys[-1]] = value
