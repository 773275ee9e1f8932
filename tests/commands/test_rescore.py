"""Errors computed anew from what a run kept, as a user does it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bench import metrics
from bench.sweep.cells import Evaluator
from bench.sweep.workspace import Workspace
from tests.commands.test_merge import PROTOCOL, same_files
from tests.conftest import Bench, run_of

SMALL = PROTOCOL | {"seeds": [0], "corruption": {}, "show": PROTOCOL["show"][:1]}
ALL = ("--set", "resources.keep_completions=all")
pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rescored")


@pytest.fixture
def made(folder: Path, bench: Bench) -> Path:
    """A run that kept all, made once; its newest sibling is ``latest``."""
    runs = folder / "results" / "small"
    if not runs.exists():
        ended = bench(*run_of(SMALL, folder), *ALL)
        assert ended.code == 0, ended.err
        (runs / "latest").resolve().rename(runs / "first")
    return runs / "first"


@pytest.fixture
def no_models(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the run is there, nobody can make a model, let alone call one."""

    def refuse(*arguments: Any) -> None:
        raise AssertionError("a model was asked for")

    monkeypatch.setattr(Workspace, "build", refuse)
    monkeypatch.setattr(torch.nn.Module, "__call__", refuse)


def told(run: Path, metric: str, **labels: str) -> pd.DataFrame:
    values = pd.read_parquet(run / "windows.parquet")
    for name, label in labels.items():
        values = values[values[name] == label]
    return values[values["metric"] == metric].reset_index(drop=True)


@pytest.mark.usefixtures("no_models")
def test_with_the_metrics_of_the_run_nothing_changes(made: Path, bench: Bench) -> None:
    """Not a bit, and the run itself is left alone."""
    before = {path.name: path.stat().st_mtime_ns for path in made.iterdir()}
    ended = bench("rescore", made)
    assert ended.code == 0, ended.err
    new = made.parent / "latest"
    assert new.resolve() != made
    same_files(made, new, "imputation.png", "imputation.gif")
    assert {path.name: path.stat().st_mtime_ns for path in made.iterdir()} == before
    facts = json.loads((new / "provenance.json").read_text())
    assert facts["rescored"]["folder"] == str(made)
    # Two imputers without a choice and two models with one, at two levels each.
    assert facts["rescored"]["cells"] == {"impute": 8, "sample": 2, "forecast": 9}
    ended = bench("compare", made, new)
    assert ended.code == 0
    assert "\nidentical: " in ended.out


@pytest.mark.usefixtures("no_models")
def test_a_mended_metric_and_a_new_one_change_their_values_alone(
    made: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those computed from kept motion: what models score, and all other errors, stay."""
    once, errors, foretold = metrics.mse, Evaluator._errors, metrics.forecast_error

    def with_another(self: Evaluator, *given: torch.Tensor) -> dict[str, Any]:
        completed, truth, _ = given
        worst = (completed - truth).abs().flatten(1).max(dim=1).values
        return errors(self, *given) | {"worst": worst.numpy()}

    monkeypatch.setattr("bench.metrics.completion.mse", lambda *given: 2 * once(*given))
    monkeypatch.setattr(metrics, "forecast_error", lambda *given: 3 * foretold(*given))
    monkeypatch.setattr(Evaluator, "_errors", with_another)
    ended = bench("rescore", made)
    assert ended.code == 0, ended.err
    new = made.parent / "latest"
    for metric, factor in (("mse", 2), ("mpjpe_average", 3), ("bone_error", 1), ("elbo", 1)):
        mine, theirs = told(made, metric), told(new, metric)
        assert len(mine), metric
        np.testing.assert_allclose(theirs["value"], factor * mine["value"], err_msg=metric)
        kept = ["value", *(["share"] if factor == 1 else [])]
        assert mine.drop(columns=kept).equals(theirs.drop(columns=kept)), metric
    assert told(new, "mpjpe", predictor="").equals(told(made, "mpjpe", predictor=""))
    worst, mse = (told(new, metric, model="linear", predictor="") for metric in ("worst", "mse"))
    assert list(worst["window"]) == list(mse["window"])
    assert (worst["value"] ** 2 * 2 >= mse["value"] * (1 - 1e-6)).all()
    records = pd.read_parquet(new / "records.parquet")
    assert {"worst", "mse"} <= set(records["metric"])


@pytest.mark.usefixtures("no_models")
def test_a_task_of_which_something_was_not_kept_is_left_whole(
    made: Path, tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no table has errors of two kinds."""
    results = tmp_path / "results"
    shutil.copytree(made.parents[1], results, symlinks=True)
    run = results / "small" / "first"
    jobs = pd.read_csv(run / "jobs.csv", dtype=str, keep_default_na=False)
    foretold = jobs.loc[jobs["task"] == "forecast", "key"]
    (results / ".store" / "completions" / f"{foretold.iloc[0]}.npy").unlink()
    once, foretell = metrics.mse, metrics.forecast_error
    monkeypatch.setattr("bench.metrics.completion.mse", lambda *given: 2 * once(*given))
    monkeypatch.setattr(metrics, "forecast_error", lambda *given: 3 * foretell(*given))
    ended = bench("rescore", run)
    assert ended.code == 0, ended.err
    assert "9 cells of task forecast: not all kept, left as was" in ended.out
    new = run.parent / "latest"
    assert told(new, "mpjpe_average").equals(told(run, "mpjpe_average"))
    assert (told(new, "mse")["value"] > told(run, "mse")["value"]).any()


def test_what_is_not_kept_cannot_be_computed_anew(made: Path, tmp_path: Path, bench: Bench) -> None:
    results = tmp_path / "results"
    shutil.copytree(made.parents[1], results, symlinks=True)
    run, store = results / "small" / "first", results / ".store"
    there = sorted(run.parent.iterdir())

    def refused(*says: str) -> None:
        ended = bench("rescore", run)
        assert ended.code == 2
        assert ended.err.count("\n") == 1
        for part in says:
            assert part in ended.err
        assert sorted(run.parent.iterdir()) == there

    jobs = pd.read_csv(run / "jobs.csv", dtype=str, keep_default_na=False)
    drawn = store / "completions" / f"{jobs.loc[jobs['task'] == 'sample', 'key'].iloc[0]}.npy"
    motion = np.load(drawn)
    np.save(drawn, motion[:1])
    refused("vae sample seed 0: its completion is not its own: it is of shape (1, 50, 18, 3)")
    drawn.write_bytes(b"no array")
    refused(f"{drawn}: damaged")
    (store / "completions").rename(tmp_path / "completions")
    refused("resources.keep_completions=all")
    (store / "windows").rename(tmp_path / "windows")
    refused("the windows of the run are not there", "--dry-run")
    # Whoever wrote a run's folder may not choose what is read.
    jobs["key"] = "../../../elsewhere"
    jobs.to_csv(run / "jobs.csv", index=False)
    refused("key '../../../elsewhere' is no key")
