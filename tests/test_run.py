"""The command line as a user runs it: whole runs, repeated, interrupted, broken."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
import yaml
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load_file
from sklearn.metrics import roc_auc_score

from bench.datasets.build import load
from bench.motion import Windows
from bench.motion.corruption import Noise
from bench.motion.occlusion import Features, Level
from bench.protocol import resolve
from bench.records import COLUMNS
from bench.times import Overhead
from bench.trials import available_cpus
from models.hgvae import HGVAE
from models.linear import Linear
from tests.conftest import PROJECT, TINY, Bench

LOCAL = ("--executor", "local")
FITS = 24
CELLS = 248
SAMPLES = 6
TABLES = (
    "imputation",
    "models",
    "ood",
    "ranks",
    "detection_level",
    "comparisons",
    "forecasting",
    "prediction",
)
FIGURES = (
    "fig4_posterior",
    "fig5_posterior_change",
    "fig6_mse_change",
    "fig7_forecasting",
    "forecasting_change",
    "auroc",
    "ranks",
    "comparisons",
)


def texts(run: Path) -> dict[str, str]:
    """Return what a run's tables say, by file."""
    suffixes = {".csv", ".md", ".tex"}
    tables = (path for path in run.iterdir() if path.suffix in suffixes and path.stem != "jobs")
    return {path.name: path.read_text() for path in tables}


def latest(results: Path, table: str, name: str = "tiny") -> pd.DataFrame:
    """Return a table of the last run; what is empty in it is an empty string or nan."""
    file = results / name / "latest" / table
    return pd.read_parquet(file) if table.endswith("parquet") else pd.read_csv(file)


def subprocess_bench(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=PROJECT,
        # Threads are of no use to models as small as these, and fight where cores are few.
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all the rest of a small run; some tests look at numbers alone."""
    monkeypatch.setattr("bench.figures.write_all", lambda *_: [])


numbers_alone = pytest.mark.usefixtures("_no_figures")


@pytest.fixture(autouse=True)
def _one_thread(_two_threads: None) -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the tiny protocol, run once in this process."""
    from bench.cli import main

    folder = tmp_path_factory.mktemp("finished")
    protocol = folder / "tiny.yaml"
    protocol.write_text(yaml.safe_dump(TINY, sort_keys=False))
    torch.set_num_threads(1)
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
        "times.csv",
        "claims.csv",
        "claims.md",
        "jobs.csv",
        "report.html",
        *(f"{table}.{suffix}" for table in TABLES for suffix in ("csv", "md", "tex")),
        *(f"{figure}.{suffix}" for figure in FIGURES for suffix in ("pdf", "png")),
    }
    for path in run.iterdir():
        assert path.stat().st_size > 0
    for name, text in texts(run).items():
        assert "synthetic" in text, name
    facts = yaml.safe_load((run / "provenance.json").read_text())
    assert facts["data"]["synthetic"] is True
    assert facts["versions"]["torch"]
    assert len(facts["fits"]) == FITS
    assert set(facts["data"]["foreign"]) == {"others"}
    assert not list(finished.rglob(".draft*"))


def test_records_are_tidy_and_complete(finished: Path) -> None:
    records = pd.read_parquet(finished / "tiny" / "latest" / "records.parquet")
    assert list(records.columns) == COLUMNS
    assert (records["status"] == "done").all()
    assert records["dataset"].str.contains("synthetic").all()
    errors = records[records["metric"] == "mse"]
    imputers = {(label, "") for label in ("mean", "linear", "zero", "wrong_mean")}
    imputers |= {(label, "map") for label in ("hgvae", "untrained", "vae")}
    for _, cell in errors.groupby(["level", "seed"]):
        assert set(zip(cell["model"], cell["inference"], strict=True)) == imputers
    assert set(errors["level"]) == {"3", "10%", "50%"}
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
    assert set(scores["model"]) == {"hgvae", "untrained", "vae"}
    assert set(records.loc[records["metric"] == "distance", "model"]) == {"pca_error", "walking"}


def test_records_follow_from_the_windows(finished: Path) -> None:
    run = finished / "tiny" / "latest"
    records, values = (pd.read_parquet(run / f"{name}.parquet") for name in ("records", "windows"))
    records, values = (table.fillna({"horizon_ms": 0}) for table in (records, values))
    keys = ["split", "predictor", "model", "inference", "mechanism", "level", "seed"]
    keys += ["horizon_ms", "metric"]
    means = values.groupby(keys)["value"].mean()
    direct = records[~records["metric"].str.startswith("change")].set_index(keys)["value"]
    pd.testing.assert_series_equal(direct.sort_index(), means.sort_index(), check_names=False)


