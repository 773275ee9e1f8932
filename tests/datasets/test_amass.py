"""AMASS, in files with the distributed layout: splits, time, kinematics, damage.

Their motion is made up.
"""

import io
import math
import os
import struct
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bench.core.errors import InputError
from bench.datasets import build
from bench.datasets.amass import AMASS, REST, rotations_of
from bench.datasets.archive import File
from bench.datasets.base import Source
from bench.datasets.build import load
from bench.motion.body import JOINTS, KEPT

TRAIN = [
    "CMU",
    "MPI_Limits",
    "TotalCapture",
    "Eyes_Japan_Dataset",
    "KIT",
    "EKUT",
    "TCD_handMocap",
    "ACCAD",
]
VALID = ["HumanEva", "MPI_HDM05", "SFU", "MPI_mosh"]
TEST = ["BioMotionLab_NTroje"]
FORMER = TRAIN + VALID + TEST
NOW = {
    "MPI_Limits": "PosePrior",
    "Eyes_Japan_Dataset": "EyesJapanDataset",
    "TCD_handMocap": "TCDHands",
    "MPI_HDM05": "HDM05",
    "MPI_mosh": "MoSh",
    "BioMotionLab_NTroje": "BMLrub",
}


def made_up(frames: int, rate: float, seed: int = 0, width: int = 156) -> NDArray[np.float64]:
    """Return smooth rotation vectors of a body that is upright in AMASS's world."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / rate
    poses = 0.4 * np.sin(rng.uniform(1, 6, width) * time + rng.uniform(0, 6, width))
    poses[:, :3] = [np.pi / 2, 0, 0]
    return poses


def smplh(path: Path, poses: NDArray[np.float64], rate: object, /, **other: Any) -> Path:
    """Write a recording in the first packaging."""
    content = {
        "trans": np.zeros((len(poses), 3)),
        "gender": np.array("female"),
        "mocap_framerate": np.array(rate),
        "betas": np.zeros(16),
        "dmpls": np.zeros((len(poses), 8)),
        "poses": poses,
        **other,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path


def smplx(path: Path, poses: NDArray[np.float64], rate: float, /, **other: Any) -> Path:
    """Write a recording in the later packaging, with pickled labels."""
    content = {
        "mocap_framerate": None,
        "gender": np.array(b"neutral", dtype=object),
        "surface_model_type": np.array("smplx"),
        "mocap_frame_rate": np.array(rate),
        "mocap_time_length": np.array(len(poses) / rate),
        "markers_obs": np.zeros((len(poses), 5, 3)),
        "labels": np.array([["LFHD", "RFHD"]], dtype=object),
        "root_orient": poses[:, :3],
        "pose_body": poses[:, 3:66],
        "pose_hand": poses[:, 66:156],
        **other,
    }
    return smplh(path, poses, rate, **content)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three recordings, one of each split."""
    for seed, name in enumerate(("CMU", "HumanEva", "BioMotionLab_NTroje")):
        smplh(tmp_path / "amass" / name / "a" / "b_poses.npz", made_up(150, 60, seed), 60.0)
    return tmp_path


