"""``bench show-mask``: the printed grid and the picture show what a mechanism hides."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from bench.core.registry import MECHANISMS
from bench.datasets.synthetic import SKELETON
from bench.report.masks import SHADES
from tests.conftest import Bench

BLANK, PART, WHOLE = " ▒█"


def grid(text: str) -> dict[str, str]:
    """Return the printed row of each joint."""
    return dict(re.findall(r"^(\w+) +\|(.*)\|$", text, flags=re.MULTILINE))


@pytest.mark.parametrize("name", sorted(MECHANISMS.all()))
def test_every_mechanism_can_be_shown(name: str, bench: Bench) -> None:
    level = MECHANISMS.get(name).examples[0]
    ended = bench("show-mask", name, *(["--level", level] if level else []))
    assert ended.code == 0, ended.err
    rows = grid(ended.out)
    assert tuple(rows) == SKELETON.names
    assert {len(row) for row in rows.values()} == {50}
    marks = "".join(rows.values())
    stated = re.search(r"([\d.]+) % of joint positions", ended.out)
    assert stated
    hidden = 100 * (len(marks) - marks.count(BLANK)) / len(marks)
    assert float(stated[1]) == pytest.approx(hidden, rel=0.005)
    assert (PART in marks) == (name == "features")
    assert ("mm RMS" in ended.out) == (name == "noise_and_gaps")


def test_the_grid_shows_what_the_settings_say(bench: Bench) -> None:
    ended = bench(
        "show-mask", "limb_gaps", "--level", "400 ms", "--set", "which=[left_leg]",
        "--frames", "60", "--fps", "30",
    )  # fmt: skip
    rows = grid(ended.out)
    leg = {"left_knee", "left_ankle", "left_foot"}
    assert {name for name, row in rows.items() if row.strip()} == leg
    gaps = {rows[name] for name in leg}
    assert len(gaps) == 1
    (row,) = gaps
    assert len(row) == 60
    assert row.strip() == WHOLE * 12
    assert f"{100 * 3 * 12 / (60 * 18):.3g} % of features" in ended.out
    assert "20 % of frames" in ended.out
    ruler = ended.out.splitlines()[1]
    start = ended.out.splitlines()[2].index("|") + 1
    assert ruler.index("0 s") == start
    assert ruler.index("1 s") == start + 30


def test_the_seed_draws_and_a_preset_is_taken(bench: Bench) -> None:
    def shown(*more: object) -> dict[str, str]:
        ended = bench("show-mask", "features", "--level", "0.1", *more)
        assert ended.code == 0, ended.err
        return grid(ended.out)

    assert shown() == shown("--seed", "0") != shown("--seed", "1")
    assert shown("--set", "preset=published_code") != shown()


def test_the_picture_is_that_of_the_grid(bench: Bench, tmp_path: Path) -> None:
    """Frames 40 to 50 of 50 are hidden, of all joints."""
    picture = tmp_path / "made" / "future.png"
    ended = bench("show-mask", "future", "--level", "10 frames", "--figure", picture)
    assert ended.code == 0, ended.err
    assert f"written: {picture}" in ended.out
    assert picture.stat().st_size < 40_000
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    blue = np.abs(pixels - 255 * np.array(to_rgb(SHADES["hidden"]))).sum(axis=-1) < 12
    seen = np.abs(pixels - 255 * 0.95).sum(axis=-1) < 6
    rows = slice(len(pixels) // 8, len(pixels) // 3)
    left, right = (np.flatnonzero(part[rows].mean(axis=0) > 0.5) for part in (seen, blue))
    assert left.max() <= right.min() + 1
    whole = right.max() - left.min()
    assert (right.max() - right.min()) / whole == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gap", "--level", 3), "unknown mechanism 'gap' (did you mean 'gaps'?)"),
        (("gaps",), "--level: gaps needs one, such as 200 ms or 500 ms"),
        (("gaps", "--level", "10%"), "level 10% is not what gaps takes: a duration, such as"),
        (("gaps", "--level", "3 s"), "level 3000 ms is too long: at most 50 frames"),
        (("gaps", "--level", "[3"), "--level [3"),
        (("joints", "--level", 0), "hides nothing"),
        (("sparse", "--level", 3), "sparse has no levels; leave them out"),
        (("gaps", "--level", "1 s", "--set", "joint=3"), "unknown key 'joint' (did you mean 'joi"),
        (("gaps", "--level", "1 s", "--set", "joints"), "--set joints: write it as KEY.PATH=VALUE"),
        (("gaps", "--level", "1 s", "--frames", 1), "window.frames: input should be greater"),
        (
            ("gaps", "--level", "1 s", "--fps", 0),
            "'--fps': Input should be greater than or equal to 1",
        ),
        (("gaps", "--level", "1 s", "--figure", "gaps.gif"), "a PNG; name it gaps.png"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_line(
    arguments: tuple[Any, ...], message: str, bench: Bench
) -> None:
    ended = bench("show-mask", *arguments)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.startswith("bench: ")
    assert ended.err.count("\n") == 1
    assert not ended.out
