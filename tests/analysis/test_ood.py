"""Detection of degraded windows, compared with scikit-learn and by hand."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from bench.analysis import ood, statistics

RANKED = ["auroc", "aupr", "fpr95"]
ENDS = ("low", "high")


def rows(scores: ArrayLike, sources: Sequence[str] | None = None, **labels: object) -> pd.DataFrame:
    """Return clean windows unless labels say differently, of four recordings in turn."""
    values = np.asarray(scores, dtype=np.float64)
    count = len(values)
    table = {
        "dataset": "motion",
        "split": "test",
        "model": "model",
        "inference": "",
        "predictor": "",
        "mechanism": "",
        "level": "0",
        "share": 0.0,
        "seed": 0,
        "window": [f"w{number}" for number in range(count)],
        "source": sources or [f"r{number % 4}" for number in range(count)],
        "metric": "nlp",
        "value": values,
    }
    return pd.DataFrame(table | labels)


def degraded_rows(
    scores: ArrayLike, sources: Sequence[str] | None = None, **labels: object
) -> pd.DataFrame:
    occluded = {"inference": "mean", "mechanism": "random", "level": "30 %", "share": 0.3}
    return rows(scores, sources, **{**occluded, **labels})


def detect(*tables: pd.DataFrame) -> pd.DataFrame:
    return ood.detection(pd.concat(tables, ignore_index=True))


def by_metric(table: pd.DataFrame, column: str = "value") -> "pd.Series[float]":
    return table.set_index("metric")[column]


def expected(clean: NDArray[np.float64], degraded: NDArray[np.float64]) -> list[float]:
    """Return the four metrics, computed independently."""
    truth = np.repeat([0, 1], [len(clean), len(degraded)])
    scores = np.concatenate([clean, degraded])
    threshold = np.sort(clean)[-(-95 * len(clean) // 100) - 1]
    return [
        roc_auc_score(truth, scores),
        average_precision_score(truth, scores),
        float((degraded <= threshold).mean()),
        (degraded.mean() - clean.mean()) / clean.std(ddof=1),
    ]


def drawn(seed: int, ties: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    clean, degraded = rng.normal(0, 2, 60), rng.normal(1, 3, 47)
    return (clean.round(), degraded.round()) if ties else (clean, degraded)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_values_are_those_of_sklearn(seed: int, ties: bool) -> None:
    clean, degraded = drawn(seed, ties)
    table = detect(rows(clean), degraded_rows(degraded))
    assert list(table["metric"]) == list(ood.METRICS)
    assert list(table["value"]) == pytest.approx(expected(clean, degraded))
    assert (table["low"] < table["value"]).all()
    assert (table["value"] < table["high"]).all()
    assert set(table["n"]) == {47}
    assert list(table["share"]) == pytest.approx([0.3] * 4)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("draw", [[4, 0, 0, 0], [1, 1, 1, 1], [0, 2, 1, 1], [0, 0, 3, 1]])
def test_a_draw_weighs_clean_and_degraded_windows_by_recording(
    monkeypatch: pytest.MonkeyPatch, draw: list[int], ties: bool
) -> None:
    clean, degraded = drawn(7, ties)
    monkeypatch.setattr(ood, "resamples", lambda recordings: np.array([draw]))
    table = detect(rows(clean), degraded_rows(degraded))
    weights = [np.array(draw)[np.arange(len(scores)) % 4] for scores in (clean, degraded)]
    truth = np.repeat([0, 1], [len(clean), len(degraded)])
    scores, weight = np.concatenate([clean, degraded]), np.concatenate(weights)
    repeated = expected(np.repeat(clean, weights[0]), np.repeat(degraded, weights[1]))
    assert list(table["low"]) == pytest.approx(repeated)
    assert list(table["high"]) == pytest.approx(repeated)
    weighted = [
        roc_auc_score(truth, scores, sample_weight=weight),
        average_precision_score(truth, scores, sample_weight=weight),
    ]
    assert list(table["low"][:2]) == pytest.approx(weighted)


def test_the_interval_is_of_resampled_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = statistics.resamples(4)[:60].astype(int)
    monkeypatch.setattr(ood, "resamples", lambda recordings: draws)
    sides = drawn(3, ties=True)
    table = detect(rows(sides[0]), degraded_rows(sides[1]))
    repeated = [
        expected(*(np.repeat(side, draw[np.arange(len(side)) % 4]) for side in sides))
        for draw in draws
    ]
    low, high = np.percentile(repeated, [2.5, 97.5], axis=0)
    assert list(table["low"]) == pytest.approx(list(low))
    assert list(table["high"]) == pytest.approx(list(high))


def test_constant_scores_are_uninformative() -> None:
    value = by_metric(detect(rows([1.0] * 20), degraded_rows([1.0] * 20)))
    assert list(value[RANKED]) == [0.5, 0.5, 1.0]
    assert np.isnan(value["shift_sd"])


def test_scores_separated_in_either_direction() -> None:
    low, high = np.arange(20.0), np.arange(20.0) + 100
    right = detect(rows(low), degraded_rows(high))
    for column in ("value", "low", "high"):
        assert list(by_metric(right, column)[RANKED]) == [1, 1, 0]
    wrong = by_metric(detect(rows(high), degraded_rows(low)))
    assert list(wrong[["auroc", "fpr95"]]) == [0, 1]
    assert wrong["aupr"] < 0.5
    assert wrong["shift_sd"] < -1


def test_the_threshold_accepts_19_of_20_and_ties_with_them() -> None:
    clean = np.arange(20.0)
    value = by_metric(detect(rows(clean), degraded_rows([17.5, 18.0, 18.1, 19.0])))
    assert value["fpr95"] == 0.5


def test_a_larger_elbo_is_more_normal() -> None:
    clean, degraded = drawn(0, ties=False)
    table = detect(
        rows(clean),
        degraded_rows(degraded),
        rows(-clean, metric="elbo"),
        degraded_rows(-degraded, metric="elbo"),
    )
    nlp, elbo = (table[table["score"] == score] for score in ("nlp", "negative_elbo"))
    pd.testing.assert_frame_equal(
        nlp.drop(columns="score").reset_index(drop=True),
        elbo.drop(columns="score").reset_index(drop=True),
    )


def test_seeds_are_averaged_not_pooled() -> None:
    pairs = [drawn(seed, ties=True) for seed in range(2)]
    tables = []
    for seed, (clean, degraded) in enumerate(pairs):
        tables.append(rows(clean + 1000 * seed, seed=seed))
        tables.append(degraded_rows(degraded + 1000 * seed, seed=seed))
    table = detect(*tables)
    assert list(table["value"]) == pytest.approx(np.mean([expected(*pair) for pair in pairs], 0))
    assert set(table["seeds"]) == {2}
    assert set(table["n"]) == {47}


def test_a_draw_weighs_seeds_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every recording once, the second of three seeds twice, the third not at all."""
    pairs = [drawn(seed, ties=False) for seed in range(3)]
    tables = [
        side(scores, seed=seed)
        for seed, pair in enumerate(pairs)
        for side, scores in zip((rows, degraded_rows), pair, strict=True)
    ]
    draws = {4: [[1, 1, 1, 1]], 3: [[1, 2, 0]]}
    monkeypatch.setattr(ood, "resamples", lambda count, stream=0: np.array(draws[count]))
    table = detect(*tables)
    by_seed = np.array([expected(*pair) for pair in pairs])
    assert list(table["value"]) == pytest.approx(list(by_seed.mean(axis=0)))
    assert list(table["low"]) == pytest.approx(list((by_seed[0] + 2 * by_seed[1]) / 3))


