"""The motion of the viewer: what cells keep, how it is packed, what a run's page shows of it."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bench.report import exhibition
from bench.sweep.exhibits import LARGEST, STEP, Exhibit, rows_of
from models.base import Imputation
from tests.commands.test_compare import PROTOCOL
from tests.conftest import Bench, run_of, walk


def unpacked(packed: dict[str, Any], joints: int) -> np.ndarray:
    """Decode as the page's script does, in wrapping sums of int16."""
    moved = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), "<i2")
    steps = moved.reshape(-1, joints).cumsum(axis=0, dtype=np.int16)
    return np.where(steps == -LARGEST - 1, np.nan, steps * packed["step"])


@given(
    arrays.arrays(
        np.float32, (5, 2, 3), elements=st.floats(-1e5, 1e5, width=32) | st.just(float("nan"))
    )
)
def test_packed_motion_is_itself_to_half_a_step(motion: np.ndarray) -> None:
    packed = exhibition.encoded(motion)
    found = unpacked(packed, 6).reshape(motion.shape)
    assert np.isnan(found).tolist() == np.isnan(motion).tolist()
    np.testing.assert_allclose(found, motion, atol=0.51 * packed["step"])
    assert packed["step"] <= max(STEP, np.nanmax(np.abs(motion), initial=0) / LARGEST * 1.001)


def test_a_window_takes_little() -> None:
    motion = walk(1).motion[0]
    assert len(exhibition.encoded(motion)["data"]) < 5000
    assert len(exhibition.encoded(np.zeros((50, 18, 3)))["data"]) < 100


def test_an_exhibit_is_the_difference_from_truth_and_marks_what_is_absurd() -> None:
    truth = torch.from_numpy(walk(3).motion)
    motion = truth.clone()
    motion[1, 4, 2, 0] += 12.3
    motion[2, 0, 0, 0] = 1e13
    samples = torch.stack([truth + number for number in range(7)])
    found = Exhibit.of(np.array([0, 1, 2]), Imputation(motion, None, samples), truth)
    assert found.residual[1, 4, 2, 0] * STEP == pytest.approx(12.3, abs=STEP / 2)
    assert found.residual[2, 0, 0, 0] == LARGEST
    assert np.count_nonzero(found.residual) == 2
    assert found.sigma.size == 0
    assert found.samples.shape == (5, 3, 50, 18, 3)
    assert set(np.unique(found.samples[4])) == {4 / STEP}


@given(st.integers(1, 500), st.integers(0, 20), st.lists(st.integers(0, 600), max_size=3))
def test_kept_windows_are_spread_and_named(count: int, spaced: int, named: list[int]) -> None:
    rows = rows_of("+".join(map(str, [spaced, *named])), count)
    assert list(rows) == sorted(set(rows))
    assert all(0 <= row < count for row in rows)
    assert {row for row in named if row < count} <= set(rows)
    if spaced > 1:
        assert {0, count - 1} <= set(rows)
    assert len(rows) <= spaced + len(named)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exhibited")


def run(place: Path, bench: Bench, *options: str) -> Path:
    ended = bench(*run_of(PROTOCOL, place, place / "results"), *options)
    assert ended.code == 0, ended.err
    return (place / "results" / "small" / "latest").resolve()


@pytest.mark.usefixtures("undrawn")
def test_a_run_shows_the_best_median_and_worst_kept_window(place: Path, bench: Bench) -> None:
    folder = run(place, bench)
    motion = exhibition.read(folder)
    assert motion
    values = pd.read_parquet(folder / "windows.parquet")
    judged = values[
        (values["metric"] == "mse") & (values["seed"] == 0) & (values["model"] == "mean")
    ]
    for level in ("10%", "50%"):
        errors = judged[judged["level"] == level].set_index("window")["value"].sort_values()
        shown = {e["rank"]: e for e in motion["exhibits"] if e["level"] == level}
        # All twelve test windows are kept, so these are the best and worst of all.
        assert shown["best"]["window"] == errors.index[0]
        assert shown["median"]["window"] == errors.index[6]
        assert shown["worst"]["window"] == errors.index[-1]
        for exhibit in shown.values():
            hidden = unpacked(exhibit["hidden"], 18) > 0
            for completion in exhibit["completions"]:
                residual = unpacked(completion["residual"], 54).reshape(50, 18, 3)
                assert not residual[~hidden].any(), "an observed joint was changed"
                distances = np.linalg.norm(residual, axis=-1)[hidden]
                assert distances.mean() == pytest.approx(completion["mpjpe"], abs=0.3)


