"""Files as people have them: each odd one is read as its plain twin, or refused in one line."""

import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bench.commands import inventory
from bench.core.errors import InputError
from bench.core.notices import Notices, collected
from bench.datasets.amass import AMASS
from bench.datasets.archive import File
from bench.datasets.arrays import Arrays
from bench.datasets.base import Dataset, Source
from bench.datasets.build import load
from bench.datasets.bvh import BVH
from bench.datasets.cmu_expmap import CMUExpmap
from bench.datasets.h36m import H36M
from bench.datasets.rates import rate_of
from bench.datasets.synthetic import BODY
from bench.motion.body import JOINTS as BODY_JOINTS
from bench.motion.body import KEPT
from tests.datasets.test_arrays import JOINTS, LAYOUT, _folder, _table
from tests.datasets.test_bvh import _LAFAN1, _MIXAMO, MOVES, TURNS, document

FORBIDDEN = re.compile(r"C error|codec|could not convert|magic string|Usecols|\bpandas\b|Traceback")
Change = Callable[[str], str | bytes]


def put(old: str, new: str, times: int = 1) -> Change:
    """Return a change of a text, which must have ``old``; ``times`` -1 for everywhere."""

    def change(text: str) -> str:
        assert old in text, old
        return text.replace(old, new, times)

    return change


def sub(pattern: str, new: str, times: int = 0) -> Change:
    """Return a change of a text by a regular expression, which must match."""

    def change(text: str) -> str:
        changed, count = re.subn(pattern, new, text, count=times, flags=re.MULTILINE)
        assert count, pattern
        return changed

    return change


def walking(names: dict[str, str] = _MIXAMO, frames: int = 40) -> str:
    """Return BVH text of the synthetic body that walks along z and swings its limbs a little."""
    joints = list(BODY_JOINTS)
    parents = [joints.index(BODY_JOINTS[one]) if BODY_JOINTS[one] else -1 for one in joints]
    rng = np.random.default_rng(0)
    time = np.arange(frames)[:, None] / 30
    rows = np.zeros((frames, 6 + 3 * (len(joints) - 1)))
    swing = rng.uniform(2, 8, rows.shape[1] - 3)
    rows[:, 3:] = swing * np.sin(3 * time + rng.uniform(0, 6, rows.shape[1] - 3))
    rows[:, 1], rows[:, 2] = 95, 100 * time[:, 0]
    channels = [(*MOVES, *TURNS), *[TURNS] * (len(joints) - 1)]
    named = [names[one] for one in joints]
    return document(named, parents, BODY.offsets / 10, channels, rows.round(4), "0.0333333")


def rows_of(text: str) -> tuple[str, list[str]]:
    """Return what stands before the rows of a BVH text, and the rows."""
    head, time, body = text.partition("Frame Time: 0.0333333\n")
    return head + time, body.splitlines()


def each_row(change: Callable[[str], str]) -> Change:
    return lambda text: rows_of(text)[0] + "".join(change(row) + "\n" for row in rows_of(text)[1])


def wrapped(row: str) -> str:
    words = row.split()
    return " ".join(words[:30]) + "\n" + " ".join(words[30:])


def in_rows(row: int, change: Callable[[str], str]) -> Change:
    def changed(text: str) -> str:
        head, rows = rows_of(text)
        rows[row] = change(rows[row])
        return head + "".join(f"{each}\n" for each in rows)

    return changed


def read(dataset: Dataset, path: Path) -> tuple[NDArray[np.float32], Notices]:
    with collected() as notices:
        motion = dataset.read(Source("a", "test", "", path.parent.name, File(path)))
    return motion, notices


def refusal(dataset: Dataset, path: Path) -> str:
    """Return the message with which a file is refused, which has no library's words."""
    with pytest.raises(InputError) as refused:
        read(dataset, path)
    message = str(refused.value)
    assert "\n" not in message
    assert not FORBIDDEN.search(message), message
    assert str(path) in message
    return message


