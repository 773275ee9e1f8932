"""Results do not depend on which other jobs run, and no job runs twice."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from bench.core.processes import available_cpus
from bench.sweep.times import Overhead
from tests.conftest import TINY, Bench
from tests.runs.conftest import (
    CELLS,
    FITS,
    LOCAL,
    as_stored,
    fits_alone,
    latest,
    same_errors,
    subprocess_bench,
    texts,
)


@pytest.mark.usefixtures("undrawn")
def test_a_second_run_computes_nothing_and_writes_the_same(
    finished: Path, tiny: Path, bench: Bench
) -> None:
    before = texts(finished / "tiny" / "latest")
    cells = {path: path.stat().st_mtime_ns for path in finished.rglob(".store/**/*.parquet")}
    ended = bench("run", tiny, "--results", finished, *LOCAL)
    assert ended.code == 0
    assert f"0 fits and 0 cells to do, {CELLS} cells already done" in ended.out
    assert texts(finished / "tiny" / "latest") == before
    assert {p: p.stat().st_mtime_ns for p in finished.rglob(".store/**/*.parquet")} == cells


def test_only_a_new_level_runs(finished: Path, tiny: Path, bench: Bench) -> None:
    ended = bench(
        "run", tiny, "--results", finished, *LOCAL, "--dry-run",
        "--set", "occlusion.features.levels=[3, 10%, 50%, 90%]",
    )  # fmt: skip
    # Four imputers and a detector once, three models with and without inference. Two predictors
    # get seven new pasts; one that is fitted on all levels is fitted again and predicts from the
    # true past and from seven at four levels. Two seeds.
    new = 2 * (4 + 1 + 3 * 2) + 2 * 2 * 7 + 2 * (1 + 7 * 4)
    done = CELLS - 2 * (1 + 7 * 3)
    assert f"2 fits and {new} cells to do, {done} cells already done" in ended.out


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
def test_only_added_entries_run(
    override: str, cells: int, finished: Path, tiny: Path, bench: Bench
) -> None:
    ended = bench("run", tiny, "--results", finished, *LOCAL, "--dry-run", "--set", override)
    fits = 2 if override.startswith("models") else 0
    done = CELLS - (6 if "samples" in override else 0)
    assert f"{fits} fits and {cells} cells to do, {done} cells already done" in ended.out


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
    # No model scores, and neither the comparison's other model nor linear takes part.
    run = tmp_path / "tiny" / "latest"
    for name in ("fig4_posterior.png", "auroc.png", "ood.csv", "models.csv", "comparisons.csv"):
        assert not (run / name).exists()
    assert set(written["metric"]) >= {"mse", "change_vs_mean"}
    assert "change_vs_linear" not in set(written["metric"])
    kept = yaml.safe_load((run / "protocol.yaml").read_text())
    assert (kept["references"], kept["comparisons"]) == (["mean"], {})


@pytest.mark.usefixtures("undrawn")
def test_only_keeps_comparisons_of_the_chosen_models(
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


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("level", ["3", "10%", "50%"])
def test_a_level_alone_has_the_same_errors_as_with_others(
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


@pytest.mark.usefixtures("undrawn")
def test_a_random_start_does_not_depend_on_other_cells(
    finished: Path, tiny: Path, tmp_path: Path, bench: Bench
) -> None:
    """Values must depend on nothing that is not in a cell's key."""
    results = [fits_alone(finished, tmp_path / name) for name in ("together", "alone")]
    random = "inference={far: {inference: map, steps: 2, start: normal}}"
    common = (*LOCAL, "--only", "untrained", "--set", random, "--set", "seeds=[0]")
    assert bench("run", tiny, "--results", results[0], *common).code == 0
    one = ("--set", "occlusion.features.levels=[50%]")
    assert bench("run", tiny, "--results", results[1], *common, *one).code == 0
    together, alone = (latest(folder, "windows.parquet") for folder in results)
    same_errors(alone[alone["inference"] == "far"], together)


@pytest.mark.usefixtures("undrawn")
def test_one_fit_under_two_labels_is_reported_under_both(
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


@pytest.mark.usefixtures("undrawn")
def test_detectors_alone_make_a_run(tiny: Path, tmp_path: Path, bench: Bench) -> None:
    ended = bench("run", tiny, "--results", tmp_path, *LOCAL, "--only", "pca_error,walking")
    assert ended.code == 0
    run = tmp_path / "tiny" / "latest"
    assert latest(tmp_path, "imputation.csv").empty
    assert set(latest(tmp_path, "ood.csv")["model"]) == {"pca_error", "walking"}
    # The note under a table counts its own windows.
    for name in ("ood.md", "ood.tex", "models.md"):
        assert "no cell was finished" not in (run / name).read_text()
    assert "12 windows of 12 recordings, 2 seeds" in (run / "ood.md").read_text()


@pytest.mark.usefixtures("undrawn")
def test_a_repetition_without_test_windows_of_an_action_has_the_same_records(
    tiny: Path, tmp_path: Path, bench: Bench
) -> None:
    outcomes = []
    for _ in range(2):
        ended = bench(
            "run", tiny, "--results", tmp_path, *LOCAL, "--only", "walking", "--set", "seeds=[0]",
            "--set", "models.walking.train_on=[jump]",
            "--set", "scale={train: 40, valid: 40, test: 3}",
        )  # fmt: skip
        records = latest(tmp_path, "records.parquet")
        outcomes.append((ended.code, records[["mechanism", "metric", "n", "status"]]))
    (code, records), (other_code, others) = outcomes
    assert set(records["mechanism"]) == {"", "unseen actions"}
    assert code == other_code
    pd.testing.assert_frame_equal(records, others)


@pytest.mark.ray
def test_two_workers_have_bit_for_bit_the_results_of_one_process(
    finished: Path, tiny: Path, tmp_path: Path
) -> None:
    process = subprocess_bench("run", tiny, "--results", tmp_path / "results")
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert "Ray: " in out
    assert as_stored(tmp_path / "results") == as_stored(finished)
    # Fits, cells and forecasts use at most one process per CPU each.
    assert latest(tmp_path / "results", "jobs.csv")["pid"].nunique() <= 3 * available_cpus()
    facts = json.loads((tmp_path / "results" / "tiny" / "latest" / "provenance.json").read_text())
    overhead = Overhead(**facts["overhead"])
    assert overhead.cells == len(list((tmp_path / "results" / ".store" / "cells").glob("*")))
    assert out.endswith(f"{overhead}\n")


@pytest.mark.usefixtures("undrawn")
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
    some, whole = (latest(folder, "records.parquet") for folder in (tmp_path, finished))
    assert list(some["model"].unique()) == list(names)
    chosen = whole["model"].isin(names) & (whole["seed"] == 1) & (whole["predictor"] == "")
    pd.testing.assert_frame_equal(
        some.set_index(keys).sort_index(),
        whole[chosen & (whole["metric"] != "change_vs_linear")].set_index(keys).sort_index(),
        check_exact=True,
    )
