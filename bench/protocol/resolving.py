"""Resolves a protocol file, or plain values, to a validated Protocol with all settings stated.

An entry of ``models``, ``predictors``, ``inference``, ``occlusion``, ``training_masks`` or
``corruption`` has a label of the user's choice. Its class is named by its key ``model``,
``predictor``, ``inference``, ``mechanism`` or ``corruption``, or else by the label; the other keys
are settings of that class. ``preset: NAME`` starts from settings that the class defines under
that name, and in ``models`` and ``predictors`` ``like: LABEL`` starts from the settings of another
entry.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.core import safe_yaml
from bench.core.errors import InputError, did_you_mean
from bench.core.registry import (
    DATASETS,
    INFERENCES,
)
from bench.core.validation import validated
from bench.datasets.base import Dataset
from bench.motion import MotionSpec
from bench.protocol.entries import (
    check_label,
    corruption_entry,
    distinct,
    inference_entry,
    look_up,
    model_entry,
    occlusion_entry,
    predictor_entry,
)
from bench.protocol.outline import Outline
from bench.protocol.schema import (
    Comparison,
    Forecast,
    Protocol,
    Published,
    PublishedImputation,
    Shown,
    frames_of,
    spec_of,
)
from models.base import Detector, GenerativeImputer, Imputer

REFERENCES = ("mean", "linear")
"""Default ``references``: the models that the error of the others is compared with."""
LIMITED = {"epochs": 2, "masks": 2}
"""Largest values of a fit's settings in a quick look: epochs, and masks that are tried."""
HORIZONS_MS = (80, 160, 320, 400, 560, 720, 880, 1000)
"""Default horizons of predictions; those that fall on no frame of the future are left out."""


def load(path: Path, overrides: Sequence[str] = ()) -> Protocol:
    """Read a protocol file, apply ``key.path=value`` overrides, and resolve it.

    Raises:
        InputError: the file is missing, not YAML, or not a valid protocol.
    """
    raw = safe_yaml.read(path)
    if not isinstance(raw, dict):
        raise InputError(f"{path}: a protocol is a mapping of keys such as dataset and models")
    raw = {"name": path.stem, **overridden(raw, overrides)}
    try:
        protocol = resolve(raw)
        for label in protocol.learners:
            protocol.parameters(label)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return protocol


def resolve(raw: Mapping[str, Any]) -> Protocol:
    """Return the Protocol of plain values; raises InputError naming the first invalid setting."""
    head = validated(Outline, raw, "")
    dataset = _dataset(head.dataset)
    spec = spec_of(dataset)
    if not head.models and not head.predictors:
        raise InputError("models: missing; name a model, or a predictor under predictors")
    if head.models and not head.occlusion:
        raise InputError("occlusion: missing")
    for label in set(head.models) & set(head.predictors):
        raise InputError(f"{label}: models and predictors must not share a label")
    if head.scale.samples < len(head.actions):
        raise InputError(
            f"scale.samples: {head.scale.samples} windows are too few for {len(head.actions)} "
            "actions; draw more"
        )
    labels = Counter([*head.occlusion, *head.corruption, *head.foreign])
    for label in (label for label, times in labels.items() if times > 1):
        raise InputError(f"{label}: occlusion, corruption and foreign must not share a label")
    _check_distinguishable([*head.models, *head.predictors])
    _check_distinguishable(labels)
    _check_distinguishable(head.inference)
    protocol = Protocol(
        name=head.name,
        description=head.description,
        dataset=dataset,
        models={label: model_entry(head, label) for label in head.models},
        predictors={label: predictor_entry(head, label) for label in head.predictors},
        forecast=(forecast := _forecast(head, spec)),
        published=tuple(
            _published(head, number, forecast) for number in range(len(head.published))
        ),
        published_imputation=tuple(
            _published_imputation(head, number) for number in range(len(head.published_imputation))
        ),
        inference={
            label: inference_entry(INFERENCES, "inference", label, entry or {})
            for label, entry in head.inference.items()
        },
        occlusion={label: occlusion_entry(label, e, spec) for label, e in head.occlusion.items()},
        training_masks={
            label: occlusion_entry(label, e, spec, "training_masks")
            for label, e in head.training_masks.items()
        },
        corruption={
            label: corruption_entry(label, e or {}, spec) for label, e in head.corruption.items()
        },
        foreign={label: _foreign(label, e or {}, spec) for label, e in head.foreign.items()},
        actions=distinct(head.actions, "actions"),
        show=tuple(_shown(head, number) for number in range(len(head.show))),
        references=_references(head),
        comparisons={label: _comparison(head, label) for label in head.comparisons},
        seeds=distinct(head.seeds, "seeds"),
        scale=head.scale,
        limit=head.limit,
        resources=head.resources,
    )
    return protocol if head.limit is None else _limited(protocol, head.limit)


