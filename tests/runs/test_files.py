"""The files in a run's folder, and what can be recomputed from them."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from bench.analysis.records import COLUMNS
from tests.conftest import Bench
from tests.runs.conftest import FITS, latest, texts

TABLES = (
    "imputation",
    "models",
    "costs",
    "ood",
    "ranks",
    "detection_level",
    "comparisons",
    "forecasting",
    "prediction",
)


FIGURES = (
    "skill",
    "mechanisms",
    "pareto",
    "fig4_posterior",
    "fig5_posterior_change",
    "fig6_mse_change",
    "predictors",  # no other figure of them: none here is better than standing still
    "auroc",
    "ranks",
    "comparisons",
)


def test_a_run_writes_all_of_its_files(finished: Path) -> None:
    # The first one: other tests run the protocol again, without drawing.
    run = min((finished / "tiny").glob("[0-9]*"))
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
        "motion.json",
        *(f"{figure}.{suffix}" for figure in FIGURES for suffix in ("pdf", "png", "svg")),
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


def test_claims_are_recomputed_from_a_runs_folder(
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


def test_a_run_of_a_version_without_predictors_can_still_be_read(
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
    claims, whole = (pd.read_csv(folder / "claims.csv") for folder in (old, run))
    others = whole["claim"] != "e"
    pd.testing.assert_frame_equal(claims[others], whole[others])
    assert set(claims.loc[~others, "verdict"]) == {"not tested"}


@pytest.mark.parametrize(
    "damage",
    [
        "no folder", "an empty folder", "a file", "no values", "no protocol", "no provenance",
        "half of the values", "a protocol of another version", "a protocol of words",
        "provenance of another kind",
    ],
)  # fmt: skip
def test_claims_of_a_folder_that_is_no_run_get_one_line(
    damage: str, finished: Path, tmp_path: Path, bench: Bench
) -> None:
    run = tmp_path / "run"
    if damage == "a file":
        run.write_text("words")
    elif damage == "an empty folder":
        run.mkdir()
    elif damage != "no folder":
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
