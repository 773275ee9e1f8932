"""Separate runs, joined on the command line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.analysis.leaderboard import leaderboard
from bench.analysis.loading import load
from bench.core.errors import InputError
from tests.conftest import Bench, run_of

PROTOCOL: dict[str, Any] = {
    "name": "small",
    "dataset": {"name": "synthetic", "subjects": 4, "seconds": 3.5, "stride": 10},
    "models": {
        "mean": {},
        "linear": {},
        "vae": {"hidden": [8], "latent": 2, "epochs": 1, "batch_size": 8},
        "conditional": {
            "model": "conditional_hgvae",
            "latents": [[1, 4], [2, 2]],
            "width": 4,
            "epochs": 1,
            "batch_size": 8,
        },
    },
    "predictors": {"zero_velocity": {}},
    "inference": {"map": {"steps": 1}},
    "occlusion": {"features": {"levels": ["10%", "50%"]}},
    "corruption": {"noise": {"levels": [50]}},
    "actions": ["walk"],
    "show": [
        {"model": "linear", "mechanism": "features", "level": "50%"},
        {"model": "vae", "inference": "map", "mechanism": "features", "level": "50%"},
    ],
    "comparisons": {"both": {"model": "linear", "against": "mean"}},
    "seeds": [0, 1],
    "scale": {"train": 24, "valid": 8, "test": 8, "samples": 4},
}
FIRST = ("--only", "mean,linear,zero_velocity")
SECOND = ("--only", "vae,conditional,zero_velocity")
Runs = Callable[..., Path]
"""Makes a run in results of the given name, once, and returns its folder."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("merged")


@pytest.fixture
def runs(folder: Path, bench: Bench) -> Runs:
    def make(machine: str, *options: str) -> Path:
        latest = folder / machine / "small" / "latest"
        if not latest.exists():
            ended = bench(*run_of(PROTOCOL, folder, latest.parents[1]), *options)
            assert ended.code == 0, ended.err
        return latest

    return make


def same_files(one: Path, other: Path, *others: str) -> None:
    """Assert that two runs' folders have the same tables, apart from times.

    Args:
        one: a run's folder.
        other: another's.
        others: suffixes of further files that must be the same.
    """
    suffixes = (".parquet", ".csv", ".md", ".tex", ".yaml", *others)
    names, theirs = (
        {path.name for path in run.iterdir() if path.name.endswith(suffixes)}
        for run in (one, other)
    )
    assert names == theirs
    timed = ("times", "jobs", "models", "costs", "prediction", "pareto")
    for name in sorted(names):
        if not name.startswith(timed):
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for name in {"models.csv", "prediction.csv"} & names:
        assert untimed(one / name).equals(untimed(other / name)), name


def untimed(path: Path) -> pd.DataFrame:
    """Return a table without the times of fits."""
    table = pd.read_csv(path, keep_default_na=False)
    if path.name == "prediction.csv":
        return table.drop(columns="fit_seconds")
    return table[table["metric"] != "fit_seconds"].reset_index(drop=True)


def test_a_run_split_by_models_is_joined_to_the_run_of_the_whole(
    folder: Path, runs: Runs, bench: Bench
) -> None:
    """With three stores, none of which has results of another."""
    whole, first, second = runs("whole"), runs("first", *FIRST), runs("second", *SECOND)
    ended = bench("merge", first, second, "--results", folder / "joined")
    assert ended.code == 0, ended.err
    joined = folder / "joined" / "small" / "latest"
    same_files(whole, joined, ".png", ".gif")
    assert {path.name for path in whole.iterdir()} == {path.name for path in joined.iterdir()}
    times, jobs = (
        [pd.read_csv(run / name, keep_default_na=False) for run in (whole, joined)]
        for name in ("times.csv", "jobs.csv")
    )
    assert (
        times[0]
        .drop(columns=["seconds", "memory"])
        .equals(times[1].drop(columns=["seconds", "memory"]))
    )
    made = ["kind", "key", "title", "status", "fit", "past", "keep"]
    assert jobs[0][made].equals(jobs[1][made])
    facts = json.loads((joined / "provenance.json").read_text())
    assert [Path(part["folder"]) for part in facts["merged"]] == [first.resolve(), second.resolve()]
    assert facts["differences"] == []
    assert facts["seeds"] == [0, 1]
    assert bench("compare", whole, joined).out.startswith("identical: ")


