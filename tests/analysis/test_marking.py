"""Failed cells are marked as failed in the tables, as a user finds them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from bench.analysis import claims, ood, results, statistics
from bench.analysis.records import CELL
from bench.analysis.statistics import resamples
from bench.report import figures
from bench.report.printing import print_run
from bench.sweep.cells import Evaluator
from tests.conftest import Bench, run_of

PROTOCOL: dict[str, Any] = {
    "name": "small",
    "dataset": {"name": "synthetic", "subjects": 4, "seconds": 3.5, "stride": 10},
    "models": {
        "mean": {},
        "linear": {},
        "zero": {},
        "pca_error": {"components": 3},
        "vae": {"hidden": [8], "latent": 2, "epochs": 1},
        "action_classifier": {"epochs": 1},
    },
    "predictors": {"zero_velocity": {}},
    "inference": {"map": {"steps": 1}},
    "occlusion": {"features": {"levels": ["10%", "50%"]}},
    "comparisons": {"zeros": {"model": "zero", "against": "linear"}},
    "actions": ["walk", "wave"],
    "seeds": [0, 1],
    "scale": {"train": 20, "valid": 8, "test": 8, "samples": 3},
}
TABLES = (
    *("imputation", "models", "ood", "detection_level", "comparisons", "forecasting"),
    *("prediction", "generation"),
)


def test_failed_cells_are_rows_marked_failed(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linear fails at 50 % throughout and at 10 % for one seed; pca_error on clean windows."""
    impute, other = Evaluator._impute, Evaluator._other

    def broken_impute(self: Evaluator, cell: Any, model: Any) -> Any:
        if cell.model == "linear" and (cell.level == "50%" or cell.seed == 1):
            raise RuntimeError("broken on purpose")
        return impute(self, cell, model)

    def broken_other(self: Evaluator, cell: Any, model: Any) -> Any:
        if cell.model == "pca_error" and cell.task == "clean":
            raise RuntimeError("broken on purpose")
        return other(self, cell, model)

    def broken_sample(self: Evaluator, cell: Any, *_: Any) -> Any:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(Evaluator, "_impute", broken_impute)
    monkeypatch.setattr(Evaluator, "_other", broken_other)
    monkeypatch.setattr(Evaluator, "_sample", broken_sample)
    monkeypatch.setattr("bench.report.figures.begin_all", lambda *_: list)
    ended = bench(*run_of(PROTOCOL, tmp_path))
    assert ended.code == 1
    run = tmp_path / "results" / "small" / "latest"
    table = pd.read_csv(run / "imputation.csv").query("metric == 'mse'")
    rows: dict[Any, Any] = table.set_index(["model", "level"]).to_dict("index")
    assert rows["linear", "50%"]["status"] == "failed"
    assert rows["linear", "10%"]["status"] == "without seed 1 (failed)"
    assert {row["status"] for (model, _), row in rows.items() if model != "linear"} == {"done"}
    assert np.isnan(rows["linear", "50%"]["value"])
    assert rows["linear", "50%"]["n"] == 0
    assert rows["linear", "10%"]["value"] > 0
    assert rows["linear", "10%"]["seeds"] == 1
    line = next(
        line for line in (run / "imputation.md").read_text().splitlines() if "| linear" in line
    )
    assert "] without seed 1 (failed)" in line
    assert line.rstrip(" |").endswith("| failed")
    assert "failed" in (run / "imputation.tex").read_text()
    forecasts = pd.read_csv(run / "forecasting.csv").query("model == 'linear'")
    assert set(forecasts.query("level == '50%'")["status"]) == {"skipped"}
    assert set(forecasts.query("level == '10%'")["status"]) == {"without seed 1 (skipped)"}
    zeros = pd.read_csv(run / "comparisons.csv").set_index("level")["status"]
    assert zeros.to_dict() == {"10%": "without seed 1 (failed)", "50%": "failed"}
    detected = pd.read_csv(run / "ood.csv", keep_default_na=False).query("model == 'pca_error'")
    assert set(detected["mechanism"]) == {"clean windows"}
    assert set(detected["status"]) == {"failed"}
    drawn = pd.read_csv(run / "models.csv").query("metric == 'bones_in_range'")
    assert drawn["status"].to_list() == ["failed"]
    assert "failed" in (run / "models.md").read_text()
    printed = " ".join(bench("show", run, "imputation").out.split())
    assert "without seed 1 (failed)" in printed
    # Computed again from the folder, claims are not misled by rows without a value.
    assert bench("claims", run).code == 0
    (run / "records.parquet").unlink()  # as in the folders of older runs
    assert bench("claims", run).code == 0


