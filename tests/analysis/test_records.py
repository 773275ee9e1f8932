"""Comparisons, paired tests and changes on tables small enough to compute by hand."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.analysis import records, results, statistics, tables
from bench.protocol.resolving import resolve
from bench.protocol.schema import Comparison
from bench.sweep.jobs import Cell
from tests.conftest import TINY

SOURCES = ("a", "a", "b", "c", "d", "e")


def errors(
    model: str, values: Sequence[float], sources: Sequence[str] = SOURCES, **labels: Any
) -> pd.DataFrame:
    """Return a cell's squared errors, one window each, of the recordings in turn."""
    table = {
        "dataset": "motion",
        "split": "test",
        "model": model,
        "inference": "",
        "predictor": "",
        "mechanism": "features",
        "level": "10%",
        "share": 0.1,
        "seed": 0,
        "window": [f"w{number}" for number in range(len(values))],
        "source": list(sources[: len(values)]),
        "action": "walk",
        "horizon_ms": np.nan,
        "metric": "mse",
        "value": [float(value) for value in values],
    }
    return pd.DataFrame(table | labels).reindex(columns=records.WINDOW_COLUMNS, fill_value="")


def joined(*parts: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True)


def by_level(table: pd.DataFrame, column: str) -> dict[str, Any]:
    return dict(zip(table["level"], table[column], strict=True))


def flips(difference: Sequence[float], sources: Sequence[str] = SOURCES) -> float:
    """Return the p of all sign flips of whole recordings, computed independently."""
    sums: dict[str, float] = {}
    for value, source in zip(difference, sources, strict=False):
        sums[source] = sums.get(source, 0.0) + value
    parts = list(sums.values())
    flipped = [
        abs(sum(sign * part for sign, part in zip(signs, parts, strict=True)))
        for signs in product((1, -1), repeat=len(parts))
    ]
    return float(np.mean([total >= flipped[0] - 1e-9 for total in flipped]))


ZEROS = Comparison(model="zero", against="wrong")


def test_a_comparison_is_the_change_of_the_mean_error_at_each_level() -> None:
    values = joined(
        errors("zero", [1, 2, 3]),
        errors("wrong", [10, 10, 10]),
        errors("other", [7, 7, 7]),
        errors("zero", [30, 10, 20], level="50%", share=0.5),
        errors("wrong", [20, 10, 10], level="50%", share=0.5),
    )
    table = records.compare(values, ZEROS)
    assert list(table.columns) == [*records.CONDITION, *records.SUMMARY]
    assert by_level(table, "value") == pytest.approx({"10%": -80, "50%": 50})
    assert by_level(table, "share") == pytest.approx({"10%": 0.1, "50%": 0.5})
    assert set(table["mechanism"]) == {"features"}
    assert set(table["n"]) == {3}
    assert set(table["seeds"]) == {1}


def test_a_comparison_pairs_windows_whatever_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = errors("zero", [1, 4, 9, 16]), errors("wrong", [10, 20, 30, 40])
    # One draw: recording a twice, b twice, c not at all. Windows 0 and 1 are of a, 2 of b.
    monkeypatch.setattr(statistics, "resamples", lambda count: np.array([[2, 2, 0]]))
    for mixed in (other, other.iloc[::-1], other.iloc[[2, 0, 3, 1]]):
        (row,) = records.compare(joined(one, mixed), ZEROS).itertuples()
        assert row.value == pytest.approx(100 * (30 / 100 - 1))
        drawn = 100 * ((1 + 4 + 9) / (10 + 20 + 30) - 1)
        assert (row.low, row.high) == pytest.approx((drawn, drawn))


def test_a_comparison_averages_a_window_over_seeds_first() -> None:
    values = joined(
        errors("zero", [1, 2]),
        errors("zero", [3, 6], seed=1),
        errors("wrong", [10, 10]),
        errors("wrong", [30, 10], seed=1),
    )
    (row,) = records.compare(values, ZEROS).itertuples()
    assert row.value == pytest.approx(100 * ((2 + 4) / (20 + 10) - 1))
    assert (row.n, row.seeds) == (2, 2)


