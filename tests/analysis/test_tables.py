"""Tables for readers: what their numbers mean, and text that is valid LaTeX and Markdown."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.analysis import records, tables
from bench.analysis.latex import HEAD
from bench.protocol.resolving import resolve
from tests.conftest import TINY

SOURCES = ("a", "b", "b", "c")


def values(model: str, metric: str, numbers: Sequence[float], **labels: Any) -> pd.DataFrame:
    """Return values of clean test windows unless labels say differently."""
    table = {
        "dataset": "motion",
        "split": "test",
        "model": model,
        "inference": "",
        "predictor": "",
        "mechanism": "",
        "level": "0",
        "share": 0.0,
        "seed": 0,
        "window": [f"w{number}" for number in range(len(numbers))],
        "source": SOURCES[: len(numbers)],
        "action": "walk",
        "horizon_ms": np.nan,
        "metric": metric,
        "value": [float(number) for number in numbers],
    }
    return pd.DataFrame(table | labels).reindex(columns=records.WINDOW_COLUMNS, fill_value="")


def quality(*parts: pd.DataFrame, fits: Sequence[dict[str, Any]] = ()) -> pd.DataFrame:
    table = tables.quality(pd.concat(parts, ignore_index=True), resolve(TINY), fits)
    return table.set_index(["model", "metric"])


def test_quality_turns_sums_into_what_its_heading_says() -> None:
    table = quality(
        values("hgvae", "elbo", [2700, 5400, 0, -2700]),
        values("hgvae", "reconstruction_mse", [100, 300, 500, 700]),
        values("hgvae", "action_correct", [1, 1, 1, 0]),
        values("hgvae", "bones_in_range", [0.5, 0.25, 0, 0.25], split="sample"),
        values("hgvae", "bone_excess", [3, 4, 5, 4], split="sample"),
    ).loc["hgvae"]
    assert table["value"].to_dict() == pytest.approx(
        {
            "elbo_per_dimension": 1350 / 2700,  # 50 frames of 18 joints of 3 coordinates
            "reconstruction_rmse": 20.0,  # the root of the mean, not the mean of roots
            "action_accuracy": 75.0,
            "bones_in_range": 25.0,
            "bone_excess": 4.0,
        }
    )
    assert set(table.index) <= set(tables.QUALITY)
    assert set(table["n"]) == {4}
    # Intervals are in the unit of the value.
    assert (table["low"] < table["value"]).all()
    assert (table["value"] < table["high"]).all()
    low, high = table["low"].to_dict(), table["high"].to_dict()
    assert 10 <= low["reconstruction_rmse"] < high["reconstruction_rmse"] <= np.sqrt(700)
    assert 0 <= low["action_accuracy"] < high["action_accuracy"] == 100
    assert -1 <= low["elbo_per_dimension"] < high["elbo_per_dimension"] <= 2


def test_quality_is_of_clean_windows_and_averages_seeds() -> None:
    table = quality(
        values("vae", "elbo", [2700, 2700]),
        values("vae", "elbo", [8100, 8100], seed=1),
        values("vae", "elbo", [-9e9, -9e9], mechanism="noise", level="5 mm"),
        values("vae", "elbo", [-9e9, -9e9], mechanism="features", level="3", inference="mean"),
        values("vae", "nlp", [1, 1]),
    ).loc["vae"]
    assert table["value"].to_dict() == pytest.approx({"elbo_per_dimension": 2})
    assert table["seeds"].to_dict() == {"elbo_per_dimension": 2}


def test_quality_has_parameters_and_seconds_of_its_models() -> None:
    table = quality(
        values("vae", "elbo", [0, 0]),
        values("hgvae", "elbo", [0, 0]),
        fits=[
            {"model": "vae", "parameters": 7, "seconds": 2.0, "seed": 0},
            {"model": "vae", "parameters": 7, "seconds": 4.0, "seed": 1},
            {"model": "hgvae", "parameters": 9, "seconds": 1.0, "seed": 0},
            {"model": "mean", "parameters": 0, "seconds": 0.1, "seed": 0},
        ],
    )
    found = table["value"].to_dict()
    assert found["vae", "parameters"] == 7
    assert found["vae", "fit_seconds"] == pytest.approx(3)
    assert found["hgvae", "parameters"] == 9
    assert "mean" not in table.index.get_level_values("model")


def test_quality_of_nothing_is_nothing() -> None:
    nothing = values("mean", "mse", [1.0], mechanism="features", level="3")
    assert quality(nothing).empty


TEXT = pd.DataFrame(
    {"one_mask 10%": ["1 [0.5, 2]", "-77 % vs wrong_mean"], "50%": ["3", ""]},
    index=["wrong_mean", "hgvae (map_far)"],
)


def written(folder: Path, text: pd.DataFrame, caption: str = "Change, 50 % of it") -> list[str]:
    """Return the Markdown and the LaTeX of a table."""
    section = tables.Section("change_vs_wrong_mean", caption, text)
    tables.write(pd.DataFrame({"x": [1]}), [section], folder, "some_table", "95 % of cmu_2", "cmu")
    return [(folder / f"some_table.{suffix}").read_text() for suffix in ("md", "tex")]


def cells(line: str, separator: str) -> list[str]:
    return [part.strip() for part in re.split(rf"(?<!\\){separator}", line)]


def unescaped(text: str) -> list[str]:
    """Return the characters that LaTeX would interpret, not print."""
    return re.findall(r"(?<!\\)[%_#$]", re.sub(r"\\label\{[^}]*\}", "", text))


def test_latex_escapes_underscores_and_per_cent_signs(tmp_path: Path) -> None:
    _, latex = written(tmp_path, TEXT)
    assert not unescaped(latex.removeprefix(HEAD))
    assert r"\caption{Change, 50 \% of it. 95 \% of cmu\_2}" in latex
    rows = [cells(line.removesuffix(r"\\"), "&") for line in latex.splitlines() if "&" in line]
    assert rows == [
        ["", r"one\_mask 10\%", r"50\%"],
        [r"wrong\_mean", r"\num{1} {\scriptsize [\num{0.5}, \num{2}]}", r"\num{3}"],
        [r"hgvae (map\_far)", r"\num{-77} \% vs wrong\_mean", ""],
    ]


def test_markdown_says_the_same_in_a_table_of_whole_rows(tmp_path: Path) -> None:
    markdown, _ = written(tmp_path, TEXT)
    assert markdown.startswith("# Some table\n\n95 % of cmu_2\n")
    assert "## Change, 50 % of it" in markdown
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    rows = [[part.replace("\\", "") for part in cells(line, r"\|")][1:-1] for line in lines]
    assert rows[0] == ["", "one_mask 10%", "50%"]
    assert rows[2:] == [
        ["wrong_mean", "1 [0.5, 2]", "3"],
        ["hgvae (map_far)", "-77 % vs wrong_mean", ""],
    ]


def test_a_label_with_a_bar_does_not_break_a_markdown_row(tmp_path: Path) -> None:
    markdown, _ = written(tmp_path, TEXT.rename(index={"wrong_mean": "linear | mean"}))
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {len(cells(line, r"\|")) for line in lines} == {5}


@pytest.mark.parametrize("label", ["wrong_mean", "R&D #1 at 50$"])
def test_a_caption_escapes_the_label_of_a_reference(label: str, tmp_path: Path) -> None:
    _, latex = written(tmp_path, TEXT, tables.caption(f"change_vs_{label}"))
    (caption,) = re.findall(r"\\caption\{(.*)\}", latex)
    assert not re.findall(r"(?<!\\)[%_#$&]", caption)
    assert label in caption.replace("\\", "")


def test_the_csv_is_tidy_and_names_its_data(tmp_path: Path) -> None:
    table = pd.DataFrame({"model": ["a_b", "c"], "value": [1.5, np.nan]})
    tables.write(table, [], tmp_path, "imputation", "note", "motion")
    expected = table.assign(dataset="motion")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "imputation.csv"), expected)


@pytest.mark.parametrize(
    ("value", "text"),
    [(np.nan, ""), (0.12345, "0.123"), (-77.04, "-77"), (99.96, "100"), (12849.4, "12849"),
     (0.0, "0"), (2.5e6, "2.50e+06"), (-3e7, "-3.00e+07")],
)  # fmt: skip
def test_numbers_have_three_digits_or_are_whole(value: float, text: str) -> None:
    assert tables.number(value) == text


def test_a_value_without_an_interval_stands_alone() -> None:
    assert tables.interval(1.0, 0.5, 2.0) == "1 [0.5, 2]"
    assert tables.interval(1.0, np.nan, np.nan) == "1"


@pytest.mark.parametrize("metric", [*tables.ERRORS, "auroc", "aupr", "fpr95", "shift_sd"])
def test_every_metric_of_a_table_has_a_caption(metric: str) -> None:
    assert len(tables.caption(metric)) > 20


def test_readers_get_some_metrics_of_completed_motion_and_the_csv_file_all() -> None:
    found = pd.concat(
        values(model, metric, [size, 2 * size], mechanism="features", level="10%")
        for model, size in (("mean", 2), ("linear", 1))
        for metric in tables.ERRORS
    )
    table = tables.imputation(found, resolve(TINY))
    changes = {"change_vs_mean", "change_vs_linear"}
    assert set(table["metric"]) == {*tables.ERRORS, *changes}
    shown = [section.name for section in tables.imputation_sections(table.assign(status="done"))]
    assert set(shown) == {*tables.PRINTED, *changes}
    assert "pit_3" not in shown
