"""The commands ``bench data list``, ``describe`` and ``check``."""

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.commands import describe, inventory
from bench.core.errors import InputError
from bench.core.registry import DATASETS
from bench.datasets.archive import File
from bench.datasets.base import Data, Dataset, Source
from bench.datasets.build import load
from bench.datasets.synthetic import SKELETON
from bench.motion import Skeleton
from tests.conftest import Bench, walk

SMALL = ("--set", "subjects=4", "--set", "seconds=3.5", "--set", "stride=20")


class Wobble(Dataset):
    """Bodies with different known bone lengths; one lacks values, one cannot be read."""

    name: ClassVar[str] = "wobble"
    home: ClassVar[str] = "wobble.example, free for all"

    @property
    def skeleton(self) -> Skeleton:
        return SKELETON

    def sources(self, root: Path | None) -> list[Source]:
        if root is None:
            raise InputError("wobble: no folder; give --data-root")
        rows = [
            ("a", "train", "walk", "x"),
            ("b", "train", "walk", "y"),
            ("c", "valid", "sit", "x"),
            ("d", "test", "", ""),
            ("short", "test", "walk", "y"),
            ("broken", "train", "walk", "y"),
        ]
        return [Source(*row) for row in rows]

    def read(self, source: Source) -> NDArray[np.float32]:
        if source.name == "broken":
            raise InputError("wobble: broken has no end; fetch it again")
        frames = {"short": 30, "d": 150}.get(source.name, 100)
        scale = {"a": 0.9, "b": 1.1}.get(source.name, 1.0)
        pulse = 1 + 0.05 * (-1.0) ** np.arange(frames)[:, None, None]
        motion = (scale * pulse * SKELETON.rest).astype(np.float32)
        if source.name == "d":
            motion[140:, 3, 1] = np.nan
        return motion

    def recognise(self, file: File) -> Source | None:
        if file.inner.suffix != ".wob":
            return None
        name = file.read().decode()
        if name == "bug":
            raise ZeroDivisionError("by\nzero")
        return Source(name, "train", file=file)


@pytest.fixture
def wobble(monkeypatch: pytest.MonkeyPatch) -> type[Dataset]:
    monkeypatch.setitem(DATASETS._classes, "wobble", Wobble)
    return Wobble


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return load(Wobble(), tmp_path, tmp_path / "cache")


def cells(text: str, title: str) -> list[str]:
    """Return the cells of a printed table in the row with a title."""
    row = next(line for line in text.splitlines() if line[1:].strip().startswith(title))
    return [cell.strip() for cell in row.split("│")[2:-1]]


def test_list_counts_recordings_or_gives_the_reason_for_none(
    bench: Bench, tmp_path: Path, wobble: type[Dataset]
) -> None:
    ended = bench("data", "list")
    assert ended.code == 0
    assert cells(ended.out, "synthetic")[:2] == ["synthetic", "160 (train 100, valid 20, test 40)"]
    assert cells(ended.out, "wobble") == [
        "real", "wobble: no folder; give --data-root", "wobble.example, free for all"
    ]  # fmt: skip
    assert "where are the files?" in ended.out
    present = bench("data", "list", "--data-root", tmp_path)
    assert cells(present.out, "wobble")[1] == "6 (train 3, valid 1, test 2)"


