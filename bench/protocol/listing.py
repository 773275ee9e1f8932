"""What a protocol can name, as tables for ``bench list``."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.table import Table

from bench.core import safe_yaml
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
from bench.datasets.synthetic import SKELETON
from bench.fitting.learner import parameters
from bench.motion import MotionSpec, Skeleton
from bench.motion.corruptions.base import Corruption
from bench.motion.mechanisms.base import Mechanism
from bench.protocol.shipped import shipped
from models.base import Classifier, GenerativeImputer, Imputer
from predictors.base import PUBLISHED_JOINTS

PAPER_SPEC = MotionSpec(50, 25.0, SKELETON, actions=tuple(map(str, range(13))))
"""The paper's windows, 50 frames of 18 joints, and as many actions as its conditional model."""


def skeleton_of(count: int) -> Skeleton:
    """Return a skeleton of ``count`` joints without bones or positions, to count parameters."""
    names = tuple(map(str, range(count)))
    return Skeleton(names, (-1,) * count, np.zeros((count, 3)), {"all": names}, ())


PUBLISHED_SPEC = MotionSpec(50, 25.0, skeleton_of(PUBLISHED_JOINTS), 25)
"""What papers on prediction count parameters for: 22 joints of Human3.6M."""


def sections() -> dict[str, Callable[[bool], Table]]:
    """Return the function that makes each section's table; its argument is ``verbose``."""
    return {
        "models": _models,
        "predictors": _predictors,
        "inferences": functools.partial(_registered, "inferences", INFERENCES),
        "mechanisms": functools.partial(_registered, "mechanisms", MECHANISMS),
        "corruptions": functools.partial(_registered, "corruptions", CORRUPTIONS),
        "datasets": functools.partial(_registered, "data sets", DATASETS),
        "protocols": _protocols,
    }


def _models(verbose: bool) -> Table:
    table = Table("model", "kind", "what", title="models")
    if verbose:
        table.add_column("parameters")
        table.add_column("settings")
    for name, cls in MODELS.all().items():
        kind = "control" if cls.control else _kind(cls)
        row = [name, kind, summary(cls)]
        if verbose:
            row += [_size(cls), _settings(cls.Settings) + _presets(cls)]
        table.add_row(*row)
    for name, reason in MODELS.broken.items():
        table.add_row(name, "unusable", reason)
    return table


def _predictors(verbose: bool) -> Table:
    table = Table("predictor", "kind", "what", title="predictors")
    if verbose:
        table.add_column(f"parameters, {PUBLISHED_JOINTS} joints")
        table.add_column("settings")
    for name, cls in PREDICTORS.all().items():
        row = [name, "control" if cls.control else "predictor", summary(cls)]
        if verbose:
            count = parameters(cls, PUBLISHED_SPEC, None)
            size = _compared(count, cls.published_parameters, "published")
            row += [size, _settings(cls.Settings) + _presets(cls)]
        table.add_row(*row)
    for name, reason in PREDICTORS.broken.items():
        table.add_row(name, "unusable", reason)
    return table


def _kind(cls: Any) -> str:
    if issubclass(cls, GenerativeImputer):
        return "generative"
    if issubclass(cls, Classifier):
        return "classifier"
    return "baseline" if issubclass(cls, Imputer) else "detector"


def _size(cls: Any) -> str:
    count = parameters(cls, PAPER_SPEC, None)
    return _compared(count, getattr(cls, "paper_parameters", None), "the paper prints")


def _compared(count: int, stated: float | None, who: str) -> str:
    """Return a number of parameters, compared with a published one."""
    if not stated:
        return f"{count:,}"
    percent = 100 * (count / stated - 1)
    return f"{count:,}; {who} {stated / 1e6:.3g} M, this is {percent:+.1f} %"


def _registered(title: str, registry: Registry[Any], verbose: bool) -> Table:
    table = Table("name", "what", title=title)
    if verbose:
        table.add_column("settings")
    for name, cls in registry.all().items():
        details = [_settings(cls) + _presets(cls)] if verbose else []
        table.add_row(name, summary(cls), *details)
    for name, reason in registry.broken.items():
        table.add_row(name, f"unusable: {reason}")
    return table


def _protocols(verbose: bool) -> Table:
    """Return the shipped protocols; verbose adds where their files are."""
    table = Table("protocol", "what", title="protocols")
    if verbose:
        table.add_column("file")
    for name, path in shipped().items():
        description = " ".join(str(safe_yaml.read(path).get("description", "")).split())
        table.add_row(name, description, *([str(path)] if verbose else []))
    return table


def _settings(cls: Any) -> str:
    """Return every setting with its default, one a line."""
    lines = []
    # A protocol gives levels and seeds elsewhere.
    reserved = {"level", "seed"} if issubclass(cls, Mechanism | Corruption) else set()
    for name, field in cls.model_fields.items():
        if name in reserved:
            continue
        default = "required" if field.is_required() else str(field.default)
        lines.append(f"{name}: {default}")
    return "\n".join(lines)


def _presets(cls: Any) -> str:
    """Return what each preset of a class sets, one a line."""
    presets: dict[str, dict[str, Any]] = getattr(cls, "presets", {})
    lines = (
        f"\npreset {name}: {', '.join(f'{key}: {value}' for key, value in chosen.items())}"
        for name, chosen in presets.items()
    )
    return "".join(lines)