def test_a_seed_without_clean_windows_is_left_out() -> None:
    clean, degraded = drawn(0, ties=False)
    kept = [rows(clean), degraded_rows(degraded)]
    alone = degraded_rows(degraded - 50, seed=1)
    pd.testing.assert_frame_equal(detect(*kept, alone), detect(*kept))
    assert detect(kept[0], alone).empty


def test_only_degraded_test_windows_and_scores_count() -> None:
    clean, degraded = drawn(0, ties=False)
    kept = [rows(clean), degraded_rows(degraded)]
    others = [
        degraded_rows(clean - 9, inference="map"),
        degraded_rows(clean - 9, metric="mse"),
        degraded_rows(clean - 9, split="valid"),
        rows(clean - 9, split="valid"),
    ]
    pd.testing.assert_frame_equal(detect(*others, *kept), detect(*kept))


def test_rows_keep_the_order_of_the_values() -> None:
    clean, degraded = drawn(0, ties=False)
    table = detect(
        degraded_rows(degraded, mechanism="noise", inference="", share=np.nan, level="strong"),
        degraded_rows(degraded, mechanism="noise", inference="", share=np.nan, level="mild"),
        rows(clean),
        rows(clean, model="detector", metric="distance"),
        rows(clean, metric="nlp_z1"),
        degraded_rows(degraded, metric="nlp_z1"),
        degraded_rows(degraded, model="detector", metric="distance"),
    )
    assert list(table.columns) == ood.COLUMNS
    found = table[ood.CONDITION].drop_duplicates().itertuples(index=False, name=None)
    assert list(found) == [
        ("model", "nlp", "noise", "strong"),
        ("model", "nlp", "noise", "mild"),
        ("model", "nlp_z1", "random", "30 %"),
        ("detector", "distance", "random", "30 %"),
    ]
    assert table["share"].isna().sum() == 8


