"""Building windows from files, compared with numpy loops over files, frames and joints.

Both read the same files, resample the motion to the same frames and joints, and write windows to
disk. The loops follow the descriptions of the formats; that both give the same motion is asserted.
"""

import math
import shutil
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.datasets import build
from bench.datasets.amass import AMASS, REST
from bench.datasets.archive import File
from bench.datasets.base import Dataset
from bench.datasets.build import load
from bench.datasets.cmu import CMU
from bench.motion.body import JOINTS, KEPT
from bench.speed.measure import Setup, in_child, peak_memory
from tests.benchmarks.conftest import Paired
from tests.datasets.acclaim_reference import Bone, bones_of, frames_of
from tests.datasets.test_amass import made_up, smplh

ROUNDS = 3
FILES = 6
FRAMES, STRIDE, FPS = 50, 5, 25.0
MORE = 4
"""Factor of the number of files in the larger tree."""

Matrix = NDArray[np.float64]
Reader = Callable[[Path], Iterator[tuple[str, NDArray[np.float32]]]]


def rotation(axis: int, angle: float) -> Matrix:
    c, s = math.cos(angle), math.sin(angle)
    turn = np.eye(3)
    one, other = (axis + 1) % 3, (axis + 2) % 3
    turn[one, one] = turn[other, other] = c
    turn[one, other], turn[other, one] = -s, s
    return turn


def exponential(vector: Matrix) -> Matrix:
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def logarithm(turn: Matrix) -> Matrix:
    """Return the rotation vector of a rotation by less than half a turn."""
    odd = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    sine = float(np.linalg.norm(odd)) / 2
    if sine < 1e-12:
        return odd / 2
    return odd / (2 * sine) * math.atan2(sine, (float(np.trace(turn)) - 1) / 2)


def between(before: Matrix, after: Matrix, share: float) -> Matrix:
    return before @ exponential(share * logarithm(before.T @ after))


def instants(count: int, fps: float) -> Iterator[tuple[int, int, float]]:
    """Yield, per frame at ``FPS``, the two source frames around it and the weight of the second."""
    number = 0
    while number * fps / FPS <= count - 1 + 1e-9:
        at = number * fps / FPS
        before = int(at + 1e-9)
        yield before, min(before + 1, count - 1), max(0.0, at - before)
        number += 1


