"""Mean imputation."""

from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from bench.core.settings import Settings
from models.base import Imputer


class Mean(Imputer):
    """The train mean of every feature: the paper's starting point and reference."""

    name = "mean"

    class Settings(Settings):
        """What to make of the mean."""

        scale: float = Field(1.0, description="factor on the mean; anything but 1 is a wrong mean")

    settings: Settings

    # The train means that come with the published code are too long for the one skeleton that all
    # of its motion was put on: by 3.03 at least, since means of a bone's ends cannot lie further
    # apart than its length.
    presets: ClassVar[dict[str, dict[str, Any]]] = {"published_code": {"scale": 3.03}}

    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor:
        """Return ``motion`` as it came where the mean is right: hidden entries hold it."""
        return (
            motion
            if self.settings.scale == 1
            else self.settings.scale * self.mean.expand_as(motion)
        )