def test_a_comparison_takes_the_inference_it_names_against_no_inference() -> None:
    values = joined(
        errors("net", [5, 5], inference="map"),
        errors("net", [1, 1], inference="far"),
        errors("wrong", [10, 10]),
        errors("wrong", [1000, 1000], inference="map"),
    )
    chosen = Comparison(model="net", inference="far", against="wrong")
    assert records.compare(values, chosen)["value"].tolist() == pytest.approx([-90])
    assert records.compare(values, Comparison(model="net", against="wrong")).empty


def test_a_comparison_is_of_squared_error_alone_and_needs_both_at_a_level() -> None:
    values = joined(
        errors("zero", [1, 1]),
        errors("wrong", [2, 2]),
        errors("zero", [9, 9], metric="mpjpe"),
        errors("wrong", [1, 1], metric="mpjpe"),
        errors("zero", [1, 1], level="50%"),
        errors("wrong", [1, 1], level="90%"),
        errors("wrong", [1, 1], mechanism="joints", level="10%"),
    )
    table = records.compare(values, ZEROS)
    assert by_level(table, "value") == pytest.approx({"10%": -50})
    assert list(table.columns) == [*records.CONDITION, *records.SUMMARY]


def test_the_best_baseline_is_chosen_at_each_level() -> None:
    near = {"mean": [9, 9, 9, 9, 9, 9], "linear": [1, 2, 1, 2, 1, 2], "net": [1, 1, 2, 3, 1, 1]}
    far = {"mean": [5, 5, 5, 6, 5, 5], "linear": [7, 8, 7, 8, 7, 8], "net": [4, 9, 4, 3, 4, 4]}
    values = joined(
        *(errors(model, error, level="3") for model, error in near.items()),
        *(errors(model, error, level="50%") for model, error in far.items()),
    )
    table = records.paired_tests(values, ["net"], ["mean", "linear"])
    assert by_level(table, "best_baseline") == {"3": "linear", "50%": "mean"}
    expected = [
        flips(np.subtract(near["net"], near["linear"]).tolist()),
        flips(np.subtract(far["net"], far["mean"]).tolist()),
    ]
    assert table["p"].tolist() == pytest.approx(expected)
    assert set(table["model"]) == {"net"}


def test_the_best_baseline_is_best_over_windows_not_over_recordings() -> None:
    # Five windows of one recording and one of another: means over recordings would say linear.
    sources = ("a", "a", "a", "a", "a", "b")
    values = joined(
        errors("mean", [1, 1, 1, 1, 1, 20], sources),
        errors("linear", [6, 6, 6, 6, 6, 6], sources),
        errors("net", [5, 5, 5, 5, 5, 5], sources),
    )
    (row,) = records.paired_tests(values, ["net"], ["mean", "linear"]).itertuples()
    assert row.best_baseline == "mean"
    assert row.p == pytest.approx(flips([4, 4, 4, 4, 4, -15], sources))


def test_p_is_corrected_over_all_imputers_and_conditions() -> None:
    base = [10.0] * 6
    by_cell: Mapping[tuple[str, str], list[float]] = {
        ("net", "3"): [1, 1, 1, 1, 1, 1],
        ("net", "50%"): [1, 1, 1, 1, 1, 99],
        ("zero", "3"): [11, 12, 11, 9, 12, 13],
        ("zero", "50%"): [10, 10, 10, 10, 10, 10],
    }
    values = joined(
        *(errors("mean", base, level=level) for level in ("3", "50%")),
        *(errors(model, error, level=level) for (model, level), error in by_cell.items()),
    )
    table = records.paired_tests(values, ["net", "zero"], ["mean"]).set_index(["model", "level"])
    plain = {key: flips([value - 10 for value in error]) for key, error in by_cell.items()}
    assert plain["net", "3"] == 0.0625  # five recordings cannot say more
    assert plain["zero", "50%"] == 1
    for key, p in plain.items():
        assert table.loc[key, "p"] == pytest.approx(p)
    ordered = sorted(plain.values())
    for key, p in plain.items():
        steps = [(4 - rank) * other for rank, other in enumerate(ordered) if other <= p]
        assert table.loc[key, "p_holm"] == pytest.approx(min(1, max(steps)))


