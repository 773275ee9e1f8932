"""The report and the viewer in a real browser: tables, figures, motion, accessibility, no request.

They need Chromium, and Playwright with axe-core (the extra ``browser``).
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.conftest import PROJECT, TINY

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
PHONE = {"width": 390, "height": 844}
SEEN: dict[str, Any] = {
    **TINY,
    "name": "seen",
    "models": {
        "mean": {},
        "linear": {},
        "window_gaussian": {"samples": 4},
        "vae": {"hidden": [16, 8], "latent": 4, "epochs": 2, "batch_size": 8},
        "zero": {},
    },
    "predictors": {},
    "corruption": {},
    "foreign": {},
    "comparisons": {},
    "occlusion": {
        "features": {"levels": ["10%", "50%"]},
        "gaps": {"levels": ["200 ms", "500 ms"]},
    },
    "seeds": [0],
    "limit": 12,
}


@dataclass
class Seen:
    """A page in the browser, what it asked for and what it complained of."""

    page: Any
    requests: list[str]
    complaints: list[str]

    @property
    def viewer(self) -> dict[str, str]:
        self.page.wait_for_selector("#viewer[data-ready=yes]")
        state: dict[str, str] = self.page.evaluate(
            "Object.assign({}, document.getElementById('viewer').dataset)"
        )
        return state


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of a small run, and that of the committed leaderboard."""
    from bench.commands import view
    from bench.commands.notebook import run

    folder = tmp_path_factory.mktemp("seen")
    small = run(SEEN, results=folder)
    board = folder / "leaderboard.html"
    view.report(PROJECT / "results" / "reference" / "leaderboard", board, lambda _: None)
    return {"small": small / "report.html", "leaderboard": board}


def open_(browser: Any, path: Path, **options: Any) -> Seen:
    page = browser.new_context(**options).new_page()
    seen = Seen(page, [], [])
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("console", lambda message: seen.complaints.append(message.text))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.goto(path.as_uri())
    return seen


@pytest.fixture
def small(browser: Any, reports: dict[str, Path]) -> Iterator[Seen]:
    seen = open_(browser, reports["small"])
    yield seen
    assert seen.complaints == []
    assert seen.requests == [reports["small"].as_uri()]
    seen.page.context.close()


def rows(page: Any) -> list[str]:
    """Return the names of the visible rows of the first visible table of imputation."""
    script = """() => [...document.querySelectorAll('[data-tables=imputation] [data-metric]')]
        .find((part) => !part.hidden).querySelector('tbody').innerText.split('\\n')
        .map((line) => line.split('\\t')[0])"""
    found: list[str] = page.evaluate(script)
    return found


def test_tables_sort_filter_and_copy(small: Seen, reports: dict[str, Path]) -> None:
    page = small.page
    table = page.locator("[data-tables=imputation]")
    shown = table.locator("[data-metric=mse]")
    csv = pd.read_csv(reports["small"].parent / "imputation.csv", keep_default_na=False)
    errors = csv[(csv["metric"] == "mse") & (csv["mechanism"] == "gaps")]
    errors = errors[errors["level"] == "500 ms"].astype({"value": float})
    best_first = list(errors.sort_values("value")["model"])
    shown.locator("th button", has_text="gaps 500 ms").click()
    assert [name.split(" ")[0] for name in rows(page)] == best_first
    shown.locator("th button", has_text="gaps 500 ms").click()
    assert [name.split(" ")[0] for name in rows(page)] == best_first[::-1]
    table.locator("[data-filter=mechanism]").select_option("gaps")
    table.locator("[data-filter=level]").select_option("500 ms")
    heads = shown.locator("thead th:visible")
    assert [text.split(" ▲")[0] for text in heads.all_inner_texts()] == ["name", "gaps 500 ms"]
    table.locator("[data-filter=rows]").fill("vae")
    assert rows(page) == ["vae (map)"]
    value = errors.loc[errors["model"] == "vae", "value"].item()
    for kind, start in (
        ("csv", "name,gaps 500 ms"),
        ("markdown", "| name |"),
        ("latex", "\\begin"),
    ):
        table.locator("[data-copy]").select_option(kind)
        table.locator("[data-do=copy]").click()
        page.wait_for_function("kept => document.querySelector('[data-tables=imputation]')"
                               ".dataset.copied?.startsWith(kept)", arg=start)  # fmt: skip
        copied = table.get_attribute("data-copied")
        assert "vae (map)" in copied
        assert f"{value:.0f}" in copied
        assert "linear" not in copied
    table.locator("[data-filter=metric]").select_option("mpjpe")
    assert table.locator("[data-metric]:visible").count() == 1


def test_points_of_figures_have_their_numbers(small: Seen, reports: dict[str, Path]) -> None:
    page = small.page
    csv = pd.read_csv(reports["small"].parent / "imputation.csv", keep_default_na=False)
    chosen = csv[(csv["metric"] == "change_vs_mean") & (csv["model"] == "linear")]
    texts = page.locator("#figure-fig6_mse_change [data-tip]").evaluate_all(
        "found => found.map((one) => one.dataset.tip)"
    )
    for value in chosen["value"].astype(float):
        assert any(text.startswith(f"linear: {value:.4g} ") for text in texts)
    point = page.locator("#figure-fig6_mse_change [data-tip^='linear:']").first
    point.scroll_into_view_if_needed()
    for _ in range(20):
        # While the page still scrolls, the pointer may miss the point.
        point.hover(force=True)
        if page.locator("#tip").inner_text():
            break
        page.wait_for_timeout(100)
    assert page.locator("#tip").inner_text().split(":")[0] in ("linear", "vae (map)", "zero",
                                                               "window_gaussian")  # fmt: skip