@pytest.mark.usefixtures("undrawn")
def test_seeds_and_levels_are_joined(folder: Path, runs: Runs, bench: Bench) -> None:
    """In the order of the protocol that is given with ``--protocol``."""
    simple = (*FIRST, "--set", "show=[]")
    whole = runs("simple", *simple)
    one = runs("seed 1", *simple, "--set", "seeds=[1]")
    other = runs("50%", *simple, "--set", "seeds=[0]", "--set", "occlusion.features.levels=['50%']")
    rest = runs("10%", *simple, "--set", "seeds=[0]", "--set", "occlusion.features.levels=['10%']")
    ended = bench("merge", one, other, "--results", folder / "two")
    assert ended.code == 1
    assert "none of the merged runs has it" in ended.out
    records = pd.read_parquet(folder / "two" / "small" / "latest" / "records.parquet")
    skipped = records[records["status"] == "skipped"]
    assert set(skipped["level"]) == {"10%"}
    assert set(skipped["seed"]) == {0}
    assert len(records[(records["status"] == "done") & (records["level"] == "10%")])
    options = ("--results", folder / "three", "--protocol", whole / "protocol.yaml")
    ended = bench("merge", one, other, rest, *options)
    assert ended.code == 0, ended.out + ended.err
    same_files(whole, folder / "three" / "small" / "latest")


def copied(run: Path, to: Path) -> Path:
    shutil.copytree(run.resolve(), to)
    return to


@pytest.mark.usefixtures("undrawn")
def test_other_versions_are_refused_unless_allowed_and_then_recorded(
    tmp_path: Path, runs: Runs, bench: Bench
) -> None:
    first, second = runs("first", *FIRST), runs("second", *SECOND)
    newer = copied(second, tmp_path / "newer")
    facts = json.loads((newer / "provenance.json").read_text())
    facts["versions"]["torch"], facts["hardware"]["cores"] = "9", 500
    (newer / "provenance.json").write_text(json.dumps(facts))
    results = tmp_path / "results"
    ended = bench("merge", first, newer, "--results", results)
    assert ended.code == 2
    assert f"{newer}: versions.torch is 9, but " in ended.err
    assert "--allow-differences" in ended.err
    assert not results.exists()
    ended = bench("merge", first, newer, "--results", results, "--allow-differences")
    assert ended.code == 0, ended.err
    assert "allowed: " in ended.out
    facts = json.loads((results / "small" / "latest" / "provenance.json").read_text())
    assert "versions.torch is 9" in facts["differences"][0]
    assert [versions["torch"] for versions in facts["versions"]][1] == "9"
    # Hardware may differ; the report lists it.
    assert "cores: 500" in (results / "small" / "latest" / "report.html").read_text()


@pytest.mark.usefixtures("undrawn")
def test_cells_with_different_values_are_named(tmp_path: Path, runs: Runs, bench: Bench) -> None:
    first, second = runs("first", *FIRST), runs("second", *SECOND)
    other = copied(second, tmp_path / "other")
    values = pd.read_parquet(other / "windows.parquet")
    common = values["predictor"].eq("zero_velocity") & values["model"].eq("")
    values.loc[common & values["seed"].eq(1), "value"] += 1e-9
    values.to_parquet(other / "windows.parquet", index=False)
    ended = bench("merge", first, other, "--results", tmp_path / "results")
    assert ended.code == 2
    assert f"{other}: values differ from {first}: zero_velocity forecast seed 1;" in ended.err
    ended = bench("merge", first, other, "--results", tmp_path / "results", "--allow-differences")
    assert ended.code == 0, ended.err
    merged = pd.read_parquet(tmp_path / "results" / "small" / "latest" / "windows.parquet")
    kept = pd.read_parquet(first / "windows.parquet")
    shared = [
        table[table["predictor"].eq("zero_velocity") & table["model"].eq("")]["value"].tolist()
        for table in (merged, kept)
    ]
    assert shared[0] == shared[1]


