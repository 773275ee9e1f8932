"""The reference of every protocol key: ``python -m bench.protocol.reference > docs/protocol.md``.

Types, defaults and descriptions come from the settings classes themselves. What no class says,
which is what the sections and the keys of a labelled entry are for, is said here.
"""

import inspect
import types
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bench.core.registry import (
    CORRUPTIONS,
    DATASETS,
    INFERENCES,
    MECHANISMS,
    MODELS,
    PREDICTORS,
    Registry,
    summary,
)
from bench.core.settings import Settings
from bench.datasets.base import Dataset
from bench.fitting.training import TrainSettings
from bench.motion.corruptions.base import Corruption
from bench.motion.mechanisms.base import Level, Mechanism
from bench.protocol.outline import Outline
from bench.protocol.schema import (
    Comparison,
    Forecast,
    Published,
    PublishedImputation,
    Resources,
    Scale,
    Share,
    Shown,
)

INTRODUCTION = """\
# Every key of a protocol

Generated from the code by `python -m bench.protocol.reference > docs/protocol.md`; do not edit it.
[choosing.md](choosing.md) shows how the keys are used. `bench validate FILE` prints a protocol with
every default stated; an unknown key or a wrong type is an error that names the key."""

SECTIONS = {
    "name": "names the folder of results; by default, the protocol file's name without `.yaml`",
    "description": "what the experiment is about; no value depends on it",
    "dataset": "the source of motion: `name` and [its settings](#data-sets)",
    "models": "imputers, detectors and classifiers to fit and evaluate: [entries](#entries)",
    "predictors": "predictors of the frames that follow a window: [entries](#entries)",
    "forecast": "when predictions are judged, and of which pasts: [forecast](#forecast)",
    "published": "published errors of predictors, to compare with: [published](#published)",
    "published_imputation": "published errors of imputers, to compare with: "
    "[published_imputation](#published_imputation)",
    "inference": "how generative models complete a window, by label: [entries](#entries)",
    "occlusion": "what is hidden, and how much of it: [entries](#entries) with `levels`",
    "training_masks": "what is hidden from models that train on masks, or choose settings by them: "
    "[entries](#entries) with `levels`; entries, and the levels of one, are equally likely; by "
    "default, a usual mixture of features, joints, gaps and frames",
    "corruption": "windows that detectors are to notice: [entries](#entries) with `levels`",
    "foreign": "data sets whose windows detectors are to notice: a label, and the keys of "
    "`dataset`; the label is the default of `name`",
    "actions": "actions that conditional models are given and that classifiers distinguish",
    "show": "completions to draw (the paper's Fig. 1): [show](#show)",
    "references": "models that errors are stated relative to, as `change_vs_NAME`; by default "
    "`mean` and `linear`, if they take part",
    "comparisons": "pairs of imputers to compare, by label: [comparisons](#comparisons)",
    "seeds": "each model is fitted once per seed, and each mechanism hides other entries",
    "scale": "how many windows are used: [scale](#scale)",
    "limit": "a quick look: at most so many windows of each split, and 2 epochs per fit",
    "resources": "what fits and evaluations may use: [resources](#resources)",
}
"""What the top-level keys are for."""

MEANINGS = {
    # Keys of sections.
    "train": "train windows",
    "valid": "validation windows",
    "test": "test windows",
    "model": "label of `models`",
    "inference": "label of `inference`; empty where the model takes none",
    "against": "label of `models` that it is compared with",
    "predictor": "label of `predictors`",
    "mechanism": "label of `occlusion`",
    "level": "one of its levels",
    "device": "where models are fitted and evaluated; `auto`: a GPU if torch sees one",
    "fit": "what a trial of a fit reserves",
    "evaluate": "what a trial of cells reserves",
    "cpus": "processors, and threads that a job computes with",
    "gpus": "GPUs, or a share of one",
    # Settings.
    "epochs": "passes over the train windows",
    "batch_size": "windows of an optimiser step",
    "learning_rate": "Adam's step size in the first epoch",
    "steps": "steps from the start to the completion",
    "dropout": "share of activations set to 0 while fitting",
    "width": "features of the hidden layers",
    "layers": "number of layers",
    "blocks": "number of residual blocks",
    "latent": "dimensions of the latent",
    "rebuilt": "also use `cmu_expmap_rebuilt`, files recomputed where the benchmark's are lost",
}
"""What other keys mean whose field has no description."""