def test_the_viewer_plays_steps_turns_and_switches(small: Seen) -> None:
    page = small.page
    viewer = page.locator("#viewer")
    assert small.viewer["ready"] == "yes"
    viewer.locator("input[type=range]").fill("0")
    before = picture(page)
    viewer.locator("[data-do=next]").click()
    assert small.viewer["frame"] == "1"
    assert picture(page) != before
    stage = viewer.locator(".stage")
    stage.focus()
    page.keyboard.press("ArrowLeft")
    assert small.viewer["frame"] == "0"
    page.keyboard.press(" ")
    page.wait_for_function("() => Number(document.getElementById('viewer').dataset.frame) > 3")
    page.keyboard.press(" ")
    viewer.locator("input[type=range]").fill("20")
    assert small.viewer["frame"] == "20"
    still = picture(page)
    box = stage.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 180, box["y"] + 120)
    page.mouse.up()
    assert picture(page) != still
    for kind, count in (("mechanism", 2), ("level", 2), ("window", 3)):
        assert viewer.locator(f"[data-pick={kind}] option").count() == count
    viewer.locator("[data-pick=mechanism]").select_option("gaps")
    assert "gaps" in viewer.locator("[data-pick=mechanism]").input_value()
    viewer.locator("[data-pick=window]").select_option(index=1)
    assert "the worst of 12 kept windows by the error of vae (map)" in (
        small.viewer and viewer.locator("[data-part=about]").inner_text()
    )


def test_each_completion_can_be_switched_and_samples_show(small: Seen) -> None:
    page, viewer = small.page, small.page.locator("#viewer")
    assert small.viewer["ready"] == "yes"
    boxes = viewer.locator("fieldset input[type=checkbox]")
    names = boxes.evaluate_all("found => found.map((one) => one.value)")
    assert names == [
        "ground truth",
        "input",
        "mean",
        "linear",
        "window_gaussian",
        "vae (map)",
        "zero",
    ]
    for name in names:
        box = viewer.locator(f"fieldset input[value='{name}']")
        box.uncheck()
        without = picture(page)
        box.check()
        if name != "ground truth":  # the input is drawn over it
            assert picture(page) != without, name
            assert name in small.viewer["drawn"].split("|")
    without = picture(page)
    for option in ("samples", "sigma", "errors"):
        viewer.locator(f"[data-set={option}]").check()
        assert picture(page) != without, option
        without = picture(page)
    viewer.locator("[data-set=layout]").select_option("side")
    assert small.viewer["panes"] == "6"


def picture(page: Any) -> str:
    """Return what the viewer's canvas shows."""
    shown: str = page.evaluate("document.querySelector('#viewer .stage').toDataURL()")
    return shown


def test_what_the_viewer_shows_is_what_was_completed(small: Seen, reports: dict[str, Path]) -> None:
    """Its list has the errors that the cells measured."""
    viewer = small.page.locator("#viewer")
    viewer.locator("[data-pick=mechanism]").select_option("gaps")
    viewer.locator("[data-pick=level]").select_option("500 ms")
    assert small.viewer["ready"] == "yes"
    about = viewer.locator("[data-part=about]").inner_text()
    window = about.split(", ")[1].split(":")[0]
    values = pd.read_parquet(reports["small"].parent / "windows.parquet")
    chosen = values[
        (values["window"] == window)
        & (values["mechanism"] == "gaps")
        & (values["level"] == "500 ms")
        & (values["metric"] == "mpjpe")
        & (values["model"] == "linear")
    ]["value"]
    label = viewer.locator("fieldset label", has_text="linear").inner_text()
    stated = float(label.replace("linear", "").replace("mm", "").strip())
    np.testing.assert_allclose(stated, chosen.item(), rtol=0.01)


@pytest.mark.parametrize(("name", "scheme"), [("small", "dark"), ("leaderboard", "light")])
def test_it_is_accessible_and_fits_a_phone(
    name: str, scheme: str, browser: Any, reports: dict[str, Path]
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    seen = open_(browser, reports[name], viewport=PHONE, color_scheme=scheme)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    found = axe.Axe().run(seen.page, options={"resultTypes": ["violations"]})
    serious = [
        {"id": one["id"], "where": [node["html"][:120] for node in one["nodes"][:3]]}
        for one in found.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert seen.complaints == []
    seen.page.context.close()


def test_the_leaderboard_is_small_and_whole(browser: Any, reports: dict[str, Path]) -> None:
    assert reports["leaderboard"].stat().st_size < 15_000_000
    seen = open_(browser, reports["leaderboard"])
    assert seen.page.locator("#first + p + .wide tbody tr").count() == 16
    assert seen.requests == [reports["leaderboard"].as_uri()]
    seen.page.context.close()


def test_recordings_are_seen_over_each_other(browser: Any, tmp_path: Path) -> None:
    from bench.datasets.synthetic import SKELETON
    from bench.report import exhibition, page
    from tests.conftest import walk

    truth = walk(1).motion[0]
    gappy, filled = truth.copy(), truth + 40
    gappy[10:20, 3] = np.nan
    motion = exhibition.of_recordings([("gappy", gappy), ("filled", filled)], SKELETON, 25)
    page.write_viewer(json.loads(json.dumps(motion)), "two", [], tmp_path / "view.html")
    seen = open_(browser, tmp_path / "view.html")
    assert seen.viewer["drawn"].split("|") == ["input", "filled"]
    assert "50 frames of 18 points" in seen.page.locator("[data-part=about]").inner_text()
    assert seen.complaints == []
    seen.page.context.close()
