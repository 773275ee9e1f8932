"""Human3.6M, in synthetic files with the distributed layout: kinematics, joints, splits, damage."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from bench.core.errors import InputError
from bench.datasets.archive import File
from bench.datasets.base import Source
from bench.datasets.build import load
from bench.datasets.h36m import H36M, KNOWN_FILES, rows_of

PARENTS = [0, 1, 2, 3, 4, 5, 1, 7, 8, 9, 10, 1, 12, 13, 14, 15, 13, 17, 18, 19, 20, 21, 20, 23]
PARENTS += [13, 25, 26, 27, 28, 29, 28, 31]
"""As in the published kinematics, counted from one; 0 is none."""
LENGTHS: dict[int, tuple[float, float, float]] = {
    1: (-132.948591, 0, 0),
    2: (0, -442.894612, 0),
    3: (0, -454.206447, 0),
    4: (0, 0, 162.767078),
    5: (0, 0, 74.999437),
    6: (132.948826, 0, 0),
    7: (0, -442.894413, 0),
    8: (0, -454.206590, 0),
    9: (0, 0, 162.767426),
    10: (0, 0, 74.999948),
    11: (0, 0.1, 0),
    12: (0, 233.383263, 0),
    13: (0, 257.077681, 0),
    14: (0, 121.134938, 0),
    15: (0, 115.002227, 0),
    16: (0, 257.077681, 0),
    17: (0, 151.034226, 0),
    18: (0, 278.882773, 0),
    19: (0, 251.733451, 0),
    21: (0, 0, 99.999627),
    22: (0, 100.000188, 0),
    24: (0, 257.077681, 0),
    25: (0, 151.031437, 0),
    26: (0, 278.892924, 0),
    27: (0, 251.728680, 0),
    29: (0, 0, 99.999888),
    30: (0, 137.499922, 0),
}
NUMBERS_22 = [2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 14, 15, 17, 18, 19, 21, 22, 25, 26, 27, 29, 30]
NUMBER = {
    "left_knee": 7,
    "right_knee": 2,
    "left_ankle": 8,
    "right_ankle": 3,
    "spine3": 12,
    "left_foot": 9,
    "right_foot": 4,
    "neck": 13,
    "head": 14,
    "left_shoulder": 17,
    "right_shoulder": 25,
    "left_elbow": 18,
    "right_elbow": 26,
    "left_wrist": 19,
    "right_wrist": 27,
    "head_end": 15,
    "left_hand_end": 22,
    "right_hand_end": 30,
}
NAMES = H36M().skeleton.names
STANDING = {16: (-0.25, 0.0, 2.0), 24: (-0.25, 0.0, -2.0), 17: (0, 0, 0.5), 25: (0, 0, -0.5)}
"""Angles of clavicles and arms of a standing person, similar to those in the files."""


def matrix(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a rotation matrix by Rodrigues' formula, as the published code states it."""
    angle = float(np.sqrt(sum(v * v for v in vector)))
    x, y, z = (v / angle if angle else 0.0 for v in vector)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross.dot(cross)


def published(row: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 32 joints of one row, root fixed, row vectors times matrices, one by one."""
    turned: list[NDArray[np.float64]] = []
    placed: list[NDArray[np.float64]] = []
    for joint in range(32):
        parent = PARENTS[joint] - 1
        own = matrix(row[3 + 3 * joint : 6 + 3 * joint]) if joint else np.eye(3)
        offset = np.array(LENGTHS.get(joint, (0, 0, 0)))
        if parent < 0:
            turned.append(own)
            placed.append(offset)
        else:
            placed.append(offset.dot(turned[parent]) + placed[parent])
            turned.append(own.dot(turned[parent]))
    return np.array(placed)


def made_up(frames: int = 120, seed: int = 0) -> NDArray[np.float64]:
    """Return rows of a person standing and fidgeting."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / 50
    rows = 0.4 * np.sin(rng.uniform(1, 6, 99) * time + rng.uniform(0, 6, 99))
    for joint, angles in STANDING.items():
        rows[:, 3 + 3 * joint : 6 + 3 * joint] += angles
    return rows


def written(path: Path, rows: NDArray[np.float64]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, rows, fmt="%.7f", delimiter=",")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "S1" / "walking_1.txt", made_up())


def read(path: Path, **given: object) -> NDArray[np.float64]:
    source = Source("", "train", file=File(path))
    return H36M.model_validate(given).read(source).astype(np.float64)


