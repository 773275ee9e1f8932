"""Two runs compared on the command line."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.conftest import PROJECT, Bench, run_of

PROTOCOL: dict[str, Any] = {
    "name": "small",
    "dataset": {"name": "synthetic", "subjects": 4, "seconds": 3.5, "stride": 10},
    "models": {"mean": {}, "linear": {}},
    "predictors": {"zero_velocity": {}},
    "occlusion": {"features": {"levels": ["10%", "50%"]}},
    "seeds": [0, 1],
    "scale": {"train": 60, "valid": 8, "test": 12},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compared")


def run(folder: Path, bench: Bench, place: str, *overrides: str) -> Path:
    """Run the protocol with overrides, once, and return the run's folder."""
    latest = folder / place / "small" / "latest"
    if not latest.exists():
        settings = [part for override in overrides for part in ("--set", override)]
        ended = bench(*run_of(PROTOCOL, folder, folder / place), *settings)
        assert ended.code == 0, ended.err
    return latest


def flat(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


def test_two_executions_of_one_protocol_are_identical(folder: Path, bench: Bench) -> None:
    """In separate stores, so that everything is computed twice."""
    one, other = (run(folder, bench, place) for place in ("one", "other"))
    ended = bench("compare", one, other)
    assert ended.code == 0
    assert ended.out.startswith("identical: ")
    assert ", 0 not" in ended.out
    assert "settings that differ" not in ended.out


def test_a_setting_is_named_and_changed_values_are_paired(folder: Path, bench: Bench) -> None:
    one = run(folder, bench, "one")
    longer = run(folder, bench, "longer", "models.mean.scale=3.0")
    ended = bench("compare", one, longer, "--csv", folder / "cells.csv")
    assert ended.code == 1
    out = flat(ended.out)
    assert "models.mean.scale 1.0 3.0" in out
    assert "not identical: " in out
    cells = pd.read_csv(folder / "cells.csv", keep_default_na=False)
    # Neither linear interpolation nor predictions from the true past depend on the mean.
    assert set(cells["model"]) == {"mean"}
    mse = cells[(cells["metric"] == "mse") & (cells["level"] == "10%") & (cells["seed"] == 0)]
    values = [
        pd.read_parquet(place / "windows.parquet").query(
            "model == 'mean' and metric == 'mse' and level == '10%' and seed == 0"
        )["value"]
        for place in (one, longer)
    ]
    first, second = (part.mean() for part in values)
    assert float(mse["first"].iloc[0]) == pytest.approx(first)
    assert float(mse["difference"].iloc[0]) == pytest.approx(second - first)
    assert float(mse["low"].iloc[0]) <= second - first <= float(mse["high"].iloc[0])
    assert int(mse["n"].iloc[0]) == 12
    # The error of every window is larger, so the interval of paired differences excludes zero.
    assert (values[1].to_numpy() > values[0].to_numpy()).all()
    assert float(mse["low"].iloc[0]) > 0


def test_values_of_only_one_run_are_counted(folder: Path, bench: Bench) -> None:
    one = run(folder, bench, "one")
    fewer = run(folder, bench, "fewer", "seeds=[0]")
    out = flat(bench("compare", one, fewer).out)
    assert "seeds [0, 1] [0]" in out
    values = [len(pd.read_parquet(place / "windows.parquet")) for place in (one, fewer)]
    assert f"{values[0] - values[1]} values only the first has, 0 only the second" in out
    assert ", 0 not;" in out


def test_a_model_is_named_once_and_settings_without_effect_are_no_difference(
    folder: Path, bench: Bench
) -> None:
    one = run(folder, bench, "one")
    more = run(folder, bench, "more", "models.three={model: nearest}", "seeds=[0]")
    out = flat(bench("compare", one, more).out)
    assert "models.three not there there" in out
    assert "models.three." not in out
    other = run(folder, bench, "described", "description=Again", "resources.cells_per_trial=3")
    ended = bench("compare", one, other)
    assert ended.code == 0
    assert "resources.cells_per_trial 16 3" in flat(ended.out)
    assert "\nidentical: " in ended.out


def test_cells_that_failed_are_counted(folder: Path, tmp_path: Path, bench: Bench) -> None:
    one = run(folder, bench, "one")
    broken = tmp_path / "broken"
    shutil.copytree(one, broken)
    for name in ("windows", "records"):
        path = broken / f"{name}.parquet"
        table = pd.read_parquet(path)
        lost = table["model"].eq("linear") & table["level"].eq("50%") & table["predictor"].eq("")
        kept = table[~lost]
        if name == "records":
            cells = table[lost].drop_duplicates("seed").assign(metric="", status="failed")
            kept = pd.concat([kept, cells])
        kept.to_parquet(path, index=False)
    ended = bench("compare", one, broken)
    assert ended.code == 1
    assert "; 2 cells failed or were skipped in the second" in ended.out
    # Equal in values, and in the cells that failed.
    assert bench("compare", broken, broken).code == 0


def test_other_data_are_recognised_by_their_fingerprint(folder: Path, bench: Bench) -> None:
    one = run(folder, bench, "one")
    others = run(folder, bench, "others", "dataset.seed=1")
    out = flat(bench("compare", one, others).out)
    assert "dataset.seed 0 1" in out
    assert "data fingerprint" in out


def test_a_folder_that_is_no_run_is_refused(folder: Path, tmp_path: Path, bench: Bench) -> None:
    ended = bench("compare", run(folder, bench, "one"), tmp_path)
    assert ended.code == 2
    assert "not the folder of a run" in ended.err
    assert ended.err.count("\n") == 1


def test_without_windows_the_means_of_cells_are_compared(
    folder: Path, bench: Bench, tmp_path: Path
) -> None:
    one, longer = run(folder, bench, "one"), run(folder, bench, "longer", "models.mean.scale=3.0")
    bare = tmp_path / "bare"
    shutil.copytree(one, bare)
    (bare / "windows.parquet").unlink()
    same = bench("compare", bare, one)
    assert same.code == 0, same.err
    assert same.out.startswith("identical: ")
    assert "means of cells were compared" in same.out
    ended = bench("compare", bare, longer, "--csv", tmp_path / "cells.csv")
    assert ended.code == 1
    cells = pd.read_csv(tmp_path / "cells.csv", keep_default_na=False)
    # Changes against the mean change for every imputer.
    own = cells[~cells["metric"].str.startswith("change_vs")]
    assert set(own["model"]) == {"mean"}
    assert (cells["low"] == "").all()
    records = [pd.read_parquet(place / "records.parquet") for place in (one, longer)]
    chosen = "model == 'mean' and metric == 'mse' and level == '10%' and seed == 0"
    first, second = (table.query(chosen)["value"].item() for table in records)
    row = cells.query(chosen)
    assert float(row["difference"].iloc[0]) == pytest.approx(second - first)
    low, high = records[0].query(chosen)[["low", "high"]].iloc[0]
    assert bool(row["within"].iloc[0]) == (low <= second <= high)


def test_the_committed_results_of_a_protocol_are_found(bench: Bench, tmp_path: Path) -> None:
    own = tmp_path / "mine"
    shutil.copytree(PROJECT / "results" / "reference" / "occlusion", own)
    ended = bench("compare", own, "--reference")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("identical: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name a second run, or give --reference"),
        (("other", "--reference"), "name a second run, or give --reference"),
        (("--reference",), "has no records.parquet"),
    ],
)
def test_a_second_run_or_the_reference_is_needed(
    arguments: tuple[str, ...], message: str, folder: Path, bench: Bench
) -> None:
    ended = bench("compare", run(folder, bench, "one"), *arguments)
    assert ended.code == 2
    assert message in ended.err
