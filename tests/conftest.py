"""Shared fixtures: synthetic motion, real data where available, and the command line."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from bench.datasets.synthetic import SKELETON
from bench.motion import Windows

PROJECT = Path(__file__).resolve().parent.parent

TINY: dict[str, Any] = {
    "name": "tiny",
    "dataset": {"name": "synthetic", "subjects": 4, "seconds": 3.5, "stride": 10},
    "models": {
        "mean": {},
        "linear": {},
        "hgvae": {
            "latents": [[1, 8], [4, 4]],
            "width": 8,
            "residual": "branch",
            "epochs": 2,
            "batch_size": 8,
        },
        "zero": {},
        "untrained": {"like": "hgvae"},
        "vae": {"hidden": [16, 8], "latent": 4, "epochs": 2, "batch_size": 8},
        "pca_error": {"components": 4},
        "walking": {"model": "pca_error", "components": 4, "train_on": ["walk"]},
        "wrong_mean": {"model": "mean", "preset": "published_code"},
    },
    "predictors": {
        "zero_velocity": {},
        "ltd": {"width": 8, "blocks": 1, "epochs": 2, "past": 10},
        "ltd_degraded": {"predictor": "ltd", "like": "ltd", "degraded": ["features"]},
    },
    "inference": {"map": {"steps": 2}},
    "occlusion": {"features": {"levels": [3, "10%", "50%"]}},
    "corruption": {"noise": {"levels": [5, 50]}, "time_reversal": {}},
    "foreign": {"others": {"name": "synthetic", "seed": 7, "subjects": 4, "seconds": 2.5}},
    "comparisons": {"zeros": {"model": "zero", "against": "wrong_mean"}},
    "seeds": [0, 1],
    "scale": {"train": 40, "valid": 8, "test": 12, "samples": 6},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the tiny protocol with one value changed; an Ellipsis removes the key.

    Args:
        path: keys from the top, joined by slashes.
        value: the new value.
    """
    raw = yaml.safe_load(yaml.safe_dump(TINY))
    place = raw
    *keys, last = path.split("/")
    for key in keys:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return raw


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset BENCH_DATA, so that a test finds real data only by the fixture ``real_data``."""
    monkeypatch.delenv("BENCH_DATA", raising=False)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real motion, from BENCH_DATA or next to the project; skips without one."""
    candidates = [REAL] if REAL else [PROJECT.parent / "shared" / "data"]
    for folder in candidates:
        if (folder / "cmu_expmap").is_dir():
            return folder
    pytest.skip("no real motion capture data: set BENCH_DATA to a folder with cmu_expmap/")


REAL = Path(os.environ["BENCH_DATA"]) if os.environ.get("BENCH_DATA") else None


def walk(windows: int = 6, frames: int = 50, seed: int = 0) -> Windows:
    """Return smooth synthetic windows of 18 joints, from two recordings."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[None, :, None, None] / 25
    phase = rng.uniform(0, 6.3, (windows, 1, 18, 3))
    speed = rng.uniform(1, 6, (windows, 1, 18, 3))
    motion = SKELETON.rest[None, None] + 100 * np.sin(speed * time + phase)
    index = pd.DataFrame(
        {
            "source": [f"recording{number % 2}" for number in range(windows)],
            "start": [5 * number for number in range(windows)],
            "action": "walk",
            "subject": "nobody",
        }
    )
    return Windows(motion.astype(np.float32), index, 25.0, SKELETON)


@pytest.fixture
def windows() -> Windows:
    return walk()


@pytest.fixture(autouse=True)
def _two_threads() -> None:
    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(autouse=True)
def _as_without_amx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit in float32 whatever the processor."""
    monkeypatch.setattr("bench.fitting.precision.has_amx", lambda: False)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figures, which take most of the time of a small run."""
    monkeypatch.setattr("bench.report.figures.begin_all", lambda *_: list)


@dataclass(frozen=True)
class Ended:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


Bench = Callable[..., Ended]


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str]) -> Bench:
    """A function that runs the command line in this process."""
    from bench.cli import main

    def call(*arguments: object) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        text = capsys.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else int(code is not None), text.out, text.err)

    return call


def run_of(
    protocol: dict[str, Any], folder: Path, results: Path | None = None
) -> tuple[str | Path, ...]:
    """Write a protocol file; return the arguments of the command that runs it locally.

    Args:
        protocol: content of the file.
        folder: folder of the file.
        results: folder of runs; by default ``results`` in ``folder``.
    """
    file = folder / f"{protocol['name']}.yaml"
    file.write_text(yaml.safe_dump(protocol, sort_keys=False))
    return "run", file, "--results", results or folder / "results", "--executor", "local"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The path of a protocol file that runs in seconds."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY, sort_keys=False))
    return path
