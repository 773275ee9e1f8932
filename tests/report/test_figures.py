"""Figures: one look per model, values beyond an axis, texts of points, sizes, fonts."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.analysis import results
from bench.analysis.loading import load
from bench.analysis.results import Results
from bench.analysis.standing import Standing, standing
from bench.protocol.resolving import resolve
from bench.report import charts, figures
from bench.report.charts import Sheet
from bench.report.looks import COLOURS, COLUMN, GREYS, PAGE, Looks
from tests.conftest import PROJECT, TINY, Bench

REFERENCE = PROJECT / "results" / "reference"
BY_LEGEND = ("skill", "durations", "fig6_mse_change", "fig7_forecasting", "forecasting_change")


def read(name: str) -> tuple[Results, Standing | None]:
    _, found = results.read_tables(REFERENCE / name)
    return found, standing(load(REFERENCE / name), found.protocol)


@pytest.mark.parametrize("name", ["occlusion", "leaderboard"])
def test_a_model_looks_the_same_in_all_figures_of_a_run(name: str) -> None:
    seen: dict[str, set[tuple[str, str]]] = {}
    found, stood = read(name)
    models = found.protocol.models
    for one in BY_LEGEND:
        figure = figures.draw(one, found, stood, figures.sheet_of(found))
        for axis in figure.axes if figure else []:
            for line in axis.lines:
                label = str(line.get_label()).split(" (")[0]
                if label in models:
                    look = to_hex(line.get_color()), str(line.get_marker())
                    seen.setdefault(label, set()).add(look)
    assert len(seen) > 8
    assert all(len(looks) == 1 for looks in seen.values()), seen
    assert len({next(iter(looks)) for looks in seen.values()}) == len(seen)
    controls = {label for label in seen if models[label].cls.control}
    greys = {to_hex(grey) for grey in GREYS}
    for label, looks in seen.items():
        assert (next(iter(looks))[0] in greys) == (label in controls), label


def test_seventy_models_have_looks_of_their_own() -> None:
    looks = Looks.named([f"model {number}" for number in range(70)], inferences=["map", "elbo"])
    styles = [looks.style(f"model {number}") for number in range(70)]
    assert len({(style["color"], style["marker"]) for style in styles}) == 70
    assert len({style["color"] for style in styles[: len(COLOURS)]}) == len(COLOURS)
    lines = {str(looks.style("model 0", name)["linestyle"]) for name in ("map", "elbo", "mean")}
    assert len(lines) == 3


def test_models_that_only_score_leave_the_first_colours_to_those_that_complete() -> None:
    raw = TINY | {"models": {"pca_error": {"components": 4}, "mean": {}, "linear": {}}}
    looks = Looks.of(resolve({**raw, "comparisons": {}}))
    assert [looks.style(name)["color"] for name in ("mean", "linear", "pca_error")] == list(
        COLOURS[:3]
    )


def test_values_beyond_an_axis_are_marked_at_its_end_and_squeeze_nothing() -> None:
    sheet = Sheet(Looks.named(["good", "absurd"]))
    _, axis = sheet.single()
    for name, value in (("good", 5.0), ("absurd", 1e13)):
        table = pd.DataFrame({"value": [value, value], "low": np.nan, "high": np.nan})
        charts.line(axis, [1, 2], table, name, sheet.looks.style(name), (0, 10))
    good, absurd, carets = axis.lines
    assert np.asarray(good.get_ydata()).tolist() == [5, 5]
    assert np.asarray(absurd.get_ydata()).tolist() == [10, 10]
    assert carets.get_marker() == 6
    assert np.asarray(carets.get_xdata()).tolist() == [1, 2]
    assert axis.get_ylim()[1] < 20
    assert "beyond the axis" in str(absurd.get_gid())
    assert "1e+13" in str(absurd.get_gid())
    assert "beyond" not in str(good.get_gid())


def scores() -> pd.DataFrame:
    """Return scores of clean windows, and under two mechanisms, one of a single level."""
    clean = {"mechanism": "", "level": "", "share": 0.0, "inference": ""}
    rows = [clean | {"value": 10.0}, clean | {"value": 12.0}]
    for mechanism, level, shares in (
        ("features", "10%", (0.1, 0.1)),
        ("features", "90%", (0.9, 0.9)),
        ("self_occlusion", "2", (0.2, 0.4)),
    ):
        rows += [
            {
                "mechanism": mechanism,
                "level": level,
                "share": share,
                "inference": "mean",
                "value": 20.0 + share,
            }
            for share in shares
        ]
    return pd.DataFrame(rows).assign(model="vae", metric="nlp")


def test_a_panel_of_one_level_cuts_no_other_off() -> None:
    figure = figures.posterior_change(scores(), "data", Sheet(Looks.named(["vae"])))
    assert figure is not None
    low, high = figure.axes[0].get_xlim()
    assert low < 10
    assert high > 90


Drawn = tuple[Axes, list[list[Text]]]


def panels(draw: Callable[..., Figure | None], table: pd.DataFrame) -> Drawn:
    """Return the first panel of a figure, and the texts of its first two."""
    sheet = Sheet(Looks.named(["vae"]))
    with matplotlib.rc_context(sheet.style):
        figure = draw(table, "data", sheet)
        assert figure is not None
        figure.canvas.draw()
    texts = [[one for one in axis.texts if one.get_text()] for axis in figure.axes[:2]]
    return figure.axes[0], texts


def overlap(artist: Artist, texts: list[Text]) -> bool:
    place = artist.get_window_extent()
    return any(place.overlaps(one.get_window_extent()) for one in texts)


@pytest.mark.parametrize("largest", [5e3, 5e5, 5e8])
def test_labels_of_large_changes_reach_into_nothing(largest: float) -> None:
    table = scores()
    table.loc[table["level"] != "", "value"] = np.geomspace(11, largest, len(table) - 2)
    first, texts = panels(figures.posterior_change, table)
    assert all(len(drawn) > 2 for drawn in texts)
    assert not overlap(first.yaxis.label, texts[0])
    assert not overlap(first, texts[1])


def test_labels_of_low_posteriors_reach_into_nothing() -> None:
    table = scores()
    table["value"] = np.where(table["level"] == "", 9000.0, 15000.0) + table["share"]
    first, texts = panels(figures.posterior, table)
    assert "\N{MINUS SIGN}14k" in [one.get_text() for one in texts[1]]
    assert not overlap(first, texts[1])


def test_windows_of_one_level_are_one_point_at_their_mean_share() -> None:
    sheet = Sheet(Looks.named(["vae"]))
    for draw in (figures.posterior, figures.posterior_change):
        figure = draw(scores(), "data", sheet)
        assert figure is not None
        drawn = [line for line in figure.axes[1].lines if line.get_marker() not in ("None", "")]
        assert np.asarray(drawn[0].get_xdata()).tolist() == pytest.approx([30])


def test_an_svg_has_the_number_of_each_point(tmp_path: Path) -> None:
    sheet = Sheet(Looks.named(["model"]))
    figure, axis = sheet.single()
    table = pd.DataFrame({"value": [1.5, np.nan, 3], "low": 1.0, "high": 4.0})
    charts.line(axis, [1, 2, 3], table, "<odd> & 'quoted\" $x$", sheet.looks.style("model"))
    charts.save(sheet.finish(figure, "title"), tmp_path, "drawn")
    svg = (tmp_path / "drawn.svg").read_text()
    texts = re.findall(r'<use data-tip="([^"]*)"', svg)
    assert [text.split("quoted")[1].split(": ")[1] for text in texts] == [
        "1.5 [1, 4]", "3 [1, 4]"
    ]  # fmt: skip
    assert all(text.startswith("&lt;odd&gt; &amp; &#x27;quoted&quot;") for text in texts)


@pytest.mark.parametrize(("width", "points"), [("column", COLUMN), ("page", PAGE), ("5", 5.0)])
def test_a_figure_for_print_is_as_wide_as_it_should_be(
    width: str, points: float, bench: Bench, tmp_path: Path
) -> None:
    to = tmp_path / "fig6.pdf"
    run = REFERENCE / "occlusion"
    ended = bench("plot", run, "--figure", "6", "--width", width, "--to", to)
    assert ended.code == 0, ended.err
    content = to.read_bytes()
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", content)
    assert box
    assert float(box[1]) == pytest.approx(72 * points, abs=0.5)
    # TrueType fonts are embedded as type 42, which printers take.
    assert b"/FontFile2" in content
    assert b"/Type3" not in content


def test_a_style_of_ones_own_is_over_that_of_all_figures(bench: Bench, tmp_path: Path) -> None:
    style, to = tmp_path / "mine.mplstyle", tmp_path / "fig6.svg"
    style.write_text("axes.facecolor: 123456\n")
    run = REFERENCE / "occlusion"
    ended = bench("plot", run, "--figure", "6", "--style", style, "--to", to)
    assert ended.code == 0, ended.err
    assert "#123456" in to.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--figure", "66"), "figure: no 66"),
        (("--figure", "skil"), "skill"),
        (("--figure", "6", "--width", "huge"), "--width huge"),
        (("--figure", "6", "--to", "a.gif"), ".svg"),
        (("--figure", "6", "--style", "dark_backgroun"), "dark_background"),
        (("--figure", "6", "--style", "none.mplstyle"), "none.mplstyle: No such file"),
        (("--figure", "fig4_posterior"), "has not the numbers"),
    ],
)
def test_a_figure_that_cannot_be_drawn_gets_one_line(
    arguments: tuple[str, ...], says: str, bench: Bench, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(REFERENCE / "occlusion", run)
    ended = bench("plot", run, *arguments)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert says in ended.err
    assert not list(tmp_path.glob("*.gif"))