def test_joints_match_the_published_kinematics(file: Path) -> None:
    rows = np.loadtxt(file, delimiter=",")
    motion = {joints: read(file, joints=joints, fps=50) for joints in (18, 22)}
    assert set(NAMES) == set(NUMBER)
    assert motion[18].shape == (120, 18, 3)
    for frame in (0, 61, 119):
        expected = published(rows[frame])
        np.testing.assert_allclose(motion[22][frame], expected[NUMBERS_22], atol=1e-3)
        for name, number in NUMBER.items():
            place = motion[18][frame, NAMES.index(name)]
            np.testing.assert_allclose(place, expected[number], atol=1e-3)


def test_25_fps_is_every_second_row(file: Path) -> None:
    motion = read(file)
    np.testing.assert_allclose(motion, read(file, fps=50)[::2], atol=1e-3)
    assert len(motion) == 60


def test_left_out_joints_do_not_move_or_are_copies() -> None:
    placed = np.array([published(row) for row in made_up(20)])
    for joint in (0, 1, 6, 11):
        assert np.ptp(placed[:, joint], axis=0).max() < 1e-9
    for joint, same in {16: 13, 20: 19, 23: 22, 24: 13, 28: 27, 31: 30}.items():
        np.testing.assert_allclose(placed[:, joint], placed[:, same], atol=1e-9)
    for joint in NUMBERS_22:
        assert np.ptp(placed[:, joint], axis=0).max() > 1


def test_a_standing_person_is_upright_faces_forward_and_has_left_on_the_left(
    tmp_path: Path,
) -> None:
    rows = np.zeros((10, 99))
    rows[:, :6] = [900, -300, 40, 0.3, 2.0, 0.2]  # the motion of the root is irrelevant
    for joint, angles in STANDING.items():
        rows[:, 3 + 3 * joint : 6 + 3 * joint] = angles
    motion = dict(zip(NAMES, read(written(tmp_path / "a.txt", rows))[0], strict=True))
    assert motion["head"][1] > motion["neck"][1] > motion["spine3"][1] > 100
    for side, sign in (("left", 1), ("right", -1)):
        for name in ("knee", "ankle", "foot", "shoulder", "elbow", "wrist"):
            assert sign * motion[f"{side}_{name}"][0] > 100
        assert motion[f"{side}_ankle"][1] < -890
        assert motion[f"{side}_foot"][2] - motion[f"{side}_ankle"][2] > 160
        # Arms hang down, elbows below shoulders.
        assert motion[f"{side}_wrist"][1] < motion[f"{side}_elbow"][1]
        assert motion[f"{side}_elbow"][1] < motion[f"{side}_shoulder"][1]


def test_a_knee_bends_backwards(tmp_path: Path) -> None:
    rows = np.zeros((10, 99))
    rows[:, 3 + 3 * 7] = -0.8  # as in the files, knees have negative angles about x
    motion = read(written(tmp_path / "a.txt", rows))[0]
    assert motion[NAMES.index("left_ankle"), 2] < -300


def test_none_of_the_18_joints_depends_on_others(file: Path) -> None:
    """Each moves, and none coincides with another one or is a multiple of it."""
    motion = read(file)
    assert motion.shape[1:] == (18, 3)
    moves = motion - motion.mean(axis=0)
    assert np.linalg.norm(moves, axis=-1).max(axis=0).min() > 1
    for one in range(18):
        for other in range(one):
            pair = moves[:, [one, other]].reshape(-1, 2, 3).transpose(0, 2, 1).reshape(-1, 2)
            # The smaller singular value is zero if one is a multiple of the other.
            large, small = np.linalg.svd(pair, compute_uv=False)
            assert small / large > 1e-3, (one, other)


@pytest.mark.parametrize("joints", [18, 22])
def test_the_rest_pose_has_arms_straight_out(joints: int) -> None:
    skeleton = H36M.model_validate({"joints": joints}).skeleton
    assert len(skeleton) == joints
    rest = dict(zip(skeleton.names, skeleton.rest, strict=True))
    np.testing.assert_allclose(rest["left_wrist"], [681.65, 490.56, 0], atol=0.01)
    np.testing.assert_allclose(rest["right_wrist"], [-681.65, 490.56, 0], atol=0.01)
    np.testing.assert_allclose(rest["left_foot"], [132.95, -897.10, 162.77], atol=0.01)


def test_the_root_has_no_orientation_to_keep() -> None:
    for orientation in ("kept", "facing_removed"):
        with pytest.raises(ValidationError, match="no absolute rotation of the root"):
            H36M.model_validate({"orientation": orientation})


PLACES = ("h36m", "h3.6m/dataset", "h3.6m", "dataset", ".")


