"""Resolves the labelled entries of a protocol: the class that each names, and its settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.core.errors import InputError, did_you_mean
from bench.core.registry import (
    CORRUPTIONS,
    MECHANISMS,
    MODELS,
    PREDICTORS,
    Registry,
)
from bench.core.validation import validated
from bench.motion import MotionSpec
from bench.motion.mechanisms.base import Level
from bench.protocol.outline import Outline
from bench.protocol.schema import (
    CorruptionEntry,
    ModelEntry,
    OcclusionEntry,
    PredictorEntry,
)
from models.base import Detector, Imputer


@dataclass(frozen=True)
class _Section:
    """A section of a protocol whose entries can start from each other with ``like``."""

    name: str
    key: str
    registry: Registry[Any]
    entries: Mapping[str, dict[str, Any] | None]


def predictor_entry(head: Outline, label: str) -> PredictorEntry:
    """Resolve ``predictors.LABEL``; raises InputError naming the first invalid key."""
    where = f"predictors.{label}"
    section = _Section("predictors", "predictor", PREDICTORS, head.predictors)
    settings = _inherited(section, label, ())
    name, degraded = settings.pop("predictor", label), settings.pop("degraded", None) or []
    cls = look_up(PREDICTORS, name, where)
    if not isinstance(degraded, list):
        raise InputError(f"{where}.degraded: give a list")
    for occlusion in degraded:
        check_label(occlusion, head.occlusion, f"{where}.degraded")
    if degraded and not cls.trained:
        raise InputError(
            f"{where}.degraded: {name} is not fitted, so degraded pasts have no effect"
        )
    return PredictorEntry(
        name,
        validated(cls.Settings, settings, where),
        distinct(degraded, f"{where}.degraded"),
    )


def model_entry(head: Outline, label: str) -> ModelEntry:
    """Resolve ``models.LABEL``; raises InputError naming the first invalid key."""
    where = f"models.{label}"
    settings = _inherited(_Section("models", "model", MODELS, head.models), label, ())
    name = settings.pop("model", label)
    inference, train_on = settings.pop("inference", None), settings.pop("train_on", None)
    cls = look_up(MODELS, name, where)
    for key, labels in (("inference", inference), ("train_on", train_on)):
        if labels is not None and not isinstance(labels, list):
            raise InputError(f"{where}.{key}: give a list")
    for other in inference or ():
        check_label(other, head.inference, f"{where}.inference")
    if train_on and not issubclass(cls, Detector | Imputer):
        raise InputError(
            f"{where}.train_on: {name} is neither a detector, to score unseen actions, nor an "
            "imputer; leave it out"
        )
    return ModelEntry(
        name,
        validated(cls.Settings, settings, where),
        None if inference is None else distinct(inference, f"{where}.inference"),
        tuple(map(str, train_on)) if train_on else None,
    )


def _with_preset(cls: Any, settings: dict[str, Any], where: str) -> dict[str, Any]:
    """Return settings, completed with those of the preset that they name, if any."""
    settings = dict(settings)
    name = settings.pop("preset", None)
    if name is None:
        return settings
    presets = getattr(cls, "presets", {})
    if not isinstance(name, str) or name not in presets:
        raise InputError(f"{where}.preset: no preset '{name}'{did_you_mean(str(name), presets)}")
    return presets[name] | settings


def _inherited(section: _Section, label: str, seen: tuple[str, ...]) -> dict[str, Any]:
    """Return an entry's keys, then those of its preset, then those of its ``like`` entry.

    The first that sets a key wins. The class that the ``like`` entry names is not inherited.

    Args:
        section: the section of the entry.
        label: of the entry.
        seen: labels whose ``like`` led here, to detect a cycle.
    """
    where = f"{section.name}.{label}"
    settings = dict(section.entries[label] or {})
    other = settings.pop("like", None)
    if "preset" in settings:
        cls = look_up(section.registry, settings.get(section.key, label), where)
        settings = _with_preset(cls, settings, where)
    if other is None:
        return settings
    if not isinstance(other, str) or other not in section.entries:
        near = did_you_mean(str(other), section.entries)
        raise InputError(f"{where}.like: no {section.key} '{other}'{near}")
    if other in (*seen, label):
        raise InputError(f"{where}.like: entries refer to each other in a cycle")
    base = _inherited(section, other, (*seen, label))
    base.pop(section.key, None)
    return base | settings


def inference_entry(registry: Any, key: str, label: str, raw: dict[str, Any]) -> Any:
    """Resolve an entry whose class is itself a settings block, such as those of ``inference``.

    Raises:
        InputError: the label is reserved, or a key is invalid.
    """
    settings = dict(raw)
    name = settings.pop(key, label)
    if label == "mean" and name != label:
        raise InputError(
            f"{key}.mean: this label is reserved for the degraded input; choose another"
        )
    where = f"{key}.{label}"
    cls = look_up(registry, name, where)
    return validated(cls, _with_preset(cls, settings, where), where)


def occlusion_entry(
    label: str, raw: dict[str, Any], spec: MotionSpec, section: str = "occlusion"
) -> OcclusionEntry:
    """Resolve ``SECTION.LABEL`` for windows of a shape; raises InputError if it is invalid."""
    where = f"{section}.{label}"
    settings = dict(raw)
    name = settings.pop("mechanism", label)
    cls = look_up(MECHANISMS, name, where)
    settings = _with_preset(cls, settings, where)
    if cls.kinds == ("none",):
        if "levels" in settings:
            raise InputError(f"{where}.levels: {name} has no levels; leave them out")
        settings["levels"] = [""]
    levels = _levels(settings, where, f"[{', '.join(cls.examples)}]")
    parsed: list[Level] = []
    amounts: list[int] = []
    for level in levels:
        try:
            parsed.append(Level.parse(level))
        except ValueError as error:
            raise InputError(f"{where}.levels: {error}") from None
        built = validated(cls, {"level": level, **settings}, where)
        try:
            built.check(spec)
            amounts.append(built.amount(spec))
        except ValueError as error:
            raise InputError(f"{where}.levels: {error}") from None
        if amounts[-1] == 0:
            raise InputError(
                f"{where}.levels: level {level} hides nothing; leave it out, "
                "clean windows are always scored"
            )
        pairs = zip(parsed, amounts, strict=True)
        same = [str(known) for known, amount in pairs if amount == amounts[-1]]
        if len(same) > 1:
            raise InputError(f"{where}.levels: {' and '.join(same)} hide the same; keep one")
    kept = built.model_dump(mode="json", exclude={"level", "seed"})
    return OcclusionEntry(name, tuple(parsed), kept)


def corruption_entry(label: str, raw: dict[str, Any], spec: MotionSpec) -> CorruptionEntry:
    """Resolve ``corruption.LABEL`` for windows of a shape; raises InputError if it is invalid."""
    where = f"corruption.{label}"
    settings = dict(raw)
    name = settings.pop("corruption", label)
    cls = look_up(CORRUPTIONS, name, where)
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
    return CorruptionEntry(name, distinct(stated, f"{where}.levels"), kept)


def _levels(settings: dict[str, Any], where: str, example: str) -> list[Any]:
    """Remove the levels from an entry's settings and return them."""
    levels = settings.pop("levels", None)
    if not isinstance(levels, list) or not levels:
        raise InputError(f"{where}.levels: give a list such as {example}")
    for reserved in {"level", "seed"} & set(settings):
        raise InputError(f"{where}.{reserved}: set levels here and seeds at the top")
    return levels


def look_up(registry: Any, name: object, where: str) -> Any:
    """Return the class registered under a name; raises InputError naming ``where`` if unknown."""
    try:
        return registry.get(str(name))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def check_label(label: object, known: Mapping[str, Any], where: str) -> None:
    """Raise InputError unless ``label`` is one of the ``known`` labels."""
    if not isinstance(label, str) or label not in known:
        raise InputError(f"{where}: no entry '{label}'{did_you_mean(str(label), known)}")


def distinct(values: Sequence[Any], where: str) -> tuple[Any, ...]:
    """Return values as a tuple; raises InputError if one occurs twice."""
    if len(set(values)) < len(values):
        raise InputError(f"{where}: {', '.join(map(str, values))} names the same one twice")
    return tuple(values)
