"""The base class of every block of settings in a protocol."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

LARGEST = 2**53
"""Largest whole number in settings; a float cannot represent all larger ones exactly."""


class Settings(BaseModel):
    """Typed, immutable settings; an unknown key or a wrong type is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse booleans that pydantic would accept as numbers, and too large whole numbers."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        switch = bool in (annotation, *get_args(annotation))
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, bool) and not switch:
                raise ValueError("true or false is not allowed here")
            if isinstance(item, int) and abs(item) > LARGEST:
                raise ValueError(f"a whole number is at most {LARGEST:,}")
        return value