ENTRIES = """\
## Entries

The sections `models`, `predictors`, `inference`, `occlusion`, `training_masks` and `corruption`
are mappings of labels to entries. A label is your own choice, at most 100 printable characters
without `/` and `\\`; it is what tables show. These keys of an entry say what it is; all others
are settings of that thing.

| section | key | meaning |
| --- | --- | --- |
| `models` | `model` | which model; by default, the one named like the label |
| | `inference` | list of labels of `inference` that complete with it; by default, all |
| | `train_on` | list of actions to fit on; a detector scores the others, an imputer completes all |
| `predictors` | `predictor` | which predictor; by default, the one named like the label |
| | `degraded` | list of labels of `occlusion` that its training pasts are degraded with |
| `inference` | `inference` | which inference; by default, the one named like the label |
| `occlusion`, `training_masks` | `mechanism` | which mechanism; by default, that of the label |
| | `levels` | list of levels, such as `[27, 10%]` |
| `corruption` | `corruption` | which corruption; by default, the one named like the label |
| | `levels` | list of levels in the corruption's unit |
| all | `preset` | name of settings to start from; other keys of the entry override them |
| `models`, `predictors` | `like` | label of another entry to take all settings from |

Where several set a key, the entry itself counts first, then its preset, then its `like`."""

NESTED: dict[str, type[Settings]] = {
    "forecast": Forecast,
    "published": Published,
    "published_imputation": PublishedImputation,
    "show": Shown,
    "comparisons": Comparison,
    "scale": Scale,
    "resources": Resources,
}
"""Sections that have keys of their own, and the class of each (or of each of their items)."""

SIMPLE = {int: "whole number", float: "number", bool: "true or false", str: "text"}
BOUNDS = {Ge: ("ge", "≥"), Gt: ("gt", ">"), Le: ("le", "≤"), Lt: ("lt", "<")}
RESERVED = {"level", "seed"}
"""Fields of mechanisms and corruptions that ``levels`` and ``seeds`` set."""


def page() -> str:
    """Return the reference as Markdown."""
    parts = [INTRODUCTION, "## Sections", _table(_rows(Outline, meanings=SECTIONS)), ENTRIES]
    for name, cls in NESTED.items():
        parts += [f"## {name.capitalize()}", summary(cls).replace("``", "`"), _table(_rows(cls))]
        if cls is Resources:
            parts += ["`fit` and `evaluate` each have:", _table(_rows(Share))]
    fit = "What every fit by gradient descent can set; defaults of a model's own are stated there."
    parts += ["## Settings of every fit", fit, _table(_rows(TrainSettings))]
    parts += _kind("Models", MODELS, TrainSettings)
    parts += _kind("Predictors", PREDICTORS, TrainSettings)
    parts += _kind("Inferences", INFERENCES)
    parts += _kind("Mechanisms", MECHANISMS)
    parts += _kind("Corruptions", CORRUPTIONS)
    parts += _kind("Data sets", DATASETS, Dataset)
    return "\n\n".join(parts) + "\n"


