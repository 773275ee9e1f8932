"""Metrics of completed, predicted and sampled motion.

Functions of tensors and arrays; most return one value per window. Nothing here depends on
protocols, models or files. To add an error of completed motion, write a function in ``completion``,
name it in ``completion_errors`` there, re-export it here, and give it a caption and a place in
``ERRORS`` in ``bench.analysis.tables``: without the latter it is in the records, but missing in
``imputation.csv``. Scores of distributions are in ``probabilistic``.
"""

from bench.metrics.completion import (
    FAST,
    Bones,
    acceleration_error,
    bone_error,
    bone_lengths,
    border_jump,
    completion_errors,
    l2p,
    mae,
    mpjpe,
    mse,
    npss,
    speeds,
)
from bench.metrics.forecast import eq4, forecast_error
from bench.metrics.latents import NEIGHBOURS, action_correct
from bench.metrics.probabilistic import (
    crps_ensemble,
    crps_normal,
    energy_score,
    probabilistic_scores,
)
from bench.metrics.samples import CONTACT, bones_in_range, foot_skate

__all__ = [
    "CONTACT",
    "FAST",
    "NEIGHBOURS",
    "Bones",
    "acceleration_error",
    "action_correct",
    "bone_error",
    "bone_lengths",
    "bones_in_range",
    "border_jump",
    "completion_errors",
    "crps_ensemble",
    "crps_normal",
    "energy_score",
    "eq4",
    "foot_skate",
    "forecast_error",
    "judging",
    "l2p",
    "mae",
    "mpjpe",
    "mse",
    "npss",
    "probabilistic_scores",
    "speeds",
]
