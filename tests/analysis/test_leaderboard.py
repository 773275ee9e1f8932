"""Imputers compared over conditions: by hand, by invariants, and what is refused."""

import doctest
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import bench
from bench.analysis import comparable, loading, statistics
from bench.analysis.records import COLUMNS
from bench.core.errors import InputError
from bench.sweep import jobs, times
from tests.conftest import PROJECT

NAMES = ["linear", "mean", "vae map", "zero"]
LEVELS = [("features", "10%"), ("features", "50%"), ("gaps", "1 s")]
OCCLUSION = PROJECT / "results" / "reference" / "occlusion"


def records(errors: dict[str, Any], **changed: Any) -> pd.DataFrame:
    """Return records of errors per imputer: ``(condition,)`` or ``(condition, seed)``, nan: none.

    Conditions are ``LEVELS``.
    """
    rows = []
    for name, values in errors.items():
        model, _, inference = name.partition(" ")
        means = np.asarray(values, dtype=np.float64)
        for (condition, seed), value in np.ndenumerate(means.reshape(len(means), -1)):
            if not np.isnan(value):
                mechanism, level = LEVELS[condition]
                rows.append((model, inference, mechanism, level, seed, value))
    table = pd.DataFrame(
        rows, columns=["model", "inference", "mechanism", "level", "seed", "value"]
    ).assign(dataset="cmu", split="test", predictor="", share=0.1, metric="mse", n=4, status="done")
    return table.assign(**changed).reindex(columns=COLUMNS)


def unfinished(name: str, condition: int, status: str = "failed", seed: int = 0) -> pd.DataFrame:
    """Return the row of a cell without values."""
    row = records({name: [1.0]}, metric="", value=np.nan, n=0, share=np.nan, status=status)
    return row.assign(mechanism=LEVELS[condition][0], level=LEVELS[condition][1], seed=seed)


def board(table: pd.DataFrame, **settings: Any) -> Any:
    """Return the leaderboard by name of imputer."""
    found = bench.leaderboard(table, **settings)
    names = [comparable.name_of(*row) for row in found[["model", "inference"]].to_numpy()]
    return found.set_index(pd.Index(names))