def test_recorded_errors_are_those_of_one_mask_for_all(finished: Path) -> None:
    """Zero's and mean's errors, recomputed from the data and the mechanism's own mask."""
    run = finished / "tiny" / "latest"
    protocol = resolve(yaml.safe_load((run / "protocol.yaml").read_text()))
    data = load(protocol.dataset, None, finished / ".store" / "windows")
    test, train = data.splits["test"].thin(12), data.splits["train"].thin(40)
    truth = np.asarray(test.motion, dtype=np.float64)
    mean = np.asarray(train.motion, dtype=np.float64).mean(axis=0)
    fills = {"zero": 0.0, "mean": mean, "wrong_mean": 3.03 * mean}
    checked = 0
    values = pd.read_parquet(run / "windows.parquet").query("metric == 'mse'")
    for labels, group in values.groupby(["model", "level", "seed"]):
        model, level, seed = map(str, labels)
        if model in fills:
            hidden = Features(level=Level.parse(level), seed=int(seed)).occluded(test)
            squared = np.where(hidden, (truth - fills[model]) ** 2, 0).reshape(12, -1)
            expected = squared.sum(axis=1) / hidden.reshape(12, -1).sum(axis=1)
            recorded = group.set_index("window").loc[test.names, "value"]
            np.testing.assert_allclose(recorded, expected, rtol=1e-4)
            checked += 1
    assert checked == 3 * 3 * 2


@numbers_alone
def test_a_second_run_does_nothing_and_says_the_same(
    finished: Path, tiny: Path, bench: Bench
) -> None:
    before = texts(finished / "tiny" / "latest")
    cells = {path: path.stat().st_mtime_ns for path in finished.rglob(".store/**/*.parquet")}
    ended = bench("run", tiny, "--results", finished, *LOCAL)
    assert ended.code == 0
    assert f"0 fits and 0 cells to do, {CELLS} cells already there" in ended.out
    assert texts(finished / "tiny" / "latest") == before
    assert {p: p.stat().st_mtime_ns for p in finished.rglob(".store/**/*.parquet")} == cells


def test_a_new_level_runs_alone(finished: Path, tiny: Path, bench: Bench) -> None:
    ended = bench(
        "run", tiny, "--results", finished, *LOCAL, "--dry-run",
        "--set", "occlusion.features.levels=[3, 10%, 50%, 90%]",
    )  # fmt: skip
    # Four imputers and a detector once, three models with and without inference. Two predictors
    # are told of seven new pasts; one that is fitted on every level of them is so anew, and tells
    # of the true past and of seven at four levels. Two seeds.
    new = 2 * (4 + 1 + 3 * 2) + 2 * 2 * 7 + 2 * (1 + 7 * 4)
    there = CELLS - 2 * (1 + 7 * 3)
    assert f"2 fits and {new} cells to do, {there} cells already there" in ended.out


@pytest.mark.parametrize(
    ("override", "cells"),
    [
        # Three models with a density and one other that scores; two seeds.
        ("corruption.noise.levels=[5, 50, 500]", 8),
        ("corruption.joint_swap={levels: [10%]}", 8),
        ("foreign.strangers={name: synthetic, seed: 3, subjects: 4, seconds: 2.5}", 8),
        ("scale.samples=7", 6),
        # Three models, levels and predictors; two seeds.
        ("inference.far={inference: map, steps: 3}", 18 + 54),
        ("models.jumping={like: walking, model: pca_error, train_on: [jump]}", 4),
        ("comparisons.means={model: mean, against: wrong_mean}", 0),
        ("references=[zero]", 0),
    ],
)
def test_what_is_added_runs_alone(
    override: str, cells: int, finished: Path, tiny: Path, bench: Bench
) -> None:
    ended = bench("run", tiny, "--results", finished, *LOCAL, "--dry-run", "--set", override)
    fits = 2 if override.startswith("models") else 0
    there = CELLS - (6 if "samples" in override else 0)
    assert f"{fits} fits and {cells} cells to do, {there} cells already there" in ended.out


def test_a_dry_run_leaves_no_run(tiny: Path, tmp_path: Path, bench: Bench) -> None:
    ended = bench("run", tiny, "--results", tmp_path / "results", *LOCAL, "--dry-run")
    assert ended.code == 0
    assert f"{FITS} fits and {CELLS} cells to do" in ended.out
    assert not (tmp_path / "results" / "tiny").exists()


