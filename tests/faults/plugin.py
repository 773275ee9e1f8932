"""Slow and faulty models, given with ``--plugin``.

Two environment variables control them from outside, without being in a cache key: while the file
that ``HOLD`` names exists, ``slow`` waits, and with ``FIXED`` nothing goes wrong.
"""

import os
import re
import signal
import time
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bench.core.settings import Settings
from models.base import Imputer
from models.vae import VAE

MUCH = 0.4
Fault = Literal["none", "raises", "hangs", "not a number", "eats memory", "dies"]


class Slow(Imputer):
    """Fills with the train mean after a delay; where much is hidden, ``fault`` happens."""

    name = "slow"

    class Settings(Settings):
        """The delay in seconds, and the fault."""

        seconds: float = Field(0.0, ge=0)
        fault: Fault = "none"

    settings: Settings

    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor:
        """Fill ``(window, frame, joint, 3)`` motion, mm, where ``occluded`` is True."""
        time.sleep(self.settings.seconds)
        while os.path.exists(os.environ.get("HOLD", "")):
            time.sleep(0.01)
        if occluded.flatten(1).double().mean(dim=1).max() > MUCH:
            return go_wrong(self.settings.fault, motion)
        return motion


class SlowVAE(VAE):
    """A VAE with a delay or a fault in every batch."""

    name = "slow_vae"

    class Settings(VAE.Settings):
        """The delay in seconds, and the fault."""

        seconds: float = Field(0.0, ge=0)
        fault: Fault = "none"

    settings: Settings

    def losses(self, motion: Tensor, kl_weight: float) -> dict[str, Tensor]:
        """Return the VAE's losses, after a delay."""
        if self.training:
            time.sleep(self.settings.seconds)
            motion = go_wrong(self.settings.fault, motion)
        return super().losses(motion, kl_weight)


def go_wrong(fault: Fault, motion: Tensor) -> Tensor:
    """Cause a fault, or return the motion."""
    if "FIXED" in os.environ:
        return motion
    if fault == "raises":
        raise ValueError("no motion today")
    if fault == "hangs":
        # The matcher never releases the interpreter lock.
        re.match(r"(a+)+$", "a" * 64 + "b")
    if fault == "eats memory":
        eaten = []
        while True:
            eaten.append(np.ones(1 << 24))
    if fault == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return motion * torch.nan if fault == "not a number" else motion
