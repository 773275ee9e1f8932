"""Class-conditional generation, from a protocol to its table and pictures, as a user runs it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.analysis import generation
from bench.metrics.judging import SET
from bench.protocol.resolving import resolve
from tests.conftest import Bench, run_of

ACTIONS = ["walk", "jump", "wave"]
PROTOCOL: dict[str, Any] = {
    "name": "drawing",
    "dataset": {"name": "synthetic", "subjects": 4, "seconds": 3.5, "stride": 10, "frames": 24},
    "actions": ACTIONS,
    "models": {
        "mean": {},
        "hgvae": {
            "latents": [[1, 8], [4, 4]],
            "width": 8,
            "residual": "branch",
            "epochs": 2,
            "batch_size": 16,
        },
        "conditional_hgvae": {"like": "hgvae"},
        "action_classifier": {"epochs": 3, "width": 8, "features": 4},
    },
    "inference": {"map": {"steps": 2}},
    "occlusion": {"features": {"levels": ["10%"]}},
    "show": [{"model": "hgvae", "inference": "map", "mechanism": "features", "level": "10%"}],
    "seeds": [0, 1],
    "scale": {"train": 80, "valid": 40, "test": 60, "samples": 12},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drawing")


@pytest.fixture
def run(folder: Path, bench: Bench) -> Path:
    """The run's folder; it is run once."""
    latest = folder / "results" / "drawing" / "latest"
    if not latest.exists():
        ended = bench(*run_of(PROTOCOL, folder))
        assert ended.code == 0, ended.err
        assert "recognised" in bench("show", latest, "generation").out
    return latest


def test_every_generative_model_and_the_test_windows_are_judged(run: Path) -> None:
    table = pd.read_csv(run / "generation.csv").fillna({"action": ""})
    assert table["dataset"].str.contains("synthetic").all()
    whole = table[table["action"] == ""].set_index(["model", "metric"])["value"]
    for model in ("hgvae", "conditional_hgvae"):
        for metric in generation.METRICS:
            assert np.isfinite(whole[model, metric]), (model, metric)
    judge = whole["action_classifier"]
    assert set(judge.index) == {
        "action_told",
        "frechet",
        "diversity",
        "multimodality",
        "foot_skate",
    }
    assert (whole.drop("bone_excess", level="metric") >= 0).all()
    by_action = table[table["action"] != ""]
    assert set(by_action["action"]) == set(ACTIONS)
    assert by_action["metric"].unique().tolist() == ["action_told"]
    assert by_action["value"].between(0, 100).all()


def test_accuracy_is_the_mean_over_windows_and_the_rest_of_the_set(run: Path) -> None:
    values = pd.read_parquet(run / "windows.parquet")
    table = pd.read_csv(run / "generation.csv").fillna({"action": ""})
    whole = table[table["action"] == ""].set_index(["model", "metric"])
    drawn = values[(values["model"] == "conditional_hgvae") & (values["split"] == "sample")]
    recognised = drawn[drawn["metric"] == "action_told"]
    assert len(recognised) == 2 * 12
    assert set(recognised["value"]) <= {0.0, 1.0}
    assert whole.loc[("conditional_hgvae", "action_told"), "value"] == pytest.approx(
        100 * recognised["value"].mean()
    )
    distance = drawn[drawn["metric"] == "frechet"]
    assert distance["window"].tolist() == [SET, SET]
    assert whole.loc[("conditional_hgvae", "frechet"), "value"] == pytest.approx(
        distance["value"].mean()
    )
    assert whole["low"].isna()["conditional_hgvae", "frechet"]


def test_actions_are_requested_in_the_proportions_of_test_windows(run: Path) -> None:
    values = pd.read_parquet(run / "windows.parquet")
    judged = values[(values["metric"] == "action_told") & (values["seed"] == 0)]
    drawn = judged[(judged["split"] == "sample") & (judged["model"] == "conditional_hgvae")]
    real = judged[judged["model"] == "action_classifier"]
    assert set(real["action"]) == set(ACTIONS)
    for action in ACTIONS:
        share = (real["action"] == action).mean()
        assert (drawn["action"] == action).mean() == pytest.approx(share, abs=1 / 12)