def test_a_test_is_of_each_inference_and_of_what_seeds_average_to() -> None:
    values = joined(
        errors("mean", [10] * 6),
        errors("mean", [10] * 6, seed=1),
        errors("net", [1, 2, 3, 4, 5, 6], inference="map"),
        errors("net", [3, 4, 5, 6, 7, 28], inference="map", seed=1),
        errors("net", [11, 12, 11, 12, 11, 9], inference="far"),
    )
    table = records.paired_tests(values, ["net"], ["mean"]).set_index("inference")
    assert table.loc["map", "p"] == pytest.approx(flips([-8, -7, -6, -5, -4, 7]))
    assert table.loc["far", "p"] == pytest.approx(flips([1, 2, 1, 2, 1, -1]))


def test_without_a_baseline_nothing_is_tested() -> None:
    columns = [*records.IMPUTER, *records.CONDITION, "best_baseline", "p", "p_holm"]
    for baselines in ([], ["linear"]):
        table = records.paired_tests(errors("net", [1, 2, 3]), ["net"], baselines)
        assert table.empty
        assert list(table.columns) == columns
    alone = records.paired_tests(errors("mean", [1, 2, 3]), ["net"], ["mean"])
    assert alone.empty


def test_controls_generative_models_detectors_and_wrong_means_are_no_baselines() -> None:
    assert tables.baselines(resolve(TINY)) == ["mean", "linear"]
    entries = {
        "mean": {"scale": 2.0},
        "true": {"model": "mean", "scale": 1},
        "zero": {},
        "straight": {"model": "linear"},
        "hgvae": {},
        "pca_error": {},
    }
    assert tables.baselines(resolve({**TINY, "models": entries, "comparisons": {}})) == [
        "true",
        "straight",
    ]


def test_controls_and_wrong_means_are_never_the_best_baseline() -> None:
    better = [1.0, 1, 1, 1, 1, 1]
    values = joined(
        errors("mean", [10, 11, 10, 11, 10, 11]),
        errors("linear", [20, 21, 20, 21, 20, 21]),
        errors("zero", better),
        errors("wrong_mean", better),
        errors("untrained", better, inference="map"),
        errors("vae", better, inference="map"),
    )
    table = tables.imputation(values, resolve(TINY))
    tested = table[table["p"].notna()].set_index("model")
    assert set(tested.index) == {"vae"}
    assert set(tested["best_baseline"]) == {"mean"}
    assert set(tested["metric"]) == {"mse"}


def test_changes_are_stated_against_every_reference_that_ran() -> None:
    values = joined(
        errors("mean", [10, 30]),
        errors("linear", [5, 5]),
        errors("net", [4, 4], inference="map"),
        errors("mean", [8, 8], level="50%"),
        errors("net", [10, 10], inference="map", level="50%"),
    )
    keys = [*records.IMPUTER, *records.CONDITION]
    table = records.summarise(values, keys, ["mean", "linear", "absent"])
    assert set(table["metric"]) == {"mse", "change_vs_mean", "change_vs_linear"}
    # One that did not run leaves the numbers of the others numbers.
    kinds = table[records.SUMMARY].dtypes.map(lambda dtype: dtype.kind)
    assert "".join(kinds) == "ffffiii"
    found = table.set_index(["metric", "model", "level"])["value"]
    expected = {
        ("mse", "net", "10%"): 4,
        ("change_vs_mean", "mean", "10%"): 0,
        ("change_vs_mean", "linear", "10%"): -75,
        ("change_vs_mean", "net", "10%"): -80,
        ("change_vs_linear", "mean", "10%"): 300,
        ("change_vs_linear", "linear", "10%"): 0,
        ("change_vs_linear", "net", "10%"): -20,
        ("change_vs_mean", "net", "50%"): 25,
    }
    for key, value in expected.items():
        assert found[key] == pytest.approx(value)
    # Linear did not run at 50 %, hence no change against it at that level.
    assert ("change_vs_linear", "net", "50%") not in found.index


