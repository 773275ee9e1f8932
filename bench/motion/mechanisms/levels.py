"""Levels: how much a mechanism hides, in the mechanism's own unit."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

Kind = Literal["count", "share", "duration", "none"]
_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(%|ms|s|frames?|)\s*")


@dataclass(frozen=True)
class Level:
    """A count, a share or a duration; one field is set at most.

    Protocols write a count as a whole number (``270``), a share as per cent (``10%``) or as a
    decimal fraction (``0.1``), a duration in time (``500 ms``, ``1.5 s``) or in frames
    (``12 frames``). A mechanism without levels has an empty one.

    Attributes:
        count: of what the mechanism counts, such as features, joints or limbs.
        share: in [0, 1].
        milliseconds: a duration in time.
        frames: a duration in frames.
    """

    count: int | None = None
    share: float | None = None
    milliseconds: float | None = None
    frames: int | None = None

    @classmethod
    def parse(cls, value: object) -> "Level":
        """Return the level that a protocol's value means; raises ValueError if it is not one."""
        if isinstance(value, Level):
            return value
        if value == "":
            return cls()
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(count=value)
        if isinstance(value, float) and 0 <= value <= 1:
            return cls(share=value)
        if isinstance(value, str) and (match := _PATTERN.fullmatch(value)):
            number, unit = float(match[1]), match[2]
            if unit == "%" and number <= 100:
                return cls(share=number / 100)
            if unit in ("ms", "s"):
                return cls(milliseconds=number * (1000 if unit == "s" else 1))
            if unit in ("", "frame", "frames") and number == int(number):
                return cls(count=int(number)) if not unit else cls(frames=int(number))
        if isinstance(value, float) or (isinstance(value, str) and value.strip().endswith("%")):
            raise ValueError(f"level {value} is not a share between 0 and 100%")
        raise ValueError(
            f"level {value!r} is neither a count like 270, nor a share like '10%', nor a duration "
            "like '500 ms' or '12 frames'"
        )

    def __str__(self) -> str:
        if self.share is not None:
            return f"{100 * self.share:.10g}%"
        if self.milliseconds is not None:
            return f"{self.milliseconds:.10g} ms"
        if self.frames is not None:
            return f"{self.frames} frame{'s' * (self.frames != 1)}"
        return "" if self.count is None else str(self.count)

    @property
    def kind(self) -> Kind:
        """Which of the kinds this is."""
        if self.share is not None:
            return "share"
        if self.milliseconds is not None or self.frames is not None:
            return "duration"
        return "none" if self.count is None else "count"

    @property
    def plain(self) -> int | str | None:
        """The value as protocols write it."""
        return self.count if self.kind == "count" else str(self) or None

    def of(self, total: int, what: str = "features") -> int:
        """Return how many of ``total`` things a count or share means.

        Raises:
            ValueError: the count is larger than ``total``.
        """
        if self.share is not None:
            return round(self.share * total)
        assert self.count is not None
        if self.count > total:
            raise ValueError(f"level {self.count} is over 100%: a window has {total} {what}")
        return self.count

    def duration(self, fps: float) -> int:
        """Return a duration as a number of frames, rounded."""
        if self.frames is not None:
            return self.frames
        assert self.milliseconds is not None
        return round(self.milliseconds * fps / 1000)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda level: level.plain
            ),
        )


def frames_of(duration: object, fps: float) -> int:
    """Return a duration that a setting states, such as ``200 ms``, as a number of frames.

    Raises:
        ValueError: it is not a duration.
    """
    level = Level.parse(duration)
    if level.kind != "duration":
        raise ValueError(f"{duration!r} is not a duration like '500 ms' or '12 frames'")
    return level.duration(fps)
