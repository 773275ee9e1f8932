"""The command line as a user runs it: whole runs, repeated, interrupted, broken."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml

from bench.datasets.base import load
from bench.motion.occlusion import Features, Level
from bench.protocol import resolve
from bench.records import COLUMNS
from models.hgvae import HGVAE
from models.linear import Linear
from tests.conftest import PROJECT, TINY, Bench

LOCAL = ("--executor", "local")


def table(results: Path, name: str = "tiny") -> bytes:
    return (results / name / "latest" / "imputation.csv").read_bytes()


def subprocess_bench(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the tiny protocol, run once in this process."""
    from bench.cli import main

    folder = tmp_path_factory.mktemp("finished")
    protocol = folder / "tiny.yaml"
    protocol.write_text(yaml.safe_dump(TINY, sort_keys=False))
    with pytest.raises(SystemExit) as ended:
        main(["run", str(protocol), "--results", str(folder / "results"), *LOCAL])
    assert not ended.value.code
    return folder / "results"


def test_a_run_leaves_all_it_promises(finished: Path) -> None:
    run = finished / "tiny" / "latest"
    assert {path.name for path in run.iterdir()} == {
        "protocol.yaml",
        "provenance.json",
        "records.parquet",
        "windows.parquet",
        "imputation.csv",
        "imputation.md",
        "imputation.tex",
        *(
            f"{figure}.{suffix}"
            for figure in ("fig4_posterior", "fig5_posterior_change", "fig6_mse_change")
            for suffix in ("pdf", "png")
        ),
    }
    for path in run.iterdir():
        assert path.stat().st_size > 0
    for name in ("imputation.csv", "imputation.md", "imputation.tex"):
        assert "synthetic" in (run / name).read_text()
    facts = yaml.safe_load((run / "provenance.json").read_text())
    assert facts["data"]["synthetic"] is True
    assert facts["versions"]["torch"]
    assert len(facts["fits"]) == 10
    assert not list(finished.rglob(".draft*"))


def test_records_are_tidy_and_complete(finished: Path) -> None:
    records = pd.read_parquet(finished / "tiny" / "latest" / "records.parquet")
    assert list(records.columns) == COLUMNS
    assert (records["status"] == "done").all()
    assert records["dataset"].str.contains("synthetic").all()
    errors = records[records["metric"] == "mse"]
    imputers = {("mean", ""), ("linear", ""), ("zero", ""), ("hgvae", "map"), ("untrained", "map")}
    for _, cell in errors.groupby(["level", "seed"]):
        assert set(zip(cell["model"], cell["inference"], strict=True)) == imputers
    assert set(errors["level"]) == {"3", "10%"}
    assert set(errors["seed"]) == {0, 1}
    share = errors.set_index("level")["share"]
    np.testing.assert_allclose(share["10%"], 0.1, rtol=1e-12)
    np.testing.assert_allclose(share["3"], 3 / 2700, rtol=1e-12)
    assert (errors["low"] <= errors["value"]).all()
    assert (errors["value"] <= errors["high"]).all()
    assert (errors["n"] == 12).all()
    mean_change = records[(records["model"] == "mean") & (records["metric"] == "change_vs_mean")]
    np.testing.assert_allclose(mean_change["value"], 0, atol=1e-9)
    scores = records[records["metric"] == "nlp"]
    assert {"", "mean", "map"} == set(scores["inference"])
    assert set(scores["model"]) == {"hgvae", "untrained"}


def test_records_follow_from_the_windows(finished: Path) -> None:
    run = finished / "tiny" / "latest"
    records, values = (pd.read_parquet(run / f"{name}.parquet") for name in ("records", "windows"))
    keys = ["model", "inference", "mechanism", "level", "seed", "metric"]
    means = values.groupby(keys)["value"].mean()
    direct = records[~records["metric"].str.startswith("change")].set_index(keys)["value"]
    pd.testing.assert_series_equal(direct.sort_index(), means.sort_index(), check_names=False)