BVH_READ: dict[str, tuple[Change, str]] = {
    "decimal commas": (
        lambda text: text.replace("Time: 0.0333333", "Time: 0,0333333").replace(".", ","),
        "decimal commas",
    ),
    "decimal commas in rows alone": (each_row(lambda row: row.replace(".", ",")), "decimal commas"),
    "commas between": (each_row(lambda row: row.replace(" ", ", ")), "separator"),
    "commas between, no spaces": (each_row(lambda row: row.replace(" ", ",")), "separator"),
    "tabs between": (each_row(lambda row: row.replace(" ", "\t")), ""),
    "wrapped rows": (each_row(wrapped), "wrapped rows"),
    "one number a line": (each_row(lambda row: row.replace(" ", "\n")), "wrapped rows"),
    "all in one line": (
        lambda text: rows_of(text)[0] + " ".join(rows_of(text)[1]) + "\n",
        "wrapped rows",
    ),
    "blank lines between rows": (each_row(lambda row: row + "\n\n"), ""),
    "CHANNELS before OFFSET": (
        sub(r"^(\tOFFSET.*)\n(\tCHANNELS.*)$", r"\2\n\1"),
        "CHANNELS before OFFSET",
    ),
    "keywords in lower case": (
        lambda text: re.sub(
            r"HIERARCHY|ROOT|JOINT|OFFSET|CHANNELS|MOTION|Frames|Frame Time|End Site",
            lambda found: found[0].lower(),
            text,
        ),
        "keywords",
    ),
    "a comment first": (lambda text: "# made by a program\n" + text, "comments"),
    "blank lines first": (lambda text: "\n \n" + text, ""),
    "a comment after MOTION": (put("MOTION\n", "MOTION\n// rows follow\n\n"), "comments"),
    "a comment between rows": (in_rows(3, lambda row: f"# here\n{row}"), "comments"),
    "a word at the end": (lambda text: text + "END\n", "trailing text"),
    "Ctrl-Z at the end": (lambda text: text + "\x1a", "filled end"),
    "NULs at the end": (lambda text: text + "\0" * 40, "filled end"),
    "Frames: more": (put("Frames: 40", "Frames: 42"), "number of frames"),
    "Frames: fewer": (put("Frames: 40", "Frames: 39"), "number of frames"),
    "Frames: 40.0": (put("Frames: 40", "Frames: 40.0"), "number of frames"),
    "Frames: 00040": (put("Frames: 40", "Frames: 00040"), "number of frames"),
    "Frames without colon": (put("Frames: 40", "Frames 40"), ""),
    "Frames and time on a line": (put("Frames: 40\n", "Frames: 40 "), ""),
    "EndSite": (put("End Site", "EndSite", -1), ""),
    "named End Site": (put("End Site", "End Site tip", -1), ""),
    "CHANNELS 0 at an End Site": (put("OFFSET 0 10 0\n", "OFFSET 0 10 0\nCHANNELS 0\n", -1), ""),
    "braces on the line": (sub(r"\n\{", " {"), ""),
    "CHANNELS over two lines": (put("Zposition Z", "Zposition\nZ"), ""),
    "namespace |": (sub(r"^(ROOT|JOINT) ", r"\1 Armature|"), "names of joints"),
    "namespace :": (sub(r"^(ROOT|JOINT) ", r"\1 someone:"), "names of joints"),
    "namespace _": (sub(r"^(ROOT|JOINT) ", r"\1 Character1_"), "names of joints"),
    "quoted names": (sub(r"^(ROOT|JOINT) (\w+)", r'\1 "\2"'), ""),
    "UTF-16": (lambda text: text.encode("utf-16"), "encoding"),
    "a byte-order mark": (lambda text: b"\xef\xbb\xbf" + text.encode(), ""),
    "Windows ends": (put("\n", "\r\n", -1), ""),
    "old Mac ends": (put("\n", "\r", -1), ""),
    "no last end": (lambda text: text.rstrip("\n"), ""),
    "exponents": (in_rows(0, lambda row: row.replace(" 95.0 ", " 9.5e+01 ")), ""),
}


@pytest.fixture(scope="module")
def plain_bvh(tmp_path_factory: pytest.TempPathFactory) -> NDArray[np.float32]:
    path = tmp_path_factory.mktemp("plain") / "a.bvh"
    path.write_text(walking())
    motion, notices = read(BVH(), path)
    assert not notices
    return motion


@pytest.mark.parametrize("name", BVH_READ)
def test_a_bvh_with_one_reading_is_read(
    tmp_path: Path, plain_bvh: NDArray[np.float32], name: str
) -> None:
    change, kind = BVH_READ[name]
    changed = change(walking())
    path = tmp_path / "a.bvh"
    path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    motion, notices = read(BVH(), path)
    np.testing.assert_array_equal(motion, plain_bvh)
    assert list(notices) == ([kind] if kind else [])


