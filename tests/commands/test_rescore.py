"""Errors recomputed from the motion that a run kept, on the command line."""

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
    """A run that kept all motion, made once; rescored runs are its siblings."""
    runs = folder / "results" / "small"
    if not runs.exists():
        ended = bench(*run_of(SMALL, folder), *ALL)
        assert ended.code == 0, ended.err
        (runs / "latest").resolve().rename(runs / "first")
    return runs / "first"


@pytest.fixture
def no_models(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the run exists, refuse to build or call any model."""

    def refuse(*arguments: Any) -> None:
        raise AssertionError("a model was used")

    monkeypatch.setattr(Workspace, "build", refuse)
    monkeypatch.setattr(torch.nn.Module, "__call__", refuse)


def values_of(run: Path, metric: str, **labels: str) -> pd.DataFrame:
    values = pd.read_parquet(run / "windows.parquet")
    for name, label in labels.items():
        values = values[values[name] == label]
    return values[values["metric"] == metric].reset_index(drop=True)


@pytest.mark.usefixtures("no_models")
def test_with_unchanged_metrics_no_value_changes(made: Path, bench: Bench) -> None:
    """Bit for bit, and the original run stays as it is."""
    before = {path.name: path.stat().st_mtime_ns for path in made.iterdir()}
    ended = bench("rescore", made)
    assert ended.code == 0, ended.err
    new = made.parent / "latest"
    assert new.resolve() != made
    same_files(made, new, "imputation.png", "imputation.gif")
    assert {path.name: path.stat().st_mtime_ns for path in made.iterdir()} == before
    facts = json.loads((new / "provenance.json").read_text())
    assert facts["rescored"]["folder"] == str(made)
    # Two imputers without inference and two models with it, at two levels each.
    assert facts["rescored"]["cells"] == {"impute": 8, "sample": 2, "forecast": 9}
    ended = bench("compare", made, new)
    assert ended.code == 0
    assert "\nidentical: " in ended.out


@pytest.mark.usefixtures("no_models")
def test_a_changed_and_a_new_metric_change_only_their_own_values(
    made: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those computed from kept motion; scores of models and all other errors stay."""
    mse_before, errors = metrics.mse, Evaluator._errors
    forecast_error = metrics.forecast_error

    def with_another(self: Evaluator, *given: Any) -> dict[str, Any]:
        completed, part = given
        worst = (completed - part.truth).abs().flatten(1).max(dim=1).values
        return errors(self, *given) | {"worst": worst}

    monkeypatch.setattr("bench.metrics.completion.mse", lambda *given: 2 * mse_before(*given))
    monkeypatch.setattr(metrics, "forecast_error", lambda *given: 3 * forecast_error(*given))
    monkeypatch.setattr(Evaluator, "_errors", with_another)
    ended = bench("rescore", made)
    assert ended.code == 0, ended.err
    new = made.parent / "latest"
    for metric, factor in (("mse", 2), ("mpjpe_average", 3), ("bone_error", 1), ("elbo", 1)):
        before, after = values_of(made, metric), values_of(new, metric)
        assert len(before), metric
        np.testing.assert_allclose(after["value"], factor * before["value"], err_msg=metric)
        dropped = ["value", *(["share"] if factor == 1 else [])]
        assert before.drop(columns=dropped).equals(after.drop(columns=dropped)), metric
    assert values_of(new, "mpjpe", predictor="").equals(values_of(made, "mpjpe", predictor=""))
    worst, mse = (
        values_of(new, metric, model="linear", predictor="") for metric in ("worst", "mse")
    )
    assert list(worst["window"]) == list(mse["window"])
    assert (worst["value"] ** 2 * 2 >= mse["value"] * (1 - 1e-6)).all()
    records = pd.read_parquet(new / "records.parquet")
    assert {"worst", "mse"} <= set(records["metric"])


@pytest.mark.usefixtures("no_models")
def test_a_task_with_missing_motion_is_not_rescored_at_all(
    made: Path, tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no table mixes old and new errors."""
    results = tmp_path / "results"
    shutil.copytree(made.parents[1], results, symlinks=True)
    run = results / "small" / "first"
    jobs = pd.read_csv(run / "jobs.csv", dtype=str, keep_default_na=False)
    forecasts = jobs.loc[jobs["task"] == "forecast", "key"]
    (results / ".store" / "completions" / f"{forecasts.iloc[0]}.npy").unlink()
    mse, forecast_error = metrics.mse, metrics.forecast_error
    monkeypatch.setattr("bench.metrics.completion.mse", lambda *given: 2 * mse(*given))
    monkeypatch.setattr(metrics, "forecast_error", lambda *given: 3 * forecast_error(*given))
    ended = bench("rescore", run)
    assert ended.code == 0, ended.err
    assert "9 cells of task forecast: not all kept, left as they were" in ended.out
    new = run.parent / "latest"
    assert values_of(new, "mpjpe_average").equals(values_of(run, "mpjpe_average"))
    assert (values_of(new, "mse")["value"] > values_of(run, "mse")["value"]).any()


def test_motion_that_was_not_kept_is_named(made: Path, tmp_path: Path, bench: Bench) -> None:
    results = tmp_path / "results"
    shutil.copytree(made.parents[1], results, symlinks=True)
    run, store = results / "small" / "first", results / ".store"
    before = sorted(run.parent.iterdir())

    def refused(*says: str) -> None:
        ended = bench("rescore", run)
        assert ended.code == 2
        assert ended.err.count("\n") == 1
        for part in says:
            assert part in ended.err
        assert sorted(run.parent.iterdir()) == before

    jobs = pd.read_csv(run / "jobs.csv", dtype=str, keep_default_na=False)
    drawn = store / "completions" / f"{jobs.loc[jobs['task'] == 'sample', 'key'].iloc[0]}.npy"
    motion = np.load(drawn)
    np.save(drawn, motion[:1])
    refused("vae sample seed 0: the stored motion is not valid: its shape is (1, 50, 18, 3)")
    drawn.write_bytes(b"no array")
    refused(f"{drawn}: damaged")
    (store / "completions").rename(tmp_path / "completions")
    refused("resources.keep_completions=all")
    (store / "windows").rename(tmp_path / "windows")
    refused("the windows of the run are missing", "--dry-run")
    # The keys in a run's folder must not be paths to other files.
    jobs["key"] = "../../../elsewhere"
    jobs.to_csv(run / "jobs.csv", index=False)
    refused("key '../../../elsewhere' is no key")
