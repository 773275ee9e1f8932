"""Forecasts from true and completed pasts: inputs of predictors, what is kept, the table."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from bench.analysis import forecasting, records, statistics
from bench.analysis import results as found
from bench.core.registry import PREDICTORS
from bench.datasets.base import Data
from bench.datasets.build import load
from bench.fitting.training import FitContext
from bench.motion import MotionSpec, Windows
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.features import Features
from bench.protocol.resolving import resolve
from bench.protocol.schema import Protocol
from bench.report.charts import Sheet
from bench.report.figures import forecasts
from bench.report.looks import Looks
from bench.sweep import plan
from bench.sweep.cells import Evaluator
from bench.sweep.forecasts import AVERAGE, horizon_metric
from bench.sweep.jobs import Cell
from bench.sweep.plan import Plan
from bench.sweep.store import Store
from bench.sweep.workspace import Workspace
from models.linear import Linear
from models.mean import Mean
from predictors.base import Predictor
from predictors.ltd import LTD
from predictors.zero_velocity import ZeroVelocity
from tests.conftest import TINY, Bench, walk

LOCAL = ("--executor", "local")
SHEET = Sheet(Looks.named([]))
LTD_SETTINGS = {"width": 8, "blocks": 1, "epochs": 2, "past": 10}
SMALL: dict[str, Any] = {
    "name": "small",
    "dataset": TINY["dataset"],
    "models": {
        "mean": {},
        "linear": {},
        "vae": {"hidden": [16, 8], "latent": 4, "epochs": 2, "batch_size": 8},
        "pca_error": {"components": 4},
    },
    "predictors": {"zero_velocity": {}, "ltd": LTD_SETTINGS},
    "inference": {"map": {"steps": 2}},
    "occlusion": {"features": {"levels": ["10%", "50%"]}},
    "seeds": [0],
    "scale": {"train": 40, "valid": 8, "test": 12, "samples": 2},
}
PASTS = 3 * 2
FORECASTS = 1 + PASTS
HORIZONS = {80: 2, 160: 4, 320: 8, 400: 10, 560: 14, 720: 18, 880: 22, 1000: 25}
"""Frames ahead at 25 fps, counted from 1."""


@pytest.fixture(autouse=True)
def _few_threads_and_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("bench.report.figures.begin_all", lambda *_: list)


def write(folder: Path, **changes: Any) -> Path:
    """Return a protocol file of the small protocol; None takes a part away."""
    raw = {key: value for key, value in (SMALL | changes).items() if value is not None}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return path


def latest(results: Path, table: str) -> pd.DataFrame:
    file = results / "small" / "latest" / table
    return pd.read_parquet(file) if table.endswith("parquet") else pd.read_csv(file)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the small protocol, run once in this process."""
    from bench.cli import main

    folder = tmp_path_factory.mktemp("forecasts")
    torch.set_num_threads(1)
    arguments = ["run", str(write(folder)), "--results", str(folder / "results"), *LOCAL]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.report.figures.begin_all", lambda *_: list)
        with pytest.raises(SystemExit) as ended:
            main(arguments)
    assert not ended.value.code
    return folder / "results"


class Again:
    """The data, plan and fits of a run, loaded again from its store."""

    def __init__(self, results: Path) -> None:
        self.protocol: Protocol = resolve(SMALL)
        self.store = Store(results / ".store")
        self.data: Data = load(self.protocol.dataset, None, self.store.windows)
        self.plan: Plan = plan.make(self.protocol, self.data.fingerprint, {})
        self.train = self.data.splits["train"].thin(40)
        self.test = self.data.splits["test"].thin(12)
        self.truth = self.test.tensor()

    def occluded(self, level: str) -> NDArray[np.bool_]:
        return Features(level=Level.parse(level), seed=0).occluded(self.test)

    def ltd(self) -> LTD:
        (fit,) = (fit for fit in self.plan.fits if fit.label == "ltd")
        predictor = LTD(self.test.spec, self.protocol.predictors["ltd"].settings)
        self.store.load_weights(fit.key, predictor)
        return predictor.eval()

    def completed(self, model: str, level: str) -> Tensor:
        """Return all test windows, what is hidden filled by hand."""
        occluded = torch.from_numpy(self.occluded(level))
        imputer = {"mean": Mean, "linear": Linear}[model](self.test.spec)
        imputer.fit(self.train, self.train)
        return torch.where(occluded, imputer.impute(self.truth, occluded).motion, self.truth)