def test_names_are_shown_as_they_are(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brackets are markup in printed tables, dollars mathematics in figures."""
    odd = "[/b] $x_{ [red]"

    class Odd(Wobble):
        home: ClassVar[str] = odd

        def sources(self, root: Path | None) -> list[Source]:
            found = super().sources(root)
            return [replace(one, action=odd, name=f"{one.name} {odd}") for one in found]

    monkeypatch.setitem(DATASETS._classes, "wobble", Odd)
    root = tmp_path / "a[" / "b] [red]"
    root.mkdir(parents=True)
    listed = bench("data", "list", "--data-root", root)
    assert listed.code == 0
    assert cells(listed.out, "wobble")[2] == odd
    described = bench(
        "data", "describe", "wobble", "--data-root", tmp_path, "--results", root / "results"
    )
    assert described.code == 0, described.err
    assert f"{odd} 0." in described.out
    assert f"written: {root}" in described.out


def test_list_reads_no_recording(bench: Bench, real_data: Path, monkeypatch: Any) -> None:
    from bench.datasets.cmu_expmap import CMUExpmap

    monkeypatch.setattr(CMUExpmap, "read", None)
    ended = bench("data", "list", "--data-root", real_data)
    assert ended.code == 0
    assert cells(ended.out, "cmu_expmap")[1] == "38 (train 26, valid 6, test 6)"


def test_every_real_data_set_has_its_place_of_publication() -> None:
    own = {"arrays", "bvh", "markers"}  # formats of the user's own files
    for cls in DATASETS.all().values():
        if cls.__module__.startswith("bench.") and not cls.synthetic and cls.name not in own:
            assert cls.home, cls


def test_describe_counts_what_was_read(bench: Bench, tmp_path: Path, wobble: type[Dataset]) -> None:
    ended = bench(
        "data", "describe", "wobble", "--data-root", tmp_path, "--results", tmp_path / "results"
    )
    assert ended.code == 0, ended.err
    expected = {
        "recordings (train": "2, 1, 2",
        # 200, 100 and 180 frames at 25 a second
        "minutes (train": "0.1, 0.1, 0.1",
        # 11 from each 100 frames, every 5th start; of d's 21 those that reach frame 140 lack values
        "windows (train": "22, 11, 19",
        "frames of a window": "50",
        "frames per second": "25",
        "subjects": "2",
        "actions": "2",
        "coordinates missing": "10 (0.039 %)",
        "windows left out for that": "2",
        "recordings shorter": "1",
        "recordings that cannot": "1",
        "absent files": "0",
    }
    for title, value in expected.items():
        assert cells(ended.out, title) == [value], title
    assert cells(ended.out, "minutes by action") == ["walk 0.2"]
    assert "skipped: wobble: broken has no end; fetch it again" in ended.out
    picture = tmp_path / "results" / "data" / "wobble.png"
    assert f"written: {picture}" in ended.out
    with Image.open(picture) as image:
        assert image.width > 400


def test_bone_variation_within_and_between_recordings_is_as_constructed(data: Data) -> None:
    bones = describe.bone_lengths(data)
    assert len(bones) == len(SKELETON.bones)
    offsets = np.linalg.norm(SKELETON.offsets[[child for _, child in SKELETON.bones]], axis=-1)
    scales = np.array([0.9, 1.1, 1.0, 1.0])
    np.testing.assert_allclose(bones["length"], offsets * scales.mean(), rtol=1e-5)
    np.testing.assert_allclose(bones["between"], offsets * scales.std(), rtol=1e-4)
    within = 0.05 * np.sqrt((scales**2).mean())
    np.testing.assert_allclose(bones["within"], offsets * within, rtol=1e-4)
    longest = bones.index[int(np.argmax(offsets))]
    assert describe._worst(bones, "between").startswith(f"{longest}, s.d. ")


def test_the_old_command_is_the_same(bench: Bench, tmp_path: Path) -> None:
    arguments = ("synthetic", *SMALL, "--results", tmp_path)
    new, old = bench("data", "describe", *arguments), bench("describe", *arguments)
    assert new.code == old.code == 0
    assert new.out == old.out
    for text in ("synthetic", "DCT", "joint speed", "PCA", "linear", "left_knee to left_ankle"):
        assert text in new.out
    assert "│ describe" not in bench("--help").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["synthetic", "--set", "secnds=3"], "did you mean 'seconds'"),
        (["synthetic", "--set", "seconds"], "--set seconds"),
        (["synthetic", "--set", "subjects=1"], "subjects"),
        (["synthtic"], "did you mean 'synthetic'"),
        (["cmu_expmap"], "--data-root"),
    ],
)
def test_describe_refuses_in_one_line(
    bench: Bench, tmp_path: Path, arguments: list[str], message: str
) -> None:
    ended = bench("data", "describe", *arguments, "--results", tmp_path)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1


def test_the_picture_is_the_same_each_time(data: Data, tmp_path: Path) -> None:
    first = describe.draw(data, tmp_path / "one").read_bytes()
    assert describe.draw(data, tmp_path / "two").read_bytes() == first


@pytest.mark.parametrize(("actions", "rows"), [(20, 8), (8, 8), (3, 8), (1, 8)])
def test_a_picture_shows_recordings_as_diverse_as_possible(actions: int, rows: int) -> None:
    recordings = pd.DataFrame(
        [
            {"source": f"{subject}/{action}", "action": f"{action:02}", "subject": subject}
            for subject in "abcdefghij"
            for action in range(actions)
        ]
    )
    chosen = describe._spread(recordings)
    assert len(chosen) == rows
    assert chosen["source"].is_unique
    counts = chosen["action"].value_counts()
    assert len(counts) == min(actions, rows)
    assert counts.max() - counts.min() <= 1
    assert chosen["subject"].nunique() > 3
    if actions > rows:  # the first, the last, and some between
        assert {"00", "19"} <= set(chosen["action"])
    pd.testing.assert_frame_equal(chosen, describe._spread(recordings))


def test_a_run_names_what_it_left_out_of_foreign_data_too(
    bench: Bench, tmp_path: Path, wobble: type[Dataset]
) -> None:
    file = tmp_path / "foreign.yaml"
    file.write_text(
        "dataset: {name: synthetic, subjects: 4, seconds: 3.5, stride: 20}\n"
        "models: {pca_error: {}}\n"
        "occlusion: {features: {levels: [10%]}}\n"
        "foreign: {wobble: {}}\n"
    )
    ended = bench("run", file, "--data-root", tmp_path, "--results", tmp_path, "--dry-run")
    assert ended.code == 0, ended.err
    assert not ended.out.startswith("\n")
    assert "wobble, left out, unusable (1):" in ended.out
    assert "wobble: broken has no end; fetch it again" in ended.out
    assert "wobble, windows left out for missing values: " in ended.out


def expmap(frames: int = 60) -> bytes:
    """Return a file of the CMU benchmark without movement."""
    return b"\n".join([b",".join([b"0"] * 117)] * (frames + 1)) + b"\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "data"
    (place / "train" / "walking").mkdir(parents=True)
    (place / "train" / "walking" / "walking_1.txt").write_bytes(expmap(1201))
    (place / "elsewhere.txt").write_bytes(expmap())
    (place / "notes.txt").write_text("a,b\n1,2\n")
    (place / "01.asf").write_text(":version 1.10\n")
    with zipfile.ZipFile(place / "more.zip", "w") as opened:
        opened.writestr("deep/inside.TXT", expmap())
        opened.writestr("picture.png", b"png")
        opened.writestr("inner.zip", b"PK")
    return place


def test_check_reads_all_files(bench: Bench, folder: Path) -> None:
    ended = bench("data", "check", folder)
    assert ended.code == 0
    assert cells(ended.out, "cmu_expmap") == ["3", "0.2", "0"]
    for reason in (
        "not motion (.asf: a skeleton",
        "not motion (.txt: not recognised by any data set)",
        "not motion (.png: not recognised by any data set)",
        "not motion (.zip: an archive in an archive",
    ):
        assert cells(ended.out, reason)[0] == "1 ignored"


def test_check_names_what_is_refused(bench: Bench, folder: Path) -> None:
    bad = folder / "train" / "walking" / "walking_1.txt"
    bad.write_bytes(bad.read_bytes()[:-3])
    with zipfile.ZipFile(folder / "more.zip", "a") as opened:
        opened.writestr("deep/bad.txt", expmap().replace(b"0,0\n", b"0,nan\n", 1))
    (folder / "cut.zip").write_bytes((folder / "more.zip").read_bytes()[:100])
    ended = bench("data", "check", folder)
    assert ended.code == 1
    refused = [line for line in ended.out.splitlines() if line.startswith("refused: ")]
    assert len(refused) == 3
    for place, reason in (
        (f"{bad}:", "cut short"),
        (f"{folder / 'more.zip'}:deep/bad.txt:", "lacks a finite number"),
        (f"{folder / 'cut.zip'}:", "not a whole zip archive"),
    ):
        assert any(line.startswith(f"refused: {place}") and reason in line for line in refused)
    assert cells(ended.out, "cmu_expmap")[2] == "2"


def test_check_of_a_single_file(bench: Bench, folder: Path) -> None:
    assert bench("data", "check", folder / "elsewhere.txt").code == 0
    assert bench("data", "check", folder / "more.zip").code == 0
    assert bench("data", "check", folder / "notes.txt").code == 0
    empty = folder / "train" / "walking" / "walking_2.txt"
    empty.write_bytes(b"")
    assert bench("data", "check", empty).code == 1
    for nothing in (folder / "nowhere", Path("/dev/zero")):
        ended = bench("data", "check", nothing)
        assert ended.code == 2
        assert ended.err == f"bench: {nothing}: no such file or folder\n"


def test_a_failing_reader_does_not_hide_other_files(tmp_path: Path, wobble: type[Dataset]) -> None:
    for name in ("a", "broken", "bug"):
        (tmp_path / f"{name}.wob").write_text(name)
    good, refused, failed = inventory.check(tmp_path)
    assert (good.kind, good.problem, good.seconds) == ("wobble", "", 4.0)
    assert refused.refused
    assert refused.problem == "wobble: broken has no end; fetch it again"
    assert failed.refused
    assert "ZeroDivisionError: by zero" in failed.problem


def test_what_one_data_set_refuses_another_may_read(
    tmp_path: Path, wobble: type[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Also(Wobble):
        """Reads files that the other one refuses."""

        name: ClassVar[str] = "zz_also"

        def read(self, source: Source) -> NDArray[np.float32]:
            return walk(1).motion[0]

    monkeypatch.setitem(DATASETS._classes, "zz_also", Also)
    (tmp_path / "x.wob").write_text("broken")
    (tmp_path / "y.wob").write_text("a")
    assert [one.kind for one in inventory.check(tmp_path)] == ["zz_also", "wobble"]


def test_check_of_real_data(real_data: Path) -> None:
    checked = inventory.check(real_data / "cmu_expmap")
    assert [one.kind for one in checked] == ["cmu_expmap"] * 38
    assert not any(one.refused for one in checked)
    # 40,331 rows, of which one in each file is a T-pose, at 120 a second.
    assert sum(one.seconds for one in checked) == pytest.approx((40_331 - 38) / 120, rel=0.01)