@pytest.mark.parametrize("place", PLACES)
def test_split_subject_and_action_come_from_the_path(tmp_path: Path, place: str) -> None:
    names = ("S1/walkingdog_2", "S9/sittingdown_1", "S11/phoning_1", "S5/walkingtogether_2")
    for name in names:
        written(tmp_path / place / f"{name}.txt", made_up(2))
    written(tmp_path / place / "S2" / "walking_1.txt", made_up(2))
    written(tmp_path / place / "S1" / "running_1.txt", made_up(2))
    sources = H36M().sources(tmp_path)
    assert [(s.name, s.split, s.action, s.subject) for s in sources] == [
        ("S1/walkingdog_2", "train", "walkingdog", "S1"),
        ("S9/sittingdown_1", "train", "sittingdown", "S9"),
        ("S11/phoning_1", "valid", "phoning", "S11"),
        ("S5/walkingtogether_2", "test", "walkingtogether", "S5"),
    ]
    absent = H36M().absent(tmp_path)
    assert len(absent) == 206
    assert "S7/takingphoto_1.txt" in absent
    assert "S1/walkingdog_2.txt" not in absent


def test_there_are_15_actions_of_7_people_twice() -> None:
    assert len(set(KNOWN_FILES)) == len(KNOWN_FILES) == 15 * 7 * 2


def test_windows_of_all_three_splits(tmp_path: Path) -> None:
    for seed, name in enumerate(("S1/eating_1", "S11/eating_1", "S5/eating_1")):
        written(tmp_path / "h36m" / f"{name}.txt", made_up(200 + 10 * seed, seed))
    data = load(H36M(joints=22), tmp_path, tmp_path / "cache")
    # 200, 210 and 220 rows are 100, 105 and 110 frames.
    assert {split: len(windows) for split, windows in data.splits.items()} == {
        "train": 11,
        "valid": 12,
        "test": 13,
    }
    assert set(data.splits["test"].index["subject"]) == {"S5"}
    assert data.splits["test"].motion.shape[2] == 22


def test_a_missing_root_says_how_to_give_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data-root"):
        H36M().sources(None)
    with pytest.raises(InputError, match="no folder"):
        H36M().sources(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"S1/walking_1\.txt"):
        H36M().sources(tmp_path)


def row_of(text: bytes, number: int, change: Callable[[bytes], bytes]) -> bytes:
    rows = text.split(b"\n")
    rows[number] = change(rows[number])
    return b"\n".join(rows)


def last_of(row: bytes, number: bytes) -> bytes:
    return row[: row.rindex(b",") + 1] + number


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda text: b" \n", "no row of numbers"),
    "cut": (lambda text: text[:5000], "row 5 has 79 cells, 99 are due, so the file is cut short"),
    "fewer columns": (lambda text: text.replace(b",", b" 1", 1), "line 1: row 1 has 98 cells"),
    "98 columns": (
        lambda text: b"\n".join(row.rpartition(b",")[0] for row in text.split(b"\n")),
        "98 columns, expected 99",
    ),
    "a long row": (lambda text: row_of(text, 7, lambda row: row + b",0"), "row 8 has 100 cells"),
    "nan": (lambda text: row_of(text, 7, lambda row: b"nan" + row[row.index(b",") :]), "row 8"),
    "inf": (lambda text: row_of(text, 7, lambda row: row[: row.rindex(b",")] + b",inf"), "row 8"),
    "degrees": (
        lambda text: row_of(text, 7, lambda row: row[: row.rindex(b",")] + b",180"),
        "row 8",
    ),
    "words": (lambda text: text.replace(b"0.", b"zero", 1), "line 1, column 1: .*zero"),
    "bytes": (lambda text: b"\xff\xfe\0" + text, "no row of numbers"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused_with_its_name(file: Path, damage: str) -> None:
    change, message = DAMAGE[damage]
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(InputError, match=message) as refused:
        rows_of(File(file))
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_broken_file_of_a_fixed_list_is_an_error(tmp_path: Path, file: Path) -> None:
    for subject in ("S5", "S11"):
        written(tmp_path / subject / "walking_1.txt", made_up())
    (tmp_path / "S1" / "walking_2.txt").write_text("0,0\n")
    with pytest.raises(InputError, match=r"walking_2\.txt"):
        load(H36M(), tmp_path, tmp_path / "cache")


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(flips=st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 255)), max_size=5))
def test_flipped_bits_never_crash(tmp_path: Path, flips: list[tuple[int, int]]) -> None:
    text = bytearray(b"\n".join(b",".join([b"0.1234567"] * 99) for _ in range(3)))
    for place, bits in flips:
        text[place] ^= bits
    path = tmp_path / "fuzz.txt"
    path.write_bytes(text)
    try:
        motion = read(path)
    except InputError as error:
        message = str(error)
    else:
        message = str(path)
        assert np.isfinite(motion).all()
        assert np.abs(motion).max() < 2000
    assert str(path) in message
    assert "\n" not in message
