"""Runs with models that fail, and runs that are killed."""

import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
import yaml

from models.hgvae import HGVAE
from models.linear import Linear
from tests.conftest import Bench
from tests.runs.conftest import (
    CELLS,
    LOCAL,
    as_stored,
    fits_alone,
    latest,
    same_errors,
    subprocess_bench,
)


@pytest.mark.usefixtures("undrawn")
def test_a_level_that_fails_does_not_affect_other_levels(
    finished: Path, tiny: Path, tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost_at_half(self: Linear, motion: torch.Tensor, occluded: torch.Tensor) -> torch.Tensor:
        much = occluded.flatten(1).double().mean(dim=1) > 0.4
        return torch.where(much[:, None, None, None], torch.nan, complete(self, motion, occluded))

    complete = Linear.complete
    only = ("--only", "mean,linear")
    with monkeypatch.context() as broken:
        broken.setattr(Linear, "complete", lost_at_half)
        ended = bench("run", tiny, "--results", tmp_path, *LOCAL, *only)
    assert ended.code == 1
    for seed in (0, 1):
        assert f"failed linear features 50% seed {seed}: FloatingPointError" in ended.out
    assert ended.out.count("\nfailed ") == 2
    records = latest(tmp_path, "records.parquet")
    status = records.groupby(["model", "level"])["status"].unique().map(list)
    assert status["linear", "50%"] == ["failed"]
    for condition in (("linear", "3"), ("linear", "10%"), ("mean", "50%")):
        assert status[condition] == ["done"]
    facts = yaml.safe_load((tmp_path / "tiny" / "latest" / "provenance.json").read_text())
    assert len(facts["failures"]) == 2
    retried = bench("run", tiny, "--results", tmp_path, *LOCAL, *only, "--retry-failed")
    assert retried.code == 0
    assert "0 fits and 2 cells to do, 10 cells already done" in retried.out
    same_errors(latest(tmp_path, "windows.parquet"), latest(finished, "windows.parquet"))


@pytest.mark.usefixtures("undrawn")
def test_one_broken_model_does_not_stop_the_others(
    tiny: Path, tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise ValueError("no lines today\nat all")

    with monkeypatch.context() as broken:
        broken.setattr(Linear, "complete", explode)
        ended = bench("run", tiny, "--results", tmp_path, *LOCAL, "--only", "mean,linear")
    assert ended.code == 1
    assert "failed linear features 3 seed 0: ValueError: no lines today at all" in ended.out
    records = pd.read_parquet(tmp_path / "tiny" / "latest" / "records.parquet")
    assert set(records[records["model"] == "linear"]["status"]) == {"failed"}
    assert set(records[records["model"] == "mean"]["status"]) == {"done"}
    facts = yaml.safe_load((tmp_path / "tiny" / "latest" / "provenance.json").read_text())
    assert "explode" in facts["failures"][0]["trace"]
    run = ("run", tiny, "--results", tmp_path, *LOCAL, "--only", "mean,linear")
    alone = bench(*run)
    assert alone.code == 1
    assert "0 fits and 0 cells to do, 6 cells already done" in alone.out
    assert (
        "0 fits and 6 cells failed before and are not retried, nor are 0 cells that depend"
        in alone.out
    )
    again = pd.read_parquet(tmp_path / "tiny" / "latest" / "records.parquet")
    pd.testing.assert_frame_equal(again, records)
    retried = bench(*run, "--retry-failed")
    assert retried.code == 0
    assert "0 fits and 6 cells to do, 6 cells already done" in retried.out


@pytest.mark.usefixtures("undrawn")
def test_a_score_that_is_not_a_number_is_a_failure(
    tiny: Path, tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HGVAE, "log_posterior", lambda self, motion: motion.sum((2, 3)) * np.nan)
    ended = bench("run", tiny, "--results", tmp_path, *LOCAL, "--only", "untrained")
    assert ended.code == 1
    assert "FloatingPointError: untrained: nlp of some windows is not finite" in ended.out
    records = latest(tmp_path, "records.parquet")
    assert set(records.loc[records["split"] == "sample", "status"]) == {"done"}
    scored = records[records["split"] == "test"]
    assert set(scored["status"]) == {"failed"}
    assert len(scored) == 22  # a seed has 1 clean, 6 occluded, 3 corrupted and 1 foreign cell
    assert not scored["value"].notna().any()


@pytest.mark.usefixtures("undrawn")
def test_a_fit_that_diverges_skips_its_cells(tiny: Path, tmp_path: Path, bench: Bench) -> None:
    ended = bench(
        "run", tiny, "--results", tmp_path, *LOCAL, "--only", "mean,hgvae",
        "--set", "models.hgvae.learning_rate=1e30", "--set", "seeds=[0]",
    )  # fmt: skip
    assert ended.code == 1
    assert "failed hgvae (seed 0): TrainingError" in ended.out
    assert "skipped hgvae map features 3 seed 0: hgvae (seed 0) was not fitted" in ended.out
    records = pd.read_parquet(tmp_path / "tiny" / "latest" / "records.parquet")
    assert set(records[records["model"] == "hgvae"]["status"]) == {"skipped"}


@pytest.mark.ray
def test_a_killed_worker_changes_no_result(finished: Path, tiny: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    slow = ("--set", "inference.map.steps=40", "--set", "seeds=[0]")
    process = subprocess_bench("run", tiny, "--results", results, *slow)
    cells = results / ".store" / "cells"
    deadline = time.monotonic() + 120
    while not list(cells.glob("[!.]*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if any("ImplicitFunc.train" in part for part in child.cmdline())
    ]
    assert workers
    for worker in workers:
        worker.kill()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    records = pd.read_parquet(results / "tiny" / "latest" / "records.parquet")
    assert (records["status"] == "done").all()
    trivial = records["model"].isin(["mean", "linear", "zero"]) & (records["metric"] == "mse")
    undisturbed = pd.read_parquet(finished / "tiny" / "latest" / "records.parquet")
    keys = ["model", "mechanism", "level", "seed", "metric"]
    pd.testing.assert_series_equal(
        records[trivial].set_index(keys)["value"].sort_index(),
        undisturbed.set_index(keys)["value"]
        .loc[records[trivial].set_index(keys).index]
        .sort_index(),
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_finished_cells_survive_a_kill(
    how: int, finished: Path, tiny: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    process = subprocess_bench("run", tiny, "--results", results, *LOCAL)
    cells = results / ".store" / "cells"
    deadline = time.monotonic() + 120
    while len(list(cells.glob("[!.]*.parquet"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    kept = {path: path.stat().st_mtime_ns for path in cells.glob("[!.]*.parquet")}
    assert 5 <= len(kept) < CELLS
    assert not (results / "tiny" / "latest").exists()
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "interrupted" in err
        assert "Traceback" not in err
    again = subprocess_bench("run", tiny, "--results", results, *LOCAL)
    out, err = again.communicate(timeout=200)
    assert again.returncode == 0, err
    assert f"{len(kept)} cells already done" in out
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert as_stored(results) == as_stored(finished)


@pytest.mark.parametrize("actions", ["[wlak]", "[walk, jumpp]", "[3]", "[[walk]]", "['']"])
def test_an_unknown_action_gets_one_line(
    actions: str, finished: Path, tiny: Path, tmp_path: Path, bench: Bench
) -> None:
    results = fits_alone(finished, tmp_path / "results")
    ended = bench(
        "run", tiny, "--results", results, *LOCAL, "--set", f"models.walking.train_on={actions}"
    )
    assert ended.code == 2
    assert "models.walking.train_on" in ended.err
    assert ended.err.count("\n") == 1
    assert not (results / "tiny").exists()


def test_a_similar_action_is_suggested(finished: Path, tiny: Path, bench: Bench) -> None:
    ended = bench(
        "run", tiny, "--results", finished, *LOCAL, "--set", "models.walking.train_on=[wlak]"
    )
    assert "no train window of 'wlak' (did you mean 'walk'?)" in ended.err


@pytest.mark.usefixtures("undrawn")
def test_an_action_missing_at_a_small_scale_fails_only_its_fit(
    tiny: Path, tmp_path: Path, bench: Bench
) -> None:
    ended = bench(
        "run", tiny, "--results", tmp_path, *LOCAL, "--only", "mean,walking", "--set", "seeds=[0]",
        "--set", "models.walking.train_on=[kick]", "--set", "scale={train: 2, test: 12}",
    )  # fmt: skip
    assert ended.code == 1
    assert "failed walking (seed 0): ValueError: train_on: no windows of kick" in ended.out
    status = latest(tmp_path, "records.parquet").groupby("model")["status"].unique().map(list)
    assert status.to_dict() == {"mean": ["done"], "walking": ["skipped"]}
