"""Models that go wrong fail only their own cells, and those can be retried."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from bench.analysis.records import CELL
from bench.sweep.worker import WORKER_DEATHS
from tests.conftest import TINY, Bench
from tests.faults.conftest import (
    LOCAL,
    Sweeps,
    assert_nothing_half_written,
    assert_same_tables,
    latest,
)

TIMEOUT = 5
REASONS = {
    "raising": "ValueError: no motion today",
    "hanging": f"timed out after {TIMEOUT} s",
    "not_a_number": "FloatingPointError",
    "greedy": "MemoryError",
    "dying": f"its worker died {WORKER_DEATHS} times",
}
"""Why cells with much hidden fail, by model."""
STUCK = f"stuck (seed 0): timed out after {TIMEOUT} s"
SICK: dict[str, Any] = {
    "name": "sick",
    "dataset": TINY["dataset"],
    "models": {
        "mean": {},
        "raising": {"model": "slow", "fault": "raises"},
        "hanging": {"model": "slow", "fault": "hangs"},
        "not_a_number": {"model": "slow", "fault": "not a number"},
        "greedy": {"model": "slow", "fault": "eats memory"},
        "dying": {"model": "slow", "fault": "dies"},
        "linear": {},
        "stuck": {
            "model": "slow_vae", "fault": "hangs", "hidden": [16], "latent": 4, "epochs": 2,
            "inference": ["map"],
        },
    },
    "predictors": {"zero_velocity": {}},
    "inference": {"map": {"steps": 2}},
    "occlusion": {"features": {"levels": [3, "50%"]}},
    "seeds": [0],
    "scale": {"train": 20, "valid": 8, "test": 6, "samples": 4},
    "resources": {
        "fit_timeout_s": TIMEOUT, "cell_timeout_s": TIMEOUT, "memory_gib": 0.5,
        "cells_per_trial": 8,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def protocol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("protocol") / "sick.yaml"
    path.write_text(yaml.safe_dump(SICK, sort_keys=False))
    return path


@pytest.fixture
def sweeps(protocol: Path) -> Iterator[Sweeps]:
    with Sweeps(protocol) as sweeps:
        yield sweeps


@pytest.fixture(scope="module")
def healthy(protocol: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the same models without faults."""
    results = tmp_path_factory.mktemp("healthy")
    with Sweeps(protocol) as sweeps:
        # Without limits it needs no separate process.
        sweeps.run(results, *LOCAL, "--set", "resources={}", FIXED="1")
    return latest(results)


@pytest.mark.ray
def test_models_that_go_wrong(sweeps: Sweeps, healthy: Path, tmp_path: Path, bench: Bench) -> None:
    both = sweeps.start_both(tmp_path)
    kept: dict[Path, int] = {}
    for running in both:
        running.end(code=1)
        assert_failed_alone(latest(running.results), healthy)
        assert_nothing_half_written(running.results)
        kept |= running.finished()
        text = bench("status", running.results / "sick").out
        for model, reason in REASONS.items():
            assert f"failed {model} features 50% seed 0: {reason}" in text
        assert f"failed {STUCK}" in text

    both = sweeps.start_both(tmp_path, "--retry-failed", FIXED="1")
    for running in both:
        ended = running.end()
        assert "1 fits and 18 cells to do, 19 cells already done" in ended.out
        assert_same_tables(latest(running.results), healthy)
        assert_nothing_half_written(running.results)
    assert kept.items() <= (both[0].finished() | both[1].finished()).items()


def assert_failed_alone(run: Path, healthy: Path) -> None:
    """Assert that failed cells have rows that mark them, and that all others are unaffected."""
    records, expected = (pd.read_parquet(one / "records.parquet") for one in (run, healthy))
    assert not records.duplicated([*CELL, "horizon_ms", "metric"]).any()
    failed = records[records["status"] == "failed"]
    assert set(failed["model"]) == set(REASONS)
    assert set(failed["level"]) == {"50%"}
    assert set(failed["predictor"]) == {""}
    skipped = records[records["status"] == "skipped"]
    assert set(skipped["model"]) == {*REASONS, "stuck"}
    assert len(failed) + len(skipped) == len(records[records["metric"] == ""])

    done = records[records["status"] == "done"]
    rows = done.merge(expected, how="left", indicator=True)
    assert (rows["_merge"] == "both").all()
    assert set(done["model"]) == set(expected["model"]) - {"stuck"}

    jobs = pd.read_csv(run / "jobs.csv", keep_default_na=False).set_index("title")
    for model, reason in REASONS.items():
        job = jobs.loc[f"{model} features 50% seed 0"]
        assert job["status"] == "failed"
        assert job["error"].startswith(reason)
        forecast = jobs.loc[f"zero_velocity {model} features 50% seed 0"]
        assert forecast["error"] == f"its past was not completed by {model}"
    traces = (run / "failures.txt").read_text()
    assert STUCK in traces
    assert traces.count("in go_wrong") == 4  # a killed process leaves no traceback
