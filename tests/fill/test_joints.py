"""Files of rotations: gaps of joints are filled as rotations, and nothing else changes."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bench.commands import fill as command
from bench.datasets.archive import File
from bench.datasets.bvh_file import read_bvh
from bench.fill import joints
from bench.fill.coded import Coded
from bench.fill.gaps import Bools, Numbers
from bench.fill.recording import opened
from scripts.fill_benchmark import by_angle
from tests.conftest import Bench
from tests.datasets.test_bvh import document

REAL = (
    "bandai_namco_1/dataset-1_dance-short_normal_001.bvh",
    "cmu_pairs/01_01_mb.bvh",
    "cmu_94_daz/indian_13.bvh",
)
"""Rotations in the orders ZXY and ZYX; six channels, or three, of a joint."""
FPS = 50
ORDER = ("Zrotation", "Xrotation", "Yrotation")
ROOT = ("Xposition", "Yposition", "Zposition", *ORDER)


def chain(frames: int = 300) -> NDArray[np.float64]:
    """Return rows of a root, an arm of three joints, and a hinge at its end, that swing."""
    time = np.arange(frames)[:, None] / FPS
    rates = np.array([1.0, 1.3, 0.7, 1.7, 0.9, 1.1, 2.1, 0.5, 1.9, 0.8, 1.4, 2.3, 1.2])
    size = np.array([30, 5, 20, 170, 20, 15, 40, 30, 25, 60, 20, 30, 50])
    return size * np.sin(rates * time + np.arange(13)) + np.array([0, 90, *[0] * 11])


def written(path: Path, rows: NDArray[np.float64], end: str = "\n") -> Path:
    """Write a file of ``chain``."""
    channels = [ROOT, ORDER, ORDER, ("Zrotation",)]
    offsets = [[0, 90, 0], [20, 0, 0], [30, 0, 0], [25, 0, 0]]
    names = ["Hips", "Upper", "Lower", "Hinge"]
    text = document(names, [-1, 0, 1, 2], offsets, channels, rows, "0.02", end)
    path.write_bytes(text.encode())
    return path


def body_of(coded: Coded, values: Numbers) -> Numbers:
    """Return positions of all nodes, mm."""
    assert coded.tree is not None
    return coded.scale * coded.tree.placed(values)


def hidden(source: Path, to: Path, seed: int, word: str = "nan") -> Bools:
    """Write a copy with nine gaps of joints that move; return which samples are gone."""
    coded = opened(source)
    assert coded.tree is not None
    values, rng = coded.values, np.random.default_rng(seed)
    moving = np.flatnonzero(np.ptp(values, axis=0).max(axis=1) > 3)
    gone = np.zeros(values.shape[:2], dtype=np.bool_)
    for number in range(9):
        length = round((0.1, 0.3, 0.8)[number % 3] * (coded.fps or 0))
        start = int(rng.integers(1, len(values) - length - 1))
        gone[start : start + length, rng.choice(moving)] = True
    text = source.read_bytes().decode("latin-1")
    head, rows = re.split(r"(?<=\n)(?=[ \t]*[-\d.]+[ \t]+[-\d.])", text, maxsplit=1)
    lines = rows.splitlines(keepends=True)
    for frame in np.flatnonzero(gone.any(axis=1)):
        words = re.split(r"(\s+)", lines[frame])
        first = 0 if words[0] else 2
        for track in np.flatnonzero(gone[frame]):
            for column in coded.tree.tracks[track].columns:
                words[first + 2 * column] = word
        lines[frame] = "".join(words)
    to.write_bytes((head + "".join(lines)).encode("latin-1"))
    return gone


@pytest.mark.parametrize("name", REAL)
def test_real_motion_is_filled_better_than_its_angles_and_nothing_else_changes(
    real_data: Path, tmp_path: Path, bench: Bench, name: str
) -> None:
    source = real_data / "bvh" / name
    if not source.is_file():
        pytest.skip(f"no bvh/{name} in the real data")
    path, to = tmp_path / "walk.bvh", tmp_path / "filled.bvh"
    gone = hidden(source, path, seed=0)
    ended = bench("fill", path, "-o", to)
    assert ended.code == 0, ended.err
    before, after = (re.split(r"(\s+)", one.read_bytes().decode("latin-1")) for one in (path, to))
    changed = [old for old, new in zip(before, after, strict=True) if old != new]
    assert set(changed) == {"nan"}
    assert len(changed) == before.count("nan")
    truth, frames = opened(source), gone.any(axis=1)
    there = body_of(truth, truth.values[frames])
    errors = [
        np.linalg.norm(body_of(truth, made[frames]) - there, axis=-1).mean()
        for made in (opened(to).values, by_angle(truth.values, gone))
    ]
    assert errors[0] < errors[1]
    account = pd.read_csv(tmp_path / "filled.bvh.gaps.csv")
    assert account["status"].eq("filled").all()
    assert account["frames"].sum() == gone.sum()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_each_method_fills_joints_and_the_root(tmp_path: Path, bench: Bench, end: str) -> None:
    rows = chain()
    truth = opened(written(tmp_path / "true.bvh", rows))
    gappy = rows.copy()
    gappy[100:110, :3] = gappy[140:160, 3:6] = gappy[50:60, 9:12] = gappy[200:210, 12] = np.nan
    path = written(tmp_path / "walk.bvh", gappy, end)
    for method in joints.METHODS:
        to = tmp_path / f"{method}.bvh"
        ended = bench("fill", path, "-o", to, "--method", method)
        assert ended.code == 0, ended.err
        found = opened(to)
        error = np.linalg.norm(body_of(found, found.values) - body_of(truth, truth.values), axis=-1)
        assert error.max() < (400 if method == "linear" else 80), method
        kept = np.isfinite(gappy)
        assert (read_bvh(File(to)).motion[kept] == rows[kept]).all()
        # The root turns past half a circle, where angles jump if they are not kept continuous.
        assert np.abs(np.diff(found.values[:, 1], axis=0)).max() < 20
        assert to.read_bytes().count(end.encode()) == path.read_bytes().count(end.encode())


def test_joints_are_where_the_reader_of_data_sets_has_them(tmp_path: Path) -> None:
    path = written(tmp_path / "a.bvh", chain(40))
    content, coded = read_bvh(File(path)), opened(path)
    placed = content.place(range(len(content.nodes)), 0, content.fps)
    found = body_of(coded, coded.values) / coded.scale
    for node, (positions, _) in placed.items():
        np.testing.assert_allclose(found[:, node], positions, atol=1e-9)


def test_where_two_axes_coincide_rotations_are_right_all_the_same() -> None:
    tree = _tree_of_chain()
    values = np.zeros((60, len(tree.tracks), 3))
    # In the order ZXY, x at 90 degrees.
    values[:, 2] = np.stack([np.arange(60), np.full(60, 90.0), np.full(60, 20.0)], axis=1)
    given = values.copy()
    given[20:30, 2] = np.nan
    made = joints.fill(tree, given, FPS, 10.0, "linear").channels[:, 2]
    found, truth = (Rotation.from_euler("ZXY", one, degrees=True) for one in (made, values[:, 2]))
    assert np.degrees((found.inv() * truth).magnitude()).max() < 1e-3


def test_a_steady_turn_is_filled_exactly() -> None:
    axis = np.array([1.0, 2.0, -1.0]) / np.sqrt(6)
    turns = Rotation.from_rotvec(np.outer(np.radians(7 * np.arange(120)), axis))
    rows = np.zeros((120, 13))
    rows[:, 6:9] = turns.as_euler("ZXY", degrees=True)
    tree = _tree_of_chain()
    values = np.zeros((120, len(tree.tracks), 3))
    values[:, 2] = rows[:, 6:9]
    given = values.copy()
    given[40:50, 2] = np.nan
    for method in ("linear", "spline", "pchip"):
        made = joints.fill(tree, given, FPS, 10.0, method).channels[:, 2]
        apart = (Rotation.from_euler("ZXY", made, degrees=True).inv() * turns).magnitude()
        assert np.degrees(apart).max() < 1e-3, method


def _tree_of_chain() -> joints.Tree:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        tree = opened(written(Path(folder) / "a.bvh", chain(5))).tree
    assert tree is not None
    return tree


def test_deviations_hold_the_errors_and_validation_agrees_with_them(tmp_path: Path) -> None:
    rows = chain(1200)
    truth = opened(written(tmp_path / "true.bvh", rows))
    gappy = rows.copy()
    for number in range(12):
        gappy[60 + 90 * number : 75 + 90 * number, 3 + 3 * (number % 3) : 6 + 3 * (number % 3)] = (
            np.nan
        )
    recording = command.read(written(tmp_path / "walk.bvh", gappy), command.Wanted())
    result = command.filled(recording, command.Wanted())
    there = body_of(truth, truth.values)
    error = np.abs(result.positions - there)[result.filled]
    within = error <= 1.645 * result.sigma[result.filled][:, None]
    assert within.mean() > 0.75
    told = command.expected(recording, command.Wanted())
    assert {"auto", "linear"} <= set(told["method"])
    auto, linear = (told[told["method"] == one]["mean_mm"].mean() for one in ("auto", "linear"))
    assert auto < linear
    assert (told["mean_deg"] >= 0).all()


def test_words_for_nothing_and_empty_cells_between_tabs_are_gaps(
    tmp_path: Path, bench: Bench
) -> None:
    path = written(tmp_path / "a.bvh", chain(80))
    lines = path.read_text().split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith("Frame T")) + 1
    for frame, word in enumerate(["NaN", "nan", "-nan(ind)", "NA", '""'], start=first + 20):
        cells = lines[frame].split(" ")
        cells[6:9] = [word] * 3
        lines[frame] = " ".join(cells)
    cells = lines[first + 40].split(" ")
    cells[12] = ""
    lines[first + 40] = "\t".join(cells)
    path.write_text("\n".join(lines))
    ended = bench("fill", path, "-o", tmp_path / "b.bvh", "--method", "spline")
    assert ended.code == 0, ended.err
    account = pd.read_csv(tmp_path / "b.bvh.gaps.csv")
    assert account[["point", "start", "frames"]].to_numpy().tolist() == [
        ["Upper", 20, 5],
        ["Hinge", 40, 1],
    ]
    new = (tmp_path / "b.bvh").read_text().split("\n")
    assert new[first + 40].count("\t") == 12
    assert [x for x, y in zip(lines, new, strict=True) if x != y] == [
        *lines[first + 20 : first + 25],
        lines[first + 40],
    ]


def test_zeros_and_held_values_are_missing_where_that_is_asked_for(
    tmp_path: Path, bench: Bench
) -> None:
    rows = chain(200)
    rows[60:75, 6:9] = 0
    rows[120:140, 9:12] = rows[119, 9:12]
    path = written(tmp_path / "a.bvh", rows)
    for rule, expected in [
        ("auto", []),
        ("zero", [["Upper", 60, 15]]),
        ("held", [["Lower", 120, 20]]),
    ]:
        to = tmp_path / f"{rule}.bvh"
        assert bench("fill", path, "-o", to, "--missing", rule).code == 0
        account = pd.read_csv(f"{to}.gaps.csv")
        assert account[["point", "start", "frames"]].to_numpy().tolist() == expected


def test_options_and_reports_work_as_for_markers(tmp_path: Path, bench: Bench) -> None:
    rows = chain()
    rows[:4, 9:12] = rows[100:160, 6:9] = rows[200:210, 6:9] = np.nan
    path, to = written(tmp_path / "a.bvh", rows), tmp_path / "b.bvh"
    ended = bench("fill", path, "-o", to, "--max-gap", 500, "--report", tmp_path / "gaps.json")
    assert ended.code == 0, ended.err
    status = [row["status"] for row in json.loads((tmp_path / "gaps.json").read_text())]
    assert status == ["longer than 500 ms", "filled", "before the first or after the last sample"]
    assert np.isnan(opened(to).values[100:160, 2]).all()
    page = tmp_path / "page.html"
    assert bench("fill", path, "-o", to, "--edges", "--report", page).code == 0
    assert np.isfinite(opened(to).values).all()
    assert "3 gaps filled, 0 left" in page.read_text()
    ended = bench("fill", path, "--dry-run", "--validate")
    assert ended.code == 0
    assert "to fill" in ended.out
    assert "mean_deg" in ended.out


DAMAGED = {
    "cut within a row": (lambda text: text[: len(text) - 60], "numbers, the hierarchy has 13"),
    "cut between rows": (lambda text: "\n".join(text.split("\n")[:-9]) + "\n", "but 72 rows"),
    "cut in the hierarchy": (lambda text: text[:120], "no line MOTION"),
    "a huge count": (lambda text: text.replace("Frames: 80", f"Frames: {10**11}"), "but 80 rows"),
    "a huge channel count": (lambda text: text.replace("CHANNELS 6", "CHANNELS 60000"), "CHANNELS"),
    "an offset that is none": (lambda text: text.replace("OFFSET 20.0", "OFFSET nan"), "OFFSET"),
    "a huge number": (lambda text: re.sub(r" \S+$", " 1e300", text.rstrip()), "write nan"),
    "a mark": (lambda text: re.sub(r" \S+$", " -9999", text.rstrip()), "write nan"),
    "a word": (lambda text: re.sub(r" \S+$", " x.3", text.rstrip()), "is no number"),
    "UTF-16": (lambda text: "\0".join(text), "not text"),
    "no frame time": (lambda text: text.replace("Time: 0.02", "Time: nan"), "give --fps"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_one_line_and_no_file(tmp_path: Path, bench: Bench, kind: str) -> None:
    change, message = DAMAGED[kind]
    path = written(tmp_path / "a.bvh", chain(80))
    path.write_text(change(path.read_text()))
    ended = bench("fill", path, "-o", tmp_path / "b.bvh")
    assert ended.code == 2
    assert message in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["a.bvh"]


def test_a_rate_may_be_given_in_place_of_an_unclear_one(tmp_path: Path, bench: Bench) -> None:
    path = written(tmp_path / "a.bvh", chain(80))
    path.write_text(path.read_text().replace("Time: 0.02", "Time: nan"))
    ended = bench("fill", path, "--dry-run", "--fps", FPS)
    assert ended.code == 0
    assert "80 frames of 4 joints, 50 per second" in ended.out


@pytest.mark.parametrize("method", ["kalman", "rigid", "pca_gap", "marker"])
def test_methods_of_points_are_refused(tmp_path: Path, bench: Bench, method: str) -> None:
    path = written(tmp_path / "a.bvh", chain(30))
    ended = bench("fill", path, "-o", tmp_path / "b.bvh", "--method", method)
    assert ended.code == 2
    assert "give auto, linear, pchip, spline, smooth" in ended.err
    assert not (tmp_path / "b.bvh").exists()