def test_windows_of_another_data_set_are_resampled_separately() -> None:
    means = np.arange(8.0)
    own, foreign = [f"r{number}" for number in range(8)], [f"x{number}" for number in range(8)]
    apart = detect(rows(means, own), degraded_rows(means, foreign))
    assert by_metric(apart, "low")["auroc"] < 0.4
    assert by_metric(apart, "high")["auroc"] > 0.6
    paired = detect(rows(means, own), degraded_rows(means, own))
    for end in ENDS:
        assert by_metric(paired, end)["auroc"] == 0.5


def test_overlapping_windows_do_not_narrow_the_interval() -> None:
    clean, degraded = (scores[:20] for scores in drawn(1, ties=False))

    def interval(copies: int) -> list[float]:
        names = [f"r{number % 10}" for number in range(20 * copies)]
        table = detect(
            rows(np.tile(clean, copies), names), degraded_rows(np.tile(degraded, copies), names)
        )
        return [by_metric(table, end)["auroc"] for end in ENDS]

    assert interval(10) == pytest.approx(interval(1))


@pytest.mark.parametrize("alone", ["clean", "degraded"])
def test_one_recording_on_either_side_has_no_interval(alone: str) -> None:
    clean, degraded = drawn(0, ties=False)
    one = {alone: ["r0"] * len(clean if alone == "clean" else degraded)}
    table = detect(rows(clean, one.get("clean")), degraded_rows(degraded, one.get("degraded")))
    assert list(table["value"]) == pytest.approx(expected(clean, degraded))
    assert table[["low", "high"]].isna().all(axis=None)


def test_scores_that_are_nan_are_refused() -> None:
    with pytest.raises(ValueError, match="nan"):
        detect(rows([1.0, np.nan]), degraded_rows([1.0, 2.0]))


def test_no_scores_give_no_rows() -> None:
    table = ood.detection(rows([1.0], metric="mse"))
    assert list(table.columns) == ood.COLUMNS
    assert ood.detection_levels(table).empty
    assert list(ood.detection_levels(table).columns) == ood.LEVEL_COLUMNS


def test_the_smallest_share_detected() -> None:
    clean = np.random.default_rng(0).normal(0, 1, 40)
    shifts = {"60 %": 5.0, "10 %": 0.2, "30 %": 2.0}
    tables = [rows(clean), rows(clean, metric="nlp_z0"), rows(clean, metric="nlp_z1")]
    for level, shift in shifts.items():
        share = float(level.split()[0]) / 100
        for metric, sign in (("nlp", 1), ("nlp_z0", -1), ("nlp_z1", 0)):
            shifted = clean + sign * shift
            tables.append(degraded_rows(shifted, metric=metric, level=level, share=share))
    corrupted = {"mechanism": "noise", "inference": "", "level": "mild"}
    tables += [
        degraded_rows(clean + 9, **corrupted, share=np.nan),
        degraded_rows(clean + 9, **corrupted, share=0.0),
    ]
    table = detect(*tables)
    levels = ood.detection_levels(table).set_index("score")
    assert set(levels["mechanism"]) == {"random"}
    assert list(levels.index) == ["nlp", "nlp_z0", "nlp_z1"]
    columns = ["level", "share", "direction", "tried"]
    assert list(levels.loc["nlp", columns]) == ["30 %", pytest.approx(0.3), "below", 3]
    assert list(levels.loc["nlp_z0", columns]) == ["30 %", pytest.approx(0.3), "above", 3]
    for score, sign in (("nlp", 1), ("nlp_z0", -1)):
        auroc = expected(clean, clean + sign * 2.0)[0]
        assert levels.loc[score, "auroc"] == pytest.approx(auroc)
    assert list(levels.loc["nlp_z1", ["level", "direction", "tried"]]) == ["", "", 3]
    assert levels.loc["nlp_z1", ["share", "auroc"]].isna().all()


few_scores = st.lists(st.integers(-9, 9), min_size=2, max_size=12)


@settings(max_examples=20, deadline=None)
@given(clean=few_scores, degraded=few_scores)
def test_only_the_order_of_scores_matters(clean: list[int], degraded: list[int]) -> None:
    plain, bent = (
        detect(rows(bend(np.array(clean))), degraded_rows(bend(np.array(degraded))))
        for bend in (np.positive, np.exp)
    )
    ranked = plain["metric"].isin(RANKED)
    pd.testing.assert_frame_equal(plain[ranked], bent[ranked])
    for column in ("value", "low", "high"):
        assert plain.loc[ranked, column].between(0, 1).all()
    wins = [np.sign(high - low) for low in clean for high in degraded]
    assert by_metric(plain)["auroc"] == pytest.approx((np.mean(wins) + 1) / 2)
    turned = detect(rows(degraded), degraded_rows(clean))
    assert by_metric(turned)["auroc"] == pytest.approx(1 - by_metric(plain)["auroc"])