def _limited(protocol: Protocol, limit: int) -> Protocol:
    """Return a protocol reduced to a quick look; doing so twice changes nothing."""

    def shortened(entry: Any) -> Any:
        stated = {name: getattr(entry.settings, name, None) for name in LIMITED}
        less = {
            name: LIMITED[name]
            for name, value in stated.items()
            if isinstance(value, int) and value > LIMITED[name]
        }
        return replace(entry, settings=entry.settings.model_copy(update=less)) if less else entry

    splits = {
        split: min(limit, getattr(protocol.scale, split) or limit)
        for split in ("train", "valid", "test")
    }
    # At least one window of each action is drawn.
    drawn = min(protocol.scale.samples, max(limit, len(protocol.actions)))
    return replace(
        protocol,
        models={label: shortened(entry) for label, entry in protocol.models.items()},
        predictors={label: shortened(entry) for label, entry in protocol.predictors.items()},
        scale=protocol.scale.model_copy(update={**splits, "samples": drawn}),
    )


def dataset(name: str, overrides: Sequence[str] = ()) -> Dataset:
    """Return a data set with ``key=value`` settings; raises InputError if either is unknown."""
    return validated(DATASETS.get(name), stated(overrides), name)


def stated(overrides: Iterable[str]) -> dict[str, Any]:
    """Return the plain values of ``key.path=value`` overrides.

    Raises:
        InputError: one is not of this form, or its value is not YAML.
    """
    return overridden({}, overrides)