BVH_REFUSED: dict[str, tuple[Change, str]] = {
    "a number more": (
        in_rows(2, lambda row: row + " 1.5"),
        "line 137: row 3 has 70 numbers, the hierarchy has 69 channels: a channel is missing in "
        "the hierarchy, or two rows stand on one line; fetch or export the file again",
    ),
    "numbers run together": (
        in_rows(2, lambda row: row.replace(" -", "-", 1)),
        "two numbers that run together",
    ),
    "a word": (
        in_rows(2, lambda row: row.replace("95.0", "high")),
        "line 137: 'high' stands where a number is due; fetch or export the file again",
    ),
    "mixed marks": (
        in_rows(2, lambda row: row.replace("95.0", "1,095.0")),
        "'1,095.0' mixes a decimal comma and a point; write points alone",
    ),
    "many more frames stated": (put("Frames: 40", "Frames: 400"), "'Frames: 400', but 40 rows"),
    "two frame times": (
        put("Frame Time: 0.0333333", "Frame Time: 0.0333333\nFrame Time: 0.01"),
        "says 'frametime' twice, '0.0333333' and '0.01'; remove the wrong one",
    ),
    "milliseconds": (put("Time: 0.0333333", "Time: 33.3333"), "though one in milliseconds"),
    "a short row": (
        in_rows(39, lambda row: row[:100]),
        "line 174: row 40 has 15 numbers, the hierarchy has 69 channels",
    ),
    "two counts": (put("Frames: 40", "Frames: 40\nFrames: 80"), "says 'frames' twice"),
    "a rate for a time": (
        put("Time: 0.0333333", "Time: 30"),
        "though a rate in frames per second; state the frames per second by dataset.rate",
    ),
    "two rates": (
        put("Time: 0.0333333", "Time: 0.003"),
        "means 300 or 360 or 400 frames per second; state the frames per second by dataset.rate",
    ),
    "a mark": (
        in_rows(2, lambda row: row.replace("95.0", "-9999")),
        "frame 3 has -9999 in channel 2, which marks a missing value",
    ),
    "no rows": (lambda text: rows_of(text)[0], "no row of numbers after 'Frame Time:'"),
    "a lost frame": (
        in_rows(2, lambda row: " ".join("0" for _ in row.split())),
        "frame 3 has only zeros between frames that have not",
    ),
    "a pointer": (
        lambda _: "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "a pointer of Git LFS, not the content; fetch the content",
    ),
    "swapped sides": (
        lambda text: re.sub(
            "Left|Right", lambda found: {"Left": "Right", "Right": "Left"}[found[0]], text
        ),
        "left and right are exchanged",
    ),
}


@pytest.mark.parametrize("name", BVH_REFUSED)
def test_a_bvh_with_no_or_two_readings_is_refused(tmp_path: Path, name: str) -> None:
    change, expected = BVH_REFUSED[name]
    path = tmp_path / "a.bvh"
    path.write_bytes(str(change(walking())).encode())
    message = refusal(BVH(), path)
    assert expected in message, message


@pytest.mark.parametrize(
    ("text", "fps", "noticed"),
    [
        *(("0.017", 60, True), ("0.03", 30, True), ("0.033", 30, True), ("0.0333", 30, False)),
        *(("0.04", 25, False), ("0.01", 100, False), ("0.0083", 120, True), ("8.333e-3", 120, 0)),
        *(("0.0334", 29.97, False), ("0.041708", 23.976, False), ("0.011", 90, True)),
        *(("0.0078125", 128, False), ("0.016", 62, True), ("0.021", 48, True), ("0.1", 10, False)),
    ],
)
def test_the_rate_that_a_rounded_time_means(text: str, fps: float, noticed: bool) -> None:
    with collected() as notices:
        assert rate_of(text, "a.bvh: 'Frame Time:'") == pytest.approx(fps, rel=1e-9)
    assert bool(notices) == bool(noticed)


def test_a_stated_rate_settles_it(tmp_path: Path, plain_bvh: NDArray[np.float32]) -> None:
    path = tmp_path / "a.bvh"
    path.write_text(walking().replace("0.0333333", "0"))
    np.testing.assert_array_equal(read(BVH(rate=30), path)[0], plain_bvh)


# Axes.


def turned(text: str, world: NDArray[np.float64], axes: NDArray[np.float64]) -> str:
    """Return BVH text in another world, with other axes of all joints, of the same motion."""

    def offset(found: re.Match[str]) -> str:
        return "OFFSET " + " ".join(map(repr, (axes @ np.array(found[1].split(), float)).tolist()))

    head, rows = rows_of(re.sub(r"OFFSET ([-\d.e ]+)", offset, text))
    table = np.array([row.split() for row in rows], dtype=np.float64)
    table[:, :3] = table[:, :3] @ world.T
    for first in range(3, table.shape[1], 3):
        turn = Rotation.from_euler("ZXY", table[:, first : first + 3], degrees=True).as_matrix()
        turn = (world if first == 3 else axes) @ turn @ axes.T
        angles = Rotation.from_matrix(turn).as_euler("ZXY", degrees=True)
        table[:, first : first + 3] = angles
    return head + "".join(" ".join(map(repr, row)) + "\n" for row in table.tolist())