def test_only_runs_a_part(tiny: Path, tmp_path: Path, bench: Bench) -> None:
    ended = bench("run", tiny, "--results", tmp_path, *LOCAL, "--only", "mean,zero")
    assert ended.code == 0
    written = latest(tmp_path, "imputation.csv")
    assert set(written["model"]) == {"mean", "zero"}
    # Nobody scores, and neither the comparison's other side nor linear are there.
    run = tmp_path / "tiny" / "latest"
    for name in ("fig4_posterior.png", "auroc.png", "ood.csv", "models.csv", "comparisons.csv"):
        assert not (run / name).exists()
    assert set(written["metric"]) >= {"mse", "change_vs_mean"}
    assert "change_vs_linear" not in set(written["metric"])
    kept = yaml.safe_load((run / "protocol.yaml").read_text())
    assert (kept["references"], kept["comparisons"]) == (["mean"], {})


@numbers_alone
def test_only_keeps_a_comparison_of_what_is_there(
    finished: Path, tiny: Path, tmp_path: Path, bench: Bench
) -> None:
    ended = bench("run", tiny, "--results", tmp_path, *LOCAL, "--only", "zero,wrong_mean")
    assert ended.code == 0
    assert set(latest(tmp_path, "imputation.csv")["model"]) == {"zero", "wrong_mean"}
    assert not any(
        metric.startswith("change") for metric in latest(tmp_path, "imputation.csv")["metric"]
    )
    pd.testing.assert_frame_equal(
        latest(tmp_path, "comparisons.csv"), latest(finished, "comparisons.csv")
    )


def scored(values: pd.DataFrame, metric: str, **labels: object) -> "pd.Series[float]":
    """Return the values of one metric by window, of the cell that the labels tell."""
    chosen = values[values["metric"] == metric]
    for name, label in labels.items():
        chosen = chosen[chosen[name] == label]
    assert chosen["window"].is_unique
    return chosen.set_index("window")["value"]


def test_a_recorded_auroc_is_sklearns_of_the_windows(finished: Path) -> None:
    values, table = latest(finished, "windows.parquet"), latest(finished, "ood.csv")
    asked = table[(table["metric"] == "auroc") & ~table["score"].str.startswith("nlp_z")]
    assert len(asked) == 3 * 2 * 7 + 7 + 1  # by mechanism and level: densities, pca_error, walking
    for row in asked.fillna({"level": ""}).itertuples():
        sign = -1 if row.score == "negative_elbo" else 1
        metric = "elbo" if row.score == "negative_elbo" else str(row.score)
        by_seed = []
        for seed in (0, 1):
            mine = {"model": row.model, "seed": seed}
            clean = scored(values, metric, mechanism="", inference="", **mine)
            way = "mean" if row.mechanism == "features" else ""
            odd = {"mechanism": row.mechanism, "level": row.level, "inference": way}
            degraded = scored(values, metric, **odd, **mine)
            truth = np.repeat([0, 1], [len(clean), len(degraded)])
            by_seed.append(roc_auc_score(truth, sign * np.concatenate([clean, degraded])))
        assert row.value == pytest.approx(np.mean(by_seed))


def test_a_comparison_is_that_of_the_windows(finished: Path) -> None:
    values, table = latest(finished, "windows.parquet"), latest(finished, "comparisons.csv")
    assert list(table["level"]) == ["3", "10%", "50%"]
    errors = values[values["metric"] == "mse"].groupby(["model", "level"])["value"].mean()
    for row in table.itertuples():
        level = str(row.level)
        change = 100 * (errors["zero", level] / errors["wrong_mean", level] - 1)
        assert row.value == pytest.approx(change)
        assert (row.comparison, row.model, row.against) == ("zeros", "zero", "wrong_mean")


class Rebuilt:
    """What principal components say of windows, from the data and the kept weights alone."""

    def __init__(self, results: Path) -> None:
        self.protocol = resolve(TINY)
        self.store = results / ".store"
        splits = load(self.protocol.dataset, None, self.store / "windows").splits
        self.train, self.test = splits["train"].thin(40), splits["test"].thin(12)
        self.facts = yaml.safe_load((results / "tiny" / "latest" / "provenance.json").read_text())

    def foreign(self) -> Windows:
        others = load(self.protocol.foreign["others"], None, self.store / "windows")
        return others.splits["test"].thin(12)

    def weights(self, model: str, seed: int) -> dict[str, NDArray[np.float64]]:
        (key,) = (
            fit["key"]
            for fit in self.facts["fits"].values()
            if (fit["model"], fit["seed"]) == (model, seed)
        )
        kept = load_file(self.store / "fits" / key / "weights.safetensors")
        return {name: value.astype(np.float64) for name, value in kept.items()}

    def residual(self, model: str, seed: int, motion: ArrayLike) -> NDArray[np.float64]:
        """Return the mean squared error of windows rebuilt from a fit's components."""
        kept = self.weights(model, seed)
        around = flat(motion) - kept["principal.origin"]
        components = kept["principal.components"]
        return ((around - around @ components.T @ components) ** 2).mean(axis=1)


