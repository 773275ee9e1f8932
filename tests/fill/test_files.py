"""Files of markers: what is read, what is missing, and what comes back."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.commands import fill as command
from bench.core.errors import InputError
from bench.datasets.archive import File
from bench.datasets.c3d_layout import Layout, layout_of
from bench.datasets.points import open_c3d
from bench.fill.gaps import gaps_of
from bench.fill.missing import missing_of
from bench.fill.recording import OPENERS, opened
from tests.conftest import Bench
from tests.datasets.c3d_files import write_c3d
from tests.fill.test_fill import FPS, body, gappy

REFUSED = {
    "btk_truncated.trc": "cut short in its header",
    "c3dorg02_sgi_real.c3d": "MIPS",
    "lwpca_masks.npz": "arrays of shape",
}
OTHERWISE = {
    "vicon_pig_hole.c3d": "the index counts model outputs as points",
    "vicon_pig_lowerlimb.c3d": "the index counts model outputs as points",
    "btk_gait.trc": "the index counts 33 columns without a name as points",
    "bts_dynamic.c3d": "the index was made by a library that misses the six analog channels",
    "motive_121_take.csv": "the index counts cells of all columns",
}
"""Files of which other samples are counted than by the index, and why."""


@pytest.fixture(scope="module")
def markers(real_data: Path) -> Path:
    folder = real_data / "markers"
    if not folder.is_dir():
        pytest.skip("no folder markers/ in the real data")
    return folder


def trc(path: Path, rows: list[str], frames: int | None = None, end: str = "\n") -> Path:
    """Write a TRC file of two markers at 100 Hz, in mm."""
    count = len(rows) if frames is None else frames
    head = [
        "PathFileType\t4\t(X/Y/Z)\tx.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits",
        f"100\t100\t{count}\t2\tmm",
        "Frame#\tTime\tone\t\t\ttwo\t\t",
        "\t\tX1\tY1\tZ1\tX2\tY2\tZ2",
        "",
    ]
    path.write_text("\n".join([*head, *rows]) + end)
    return path


def test_every_real_file_is_read_or_refused_for_a_true_reason(markers: Path) -> None:
    with (markers / "index.csv").open() as file:
        index = {row["path"]: row for row in csv.DictReader(file)}
    files = [path for path in sorted(markers.iterdir()) if path.suffix in OPENERS]
    for path in files:
        if path.name in ("index.csv", "complete.csv"):
            continue
        if path.name in REFUSED:
            with pytest.raises(InputError, match=REFUSED[path.name]):
                opened(path)
            continue
        coded = opened(path)
        nothing = np.zeros(coded.values.shape[:2], dtype=np.bool_)
        assert coded.written(coded.values, nothing) == path.read_bytes(), path.name
        row = index.get(path.name, {})
        if path.name in OTHERWISE or not row.get("gaps"):
            continue
        missing, _ = missing_of(coded)
        gaps = [gap for gap in gaps_of(~missing) if gap.place != "never"]
        assert missing.sum() == int(row["missing_flagged"]) + int(row["missing_as_zero"]), path.name
        assert len(gaps) == int(row["gaps"]), path.name
        assert max(map(len, gaps), default=0) == int(row["longest_gap"]), path.name


def test_every_real_file_is_filled_and_what_was_seen_is_the_same(
    markers: Path, tmp_path: Path
) -> None:
    wanted = command.Wanted(method="linear", fps=100.0)
    for path in sorted(markers.iterdir()):
        if path.suffix not in OPENERS or path.name in (*REFUSED, "index.csv", "complete.csv"):
            continue
        recording = command.read(path, wanted)
        result = command.filled(recording, wanted)
        command.write(recording, result, tmp_path / path.name)
        again = opened(tmp_path / path.name)
        seen = ~result.filled
        before, after = opened(path).values[seen], again.values[seen]
        assert before.tobytes() == after.tobytes(), path.name
        assert not missing_of(again)[0][result.filled].any(), path.name
        assert result.filled.sum() == result.gaps.query("status == 'filled'")["frames"].sum()


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".parquet"])
def test_arrays_come_back_as_they_were(tmp_path: Path, bench: Bench, suffix: str) -> None:
    truth, given = gappy()
    metres = (given / 1000).astype(np.float32)
    path, to = tmp_path / f"walk{suffix}", tmp_path / f"filled{suffix}"
    names = [f"m{point}_{axis}" for point in range(given.shape[1]) for axis in "xyz"]
    table = pd.DataFrame(metres.reshape(len(given), -1), columns=names).assign(label="x")
    if suffix == ".npy":
        np.save(path, metres)
    elif suffix == ".npz":
        np.savez(path, poses=metres, fps=FPS, names=np.array(names[::3]), other=np.arange(5))
    else:
        table.assign(time=np.arange(len(given)) / FPS).to_parquet(path)
    ended = bench("fill", path, "-o", to, "--units", "m", "--fps", FPS)
    assert ended.code == 0, ended.err
    seen = np.isfinite(given)
    if suffix == ".parquet":
        old, new = pd.read_parquet(path), pd.read_parquet(to)
        pd.testing.assert_frame_equal(old[["label", "time"]], new[["label", "time"]])
        found = new[names].to_numpy().reshape(given.shape)
    else:
        file = np.load(to)
        found = file if suffix == ".npy" else file["poses"]
        if suffix == ".npz":
            assert file.files == ["poses", "fps", "names", "other"]
    assert found.dtype == np.float32
    assert found[seen].tobytes() == metres[seen].tobytes()
    assert np.linalg.norm(found * 1000 - truth, axis=-1)[~seen.all(axis=-1)].mean() < 3


def test_the_page_shows_what_was_filled(tmp_path: Path, bench: Bench) -> None:
    _, given = gappy()
    given[:4, 3] = np.nan
    np.savez(tmp_path / "walk.npz", a=given, fps=FPS, names=np.array([*"abcdef", "<b>"]))
    page = tmp_path / "page.html"
    ended = bench("fill", tmp_path / "walk.npz", "-o", tmp_path / "b.npz", "--report", page)
    assert ended.code == 0, ended.err
    text = page.read_text()
    assert "3 gaps filled, 1 left" in text
    assert "<b>" not in text
    found = re.search(r'id="motion-data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    motion = json.loads(found[1])
    assert len(motion["exhibits"]) == 4  # the whole recording, and each filled gap
    account = pd.read_csv(tmp_path / "b.npz.gaps.csv")
    assert list(account["status"].eq("filled")) == [True, True, True, False]


@pytest.mark.parametrize(
    "name",
    [
        "c3dorg02_dec_int.c3d",
        "vicon_freeform_53.c3d",
        "opencap_DJ5.trc",
        "nimble_weird_zero.trc",
    ],
)
def test_nothing_but_filled_samples_changes_in_a_file(
    markers: Path, tmp_path: Path, name: str
) -> None:
    recording = command.read(markers / name, command.Wanted(method="pchip"))
    result = command.filled(recording, command.Wanted(method="pchip"))
    to, report = tmp_path / name, tmp_path / "gaps.json"
    assert command.write(recording, result, to, report) == [to, report]
    again = opened(to)
    seen = ~result.filled
    assert again.names == recording.coded.names
    assert again.values[seen].tobytes() == opened(markers / name).values[seen].tobytes()
    step = 1.0 if name.endswith(".c3d") else 1e-5
    want = result.positions[result.filled]
    np.testing.assert_allclose(again.values[result.filled] * again.scale, want, atol=step)
    assert not missing_of(again)[0][result.filled].any()
    left = np.isnan(result.positions).any(axis=-1)
    assert (missing_of(again)[0] == left).all()
    assert len(json.loads(report.read_text())) == len(result.gaps)
    before, after = (markers / name).read_bytes(), to.read_bytes()
    if name.endswith(".c3d"):
        changed = sum(x != y for x, y in zip(before, after, strict=True))
        assert 0 < changed <= result.filled.sum() * 16
        assert again.residual is not None
        assert (again.residual[result.filled] == 0).all()


def test_a_c3d_file_whose_parameters_hide_its_analog_channels_is_read_by_its_header(
    markers: Path,
) -> None:
    c3d = open_c3d(File(markers / "bts_dynamic.c3d"))
    assert c3d.corrected
    steps = np.linalg.norm(
        np.diff(np.where(c3d.residual[..., None] < 0, np.nan, c3d.positions), axis=0), axis=-1
    )
    assert np.nanmax(steps) < 150


def test_the_layout_of_a_c3d_file_is_where_the_library_reads(tmp_path: Path) -> None:
    positions = body(20, 4)
    path = write_c3d(tmp_path / "a.c3d", positions, list("abcd"))
    layout = layout_of(path.read_bytes(), 20)
    assert layout is not None
    found, missing = layout.samples(path.read_bytes())
    np.testing.assert_allclose(found, positions, rtol=1e-6, atol=1e-3)
    assert not missing.any()


def test_frames_beyond_what_a_c3d_header_states_are_filled(tmp_path: Path) -> None:
    positions = np.sin(np.arange(70_000)[:, None, None] / 50 + np.arange(3)) * 300 + [0, 500, 900]
    positions = np.repeat(positions, 2, axis=1)
    path = write_c3d(tmp_path / "a.c3d", positions, ["a", "b"])
    recording = command.read(path, command.Wanted())
    assert recording.positions.shape == (70_000, 2, 3)
    np.testing.assert_allclose(recording.positions[66_000:], positions[66_000:], atol=1e-3)
    assert any("all 70000 were read" in note for note in recording.notes)


@pytest.mark.parametrize(("scale", "dec"), [(-1.0, False), (-1.0, True), (0.25, False)])
def test_words_are_decoded_as_they_were_encoded(scale: float, dec: bool) -> None:
    layout = Layout(0, 1, 1, 0, scale, dec)
    values = np.array([1234.5, -0.25, 0.0])
    words = layout.encoded(values)
    found = words.astype(np.float64) * scale if scale > 0 else layout.decoded(words)
    np.testing.assert_array_equal(found, values)


def test_zeros_are_missing_unless_the_point_passes_the_origin(tmp_path: Path) -> None:
    far = [f"{n}\t{n / 100}\t{n * 0.5 - 5:.1f}\t0\t0\t{500 + n}\t0\t0" for n in range(20)]
    far[8] = "8\t0.08\t-1.0\t0\t0\t0\t0\t0"
    missing, notes = missing_of(opened(trc(tmp_path / "a.trc", far)))
    assert np.argwhere(missing).tolist() == [[8, 1]]
    assert "1 samples missing: exactly at 0, 0, 0" in notes
    assert missing_of(opened(tmp_path / "a.trc"), "zero")[0].sum() == 2
    assert not missing_of(opened(tmp_path / "a.trc"), "nan")[0].any()


def test_a_held_value_is_missing_and_a_still_point_is_not(tmp_path: Path) -> None:
    rows = []
    for n in range(60):
        at = 20 if 20 <= n < 40 else n
        rows.append(f"{n}\t{n / 100}\t{100 + 7 * at}\t3\t4\t900\t5\t6")
    missing, notes = missing_of(opened(trc(tmp_path / "a.trc", rows)))
    assert np.flatnonzero(missing[:, 0]).tolist() == list(range(21, 40))
    assert not missing[:, 1].any()
    assert "19 samples missing: held constant" in notes


def test_a_csv_file_is_filled_cell_by_cell(tmp_path: Path, bench: Bench) -> None:
    truth, given = gappy()
    path, to = tmp_path / "walk.csv", tmp_path / "out" / "walk.csv"
    head = ["time"] + [f"m{p}_{axis}" for p in range(given.shape[1]) for axis in "xyz"]
    lines = [",".join(head)]
    for frame, row in enumerate(given):
        cells = ["" if np.isnan(one) else f"{one:.3f}" for one in row.ravel()]
        lines.append(",".join([f"{frame / FPS:.2f}", *cells]))
    path.write_text("\n".join(lines) + "\n")
    ended = bench("fill", path, "-o", to)
    assert ended.code == 0, ended.err
    assert "3 gaps filled, 0 left" in ended.out
    old, new = path.read_text().splitlines(), to.read_text().splitlines()
    for before, after in zip(old, new, strict=True):
        pairs = list(zip(before.split(","), after.split(","), strict=True))
        assert all(x == y for x, y in pairs if x)
    error = opened(to).values - truth
    assert np.abs(error).mean(axis=(0, 2)).max() < 3
    assert len((tmp_path / "out" / "walk.csv.gaps.csv").read_text().splitlines()) == 4


def test_dry_run_lists_and_writes_nothing(tmp_path: Path, bench: Bench) -> None:
    rows = [f"{n}\t{n / 100}\t{n}\t3\t4\t900\t5\t6" for n in range(30)]
    rows[5] = "5\t0.05\t\t\t\t900\t5\t6"
    path = trc(tmp_path / "a.trc", rows)
    ended = bench("fill", path, "--dry-run", "-o", tmp_path / "b.trc")
    assert ended.code == 0
    assert "to fill" in ended.out
    assert [one.name for one in tmp_path.iterdir()] == ["a.trc"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.trc"], "no place to write to"),
        (["a.trc", "-o", "a.trc"], "it is the recording itself"),
        (["a.trc", "-o", "b.c3d"], "the format stays .trc"),
        (["a.trc", "-o", "b.trc", "--method", "magic"], "no such method"),
        (["a.trc", "-o", "b.trc", "--missing", "magic"], "no such rule"),
        (["a.trc", "-o", "b.trc", "--max-gap", "-1"], "give a duration above 0"),
        (["a.trc", "-o", "b.trc", "--report", "r.pdf"], "end it with .csv, .json, .html"),
        (["a.trc", "-o", "b.trc", "--units", "inch"], "give mm, cm, m"),
        (["a.trc", "-o", "b.trc", "--imputer", "x"], "--imputer x: of what?"),
        (["a.trc", "-o", "b.trc", "--run", "x"], "x: no such folder"),
        (["b.doc", "-o", "c.doc"], "not one of .c3d"),
        (["none.trc", "-o", "b.trc"], "no such file"),
        (["cut.trc", "-o", "b.trc"], "cut short in line"),
        (["word.trc", "-o", "b.trc"], "line 7, cell 3: 'x' is no number"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_no_file(
    tmp_path: Path,
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    row = "1\t0.01\t1\t2\t3\t4\t5\t6"
    trc(tmp_path / "a.trc", [row, row])
    trc(tmp_path / "cut.trc", [row, "2\t0.02\t1\t2"], frames=9, end="")
    trc(tmp_path / "word.trc", [row.replace("\t1\t", "\tx\t")])
    before = sorted(tmp_path.iterdir())
    ended = bench("fill", *arguments)
    assert ended.code == 2
    assert message in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before
