"""Damaged copies of every kind of file: each is refused in one line, or read as valid motion.

The environment variables ``CORRUPTED_COPIES`` (1000 by default) and ``CORRUPTED_SEED`` set the
number of copies and the seed.
"""

import io
import os
import shutil
import signal
import subprocess
import sys
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from bench.commands import inventory
from bench.commands.unpack import unpack
from bench.core.errors import InputError
from bench.datasets.amass import AMASS
from bench.datasets.archive import File
from bench.datasets.arrays import Arrays
from bench.datasets.base import Dataset, Source
from bench.datasets.bvh import BVH
from bench.datasets.bvh_file import read_bvh
from bench.datasets.cmu import ACTIONS, CMU
from bench.datasets.cmu_expmap import CMUExpmap
from bench.datasets.cmu_published import CMUPublished
from bench.datasets.h36m import H36M
from bench.datasets.hdm05 import HDM05
from bench.datasets.own_files import kind_of
from tests.conftest import PROJECT
from tests.datasets import damage
from tests.datasets.damage import Damage, in_a_member, with_member
from tests.datasets.test_amass import made_up, smplh, smplx
from tests.datasets.test_arrays import JOINTS, LAYOUT, _motion, _table

TIMES = float(os.environ.get("CORRUPTED_COPIES", "1000")) / 1000
SEED = int(os.environ.get("CORRUPTED_SEED", "0"))
SECONDS = 10
"""Most seconds that reading one copy may take."""

Motions = list[tuple[Dataset, NDArray[np.float32]]]


@dataclass(frozen=True)
class Kind:
    """One kind of file, how it is damaged, and how copies are read.

    Attributes:
        name: name of the damaged file.
        copies: number of copies among a thousand.
        damages: kinds of damage, applied to the copies in turn.
        read: reads a copy; raises InputError or returns its motion.
        refused: least share of copies that must be refused.
        gaps: whether values of its motion may be missing.
    """

    name: str
    copies: int
    damages: tuple[Damage, ...]
    read: Callable[[Path], Motions]
    refused: float
    gaps: bool = False


