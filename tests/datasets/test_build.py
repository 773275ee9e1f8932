"""Windows from recordings: bounded memory, resume, unusable files, killed processes."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.core import code_versions
from bench.core.errors import InputError
from bench.datasets import build
from bench.datasets.archive import File
from bench.datasets.base import Data, Dataset, Source
from bench.datasets.build import load
from bench.datasets.synthetic import SKELETON, Synthetic
from bench.motion import Clips, Skeleton
from tests.conftest import PROJECT


class Lengths(Dataset):
    """Files that state how many frames of noise they contain, or what happens when read."""

    name: ClassVar[str] = "lengths"

    @property
    def skeleton(self) -> Skeleton:
        return SKELETON

    def sources(self, root: Path | None) -> list[Source]:
        assert root is not None
        return [
            Source(path.stem, path.stem.split("_")[0], "act", f"s{number}", File(path))
            for number, path in enumerate(sorted(root.glob("*_*.txt")))
        ]

    def read(self, source: Source) -> NDArray[np.float32]:
        assert source.file is not None
        path = source.file.path
        with (path.parent / "log").open("a") as log:
            log.write(f"{source.name}\n")
        content = path.read_text().split("#")[0]
        if content == "interrupt" and not (path.parent / "go on").exists():
            raise KeyboardInterrupt
        if content == "die" and not (path.parent / "go on").exists():
            os._exit(9)
        if content == "broken" and not (path.parent / "go on").exists():
            raise InputError(f"{path}: broken; repair it")
        if content == "slow":
            time.sleep(0.05)
        frames = int(content) if content.isdigit() else 70
        rng = np.random.default_rng(len(source.name) + frames)
        return rng.normal(0, 100, (frames, 18, 3)).astype(np.float32)


def written(root: Path, lengths: dict[str, object]) -> Path:
    root.mkdir(exist_ok=True)
    for name, content in lengths.items():
        (root / f"{name}.txt").write_text(str(content))
    return root


def some(root: Path, **more: object) -> Path:
    return written(root, {"train_0": 90, "valid_0": 60, "test_0": 61, **more})


def log(root: Path) -> list[str]:
    return (root / "log").read_text().split() if (root / "log").exists() else []


def cached(cache: Path) -> list[Path]:
    return sorted(cache.glob(".reading-*/*.npy"))


def same(one: Data, other: Data) -> None:
    for split, windows in one.splits.items():
        again = other.splits[split]
        assert windows.future is not None
        assert again.future is not None
        assert np.array_equal(windows.motion, again.motion)
        assert np.array_equal(windows.future, again.future, equal_nan=True)
        assert windows.index.equals(again.index)


def in_two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "IN_PROCESS", 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def test_windows_are_slices_of_recordings_and_futures_follow_them(tmp_path: Path) -> None:
    root = some(tmp_path / "data", train_1=49, train_2=50, train_3=0)
    dataset = Lengths(stride=7, future=20)
    data = load(dataset, root, tmp_path / "cache")
    assert data.short == ["train_1", "train_3"]
    for split, windows in data.splits.items():
        expected, futures, index = [], [], []
        for source in dataset.sources(root):
            motion = dataset.read(source)
            for start in range(0, len(motion) - 49 if source.split == split else 0, 7):
                future = np.full((20, 18, 3), np.nan)
                rest = motion[start + 50 : start + 70]
                future[: len(rest)] = rest
                expected.append(motion[start : start + 50])
                futures.append(future)
                index.append([source.name, start, "act", source.subject])
        assert isinstance(windows.motion, Clips)
        assert isinstance(windows.motion.recordings.frames, np.memmap)
        assert windows.motion.dtype == np.float32
        assert windows.future is not None
        np.testing.assert_array_equal(windows.motion, np.array(expected))
        np.testing.assert_array_equal(windows.future, np.array(futures))
        assert windows.index.to_numpy().tolist() == index
    assert not list((tmp_path / "cache").glob(".reading-*"))


def test_an_interrupted_build_is_resumed(tmp_path: Path) -> None:
    root = some(tmp_path / "data", train_1=55, train_2="interrupt", train_3=66)
    with pytest.raises(KeyboardInterrupt):
        load(Lengths(), root, tmp_path / "cache")
    before = log(root)
    assert before[-1] == "train_2"
    (root / "go on").touch()
    whole = load(Lengths(), root, tmp_path / "cache")
    after = log(root)[len(before) :]
    assert sorted(before[:-1] + after) == sorted(source.name for source in Lengths().sources(root))
    same(whole, load(Lengths(), root, tmp_path / "elsewhere"))


def test_only_a_repaired_file_is_read_again(tmp_path: Path) -> None:
    root = some(tmp_path / "data", train_1=55, train_2="broken", train_3=66)
    with pytest.raises(InputError, match="train_2"):
        load(Lengths(), root, tmp_path / "cache", strict=True)
    before = log(root)
    written(root, {"train_2": 80})
    load(Lengths(), root, tmp_path / "cache", strict=True)
    assert set(log(root)[len(before) :]) == {"train_2", "train_3", "valid_0"}
    assert before == ["test_0", "train_0", "train_1", "train_2"]


def test_an_unusable_file_is_retried_by_the_next_build(tmp_path: Path) -> None:
    root = some(tmp_path / "data", train_1="broken", train_2="interrupt")
    with pytest.raises(KeyboardInterrupt):
        load(Lengths(), root, tmp_path / "cache")
    (root / "go on").touch()
    data = load(Lengths(), root, tmp_path / "cache")
    assert not data.skipped
    assert "train_1" in set(data.splits["train"].index["source"])


def test_unusable_files_are_reported_and_under_strict_an_error(tmp_path: Path) -> None:
    root = some(tmp_path / "data", train_1="broken", valid_1="broken")
    data = load(Lengths(), root, tmp_path / "cache")
    assert set(data.skipped) == {"train_1", "valid_1"}
    assert str(root / "train_1.txt") in data.skipped["train_1"]
    # Also if windows were built without them before.
    with pytest.raises(InputError, match="broken; repair it"):
        load(Lengths(), root, tmp_path / "cache", strict=True)


def test_several_processes_give_the_same_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = some(tmp_path / "data", **{f"train_{n}": 50 + n for n in range(1, 9)}, valid_1="broken")
    alone = load(Lengths(), root, tmp_path / "alone")
    reads = len(log(root))
    in_two_processes(monkeypatch)
    together = load(Lengths(), root, tmp_path / "together")
    assert len(log(root)) == 2 * reads
    assert together.skipped == alone.skipped
    same(alone, together)


def test_other_processes_stop_at_an_unusable_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_two_processes(monkeypatch)
    files = {f"train_{number:03}": "slow" for number in range(100)}
    root = some(tmp_path / "data", **files, aaa_0="broken")
    try:
        load(Lengths(), root, tmp_path / "cache", strict=True)
    except InputError:
        # While the exception is still referenced, so that nothing was garbage-collected.
        reads = len(log(root))
        time.sleep(0.4)
        assert len(log(root)) == reads < 60
    else:
        pytest.fail("a broken file was no error")


def test_a_killed_process_loses_nothing_that_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_two_processes(monkeypatch)
    files = {f"train_{number:02}": "slow" for number in range(20)}
    root = some(tmp_path / "data", **(files | {"train_19": "die"}))
    with pytest.raises(InputError, match="killed") as refused:
        load(Lengths(), root, tmp_path / "cache")
    assert "\n" not in str(refused.value)
    done = len(cached(tmp_path / "cache"))
    assert done >= 8
    (root / "go on").touch()
    before = len(log(root))
    load(Lengths(), root, tmp_path / "cache")
    assert len(log(root)) - before == 23 - done


def test_a_script_without_a_main_guard_ends(tmp_path: Path) -> None:
    """Worker processes import the script, and so reach the same call."""
    root = some(tmp_path / "data", **{f"train_{number}": 60 for number in range(1, 6)})
    script = tmp_path / "script.py"
    script.write_text(
        "import os\n"
        "from pathlib import Path\n"
        "from bench.datasets import build\n"
        "from tests.datasets.test_build import Lengths\n"
        "build.IN_PROCESS, os.cpu_count = 0, lambda: 2\n"
        f"data = build.load(Lengths(), Path({str(root)!r}), Path({str(tmp_path / 'cache')!r}))\n"
        "print(len(data.splits['train'].motion))\n"
    )
    process = subprocess.Popen(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=120)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, err
    assert out == f"{9 + 5 * 3}\n"
    assert err.count('call load under if __name__ == "__main__":') == 1
    assert "Traceback" not in err
    assert sorted(log(root)) == sorted(source.name for source in Lengths().sources(root))


def test_two_recordings_of_one_name_are_refused(tmp_path: Path) -> None:
    class Twice(Lengths):
        def sources(self, root: Path | None) -> list[Source]:
            return 2 * super().sources(root)

    with pytest.raises(InputError, match="two recordings are called test_0"):
        load(Twice(), some(tmp_path / "data"), tmp_path / "cache")


def test_windows_are_built_again_if_the_code_that_cuts_them_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a data set that does not itself import that code."""
    dataset = Synthetic(subjects=4, seconds=2.5, stride=20)
    before = load(dataset, None, tmp_path).fingerprint
    assert load(dataset, None, tmp_path).fingerprint == before
    read = code_versions._read

    def edited(name: str) -> tuple[str, tuple[str, ...]]:
        version, imported = read(name)
        return ("edited" if name == "bench.datasets.cut" else version), imported

    monkeypatch.setattr(code_versions, "_read", edited)
    assert load(dataset, None, tmp_path).fingerprint != before