@pytest.mark.filterwarnings("ignore:Gimbal lock")
@pytest.mark.parametrize("orientation", ["removed", "facing_removed", "kept"])
@pytest.mark.parametrize("names", [_MIXAMO, _LAFAN1], ids=["mixamo", "lafan1"])
def test_other_axes_give_the_same_body_or_are_refused(
    tmp_path: Path, names: dict[str, str], orientation: str
) -> None:
    dataset = BVH.model_validate({"orientation": orientation})
    path = tmp_path / "a.bvh"
    path.write_text(walking(names))
    plain, _ = read(dataset, path)
    read_back = 0
    for number, turn in enumerate(Rotation.create_group("O").as_matrix()):
        path.write_text(turned(walking(names), turn, turn))
        motion, _ = read(dataset, path)
        if orientation == "removed":
            np.testing.assert_allclose(motion, plain, atol=0.01)
        else:
            _check_stands(motion, number)
        read_back += 1
    assert read_back == 24


@pytest.mark.parametrize("orientation", ["removed", "facing_removed", "kept"])
def test_no_random_rotation_of_a_real_file_gives_a_body_that_does_not_stand(
    real_data: Path, tmp_path: Path, orientation: str
) -> None:
    dataset = BVH.model_validate({"orientation": orientation})
    rng = np.random.default_rng(5)
    outcomes = {"read": 0, "refused": 0}
    for name in ("y_up_original.bvh", "z_up.bvh"):
        text = (real_data / "odd" / name).read_text()
        text = re.sub(r"Frame Time: .*", "Frame Time: 0.0333333", text)
        for number in range(12):
            turns = Rotation.random(2, rng=rng).as_matrix()
            world, axes = (turns[0], np.eye(3)) if number % 2 else (np.eye(3), turns[1])
            path = tmp_path / f"{number}{name}"
            path.write_text(turned(text, world, axes))
            try:
                motion, _ = read(dataset, path)
            except InputError:
                assert "dataset.up and dataset.forward" in refusal(dataset, path)
                outcomes["refused"] += 1
            else:
                _check_stands(motion, number)
                outcomes["read"] += 1
    assert outcomes["refused"]
    if orientation == "removed":
        assert outcomes["read"] >= 12


def _check_stands(motion: NDArray[np.float32], label: object) -> None:
    joint = dict(zip(KEPT, np.moveaxis(motion, 1, 0), strict=True))
    tall = np.median(joint["head"] - (joint["left_ankle"] + joint["right_ankle"]) / 2, axis=0)
    assert tall[1] > 0.7 * np.linalg.norm(tall), label


def test_the_packs_odd_files(real_data: Path) -> None:
    if not (real_data / "odd").is_dir():
        pytest.skip("the pack has no folder odd")
    motions = {}
    for path in sorted((real_data / "odd").glob("*.bvh")):
        motions[path.name], _ = read(BVH(), path)
    twin, original = motions.pop("z_up.bvh"), motions.pop("y_up_original.bvh")
    np.testing.assert_allclose(twin, original, atol=0.01)
    first, *others = motions.values()
    assert len(others) == 7
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-6)
    checked = inventory.check(real_data / "odd")
    assert not any(one.refused for one in checked)
    assert sum(bool(one.notices) for one in checked) >= 7
    assert inventory.noticed(checked) is not None


# Arrays.


def standing(frames: int = 50) -> NDArray[np.float64]:
    """Return ``(frame, joint, 3)`` positions of a body that walks, swings and is measured, mm."""
    rng = np.random.default_rng(3)
    time = np.arange(frames) / 25
    swing = 40 * np.sin(4 * time[:, None, None] + rng.uniform(0, 6, (1, len(JOINTS), 3)))
    rest = BODY.rest[BODY.index(JOINTS)]
    walk = np.stack([0 * time + 300, 0 * time + 930, 900 * time], axis=1)
    return rest + swing + walk[:, None] + rng.normal(0, 0.2, (frames, len(JOINTS), 3))


def csv_of(positions: NDArray[np.float64], **options: Any) -> str:
    return _table(positions.round(4), "_").to_csv(index=False, **options)


