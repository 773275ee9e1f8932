"""The base class of mechanisms, which hide entries of windows, and their levels.

A mechanism hides the same entries of a window for every model, batch and process: its random draws
depend only on the mechanism's name, its level, the seed and the window's name.
"""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from bench.core.settings import Settings
from bench.motion.seeds import derive_seed
from bench.motion.windows import MotionSpec, Windows


@dataclass(frozen=True)
class Level:
    """How much is hidden: a count of features, or a share of all of them; exactly one is set.

    Protocols write a count as a whole number (``270``) and a share as per cent (``10%``) or as a
    decimal fraction (``0.1``).
    """

    count: int | None = None
    share: float | None = None

    @classmethod
    def parse(cls, value: object) -> "Level":
        """Return the level that a protocol's value means; raises ValueError if it is not one."""
        if isinstance(value, Level):
            return value
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(count=value)
        share = None
        if isinstance(value, float):
            share = value
        elif isinstance(value, str):
            if value.strip().isdecimal():
                return cls(count=int(value))
            if match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value):
                share = float(match[1]) / 100
        if share is not None and share > 1:
            raise ValueError(f"level {value} is over 100%")
        if share is not None and share >= 0:
            return cls(share=share)
        raise ValueError(f"level {value!r} is neither a count like 270 nor a share like '10%'")

    def __str__(self) -> str:
        return str(self.count) if self.share is None else f"{100 * self.share:.10g}%"

    def features(self, total: int) -> int:
        """Return how many of ``total`` features are hidden; raises ValueError if more than all."""
        if self.share is not None:
            return round(self.share * total)
        assert self.count is not None
        if self.count > total:
            raise ValueError(f"level {self.count} is over 100%: a window has {total} features")
        return self.count

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda level: level.count if level.share is None else str(level)
            ),
        )


class Mechanism(Settings, ABC):
    """A way of hiding entries, at one level, under one seed.

    A subclass sets ``name`` and implements ``hide`` for one window; its other fields are the
    settings a protocol may give.

    Attributes:
        name: its name in protocols.
        presets: named groups of settings that a protocol can refer to.
    """

    name: ClassVar[str]
    presets: ClassVar[dict[str, dict[str, Any]]] = {}

    level: Level
    seed: int = 0

    @abstractmethod
    def hide(self, spec: MotionSpec, generator: np.random.Generator) -> NDArray[np.bool_]:
        """Return bool ``(frame, joint, 3)`` for one window, True where a value is hidden."""

    def check(self, spec: MotionSpec) -> None:
        """Raise ValueError if this level cannot be applied to windows of this shape."""
        self.level.features(spec.features)

    def occluded(self, windows: Windows) -> NDArray[np.bool_]:
        """Return bool of the shape of ``windows.motion``, True where a value is hidden."""
        spec = windows.spec
        hidden = np.empty(windows.motion.shape, dtype=np.bool_)
        for row, window in enumerate(windows.names):
            seed = derive_seed("occlusion", self.name, self.level, self.seed, window)
            hidden[row] = self.hide(spec, np.random.default_rng(seed))
        return hidden