def overridden(raw: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return a copy of plain values with ``key.path=value`` overrides applied.

    Raises:
        InputError: one is not of this form, or its value is not YAML.
    """
    changed = deepcopy(dict(raw))
    for override in overrides:
        _apply(changed, override)
    return changed


def _dataset(raw: dict[str, Any], where: str = "dataset") -> Dataset:
    settings = dict(raw)
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise InputError(f"{where}.name: name one{did_you_mean('', DATASETS.all())}")
    return validated(look_up(DATASETS, name, f"{where}.name"), settings, where)


def _foreign(label: str, raw: dict[str, Any], spec: MotionSpec) -> Dataset:
    where = f"foreign.{label}"
    shape = {"frames": spec.frames, "fps": spec.fps}
    dataset = _dataset({"name": label, **shape, **raw}, where)
    if (dataset.frames, dataset.fps) != (spec.frames, spec.fps):
        raise InputError(
            f"{where}: its windows must have {spec.frames} frames and {spec.fps:g} fps"
        )
    if len(dataset.skeleton) != len(spec.skeleton):
        joints = f"{len(dataset.skeleton)} joints, not {len(spec.skeleton)}"
        raise InputError(f"{where}: it has {joints}; choose a data set with the same joints")
    if others := [name for name in dataset.skeleton.names if name not in spec.skeleton.names]:
        raise InputError(
            f"{where}: its joints {', '.join(others)} are not in the windows that models are "
            "fitted on; choose a data set with the same joints"
        )
    return dataset


def _references(head: Outline) -> tuple[str, ...]:
    """Return the requested references, or those of the default ones that are in the protocol."""
    if head.references is None:
        return tuple(label for label in REFERENCES if label in head.models)
    for label in head.references:
        check_label(label, head.models, "references")
        _check_completed(head, label, "", "references")
    return distinct(head.references, "references")


def _shown(head: Outline, number: int) -> Shown:
    where = f"show.{number}"
    shown = validated(Shown, head.show[number], where)
    check_label(shown.model, head.models, f"{where}.model")
    if shown.inference:
        check_label(shown.inference, head.inference, f"{where}.inference")
    check_label(shown.mechanism, head.occlusion, f"{where}.mechanism")
    levels = head.occlusion[shown.mechanism].get("levels") or ()
    check_label(str(shown.level), {str(level): None for level in levels}, f"{where}.level")
    _check_completed(head, shown.model, shown.inference, where)
    return shown


def _comparison(head: Outline, label: str) -> Comparison:
    where = f"comparisons.{label}"
    comparison = validated(Comparison, head.comparisons[label], where)
    check_label(comparison.model, head.models, f"{where}.model")
    check_label(comparison.against, head.models, f"{where}.against")
    if comparison.inference:
        check_label(comparison.inference, head.inference, f"{where}.inference")
    if comparison.model == comparison.against:
        raise InputError(f"{where}: {comparison.model} is compared with itself; name another")
    _check_completed(head, comparison.model, comparison.inference, where)
    _check_completed(head, comparison.against, "", where)
    return comparison


def _check_completed(head: Outline, label: str, inference: str, where: str) -> None:
    """Raise InputError if a model completes no windows with an inference."""
    entry = model_entry(head, label)
    scores_only = entry.train_on and issubclass(entry.cls, Detector)
    if not issubclass(entry.cls, Imputer) or scores_only:
        raise InputError(f"{where}: {label} completes no windows")
    known = [""]
    if issubclass(entry.cls, GenerativeImputer):
        known = [one for one in entry.inference or head.inference if one != "mean"]
    if inference not in known:
        how = f"inference: {' or '.join(known)}" if any(known) else "no inference"
        raise InputError(f"{where}: {label} completes windows with {how}")


def _forecast(head: Outline, spec: MotionSpec) -> Forecast:
    forecast = validated(Forecast, head.forecast, "forecast")
    for label in forecast.imputers or ():
        check_label(label, head.models, "forecast.imputers")
        if not issubclass(model_entry(head, label).cls, Imputer):
            raise InputError(f"forecast.imputers: {label} completes no windows; leave it out")
    if forecast.horizons_ms is None:
        default = tuple(frames_of(HORIZONS_MS, spec))
        return forecast.model_copy(update={"horizons_ms": default})
    distinct(forecast.horizons_ms, "forecast.horizons_ms")
    for horizon in forecast.horizons_ms:
        if horizon not in frames_of([horizon], spec):
            first, last = 1000 / spec.fps, 1000 * spec.future / spec.fps
            raise InputError(
                f"forecast.horizons_ms: no frame {horizon} ms ahead; there is one every "
                f"{first:g} ms, to {last:g} ms (dataset.future)"
            )
    return forecast


def _published(head: Outline, number: int, forecast: Forecast) -> Published:
    where = f"published.{number}"
    table = validated(Published, head.published[number], where)
    check_label(table.predictor, head.predictors, f"{where}.predictor")
    count = len(forecast.horizons_ms or ())
    for action, errors in table.mm.items():
        if len(errors) != count:
            raise InputError(
                f"{where}.mm.{action}: {len(errors)} numbers for the {count} horizons of "
                "forecast.horizons_ms"
            )
    for other in head.published[:number]:
        if (other["predictor"], other.get("windows", "all")) == (table.predictor, table.windows):
            raise InputError(f"{where}: another table has {table.predictor} and these windows")
    return table


def _published_imputation(head: Outline, number: int) -> PublishedImputation:
    where = f"published_imputation.{number}"
    table = validated(PublishedImputation, head.published_imputation[number], where)
    check_label(table.occlusion, head.occlusion, f"{where}.occlusion")
    known = list(map(str, head.occlusion[table.occlusion].get("levels") or ()))
    for level in table.errors:
        if str(level) not in known:
            raise InputError(
                f"{where}.errors: occlusion.{table.occlusion} has no level {level}; it has "
                f"{', '.join(known) or 'none'}"
            )
    return table


def _check_distinguishable(labels: Iterable[str]) -> None:
    """Raise InputError for labels that differ in case only: some file systems confuse them."""
    seen: dict[str, str] = {}
    for label in labels:
        if (other := seen.setdefault(label.casefold(), label)) != label:
            raise InputError(f"{other}, {label}: labels differ in case only; rename one")


def _apply(raw: dict[str, Any], override: str) -> None:
    """Set one ``key.path=value`` in a raw protocol; the value is parsed as YAML."""
    path, equals, text = override.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise InputError(
            f"--set {override}: write it as KEY.PATH=VALUE, such as models.hgvae.epochs=5"
        )
    try:
        value = safe_yaml.parse(text)
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