@pytest.mark.usefixtures("undrawn")
def test_what_failed_in_one_run_may_be_done_in_another(
    tmp_path: Path, runs: Runs, bench: Bench
) -> None:
    """And jobs that failed in all of them have their traceback in the joined run."""
    first, second = runs("first", *FIRST), runs("second", *SECOND)
    failed = {"status": "failed", "error": "ValueError: no", "since": 1.0}

    def fail(run: Path, to: Path, models: set[str]) -> Path:
        """Return a copy of a run in which some models' clean or imputed cells failed."""
        copied(run, to)
        jobs = pd.read_csv(to / "jobs.csv", dtype=str, keep_default_na=False)
        lost = jobs["kind"].eq("cell") & jobs["model"].isin(models) & jobs["seed"].eq("0")
        jobs.loc[lost, list(failed)] = [str(value) for value in failed.values()]
        jobs.to_csv(to / "jobs.csv", index=False)
        values = pd.read_parquet(to / "windows.parquet")
        values = values[~(values["model"].isin(models) & values["seed"].eq(0))]
        values.to_parquet(to / "windows.parquet", index=False)
        facts = json.loads((to / "provenance.json").read_text())
        facts["failures"] = [
            {"key": key, "title": title, **failed, "trace": "Traceback: first line"}
            for key, title in jobs.loc[lost, ["key", "title"]].itertuples(index=False)
        ]
        (to / "provenance.json").write_text(json.dumps(facts))
        return to

    broken = fail(first, tmp_path / "broken", {"mean", "linear"})
    ended = bench("merge", broken, first, "--results", tmp_path / "complete")
    assert ended.code == 0, ended.out
    same_files(first, tmp_path / "complete" / "small" / "latest")
    ended = bench("merge", broken, second, "--results", tmp_path / "incomplete")
    assert ended.code == 1
    run = tmp_path / "incomplete" / "small" / "latest"
    assert "Traceback: first line" in (run / "failures.txt").read_text()
    records = pd.read_parquet(run / "records.parquet")
    assert set(records.loc[records["status"] == "failed", "model"]) == {"mean", "linear"}


DIFFERENT = {
    "a setting": (("--set", "models.mean.scale=2.0"), "models.mean.scale is 2.0, but 1.0 in"),
    "a limit": (("--limit", "4"), "is 4, but"),
}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("what", DIFFERENT)
def test_different_settings_are_named(
    what: str, tmp_path: Path, folder: Path, runs: Runs, bench: Bench
) -> None:
    options, says = DIFFERENT[what]
    first = runs("first", *FIRST)
    machine = folder / what
    if not machine.exists():
        file = folder / "small.yaml"
        bench("run", file, "--results", machine, "--executor", "local", *FIRST, *options)
    (other,) = machine.glob("*/latest")
    ended = bench("merge", first, other, "--results", tmp_path / "results")
    assert ended.code == 2
    assert says in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "results").exists()


FOLDS: dict[str, Any] = PROTOCOL | {
    "name": "folds",
    "dataset": {"name": "synthetic", "subjects": 7, "seconds": 3.5, "stride": 10},
    "models": {"mean": {}, "linear": {}, "pca_error": {"components": 4}},
    "predictors": {},
    "inference": {},
    "occlusion": {"features": {"levels": ["10%"]}, "gaps": {"levels": ["400 ms"]}},
    "foreign": {"others": {"name": "synthetic", "seed": 7, "subjects": 4, "seconds": 2.5}},
    "actions": [],
    "show": [],
    "scale": {"train": 24, "valid": 8, "test": 12},
}


@pytest.fixture
def fold(folder: Path, bench: Bench) -> Runs:
    def make(number: int, of: int = 3, *options: str, name: str = "") -> Path:
        results = folder / f"fold {number} of {of} {name}"
        latest = results / "folds" / "latest"
        if not latest.exists():
            stated = f"dataset.fold=[{number}, {of}]"
            ended = bench(*run_of(FOLDS, folder, results), "--set", stated, *options)
            assert ended.code == 0, ended.err
        return latest

    return make


@pytest.mark.usefixtures("undrawn")
def test_folds_are_joined_and_resample_subjects(folder: Path, fold: Runs, bench: Bench) -> None:
    parts = [fold(number) for number in (2, 0, 1)]
    ended = bench("merge", *parts, "--results", folder / "all folds")
    assert ended.code == 0, ended.err + ended.out
    run = folder / "all folds" / "folds" / "latest"
    singles = [pd.read_parquet(part / "windows.parquet") for part in parts]
    windows = pd.read_parquet(run / "windows.parquet")
    assert len(windows) == sum(map(len, singles))
    errors = windows[(windows["metric"] == "mse") & (windows["model"] == "linear")]
    assert errors["window"].nunique() == 36
    # Every subject is tested in one fold, that of its number.
    tested = errors.groupby("subject")["fold"].unique().map(list).to_dict()
    assert tested == {f"synthetic_{n:02d}": [str(n % 3)] for n in range(7)}
    records = pd.read_parquet(run / "records.parquet")
    assert set(records["dataset"]) == {"synthetic (synthetic motion), 3 of 3 folds (0, 1, 2)"}
    row = records[
        (records["metric"] == "mse") & (records["model"] == "linear") & (records["seed"] == 0)
    ].iloc[0]
    mine = errors[(errors["mechanism"] == row["mechanism"]) & (errors["seed"] == 0)]
    assert row["value"] == pytest.approx(mine["value"].mean())
    # An interval over subjects, computed independently of the harness's sums.
    rng = np.random.default_rng(1)
    sums = mine.groupby("subject")["value"].agg(["sum", "size"]).to_numpy()
    drawn = sums[rng.integers(0, len(sums), (4000, len(sums)))].sum(axis=1)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    assert (row["low"], row["high"]) == (pytest.approx(low, rel=0.1), pytest.approx(high, rel=0.1))
    table = pd.read_csv(run / "imputation.csv")
    assert set(table["subjects"]) == {7.0}
    assert "recordings" not in table
    for name in ("imputation.md", "ood.md", "report.html"):
        assert "7 subjects" in (run / name).read_text(), name
    assert "interval over subjects and seeds" in (run / "imputation.md").read_text()
    # Foreign windows, which every fold has, count once per fold.
    assert windows.loc[windows["mechanism"] == "others", "window"].nunique() == 36
    compared = leaderboard(load(run), windows=windows)
    assert compared["skill_low"].notna().all()
    with pytest.raises(InputError, match=r"dataset is .*fold 0 of 3 and .*fold 1 of 3"):
        leaderboard(load(*parts))