def placed(rotations: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return joint positions of one frame, computed from each joint up to the root."""
    names = list(JOINTS)
    places = {}
    for name in names:
        place = np.zeros(3)
        at = name
        while JOINTS[at]:
            parent = JOINTS[at]
            offset = np.subtract(REST[at], REST[parent])
            place = Rotation.from_rotvec(rotations[names.index(parent)]).apply(offset + place)
            at = parent
        places[name] = place
    return places


def test_joints_are_where_a_walk_up_the_tree_puts_them(tree: Path) -> None:
    dataset = AMASS(fps=60, orientation="kept")
    source = dataset.sources(tree)[0]
    motion = dataset.read(source)
    assert motion.shape == (150, 18, 3)
    assert motion.dtype == np.float32
    assert source.file is not None
    poses = np.load(source.file.path)["poses"].reshape(150, 52, 3)
    for frame in (0, 77, 149):
        expected = placed(poses[frame])
        # Upright in a world with z up; in ours y is up and the body faces along z.
        turned = np.array([[x, z, -y] for x, y, z in (expected[name] for name in KEPT)])
        np.testing.assert_allclose(motion[frame], turned, atol=1e-3)


def test_bones_are_rigid_and_of_the_stated_length(tree: Path) -> None:
    dataset = AMASS()
    motion = dataset.read(dataset.sources(tree)[1])
    for parent, child in dataset.skeleton.bones:
        length = np.linalg.norm(motion[:, child] - motion[:, parent], axis=1)
        first, second = dataset.skeleton.names[parent], dataset.skeleton.names[child]
        stated = np.linalg.norm(np.subtract(REST[first], REST[second]))
        np.testing.assert_allclose(length, stated, atol=1e-2)


@pytest.mark.parametrize("orientation", ["removed", "facing_removed", "kept"])
@pytest.mark.parametrize("heading", [0.0, 75.0, -160.0])
def test_a_standing_body_is_upright_and_faces_where_it_should(
    tmp_path: Path, orientation: str, heading: float
) -> None:
    """An upright body in AMASS's world: z up, the body's own y turned up, facing away from y."""
    stand = Rotation.from_euler("z", heading, degrees=True) * Rotation.from_euler("x", np.pi / 2)
    poses = np.zeros((40, 156))
    poses[:, :3] = stand.as_rotvec()
    path = smplh(tmp_path / "CMU" / "01" / "stand_poses.npz", poses, 120.0)
    dataset = AMASS.model_validate({"orientation": orientation})
    (source,) = dataset.sources(tmp_path)
    assert source.file == File(path)
    motion = dict(zip(KEPT, dataset.read(source)[3].astype(float), strict=True))
    assert motion["head"][1] > 590
    assert motion["left_ankle"][1] < -880
    left = motion["left_shoulder"] - motion["right_shoulder"]
    toes = motion["left_foot"] - motion["left_ankle"]
    angle = np.radians(heading if orientation == "kept" else 0)
    # Turning by an angle about the vertical turns z, where the body faced, towards x.
    assert left @ [np.cos(angle), 0, -np.sin(angle)] > 350
    assert toes @ [np.sin(angle), 0, np.cos(angle)] > 110


def test_leaning_stays_when_only_facing_is_removed(tmp_path: Path) -> None:
    lean = Rotation.from_euler("x", 30, degrees=True)  # forward, in the body's own frame
    stand = Rotation.from_euler("z", 50, degrees=True) * Rotation.from_euler("x", 90, degrees=True)
    poses = np.zeros((40, 156))
    poses[:, :3] = (stand * lean).as_rotvec()
    smplh(tmp_path / "CMU" / "01" / "lean_poses.npz", poses, 25.0)
    dataset = AMASS(orientation="facing_removed")
    head = dataset.read(dataset.sources(tmp_path)[0])[0, KEPT.index("head")]
    np.testing.assert_allclose(head, lean.apply(REST["head"]), atol=1e-2)


def expected_frames(frames: int, rate: float) -> int:
    """Return the number of frames at 25 fps between the first and the last, both included."""
    span = Fraction(frames - 1) / Fraction(str(rate))
    return math.floor(span * 25) + 1


RATES = (120.0, 100.0, 60.0, 59.94)


@pytest.fixture
def twenty(tmp_path: Path) -> tuple[Path, dict[str, tuple[int, float]]]:
    """Twenty recordings at four frame rates in 13 data sets, and files that must be ignored."""
    made = {}
    for number in range(20):
        name = FORMER[number % len(FORMER)]
        rate = RATES[number % 4]
        frames = 260 + 37 * number + (number % 4 == 0) * 200
        new = number % 3 == 0
        folder = NOW.get(name, name) if number >= len(FORMER) and name not in NOW else name
        path = tmp_path / "amass" / folder / f"s{number % 2}"
        poses = made_up(frames, rate, number)
        if new:
            # SMPL-X: jaw and eyes lie between body and hands.
            wide = np.concatenate([poses[:, :66], np.zeros((frames, 9)), poses[:, 66:]], axis=1)
            smplx(path / f"take {number}_stageii.npz", wide, rate)
        else:
            smplh(path / f"take {number}_poses.npz", poses, rate)
        made[f"{NOW.get(name, name)}/s{number % 2}/take {number}"] = (frames, rate)
    for shape in ("shape.npz", "neutral_stagei.npz", "female_stagei.npz"):
        smplh(tmp_path / "amass" / "CMU" / "s0" / shape, poses, 60.0, poses=None)
    (tmp_path / "amass" / "CMU" / "LICENSE.txt").write_text("terms")
    smplh(tmp_path / "amass" / "SSM_synced" / "s" / "x_poses.npz", poses, 60.0)
    return tmp_path, made


def test_twenty_recordings_have_their_true_time(
    twenty: tuple[Path, dict[str, tuple[int, float]]], tmp_path: Path
) -> None:
    root, made = twenty
    dataset = AMASS()
    sources = dataset.sources(root)
    assert {source.name for source in sources} == set(made)
    for source in sources:
        frames, rate = made[source.name]
        motion = dataset.read(source)
        assert len(motion) == expected_frames(frames, rate)
        # The last frame is less than one frame before the recording's end.
        assert 0 <= (frames - 1) / rate - (len(motion) - 1) / 25 < 1 / 25
    data = load(dataset, root, tmp_path / "cache")
    assert data.skipped == {}
    assert data.absent == []
    windows = sum(len(windows) for windows in data.splits.values())
    counts = [(expected_frames(*one) - 50) // 5 + 1 for one in made.values()]
    assert windows == sum(max(0, count) for count in counts)
    assert min(counts) > 0
    by_split = {split: set(windows.index["source"]) for split, windows in data.splits.items()}
    names = {split: {source.split("/")[0] for source in by_split[split]} for split in by_split}
    assert names == {
        "train": {NOW.get(name, name) for name in TRAIN},
        "valid": {NOW.get(name, name) for name in VALID},
        "test": {"BMLrub"},
    }


def test_frames_are_at_exact_times(tmp_path: Path) -> None:
    """A knee that rotates at constant speed, at four rates: the same motion at the same times."""
    speed = 0.7
    knee = KEPT.index("left_ankle")
    seen = []
    for rate in (*RATES, 250.0):
        poses = np.zeros((int(4 * rate) + 1, 156))
        poses[:, 3 * list(JOINTS).index("left_knee")] = speed * np.arange(len(poses)) / rate
        smplh(tmp_path / "CMU" / "01" / f"{rate:g}_poses.npz", poses, rate)
        source = Source("", "train", file=File(tmp_path / "CMU" / "01" / f"{rate:g}_poses.npz"))
        motion = AMASS().read(source)[:, knee]
        times = np.arange(len(motion)) / 25
        offset = np.subtract(REST["left_ankle"], REST["left_knee"])
        swung = Rotation.from_rotvec(np.outer(speed * times, [1, 0, 0])).apply(offset)
        np.testing.assert_allclose(motion, swung + REST["left_knee"], atol=1e-2)
        seen.append(len(motion))
    assert set(seen) <= {100, 101}


def published_rate(rate: float) -> float:
    """Return the true frames per second of what the published loader treats as 25."""
    return rate / int(rate // 25)


def test_the_published_loader_resamples_frame_rates_as_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "amass.md").read_text()
    for rate in (250, 150, 120, 100, 60, 59.94, 50):
        real = published_rate(rate)
        row = f"| {rate:g} | {int(rate // 25)} | {real:.4g} | {real / 25:.3g} |"
        assert row in text


def test_both_packagings_give_the_same_motion(tmp_path: Path) -> None:
    poses = made_up(200, 120)
    wide = np.concatenate([poses[:, :66], np.ones((200, 99))], axis=1)
    one = smplh(tmp_path / "a_poses.npz", poses, 120)
    two = smplx(tmp_path / "a_stageii.npz", wide, 120.0)
    parts = smplx(tmp_path / "b_stageii.npz", wide, 120.0, poses=None)
    body_only = smplh(tmp_path / "c_poses.npz", poses[:, :66], [120.0])
    motions = [
        AMASS().read(Source("", "train", file=File(p))) for p in (one, two, parts, body_only)
    ]
    for motion in motions[1:]:
        np.testing.assert_array_equal(motion, motions[0])


@pytest.mark.parametrize("place", ["amass", "AMASS", "."])
def test_data_sets_are_found_under_old_new_and_doubled_names(tmp_path: Path, place: str) -> None:
    poses = made_up(60, 30)
    for folder in ("BMLrub/BioMotionLab_NTroje/rub001", "Eyes Japan/x", "EyesJapanDataset/k/deep"):
        smplh(tmp_path / place / folder / "0001_walk_poses.npz", poses, 30)
    found = {source.name: source for source in AMASS().sources(tmp_path)}
    assert set(found) == {"BMLrub/rub001/0001_walk", "EyesJapanDataset/k/deep/0001_walk"}
    assert found["BMLrub/rub001/0001_walk"].split == "test"
    assert found["BMLrub/rub001/0001_walk"].subject == "BMLrub/rub001"
    assert AMASS().absent(tmp_path) == [
        *("CMU", "PosePrior", "TotalCapture", "KIT", "EKUT", "TCDHands", "ACCAD"),
        *("HumanEva", "HDM05", "SFU", "MoSh"),
    ]


def test_one_data_set_in_two_packagings_is_not_counted_twice(tmp_path: Path) -> None:
    poses = made_up(60, 30)
    smplh(tmp_path / "MPI_HDM05" / "bd" / "a_poses.npz", poses, 30)
    smplx(tmp_path / "HDM05" / "bd" / "a_stageii.npz", poses, 30)
    with pytest.raises(InputError, match="same data set; keep one"):
        AMASS().sources(tmp_path)


def test_a_missing_root_says_how_to_give_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data-root"):
        AMASS().sources(None)
    with pytest.raises(InputError, match="no folder"):
        AMASS().sources(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"01_01_poses\.npz"):
        AMASS().sources(tmp_path)


def test_damaged_and_foreign_files_are_reported_or_an_error(tree: Path, tmp_path: Path) -> None:
    folder = tree / "amass" / "CMU" / "a"
    whole = (folder / "b_poses.npz").read_bytes()
    (folder / "cut_poses.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "text_poses.npz").write_text("no archive\n")
    np.savez(folder / "foreign.npz", positions=np.zeros((5, 3)))
    data = load(AMASS(), tree, tmp_path / "cache")
    assert set(data.skipped) == {"CMU/a/cut", "CMU/a/text", "CMU/a/foreign"}
    for name, reason in data.skipped.items():
        assert str(folder / name.rsplit("/", 1)[1]) in reason
        assert "\n" not in reason
    assert "remove it" in data.skipped["CMU/a/foreign"]
    with pytest.raises(InputError, match=r"cut_poses\.npz"):
        load(AMASS(), tree, tmp_path / "strict", strict=True)


def test_several_processes_read_the_same_motion(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = load(AMASS(), tree, tmp_path / "alone")
    monkeypatch.setattr(build, "IN_PROCESS", 0)
    together = load(AMASS(), tree, tmp_path / "together")
    for split, windows in alone.splits.items():
        np.testing.assert_array_equal(windows.motion, together.splits[split].motion)


def nan_at(row: int) -> NDArray[np.float64]:
    poses = made_up(60, 60)
    poses[row, 20] = np.nan
    return poses


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no poses": ({"poses": None}, "no poses"),
    "no rate": ({"mocap_framerate": None}, "no frame rate"),
    "a zero rate": ({"mocap_framerate": np.array(0.0)}, "no frame rate"),
    "a negative rate": ({"mocap_framerate": np.array(-120)}, "no frame rate"),
    "an absurd rate": ({"mocap_framerate": np.array(1e6)}, "no frame rate"),
    "a nan rate": ({"mocap_framerate": np.array(np.nan)}, "no frame rate"),
    "two rates": ({"mocap_framerate": np.array([60, 120])}, "not a number"),
    "a worded rate": ({"mocap_framerate": np.array("sixty")}, "'sixty', no frame rate"),
    "a pickled rate": ({"mocap_framerate": np.array(60, dtype=object)}, "cannot be read"),
    "nan": ({"poses": nan_at(31)}, "frame 31 of poses"),
    "degrees": ({"poses": np.degrees(made_up(60, 60)) * 20}, "no angle in radians"),
    "huge numbers": ({"poses": np.full((60, 156), 1e300)}, "no angle in radians"),
    "a wrong width": ({"poses": made_up(60, 60)[:, :150]}, "not \\(frame, 66"),
    "one dimension": ({"poses": made_up(60, 60).ravel()}, "not \\(frame, 66"),
    "whole numbers": ({"poses": np.zeros((60, 156), int)}, "not \\(frame, 66"),
    "pickled poses": ({"poses": np.array([[{}] * 156] * 60)}, "cannot be read"),
    "no frames": ({"poses": np.zeros((0, 156))}, "no frame"),
    "uneven parts": (
        {"poses": None, "root_orient": np.zeros((9, 3)), "pose_body": np.zeros((8, 63))},
        "9 frames of root_orient but 8 of pose_body",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_recording_is_refused_with_its_name(tmp_path: Path, fault: str) -> None:
    content, message = FAULTS[fault]
    path = smplh(tmp_path / "x_poses.npz", made_up(60, 60), 60.0, **content)
    with pytest.raises(InputError, match=message) as refused:
        rotations_of(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_no_pickle_is_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    traps = np.array([Trap()], dtype=object)
    path = smplh(tmp_path / "x_poses.npz", made_up(60, 60), 60.0, gender=traps)
    assert rotations_of(path)[0].shape == (60, 22, 3)
    for key in ("poses", "mocap_framerate"):
        with pytest.raises(InputError):
            rotations_of(smplh(tmp_path / f"{key}.npz", made_up(60, 60), 60.0, **{key: traps}))
    assert not (tmp_path / "sprung").exists()


def npy(header: str, body: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


@pytest.mark.parametrize(
    "member",
    [
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 156)}"),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 156)}"),
        npy("{'descr': '|V2000000000', 'fortran_order': False, 'shape': (90, 156)}"),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 156)}", b"\0" * 99),
        npy("{'descr': '<f8', 'shape': ("),
        npy("[" * 5000),
        b"\x93NUMPY\x07\x00",
        b"",
        b"text",
    ],
)
def test_a_false_header_allocates_no_memory(tmp_path: Path, member: bytes) -> None:
    path = smplh(tmp_path / "x.npz", made_up(9, 60), 60, poses=None)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("poses.npy", member)
    with pytest.raises(InputError, match="poses cannot be read"):
        rotations_of(path)


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.datasets.amass.LARGEST", 2**20)
    path = tmp_path / "bomb_poses.npz"
    np.savez_compressed(path, poses=np.zeros((900, 156)), mocap_framerate=60.0)
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(File, "read", lambda self: pytest.fail("read"))
    with pytest.raises(InputError, match="takes 1123328 bytes"):
        rotations_of(path)


CONTENT = io.BytesIO()
np.savez(CONTENT, poses=made_up(12, 60), mocap_framerate=60.0, gender="male")


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    flips=st.lists(
        st.tuples(st.integers(0, len(CONTENT.getvalue()) - 1), st.integers(1, 255)), max_size=6
    ),
    length=st.integers(0, len(CONTENT.getvalue())) | st.none(),
)
def test_no_damage_crashes_or_passes_unnoticed(
    tmp_path: Path, flips: list[tuple[int, int]], length: int | None
) -> None:
    content = bytearray(CONTENT.getvalue())
    for place, bits in flips:
        content[place] ^= bits
    path = tmp_path / "fuzz.npz"
    path.write_bytes(content[:length])
    try:
        vectors, rate = rotations_of(path)
    except InputError as error:
        message = str(error)
    else:
        message = str(path)
        np.testing.assert_array_equal(vectors, made_up(12, 60)[:, :66].reshape(12, 22, 3))
        assert rate == 60
    assert str(path) in message
    assert "\n" not in message


def model(path: Path, **content: Any) -> Path:
    np.savez(path, **content)
    return path


def test_a_body_model_gives_its_own_skeleton(tree: Path, tmp_path: Path) -> None:
    joints = np.array(list(REST.values())) / 1000 * 1.1 + [0.01, -0.2, 0.03]
    vertices = np.random.default_rng(0).normal(size=(80, 3))
    regressor = np.zeros((52, 80))
    regressor[:22] = joints @ np.linalg.pinv(vertices)
    stated = model(tmp_path / "stated.npz", J=np.concatenate([joints, np.ones((30, 3))]))
    computed = model(
        tmp_path / "model.npz",
        J_regressor=regressor,
        v_template=vertices.astype(np.float32),
        posedirs=np.array([{}], dtype=object),
    )
    source = AMASS().sources(tree)[0]
    original = AMASS().read(source)
    for path in (stated, computed):
        dataset = AMASS(body_model=path)
        np.testing.assert_allclose(dataset.read(source), 1.1 * original, rtol=1e-4, atol=1e-2)
        np.testing.assert_allclose(dataset.skeleton.rest, 1.1 * AMASS().skeleton.rest, atol=1e-2)
        assert path in dataset.files(tree)
    # A different model under the same name is a different data set.
    first = load(AMASS(body_model=stated), tree, tmp_path / "cache")
    model(stated, J=1.2 * joints)
    again = load(AMASS(body_model=stated), tree, tmp_path / "cache")
    assert again.fingerprint != first.fingerprint
    longer = np.abs(again.splits["test"].motion).mean() / np.abs(first.splits["test"].motion).mean()
    assert longer == pytest.approx(1.2, rel=1e-3)


BROKEN_MODELS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a pickle": (lambda folder: folder / "SMPLH_MALE.pkl", "can run code"),
    "nothing": (lambda folder: folder / "none.npz", "No such file"),
    "text": (lambda folder: folder / "text.npz", "not an npz"),
    "another npz": (lambda folder: model(folder / "a.npz", x=1), "give a body model"),
    "few joints": (lambda folder: model(folder / "b.npz", J=np.zeros((9, 3))), "9 joints"),
    "flat joints": (lambda folder: model(folder / "c.npz", J=np.zeros(72)), "not \\(joint, 3\\)"),
    "millimetres": (
        lambda folder: model(folder / "d.npz", J=np.array(list(REST.values()))),
        "no body in metres",
    ),
    "nan": (lambda folder: model(folder / "e.npz", J=np.full((52, 3), np.nan)), "no body"),
    "a pickled regressor": (
        lambda folder: model(
            folder / "f.npz", J_regressor=np.array([{}]), v_template=np.zeros((9, 3))
        ),
        "cannot be read",
    ),
    "nan aside": (
        lambda folder: model(
            folder / "h.npz", J=np.array(list(REST.values())) / 1000 + [[np.nan, 0, 0]]
        ),
        "no body",
    ),
    "a regressor that would fill all memory": (
        lambda folder: model(
            folder / "i.npz", J_regressor=np.ones((10**6, 1)), v_template=np.ones((1, 10**6))
        ),
        "do not fit",
    ),
    "a misfit": (
        lambda folder: model(
            folder / "g.npz", J_regressor=np.zeros((52, 8)), v_template=np.zeros((9, 3))
        ),
        "do not fit",
    ),
}


@pytest.mark.parametrize("broken", BROKEN_MODELS)
def test_what_is_no_body_model_is_refused(tree: Path, broken: str) -> None:
    (tree / "text.npz").write_text("no archive")
    make, message = BROKEN_MODELS[broken]
    path = make(tree)
    with pytest.raises(InputError, match=message) as refused:
        AMASS(body_model=path).sources(tree)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