def windows(errors: NDArray[np.float64], names: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return windows and their records of ``(imputer, condition, seed, window)`` errors.

    Every two windows are of one recording.
    """
    rows = []
    for (imputer, condition, seed, window), value in np.ndenumerate(errors):
        model, _, inference = names[imputer].partition(" ")
        place = (model, inference, *LEVELS[condition], seed, f"w{window}", f"r{window // 2}")
        rows.append((*place, value))
    columns = ["model", "inference", "mechanism", "level", "seed", "window", "source", "value"]
    table = pd.DataFrame(rows, columns=columns).assign(
        dataset="cmu", split="test", predictor="", metric="mse", share=0.1
    )
    means = dict(zip(names, errors.mean(axis=-1), strict=True))
    return table, records(means, n=errors.shape[-1])


@st.composite
def errors(draw: st.DrawFn) -> dict[str, NDArray[np.float64]]:
    """Draw errors of four imputers at three conditions and two seeds, some absent, some equal."""
    value = st.sampled_from([0.0, 1.0, 2.0, 1e-3, 50.0, 1e6, np.inf]) | st.floats(1e-6, 1e6)
    found = {
        name: np.array(draw(st.lists(value, min_size=6, max_size=6))).reshape(3, 2)
        for name in NAMES
    }
    for name, place in product(NAMES[1:], range(6)):
        if draw(st.integers(0, 5)) == 0:
            found[name].flat[place] = np.nan
    return found


def test_a_small_table_by_hand() -> None:
    found = board(records({"linear": [1, 2, 4], "mean": [2, 2, 1], "vae map": [4, 1, 16]}))
    ratio = {"linear": 1.0, "mean": (2 * 1 * 0.25) ** (1 / 3), "vae map": (4 * 0.5 * 4) ** (1 / 3)}
    for name, expected in ratio.items():
        assert found.loc[name, "skill"] == pytest.approx(1 - expected)
    # linear: beats mean once and ties once; beats vae twice. mean: also beats vae twice.
    wins = {"linear": 1.5 + 2, "mean": 1.5 + 2, "vae map": 1 + 1}
    ranks = {"linear": (1 + 2.5 + 2) / 3, "mean": (2 + 2.5 + 1) / 3, "vae map": (3 + 1 + 3) / 3}
    for name in ratio:
        assert found.loc[name, "win_rate"] == pytest.approx(wins[name] / 6)
        assert found.loc[name, "mean_rank"] == pytest.approx(ranks[name])
    assert list(found.index) == ["mean", "linear", "vae map"]
    assert (found[["conditions", "missing", "failures"]] == [3, 0, 0]).all(axis=None)


def test_pairs_by_hand() -> None:
    found = bench.pairwise(records({"linear": [1, 2, 4], "mean": [2, 2, np.nan]}))
    pair = found.loc[("mean", "linear")]
    assert pair["win_rate"] == 0.25
    assert pair["skill"] == pytest.approx(1 - 2**0.5)
    assert pair["conditions"] == 2
    matrix = found["win_rate"].unstack(sort=False)
    assert matrix.loc["linear", "mean"] == 0.75
    assert list(matrix.index) == list(matrix.columns) == ["linear", "mean"]


def test_seeds_are_averaged_before_ratios_and_only_common_ones_count() -> None:
    table = records({"linear": [[1, 3]], "mean": [[2, 8]], "zero": [[np.nan, 6]]})
    found = board(table)
    assert found.loc["mean", "skill"] == pytest.approx(1 - 10 / 4)
    assert found.loc["zero", "skill"] == pytest.approx(1 - 6 / 3)
    # At the seed that both have, zero is better than mean.
    assert found.loc["zero", "mean_rank"] == 2


def test_ratios_are_clipped() -> None:
    found = board(records({"linear": [1, 1, 1], "mean": [1e-9, 0, 1], "zero": [1e9, np.inf, 1]}))
    assert found.loc["mean", "skill"] == pytest.approx(1 - (1e-2 * 1e-2) ** (1 / 3))
    assert found.loc["zero", "skill"] == pytest.approx(1 - (1e2 * 1e2) ** (1 / 3))


def test_one_comparison_per_mechanism_or_condition() -> None:
    table = records({"linear": [1, 2, 4], "mean": [2, 2, 1], "zero": [3, 3, np.nan]})
    for key in ("mechanism", ["mechanism", "level"]):
        found = bench.leaderboard(table, by=key)
        for group, part in found.groupby(key):
            chosen = dict(zip(np.atleast_1d(key), np.atleast_1d(np.array(group)), strict=True))
            rows = (table[list(chosen)] == pd.Series(chosen)).all(axis=1)
            alone = board(table[rows])
            for row in part[part["conditions"] > 0].to_dict("records"):
                assert row["skill"] == pytest.approx(alone.loc[row["model"], "skill"])
                assert row["win_rate"] == alone.loc[row["model"], "win_rate"]
    absent = found[(found["mechanism"] == "gaps") & (found["model"] == "zero")].iloc[0]
    assert np.isnan(absent["skill"])
    assert (absent["conditions"], absent["missing"]) == (0, 1)


def test_what_failed_is_counted() -> None:
    table = records({"linear": [[1, 1]] * 3, "mean": [[2, 2], [2, 2], [2, np.nan]]})
    parts = [table, unfinished("mean", 2, seed=1), unfinished("vae map", 0, "skipped")]
    # Counted once, though a second run has the row too; not counted if another run has the value.
    parts += [unfinished("mean", 2, seed=1), unfinished("linear", 0)]
    # Cells that only score, and degraded windows, complete nothing.
    noise = unfinished("vae map", 0).assign(mechanism="noise")
    found = board(pd.concat([*parts, noise, unfinished("vae mean", 0)]))
    assert found["failures"].to_dict() == {"linear": 0, "mean": 1, "vae map": 1}
    assert found["conditions"].to_dict() == {"linear": 3, "mean": 3, "vae map": 0}
    assert found.loc["vae map", "missing"] == 3


@given(errors())
@settings(max_examples=15, deadline=None)
def test_invariants(drawn: dict[str, NDArray[np.float64]]) -> None:
    table = records(drawn)
    found, pairs = board(table), bench.pairwise(table)
    assert (found.loc["linear", ["skill", "skill_low", "skill_high"]] == 0).all()
    assert found["skill"].dropna().between(1 - 100 - 1e-9, 1 - 1e-2 + 1e-9).all()
    for one, other in product(found.index, found.index):
        pair, mirrored = pairs.loc[(one, other)], pairs.loc[(other, one)]
        if pair["conditions"]:
            assert pair["win_rate"] + mirrored["win_rate"] == pytest.approx(1)
            assert (1 - pair["skill"]) * (1 - mirrored["skill"]) == pytest.approx(1)
        if other == "linear":
            np.testing.assert_equal(pair["skill"], found.loc[one, "skill"])
            assert pair["conditions"] == found.loc[one, "conditions"]
    shuffled = table.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(bench.leaderboard(shuffled), bench.leaderboard(table))
    pd.testing.assert_frame_equal(bench.pairwise(shuffled), pairs)


@given(errors())
@settings(max_examples=20, deadline=None)
def test_measures_agree_with_loops(drawn: dict[str, NDArray[np.float64]]) -> None:
    found = board(records(drawn))
    for name in found.index:
        ratios, wins, ranks = [], [], []
        for condition in range(3):
            rank = 1.0
            for other in found.index:
                pairs = list(zip(drawn[name][condition], drawn[other][condition], strict=True))
                common = np.array([pair for pair in pairs if not np.isnan(pair).any()])
                if not len(common):
                    continue
                mine, theirs = np.minimum(common, 1e150).mean(axis=0)
                won = 0.5 if np.isclose(mine, theirs, rtol=1e-9, atol=0) else float(mine < theirs)
                if other == "linear":
                    tied = mine == theirs
                    ratios.append(1 if tied else min(100, max(0.01, mine / max(theirs, 1e-300))))
                if other != name:
                    wins.append(won)
                    rank += 1 - won
            if not np.isnan(drawn[name][condition]).all():
                ranks.append(rank)
        if ratios:
            expected = 1 - np.prod(np.array(ratios) ** (1 / len(ratios)))
            assert found.loc[name, "skill"] == pytest.approx(expected, abs=1e-9)
        if wins:
            assert found.loc[name, "win_rate"] == pytest.approx(np.mean(wins))
        assert found.loc[name, "mean_rank"] == pytest.approx(np.mean(ranks))


def test_intervals_over_conditions_are_those_of_a_loop() -> None:
    logs = np.log([2, 1, 0.25])
    found = board(records({"linear": [1, 2, 4], "mean": [2, 2, 1]}))
    draws = np.array([1 - np.exp(w @ logs / 3) for w in statistics.resamples(3)])
    low, high = np.percentile(draws, [2.5, 97.5])
    assert found.loc["mean", "skill_low"] == pytest.approx(low)
    assert found.loc["mean", "skill_high"] == pytest.approx(high)
    one = board(records({"linear": [1], "mean": [2]}))
    assert one[["skill_low", "win_rate_high", "mean_rank_low"]].isna().all(axis=None)


def test_intervals_over_recordings_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.lognormal(size=(3, 2, 2, 10))
    values, table = windows(drawn, ["linear", "mean", "vae map"])
    found = board(table, windows=values.sample(frac=1, random_state=1))
    assert found["skill"].equals(board(table)["skill"])
    recording = drawn.reshape(3, 2, 2, 5, 2).mean(axis=-1)
    skills, ranks = [], []
    for weight, seeds in zip(
        statistics.resamples(5), statistics.resamples(2, statistics.SEED_STREAM), strict=True
    ):
        means = np.einsum("icsr,s,r->ic", recording, seeds, weight) / 10
        skills.append(1 - np.exp(np.log(means[1] / means[0]).mean()))
        ranks.append((1 + (means[0] < means[1]) + (means[2] < means[1])).mean())
    for name, draws in (("skill", skills), ("mean_rank", ranks)):
        low, high = np.percentile(draws, [2.5, 97.5])
        assert found.loc["mean", f"{name}_low"] == pytest.approx(low)
        assert found.loc["mean", f"{name}_high"] == pytest.approx(high)
    pairs = bench.pairwise(table, windows=values)
    assert pairs.loc[("mean", "linear"), "skill_low"] == pytest.approx(
        found.loc["mean", "skill_low"]
    )


def test_intervals_over_recordings_need_one_condition_but_two_recordings() -> None:
    values, table = windows(np.arange(1.0, 17).reshape(2, 1, 1, 8), ["linear", "mean"])
    found = board(table, windows=values)
    assert found.loc["mean", "skill_low"] < found.loc["mean", "skill"]
    alone = board(table, windows=values.assign(source="r0"))
    assert alone[["skill_low", "skill_high"]].isna().all(axis=None)


BASE = {"linear": [1.0, 2.0, 4.0], "mean": [2.0, 2.0, 1.0]}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (records({"zero": [1.0]}, dataset="h36m"), "dataset is cmu and h36m"),
        (records({"zero": [1.0]}, split="valid"), "split is test and valid"),
        (records({"zero": [1.0]}, n=5), "number of windows at features 10%, seed 0 is 4 and 5"),
        (records({"zero": [1.0]}, share=0.2), "share hidden at features 10%, seed 0"),
        (records({"mean": [2.1]}), "mean has two errors at features 10%, seed 0, 2 and 2.1"),
        (records({"zero": [-1.0]}), "negative"),
    ],
)
def test_what_cannot_be_mixed_is_refused(more: pd.DataFrame, message: str) -> None:
    table = pd.concat([records(BASE), more])
    for compare in (bench.leaderboard, bench.pairwise):
        with pytest.raises(InputError, match=message):
            compare(table)


def test_the_same_imputer_of_two_runs_counts_once() -> None:
    table = pd.concat([records(BASE), records({"linear": BASE["linear"], "zero": [9.0, 9, 9]})])
    alone = records({**BASE, "zero": [9.0, 9, 9]})
    pd.testing.assert_frame_equal(bench.leaderboard(table), bench.leaderboard(alone))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reference": "liner"}, "no imputer liner.*did you mean 'linear'"),
        ({"metric": "coverage90"}, "not compared by coverage90"),
        ({"metric": "mpjpe"}, "no imputer has a value of mpjpe"),
        ({"by": "seed"}, "conditions have no seed"),
    ],
)
def test_unknown_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        bench.leaderboard(records(BASE), **settings)


def test_a_reference_without_values_somewhere_is_refused() -> None:
    table = records({"linear": [1.0, np.nan, np.nan], "mean": [1.0, 1.0, 1.0]})
    with pytest.raises(InputError, match=r"linear has no value at features 50% and 1 more"):
        bench.leaderboard(table)
    # Where everything failed there is nothing to compare, which is not passed over.
    table = pd.concat([records({"linear": [1.0], "mean": [1.0]}), unfinished("linear", 2)])
    with pytest.raises(InputError, match="linear has no value at gaps 1 s;"):
        bench.leaderboard(table)


def test_windows_of_another_run_are_refused() -> None:
    values, table = windows(np.arange(1.0, 17).reshape(2, 1, 1, 8), ["linear", "mean"])
    for other in (values.assign(value=1.0), values[values["window"] != "w0"], values.head(8)):
        with pytest.raises(InputError, match="not those of the records"):
            bench.leaderboard(table, windows=other)


def test_names_of_modules_that_load_torch() -> None:
    assert comparable.DEGRADED == jobs.DEGRADED
    assert loading.TIMES == times.TIMES


def test_results_are_compared_without_torch() -> None:
    script = f"""
import sys, bench
assert not {{"torch", "pandas", "matplotlib"}} & set(sys.modules)
records = bench.load({str(OCCLUSION)!r})
bench.leaderboard(records), bench.pairwise(records), bench.plot(records, "mechanisms")
assert "torch" not in sys.modules and set(bench.__all__) <= set(dir(bench))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_examples_of_the_page_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    page = (PROJECT / "docs" / "notebook.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for one in doctest.DocTestParser().get_examples(page.replace("```", "\n")):
        exec(one.source, names)
    assert len(names["board"]) > 5
    assert names["wins"].shape[0] > 3


def test_several_runs_are_loaded_with_their_times(tmp_path: Path) -> None:
    for name, seconds in (("one", "0.5"), ("two", "")):
        (tmp_path / name).mkdir()
        records(BASE).to_parquet(tmp_path / name / "records.parquet")
        (tmp_path / name / "times.csv").write_text(
            "dataset,task,model,inference,predictor,mechanism,level,seed,seconds\n"
            "cmu,fit,mean,,,,,0,9\n"
            f"cmu,impute,mean,,,gaps,1 s,0,{seconds}\n"
        )
    found = bench.load(tmp_path / "one", str(tmp_path / "two"))
    assert found["run"].value_counts().to_dict() == dict.fromkeys(
        [str(tmp_path / "one"), str(tmp_path / "two")], 6
    )
    (timed,) = found[found["seconds"].notna()].to_dict("records")
    assert (timed["model"], timed["level"], timed["seconds"]) == ("mean", "1 s", 0.5)
    with pytest.raises(InputError, match="no records of a run"):
        bench.load(tmp_path)


def test_figures_show_what_there_is() -> None:
    table = records({**BASE, "zero": [9, 9, np.nan]})
    (axis,) = bench.plot(table, "skill").axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["mean", "linear", "zero"]
    assert [bar.get_width() for bar in axis.patches] == list(bench.leaderboard(table)["skill"])
    heat = bench.plot(table, "mechanisms").axes[0]
    image = np.ma.filled(heat.collections[0].get_array(), np.nan)
    assert np.isnan(image).sum() == 1
    assert image.shape == (3, 2)
    with pytest.raises(InputError, match="no times"):
        bench.plot(table, "pareto")
    with pytest.raises(InputError, match="figure: no skil "):
        bench.plot(table, "skil")
    timed = table.assign(seconds=table["model"].map({"linear": 0.4, "mean": 0.8, "zero": 1.2}))
    (axis,) = bench.plot(timed, "pareto").axes
    (front,) = [line for line in axis.lines if line.get_drawstyle() == "steps-post"]
    places = [x for line in axis.lines if line is not front for x in line.get_xdata()]
    np.testing.assert_allclose(places, [100, 200, 300])
    np.testing.assert_allclose(front.get_xdata(), [100, 200])  # zero is slower and worse


def test_a_protocol_runs_from_python(tmp_path: Path) -> None:
    protocol = {
        "dataset": {"name": "synthetic", "subjects": 4, "seconds": 3.5, "stride": 10},
        "models": {"mean": {}, "linear": {}, "zero": {}},
        "occlusion": {"features": {"levels": ["10%"]}},
    }
    settings: dict[str, Any] = {"set": {"occlusion.features.levels": ["10%", "50%"]}}
    folder = bench.run(protocol, only=["mean", "linear"], limit=4, results=tmp_path, **settings)
    found = board(bench.load(folder))
    assert set(found.index) == {"mean", "linear"}
    assert (found["conditions"] == 2).all()
    values = pd.read_parquet(folder / "windows.parquet")
    assert board(bench.load(folder), windows=values)["skill"].equals(found["skill"])
    assert protocol["occlusion"] == {"features": {"levels": ["10%"]}}
    with pytest.raises(AttributeError):
        bench.nothing  # noqa: B018