def test_a_run_in_which_every_cell_failed_says_so(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Evaluator, *_: Any) -> Any:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(Evaluator, "evaluate", broken)
    monkeypatch.setattr(Evaluator, "forecast", broken)
    ended = bench(*run_of(PROTOCOL, tmp_path))
    assert ended.code == 1
    assert not ended.err
    run = tmp_path / "results" / "small" / "latest"
    written = {path.stem for path in run.glob("*.md")}
    assert written >= {*TABLES, "claims"}
    for name in TABLES:
        status = pd.read_csv(run / f"{name}.csv")["status"]
        assert set(status) <= {"failed", "skipped"}, name
        text = (run / f"{name}.md").read_text()
        assert "no cell was finished" in text
        assert "jobs.csv says why" in text
    assert set(pd.read_csv(run / "claims.csv")["verdict"]) == {"not tested"}
    assert bench("claims", run).code == 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[results.Run, pd.DataFrame]:
    """A run in which nothing failed, and its records."""
    from bench.cli import main

    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.report.figures.begin_all", lambda *_: list)
        with pytest.raises(SystemExit):
            main(list(map(str, run_of(PROTOCOL, folder))))
    run = folder / "results" / "small" / "latest"
    return results.open_run(run), pd.read_parquet(run / results.RECORDS)


LOST = {
    "nothing": "seed < 0",
    "clean windows": "mechanism == '' and split == 'test' and predictor == ''",
    "clean windows and the true past, of a seed": "mechanism == '' and seed == 1",
    "drawn windows": "split == 'sample'",
    "the judge": "model == 'action_classifier'",
    "everything but drawn windows": "split == 'test'",
    "completions": "mechanism == 'features' and predictor == '' and inference != 'mean'",
    "degraded windows": "mechanism == 'features' and inference == 'mean' and level == '10%'",
    "forecasts": "predictor != ''",
    "the mean": "model == 'mean'",
    "a generative model": "model == 'vae'",
    "a level": "level == '50%'",
    "a seed": "seed == 0",
}


def few(count: int, stream: int = 0) -> np.ndarray:
    """Return fewer draws than usual: intervals are not tested here."""
    return resamples(count, stream)[:20]


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
def test_whatever_fails_every_table_and_figure_can_be_made(
    lost: str,
    whole: tuple[results.Run, pd.DataFrame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda _, path, **__: path.touch())
    monkeypatch.setattr(ood, "resamples", few)
    monkeypatch.setattr(statistics, "resamples", few)
    run, cells = whole
    values = run.values.drop(run.values.query(lost).index)
    failed = cells.query(lost).drop_duplicates(CELL).assign(status="failed")
    found = results.of(replace(run, values=values), failed)
    results.write(found, tmp_path)
    claims.write(found, tmp_path)
    figures.begin_all(found, tmp_path)()
    assert print_run(found, tmp_path, [], Console(quiet=True)) == 0
    marks = pd.concat(
        pd.read_csv(tmp_path / f"{name}.csv", keep_default_na=False)
        for name in TABLES
        if (tmp_path / f"{name}.csv").exists()
    )
    of_failed = marks[marks["status"] != "done"]
    assert of_failed["status"].str.contains("failed").all()
    assert of_failed.empty == failed.empty
    labels = {*failed["model"], *failed["predictor"]} - {""}
    named = of_failed.reindex(columns=["model", "predictor", "against"]).isin(labels)
    assert named.any(axis=1).all()