def flat(motion: ArrayLike) -> NDArray[np.float64]:
    windows = np.asarray(motion, dtype=np.float64)
    return windows.reshape(len(windows), -1)


def test_clean_corrupted_and_foreign_windows_are_scored_as_what_they_are(finished: Path) -> None:
    values, again = latest(finished, "windows.parquet"), Rebuilt(finished)
    clean, foreign = np.asarray(again.test.motion), again.foreign()
    strangers = [f"others/{name}" for name in foreign.names]
    assert not set(strangers) & set(again.test.names)
    for seed in (0, 1):
        told: dict[tuple[str, str], tuple[list[str], ArrayLike]] = {
            ("", "0"): (again.test.names, clean),
            ("noise", "5 mm"): (again.test.names, Noise(level=5, seed=seed).apply(again.test)),
            ("noise", "50 mm"): (again.test.names, Noise(level=50, seed=seed).apply(again.test)),
            ("time_reversal", ""): (again.test.names, clean[:, ::-1]),
            ("others", ""): (strangers, np.asarray(foreign.motion)),
        }
        for (mechanism, level), (names, motion) in told.items():
            labels = {"mechanism": mechanism, "level": level, "inference": "", "seed": seed}
            recorded = scored(values, "distance", model="pca_error", **labels)
            assert list(recorded.index) == names
            expected = again.residual("pca_error", seed, motion)
            np.testing.assert_allclose(recorded, expected, rtol=1e-4)
    sources = values.loc[values["mechanism"] == "others", "source"]
    assert set(sources) == {f"others/{name}" for name in foreign.index["source"]}


def test_noise_changes_every_window_for_every_model_and_seed(finished: Path) -> None:
    values = latest(finished, "windows.parquet")
    for model, metric in (("vae", "elbo"), ("hgvae", "nlp"), ("pca_error", "distance")):
        for level in ("5 mm", "50 mm"):
            by_seed = []
            for seed in (0, 1):
                mine = {"model": model, "seed": seed, "inference": ""}
                clean = scored(values, metric, mechanism="", **mine)
                noisy = scored(values, metric, mechanism="noise", level=level, **mine)
                assert list(noisy.index) == list(clean.index)
                assert (noisy != clean).all()
                by_seed.append((noisy - clean).to_numpy())
            assert (by_seed[0] != by_seed[1]).all()


def test_a_model_of_one_action_scores_windows_of_it_as_clean_and_others_as_unseen(
    finished: Path,
) -> None:
    values, again = latest(finished, "windows.parquet"), Rebuilt(finished)
    walking = values[values["model"] == "walking"]
    assert set(walking["metric"]) == {"distance"}
    assert set(walking["mechanism"]) == {"", "unseen actions"}
    action = dict(zip(again.test.names, again.test.index["action"], strict=True))
    names = {
        mechanism: list(group.loc[group["metric"] == "distance", "window"])
        for mechanism, group in walking[walking["seed"] == 0].groupby("mechanism")
    }
    assert names[""] == [name for name in action if action[name] == "walk"]
    assert names["unseen actions"] == [name for name in action if action[name] != "walk"]
    assert len(names[""]) + len(names["unseen actions"]) == 12
    train, place = again.train, {name: row for row, name in enumerate(again.test.names)}
    walks = train.take((train.index["action"] == "walk").to_numpy())
    for seed in (0, 1):
        # Fitted on the train windows of that action alone.
        origin = again.weights("walking", seed)["principal.origin"]
        np.testing.assert_allclose(origin, flat(walks.motion).mean(axis=0), rtol=1e-5, atol=1e-3)
        expected = again.residual("walking", seed, again.test.motion)
        for mechanism, rows in names.items():
            recorded = scored(values, "distance", model="walking", mechanism=mechanism, seed=seed)
            told = expected[[place[name] for name in rows]]
            np.testing.assert_allclose(recorded, told, rtol=1e-4)