def test_recorded_errors_are_those_of_one_mask_for_all(finished: Path) -> None:
    """Zero's and mean's errors, recomputed from the data and the mechanism's own mask."""
    run = finished / "tiny" / "latest"
    protocol = resolve(yaml.safe_load((run / "protocol.yaml").read_text()))
    data = load(protocol.dataset, None, finished / ".store" / "windows")
    test, train = data.splits["test"].thin(12), data.splits["train"].thin(16)
    truth = np.asarray(test.motion, dtype=np.float64)
    fills = {"zero": 0.0, "mean": np.asarray(train.motion, dtype=np.float64).mean(axis=0)}
    values = pd.read_parquet(run / "windows.parquet").query("metric == 'mse'")
    for labels, group in values.groupby(["model", "level", "seed"]):
        model, level, seed = map(str, labels)
        if model in fills:
            hidden = Features(level=Level.parse(level), seed=int(seed)).occluded(test)
            squared = np.where(hidden, (truth - fills[model]) ** 2, 0).reshape(12, -1)
            expected = squared.sum(axis=1) / hidden.reshape(12, -1).sum(axis=1)
            recorded = group.set_index("window").loc[test.names, "value"]
            np.testing.assert_allclose(recorded, expected, rtol=1e-4)


def test_a_second_run_does_nothing_and_says_the_same(
    finished: Path, tiny: Path, bench: Bench
) -> None:
    before = table(finished)
    cells = {path: path.stat().st_mtime_ns for path in finished.rglob(".store/**/*.parquet")}
    ended = bench("run", tiny, "--results", finished, *LOCAL)
    assert ended.code == 0
    assert "0 fits and 0 cells to do, 32 cells already there" in ended.out
    assert table(finished) == before
    assert {p: p.stat().st_mtime_ns for p in finished.rglob(".store/**/*.parquet")} == cells


def test_a_new_level_runs_alone(finished: Path, tiny: Path, bench: Bench) -> None:
    ended = bench(
        "run", tiny, "--results", finished, *LOCAL, "--dry-run",
        "--set", "occlusion.features.levels=[3, 10%, 50%]",
    )  # fmt: skip
    # Mean, linear and zero once, hgvae and untrained with and without inference, two seeds.
    assert "0 fits and 14 cells to do, 32 cells already there" in ended.out


def test_a_dry_run_leaves_no_run(tiny: Path, tmp_path: Path, bench: Bench) -> None:
    ended = bench("run", tiny, "--results", tmp_path / "results", *LOCAL, "--dry-run")
    assert ended.code == 0
    assert "10 fits and 32 cells to do" in ended.out
    assert not (tmp_path / "results" / "tiny").exists()


def test_only_runs_a_part(tiny: Path, tmp_path: Path, bench: Bench) -> None:
    ended = bench("run", tiny, "--results", tmp_path, *LOCAL, "--only", "mean,zero")
    assert ended.code == 0
    written = pd.read_csv(tmp_path / "tiny" / "latest" / "imputation.csv")
    assert set(written["model"]) == {"mean", "zero"}
    assert not (tmp_path / "tiny" / "latest" / "fig4_posterior.png").exists()


@pytest.mark.ray
def test_ray_gives_the_same_tables(finished: Path, tiny: Path, tmp_path: Path) -> None:
    process = subprocess_bench("run", tiny, "--results", tmp_path / "results")
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert "Ray: " in out
    local = pd.read_csv(finished / "tiny" / "latest" / "imputation.csv")
    ray = pd.read_csv(tmp_path / "results" / "tiny" / "latest" / "imputation.csv")
    # Another number of threads may add floats in another order.
    pd.testing.assert_frame_equal(local, ray, rtol=1e-3)