def test_the_papers_pictures_are_there_and_move(run: Path) -> None:
    for name in ("fig1_imputation", "fig3_samples_conditional_hgvae"):
        for suffix in ("pdf", "png", "gif"):
            assert (run / f"{name}.{suffix}").stat().st_size > 1000
        with Image.open(run / f"{name}.gif") as picture:
            assert picture.n_frames == 24  # type: ignore[attr-defined]
            assert picture.info["duration"] == 40


def test_a_second_run_repeats_nothing(run: Path, folder: Path, bench: Bench) -> None:
    again = bench(
        "run", folder / "drawing.yaml", "--results", folder / "results", "--executor", "local"
    )
    assert again.code == 0
    assert "0 fits and 0 cells to do" in again.out
    tables = sorted((folder / "results" / "drawing").glob("2*/generation.csv"))
    assert len({table.read_bytes() for table in tables}) == 1


@pytest.mark.parametrize(
    ("override", "planned"),
    [
        # The conditional model and the classifier, two seeds; no other model depends on actions.
        ("actions=[walk, jump]", "4 fits and"),
        # Two models' draws, and as many train windows in the row of test windows, twice.
        ("scale.samples=14", "0 fits and 6 cells to do"),
    ],
)
def test_only_what_changes_is_computed_again(
    run: Path, folder: Path, bench: Bench, override: str, planned: str
) -> None:
    ended = bench(
        "run", folder / "drawing.yaml", "--results", folder / "results", "--executor", "local",
        "--dry-run", "--set", override,
    )  # fmt: skip
    assert planned in ended.out


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("actions=[walk, wavee]", "actions: no train window of 'wavee' (did you mean 'wave'?)"),
        ("actions=[walk, walk]", "actions: walk, walk names the same one twice"),
        ("actions=[]", "models.conditional_hgvae: name the actions to condition on"),
        ("actions=[walk]", "models.action_classifier: name two or more actions"),
        ("scale.samples=2", "scale.samples: 2 windows are too few for 3 actions; draw more"),
        ("actions=[wave, jump];scale.test=1", "actions: no test window has any of them"),
        ("show=[{model: hgvae, mechanism: features, level: 20%}]", "show.0.level: no entry '20%'"),
        ("show=[{model: nobody, mechanism: features, level: 10%}]", "show.0.model: no entry"),
        ("show=[{model: hgvae, mechanism: fog, level: 10%}]", "show.0.mechanism: no entry"),
        ("show=[{model: hgvae, inference: x, mechanism: features, level: 10%}]", "show.0.infer"),
        (
            "show=[{model: hgvae, mechanism: features, level: 10%}]",
            "show.0: hgvae completes windows with inference: map",
        ),
        (
            "show=[{model: mean, inference: map, mechanism: features, level: 10%}]",
            "show.0: mean completes windows with no inference",
        ),
        (
            "show=[{model: action_classifier, mechanism: features, level: 10%}]",
            "show.0: action_classifier completes no windows",
        ),
    ],
)
def test_what_cannot_be_drawn_is_reported_in_one_line(
    tmp_path: Path, bench: Bench, override: str, message: str
) -> None:
    settings = [part for one in override.split(";") for part in ("--set", one)]
    ended = bench(*run_of(PROTOCOL, tmp_path), *settings)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert not list((tmp_path / "results").glob("drawing"))


def test_a_protocol_with_actions_survives_being_written_out() -> None:
    protocol = resolve(PROTOCOL)
    assert resolve(protocol.to_dict()) == protocol
    assert protocol.spec.actions == tuple(ACTIONS)
    assert protocol.judge == "action_classifier"
