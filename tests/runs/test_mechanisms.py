"""Every mechanism in one run: its rows, and the same protocol read back."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from bench.core.registry import MECHANISMS
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.sampler import MaskSampler
from bench.protocol.resolving import load, resolve
from bench.sweep.cells import Evaluator
from bench.sweep.jobs import Cell
from models.linear import Linear
from models.mean import Mean
from models.window_gaussian import WindowGaussian
from tests.conftest import TINY, Bench, run_of, walk
from tests.runs.conftest import latest

LEVELS: dict[str, list[Any]] = {
    "duration": ["200 ms", "0.6 s", "12 frames"],
    "share": ["10%", 0.3],
    "count": [2, 3],
}
EVERY: dict[str, Any] = {
    "name": "every",
    "dataset": TINY["dataset"],
    "models": {"mean": {}, "linear": {}},
    "occlusion": {
        name: {"levels": LEVELS[cls.kinds[0]]} if cls.kinds != ("none",) else {}
        for name, cls in MECHANISMS.all().items()
    }
    | {"one_leg": {"mechanism": "limbs", "levels": [1], "which": ["left_leg", "right_leg"]}},
    "seeds": [0],
    "scale": {"train": 40, "valid": 8, "test": 12},
}


@pytest.mark.usefixtures("undrawn")
def test_every_mechanism_runs_and_has_its_rows(tmp_path: Path, bench: Bench) -> None:
    ended = bench(*run_of(EVERY, tmp_path))
    assert ended.code == 0, ended.out + ended.err
    records = latest(tmp_path / "results", "records.parquet", "every")
    mse = records[(records["metric"] == "mse") & (records["model"] != "")]
    assert (mse["status"] == "done").all()
    assert np.isfinite(mse["value"]).all()
    found = set(zip(mse["model"], mse["mechanism"], mse["level"], strict=True))
    expected = {
        (model, label, str(Level.parse(level)))
        for model in ("mean", "linear")
        for label, entry in EVERY["occlusion"].items()
        for level in entry.get("levels", [""])
    }
    assert found == expected
    assert mse["share"].between(0, 1, inclusive="right").all()
    share = mse.set_index(["model", "mechanism", "level"])["share"]["linear"]
    assert share["frames", "12 frames"] == pytest.approx(12 / 50)
    assert share["fast", "30%"] == pytest.approx(0.3)
    assert share["sparse", ""] == pytest.approx(15 / 18)
    error = mse.set_index(["model", "mechanism", "level"])["value"]
    # Of what is never seen, a line knows no more than the mean.
    for level in ("2", "3"):
        assert error["linear", "joints", level] == error["mean", "joints", level]
    assert error["linear", "frames", "200 ms"] < error["mean", "frames", "200 ms"]


def test_levels_survive_the_file_that_states_everything(tmp_path: Path, bench: Bench) -> None:
    file = tmp_path / "every.yaml"
    file.write_text(yaml.safe_dump(EVERY, sort_keys=False))
    ended = bench("validate", file)
    assert ended.code == 0, ended.err
    again = tmp_path / "again.yaml"
    again.write_text(ended.out)
    first, second = load(file), load(again)
    assert second.occlusion == first.occlusion
    assert bench("validate", again).out == ended.out
    assert resolve(first.to_dict()).to_dict() == first.to_dict()
    stated = yaml.safe_load(ended.out)["occlusion"]
    assert stated["frames"]["levels"] == ["200 ms", "600 ms", "12 frames"]
    assert stated["flicker"]["levels"] == ["10%", "30%"]
    assert stated["limbs"]["levels"] == [2, 3]
    assert "levels" not in stated["sparse"]
    assert stated["one_leg"]["which"] == ["left_leg", "right_leg"]


@pytest.mark.parametrize(
    ("label", "entry", "message"),
    [
        ("gaps", {"levels": ["10%"]}, "occlusion.gaps.levels: level 10% is not what gaps takes"),
        ("sparse", {"levels": [1]}, "occlusion.sparse.levels: sparse has no levels"),
        ("frames", {"levels": ["40 ms", "1 frame"]}, "40 ms and 1 frame hide the same"),
        ("flicker", {"levels": ["10%"], "mean_gap": 5}, "occlusion.flicker.mean_gap: give text"),
        ("limbs", {"levels": [1], "which": []}, "occlusion.limbs.which: "),
    ],
)
def test_what_no_mechanism_can_do_is_refused_in_a_line(
    label: str, entry: Any, message: str, tmp_path: Path, bench: Bench
) -> None:
    file = tmp_path / "every.yaml"
    file.write_text(yaml.safe_dump({**EVERY, "occlusion": {label: entry}}))
    ended = bench("validate", file)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1


def test_keyframe_spacings_that_hide_as_much_are_told_apart(tmp_path: Path, bench: Bench) -> None:
    file = tmp_path / "every.yaml"
    occlusion = {"inbetween": {"levels": ["26 frames", "30 frames"]}}
    file.write_text(yaml.safe_dump({**EVERY, "occlusion": occlusion}))
    assert bench("validate", file).code == 0


def test_errors_under_noise_are_over_everything_and_against_the_truth() -> None:
    raw = {
        **EVERY,
        "occlusion": {"noise_and_gaps": {"levels": ["500 ms"], "noise_mm": 20.0}},
    }
    test = walk(40)
    evaluator = Evaluator(resolve(raw), walk(10, seed=1), test, {}, "cpu")
    cell = Cell("key", "fit", "mean", 0, "impute", mechanism="noise_and_gaps", level="500 ms")
    model = Mean(test.spec)
    model.fit(walk(10, seed=1), walk(10, seed=1))
    result = evaluator.evaluate(cell, model)
    assert result.completion is not None
    mechanism = evaluator.protocol.occlusion["noise_and_gaps"].at(Level.parse("500 ms"), 0)
    hidden = mechanism.occluded(test)
    noise = mechanism.observed(test).astype(np.float64) - test.motion
    miss = model.mean.numpy().astype(np.float64) - test.motion
    error = np.where(hidden, miss, noise)
    mse = result.table["mse"]
    np.testing.assert_allclose(mse, (error**2).mean(axis=(1, 2, 3)), rtol=1e-4)
    assert noise[~hidden].std() == pytest.approx(20, rel=0.02)
    again = evaluator.rescore(cell, result.completion)
    pd.testing.assert_series_equal(again["mse"], mse)
    # A line keeps what it is given, with its noise.
    line = Linear(test.spec)
    line.fit(walk(10, seed=1), walk(10, seed=1))
    kept = evaluator.evaluate(cell, line).table["mse"]
    assert (kept > (noise**2 * ~hidden).mean(axis=(1, 2, 3))).all()
    assert (kept < mse).all()


@pytest.mark.usefixtures("undrawn")
def test_fits_are_given_the_masks_that_the_protocol_states(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    fit = WindowGaussian.fit

    def watched(model: WindowGaussian, train: Any, valid: Any, context: Any = None) -> None:
        given.append(context.masks)
        fit(model, train, valid, context)

    monkeypatch.setattr(WindowGaussian, "fit", watched)
    small = {"dataset": TINY["dataset"] | {"frames": 12}, "occlusion": {"joints": {"levels": [1]}}}
    protocol = EVERY | small | {"models": {"mean": {}, "window_gaussian": {"shrinkage": 0.1}}}
    for stated in ({}, {"legs": {"mechanism": "limbs", "levels": [1, 2]}}):
        assert bench(*run_of(protocol | {"training_masks": stated}, tmp_path)).code == 0
    usual, masks = given
    assert usual is None
    assert isinstance(masks, MaskSampler)
    levels = {label: [str(one.level) for one in found] for label, found in masks.families.items()}
    assert levels == {"legs": ["1", "2"]}
