"""Metrics of completed, predicted and sampled motion.

Functions of tensors and arrays; most return one value per window. Nothing here depends on
protocols, models or files. To add an error of completed motion, write a function in ``completion``,
name it in ``completion_errors`` there, and give it a caption in ``bench.analysis.tables``.
"""

from bench.metrics.completion import (
    Bones,
    acceleration_error,
    bone_error,
    bone_lengths,
    completion_errors,
    mpjpe,
    mse,
)
from bench.metrics.forecast import eq4, forecast_error
from bench.metrics.latents import NEIGHBOURS, action_correct
from bench.metrics.samples import CONTACT, bones_in_range, foot_skate

__all__ = [
    "CONTACT",
    "NEIGHBOURS",
    "Bones",
    "acceleration_error",
    "action_correct",
    "bone_error",
    "bone_lengths",
    "bones_in_range",
    "completion_errors",
    "eq4",
    "foot_skate",
    "forecast_error",
    "judging",
    "mpjpe",
    "mse",
]