def test_samples_are_records_of_a_split_of_their_own(finished: Path) -> None:
    records, values = latest(finished, "records.parquet"), latest(finished, "windows.parquet")
    samples = records[records["split"] == "sample"]
    assert set(records["split"]) == {"test", "sample"}
    assert set(samples["model"]) == {"hgvae", "untrained", "vae"}
    assert set(samples["metric"]) == {"bones_in_range", "bone_excess"}
    assert (samples["n"] == SAMPLES).all()
    assert len(samples) == 3 * 2 * 2
    measured = {"bones_in_range", "bone_excess"}
    assert not measured & set(records.loc[records["split"] == "test", "metric"])
    drawn = values[values["split"] == "sample"]
    assert not set(drawn["window"]) & set(values.loc[values["split"] == "test", "window"])
    share = drawn.loc[drawn["metric"] == "bones_in_range", "value"]
    excess = drawn.loc[drawn["metric"] == "bone_excess", "value"]
    assert share.between(0, 1).all()
    assert (excess > 0).all()  # nothing so little trained draws bones of the right length
    # Another seed draws other samples.
    seeds = drawn[(drawn["model"] == "vae") & (drawn["metric"] == "bone_excess")]
    first, second = (seeds.loc[seeds["seed"] == seed, "value"].to_numpy() for seed in (0, 1))
    assert (first != second).all()


def test_quality_is_told_of_every_generative_model(finished: Path) -> None:
    table = latest(finished, "models.csv").set_index(["model", "metric"])
    values = latest(finished, "windows.parquet")
    for model in ("hgvae", "untrained", "vae"):
        elbo = scored_all(values, "elbo", model)
        squared = scored_all(values, "reconstruction_mse", model)
        told = table.loc[model]["value"]
        assert told["elbo_per_dimension"] == pytest.approx(elbo.mean() / 2700)
        assert told["reconstruction_rmse"] == pytest.approx(squared.mean() ** 0.5)
        assert told["parameters"] > 1000
        assert told["fit_seconds"] > 0
    # A detector with latents is asked for actions alone.
    assert set(table.loc["pca_error"].index) >= {"action_accuracy"}
    assert "elbo_per_dimension" not in table.loc["pca_error"].index
    assert "walking" not in table.index.get_level_values("model")


def scored_all(values: pd.DataFrame, metric: str, model: str) -> "pd.Series[float]":
    """Return a metric of clean windows, all seeds."""
    clean = (values["metric"] == metric) & (values["mechanism"] == "")
    return values.loc[clean & (values["model"] == model), "value"]