def test_a_change_is_paired_by_window_and_seed_where_seed_is_a_key() -> None:
    two = ("a", "b")
    values = joined(
        errors("mean", [10, 30], two),
        errors("net", [5, 15], two, inference="map").iloc[::-1],
        errors("mean", [100, 300], two, seed=1),
        errors("net", [10, 30], two, inference="map", seed=1).iloc[::-1],
    )
    table = records.summarise(values, [*records.IMPUTER, *records.CONDITION, "seed"], ["mean"])
    change = table[(table["metric"] == "change_vs_mean") & (table["model"] == "net")]
    by_seed = change.set_index("seed")
    assert by_seed["value"].to_dict() == pytest.approx({0: -50, 1: -90})
    # Every window changes by as much, so every resample does; unpaired ones would not.
    assert by_seed["low"].to_dict() == pytest.approx({0: -50, 1: -90})


def test_a_summary_is_the_mean_over_windows_with_an_interval_over_recordings() -> None:
    sources = ("a", "b", "b", "c")
    values = errors("net", [1, 2, 3, 10], sources)
    (row,) = records.summarise(values, [*records.IMPUTER, *records.CONDITION]).itertuples()
    assert row.value == pytest.approx(4)
    sums, counts = np.array([1, 5, 10]), np.array([1, 2, 1])
    draws = statistics.resamples(3)
    low, high = np.percentile((draws @ sums) / (draws @ counts), [2.5, 97.5])
    assert (row.low, row.high) == pytest.approx((low, high))
    assert (row.n, row.seeds) == (4, 1)


def test_each_group_has_the_interval_of_its_own_windows() -> None:
    """Groups of different seeds, recordings and numbers of windows, in any order of rows."""
    rng = np.random.default_rng(3)
    rows = [
        {
            "model": model,
            "metric": "mse",
            "seed": seed,
            "window": f"{source}@{start}",
            "source": source,
            "value": rng.lognormal(),
            "share": rng.random(),
        }
        for model, seeds, sources in (
            ("a", (0, 1, 5), "pqrs"),
            ("b", (2,), "qs"),
            ("c", (0, 7, 9), "wxyz"),
            ("d", (1,), "p"),
        )
        for seed in seeds
        for source in sources
        for start in range(1 + rng.integers(3))
    ]
    table = pd.DataFrame(rows).sample(frac=1, random_state=0)
    found = records.summarise(table, ["model"]).set_index("model")
    assert set(found.index) == set("abcd")
    for model, row in found.iterrows():
        own = table[table["model"] == model]
        columns = np.stack([own["value"], np.ones(len(own))], axis=1)
        expected = statistics.estimate(
            columns, own["source"].to_numpy(str), statistics.mean, own["seed"].to_numpy()
        )
        np.testing.assert_allclose(row[["value", "low", "high"]].astype(float), expected)
        assert row["share"] == pytest.approx(own["share"].mean())
        counts = [own[name].nunique() for name in ("window", "source", "seed")]
        assert row[["n", "recordings", "seeds"]].tolist() == counts


def test_a_summary_does_not_depend_on_windows_of_other_groups() -> None:
    """Whether groups have most windows or few of them, what they have in common is counted so."""
    rng = np.random.default_rng(0)
    few = pd.DataFrame(
        {
            "key": np.repeat(list("abc"), 8),
            "window": [f"w{number}" for number in np.tile(np.arange(8), 3)],
            "source": [f"s{number // 2}" for number in np.tile(np.arange(8), 3)],
            "seed": 0,
            "share": 0.5,
            "metric": "mse",
            "value": rng.gamma(2, 1, 24),
        }
    )
    own = pd.DataFrame({"window": [f"x{number}" for number in range(500)], "source": "other"})
    other = own.assign(key="d", seed=0, share=0.5, metric="mse", value=1.0)
    alone = records.summarise(few, ["key"])
    among = records.summarise(pd.concat([few, other], ignore_index=True), ["key"])
    assert len(few) * records.SPARSE < 4 * 508
    pd.testing.assert_frame_equal(among[among["key"] != "d"], alone)
    assert among[["n", "recordings", "seeds"]].iloc[3].tolist() == [500, 1, 1]