def loop_amass(root: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    names = list(JOINTS)
    for path in sorted(root.glob("amass/*/*/*_poses.npz")):
        with np.load(path) as file:
            poses, fps = file["poses"][:, :66].reshape(-1, 22, 3), float(file["mocap_framerate"])
        motion = []
        for before, after, share in instants(len(poses), fps):
            turned, places = {"pelvis": np.eye(3)}, {"pelvis": np.zeros(3)}
            for joint, name in enumerate(names[1:], start=1):
                parent = JOINTS[name]
                offset = np.subtract(REST[name], REST[parent])
                places[name] = places[parent] + turned[parent] @ offset
                turned[name] = turned[parent] @ between(
                    exponential(poses[before, joint]), exponential(poses[after, joint]), share
                )
            motion.append([places[name] for name in KEPT])
        yield path.parts[-3], np.array(motion, dtype=np.float32)


ENDS = {"spine2": "upperback", "spine3": "thorax", "neck": "lowerneck", "head": "upperneck"} | {
    f"{side}_{joint}": side[0] + bone
    for side in ("left", "right")
    for joint, bone in (
        ("knee", "femur"), ("ankle", "tibia"), ("foot", "foot"),
        ("shoulder", "clavicle"), ("elbow", "humerus"), ("wrist", "wrist"),
    )
}  # fmt: skip


def loop_cmu(root: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for path in sorted(root.glob("all_asfamc/subjects/*/*.amc")):
        bones = bones_of(path.with_name(f"{path.parent.name}.asf").read_text())
        axes = {name: np.array(bone.axis) for name, bone in bones.items()}
        vectors = {name: 25.4 / 0.45 * np.array(bone.vector) for name, bone in bones.items()}
        frames = frames_of(path.read_text())
        motion = []
        for before, after, share in instants(len(frames), 120.0):
            turned, ends = {"root": np.eye(3)}, {"root": np.zeros(3)}
            for name, bone in bones.items():
                start = local(bone, axes[name], frames[before].get(name))
                end = local(bone, axes[name], frames[after].get(name))
                turned[name] = turned[bone.parent] @ between(start, end, share)
                ends[name] = ends[bone.parent] + turned[name] @ vectors[name]
            for side in ("left", "right"):
                third = turned["thorax"] @ vectors[f"{side[0]}clavicle"] / 3
                ends[f"{side}_collar"] = ends["thorax"] + third
            motion.append([ends[ENDS.get(name, name)] for name in KEPT])
        yield path.parent.name, np.array(motion, dtype=np.float32)


def local(bone: Bone, axes: Matrix, values: list[float] | None) -> Matrix:
    moved = np.eye(3)
    for channel, degrees in zip(bone.dof, values or [], strict=True):
        moved = rotation("xyz".index(channel[1]), math.radians(degrees)) @ moved
    return axes @ moved @ axes.T


def windows_of(loop: Reader, root: Path, to: Path) -> None:
    """Cut the motion that a loop reads into windows, and save them per split."""
    cut: dict[str, list[NDArray[np.float32]]] = {}
    for split, motion in loop(root):
        for start in range(0, len(motion) - FRAMES + 1, STRIDE):
            cut.setdefault(split, []).append(motion[start : start + FRAMES])
    for split, windows in cut.items():
        np.save(to / f"{split}.npy", np.array(windows))


def amass_tree(folder: Path, files: int) -> Path:
    """Write recordings of 20 s at 120 frames per second, a third of them in each split."""
    for number in range(files):
        name = ("CMU", "HumanEva", "BioMotionLab_NTroje")[number % 3]
        path = folder / "amass" / name / "someone" / f"take{number}_poses.npz"
        smplh(path, made_up(2400, 120.0, number), 120.0)
    return folder


def cmu_tree(real: Path, folder: Path, files: int) -> Path:
    """Copy real recordings, repeated as needed, a third of them in each split."""
    for number in range(files):
        subject, trial = (("14", "14_05"), ("08", "08_01"), ("05", "05_02"))[number % 3]
        target = folder / "all_asfamc" / "subjects" / subject
        target.mkdir(parents=True, exist_ok=True)
        inner = Path("all_asfamc") / "subjects" / subject
        archive = real / "cmu_asfamc.zip"
        for name, copied in ((f"{subject}.asf",) * 2, (f"{trial}.amc", f"{subject}_{number}.amc")):
            (target / copied).write_bytes(File(archive, str(inner / name)).read())
    return folder


DATASETS: dict[str, tuple[Dataset, Reader]] = {
    "amass": (AMASS(frames=FRAMES, stride=STRIDE), loop_amass),
    "cmu": (CMU(frames=FRAMES, stride=STRIDE, bones="own"), loop_cmu),
}


@pytest.fixture(params=DATASETS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def write_tree(name: str, request: pytest.FixtureRequest) -> Callable[[Path, int], Path]:
    """Return a function that writes a tree of a number of files of a data set."""
    if name == "amass":
        return amass_tree
    return partial(cmu_tree, request.getfixturevalue("real_data"))


def built(name: str, root: Path, cache: Path) -> None:
    """Build windows in an empty cache."""
    shutil.rmtree(cache, ignore_errors=True)
    load(DATASETS[name][0], root, cache)


def test_windows_compared_with_a_loop(
    name: str,
    write_tree: Callable[[Path, int], Path],
    paired: Paired,
    record: Callable[..., None],
    tmp_path: Path,
) -> None:
    dataset, loop = DATASETS[name]
    root = write_tree(tmp_path / "data", FILES)
    motions = [motion for _, motion in loop(root)]
    sources = dataset.sources(root)
    for source, motion in zip(sources, motions, strict=True):
        np.testing.assert_allclose(dataset.read(source), motion, atol=0.01)
    ours, other = paired(
        lambda: built(name, root, tmp_path / "cache"),
        lambda: windows_of(loop, root, tmp_path),
        ROUNDS,
    )
    record(
        ratio=statistics.median(b / a for a, b in zip(ours, other, strict=True)),
        seconds=statistics.median(ours),
        loop_seconds=statistics.median(other),
        minutes=sum(map(len, motions)) / FPS / 60,
    )


def test_windows_of_more_files(
    name: str,
    write_tree: Callable[[Path, int], Path],
    paired: Paired,
    record: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build, "IN_PROCESS", math.inf)
    few, many = write_tree(tmp_path / "few", FILES), write_tree(tmp_path / "many", MORE * FILES)
    cache = tmp_path / "cache"
    built(name, few, cache)
    longer, shorter = paired(
        lambda: built(name, many, cache), lambda: built(name, few, cache), ROUNDS
    )
    times = statistics.median(b / a for a, b in zip(shorter, longer, strict=True))
    peaks = [in_child(peak, Setup(threads=1), name, root, cache) for root in (few, many)]
    record(
        files=(FILES, MORE * FILES),
        exponent=math.log(times) / math.log(MORE),
        peak_mb=tuple(round(1000 * peak) for peak in peaks),
        windows_mb=round(sum(path.stat().st_size for path in cache.rglob("*.npy")) / 1e6),
    )


def peak(setup: Setup, name: str, root: Path, cache: Path) -> float:
    """Return the peak increase of memory while one process builds windows, GB."""
    build.IN_PROCESS = math.inf
    return peak_memory(lambda: built(name, root, cache))