@numbers_alone
def test_one_level_that_fails_costs_no_other_of_its_batch(
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
    mended = bench("run", tiny, "--results", tmp_path, *LOCAL, *only, "--retry-failed")
    assert mended.code == 0
    assert "0 fits and 2 cells to do, 10 cells already there" in mended.out
    same_errors(latest(tmp_path, "windows.parquet"), latest(finished, "windows.parquet"))


def same_errors(some: pd.DataFrame, all_of_them: pd.DataFrame) -> None:
    """Assert that values by window are those of a larger table, bit for bit."""
    keys = ["model", "inference", "mechanism", "level", "seed", "metric", "window"]
    one, other = (
        table[table["predictor"] == ""].set_index(keys)["value"].sort_index()
        for table in (some, all_of_them)
    )
    other = other.loc[one.index]
    assert len(one)
    pd.testing.assert_series_equal(one, other, check_exact=True)


def fits_alone(results: Path, folder: Path) -> Path:
    """Return a copy of results that has windows and fits, but no cells."""
    ignore = shutil.ignore_patterns("cells", "tiny", ".draft*")
    return Path(shutil.copytree(results, folder, ignore=ignore))


@numbers_alone
@pytest.mark.parametrize("level", ["3", "10%", "50%"])
def test_a_level_done_alone_has_the_errors_of_one_done_with_others(
    level: str, finished: Path, tiny: Path, tmp_path: Path, bench: Bench
) -> None:
    results = fits_alone(finished, tmp_path / "results")
    ended = bench(
        "run", tiny, "--results", results, *LOCAL, "--only", "linear,hgvae,untrained,vae",
        "--set", f"occlusion.features.levels=[{level}]", "--set", "seeds=[0]",
    )  # fmt: skip
    assert ended.code == 0
    assert "0 fits and 25 cells to do" in ended.out
    values = latest(results, "windows.parquet")
    alone = values[values["level"] == level]
    assert set(alone["inference"]) == {"", "mean", "map"}
    same_errors(alone, latest(finished, "windows.parquet"))


@numbers_alone
def test_a_random_start_does_not_hang_on_what_else_is_done(
    finished: Path, tiny: Path, tmp_path: Path, bench: Bench
) -> None:
    """What a cell's key does not state must not decide its values."""
    results = [fits_alone(finished, tmp_path / name) for name in ("together", "alone")]
    random = "inference={far: {inference: map, steps: 2, start: normal}}"
    common = (*LOCAL, "--only", "untrained", "--set", random, "--set", "seeds=[0]")
    assert bench("run", tiny, "--results", results[0], *common).code == 0
    one = ("--set", "occlusion.features.levels=[50%]")
    assert bench("run", tiny, "--results", results[1], *common, *one).code == 0
    together, alone = (latest(folder, "windows.parquet") for folder in results)
    same_errors(alone[alone["inference"] == "far"], together)


@numbers_alone
def test_one_fit_under_two_labels_is_told_of_under_both(
    finished: Path, tiny: Path, tmp_path: Path, bench: Bench
) -> None:
    results = fits_alone(finished, tmp_path / "results")
    ended = bench(
        "run", tiny, "--results", results, *LOCAL, "--only", "vae,twin",
        "--set", "models.twin={model: vae, like: vae}", "--set", "seeds=[0]",
    )  # fmt: skip
    assert ended.code == 0
    assert "0 fits and" in ended.out
    table = latest(results, "models.csv").set_index(["model", "metric"])["value"]
    assert table["twin"].to_dict() == pytest.approx(table["vae"].to_dict())


@numbers_alone
def test_detectors_alone_make_a_run(tiny: Path, tmp_path: Path, bench: Bench) -> None:
    ended = bench("run", tiny, "--results", tmp_path, *LOCAL, "--only", "pca_error,walking")
    assert ended.code == 0
    run = tmp_path / "tiny" / "latest"
    assert latest(tmp_path, "imputation.csv").empty
    assert set(latest(tmp_path, "ood.csv")["model"]) == {"pca_error", "walking"}
    # The note under a table tells of its own windows.
    for name in ("ood.md", "ood.tex", "models.md"):
        assert "no cell was finished" not in (run / name).read_text()
    assert "12 windows of 12 recordings, 2 seeds" in (run / "ood.md").read_text()


@numbers_alone
def test_where_no_test_window_is_of_an_action_a_repetition_says_the_same(
    tiny: Path, tmp_path: Path, bench: Bench
) -> None:
    told = []
    for _ in range(2):
        ended = bench(
            "run", tiny, "--results", tmp_path, *LOCAL, "--only", "walking", "--set", "seeds=[0]",
            "--set", "models.walking.train_on=[jump]",
            "--set", "scale={train: 40, valid: 40, test: 3}",
        )  # fmt: skip
        records = latest(tmp_path, "records.parquet")
        told.append((ended.code, records[["mechanism", "metric", "n", "status"]]))
    assert set(told[0][1]["mechanism"]) == {"", "unseen actions"}
    assert told[0][0] == told[1][0]
    pd.testing.assert_frame_equal(told[0][1], told[1][1])


@pytest.mark.parametrize("actions", ["[wlak]", "[walk, jumpp]", "[3]", "[[walk]]", "['']"])
def test_an_action_that_nobody_does_gets_one_line(
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


def test_an_action_that_is_nearly_one_is_suggested(
    finished: Path, tiny: Path, bench: Bench
) -> None:
    ended = bench(
        "run", tiny, "--results", finished, *LOCAL, "--set", "models.walking.train_on=[wlak]"
    )
    assert "no train window of 'wlak' (did you mean 'walk'?)" in ended.err


@numbers_alone
def test_an_action_that_a_small_scale_leaves_out_fails_its_fit_alone(
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


def test_claims_are_made_again_from_a_runs_folder(
    finished: Path, tmp_path: Path, bench: Bench
) -> None:
    run = tmp_path / "run"
    shutil.copytree((finished / "tiny" / "latest").resolve(), run)
    before = {name: (run / name).read_bytes() for name in ("claims.csv", "claims.md")}
    for name in before:
        (run / name).unlink()
    ended = bench("claims", run)
    assert ended.code == 0
    for letter in "abcdef":
        assert f"({letter})" in ended.out
    assert "(a, audit)" in ended.out
    assert str(run / "claims.csv") in ended.out.replace("\n", "")
    assert {name: (run / name).read_bytes() for name in before} == before
    table = pd.read_csv(run / "claims.csv")
    assert list(table["claim"]) == ["a", "a", "b", "c", "d", "e", "f", "f"]
    assert set(table["verdict"]) <= {"holds", "does not hold", "not tested"}
    for verdict in table["verdict"]:
        assert verdict in ended.out
    assert set(table["dataset"]) == {"synthetic (synthetic motion)"}


def test_a_run_of_before_there_were_predictors_can_still_be_read(
    finished: Path, tmp_path: Path, bench: Bench
) -> None:
    run, old = finished / "tiny" / "latest", tmp_path / "run"
    old.mkdir()
    shutil.copy(run / "provenance.json", old)
    raw = yaml.safe_load((run / "protocol.yaml").read_text())
    del raw["predictors"], raw["forecast"], raw["published"], raw["dataset"]["future"]
    (old / "protocol.yaml").write_text(yaml.safe_dump(raw))
    values = latest(finished, "windows.parquet").query("predictor == ''")
    values.drop(columns="action").to_parquet(old / "windows.parquet", index=False)
    assert bench("claims", old).code == 0
    told, whole = (pd.read_csv(folder / "claims.csv") for folder in (old, run))
    others = whole["claim"] != "e"
    pd.testing.assert_frame_equal(told[others], whole[others])
    assert set(told.loc[~others, "verdict"]) == {"not tested"}


@pytest.mark.parametrize(
    "damage",
    [
        "nothing there", "an empty folder", "a file", "no values", "no protocol", "no provenance",
        "half of the values", "a protocol of another version", "a protocol of words",
        "provenance of another kind",
    ],
)  # fmt: skip
def test_claims_of_what_is_no_run_get_one_line(
    damage: str, finished: Path, tmp_path: Path, bench: Bench
) -> None:
    run = tmp_path / "run"
    if damage == "a file":
        run.write_text("words")
    elif damage == "an empty folder":
        run.mkdir()
    elif damage != "nothing there":
        kept = ("windows.parquet", "protocol.yaml", "provenance.json")
        run.mkdir()
        for name in kept:
            shutil.copy(finished / "tiny" / "latest" / name, run / name)
        missing = dict(zip(("no values", "no protocol", "no provenance"), kept, strict=True))
        if damage in missing:
            (run / missing[damage]).unlink()
        elif damage == "half of the values":
            whole = (run / "windows.parquet").read_bytes()
            (run / "windows.parquet").write_bytes(whole[: len(whole) // 2])
        elif damage == "a protocol of another version":
            with (run / "protocol.yaml").open("a") as protocol:
                protocol.write("seers: {}\n")
        elif damage == "a protocol of words":
            (run / "protocol.yaml").write_text("just words")
        else:
            (run / "provenance.json").write_text("[]")
    ended = bench("claims", run)
    assert ended.code == 2
    assert ended.err.startswith("bench: ")
    assert ended.err.count("\n") == 1
    assert str(run) in ended.err
    assert "Traceback" not in ended.out + ended.err
    assert not run.is_dir() or not (run / "claims.csv").exists()


def as_stored(results: Path) -> bytes:
    """Return the file of a run's records, byte by byte."""
    return (results / "tiny" / "latest" / "records.parquet").read_bytes()


@pytest.mark.ray
def test_two_workers_find_bit_for_bit_what_one_process_does(
    finished: Path, tiny: Path, tmp_path: Path
) -> None:
    process = subprocess_bench("run", tiny, "--results", tmp_path / "results")
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert "Ray: " in out
    assert as_stored(tmp_path / "results") == as_stored(finished)
    # Fits, cells and forecasts have a process for each CPU, however many they are.
    assert latest(tmp_path / "results", "jobs.csv")["pid"].nunique() <= 3 * available_cpus()
    facts = json.loads((tmp_path / "results" / "tiny" / "latest" / "provenance.json").read_text())
    spent = Overhead(**facts["overhead"])
    assert spent.cells == len(list((tmp_path / "results" / ".store" / "cells").glob("*")))
    assert out.endswith(f"{spent}\n")


@numbers_alone
def test_the_order_of_models_and_the_number_of_threads_elsewhere_change_no_bit(
    finished: Path, tmp_path: Path, bench: Bench
) -> None:
    names = ("wrong_mean", "pca_error", "vae", "hgvae", "mean")
    raw = TINY | {"models": {name: TINY["models"][name] for name in names}, "seeds": [1]}
    raw |= {"comparisons": {}, "predictors": {}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    torch.set_num_threads(2)
    ended = bench("run", tmp_path / "tiny.yaml", "--results", tmp_path, *LOCAL)
    assert ended.code == 0
    keys = ["model", "inference", "mechanism", "level", "split", "metric"]
    told, whole = (latest(folder, "records.parquet") for folder in (tmp_path, finished))
    assert list(told["model"].unique()) == list(names)
    alike = whole["model"].isin(names) & (whole["seed"] == 1) & (whole["predictor"] == "")
    pd.testing.assert_frame_equal(
        told.set_index(keys).sort_index(),
        whole[alike & (whole["metric"] != "change_vs_linear")].set_index(keys).sort_index(),
        check_exact=True,
    )


@pytest.mark.ray
def test_a_killed_worker_costs_nothing(finished: Path, tiny: Path, tmp_path: Path) -> None:
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
def test_what_had_finished_survives_a_kill(
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
    assert f"{len(kept)} cells already there" in out
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert as_stored(results) == as_stored(finished)


@numbers_alone
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
    assert "0 fits and 0 cells to do, 6 cells already there" in alone.out
    assert "0 fits and 6 cells failed before and are left alone" in alone.out
    again = pd.read_parquet(tmp_path / "tiny" / "latest" / "records.parquet")
    pd.testing.assert_frame_equal(again, records)
    mended = bench(*run, "--retry-failed")
    assert mended.code == 0
    assert "0 fits and 6 cells to do, 6 cells already there" in mended.out


@numbers_alone
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


@numbers_alone
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


def test_foreign_motion_that_is_not_there_is_left_out_by_name(
    tiny: Path, tmp_path: Path, bench: Bench
) -> None:
    """The rest runs, the provenance says what is lacking, and claims can be judged again."""
    ended = bench(
        "run", tiny, "--results", tmp_path / "results", *LOCAL, "--only", "mean,pca_error",
        "--set", "foreign={hdm05: {}, others: {name: synthetic, seed: 7, subjects: 4}}",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "foreign.hdm05 left out: hdm05: where are the files?" in ended.out
    run = tmp_path / "results" / "tiny" / "latest"
    facts = json.loads((run / "provenance.json").read_text())["data"]
    assert facts["foreign_left_out"] == ["hdm05"]
    assert list(facts["foreign"]) == ["others"]
    scored = set(pd.read_csv(run / "ood.csv")["mechanism"])
    assert "others" in scored
    assert "hdm05" not in scored
    assert bench("claims", run).code == 0


def test_what_is_fetched_is_enough_for_the_cmu_protocol(
    real_data: Path, tmp_path: Path, bench: Bench
) -> None:
    """CMU's archive alone: no index of actions beside it, no HDM05 to be foreign."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "allasfamc.zip").symlink_to(real_data / "cmu_asfamc.zip")
    run = (
        "run", PROJECT / "protocols" / "cmu.yaml", "--results", tmp_path / "results", *LOCAL,
        "--data-root", tmp_path / "data", "--dry-run",
    )  # fmt: skip
    planned = bench(*run)
    assert planned.code == 0, planned.err
    assert "windows train 3237, valid 1005, test 120" in planned.out
    assert "foreign.hdm05 left out: hdm05: no recording under" in planned.out
    strict = bench(*run, "--strict")
    assert strict.code == 2
    assert "hdm05: no recording under" in strict.err


@numbers_alone
def test_real_motion_end_to_end(real_data: Path, tmp_path: Path, bench: Bench) -> None:
    ended = bench(
        "run", PROJECT / "protocols" / "cmu.yaml", "--results", tmp_path, *LOCAL,
        "--set", "dataset={name: cmu_expmap}", "--set", "foreign={}", "--data-root", real_data,
        "--only", "mean,zero,linear", "--set", "seeds=[0]",
    )  # fmt: skip
    assert ended.code == 0
    assert "cmu_expmap, absent files (10)" in ended.out
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
    assert "3,187,753" in models.out
    everything = bench("list").out
    for name in ("hgvae", "untrained", "features", "map", "synthetic", "cmu", "vae", "reconstruct"):
        assert name in everything
    predictors = bench("list", "predictors", "-v").out
    for name in ("zero_velocity", "ltd", "hisrep", "simlpe", "convseq2seq", "published 2.56 M"):
        assert name in predictors
    corruptions = bench("list", "corruptions").out
    for name in ("noise", "joint_swap", "time_reversal"):
        assert name in corruptions
    assert "hgvae" not in corruptions
    assert bench("list", "modles").code == 2
    sets = ("synthetic", "cmu_expmap")
    described = bench("describe", *sets, "--data-root", real_data, "--results", tmp_path)
    assert described.code == 0
    for text in ("synthetic", "cmu", "DCT", "joint speed", "PCA", "linear"):
        assert text in described.out
    alone = bench("describe", "--results", tmp_path)
    assert "left out: cmu_expmap: where are the files?" in alone.out
    assert bench("describe", "cmu_expmap", "--results", tmp_path).code == 2


def test_help_names_every_command() -> None:
    process = subprocess_bench("--help")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    for command in ("run", "list", "validate", "data", "claims"):
        assert command in out