def test_large_files_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = "90#" + "x" * build.REMEMBERED
    root = some(tmp_path / "data", train_0=large, train_1="90#y" + "x" * build.REMEMBERED)
    hashed: list[str] = []
    digest = hashlib.file_digest

    def counted(file: BufferedReader, kind: str) -> object:
        hashed.append(file.name)
        return digest(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    first = load(Lengths(), root, tmp_path / "cache")
    assert len(hashed) == 4
    assert load(Lengths(), root, tmp_path / "cache").fingerprint == first.fingerprint
    # Threads hash the files, in any order.
    assert {Path(name).stem for name in hashed[4:]} == {"test_0", "valid_0"}
    assert len(hashed) == 6
    # Other bytes of the same length.
    (root / "train_0.txt").write_text("90#" + "z" * build.REMEMBERED)
    assert load(Lengths(), root, tmp_path / "cache").fingerprint != first.fingerprint


@pytest.mark.parametrize("content", ["", "{", "[1]", '"a"'])
def test_a_damaged_cache_of_hashes_is_ignored(tmp_path: Path, content: str) -> None:
    root = some(tmp_path / "data", train_0="90#" + "x" * build.REMEMBERED)
    first = load(Lengths(), root, tmp_path / "cache")
    known = tmp_path / "cache" / "hashes.json"
    assert json.loads(known.read_text())
    known.write_text(content)
    assert load(Lengths(), root, tmp_path / "cache").fingerprint == first.fingerprint
    assert json.loads(known.read_text())


def test_abandoned_recordings_are_removed_after_two_weeks(tmp_path: Path) -> None:
    root = some(tmp_path / "data")
    for age in (1, 13, 15, 400):
        folder = tmp_path / "cache" / f".reading-{age}"
        folder.mkdir(parents=True)
        (folder / "motion.npy").touch()
        os.utime(folder, (time.time() - age * 86400,) * 2)
    load(Lengths(), root, tmp_path / "cache")
    left = {path.name for path in (tmp_path / "cache").glob(".reading-*")}
    assert left == {".reading-1", ".reading-13"}


def test_memory_does_not_grow_with_the_number_of_recordings(tmp_path: Path) -> None:
    def peak(recordings: int) -> int:
        files = {f"train_{number:03}": 3000 for number in range(recordings)}
        root = some(tmp_path / f"data{recordings}", **files)
        tracemalloc.start()
        load(Lengths(), root, tmp_path / f"cache{recordings}")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2)  # a first call, for imports
    few, many = peak(10), peak(60)
    # 50 more recordings of 650 kB are 32 MB, and 480 MB of windows; their index is in memory.
    assert many - few < 50 * 591 * 100