@pytest.mark.usefixtures("undrawn")
def test_parts_of_folds_and_folds_one_after_the_other_give_the_same(
    folder: Path, fold: Runs, bench: Bench
) -> None:
    whole = [fold(number) for number in (0, 1, 2)]
    halves = [
        fold(1, 3, "--only", "mean,linear", name="simple"),
        fold(1, 3, "--only", "pca_error", name="other"),
    ]
    for name, runs_ in {
        "one go": whole,
        "two": whole[:2],
        "in parts": (whole[0], *halves, whole[2]),
    }.items():
        assert bench("merge", *runs_, "--results", folder / name).code == 0, name
    two, joined = folder / "two" / "folds" / "latest", folder / "one go" / "folds" / "latest"
    assert bench("merge", two, whole[2], "--results", folder / "later").code == 0
    for name in ("in parts", "later"):
        same_files(joined, folder / name / "folds" / "latest")


@pytest.mark.usefixtures("undrawn")
def test_a_cell_that_a_fold_lacks_has_no_value(folder: Path, fold: Runs, bench: Bench) -> None:
    simple = fold(1, 3, "--only", "mean,linear", name="simple")
    ended = bench("merge", fold(0), simple, fold(2), "--results", folder / "lacking")
    assert ended.code == 1
    records = pd.read_parquet(folder / "lacking" / "folds" / "latest" / "records.parquet")
    mine = records[records["model"] == "pca_error"]
    assert set(mine["status"]) == {"skipped"}
    assert mine["value"].isna().all()
    assert (folder / "lacking" / "folds" / "latest" / "jobs.csv").read_text().count("fold 1: none")


@pytest.mark.usefixtures("undrawn")
def test_folds_that_do_not_fit_are_refused(folder: Path, fold: Runs, bench: Bench) -> None:
    first, second = fold(0), fold(1)
    both = folder / "both" / "folds" / "latest"
    assert bench("merge", first, second, "--results", folder / "both").code == 0
    others = fold(1, 3, "--set", "dataset.seed=1", name="others")
    unfolded = folder / "unfolded"
    assert bench(*run_of(FOLDS, folder, unfolded), "--only", "mean,linear").code == 0
    for runs_, message in (
        ((first, fold(1, 4)), "different numbers of groups overlap"),
        ((both, second), "are in part in"),
        ((first, others), "dataset.seed is 1, but 0 in"),
        ((first, unfolded / "folds" / "latest"), "dataset.fold is null, but [0, 3] in"),
    ):
        ended = bench("merge", *runs_, "--results", folder / "refused")
        assert ended.code == 2, ended.out
        assert message in ended.err
    assert bench("rescore", both).code == 2
    # Windows of a subject that another fold tested too, whatever the protocols say.
    copy = copied(second, folder / "overlapping")
    windows = pd.read_parquet(copy / "windows.parquet")
    windows["subject"] = windows["subject"].replace("synthetic_01", "synthetic_00")
    windows.to_parquet(copy / "windows.parquet")
    ended = bench("merge", first, copy, "--results", folder / "refused")
    assert ended.code == 2
    assert "subject synthetic_00 is tested in folds 0 and 1" in ended.err
    # Other files.
    facts = json.loads((copy / "provenance.json").read_text())
    facts["data"]["recordings"] = "others"
    (copy / "provenance.json").write_text(json.dumps(facts))
    ended = bench("merge", first, copy, "--results", folder / "refused")
    assert "other recordings" in ended.err
    assert not (folder / "refused").exists()
