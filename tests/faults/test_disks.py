"""Disks that are full or cannot be written, and two runs on one folder."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Bench, Ended
from tests.faults.conftest import (
    LOCAL,
    Sweeps,
    assert_nothing_half_written,
    assert_same_tables,
    latest,
)


@dataclass(frozen=True)
class Disk:
    """A small file system."""

    folder: Path

    @property
    def filler(self) -> Path:
        """The file that takes up the space."""
        return self.folder / "filler"

    def fill(self) -> None:
        """Fill the disk."""
        with self.filler.open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 8, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    def make_read_only(self) -> None:
        """Remount the disk read-only."""
        subprocess.run(["mount", "-o", "remount,ro", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command to make a small disk with")
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def assert_refused(ended: Ended, *words: str) -> None:
    """Assert that a run ended with one line that has these texts, and exit code 2."""
    assert ended.code == 2, ended.out + ended.err
    lines = (ended.out + ended.err).splitlines()
    # Python may print a traceback of a worker that Ray ended.
    assert not [line for line in lines if "Traceback" in line and "(trial pid=" not in line]
    assert not [line for line in lines if "Errno" in line]
    (line,) = [line for line in ended.err.splitlines() if line.startswith("bench: ")]
    assert all(word in line for word in words), line


@pytest.mark.ray
def test_a_disk_that_becomes_full(
    disk: Disk, sweeps: Sweeps, undisturbed: Path, tmp_path: Path
) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    both = sweeps.start_both(disk.folder, HOLD=str(hold))
    for running in both:
        running.wait_for("slow features")
    disk.fill()
    hold.unlink()
    kept: dict[Path, int] = {}
    for running in both:
        assert_refused(running.end(code=2), "no space left on device; fix that and run the same")
        assert not list(running.results.glob("*/latest"))
        assert_nothing_half_written(running.results)
        kept |= running.finished()

    still_full = sweeps.run(both[0].results, *LOCAL, code=2)
    assert_refused(still_full, "no space left on device")

    disk.filler.unlink()
    both = sweeps.start_both(disk.folder)
    for running in both:
        running.end()
        assert_same_tables(latest(running.results), undisturbed)
        assert_nothing_half_written(running.results)
    assert kept.items() <= (both[0].finished() | both[1].finished()).items()


def test_results_that_cannot_be_written(disk: Disk, tiny: Path, bench: Bench) -> None:
    disk.make_read_only()
    for results in (disk.folder / "results", disk.folder):
        ended = bench("run", tiny, "--results", results, *LOCAL)
        assert_refused(ended, str(results), "Read-only file system")
    assert not list(disk.folder.iterdir())


@pytest.mark.parametrize("name", [".store", ".store/cells", "tiny"])
def test_a_file_in_the_way_of_a_folder(name: str, tiny: Path, tmp_path: Path, bench: Bench) -> None:
    results = tmp_path / "results"
    file = results / name
    file.parent.mkdir(parents=True)
    file.write_text("something else")
    ended = bench("run", tiny, "--results", results, *LOCAL, "--only", "mean")
    assert_refused(ended, str(file))
    assert file.read_text() == "something else"
    assert_nothing_half_written(results)


def test_two_runs_at_once_share_the_work(sweeps: Sweeps, undisturbed: Path, tmp_path: Path) -> None:
    both = [sweeps.start(tmp_path, *LOCAL) for _ in range(2)]
    for one in both:
        one.end()
    statuses = both[0].statuses()
    assert {one.status for one in statuses} == {"done"}
    assert {one.pid for one in statuses} == {one.process.pid for one in both}
    runs = [path for path in (tmp_path / "small").glob("2*") if path.is_dir()]
    assert len(runs) == 2
    for run in runs:
        assert_same_tables(run, undisturbed)
    assert_nothing_half_written(tmp_path)
