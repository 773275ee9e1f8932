"""What every block of settings in a protocol has in common."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Typed, immutable settings; an unknown key or a wrong type is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