def _kind(title: str, registry: Registry[Any], base: type[BaseModel] = Settings) -> Iterator[str]:
    """Yield the section of one kind: for each name, its settings and presets.

    Settings that a class has from ``base`` without a change are in the table of ``base``.
    """
    yield f"## {title}"
    common = "[those of every fit](#settings-of-every-fit)"
    if base is Dataset:
        common = "[those of every data set](#settings-of-every-data-set)"
        yield "### Settings of every data set"
        yield _table(_rows(base))
    described: dict[type, str] = {}
    for name, cls in registry.all().items():
        yield f"### {registry.kind.capitalize()} `{name}`"
        yield summary(cls).replace("``", "`")
        if issubclass(cls, Mechanism | Corruption):
            yield _levels(cls)
        if getattr(cls, "uses_masks", False):
            yield "Its fit depends on `training_masks`."
        settings = getattr(cls, "Settings", cls)
        if settings.model_fields and settings in described:
            yield f"Its settings are those of `{described[settings]}`."
        else:
            described[settings] = name
            inherits = base is not Settings and issubclass(settings, base)
            known = {
                key
                for key, field in settings.model_fields.items()
                if (inherits and _same(field, base.model_fields.get(key)))
                or (key in RESERVED and issubclass(settings, Mechanism | Corruption))
            }
            rows = list(_rows(settings, known))
            if rows:
                yield _table(rows)
            if inherits:
                yield f"{'In addition' if rows else 'Settings'}: {common}."
            elif not rows:
                yield "No settings."
        for preset, chosen in getattr(cls, "presets", {}).items():
            values = ", ".join(f"`{key}: {_plain(value)}`" for key, value in chosen.items())
            yield f"Preset `{preset}`: {values}."


def _levels(cls: Any) -> str:
    """Return what levels a mechanism or corruption takes, with examples or their unit."""
    examples = [f"`{level}`" for level in getattr(cls, "examples", ()) if level]
    if examples:
        return f"Levels, for example: {', '.join(examples)}."
    field = cls.model_fields["level"]
    if getattr(cls, "examples", None) or field.annotation is type(None):
        return "No levels."
    unit = getattr(cls, "unit", "")
    return f"Levels: {_type(field.annotation, field.metadata)}{unit and f', in {unit}'}."


def _same(field: FieldInfo, other: FieldInfo | None) -> bool:
    """Return whether two fields have the same type, bounds, default and description."""
    return other is not None and _row("", field, "") == _row("", other, "")


def _rows(
    cls: type[BaseModel], leave_out: Container[str] = (), meanings: Mapping[str, str] = MEANINGS
) -> Iterator[list[str]]:
    for name, field in cls.model_fields.items():
        if name not in leave_out:
            yield _row(name, field, _inherited(cls, name) or meanings.get(name, ""))


def _inherited(cls: type[BaseModel], name: str) -> str:
    """Return the description of a field, or that of the field which it overrides."""
    fields = (getattr(base, "model_fields", {}).get(name) for base in cls.__mro__)
    return next((field.description for field in fields if field and field.description), "")


def _row(name: str, field: FieldInfo, meaning: str) -> list[str]:
    default = "required" if field.is_required() else _default(field)
    return [f"`{name}`", _type(field.annotation, field.metadata), default, meaning]


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    return f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    """Return a value as a protocol states it."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")


def _type(annotation: Any, metadata: list[Any]) -> str:
    """Return a type and its bounds in words."""
    return " ".join([_bare(annotation), *_bounds(metadata)])


def _bare(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "null"
    if origin in (Union, types.UnionType):
        return " or ".join(map(_bare, arguments))
    if origin is Literal:
        return " or ".join(f"`{_plain(value)}`" for value in arguments)
    if origin in (tuple, list):
        if len(arguments) == 1 or arguments[-1] is Ellipsis:
            return f"list of ({_bare(arguments[0])})"
        return f"[{', '.join(map(_bare, arguments))}]"
    if origin is dict:
        return "mapping"
    if hasattr(annotation, "__metadata__"):
        return _type(annotation.__origin__, list(annotation.__metadata__))
    if annotation is Level:
        return "count or share"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "mapping"
    return SIMPLE.get(annotation, str(getattr(annotation, "__name__", annotation)).lower())


def _bounds(metadata: list[Any]) -> Iterator[str]:
    for bound in metadata:
        if sign := BOUNDS.get(type(bound)):
            yield f"{sign[1]} {getattr(bound, sign[0]):.10g}"
        elif isinstance(bound, MinLen):
            yield f"(at least {bound.min_length})"
        elif isinstance(bound, MaxLen):
            yield f"(at most {bound.max_length})"


def _table(rows: Iterable[list[str]]) -> str:
    lines = [
        "| " + " | ".join(text.replace("|", "\\|") for text in row) + " |"
        for row in (["key", "type", "default", "meaning"], ["---"] * 4, *rows)
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(), end="")
