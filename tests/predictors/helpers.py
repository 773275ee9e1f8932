"""Windows with futures, and small predictors with randomised weights."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.core.registry import PREDICTORS
from bench.datasets.synthetic import BODY, SKELETON
from bench.fitting.learner import Learner
from bench.motion import MotionSpec, Windows
from tests.conftest import walk

SMALL: dict[str, dict[str, Any]] = {
    "ltd": {"width": 6, "blocks": 2},
    "hisrep": {"width": 6, "blocks": 1},
    "simlpe": {"blocks": 3},
    "convseq2seq": {"filters": 2, "width": 8, "recent": 6},
}
H36M = MotionSpec(50, 25.0, BODY, future=25)
assert len(BODY) == 22


def windows_with_future(
    windows: int = 6, past: int = 50, future: int = 25, seed: int = 0
) -> Windows:
    """Return synthetic windows, each with its future."""
    return cut(walk(windows, past + future, seed), past)


def cut(whole: Windows, past: int) -> Windows:
    """Return windows of the first ``past`` frames, with the rest of each as its future."""
    return replace(whole, motion=whole.motion[:, :past], future=whole.motion[:, past:])


def gait(windows: int, past: int = 50, future: int = 25, seed: int = 0) -> Windows:
    """Return windows of one periodic motion, each with its own phase and speed."""
    body, rng = np.random.default_rng(99), np.random.default_rng(seed)
    swing, lag = body.uniform(20, 150, (1, 1, 18, 3)), body.uniform(0, 6.3, (1, 1, 18, 3))
    begin, speed = rng.uniform(0, 6.3, windows), rng.uniform(4, 6, windows)
    phase = begin[:, None] + speed[:, None] * np.arange(past + future) / 25
    motion = SKELETON.rest + swing * np.sin(phase[..., None, None] + lag)
    whole = replace(walk(windows, past + future), motion=motion.astype(np.float32))
    return cut(whole, past)


def settings_for(name: str, past: int, future: int) -> dict[str, Any]:
    """Return small settings with which a predictor can predict ``future`` from ``past`` frames."""
    settings = dict(SMALL.get(name, {}))
    if name == "hisrep":
        settings["kernel"] = min(10, max(2, past // 3))
        settings["step"] = min(future, past - settings["kernel"])
    if name == "simlpe":
        settings["step"] = min(future, past)
    if name == "ltd":
        settings["past"] = None
    return settings


def build(name: str, windows: Windows, seed: int = 0, **settings: Any) -> Any:
    """Return a predictor with randomised weights, in evaluation mode."""
    torch.manual_seed(seed)
    cls = PREDICTORS.get(name)
    predictor = cls(windows.spec, cls.Settings(**settings))
    Learner.fit(predictor, windows, windows)
    return perturb(predictor).eval()


@torch.no_grad()
def perturb(module: nn.Module) -> nn.Module:
    """Perturb every weight and every batch statistic in place, and return the module."""
    for parameter in module.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.normal_(std=20)
            norm.running_var.uniform_(1e2, 1e4)
    return module


def weights_of(module: nn.Module) -> dict[str, NDArray[np.float64]]:
    """Return parameters and buffers by name."""
    return {name: value.double().numpy() for name, value in module.state_dict().items()}