CSV_READ: dict[str, tuple[Callable[[NDArray[np.float64]], str | bytes], str]] = {
    "tabs": (lambda one: csv_of(one, sep="\t"), "separator"),
    "bars": (lambda one: csv_of(one, sep="|"), "separator"),
    "a spreadsheet's first line": (lambda one: "sep=;\n" + csv_of(one, sep=";"), "separator"),
    "brackets": (lambda one: re.sub(r"_([xyz])\b", r"(\1)", csv_of(one)), "names of columns"),
    "names in capitals": (
        lambda one: csv_of(one).replace(head := csv_of(one).partition("\n")[0], head.upper()),
        "names of columns",
    ),
    "semicolons": (lambda one: csv_of(one, sep=";"), "separator"),
    "semicolons, decimal commas": (lambda one: csv_of(one, sep=";", decimal=","), "separator"),
    "tabs, decimal commas": (lambda one: csv_of(one, sep="\t", decimal=","), "separator"),
    "quoted decimal commas": (
        lambda one: csv_of(one, decimal=",", quoting=1),
        "decimal commas",
    ),
    "spaces round names": (lambda one: csv_of(one).replace(",", " , "), ""),
    "capital axes": (
        lambda one: re.sub(r"_([xyz])\b", lambda found: f"_{found[1].upper()}", csv_of(one)),
        "names of columns",
    ),
    "names without a mark": (
        lambda one: re.sub(r"_([xyz])\b", lambda found: found[1].upper(), csv_of(one)),
        "names of columns",
    ),
    "names with units": (
        lambda one: re.sub(r"_([xyz])\b", r"_\1 (mm)", csv_of(one)),
        "names of columns",
    ),
    "UTF-16": (lambda one: csv_of(one).encode("utf-16"), "encoding"),
    "UTF-8 with a mark": (lambda one: b"\xef\xbb\xbf" + csv_of(one).encode(), ""),
    "comments": (lambda one: "# a tracker's export\n" + csv_of(one), "comments"),
    "a commented header": (lambda one: "# " + csv_of(one), ""),
    "a column of texts": (
        lambda one: _table(one.round(4), "_").assign(note="a, b").to_csv(index=False),
        "",
    ),
    "a column twice, the same": (
        lambda one: re.sub(r"^([^,]+),([^,]+)", r"\1,\2,\2", csv_of(one), flags=re.MULTILINE),
        "a column twice",
    ),
    "Windows ends": (lambda one: csv_of(one).replace("\n", "\r\n"), ""),
    "a last line without end": (lambda one: csv_of(one).rstrip("\n"), "unfinished line"),
}


@pytest.mark.parametrize("name", CSV_READ)
def test_a_table_with_one_reading_is_read(tmp_path: Path, name: str) -> None:
    _folder(tmp_path, LAYOUT)
    write, kind = CSV_READ[name]
    content = write(standing())
    (tmp_path / "plain.csv").write_text(csv_of(standing()))
    path = tmp_path / "a.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    motion, notices = read(Arrays(), path)
    np.testing.assert_array_equal(motion, read(Arrays(), tmp_path / "plain.csv")[0])
    assert not kind or kind in notices
    assert kind or not notices


def with_ones(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([positions, np.ones((*positions.shape[:2], 1))], axis=2)


SHAPES: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "(frame, joint, 4)": with_ones,
    "(frame, 4, joint)": lambda one: with_ones(one).transpose(0, 2, 1),
    "(4, joint, frame)": lambda one: with_ones(one).transpose(2, 1, 0),
    "(frame, 3, joint)": lambda one: one.transpose(0, 2, 1),
    "(3, joint, frame)": lambda one: one.transpose(2, 1, 0),
    "(1, frame, joint, 3)": lambda one: one[None],
    "(frame, 1, joint, 3)": lambda one: one[:, None],
}


@pytest.mark.parametrize("name", SHAPES)
def test_an_array_of_another_shape_is_read(tmp_path: Path, name: str) -> None:
    _folder(tmp_path, LAYOUT)
    np.save(tmp_path / "plain.npy", standing())
    np.save(tmp_path / "a.npy", SHAPES[name](standing()))
    motion, notices = read(Arrays(), tmp_path / "a.npy")
    np.testing.assert_array_equal(motion, read(Arrays(), tmp_path / "plain.npy")[0])
    assert list(notices) == ["shape"]


def lost(positions: NDArray[np.float64], value: Any, joint: str = "left_wrist") -> None:
    positions[20:30, JOINTS.index(joint)] = value


MARKED: dict[str, Any] = {
    "-9999": -9999,
    "-9999999": -9999999,
    "-99999 in one coordinate": [500, 900, -99999],
    "1e6": 1e6,
    "zeros": 0,
    "-1": -1,
    "zero in one coordinate": [330, 0, 800],
    "a giant mark": -999999999999.0,
    "far, never the same": np.random.default_rng(0).uniform(5000, 9000, (10, 3)),
}


@pytest.mark.parametrize("name", MARKED)
@pytest.mark.parametrize("units", ["mm", "m"])
def test_no_mark_is_taken_for_a_position(tmp_path: Path, name: str, units: str) -> None:
    if units == "m" and name == "far, never the same":
        pytest.skip("kilometres are tested by the marks")
    scale = {"mm": 1.0, "m": 1000.0}[units]
    _folder(tmp_path, LAYOUT | {"units": units})
    marked, missing = standing() / scale, standing() / scale
    lost(marked, MARKED[name])
    lost(missing, np.nan)
    for file, positions in (("a.npy", marked), ("plain.npy", missing)):
        np.save(tmp_path / file, positions)
    motion, notices = read(Arrays(), tmp_path / "a.npy")
    np.testing.assert_array_equal(motion, read(Arrays(), tmp_path / "plain.npy")[0])
    assert set(notices) <= {"marked as missing", "impossible"}
    assert "10 samples of joints in 10 frames, first in frame 21" in next(iter(notices.values()))


