"""What a protocol can name, as tables for ``bench list``."""

import functools
from collections.abc import Callable
from typing import Any

from rich.table import Table

from bench.datasets.synthetic import SKELETON
from bench.motion import MotionSpec
from bench.registry import CORRUPTIONS, DATASETS, INFERENCES, MECHANISMS, MODELS, Registry, summary
from bench.run import parameters
from models.base import GenerativeImputer, Imputer

PAPER_SPEC = MotionSpec(50, 25.0, SKELETON)
"""The paper's windows: 50 frames of 18 joints."""


def sections() -> dict[str, Callable[[bool], Table]]:
    """Return, by the name of a section, what makes its table; True asks for details."""
    return {
        "models": _models,
        "inferences": functools.partial(_plain, "inferences", INFERENCES),
        "mechanisms": functools.partial(_plain, "mechanisms", MECHANISMS),
        "corruptions": functools.partial(_plain, "corruptions", CORRUPTIONS),
        "datasets": functools.partial(_plain, "data sets", DATASETS),
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
            row += [_size(name, cls), _settings(cls.Settings) + _presets(cls)]
        table.add_row(*row)
    for name, reason in MODELS.broken.items():
        table.add_row(name, "unusable", reason)
    return table


def _kind(cls: Any) -> str:
    if issubclass(cls, GenerativeImputer):
        return "generative"
    return "baseline" if issubclass(cls, Imputer) else "detector"


def _size(name: str, cls: Any) -> str:
    count = parameters(name, PAPER_SPEC, None)
    stated = getattr(cls, "paper_parameters", None)
    if not stated:
        return f"{count:,}"
    percent = 100 * (count / stated - 1)
    return f"{count:,}; the paper prints {stated / 1e6:.2f} M, this is {percent:+.1f} %"


def _plain(title: str, registry: Registry[Any], verbose: bool) -> Table:
    table = Table("name", "what", title=title)
    if verbose:
        table.add_column("settings")
    for name, cls in registry.all().items():
        details = [_settings(cls) + _presets(cls)] if verbose else []
        table.add_row(name, summary(cls), *details)
    for name, reason in registry.broken.items():
        table.add_row(name, f"unusable: {reason}")
    return table


def _settings(cls: Any) -> str:
    """Return every setting with its default, one a line."""
    lines = []
    for name, field in cls.model_fields.items():
        default = "required" if field.is_required() else str(field.default)
        lines.append(f"{name}: {default}")
    return "\n".join(lines)


def _presets(cls: Any) -> str:
    """Return what each preset of a class sets, one a line."""
    presets: dict[str, dict[str, Any]] = getattr(cls, "presets", {})
    told = (
        f"\npreset {name}: {', '.join(f'{key}: {value}' for key, value in chosen.items())}"
        for name, chosen in presets.items()
    )
    return "".join(told)