def distances(prediction: Tensor, future: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return ``(window, frame)`` mean distances of joints, window by window."""
    predicted, truth = prediction.double().numpy(), np.asarray(future, dtype=np.float64)
    return np.array(
        [
            [np.mean([np.linalg.norm(a - b) for a, b in zip(p, q, strict=True)])
             for p, q in zip(one, other, strict=True)]
            for one, other in zip(predicted, truth, strict=True)
        ]
    )  # fmt: skip


def errors_of(values: pd.DataFrame, predictor: str, model: str, level: str) -> pd.DataFrame:
    """Return the errors of a forecast by window: a column per horizon, and one for all frames."""
    chosen = values[
        (values["predictor"] == predictor) & (values["model"] == model) & (values["level"] == level)
    ]
    by_horizon = chosen[chosen["metric"] == "mpjpe"].pivot(
        index="window", columns="horizon_ms", values="value"
    )
    whole = chosen[chosen["metric"] == AVERAGE].set_index("window")["value"]
    return by_horizon.assign(average=whole)


@pytest.mark.parametrize("predictor", ["zero_velocity", "ltd"])
@pytest.mark.parametrize(
    ("model", "level"), [("", "0"), ("mean", "10%"), ("mean", "50%"), ("linear", "50%")]
)
def test_a_forecast_is_what_a_predictor_makes_of_the_completed_past(
    predictor: str, model: str, level: str, finished: Path
) -> None:
    again = Again(finished)
    past = again.completed(model, level) if model else again.truth
    going_on = again.test.continued
    chosen = ZeroVelocity(again.test.spec) if predictor == "zero_velocity" else again.ltd()
    assert again.test.future is not None
    expected = distances(chosen.predict(past[going_on]), again.test.future[going_on])
    errors = errors_of(latest(finished, "windows.parquet"), predictor, model, level)
    names = [name for name, continued in zip(again.test.names, going_on, strict=True) if continued]
    assert sorted(errors.index) == sorted(names)
    for horizon, frames in HORIZONS.items():
        np.testing.assert_allclose(errors.loc[names, horizon], expected[:, frames - 1], rtol=1e-4)
    np.testing.assert_allclose(errors.loc[names, "average"], expected.mean(axis=1), rtol=1e-4)


def test_windows_whose_recording_ends_are_left_out_of_forecasts_alone(finished: Path) -> None:
    again, values = Again(finished), latest(finished, "windows.parquet")
    # Recordings have 87 or 88 frames: those that begin with frame 20 or 30 have no whole future.
    starts = dict(zip(again.test.names, again.test.index["start"], strict=True))
    predicted = values[values["predictor"] != ""]
    assert set(predicted["window"]) == {name for name, start in starts.items() if start <= 10}
    imputed = values[(values["predictor"] == "") & (values["metric"] == "mse")]
    assert set(imputed["window"]) == set(starts)
    counts = latest(finished, "records.parquet").query("predictor != ''")["n"]
    assert set(counts) == {6}


def test_each_horizon_is_a_row_and_other_metrics_have_no_horizon(finished: Path) -> None:
    for name in ("windows.parquet", "records.parquet"):
        table = latest(finished, name)
        predicted = table[table["predictor"] != ""]
        by_metric = predicted.groupby("metric")["horizon_ms"].unique().map(set)
        assert by_metric["mpjpe"] == {float(horizon) for horizon in HORIZONS}
        for metric in (AVERAGE, "eq4"):
            assert predicted.loc[predicted["metric"] == metric, "horizon_ms"].isna().all()
        assert table.loc[table["predictor"] == "", "horizon_ms"].isna().all()
        assert not table["metric"].str.contains("@").any()
    actions = latest(finished, "windows.parquet").query("predictor != ''")
    again = Again(finished)
    action = dict(zip(again.test.names, again.test.index["action"], strict=True))
    assert (actions["action"] == actions["window"].map(action)).all()


def test_a_forecast_has_the_share_that_was_hidden_of_its_own_windows(finished: Path) -> None:
    again = Again(finished)
    predicted = latest(finished, "windows.parquet").query("predictor == 'ltd' and metric == 'eq4'")
    for level in ("10%", "50%"):
        share = again.occluded(level).reshape(12, -1).mean(axis=1)
        by_name = dict(zip(again.test.names, share, strict=True))
        mine = predicted[predicted["level"] == level]
        np.testing.assert_allclose(mine["share"], mine["window"].map(by_name))
    assert (predicted.loc[predicted["mechanism"] == "", "share"] == 0).all()


def test_completions_contain_the_hidden_values_alone(finished: Path) -> None:
    again, values = Again(finished), latest(finished, "windows.parquet")
    kept = [cell for cell in again.plan.cells if cell.keep]
    assert len(kept) == PASTS
    assert {path.stem for path in (again.store.folder / "completions").iterdir()} == {
        cell.key for cell in kept
    }
    truth = again.truth.double().numpy()
    for cell in kept:
        occluded = again.occluded(cell.level)
        completion = again.store.load_completion(cell.key)
        assert completion.dtype == np.float32
        assert completion.shape == (occluded.sum(),)
        # In their order, or errors would differ from those of the cell.
        error = np.zeros(occluded.shape)
        error[occluded] = (completion - truth[occluded]) ** 2
        mse = error.sum(axis=(1, 2, 3)) / occluded.sum(axis=(1, 2, 3))
        mine = values[
            (values["predictor"] == "") & (values["model"] == cell.model)
            & (values["inference"] == cell.inference) & (values["level"] == cell.level)
            & (values["metric"] == "mse")
        ].set_index("window")["value"]  # fmt: skip
        np.testing.assert_allclose(mine.loc[again.test.names], mse, rtol=1e-4)


def test_kept_completions_come_back_as_they_were(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    hidden = np.random.default_rng(0).normal(0, 500, 123).astype(np.float32)
    assert not store.has_completion("key")
    store.save_completion("key", hidden)
    assert store.has_completion("key")
    np.testing.assert_array_equal(store.load_completion("key"), hidden)
    assert [path.name for path in (tmp_path / "store" / "completions").iterdir()] == ["key.npy"]


def modified(results: Path) -> dict[Path, int]:
    """Return when each file of fits, cells and completions was written."""
    store = results / ".store"
    return {
        path: path.stat().st_mtime_ns
        for part in ("fits", "cells", "completions")
        for path in (store / part).rglob("*")
        if path.is_file()
    }


def test_a_finished_run_computes_nothing_again(
    finished: Path, tmp_path: Path, bench: Bench
) -> None:
    before, said = modified(finished), latest(finished, "forecasting.csv")
    ended = bench("run", write(tmp_path), "--results", finished, *LOCAL)
    assert ended.code == 0
    assert "0 fits and 0 cells to do" in ended.out
    assert modified(finished) == before
    pd.testing.assert_frame_equal(latest(finished, "forecasting.csv"), said)


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values(list(table.columns)).reset_index(drop=True)


@pytest.mark.parametrize("forecasts_too", [True, False])
def test_a_completion_that_is_gone_is_made_again(
    forecasts_too: bool, finished: Path, tmp_path: Path, bench: Bench
) -> None:
    results = Path(shutil.copytree(finished, tmp_path / "results", symlinks=True))
    again = Again(results)
    (past,) = (c for c in again.plan.cells if c.keep and (c.model, c.level) == ("vae", "50%"))
    fed = [cell for cell in again.plan.cells if cell.past == past.key]
    assert {cell.predictor for cell in fed} == {"zero_velocity", "ltd"}
    completion = again.store.load_completion(past.key)
    (again.store.folder / "completions" / f"{past.key}.npy").unlink()
    for cell in fed if forecasts_too else ():
        (again.store.folder / "cells" / f"{cell.key}.parquet").unlink()
    before = modified(results)
    ended = bench("run", write(tmp_path), "--results", results, *LOCAL)
    assert ended.code == 0
    assert f"0 fits and {3 if forecasts_too else 1} cells to do" in ended.out
    np.testing.assert_array_equal(again.store.load_completion(past.key), completion)
    after = modified(results)
    rewritten = {path for path, when in before.items() if after[path] != when}
    assert {path.stem for path in rewritten} <= {past.key}
    values, expected = (latest(folder, "windows.parquet") for folder in (results, finished))
    pd.testing.assert_frame_equal(values, expected, check_exact=True)


def test_a_past_that_failed_skips_its_forecasts_and_nothing_else(
    finished: Path, tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise ValueError("no lines today")

    only = ("--only", "mean,linear,zero_velocity,ltd")
    with monkeypatch.context() as broken:
        broken.setattr(Linear, "complete", explode)
        ended = bench("run", write(tmp_path), "--results", tmp_path, *LOCAL, *only)
    assert ended.code == 1
    line = "skipped ltd linear features 10% seed 0: its past was not completed by linear"
    assert line in ended.out
    table = latest(tmp_path, "records.parquet")
    status = table.groupby(["predictor", "model"])["status"].unique().map(list).to_dict()
    assert status == {
        ("", "mean"): ["done"],
        ("", "linear"): ["failed"],
        **{(who, ""): ["done"] for who in ("zero_velocity", "ltd")},
        **{(who, "mean"): ["done"] for who in ("zero_velocity", "ltd")},
        **{(who, "linear"): ["skipped"] for who in ("zero_velocity", "ltd")},
    }
    forecasts_ = latest(tmp_path, "forecasting.csv").fillna({"model": ""})
    assert forecasts_.groupby("model")["status"].unique().map(list).to_dict() == {
        "": ["done"],
        "mean": ["done"],
        "linear": ["skipped"],
    }
    again = bench("run", write(tmp_path), "--results", tmp_path, *LOCAL, *only)
    assert again.code == 1
    assert "0 fits and 0 cells to do" in again.out
    mended = bench("run", write(tmp_path), "--results", tmp_path, *LOCAL, *only, "--retry-failed")
    assert mended.code == 0
    assert "0 fits and 6 cells to do" in mended.out
    whole = latest(finished, "windows.parquet")
    there = whole["model"].isin(["", "mean", "linear"])
    pd.testing.assert_frame_equal(
        in_order(latest(tmp_path, "windows.parquet")), in_order(whole[there]), check_exact=True
    )


def test_a_predictor_that_diverges_skips_its_own_forecasts(tmp_path: Path, bench: Bench) -> None:
    ended = bench(
        "run", write(tmp_path), "--results", tmp_path, *LOCAL,
        "--only", "mean,zero_velocity,ltd", "--set", "predictors.ltd.learning_rate=1e30",
        "--set", "predictors.ltd.gradient_clip=1e30",
    )  # fmt: skip
    table = latest(tmp_path, "records.parquet")
    status = table.groupby("predictor")["status"].unique().map(list).to_dict()
    assert ended.code == 1
    assert status["ltd"] in (["skipped"], ["failed"])
    assert status[""] == status["zero_velocity"] == ["done"]


@pytest.mark.parametrize("past", ["true", "completed"])
def test_a_prediction_that_is_not_finite_is_a_failure_of_that_forecast_alone(
    past: str, tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(self: ZeroVelocity, seen: Tensor) -> Tensor:
        # A tenth or more of a completed past is the mean itself.
        completed = bool(torch.isclose(seen, self.mean).double().mean() > 0.05)
        predicted = predict(self, seen)
        return predicted * torch.nan if completed == (past == "completed") else predicted

    predict = ZeroVelocity.predict
    monkeypatch.setattr(ZeroVelocity, "predict", lost)
    ended = bench(
        "run", write(tmp_path), "--results", tmp_path, *LOCAL, "--only", "mean,zero_velocity"
    )
    assert ended.code == 1
    assert "FloatingPointError: zero_velocity predicted values that are not finite" in ended.out
    table = latest(tmp_path, "records.parquet").query("predictor == 'zero_velocity'")
    status = table.groupby("mechanism")["status"].unique().map(list).to_dict()
    failed, done = ["failed"], ["done"]
    expected = {"": failed, "features": done} if past == "true" else {"": done, "features": failed}
    assert status == expected


def test_the_figure_bears_a_true_past_that_is_not_there() -> None:
    """A forecast from the true past may have failed where others did not."""
    table = forecasting.table(
        pd.concat([errors("ltd", "mean", [3, 4]), errors("ltd", "linear", [1, 2])]), resolve(SMALL)
    )
    assert forecasting.sections(table.assign(status="done"))
    forecasts(table, "motion", SHEET)


def test_what_a_predictor_was_fitted_on_is_told_with_its_errors(finished: Path) -> None:
    """A window whose recording ends teaches a predictor nothing."""
    again = Again(finished)
    taught = int(again.train.continued.sum())
    assert 0 < taught < len(again.train)
    table = latest(finished, "prediction.csv").groupby("predictor")["train_windows"].unique()
    assert list(table["ltd"]) == [taught]
    text = (finished / "small" / "latest" / "prediction.md").read_text()
    assert f"fitted for 2 epochs of {taught} windows" in text


def test_a_degraded_predictor_is_fitted_on_pasts_as_its_occlusion_leaves_them(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again, pasts = Again(finished), []

    def watch(self: LTD, history: Tensor) -> Tensor:
        if self.training:
            pasts.append(history.clone())
        return extrapolate(self, history)

    extrapolate = LTD.extrapolate
    monkeypatch.setattr(LTD, "extrapolate", watch)
    entry = {"predictor": "ltd", "like": "ltd", "degraded": ["features"]}
    raw = SMALL | {"predictors": {"ltd": LTD_SETTINGS, "blind": entry}}
    store = str(again.store.folder)
    workspace = Workspace(resolve(raw).to_dict(), store, again.data.fingerprint, {})
    whole = {tuple(window.ravel()[:6].tolist()) for window in again.train.with_future().motion}
    for label, expected in (("blind", {0.1, 0.5}), ("ltd", {0.0})):
        pasts.clear()
        predictor = workspace.build(label, 0)
        predictor.fit(again.train, again.data.splits["valid"], FitContext(seed=1))
        seen = torch.cat(pasts)
        assert len(seen) == 2 * int(again.train.continued.sum())
        hidden = torch.isclose(seen, predictor.mean, rtol=0, atol=0)
        shares = hidden.flatten(1).double().mean(dim=1).numpy()
        assert {round(float(share), 2) for share in shares} == expected
    assert {tuple(past.ravel()[:6].tolist()) for past in seen} == whole


def test_a_predictor_added_to_a_finished_protocol_refits_no_model(
    tmp_path: Path, bench: Bench
) -> None:
    bare = write(tmp_path, predictors=None)
    assert bench("run", bare, "--results", tmp_path, *LOCAL).code == 0
    assert not (tmp_path / ".store" / "completions").exists()
    fits = {path: when for path, when in modified(tmp_path).items() if "fits" in path.parts}
    ended = bench(
        "run", write(tmp_path), "--results", tmp_path, *LOCAL, "--only",
        "mean,linear,vae,pca_error,zero_velocity",
    )  # fmt: skip
    assert ended.code == 0
    # The completion was not kept: it is computed again, and predicted from.
    assert f"1 fits and {PASTS + FORECASTS} cells to do" in ended.out
    after = modified(tmp_path)
    assert {path: after[path] for path in fits} == fits
    second = bench("run", write(tmp_path), "--results", tmp_path, *LOCAL, "--dry-run")
    assert f"1 fits and {FORECASTS} cells to do" in second.out


@pytest.mark.parametrize(
    ("override", "fits", "cells"),
    [
        ("predictors.other={predictor: ltd, like: ltd, width: 4}", 1, FORECASTS),
        ("predictors.other={predictor: ltd, like: ltd, degraded: [features]}", 1, FORECASTS),
        ("predictors.ltd.width=4", 1, FORECASTS),
        ("forecast.horizons_ms=[40, 80]", 0, 2 * FORECASTS),
        ("forecast.imputers=[mean]", 0, 0),
        ("published=[{predictor: ltd, source: me, mm: {average: [1, 2, 3, 4, 5, 6, 7, 8]}}]", 0, 0),
        ("occlusion.features.levels=[10%, 50%, 90%]", 0, 1 + 2 + 2 + 2 * 3),
        ("seeds=[0, 1]", 4, 1 + 1 + 1 + 2 * (1 + 1 + 2 + 1) + 2 * FORECASTS),
    ],
)
def test_what_is_added_to_forecasts_runs_alone(
    override: str, fits: int, cells: int, finished: Path, tmp_path: Path, bench: Bench
) -> None:
    ended = bench(
        "run", write(tmp_path), "--results", finished, *LOCAL, "--dry-run", "--set", override
    )
    assert f"{fits} fits and {cells} cells to do" in ended.out


def test_predictors_alone_make_a_run(tmp_path: Path, bench: Bench) -> None:
    protocol = write(tmp_path, models=None, occlusion=None, inference=None)
    ended = bench("run", protocol, "--results", tmp_path, *LOCAL)
    assert ended.code == 0
    run = tmp_path / "small" / "latest"
    assert not (run / "imputation.csv").exists()
    table = latest(tmp_path, "forecasting.csv")
    assert set(table["predictor"]) == {"zero_velocity", "ltd"}
    assert table[["model", "mechanism"]].isna().all(axis=None)
    assert (latest(tmp_path, "records.parquet")["status"] == "done").all()
    # The paper's claims are about imputers.
    assert not (run / "claims.csv").exists()
    shown = bench("show", run, "forecasting").out
    assert "MPJPE of predictions from the true past" in shown
    assert bench("claims", run).code == 0


def test_forecasts_of_windows_that_all_end_are_empty_cells(tmp_path: Path, bench: Bench) -> None:
    ended = bench(
        "run", write(tmp_path), "--results", tmp_path, *LOCAL, "--only", "mean,zero_velocity",
        "--set", "dataset.seconds=2.5",
    )  # fmt: skip
    assert ended.code == 0
    table = latest(tmp_path, "records.parquet").query("predictor != ''")
    assert set(table["n"]) == {0}
    assert set(table["status"]) == {"done"}


def test_a_predictor_without_anything_to_learn_from_says_so(tmp_path: Path, bench: Bench) -> None:
    ended = bench(
        "run", write(tmp_path), "--results", tmp_path, *LOCAL, "--only", "mean,ltd",
        "--set", "dataset.seconds=2.5",
    )  # fmt: skip
    assert ended.code == 1
    assert "no recording is long enough for a window and the future after it" in ended.out
    table = latest(tmp_path, "records.parquet")
    status = table.groupby("predictor")["status"].unique().map(list).to_dict()
    assert status == {"": ["done"], "ltd": ["skipped"]}


# Forecasts of made-up windows, in no run.


def going_on(windows: int = 8, lost: Sequence[int] = ()) -> Windows:
    """Return made-up windows with the 25 frames after each, some of which end before."""
    whole = walk(windows, frames=75)
    future = whole.motion[:, 50:].copy()
    for row in lost:
        future[row, 20:] = np.nan
    return replace(whole, motion=whole.motion[:, :50], future=future)


class Seen(Predictor):
    """Predicts a mix of past frames, and remembers its inputs."""

    name = "seen"
    pasts: list[Tensor]

    def predict(self, past: Tensor) -> Tensor:
        """Return a mix of frames of the past."""
        self.pasts.append(past.clone())
        return 2 * past[:, -25:] - past[:, 10:35]


def seer(windows: Windows) -> Seen:
    predictor = Seen(windows.spec)
    predictor.pasts = []
    return predictor


def forecast_cell(level: str = "") -> Cell:
    model, mechanism = ("mean", "features") if level else ("", "")
    return Cell(
        "key", "fit", model, 3, "forecast", mechanism=mechanism, level=level, predictor="seen"
    )


@pytest.mark.parametrize("lost", [(), (1, 4, 7), (0,)])
def test_the_past_is_the_truth_with_the_completion_in_place(lost: tuple[int, ...]) -> None:
    windows = going_on(lost=lost)
    protocol = resolve(TINY)
    occluded = Features(level=Level.parse("10%"), seed=3).occluded(windows)
    completed = np.random.default_rng(1).normal(0, 300, occluded.shape).astype(np.float32)
    predictor = seer(windows)
    evaluator = Evaluator(protocol, windows, windows, {}, "cpu")
    table = evaluator.forecast(forecast_cell("10%"), predictor, completed[occluded]).table
    kept = [row for row in range(8) if row not in lost]
    past = torch.where(torch.from_numpy(occluded), torch.from_numpy(completed), windows.tensor())
    (given,) = predictor.pasts
    assert torch.equal(given, past[kept])
    assert windows.future is not None
    expected = distances(seer(windows).predict(past[kept]), windows.future[kept])
    for horizon, frames in HORIZONS.items():
        np.testing.assert_allclose(table[horizon_metric(horizon)], expected[:, frames - 1])
    np.testing.assert_allclose(table[AVERAGE], expected.mean(axis=1))
    assert list(table["window"]) == [windows.names[row] for row in kept]


@pytest.mark.parametrize("name", PREDICTORS.all())
def test_where_every_test_recording_ends_there_are_no_forecasts_and_no_failure(name: str) -> None:
    """Train recordings may be longer."""
    windows = going_on(4, lost=range(4))
    evaluator = Evaluator(resolve(TINY), windows, windows, {}, "cpu")
    predictor = PREDICTORS.get(name)(windows.spec).eval()
    table = evaluator.forecast(forecast_cell(), predictor, None).table
    assert table.empty
    assert {AVERAGE, "eq4", "mpjpe@80"} <= set(table.columns)


class Weighted(Predictor):
    """Predicts the end of its past times a parameter, with gradients."""

    name = "weighted"

    def __init__(self, spec: MotionSpec, frames: int = 25) -> None:
        super().__init__(spec)
        self.frames, self.weight = frames, torch.nn.Parameter(torch.ones(()))

    def predict(self, past: Tensor) -> Tensor:
        """Return ``frames`` of the past."""
        return self.weight * past[:, -self.frames :]


def test_a_predictor_need_not_disable_gradients() -> None:
    windows = going_on()
    evaluator = Evaluator(resolve(TINY), windows, windows, {}, "cpu")
    found = evaluator.forecast(forecast_cell(), Weighted(windows.spec), None)
    assert np.isfinite(found.table[AVERAGE]).all()


def test_a_prediction_of_another_shape_is_refused() -> None:
    windows = going_on()
    evaluator = Evaluator(resolve(TINY), windows, windows, {}, "cpu")
    with pytest.raises(ValueError, match=r"predicted .* \(8, 1, 18, 3\), not \(8, 25, 18, 3\)"):
        evaluator.forecast(forecast_cell(), Weighted(windows.spec, frames=1), None)


def test_the_true_past_is_seen_as_it_is() -> None:
    windows = going_on()
    predictor = seer(windows)
    evaluator = Evaluator(resolve(TINY), windows, windows, {}, "cpu")
    found_ = evaluator.forecast(forecast_cell(), predictor, None)
    assert torch.equal(predictor.pasts[0], windows.tensor())
    assert (found_.table["share"] == 0).all()
    predicted = seer(windows).predict(windows.tensor())
    np.testing.assert_array_equal(found_.completion, predicted.numpy())


def test_eq_4_counts_what_was_completed_wrongly_too() -> None:
    windows = going_on()
    occluded = Features(level=Level.parse("50%"), seed=3).occluded(windows)
    wrong = windows.motion[occluded] + 10
    evaluator = Evaluator(resolve(TINY), windows, windows, {}, "cpu")
    table = evaluator.forecast(forecast_cell("50%"), seer(windows), wrong).table
    past = np.asarray(windows.motion).astype(np.float64) + 10 * occluded
    predicted = seer(windows).predict(torch.from_numpy(past.astype(np.float32))).double().numpy()
    assert windows.future is not None
    for row, value in enumerate(table["eq4"]):
        squared = [
            ((here - there) ** 2).sum()
            for one, other in ((past, windows.motion), (predicted, windows.future))
            for frame, truth in zip(one[row], other[row].astype(np.float64), strict=True)
            for here, there in zip(frame, truth, strict=True)
        ]
        assert len(squared) == 75 * 18
        assert value == pytest.approx(np.mean(squared), rel=1e-5)


# The table, from made-up values.

SOURCES = ("a", "a", "b", "b", "c", "c")


def errors(predictor: str, model: str, values: Sequence[float], **labels: Any) -> pd.DataFrame:
    """Return errors over the whole future of windows in turn; of completed pasts if by a model."""
    hidden = {"mechanism": "features", "level": "10%", "share": 0.1}
    table = {
        "dataset": "motion",
        "split": "test",
        "model": model,
        "inference": "",
        "predictor": predictor,
        **(hidden if model else {"mechanism": "", "level": "0", "share": 0.0}),
        "seed": 0,
        "window": [f"w{number}" for number in range(len(values))],
        "source": SOURCES[: len(values)],
        "action": "walk",
        "horizon_ms": np.nan,
        "metric": AVERAGE,
        "value": [float(value) for value in values],
    }
    return pd.DataFrame(table | labels).reindex(columns=records.WINDOW_COLUMNS, fill_value="")


def drawn(seed: int) -> pd.DataFrame:
    """Return forecasts of two predictors from pasts completed by three, with two seeds."""
    rng = np.random.default_rng(seed)
    parts = []
    for predictor in ("ltd", "gru"):
        for by_seed in (0, 1):
            for model, inference in (("", ""), ("mean", ""), ("linear", ""), ("net", "map")):
                for level, share in (("10%", 0.1), ("50%", 0.5)) if model else (("0", 0.0),):
                    labels = {"level": level, "share": share, "seed": by_seed}
                    labels["inference"] = inference
                    for metric, horizon in ((AVERAGE, np.nan), ("eq4", np.nan), ("mpjpe", 80.0)):
                        part = errors(predictor, model, list(rng.uniform(10, 90, 6)), **labels)
                        parts.append(part.assign(metric=metric, horizon_ms=horizon))
    # Windows in random order, so that only their names say which belong together.
    return pd.concat(parts, ignore_index=True).sample(frac=1, random_state=seed)


@pytest.mark.parametrize("seed", range(2))
def test_the_table_is_that_of_pandas(seed: int) -> None:
    values = drawn(seed)
    table = forecasting.table(values, resolve(SMALL))
    keys = ["predictor", "model", "inference", "level"]
    means = values.groupby([*keys, "metric"])["value"].mean()
    summarised = table[table["metric"].isin([AVERAGE, "eq4", "mpjpe"])]
    for row in summarised.to_dict("records"):
        labels = tuple(row[key] for key in [*keys, "metric"])
        assert row["value"] == pytest.approx(means[labels])
        assert (row["n"], row["seeds"]) == (6, 2)
        assert row["low"] <= row["value"] <= row["high"]
        assert np.isnan(row["horizon_ms"]) == (row["metric"] != "mpjpe")
    assert len(summarised) == len(means)
    changes = table[table["metric"] == "change_vs_mean"]
    assert len(changes) == 2 * 2 * 3
    for row in changes.to_dict("records"):
        mine = means[(*(row[key] for key in keys), AVERAGE)]
        base = means[row["predictor"], "mean", "", row["level"], AVERAGE]
        assert row["value"] == pytest.approx(100 * (mine / base - 1))


def test_the_change_is_paired_by_window() -> None:
    values = pd.concat(
        [
            errors("ltd", "mean", [10, 20, 40, 80, 5, 60]),
            errors("ltd", "linear", [5, 10, 20, 40, 2.5, 30]).iloc[::-1],
            errors("ltd", "", [1, 1, 1, 1, 1, 1]),
            errors("gru", "mean", [1, 1, 1, 1, 1, 1]),
        ]
    )
    table = forecasting.table(values, resolve(SMALL))
    changes = table[table["metric"] == "change_vs_mean"].set_index(["predictor", "model"])
    # Half of it in every window, so in every resample: unpaired ones would differ.
    columns = ["value", "low", "high"]
    assert list(changes.loc[("ltd", "linear"), columns]) == pytest.approx([-50, -50, -50])
    assert changes.loc[("ltd", "mean"), "value"] == 0
    assert set(changes.index) == {("ltd", "linear"), ("ltd", "mean"), ("gru", "mean")}


def test_the_interval_of_a_change_is_over_recordings() -> None:
    mean, mine = [10.0, 20, 40, 80, 5, 60], [9.0, 30, 10, 70, 6, 20]
    values = pd.concat([errors("ltd", "mean", mean), errors("ltd", "linear", mine)])
    table = forecasting.table(values, resolve(SMALL)).set_index(["metric", "model"])
    sums = np.array([[sum(mine[k : k + 2]), sum(mean[k : k + 2])] for k in (0, 2, 4)])
    resampled = statistics.resamples(3) @ sums
    low, high = np.percentile(100 * (resampled[:, 0] / resampled[:, 1] - 1), [2.5, 97.5])
    ends = table.loc[("change_vs_mean", "linear"), ["low", "high"]]
    assert list(ends) == pytest.approx([low, high])


def of_predictors(still: Sequence[float], net: Sequence[float], **labels: Any) -> pd.DataFrame:
    return pd.concat(
        [errors("zero_velocity", "", still, **labels), errors("net", "", net, **labels)]
    )


def test_the_gain_over_standing_still_is_paired_by_window_at_every_horizon() -> None:
    still, net = [10.0, 20, 40, 80, 5, 60], [5.0, 10, 20, 40, 2.5, 30]
    short = {"metric": "mpjpe", "horizon_ms": 80.0}
    values = pd.concat([of_predictors(still, net), of_predictors(net, still, **short)])
    table = forecasting.table(values, resolve(SMALL))
    gains = table[table["metric"] == forecasting.GAIN].set_index("horizon_ms")
    assert set(gains["predictor"]) == {"net"}
    columns = ["value", "low", "high"]
    # Half of it, or twice as much, in every window, so in every resample.
    assert list(gains.loc[80.0, columns]) == pytest.approx([100, 100, 100])
    whole = gains[gains.index.isna()]
    assert list(whole[columns].iloc[0]) == pytest.approx([-50, -50, -50])


def test_the_cost_of_completion_is_that_over_the_same_predictor_s_true_past() -> None:
    true, completed = [1.0, 2, 3, 4, 5, 6], [2.0, 2, 5, 4, 8, 6]
    values = pd.concat(
        [
            errors("net", "", true),
            errors("net", "linear", completed).iloc[::-1],
            errors("gru", "", [0.0] * 6),
            errors("gru", "linear", completed),
        ]
    )
    table = forecasting.table(values, resolve(SMALL))
    costs = table[table["metric"] == forecasting.COST].set_index("predictor")
    assert costs.loc["net", "value"] == pytest.approx(1.0)
    assert costs.loc["gru", "value"] == pytest.approx(np.mean(completed))
    by_name = {row["predictor"]: row for row in costs.reset_index().to_dict("records")}
    assert by_name["net"]["low"] < by_name["net"]["value"] < by_name["net"]["high"]


def test_a_predictor_no_better_than_standing_still_says_nothing_about_imputers() -> None:
    still = [10.0, 20, 40, 80, 5, 60]
    better, alike = [0.5 * value for value in still], [9.0, 22, 41, 79, 6, 58]
    parts = [
        errors(who, model, values)
        for who, values in (("zero_velocity", still), ("good", better), ("bad", alike))
        for model in ("", "mean", "linear")
    ]
    table = forecasting.table(pd.concat(parts), resolve(SMALL)).assign(status="done")
    assert forecasting.idle(table) == ["bad"]
    soon = pd.DataFrame([{"metric": forecasting.GAIN, "predictor": "bad", "high": -1.0}])
    assert forecasting.idle(pd.concat([table, soon])) == []
    by_name = {section.name: section for section in forecasting.sections(table)}
    assert f"bad {forecasting.IDLE}" in by_name[forecasting.GAIN].caption
    assert "good" not in by_name[forecasting.GAIN].caption
    assert f"good_{forecasting.COST}" in by_name
    assert not [name for name in by_name if name.startswith(("bad", "zero_velocity"))]
    figure = forecasts(table, "motion", SHEET)
    assert figure is not None
    assert "left out: bad" in figure.get_suptitle()
    assert {axis.get_title() for axis in figure.axes} == {"good,\nfeatures, whole future"}


def test_without_a_mean_there_is_no_change_against_it() -> None:
    values = pd.concat([errors("ltd", "linear", [1, 2]), errors("ltd", "", [1, 1])])
    raw = SMALL | {"models": {"linear": {}}}
    table = forecasting.table(values, resolve(raw))
    assert set(table["metric"]) == {AVERAGE, forecasting.COST}
    assert [section.name for section in forecasting.sections(table.assign(status="done"))] == [
        "true_past",
        f"ltd_{AVERAGE}",
        f"ltd_{forecasting.COST}",
    ]


def test_no_forecasts_make_no_table() -> None:
    nothing = forecasting.table(pd.DataFrame(columns=records.WINDOW_COLUMNS), resolve(SMALL))
    assert nothing.empty
    assert forecasting.sections(nothing) == []
    assert forecasts(nothing, "motion", SHEET) is None


def test_sections_have_the_true_past_under_every_condition() -> None:
    table = forecasting.table(drawn(0), resolve(SMALL))
    by_name = {
        section.name: section.text for section in forecasting.sections(table.assign(status="done"))
    }
    assert set(by_name) == {
        "true_past",
        *(
            f"{who}_{what}"
            for who in ("ltd", "gru")
            for what in (AVERAGE, "cost", "change_vs_mean")
        ),
    }
    assert set(by_name["true_past"].columns) == {"80 ms", "average"}
    assert set(by_name["true_past"].index) == {"ltd", "gru"}
    whole = by_name[f"ltd_{AVERAGE}"]
    assert set(whole.columns) == {"features 10%", "features 50%"}
    assert set(whole.index) == {"true past", "mean", "linear", "net (map)"}
    assert whole.loc["true past"].nunique() == 1
    # The change of the mean against itself says nothing.
    assert set(by_name["ltd_change_vs_mean"].index) == {"linear", "net (map)"}


def test_forecasts_are_in_no_table_of_imputation() -> None:
    """Both have an MPJPE."""
    imputed = errors("", "mean", [1, 2, 3], metric="mse")
    imputed = pd.concat([imputed, imputed.assign(metric="mpjpe", value=7.0)])
    alone = found.build(imputed, resolve(SMALL), [], "motion")
    forecast = errors("ltd", "mean", [99, 99, 99], metric="mpjpe", horizon_ms=80.0)
    both = found.build(pd.concat([imputed, forecast]), resolve(SMALL), [], "motion")
    pd.testing.assert_frame_equal(both.imputation, alone.imputation)
    pd.testing.assert_frame_equal(both.quality, alone.quality)
    assert set(both.forecasting["value"]) == {99}