def test_held_values_spikes_and_frames_in_one_point_are_missing(tmp_path: Path) -> None:
    _folder(tmp_path, LAYOUT)
    positions = standing()
    lost(positions, positions[19, JOINTS.index("left_wrist")])
    positions[40, JOINTS.index("right_elbow")] += [0, 0, 700]
    positions[45] = -5
    np.save(tmp_path / "a.npy", positions)
    motion, notices = read(Arrays(), tmp_path / "a.npy")
    missing = np.asarray(np.isnan(motion).any(axis=2))
    assert missing[20:30, KEPT.index("left_wrist")].all()
    assert missing[40, KEPT.index("right_elbow")]
    assert missing[45].all()
    assert missing.sum() <= 10 + 3 + len(KEPT)
    assert set(notices) == {"marked as missing", "impossible"}


def test_the_setting_missing_says_what_marks(tmp_path: Path) -> None:
    _folder(tmp_path, LAYOUT | {"missing": ["nan", "zero", -1]})
    positions = standing()
    lost(positions, -1)
    lost(positions, 0, "right_wrist")
    np.save(tmp_path / "a.npy", positions)
    motion, _ = read(Arrays(), tmp_path / "a.npy")
    assert np.isnan(motion[20:30, [KEPT.index("left_wrist"), KEPT.index("right_wrist")]]).all()
    _folder(tmp_path, LAYOUT | {"missing": ["nan"]})
    positions = standing()
    positions[0] -= positions[0, JOINTS.index("left_foot")]
    np.save(tmp_path / "a.npy", positions)
    assert np.isfinite(read(Arrays(), tmp_path / "a.npy")[0]).all()


def test_a_root_that_starts_at_the_origin_and_stays_still_is_seen(tmp_path: Path) -> None:
    _folder(tmp_path, LAYOUT)
    positions = standing()
    positions -= positions[:1, :1]
    np.save(tmp_path / "a.npy", positions)
    motion, notices = read(Arrays(), tmp_path / "a.npy")
    assert np.isfinite(motion).all()
    np.save(tmp_path / "a.npy", positions - positions[:, :1])
    relative, more = read(Arrays(), tmp_path / "a.npy")
    np.testing.assert_allclose(relative, motion, atol=1e-2)
    assert not notices | more