def test_text_as_categories_changes_no_table() -> None:
    rng = np.random.default_rng(5)
    values = joined(
        *(
            errors(model, rng.lognormal(size=6).tolist(), level=level, seed=seed)
            for model in ("zeta", "alpha", "mean")
            for level in ("50%", "10%")
            for seed in (0, 1)
        )
    )
    categories = records.coded(values)
    assert (categories[records.TEXT].dtypes == "category").all()
    pd.testing.assert_frame_equal(records.plain(categories), values)
    keys = [*records.IMPUTER, *records.CONDITION]
    for function in (
        lambda table: records.summarise(table, keys, ["mean"]),
        lambda table: records.summarise(table, ["model"]),
        lambda table: records.paired_tests(table, ["zeta"], ["alpha", "mean"]),
        lambda table: records.leads(table, "mse"),
    ):
        pd.testing.assert_frame_equal(function(categories), function(values), check_exact=True)


def test_cells_in_long_format_are_those_that_melting_gives() -> None:
    wide = {
        "window": ["w1", "w0"],
        "source": ["b", "a"],
        "subject": "s",
        "action": "walk",
        "share": [0.5, 0.25],
    }
    cells = [
        (Cell("1", "", "zeta", 0, "impute", "", "features", "10%"), {"mse": [1.0, 2.0]}),
        (Cell("2", "", "alpha", 1, "forecast"), {"mpjpe@80": [3.0, np.nan], "mse": [5.0, 6.0]}),
        (Cell("3", "", "zeta", 1, "impute", "", "features", "10%"), {"mse": [7.0, 8.0]}),
    ]
    found = records.long([(cell, pd.DataFrame(wide | own)) for cell, own in cells], "motion", "1")
    columns = ["model", "seed", "window", "source", "share", "metric", "horizon_ms", "value"]
    expected = [
        ("zeta", 0, "w1", "b", 0.5, "mse", np.nan, 1.0),
        ("zeta", 0, "w0", "a", 0.25, "mse", np.nan, 2.0),
        ("alpha", 1, "w1", "b", 0.5, "mpjpe", 80.0, 3.0),
        ("alpha", 1, "w1", "b", 0.5, "mse", np.nan, 5.0),
        ("alpha", 1, "w0", "a", 0.25, "mse", np.nan, 6.0),
        ("zeta", 1, "w1", "b", 0.5, "mse", np.nan, 7.0),
        ("zeta", 1, "w0", "a", 0.25, "mse", np.nan, 8.0),
    ]
    pd.testing.assert_frame_equal(found[columns], pd.DataFrame(expected, columns=columns))
    assert list(found) == records.WINDOW_COLUMNS
    assert set(found["dataset"]) == {"motion"}
    assert set(found["fold"]) == {"1"}


def test_values_are_written_as_text(tmp_path: Path) -> None:
    values = errors("zeta", [1, 2, 3])
    results.write_values(records.coded(values), tmp_path)
    written = pd.read_parquet(tmp_path / results.VALUES)
    pd.testing.assert_frame_equal(written, values, check_exact=True)


def test_a_missing_category_is_no_name() -> None:
    column = pd.Categorical(["x", None, "y"])
    with pytest.raises(ValueError, match="action has no value"):
        records.plain(pd.DataFrame({"action": column}))
    known = pd.DataFrame({"action": pd.Categorical(["y", "x", "y"])})
    assert records.plain(known)["action"].tolist() == ["y", "x", "y"]
