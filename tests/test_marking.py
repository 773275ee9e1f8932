"""What failed stands in the tables as failed, as a user finds it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from bench.cells import Evaluator
from tests.conftest import Bench

PROTOCOL: dict[str, Any] = {
    "name": "small",
    "dataset": {"name": "synthetic", "subjects": 4, "seconds": 3.5, "stride": 10},
    "models": {
        "mean": {},
        "linear": {},
        "zero": {},
        "pca_error": {"components": 3},
        "vae": {"hidden": [8], "latent": 2, "epochs": 1},
    },
    "predictors": {"zero_velocity": {}},
    "inference": {"map": {"steps": 1}},
    "occlusion": {"features": {"levels": ["10%", "50%"]}},
    "comparisons": {"zeros": {"model": "zero", "against": "linear"}},
    "seeds": [0, 1],
    "scale": {"train": 20, "valid": 8, "test": 8, "samples": 3},
}


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
    monkeypatch.setattr("bench.figures.write_all", lambda *_: [])
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(PROTOCOL, sort_keys=False))
    ended = bench("run", file, "--results", tmp_path / "results", "--executor", "local")
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
    printed = " ".join(ended.out.split())
    assert "without seed 1 (failed)" in printed
    # Made again from the folder alone, claims are not misled by rows without a value.
    assert bench("claims", run).code == 0