def test_one_bad_recording_does_not_reach_the_windows(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        positions = standing()
        if split == "test":
            lost(positions, -9999999)
        np.save(_folder(tmp_path / "arrays" / split, LAYOUT) / "a.npy", positions)
    data = load(Arrays(frames=10, stride=1), tmp_path, tmp_path / "cache")
    assert np.abs(data.splits["test"].motion).max() < 2000
    assert data.incomplete == 19
    assert list(data.notices) == ["test/a.npy"]
    assert load(Arrays(frames=10, stride=1), tmp_path, tmp_path / "cache").notices == data.notices


def _csv_rows(change: Callable[[list[str]], list[str]]) -> Callable[[NDArray[np.float64]], str]:
    return lambda one: "\n".join(change(csv_of(one).splitlines())) + "\n"


def _short(lines: list[str]) -> list[str]:
    lines[5] = lines[5].rsplit(",", 3)[0]
    return lines


CSV_REFUSED: dict[str, tuple[Callable[[NDArray[np.float64]], str], str]] = {
    "a short row": (
        _csv_rows(_short),
        "line 6: row 5 has 61 cells, the header has 64; write nan, or leave the cell empty",
    ),
    "a column twice, differing": (
        lambda one: re.sub(
            r"^([^,]+),([^,]+)", r"\1,\2,\g<2>1", csv_of(one), flags=re.MULTILINE
        ).replace("right_wrist_z1", "right_wrist_z", 1),
        "columns 2 ('right_wrist_z') and 3 ('right_wrist_z') are the same coordinate with other",
    ),
    "points and commas": (
        lambda one: csv_of(one, sep=";").replace(".", ",", 1),
        "a comma may be a decimal one or separate thousands; write decimal points alone",
    ),
    "a word": (
        lambda one: csv_of(one).replace("0.04,", "0.04,lost ", 1),
        "line 3, column 2 ('right_wrist_z'): 'lost ",
    ),
    "another unit": (
        lambda one: re.sub(r"_([xyz])\b", r"_\1 [cm]", csv_of(one)),
        "says cm, motion.yaml says units: mm; correct the wrong one",
    ),
    "another rate": (
        lambda one: _table(one, "_").assign(time=np.arange(len(one)) / 50).to_csv(index=False),
        "column 'time' has steps of 0.02 s, 50 frames per second, motion.yaml says fps: 25",
    ),
    "too far to be metres": (lambda one: csv_of(one * 1000), "check the units"),
}


@pytest.mark.parametrize("name", CSV_REFUSED)
def test_a_table_with_no_or_two_readings_is_refused(tmp_path: Path, name: str) -> None:
    _folder(tmp_path, LAYOUT)
    write, expected = CSV_REFUSED[name]
    path = tmp_path / "a.csv"
    path.write_text(write(standing()))
    message = refusal(Arrays(), path)
    assert expected in message, message


def test_a_parquet_column_twice_is_refused(tmp_path: Path) -> None:
    _folder(tmp_path, LAYOUT)
    table = pa.Table.from_pandas(_table(standing(), "_"))
    shifted = pa.array(table.column("neck_x").to_numpy() + 1000)
    pq.write_table(table.append_column("neck_x", shifted), tmp_path / "a.parquet")
    assert "are the same coordinate with other values" in refusal(Arrays(), tmp_path / "a.parquet")
    pq.write_table(table.append_column("neck_x", table.column("neck_x")), tmp_path / "a.parquet")
    assert "a column twice" in read(Arrays(), tmp_path / "a.parquet")[1]


def test_an_unstated_vertical_that_the_body_contradicts_is_refused(tmp_path: Path) -> None:
    positions = standing()[..., [0, 2, 1]] * [1, -1, 1]
    np.save(_folder(tmp_path, LAYOUT) / "a.npy", positions)
    assert "state up: y or up: z" in refusal(Arrays(orientation="kept"), tmp_path / "a.npy")
    np.save(_folder(tmp_path, LAYOUT | {"up": "z"}) / "a.npy", positions)
    assert np.isfinite(read(Arrays(orientation="kept"), tmp_path / "a.npy")[0]).all()


def test_a_rate_in_the_npz_must_agree(tmp_path: Path) -> None:
    _folder(tmp_path, LAYOUT)
    np.savez(tmp_path / "a.npz", positions=standing(), fps=25)
    assert np.isfinite(read(Arrays(), tmp_path / "a.npz")[0]).all()
    np.savez(tmp_path / "b.npz", positions=standing(), fps=50)
    message = refusal(Arrays(), tmp_path / "b.npz")
    assert "motion.yaml says 25 frames per second, its array fps says 50" in message


# AMASS and the exponential maps.


def angles(columns: int, frames: int = 30) -> NDArray[np.float64]:
    return np.random.default_rng(1).normal(0, 0.2, (frames, columns))


_POSES = angles(156)
AMASS_READ: dict[str, tuple[dict[str, Any], str]] = {
    "poses as vectors": ({"poses": _POSES.reshape(30, 52, 3), "mocap_framerate": 60}, "shape"),
    "a rate as text": ({"poses": _POSES, "mocap_framerate": "60.0"}, "rate as text"),
    "a rate as text with its unit": ({"poses": _POSES, "fps": "60 Hz"}, "rate as text"),
    "frame_rate": ({"poses": _POSES, "frame_rate": 60.0}, ""),
    "fps": ({"poses": _POSES, "fps": np.array([60])}, ""),
    "two rates that agree": ({"poses": _POSES, "fps": 60, "mocap_framerate": 60.0}, ""),
    "root_orient and pose_body": (
        {"root_orient": _POSES[:, :3], "pose_body": _POSES[:, 3:66], "fps": 60},
        "",
    ),
    "global_orient and body_pose": (
        {"global_orient": _POSES[:, :3], "body_pose": _POSES[:, 3:66], "fps": 60},
        "",
    ),
    "body_pose as vectors": (
        {
            "global_orient": _POSES[:, None, :3],
            "body_pose": _POSES[:, 3:66].reshape(30, 21, 3),
            "fps": 60,
        },
        "shape",
    ),
}


@pytest.mark.parametrize("name", AMASS_READ)
def test_every_packaging_of_amass_is_read(tmp_path: Path, name: str) -> None:
    arrays, kind = AMASS_READ[name]
    np.savez(tmp_path / "plain.npz", poses=_POSES, mocap_framerate=60.0)
    np.savez(tmp_path / "a.npz", **arrays)
    motion, notices = read(AMASS(), tmp_path / "a.npz")
    np.testing.assert_array_equal(motion, read(AMASS(), tmp_path / "plain.npz")[0])
    assert list(notices) == ([kind] if kind else [])


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (
            {"poses": _POSES, "mocap_framerate": 60, "fps": 120},
            "mocap_framerate says 60 frames per second, fps says 120; correct the wrong one",
        ),
        ({"poses": _POSES, "fps": 60, "trans": np.zeros((29, 3))}, "30 frames of poses but 29"),
        ({"poses": _POSES, "fps": "fast"}, "fps is 'fast', no frame rate; state dataset.rate"),
        ({"poses": _POSES}, "state it by dataset.rate"),
        ({"poses": _POSES * 57.3, "fps": 60}, "so its rotations may be degrees; convert them"),
    ],
)
def test_amass_that_contradicts_itself_is_refused(
    tmp_path: Path, arrays: dict[str, Any], expected: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    assert expected in refusal(AMASS(), tmp_path / "a.npz")
    if "dataset.rate" in expected:
        assert np.isfinite(read(AMASS(rate=60), tmp_path / "a.npz")[0]).all()


def test_a_damaged_text_for_a_rate_is_refused(tmp_path: Path) -> None:
    rate = np.frombuffer(b"\xff" * 8, "<U2")
    np.savez(tmp_path / "a.npz", poses=_POSES, fps=rate)
    assert "fps cannot be read (of damaged text)" in refusal(AMASS(), tmp_path / "a.npz")


TEXT_READ: dict[str, tuple[Change, str]] = {
    "tabs": (put(",", "\t", -1), "separator"),
    "semicolons, decimal commas": (
        lambda text: text.replace(",", ";").replace(".", ","),
        "separator",
    ),
    "spaces": (put(",", "  ", -1), "separator"),
    "spaces, decimal commas": (
        lambda text: text.replace(",", " ").replace(".", ","),
        "separator",
    ),
    "comma and space": (put(",", ", ", -1), ""),
    "a mark": (lambda text: b"\xef\xbb\xbf" + text.encode(), ""),
    "UTF-16": (lambda text: text.encode("utf-16"), "encoding"),
    "a header": (
        lambda text: ",".join(f"c{n}" for n in range(_width(text))) + "\n" + text,
        "header",
    ),
    "a header of numbers": (
        lambda text: ",".join(map(str, range(_width(text)))) + "\n" + text,
        "header",
    ),
    "a comment": (lambda text: "# made by a script\n" + text, "comments"),
    "blank lines": (put("\n", "\n\n", -1), ""),
    "no last end": (lambda text: text.rstrip("\n"), "unfinished line"),
}


def _width(text: str) -> int:
    return text.partition("\n")[0].count(",") + 1


@pytest.mark.parametrize("name", TEXT_READ)
@pytest.mark.parametrize(("dataset", "columns"), [(H36M(), 99), (CMUExpmap(), 117)])
def test_a_table_of_exponential_maps_is_read(
    tmp_path: Path, dataset: Dataset, columns: int, name: str
) -> None:
    change, kind = TEXT_READ[name]
    plain = io.StringIO()
    pd.DataFrame(angles(columns).round(6)).to_csv(plain, index=False, header=False)
    changed = change(plain.getvalue())
    (tmp_path / "plain.txt").write_text(plain.getvalue())
    path = tmp_path / "a.txt"
    path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    motion, notices = read(dataset, path)
    np.testing.assert_array_equal(motion, read(dataset, tmp_path / "plain.txt")[0])
    assert not kind or kind in notices
    assert kind or not notices
    assert dataset.recognise(File(path)) is not None


# What is not there, and what names it.


def test_links_to_nothing_are_refused(tmp_path: Path) -> None:
    for name in ("walk_1", "run_1", "jump_1"):
        (tmp_path / f"{name}.bvh").write_text(walking())
    (tmp_path / "walk_2.bvh").symlink_to(tmp_path / "gone" / "walk_2.bvh")
    checked = inventory.check(tmp_path)
    refused = [one for one in checked if one.refused]
    assert len(refused) == 1
    assert "a link to" in refused[0].problem
    data = load(BVH(frames=10), tmp_path, tmp_path / "cache")
    assert list(data.skipped) == ["walk_2"]
    with pytest.raises(InputError, match=r"walk_2\.bvh: a link to .*, where nothing is"):
        load(BVH(frames=10), tmp_path, tmp_path / "cache", strict=True)


def test_notices_are_in_the_provenance(tmp_path: Path, bench: Any) -> None:
    for name in ("walk_1", "run_1", "jump_1"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{name}.bvh").write_text("# odd\n" + walking())
    protocol = tmp_path / "p.yaml"
    protocol.write_text(
        "name: p\ndataset: {name: bvh, frames: 10, stride: 5, future: 5}\n"
        "models: {mean: {}}\nocclusion: {features: {levels: [10%]}}\n"
    )
    options = ("--results", tmp_path / "r", "--executor", "local", "--data-root", tmp_path / "data")
    os.environ["GIT_DIR"] = str(tmp_path)
    try:
        ended = bench("run", protocol, *options)
    finally:
        del os.environ["GIT_DIR"]
    assert ended.code == 0, ended.err
    assert "noticed in 3 files, comments" in ended.out
    stated = json.loads((tmp_path / "r" / "p" / "latest" / "provenance.json").read_text())
    assert set(stated["data"]["notices"]) == {"walk_1", "run_1", "jump_1"}
