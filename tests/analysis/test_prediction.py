"""Errors of predictors by action next to published ones, compared with pandas and by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from bench.analysis import prediction, records
from bench.analysis import results as found
from bench.datasets.synthetic import Synthetic
from bench.protocol.resolving import resolve
from bench.protocol.schema import Protocol
from tests.conftest import TINY

HORIZONS = (80, 400)
Table = dict[str, Sequence[float | None]]


def published(mm: Table, predictor: str = "ltd", **labels: Any) -> dict[str, Any]:
    return {"predictor": predictor, "source": "somebody, 2019", "mm": mm, **labels}


def protocol(*tables: dict[str, Any], **changes: Any) -> Protocol:
    """Return a protocol of two predictors, judged at two horizons."""
    return resolve(
        {
            "name": "prediction",
            "dataset": {"name": "synthetic"},
            "predictors": {"zero_velocity": {}, "ltd": {}},
            "forecast": {"horizons_ms": list(HORIZONS)},
            "published": list(tables),
            **changes,
        }
    )


def errors(predictor: str, by_action: Mapping[str, Sequence[float]], **labels: Any) -> pd.DataFrame:
    """Return errors at 80 ms of windows in turn, and ten times that at 400 ms."""
    labelled = [(action, value) for action, values in by_action.items() for value in values]
    table = {
        "dataset": "motion",
        "split": "test",
        "model": "",
        "inference": "",
        "predictor": predictor,
        "mechanism": "",
        "level": "0",
        "share": 0.0,
        "seed": 0,
        "window": [f"test/{action}@{number}" for number, (action, _) in enumerate(labelled)],
        "source": [f"test/{action}" for action, _ in labelled],
        "action": [action for action, _ in labelled],
        "horizon_ms": 80.0,
        "metric": "mpjpe",
        "value": [float(value) for _, value in labelled],
    }
    near = pd.DataFrame(table | labels).reindex(columns=records.WINDOW_COLUMNS, fill_value="")
    return pd.concat([near, near.assign(horizon_ms=400.0, value=10 * near["value"])])


def rows(
    values: pd.DataFrame,
    of: Protocol | None = None,
    absent: Sequence[str] = (),
    fits: Sequence[dict[str, Any]] = (),
) -> Any:
    """Return the table by predictor, choice of windows, action and horizon."""
    table = prediction.table(values, of or protocol(), fits, absent)
    assert list(table.columns) == prediction.COLUMNS
    return table.set_index(["predictor", "windows", "action", "horizon_ms"])


MOTION = {"walk": [1.0, 2.0, 6.0], "jump": [10.0], "kick": [4.0, 8.0]}


@pytest.mark.parametrize("seed", range(3))
def test_errors_are_means_over_windows_and_averages_means_over_actions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = []
    for predictor, by_seed in product(("ltd", "zero_velocity"), (0, 1)):
        drawn = {name: list(rng.uniform(5, 50, len(values))) for name, values in MOTION.items()}
        parts.append(errors(predictor, drawn, seed=by_seed))
    values = pd.concat(parts).sample(frac=1, random_state=seed)
    # The order of horizons is that of the table, not of the values of some cell.
    values = values.sort_values("horizon_ms", kind="stable")
    table = rows(values)
    for predictor, horizon in product(("ltd", "zero_velocity"), HORIZONS):
        mine = values[(values["predictor"] == predictor) & (values["horizon_ms"] == horizon)]
        by_action = mine.groupby("action")["value"].mean()
        for action in MOTION:
            row = table.loc[(predictor, "all", action, horizon)]
            assert row["value"] == pytest.approx(by_action[action])
            assert (row["n"], row["seeds"]) == (len(MOTION[action]), 2)
        average = table.loc[(predictor, "all", "average", horizon)]
        assert average["value"] == pytest.approx(by_action.mean())
        assert average["value"] != pytest.approx(mine["value"].mean())
        assert average["n"] == 6
    assert table["comparable"].all()
    assert len(table) == 2 * 2 * 4


def test_only_forecasts_from_the_true_past_count() -> None:
    clean = errors("ltd", MOTION)
    hidden = {"mechanism": "features", "level": "10%", "share": 0.1, "model": "mean"}
    more = [
        errors("ltd", {name: [999.0] * 3 for name in MOTION}, **hidden),
        clean.assign(metric="mpjpe_average", horizon_ms=np.nan, value=999.0),
        clean.assign(metric="eq4", horizon_ms=np.nan, value=999.0),
    ]
    mixed = prediction.table(pd.concat([clean, *more]), protocol(), [], [])
    pd.testing.assert_frame_equal(mixed, prediction.table(clean, protocol(), [], []))
    assert prediction.table(more[0], protocol(), [], []).empty


def test_no_forecasts_make_an_empty_table() -> None:
    nothing = prediction.table(pd.DataFrame(columns=records.WINDOW_COLUMNS), protocol(), [], [])
    assert nothing.empty
    assert list(nothing.columns) == prediction.COLUMNS
    assert prediction.sections(nothing) == []


def test_published_errors_are_next_to_those_of_their_action_and_horizon() -> None:
    mm: Table = {"walk": [2, 40], "jump": [8, None], "average": [5, 50]}
    table = rows(
        pd.concat([errors("ltd", MOTION), errors("zero_velocity", MOTION)]), protocol(published(mm))
    )
    ltd = table.loc["ltd", "all"]
    expected = {
        ("walk", 80): 2, ("walk", 400): 40, ("jump", 80): 8, ("jump", 400): np.nan,
        ("kick", 80): np.nan, ("kick", 400): np.nan, ("average", 80): 5, ("average", 400): 50,
    }  # fmt: skip
    for labels, value in expected.items():
        assert ltd.loc[labels, "published"] == pytest.approx(value, nan_ok=True)
        change = 100 * (ltd.loc[labels, "value"] / value - 1)
        assert ltd.loc[labels, "difference"] == pytest.approx(change, nan_ok=True)
    assert ltd.loc[("walk", 80), "difference"] == pytest.approx(50)  # 3 mm to 2
    assert set(ltd["source"]) == {"somebody, 2019"}
    other = table.loc["zero_velocity"]
    assert other[["published", "difference"]].isna().all(axis=None)
    assert set(other["source"]) == {""}


def test_a_published_average_is_of_the_actions_where_all_of_them_are_published() -> None:
    """The published average may include actions that the run lacks."""
    mm: Table = {"walk": [2, 40], "jump": [8, 90], "kick": [5, 50], "bow": [100, 100]}
    ltd = rows(errors("ltd", MOTION), protocol(published(mm | {"average": [999, 999]})))
    average = ltd.loc["ltd", "all", "average"]
    assert average["published"].to_dict() == pytest.approx({80: 5, 400: 60})
    without = rows(errors("ltd", MOTION), protocol(published(mm)))
    assert without.loc["ltd", "all", "average"]["published"].to_dict() == pytest.approx(
        {80: 5, 400: 60}
    )


def test_published_errors_follow_the_requested_order_of_horizons() -> None:
    of = protocol(published({"walk": [40, 2]}), forecast={"horizons_ms": [400, 80]})
    values = errors("ltd", MOTION)
    # A cell has its horizons in the requested order.
    values = pd.concat([values[values["horizon_ms"] == ms] for ms in (400, 80)])
    ltd = rows(values, of).loc["ltd", "all", "walk"]["published"]
    assert ltd.to_dict() == {400: 40, 80: 2}


@pytest.mark.parametrize(
    "absent", [["train/kick/kick_2.txt"], ["test/kick/kick_1.txt", "train/kick/kick_1.txt"]]
)
def test_actions_of_absent_files_are_not_comparable(absent: list[str]) -> None:
    mm: Table = {"walk": [2, 40], "jump": [8, 90], "kick": [5, 60], "average": [5, 50]}
    ltd = rows(errors("ltd", MOTION), protocol(published(mm)), absent).loc["ltd", "all"]
    near = ltd.xs(80, level="horizon_ms")
    assert near["comparable"].to_dict() == {
        "walk": True,
        "jump": True,
        "kick": False,
        "average": False,
        "average, comparable": True,
    }
    assert near.loc["average, comparable", "value"] == pytest.approx((3 + 10) / 2)
    assert near.loc["average, comparable", "published"] == pytest.approx((2 + 8) / 2)
    assert near.loc["average, comparable", "n"] == 4
    assert near.loc["average", "value"] == pytest.approx((3 + 10 + 6) / 3)


def test_a_published_average_alone_is_not_that_of_the_comparable_actions() -> None:
    of = protocol(published({"average": [5, 50]}))
    ltd = rows(errors("ltd", MOTION), of, ["train/kick/kick_2.txt"]).loc["ltd", "all"]
    assert (ltd.loc["average"]["published"] == [5, 50]).all()
    assert ltd.loc["average, comparable"]["published"].isna().all()


def test_an_action_is_not_mistaken_for_another_with_the_same_beginning() -> None:
    values = errors("ltd", {"basketball": [1.0], "basketball_signal": [2.0]})
    absent = ["train/basketball_signal/basketball_signal_1.txt"]
    ltd = rows(values, absent=absent).loc["ltd", "all"].xs(80, level="horizon_ms")
    assert ltd["comparable"].to_dict() == {
        "basketball": True,
        "basketball_signal": False,
        "average": False,
        "average, comparable": True,
    }


def test_where_an_action_lacks_every_test_file_the_average_of_the_others_is_comparable() -> None:
    mm: Table = {"walk": [2, 40], "jump": [8, 90], "kick": [5, 60], "bow": [50, 90]}
    absent = ["test/bow/bow_1.txt"]
    ltd = rows(errors("ltd", MOTION), protocol(published(mm)), absent).loc["ltd", "all"]
    near = ltd.xs(80, level="horizon_ms")
    averages = near[near.index.str.startswith("average")]
    comparable = averages[averages["comparable"]]
    assert list(comparable["value"]) == pytest.approx([(3 + 10 + 6) / 3])
    assert list(comparable["published"]) == pytest.approx([5])


class Drawn(Synthetic):
    """Synthetic motion with a choice of test windows that has one of them twice."""

    name: ClassVar[str] = "drawn"

    def test_sets(self, index: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
        """Return all, and some of each recording."""
        assert list(index.index) == list(range(len(index)))
        first = index.groupby("source", sort=False).head(1).index.to_numpy()
        return super().test_sets(index) | {"few": np.concatenate([first, first[:1], [1]])}


def test_a_choice_of_test_windows_counts_one_that_it_has_twice_twice() -> None:
    tables = published({"walk": [2, 40]}, windows="few"), published({"walk": [4, 80]})
    of = replace(protocol(*tables), dataset=Drawn())
    table = rows(errors("ltd", MOTION), of)
    few = table.loc["ltd", "few"].xs(80, level="horizon_ms")
    # Windows 0, 0 and 1 of walking, and the first of each other action.
    assert few["value"].to_dict() == pytest.approx(
        {"walk": (1 + 1 + 2) / 3, "jump": 10, "kick": 4, "average": (4 / 3 + 14) / 3}
    )
    assert few["n"].to_dict() == {"walk": 3, "jump": 1, "kick": 1, "average": 5}
    assert few.loc["walk", "published"] == 2
    every = table.loc["ltd", "all"].xs(80, level="horizon_ms")
    assert every.loc["walk", ["value", "published"]].tolist() == pytest.approx([3, 4])


def test_where_test_windows_are_thinned_there_is_but_one_choice() -> None:
    of = replace(protocol(scale={"test": 6}), dataset=Drawn())
    assert set(rows(errors("ltd", MOTION), of).index.get_level_values("windows")) == {"all"}


FITS: list[dict[str, Any]] = [
    {"model": "ltd", "last_epoch": {"epoch": 6}, "train_windows": 200, "seconds": 540.0},
    {"model": "ltd", "last_epoch": {"epoch": 4}, "train_windows": 200, "seconds": 660.0},
    {"model": "zero_velocity", "last_epoch": None, "train_windows": 200, "seconds": 0.1},
    {"model": "hgvae", "last_epoch": {"epoch": 99}, "train_windows": 9, "seconds": 9.0},
]


def test_the_training_of_a_predictor_is_next_to_its_error() -> None:
    values = pd.concat([errors("ltd", MOTION), errors("zero_velocity", MOTION)])
    table = rows(values, fits=FITS)
    columns = ["epochs", "train_windows", "fit_seconds"]
    for _, row in table.loc["ltd"][columns].iterrows():
        assert list(row) == [5, 200, 600]
    assert set(table.loc["zero_velocity"]["epochs"]) == {0}
    bare = rows(values)
    assert bare[columns].isna().all(axis=None)


def test_a_caption_states_unit_source_training_and_absent_files() -> None:
    mm: Table = {"walk": [2, 40], "jump": [8, None]}
    values = pd.concat([errors("ltd", MOTION), errors("zero_velocity", MOTION)])
    absent = ["train/kick/kick_2.txt"]
    table = prediction.table(values, protocol(published(mm)), FITS, absent)
    by_name = {
        section.name: section for section in prediction.sections(table.assign(status="done"))
    }
    assert list(by_name) == ["prediction_ltd_all", "prediction_zero_velocity_all"]
    fitted = by_name["prediction_ltd_all"]
    assert fitted.caption == (
        "ltd, all: MPJPE by horizon, mm; in brackets: somebody, 2019; fitted for 5 epochs of 200 "
        "windows, 10 min; *: not comparable, files are absent"
    )
    assert "fitted" not in by_name["prediction_zero_velocity_all"].caption
    text: Any = fitted.text
    assert list(text.columns) == ["80 ms", "400 ms"]
    assert list(text.index) == ["walk", "jump", "kick *", "average *", "average, comparable"]
    assert list(text.loc["walk"]) == ["3.0 (2.0, +50.0 %)", "30.0 (40.0, -25.0 %)"]
    assert "(" in text.loc["jump", "80 ms"]
    assert float(text.loc["jump", "400 ms"]) == 100
    assert float(text.loc["kick *", "80 ms"]) == 6


def test_a_choice_with_a_blank_in_its_name_makes_a_name_of_a_section() -> None:
    of = replace(protocol(), dataset=Drawn())
    table = prediction.table(errors("ltd", MOTION), of, [], [])
    table["windows"] = table["windows"].replace("few", "8 windows")
    names = [section.name for section in prediction.sections(table.assign(status="done"))]
    assert names == ["prediction_ltd_all", "prediction_ltd_8_windows"]


def test_the_note_of_a_table_without_intervals_promises_none(tmp_path: Path) -> None:
    of = protocol(published({"walk": [2, 40]}))
    built = found.build(errors("ltd", MOTION), of, FITS, "motion")
    found.write(built, tmp_path)
    for suffix in ("md", "tex"):
        text = (tmp_path / f"prediction.{suffix}").read_text()
        assert "in brackets: somebody, 2019" in text
        assert "interval" not in text


def test_results_have_the_table_of_forecasts_alone() -> None:
    values = errors("ltd", MOTION)
    imputed = errors("", {name: [77.0] * 3 for name in MOTION}).assign(horizon_ms=np.nan)
    imputed = imputed.assign(mechanism="features", level="3", model="mean")
    built = found.build(pd.concat([values, imputed]), resolve(TINY), [], "motion")
    assert set(built.prediction["predictor"]) == {"ltd"}
    assert 77 not in set(built.prediction["value"])
