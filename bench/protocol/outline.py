"""The outline of a protocol: its sections, before their entries are resolved."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from bench.core.settings import Settings
from bench.protocol.schema import (
    Resources,
    Scale,
)


def _legible(label: str) -> str:
    """Return a label; raises ValueError if tables or file names could not show it unchanged."""
    if not label.isprintable() or label != label.strip() or {"/", "\\"} & set(label):
        raise ValueError("a label is printable text without / and \\")
    return label


Label = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_legible)]


Seed = Annotated[int, Field(ge=0)]


def _default_inference() -> dict[str, dict[str, Any] | None]:
    return {"map": None}


class Outline(Settings):
    """The raw sections of a protocol: types are checked here, labelled entries in ``entries``."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)
    description: str = ""
    dataset: dict[str, Any]
    models: dict[Label, dict[str, Any] | None] = Field(default_factory=dict)
    predictors: dict[Label, dict[str, Any] | None] = Field(default_factory=dict)
    forecast: dict[str, Any] = Field(default_factory=dict)
    published: list[dict[str, Any]] = Field(default_factory=list)
    published_imputation: list[dict[str, Any]] = Field(default_factory=list)
    inference: dict[Label, dict[str, Any] | None] = Field(default_factory=_default_inference)
    occlusion: dict[Label, dict[str, Any]] = Field(default_factory=dict)
    training_masks: dict[Label, dict[str, Any]] = Field(default_factory=dict)
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