@pytest.mark.ray
def test_a_killed_worker_costs_nothing(finished: Path, tiny: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    slow = ("--set", "inference.map.steps=40", "--set", "seeds=[0]")
    process = subprocess_bench("run", tiny, "--results", results, *slow)
    cells = results / ".store" / "cells"
    deadline = time.monotonic() + 120
    while not list(cells.glob("*.parquet")) and time.monotonic() < deadline:
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


def test_it_runs_where_ray_cannot_be_imported(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("raise ImportError('no ray here')")
    blocked = {"PYTHONPATH": str(tmp_path)}
    results = tmp_path / "results"
    only = ("--only", "mean,untrained")
    local = subprocess_bench("run", tiny, "--results", results, *only, *LOCAL, **blocked)
    _, err = local.communicate(timeout=200)
    assert local.returncode == 0, err
    with_ray = subprocess_bench(
        "run", tiny, "--results", results, *only, "--set", "seeds=[7]", **blocked
    )
    _, err = with_ray.communicate(timeout=200)
    assert with_ray.returncode == 2
    assert err.startswith("bench: ray cannot be imported (no ray here)")
    assert "--executor local" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_what_had_finished_survives_a_kill(how: int, tiny: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    process = subprocess_bench("run", tiny, "--results", results, *LOCAL)
    cells = results / ".store" / "cells"
    deadline = time.monotonic() + 120
    while len(list(cells.glob("*.parquet"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    kept = {path: path.stat().st_mtime_ns for path in cells.glob("*.parquet")}
    assert 5 <= len(kept) < 32
    assert not (results / "tiny" / "latest").exists()
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "interrupted" in err
        assert "Traceback" not in err
    again = subprocess_bench("run", tiny, "--results", results, *LOCAL)
    out, err = again.communicate(timeout=200)
    assert again.returncode == 0, err
    assert f"{len(kept)} cells already there" in out
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


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
    mended = bench("run", tiny, "--results", tmp_path, *LOCAL, "--only", "mean,linear")
    assert mended.code == 0
    assert "0 fits and 4 cells to do, 4 cells already there" in mended.out


def test_a_score_that_is_not_a_number_is_a_failure(
    tiny: Path, tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HGVAE, "log_posterior", lambda self, motion: motion.sum((2, 3)) * np.nan)
    ended = bench("run", tiny, "--results", tmp_path, *LOCAL, "--only", "untrained")
    assert ended.code == 1
    assert "FloatingPointError: untrained scored windows with values not finite" in ended.out
    records = pd.read_parquet(tmp_path / "tiny" / "latest" / "records.parquet")
    assert set(records["status"]) == {"failed"}
    assert not records["value"].notna().any()


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "dataset={name: cmu}"], "--data-root"),
        (["--set", "dataset={name: cmu}", "--data-root", "/nowhere"], "is not a folder"),
        (["--only", "hgvea"], "did you mean 'hgvae'?"),
        (["--address", "auto"], "--address is of a Ray cluster"),
        (["--set", "resources.device=cuda"], "torch sees no GPU"),
    ],
)
def test_bad_arguments_get_one_line(
    arguments: list[str], message: str, tiny: Path, tmp_path: Path, bench: Bench
) -> None:
    import torch

    if "cuda" in str(arguments) and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    ended = bench("run", tiny, "--results", tmp_path / "results", *LOCAL, *arguments)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_an_address_without_a_cluster(tiny: Path, tmp_path: Path, bench: Bench) -> None:
    pytest.importorskip("ray")
    ended = bench("run", tiny, "--results", tmp_path, "--only", "mean", "--address", "127.0.0.1:1")
    assert ended.code == 2
    assert ended.err.startswith("bench: no Ray at 127.0.0.1:1")
    assert ended.err.count("\n") == 1


def test_results_that_are_a_file(tiny: Path, tmp_path: Path, bench: Bench) -> None:
    (tmp_path / "results").write_text("")
    ended = bench("run", tiny, "--results", tmp_path / "results", *LOCAL)
    assert ended.code == 2
    assert "results" in ended.err
    assert ended.err.count("\n") == 1


def test_real_motion_end_to_end(real_data: Path, tmp_path: Path, bench: Bench) -> None:
    ended = bench(
        "run", PROJECT / "protocols" / "cmu.yaml", "--results", tmp_path, *LOCAL,
        "--data-root", real_data, "--only", "mean,zero,linear", "--set", "seeds=[0]",
    )  # fmt: skip
    assert ended.code == 0
    assert "absent files (10)" in ended.out
    written = pd.read_csv(tmp_path / "cmu" / "latest" / "imputation.csv")
    assert not written["dataset"].str.contains("synthetic").any()
    change = written[(written["metric"] == "change_vs_mean") & (written["model"] == "linear")]
    # Measured elsewhere on these files: 99.6 % at 10 % of features hidden, 97.5 % at 50 %.
    by_level = change.set_index("level")["value"]
    assert by_level["10%"] == pytest.approx(-99.6, abs=0.5)
    assert by_level["50%"] == pytest.approx(-97.9, abs=1.0)


def test_list_and_describe(bench: Bench, tmp_path: Path, real_data: Path) -> None:
    models = bench("list", "models", "-v")
    assert models.code == 0
    assert "3.21 M" in models.out
    assert "2,891,613" in models.out
    everything = bench("list").out
    for name in ("hgvae", "untrained", "features", "map", "synthetic", "cmu"):
        assert name in everything
    assert bench("list", "modles").code == 2
    described = bench("describe", "--data-root", real_data, "--results", tmp_path)
    assert described.code == 0
    for text in ("synthetic", "cmu", "DCT", "joint speed", "PCA", "linear"):
        assert text in described.out
    alone = bench("describe", "--results", tmp_path)
    assert "left out: cmu: where are the files?" in alone.out.replace("\n", " ")
    assert bench("describe", "cmu", "--results", tmp_path).code == 2


def test_help_names_every_command() -> None:
    process = subprocess_bench("--help")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    for command in ("run", "list", "validate", "describe"):
        assert command in out
