"""The CMU benchmark's files: published numbers, official split, broken files."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import InputError
from bench.datasets.archive import File
from bench.datasets.base import Data, Source
from bench.datasets.build import load
from bench.datasets.cmu_expmap import (
    FULL_SKELETON,
    KNOWN_FILES,
    MM_PER_UNIT,
    SKELETON,
    CMUExpmap,
    corrected_root,
    joint_rotations,
    rows_of,
)
from bench.motion import forward_kinematics, rotation_matrices


@pytest.fixture(scope="module")
def data(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Data:
    return load(CMUExpmap(), real_data, tmp_path_factory.mktemp("windows"))


# Zero-velocity errors of the published evaluation, mm, at 2, 4, 8, 10, 14 and 25 of its frames.
ZERO_VELOCITY = {
    "basketball": (22.4, 42.4, 78.5, 94.3, 121.0, 162.4),
    "running": (32.4, 61.9, 113.8, 135.8, 171.4, 210.1),
    "soccer": (24.1, 46.0, 86.2, 104.2, 135.1, 188.9),
    "walking": (18.9, 36.6, 69.9, 85.3, 113.2, 165.2),
}


@pytest.mark.parametrize("action", ZERO_VELOCITY)
def test_positions_reproduce_published_zero_velocity_errors(real_data: Path, action: str) -> None:
    path = real_data / "cmu_expmap" / "test" / action / f"{action}_1.txt"
    vectors = joint_rotations(rows_of(File(path)), drop_t_pose=False)[::2]
    rotations = rotation_matrices(vectors)
    rotations[:, 0] = np.eye(3)
    # The published conventions: every second row, the T-pose kept, 70 "mm" to the unit.
    motion = forward_kinematics(rotations, FULL_SKELETON) * 70 / MM_PER_UNIT
    last_seen = np.arange(9, len(motion) - 25)
    for ahead, expected in zip((2, 4, 8, 10, 14, 25), ZERO_VELOCITY[action], strict=True):
        error = np.linalg.norm(motion[last_seen] - motion[last_seen + ahead], axis=-1).mean()
        assert error == pytest.approx(expected, abs=0.06)


def test_official_split_with_whole_recordings_held_out(data: Data) -> None:
    sources = {split: set(windows.index["source"]) for split, windows in data.splits.items()}
    assert all(source.startswith("test/") for source in sources["test"])
    assert all(source.startswith("train/") for source in sources["train"] | sources["valid"])
    assert not sources["train"] & sources["valid"]
    # The benchmark's runs last less than two seconds.
    assert sources["test"] == {
        f"test/{action}_1"
        for action in ("basketball", "jumping", "soccer", "walking", "washwindow")
    }
    assert {name.split("/")[1][:7] for name in data.short} == {"running"}
    assert "test/running_1" in data.short


def test_true_time_and_true_length(data: Data, real_data: Path) -> None:
    rows = len(rows_of(File(real_data / "cmu_expmap" / "test" / "walking" / "walking_1.txt"))) - 1
    index = data.splits["test"].index
    starts = index[index["source"] == "test/walking_1"]["start"]
    frames_at_25 = int((rows - 1) / 120 * 25) + 1
    assert starts.max() == (frames_at_25 - 50) // 5 * 5
    motion = np.asarray(data.splits["test"].motion)
    for parent, child in SKELETON.bones:
        length = np.linalg.norm(motion[:, :, child] - motion[:, :, parent], axis=-1)
        assert np.ptp(length) < 1e-2
    knee, ankle = SKELETON.index(["left_knee", "left_ankle"])
    shank = np.linalg.norm(motion[0, 0, knee] - motion[0, 0, ankle])
    assert shank == pytest.approx(411.3, abs=0.1)  # 7.287 units of 56.444 mm


def test_the_root_can_be_kept_and_is_the_corrected_one(real_data: Path) -> None:
    # A subject turning round while leaning; as published, the body tips over.
    path = real_data / "cmu_expmap" / "train" / "directing_traffic" / "directing_traffic_1.txt"
    seen = {
        orientation: CMUExpmap.model_validate({"orientation": orientation, "fps": 120}).read(
            Source("train/directing_traffic_1", "train", file=File(path))
        )
        for orientation in ("removed", "facing_removed", "kept")
    }
    vectors = joint_rotations(rows_of(File(path)))[:, 0]
    published = rotation_matrices(vectors)
    corrected = rotation_matrices(corrected_root(vectors))
    turned = np.einsum("fab,fjb->fja", corrected, seen["removed"])
    np.testing.assert_allclose(seen["kept"], turned, atol=0.01)
    np.testing.assert_allclose(seen["facing_removed"][..., 1], seen["kept"][..., 1], atol=0.01)
    upright = np.cos(np.pi / 4)
    assert (published[:, 1, 1] < upright).mean() > 0.05
    assert (corrected[:, 1, 1] > upright).all()
    # As published, a joint reaches 25 m/s; a person is slower.
    speed = np.linalg.norm(np.diff(seen["kept"], axis=0), axis=-1).max() * 120
    assert speed < 6000


def test_a_body_that_turns_upright_is_left_alone() -> None:
    turns = np.linspace(0, 12, 200)[:, None] * np.array([0, 1, 0])
    np.testing.assert_allclose(
        rotation_matrices(corrected_root(turns)), rotation_matrices(turns), atol=1e-12
    )
    assert corrected_root(np.zeros((0, 3))).shape == (0, 3)


def test_no_t_pose_is_left(data: Data) -> None:
    """With arms straight out the hands are level with the neck and 700 mm to the sides."""
    left, right = SKELETON.index(["left_hand", "right_hand"])
    motion = np.asarray(data.splits["train"].motion)
    first = motion[data.splits["train"].index["start"] == 0][:, 0]
    spread = first[:, left, 0] - first[:, right, 0]
    assert spread.max() < 1500


def test_no_two_kept_joints_are_the_same_point(data: Data) -> None:
    motion = np.asarray(data.splits["train"].motion[::10])
    for first in range(len(SKELETON)):
        for second in range(first):
            apart = np.linalg.norm(motion[:, :, first] - motion[:, :, second], axis=-1)
            assert apart.mean() > 30
    assert motion.std(axis=(0, 1)).max(axis=1).min() > 3  # every kept joint moves


def test_absent_files_are_listed(data: Data) -> None:
    assert "train/washwindow/washwindow_1.txt" in data.absent
    assert "test/basketball_signal/basketball_signal_1.txt" in data.absent
    assert not any("walking" in name for name in data.absent)


def test_rebuilt_files_fill_gaps_on_request(real_data: Path) -> None:
    more = CMUExpmap(rebuilt=True)
    assert len(more.absent(real_data)) == len(CMUExpmap().absent(real_data)) - 4
    assert len(more.files(real_data)) == len(CMUExpmap().files(real_data)) + 4


def test_windows_are_built_once_and_mapped(real_data: Path, tmp_path: Path) -> None:
    source = _some_files(real_data, tmp_path / "data")
    first = load(CMUExpmap(), source, tmp_path / "cache")
    assert isinstance(first.splits["train"].clips.recordings.frames, np.memmap)
    built = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")}
    again = load(CMUExpmap(), source, tmp_path / "cache")
    assert again.fingerprint == first.fingerprint
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*.npy")} == built
    assert load(CMUExpmap(stride=7), source, tmp_path / "cache").fingerprint != first.fingerprint
    changed = source / "train" / "walking" / "walking_1.txt"
    changed.write_bytes(b"\n".join(changed.read_bytes().split(b"\n")[:-9]) + b"\n")
    assert load(CMUExpmap(), source, tmp_path / "cache").fingerprint != first.fingerprint


def _cut(text: bytes) -> bytes:
    return text[: len(text) // 2]


def _drop_column(text: bytes) -> bytes:
    return b"\n".join(row.rsplit(b",", 1)[0] for row in text.split(b"\n"))


def _short_row(text: bytes) -> bytes:
    rows = text.split(b"\n")
    rows[20] = rows[20][:100]
    return b"\n".join(rows)


def _long_row(text: bytes) -> bytes:
    rows = text.split(b"\n")
    rows[20] += b",1,2"
    return b"\n".join(rows)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, "row 172 has 113 cells, 117 are due, so the file is cut short"),
        (lambda text: b"", "no row of numbers"),
        (_drop_column, "116 columns"),
        (_short_row, "row 21"),
        (_long_row, "row 21 has 119 cells"),
        (lambda text: text.replace(b"0.366519143", b"nan", 1), "row 1 lacks a finite number"),
        (lambda text: text.replace(b"0.366519143", b"inf", 1), "row 1 lacks a finite number"),
        (lambda text: text.replace(b"0.366519143", b"1e200", 1), "row 1 has a number that is no"),
        (lambda text: text.replace(b"0.3", b"abc", 1), "line 1, column 12: 'abc66519143'"),
        (lambda text: b"\xff\xfe" + text, "no row of numbers"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name(
    real_data: Path, tmp_path: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    source = _some_files(real_data, tmp_path / "data")
    path = source / "train" / "walking" / "walking_1.txt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=message) as refused:
        load(CMUExpmap(), source, tmp_path / "cache")
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_a_missing_root_says_how_to_give_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data-root"):
        CMUExpmap().files(None)
    with pytest.raises(InputError, match="no folder"):
        CMUExpmap().files(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no file of the benchmark"):
        CMUExpmap().files(tmp_path)
    assert len(KNOWN_FILES) == 48


def _some_files(real_data: Path, folder: Path) -> Path:
    """Copy a train, a valid and a test recording of one action."""
    for name in (
        "train/walking/walking_1",
        "train/walking/walking_2",
        "train/walking/walking_3",
        "test/walking/walking_1",
    ):
        target = folder / f"{name}.txt"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(real_data / "cmu_expmap" / f"{name}.txt", target)
    return folder