@pytest.mark.usefixtures("undrawn")
def test_a_window_is_shown_by_its_number_without_new_fits(place: Path, bench: Bench) -> None:
    run(place, bench)
    ended = bench(*run_of(PROTOCOL, place, place / "results"), "--show", "7")
    assert "0 fits and 4 cells to do" in ended.out  # those of the first seed that complete
    motion = exhibition.read((place / "results" / "small" / "latest").resolve())
    assert motion
    shown = [exhibit for exhibit in motion["exhibits"] if exhibit["rank"] == "shown"]
    assert [exhibit["number"] for exhibit in shown] == [7, 7]
    refused = bench(*run_of(PROTOCOL, place, place / "results"), "--show", "12")
    assert refused.code == 2
    assert "no test window 12; they are numbered from 0 to 11" in refused.err


def test_the_motion_of_parts_is_joined(tmp_path: Path) -> None:
    def part(name: str, imputer: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        completion = {"name": imputer, "residual": {}}
        exhibit = {"mechanism": "gaps", "level": "1 s", "window": "w", "completions": [completion]}
        motion = {"fps": 25, "truths": {"w": {}}, "exhibits": [exhibit]}
        (folder / exhibition.FILE).write_text(json.dumps(motion))
        return folder

    exhibition.merge([part("a", "linear"), part("b", "vae"), tmp_path], tmp_path)
    joined = exhibition.read(tmp_path)
    assert joined
    (exhibit,) = joined["exhibits"]
    assert [one["name"] for one in exhibit["completions"]] == ["linear", "vae"]


def test_what_there_is_no_room_for_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exhibition, "MOST", 3000)
    exhibits = [
        {
            "window": f"w{number}",
            "mechanism": "m",
            "level": "",
            "completions": [{"name": "x" * 900}],
        }
        for number in range(5)
    ]
    for one in ("a", "b"):
        (tmp_path / one).mkdir()
    whole = {"truths": {}, "exhibits": exhibits}
    (tmp_path / "a" / exhibition.FILE).write_text(json.dumps(whole))
    exhibition.merge([tmp_path / "a"], tmp_path / "b")
    motion = exhibition.read(tmp_path / "b")
    assert motion
    assert len(motion["exhibits"]) + motion["left_out"] == 5
    assert motion["left_out"] > 0
    assert (tmp_path / "b" / exhibition.FILE).stat().st_size < 3200


@pytest.mark.real
def test_recordings_are_viewed_over_each_other(
    bench: Bench, tmp_path: Path, real_data: Path
) -> None:
    file = min((real_data / "bvh" / "bandai_namco_1").glob("*.bvh"))
    page = tmp_path / "seen.html"
    ended = bench("view", file, file, "--to", page, "--no-browser")
    assert ended.code == 0, ended.err
    assert page.name in ended.out
    assert f"{file.name} (2)" in page.read_text()
    assert page.stat().st_size < 500_000


@pytest.mark.parametrize(
    ("name", "says"),
    [("words.xyz", "no data set recognises it"), ("nothing.bvh", "no such file")],
)
def test_what_is_no_recording_gets_one_line(
    name: str, says: str, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("words.xyz").write_text("no motion")
    ended = bench("view", name, "--no-browser")
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert says in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["words.xyz"]
