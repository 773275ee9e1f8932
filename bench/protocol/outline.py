"""The outline of a protocol: which sections it has, before their entries are resolved."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from bench.core.settings import Settings
from bench.protocol.schema import (
    Resources,
    Scale,
)


def _legible(label: str) -> str:
    """Return a label that tables, messages and names of files can have as it is."""
    if not label.isprintable() or label != label.strip() or {"/", "\\"} & set(label):
        raise ValueError("a label is printable text without / and \\")
    return label


Label = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_legible)]


Seed = Annotated[int, Field(ge=0)]


def _map_alone() -> dict[str, dict[str, Any] | None]:
    return {"map": None}


class Outline(Settings):
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
