"""The command line: lists, help, real motion, and a machine without Ray."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import PROJECT, Bench
from tests.runs.conftest import LOCAL, subprocess_bench


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


def test_missing_foreign_motion_is_left_out_by_name(
    tiny: Path, tmp_path: Path, bench: Bench
) -> None:
    """The rest runs, the provenance names what is missing, and claims can be judged again."""
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


def test_the_downloaded_archive_is_enough_for_the_cmu_protocol(
    real_data: Path, tmp_path: Path, bench: Bench
) -> None:
    """CMU's archive alone: without an index of actions, and without HDM05 as foreign motion."""
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


@pytest.mark.usefixtures("undrawn")
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