class _Late(BaseException):
    """Not an Exception, so that no reader catches it."""


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise _Late(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _everything(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


def _check(kind: Kind, whole: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read damaged copies of a file; reading must not create other files."""
    path = folder / kind.name
    path.write_bytes(whole)
    for dataset, motion in kind.read(path):
        _check_motion(dataset, motion, gaps=False)
    monkeypatch.chdir(folder)
    before = _everything(folder.parent)
    outcomes: Counter[str] = Counter()
    for number in range(round(kind.copies * TIMES)):
        how = kind.damages[number % len(kind.damages)]
        label = f"{kind.name}, {number}: {how.__qualname__}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            copy = how(whole, np.random.default_rng([SEED, number]))
        path.unlink()  # a new file, so that no cached file of the same name is used
        path.write_bytes(copy)
        os.utime(path, ns=(number, number))
        try:
            with _alarm(SECONDS), warnings.catch_warnings():
                warnings.simplefilter("error")
                motions = kind.read(path)
        except InputError as refused:
            message = str(refused)
            assert str(folder) in message, label
            assert message.isprintable(), label
            assert len(message) < 5000, label
            outcomes["refused"] += 1
        except BaseException as error:
            error.add_note(label)
            raise
        else:
            for dataset, motion in motions:
                _check_motion(dataset, motion, kind.gaps, label)
            outcomes["same" if copy == whole else "read"] += 1
        assert _everything(folder.parent) == before, label
    print(kind.name, dict(outcomes))
    changed = outcomes["refused"] + outcomes["read"]
    assert outcomes["refused"] >= kind.refused * changed, outcomes
    assert outcomes["read"], "nothing was read, so that it may be the reader that is broken"


def _check_motion(
    dataset: Dataset, motion: NDArray[np.float32], gaps: bool, label: str = "undamaged"
) -> None:
    assert motion.dtype == np.float32, label
    assert motion.ndim == 3, label
    assert motion.shape[1:] == (len(dataset.skeleton), 3), label
    assert not np.isinf(motion).any(), label
    assert gaps or not np.isnan(motion).any(), label


def _reader(*datasets: Dataset, name: str = "a", subject: str = "") -> Callable[[Path], Motions]:
    def read(path: Path) -> Motions:
        source = Source(name, "train", "", subject, File(path))
        return [(dataset, dataset.read(source)) for dataset in datasets]

    return read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "inner"
    inner.mkdir()
    return inner


# First frames of real recordings.


def _cut_amc(content: bytes, frames: int) -> bytes:
    return content.split(f"\n{frames + 1}".encode())[0].rstrip() + b"\n"


def _cut_bvh(content: bytes, frames: int) -> bytes:
    head, motion = content.replace(b"\r\n", b"\n").split(b"Frames:")
    _, time, *rows = motion.split(b"\n")
    return b"\n".join([head + b"Frames: " + str(frames).encode(), time, *rows[:frames], b""])


def _members(archive: Path, *names: str) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {
            name: _cut_amc(content, 12) if name.endswith(".amc") else content
            for name in names
            if (content := opened.read(name))
        }


@pytest.fixture
def cmu(real_data: Path) -> dict[str, bytes]:
    here = "all_asfamc/subjects"
    names = ("16/16.asf", "16/16_49.amc", "09/09.asf", "09/09_08.amc")
    return _members(real_data / "cmu_asfamc.zip", *(f"{here}/{name}" for name in names))


@pytest.fixture
def hdm05(real_data: Path) -> dict[str, bytes]:
    name = "HDM_mm_rotateArmsBothBackward1Reps_013_120.amc"
    names = ("HDM_mm.asf", name)
    return _members(real_data / "hdm05_asfamc.zip", *(f"hdm05_asfamc/mm/{one}" for one in names))


def test_amc(cmu: dict[str, bytes], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skeleton, motion, *_ = cmu.values()
    (folder / "16.asf").write_bytes(skeleton)
    read = _reader(CMU(orientation="facing_removed"), subject="16")
    _check(Kind("16_49.amc", 80, damage.TEXT, read, 0.6), motion, folder, monkeypatch)


def test_asf(cmu: dict[str, bytes], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skeleton, motion, *_ = cmu.values()
    (folder / "16_49.amc").write_bytes(motion)

    def read(path: Path) -> Motions:
        return _reader(CMU(bones="own"), subject="16")(folder / "16_49.amc")

    _check(Kind("16.asf", 80, damage.TEXT, read, 0.4), skeleton, folder, monkeypatch)


def test_exponential_maps(real_data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = real_data / "cmu_expmap" / "train" / "walking" / "walking_1.txt"
    whole = b"".join(path.read_bytes().splitlines(keepends=True)[:25])
    read = _reader(CMUExpmap(orientation="kept"), CMUPublished())
    _check(Kind("walking_1.txt", 70, damage.TEXT, read, 0.5), whole, folder, monkeypatch)


@pytest.mark.parametrize(
    "name",
    [
        "bandai_namco_1/dataset-1_run_sad_001.bvh",
        "cmu_pairs/12_01_mb.bvh",
        "cmu_pairs/135_04_daz.bvh",
    ],
)
def test_bvh(real_data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    whole = _cut_bvh((real_data / "bvh" / name).read_bytes(), 20)
    kind = Kind("a.bvh", 35, damage.TEXT, _reader(BVH(orientation="facing_removed")), 0.5)
    _check(kind, whole, folder, monkeypatch)


def test_index(
    real_data: Path, cmu: dict[str, bytes], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "cmu_asfamc.zip").write_bytes(damage.packed(cmu))
    lines = (real_data / "index.csv").read_bytes().splitlines(keepends=True)
    whole = b"".join(
        [lines[0], *(line for line in lines if b"/16_49" in line or b"/09_08" in line)]
    )
    known = {"", *(action for _, action in ACTIONS)}

    def read(path: Path) -> Motions:
        sources = CMU().sources(path.parent)
        assert len(sources) == 2
        assert {source.action for source in sources} <= known
        return []

    _check(Kind("index.csv", 30, damage.TEXT, read, 0.15), whole, folder, monkeypatch)


def _harmful_members(folder: Path) -> tuple[Damage, ...]:
    """Return members that lie outside the folder, links, bombs of 20 MiB, and invalid names."""
    outside = folder.parent / "evil"
    return (
        with_member("../evil.amc"),
        with_member("all_asfamc/../../evil.amc"),
        with_member(f"{outside}/evil.amc"),
        with_member("..\\evil.bvh"),
        with_member("all_asfamc/line\nbreak\x1b[31m.bvh"),
        with_member("all_asfamc/evil.amc", str(outside).encode(), damage.LINK),
        with_member("FIRST", str(outside).encode(), damage.LINK),
        with_member("all_asfamc/bomb.amc", bytes(20 * 2**20)),
        with_member("all_asfamc/subjects/16/16_50.amc", b"1\n" * 10 * 2**20),
        with_member("all_asfamc/train/walking/walking_1.txt", b"," * 20 * 2**20),
        with_member("all_asfamc/bomb.bvh", b"{" * 20 * 2**20),
        with_member("FIRST"),
        with_member("all_asfamc/FIRST/FIRST"),
    )


def _in_place(dataset: Dataset, path: Path) -> Motions:
    """Check an archive as ``bench data check`` does, then read all its recordings."""
    for checked in inventory.check(path):
        assert "its reader failed" not in checked.problem, checked
        assert not checked.refused or str(path) in checked.problem, checked
        assert checked.problem.isprintable()
    sources = dataset.sources(path.parent)
    return [(dataset, dataset.read(source)) for source in sources]


def test_archive_of_cmu(
    cmu: dict[str, bytes], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = in_a_member([*damage.TEXT, *damage.BYTES])
    damages = (*damage.ARCHIVE, *_harmful_members(folder), *[inside] * 12)
    kind = Kind("cmu_asfamc.zip", 90, damages, lambda path: _in_place(CMU(), path), 0.5)
    _check(kind, damage.packed(cmu), folder, monkeypatch)


def test_archive_of_hdm05(
    hdm05: dict[str, bytes], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = in_a_member([*damage.TEXT, *damage.BYTES])
    damages = (*damage.ARCHIVE, *[inside] * 12)
    kind = Kind("hdm05_asfamc.zip", 45, damages, lambda path: _in_place(HDM05(), path), 0.5)
    _check(kind, damage.packed(hdm05), folder, monkeypatch)


# Made-up motion.


@pytest.fixture
def arrays(folder: Path) -> Path:
    (folder / "motion.yaml").write_text(yaml.safe_dump(LAYOUT))
    return folder


def _saved(write: Callable[..., object], *given: object, **named: object) -> bytes:
    buffer = io.BytesIO()
    write(buffer, *given, **named)
    return buffer.getvalue()


def test_npy(arrays: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Kind("a.npy", 50, damage.NPY, _reader(Arrays()), 0.3, gaps=True)
    _check(kind, _saved(np.save, _motion(12)[0]), arrays, monkeypatch)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(arrays: Path, monkeypatch: pytest.MonkeyPatch, save: Callable[..., None]) -> None:
    damages = (*damage.ARCHIVE, *[in_a_member(damage.NPY)] * 10)
    kind = Kind("a.npz", 30, damages, _reader(Arrays(orientation="facing_removed")), 0.5, gaps=True)
    _check(kind, _saved(save, positions=_motion(12)[0]), arrays, monkeypatch)


def test_csv(arrays: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _table(_motion(12)[0].round(2), "_").to_csv(index=False).encode()
    kind = Kind("a.csv", 50, damage.TEXT, _reader(Arrays()), 0.25, gaps=True)
    _check(kind, whole, arrays, monkeypatch)


def test_parquet(arrays: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = _table(_motion(12)[0], "_")
    whole = _saved(lambda file: table.to_parquet(file, write_page_checksum=True))
    kind = Kind("a.parquet", 50, damage.BYTES, _reader(Arrays()), 0.5, gaps=True)
    _check(kind, whole, arrays, monkeypatch)


def test_layout(arrays: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(arrays / "a.npy", _motion(12)[0])

    def read(path: Path) -> Motions:
        return _reader(Arrays())(arrays / "a.npy")

    whole = (arrays / "motion.yaml").read_bytes()
    kind = Kind("motion.yaml", 50, damage.TEXT, read, 0.3, gaps=True)
    _check(kind, whole, arrays, monkeypatch)


@pytest.mark.parametrize("write", [smplh, smplx])
def test_amass(folder: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]) -> None:
    whole = write(folder / "a_poses.npz", made_up(12, 60.0), 60.0).read_bytes()
    damages = (*damage.ARCHIVE, *[in_a_member(damage.NPY)] * 16)
    kind = Kind("a_poses.npz", 40, damages, _reader(AMASS(orientation="kept")), 0.3)
    _check(kind, whole, folder, monkeypatch)


def test_h36m(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(0, 0.4, (25, 99)).round(6)
    whole = "".join(",".join(map(str, row)) + "\n" for row in rows.tolist()).encode()
    kind = Kind("walking_1.txt", 50, damage.TEXT, _reader(H36M(), H36M(joints=22)), 0.5)
    _check(kind, whole, folder, monkeypatch)


def test_unpacking(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {
        "all_asfamc/readme.txt": b"free for research\n" * 40,
        "all_asfamc/subjects/16/16.asf": b":version 1.10\n:units\n  length 0.45\n" * 20,
        "all_asfamc/subjects/16/16_49.amc": np.random.default_rng(0).bytes(9000).hex().encode(),
    }

    def read(archive: Path) -> Motions:
        target = folder / "all_asfamc"
        unpack(archive, target, frozenset({"", ".asf", ".amc", ".txt"}))
        try:
            for path in target.rglob("*"):
                assert not path.is_symlink()
                assert path.is_dir() or path.is_file()
        finally:
            shutil.rmtree(target)
        return []

    damages = (*damage.ARCHIVE, *_harmful_members(folder))
    kind = Kind("all_asfamc.zip", 130, damages, read, 0.7)
    _check(kind, damage.packed(members), folder, monkeypatch)


# Small files that unpack to huge ones, or declare that they do.

CHECK = """
import resource, sys
from pathlib import Path, PurePosixPath
from bench.commands import inventory
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
for checked in inventory.check(Path(sys.argv[1])):
    print(f"{checked.file.inner.name}: {checked.problem or 'read'}")
"""
"""Prints what ``bench data check`` finds, with at most a gigabyte of additional memory."""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded as Linux does it")
def test_bombs_take_neither_memory_nor_time(folder: Path) -> None:
    row = b",".join([b"0.5"] * 117) + b"\n"
    joints = b"".join(b"JOINT j%d {OFFSET 0 0 0\nCHANNELS 0\n" % n for n in range(5000))
    chain = b"HIERARCHY\nROOT r {OFFSET 0 0 0\nCHANNELS 1 XPOSITION\n" + joints + b"}" * 5001
    still = b"\nMOTION\nFrames: 100000\nFrame Time: 0.04\n" + b"0\n" * 100_000
    bombs = {
        "all_asfamc/subjects/16/16_01.amc": (b"1\n", "no skeleton"),
        "all_asfamc/subjects/16/16.asf": (b"0" * 2**22, "a skeleton"),
        "large.bvh": (b"{" * (2**27 + 1), "larger than 128 MiB"),
        "deep.bvh": (b"{" * 2**24 + still, "a hierarchy of 16384 KiB"),
        "still.bvh": (chain + still, "hardly any of which has a channel"),
        "long.bvh": (b"HIERARCHY\nROOT r {OFFSET 0 0 0\nCHANNELS 0\n}\nMOTION\nFrames: 1\n"
                     b"Frame Time: 0.04\n" + b"0\n" * 2**24, "16777219 frames"),
        "train/walking/walking_1.txt": (b"," * (2**26 + 1), "larger than 64 MiB"),
        "train/walking/walking_2.txt": (b"," * 2**25 + b"\n", "its first line has more"),
        "train/walking/walking_3.txt": (row + b"1\n" * 2**24, "16777217 frames"),
        "S1/eating_1.txt": (b"," * 2**25, "its first line has more"),
        "S1/eating_2.txt": (b"1\n" * 2**24, "16777216 frames"),
    }  # fmt: skip
    (folder / "bombs.zip").write_bytes(
        damage.packed({name: content for name, (content, _) in bombs.items()})
    )
    (folder / "motion.yaml").write_text(yaml.safe_dump(LAYOUT))
    positions = np.zeros((2**20, len(JOINTS), 3), dtype=np.int8)
    np.savez_compressed(folder / "bytes.npz", positions)
    np.savez_compressed(
        folder / "halves_poses.npz",
        poses=np.zeros((2**19, 66), dtype=np.float16),
        mocap_framerate=60.0,
    )
    header = ",".join(f"{joint}_{axis}" for joint in JOINTS for axis in "xyz")
    (folder / "short.csv").write_text(header + "\n" + "1\n" * 2**22)
    expected = {Path(name).name: message for name, (_, message) in bombs.items()}
    expected |= {"bytes.npz": "1048576 frames", "halves_poses.npz": "524288 frames"}
    expected |= {"short.csv": "4194305 frames", "motion.yaml": "not recognised by any data set"}
    expected["16_01.amc"] = "larger than 1 MiB"  # the message is about its skeleton
    ended = subprocess.run(
        [sys.executable, "-c", CHECK, folder],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    problems = dict(line.split(": ", 1) for line in ended.stdout.splitlines())
    assert problems.keys() == expected.keys()
    for name, message in expected.items():
        assert message in problems[name], (name, problems[name])


def test_long_names_and_long_gaps_take_no_time(folder: Path) -> None:
    head = b"HIERARCHY\nROOT r {OFFSET 0 0 0\nCHANNELS 0\n}\nMOTION\n"
    gap = b" " * 200_000
    with _alarm(SECONDS):
        for words in (b"Frames" + gap, b"Frames: 1" + gap + b"Frame Time" + gap, gap):
            (folder / "a.bvh").write_bytes(head + words)
            with pytest.raises(InputError, match=r"no 'Frame|no row of numbers"):
                read_bvh(File(folder / "a.bvh"))
        for letter in "_ 1":
            assert kind_of(PurePosixPath(f"{letter * 65_000}x")) == f"{letter * 65_000}x"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a/walk_003.bvh", "walk"), ("walk12.npy", "walk"), ("w-1.a", "w"), ("b/007.csv", "007")],
)
def test_a_kind_is_a_name_without_its_number(name: str, kind: str) -> None:
    assert kind_of(PurePosixPath(name)) == kind
