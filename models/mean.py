"""Mean imputation."""

from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from bench.core.settings import Settings
from models.base import Imputer


class Mean(Imputer):
    """The train mean of every feature: the reference, and the start of MAP inference."""

    name = "mean"
    seeded = False

    class Settings(Settings):
        """The scale of the mean."""

        scale: float = Field(1.0, description="factor on the mean; 1 is the correct mean")

    settings: Settings

    # The train means in the published code are too large for the single skeleton of its motion, by
    # a factor of at least 3.03: the mean positions of a bone's ends cannot be further apart than
    # its length.
    presets: ClassVar[dict[str, dict[str, Any]]] = {"published_code": {"scale": 3.03}}

    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor:
        """Return the scaled mean; with scale 1, ``motion``, whose hidden entries hold it."""
        return (
            motion
            if self.settings.scale == 1
            else self.settings.scale * self.mean.expand_as(motion)
        )
