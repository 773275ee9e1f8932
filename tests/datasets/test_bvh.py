"""BVH files: compared with plain loops and with AMC of the same trials; known rigs, damage."""

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from bench.core.errors import InputError
from bench.datasets.archive import File
from bench.datasets.base import Source
from bench.datasets.build import load
from bench.datasets.bvh import BVH
from bench.datasets.bvh_file import read_bvh
from bench.datasets.synthetic import BODY
from bench.motion.body import JOINTS, KEPT
from tests.datasets.acclaim_reference import about, apply, bones_of, ends_of, frames_of, multiply

MM_PER_UNIT = 25.4 / 0.45
TURNS = ("Zrotation", "Xrotation", "Yrotation")
MOVES = ("Xposition", "Yposition", "Zposition")
LEFT, UP, FORWARD = np.eye(3)


def document(
    names: Sequence[str],
    parents: Sequence[int],
    offsets: ArrayLike,
    channels: Sequence[Sequence[str]],
    rows: NDArray[np.float64],
    frame_time: str = "0.04",
    end: str = "\n",
) -> str:
    """Return BVH text of a tree; a joint without children has an End Site 10 units along y."""

    places = np.asarray(offsets, dtype=np.float64)

    def block(joint: int) -> list[str]:
        children = [child for child, parent in enumerate(parents) if parent == joint]
        inner = [line for child in children for line in block(child)]
        if not children:
            inner = ["End Site", "{", "OFFSET 0 10 0", "}"]
        return [
            f"{'JOINT' if parents[joint] >= 0 else 'ROOT'} {names[joint]}",
            "{",
            f"\tOFFSET {' '.join(map(repr, places[joint].tolist()))}",
            f"\tCHANNELS {len(channels[joint])} {' '.join(channels[joint])}",
            *inner,
            "}",
        ]

    head = ["HIERARCHY", *block(0), "MOTION", f"Frames: {len(rows)}", f"Frame Time: {frame_time}"]
    return end.join([*head, *(" ".join(map(repr, row)) for row in rows.tolist()), ""])


def depth_first(parents: Sequence[int]) -> list[int]:
    """Return joints in the order in which ``document`` lists them."""
    order: list[int] = []

    def visit(joint: int) -> None:
        order.append(joint)
        for child, parent in enumerate(parents):
            if parent == joint:
                visit(child)

    visit(0)
    return order


Written = Callable[[str], Path]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Return a function that writes text to one file, the same each time."""
    path = tmp_path_factory.mktemp("bvh") / "a_1.bvh"

    def write(text: str) -> Path:
        path.write_bytes(text.encode("latin-1"))
        return path

    return write


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[int], list[list[str]], int]:
    count = draw(st.integers(1, 6))
    parents = [-1, *(draw(st.integers(0, joint - 1)) for joint in range(1, count))]
    some = st.lists(st.sampled_from([*TURNS, *MOVES]), unique=True, max_size=6)
    return parents, [draw(some) for _ in range(count)], draw(st.integers(0, 2**32 - 1))


@settings(max_examples=60, deadline=None)
@given(trees(), st.sampled_from(["\n", "\r\n", "\r", " \n\n "]))
def test_any_hierarchy_and_channels_match_plain_loops(
    written: Written, tree: tuple[list[int], list[list[str]], int], end: str
) -> None:
    parents, channels, seed = tree
    if not any(channels):
        channels[0] = ["Yrotation"]
    rng = np.random.default_rng(seed)
    offsets = rng.normal(0, 20, (len(parents), 3))
    order = depth_first(parents)
    columns = [(joint, channel) for joint in order for channel in channels[joint]]
    rows = rng.uniform(-170, 170, (3, len(columns)))
    names = [f"j{joint}" for joint in range(len(parents))]
    path = written(document(names, parents, offsets, channels, rows, end=end))
    content = read_bvh(File(path))
    placed = content.place(range(len(content.nodes)), 0, content.fps)
    number = {node.name: place for place, node in enumerate(content.nodes)}
    for frame, row in enumerate(rows):
        turned: dict[int, list[list[float]]] = {}
        at: dict[int, list[float]] = {}
        for joint in range(len(parents)):
            turn, shift = np.eye(3).tolist(), list(offsets[joint])
            for (owner, channel), value in zip(columns, row, strict=True):
                if owner == joint and channel in MOVES:
                    shift["XYZ".index(channel[0])] = value
                elif owner == joint:
                    turn = multiply(turn, about(channel[0].lower(), value))
            if parents[joint] >= 0:
                above = parents[joint]
                moved = apply(turned[above], shift)
                shift = [a + b for a, b in zip(at[above], moved, strict=True)]
                turn = multiply(turned[above], turn)
            turned[joint], at[joint] = turn, shift
            positions, rotations = placed[number[names[joint]]]
            assert positions[frame] == pytest.approx(at[joint], abs=1e-6)
            assert rotations[frame] == pytest.approx(np.array(turn), abs=1e-9)
            if joint not in parents:
                tip = [a + b for a, b in zip(at[joint], apply(turn, [0, 10, 0]), strict=True)]
                found = placed[number[f"{names[joint]}_end"]][0][frame]
                assert found == pytest.approx(tip, abs=1e-6)


def _read(path: Path, **chosen: object) -> NDArray[np.float32]:
    return BVH.model_validate(chosen).read(Source("a", "test", file=File(path)))


_HUMAN_IK = {
    "pelvis": "Hips",
    **{
        f"{side.lower()}_{joint}": f"{side}{name}"
        for side in ("Left", "Right")
        for joint, name in {
            "hip": "UpLeg",
            "knee": "Leg",
            "ankle": "Foot",
            "foot": "ToeBase",
            "collar": "Shoulder",
            "shoulder": "Arm",
            "elbow": "ForeArm",
            "wrist": "Hand",
        }.items()
    },
}
_SPINE2 = {"spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck"}
_MIXAMO = {**_HUMAN_IK, **_SPINE2, "head": "Head"}
_LAFAN1 = {**_MIXAMO, "left_foot": "LeftToe", "right_foot": "RightToe"}
_CMU = {
    **_HUMAN_IK,
    "spine1": "LowerBack",
    "spine2": "Spine",
    "spine3": "Spine1",
    "neck": "Neck1",
    "head": "Head",
}
_ACCLAIM = {
    "pelvis": "root",
    "spine1": "upperback",
    "spine2": "thorax",
    "spine3": "lowerneck",
    "neck": "upperneck",
    "head": "head",
    **{
        f"{side}_{joint}": side[0] + name
        for side in ("left", "right")
        for joint, name in {
            "hip": "femur",
            "knee": "tibia",
            "ankle": "foot",
            "foot": "toes",
            "collar": "clavicle",
            "shoulder": "humerus",
            "elbow": "radius",
            "wrist": "hand",
        }.items()
    },
}
_PREFIXED = {joint: f"mixamorig:{name}" for joint, name in _MIXAMO.items()}
# The root's axes that are the body's left, up and forward.
_STRAIGHT = np.stack([LEFT, UP, FORWARD], axis=1)
_ALONG_X = np.stack([FORWARD, LEFT, UP], axis=1)
_Z_UP = np.stack([LEFT, FORWARD, -UP], axis=1)


def _standing(
    names: dict[str, str],
    axes: NDArray[np.float64],
    unit: float,
    world: NDArray[np.float64],
    seed: int = 0,
) -> tuple[str, NDArray[np.float64]]:
    """Return BVH text of the synthetic body at rest, turning in its world, and the body's turns.

    Args:
        names: of the file's joints, by the body's.
        axes: rotation from the body's axes to those of the file's joints.
        unit: millimetres.
        world: rotation from y up and z forward to the file's world.
        seed: of the turns.
    """
    joints = list(JOINTS)
    parents = [joints.index(JOINTS[joint]) if JOINTS[joint] else -1 for joint in joints]
    offsets = BODY.offsets @ axes.T / unit
    body = Rotation.random(7, rng=np.random.default_rng(seed)).as_matrix()
    angles = Rotation.from_matrix(world @ body @ axes.T).as_euler("ZXY", degrees=True)
    rows = np.zeros((7, 6 + 3 * (len(joints) - 1)))
    rows[:, :3] = np.random.default_rng(seed).normal(0, 100, (7, 3))
    rows[:, 3:6] = angles
    channels = [(*MOVES, *TURNS), *[TURNS] * (len(joints) - 1)]
    return document([names[j] for j in joints], parents, offsets, channels, rows), body


@pytest.mark.parametrize(
    ("names", "axes", "unit", "own_collars", "dropped"),
    [
        (_LAFAN1, _ALONG_X, 10, True, 0),
        (_MIXAMO, _STRAIGHT, 10, True, 0),
        (_PREFIXED, _STRAIGHT, 10, True, 0),
        (_CMU, _STRAIGHT, MM_PER_UNIT, False, 1),
        (_ACCLAIM, _STRAIGHT, 10, False, 0),
    ],
    ids=["lafan1", "mixamo", "mixamo_prefixed", "cmu_or_hdm05", "acclaim_or_hdm05"],
)
def test_known_rigs_are_the_same_body(
    written: Written,
    names: dict[str, str],
    axes: NDArray[np.float64],
    unit: float,
    own_collars: bool,
    dropped: int,
) -> None:
    text, body = _standing(names, axes, unit, np.eye(3))
    path = written(text)
    expected = BODY.rest[BODY.index(KEPT)].copy()
    if not own_collars:
        chest, *shoulders = (
            BODY.rest[BODY.index([name])[0]]
            for name in ("spine3", "left_shoulder", "right_shoulder")
        )
        for name, shoulder in zip(("left_collar", "right_collar"), shoulders, strict=True):
            expected[KEPT.index(name)] = chest + (shoulder - chest) / 3
    removed = _read(path)
    assert len(removed) == 7 - dropped
    np.testing.assert_allclose(removed, np.tile(expected, (len(removed), 1, 1)), atol=1e-2)
    kept = _read(path, orientation="kept")
    np.testing.assert_allclose(kept, expected @ body[dropped:].swapaxes(1, 2), atol=1e-2)
    faced = _read(path, orientation="facing_removed")
    # Only the rotation about the vertical is removed: heights stay, and the body faces forward.
    np.testing.assert_allclose(faced[..., 1], kept[..., 1], atol=1e-2)
    front = [_front(frame, expected) for frame in faced.astype(np.float64)]
    assert np.abs(np.array(front)[:, 0]).max() < 1e-3
    assert np.array(front)[:, 2].min() > 0


def _front(frame: NDArray[np.float64], rest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the forward direction of a body that is at rest except for a rotation."""
    turn, *_ = np.linalg.lstsq(rest, frame, rcond=None)
    return FORWARD @ turn


Z_UP_MAPPING = """
root: Hips
up: z
forward: -y
vertical: z
scale: 1
joints:
"""


def test_own_mapping_of_a_body_with_z_up(written: Written, tmp_path: Path) -> None:
    names = {joint: f"the {joint}" for joint in JOINTS} | {"pelvis": "Hips"}
    text, body = _standing(names, _Z_UP, 1, _Z_UP)
    path = written(text)
    with pytest.raises(InputError, match=r"not a known rig.*the left_knee.*mapping"):
        _read(path)
    joints = "".join(f"  {joint}: the {joint}\n" for joint in KEPT)
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(Z_UP_MAPPING + joints)
    expected = BODY.rest[BODY.index(KEPT)]
    removed = _read(path, mapping=mapping)
    np.testing.assert_allclose(removed, np.tile(expected, (7, 1, 1)), atol=1e-2)
    kept = _read(path, mapping=mapping, orientation="kept")
    np.testing.assert_allclose(kept, expected @ body.swapaxes(1, 2), atol=1e-2)
    half = _read(path, mapping=mapping, scale=0.6)
    np.testing.assert_allclose(half, 0.6 * removed, atol=1e-2)
    mapping.write_text(Z_UP_MAPPING.replace("forward: -y", "forward: y") + joints)
    with pytest.raises(InputError, match="left is not left"):
        _read(path, mapping=mapping)
    mapping.write_text(Z_UP_MAPPING.replace("up: z", "up: -z") + joints)
    with pytest.raises(InputError, match="up is not up"):
        _read(path, mapping=mapping)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("left_knee:", "left_nee:"), "did you mean 'left_knee'"),
        (("the left_knee", "the left_nee"), "did you mean 'the left_knee'"),
        (("  left_knee: the left_knee\n", ""), "left_knee missing"),
        (("the left_knee", "the right_knee"), "is given for two joints"),
        (("  left_collar: the left_collar\n", ""), "both collars or none"),
        (("vertical: z\n", ""), "vertical missing"),
        (("forward: -y", "forward: z"), "are parallel"),
        (("forward: -y", "forward: w"), "forward: input should be"),
        (("root: Hips\n", ""), "root: missing"),
        (("scale: 1", "scales: 1"), "unknown key 'scales' .did you mean 'scale'"),
        (("scale: 1", "scale: -1"), "greater than 0"),
        (("root: Hips", "root: ["), "not valid YAML"),
        (("root: Hips", "root: Hip"), "did you mean 'Hips'"),
    ],
)
def test_a_wrong_mapping_is_refused_in_one_line(
    written: Written, tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    names = {joint: f"the {joint}" for joint in JOINTS} | {"pelvis": "Hips"}
    path = written(_standing(names, _Z_UP, 1, _Z_UP)[0])
    mapping = tmp_path / "mapping.yaml"
    joints = "".join(f"  {joint}: the {joint}\n" for joint in KEPT)
    right = Z_UP_MAPPING + joints
    mapping.write_text(right.replace(*change))
    assert mapping.read_text() != right
    with pytest.raises(InputError, match=message) as refused:
        _read(path, mapping=mapping)
    assert str(mapping) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_mapping_changes_the_fingerprint(tmp_path: Path) -> None:
    names = {joint: f"the {joint}" for joint in JOINTS} | {"pelvis": "Hips"}
    text = _standing(names, _Z_UP, 1, _Z_UP)[0]
    for split in ("train", "valid", "test"):
        (tmp_path / "bvh" / split).mkdir(parents=True)
        (tmp_path / "bvh" / split / "a.bvh").write_text(text)
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(Z_UP_MAPPING + "".join(f"  {joint}: the {joint}\n" for joint in KEPT))
    dataset = BVH(mapping=mapping, frames=3, stride=1)
    first = load(dataset, tmp_path, tmp_path / "cache")
    mapping.write_text(mapping.read_text().replace("scale: 1", "scale: 1.2"))
    second = load(dataset, tmp_path, tmp_path / "cache")
    assert first.fingerprint != second.fingerprint
    np.testing.assert_allclose(
        np.asarray(second.splits["test"].motion),
        1.2 * np.asarray(first.splits["test"].motion),
        atol=1e-2,
    )


def _damages() -> dict[str, tuple[Callable[[str], str], str]]:
    def sub(old: str, new: str) -> Callable[[str], str]:
        return lambda text: text.replace(old, new, 1)

    return {
        "empty": (lambda text: "", "no line MOTION"),
        "half": (
            lambda text: text[: len(text) * 2 // 3],
            "row 3 has 52 numbers, the hierarchy has 69",
        ),
        "no motion": (sub("MOTION", ""), "no line MOTION"),
        "no counts": (sub("Frames: 7", ""), "no 'Frames:'"),
        "giant count": (sub("Frames: 7", "Frames: 99999999999999"), "but 7 rows"),
        "negative count": (sub("Frames: 7", "Frames: -7"), "but 7 rows"),
        "negative time": (sub("Time: 0.04", "Time: -0.04"), "no time between two frames"),
        "endless time": (sub("Time: 0.04", "Time: 1e12"), "no time between two frames"),
        "nan time": (sub("Time: 0.04", "Time: nan"), "no time between two frames"),
        "few channels": (sub("CHANNELS 3", "CHANNELS 2"), "CHANNELS, a count and names"),
        "a channel less": (
            sub("CHANNELS 3 Zrotation", "CHANNELS 2"),
            "the hierarchy has 68 channels",
        ),
        "a channel twice": (sub("CHANNELS 3 Zrotation", "CHANNELS 3 Xrotation"), "twice"),
        "no channel": (sub("CHANNELS 3 Zrotation", "CHANNELS 3 Wrotation"), "no channel"),
        "an open joint": (
            sub("}", ""),
            "more than an OFFSET|is closed|in place of a joint",
        ),
        "an offset of two": (sub("OFFSET 0.0 0.0 0.0", "OFFSET 0.0 0.0"), "OFFSET and 3 numbers"),
        "a nan offset": (sub("OFFSET 0.0 0.0 0.0", "OFFSET nan 0 0"), "OFFSET and 3 numbers"),
        "nan": (lambda text: _last(text, "nan"), "frame 7 has an implausible number"),
        "inf": (lambda text: _last(text, "inf"), "frame 7 has an implausible number"),
        "huge": (lambda text: _last(text, "1e300"), "frame 7 has an implausible number"),
        "a word": (lambda text: _last(text, "abc"), "'abc' stands where a number is due"),
        "one number more": (lambda text: text.rstrip() + " 1 2\n", "row 7 has 71 numbers"),
        "one number less": (lambda text: _last(text, ""), "row 7 has 68 numbers"),
        "two roots": (lambda text: text.replace("MOTION", _ROOT + "MOTION"), "a second root"),
    }


_ROOT = "ROOT b\n{\nOFFSET 0 0 0\nCHANNELS 1 Xrotation\n}\n"


def _last(text: str, value: str) -> str:
    return f"{text.rstrip().rpartition(' ')[0]} {value}\n"


@pytest.mark.parametrize("damage", _damages())
def test_a_damaged_file_is_refused_with_its_name(written: Written, damage: str) -> None:
    text = _standing(_MIXAMO, _STRAIGHT, 10, np.eye(3))[0]
    spoil, message = _damages()[damage]
    path = written(spoil(text))
    with pytest.raises(InputError, match=message) as refused:
        _read(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_body_that_falls_apart_is_refused(written: Written) -> None:
    text = _standing(_MIXAMO, _STRAIGHT, 10, np.eye(3))[0]
    named, channels = "JOINT LeftFoot\n{\n", "CHANNELS 3 Zrotation Xrotation Yrotation\n"
    start = text.index(channels, text.index(named))
    moved = text[:start] + "CHANNELS 1 Yposition\n" + text[start + len(channels) :]
    before = moved[:start].count("rotation") + 3
    rows = [row.split() for row in moved.partition("Frame Time: 0.04\n")[2].splitlines()]
    for number, row in enumerate(rows):
        row[before : before + 3] = ["-40" if number < 6 else "-4000"]
    path = written(moved.partition("Frame Time")[0] + "Frame Time: 0.04\n" + _joined(rows))
    with pytest.raises(InputError, match=r"is at some time 4\d\.\d m long"):
        _read(path)


def _joined(rows: list[list[str]]) -> str:
    return "".join(" ".join(row) + "\n" for row in rows)


def test_two_bodies_in_one_file_are_refused(written: Written) -> None:
    text = _standing(_MIXAMO, _STRAIGHT, 10, np.eye(3))[0]
    extra = "End Site\n{\nOFFSET 0 10 0\n}"
    joint = f"JOINT other:LeftLeg\n{{\nOFFSET 0 0 0\nCHANNELS 0\n{extra}\n}}"
    path = written(text.replace(extra, joint, 1))
    with pytest.raises(InputError, match="two joints are called 'LeftLeg'"):
        _read(path)


def test_wrong_units_say_how_to_set_them(written: Written) -> None:
    path = written(_standing(_MIXAMO, _STRAIGHT, 1000, np.eye(3))[0])
    with pytest.raises(InputError, match=r"a body 0\.0\d+ m long.*dataset\.scale"):
        _read(path)
    metres = _read(path, scale=1000)
    rest = BODY.rest[BODY.index(KEPT)]
    np.testing.assert_allclose(metres, np.tile(rest, (7, 1, 1)), atol=1e-2)


def test_random_damage_never_crashes(written: Written) -> None:
    text = _standing(_MIXAMO, _STRAIGHT, 10, np.eye(3))[0].encode()
    rng = np.random.default_rng(0)
    refusals = []
    for _ in range(150):
        spoilt = bytearray(text[: rng.integers(1, len(text))] if rng.random() < 0.3 else text)
        for place in rng.integers(0, len(spoilt), rng.integers(1, 20)):
            spoilt[place] ^= 1 << int(rng.integers(8))
        path = written(spoilt.decode("latin-1"))
        try:
            motion = _read(path)
        except InputError as error:
            refusals.append(str(error))
        else:
            assert np.isfinite(motion).all()
            assert np.abs(motion).max() < 3000
    assert len(refusals) > 75
    assert not any("\n" in refusal for refusal in refusals)


@pytest.mark.parametrize(
    ("text", "fps"),
    [
        ("0.0083333", 120),
        (".00833333", 120),
        ("0.033333", 30),
        ("0.033", 30),
        ("0.01", 100),
        ("0.016683", 59.94),
        ("1.6666666666666666e-2", 60),
    ],
)
def test_the_rate_that_a_frame_time_is_rounded_from(
    written: Written, text: str, fps: float
) -> None:
    rows = np.zeros((2, 1))
    path = written(document(["a"], [-1], [[0, 0, 0]], [["Xrotation"]], rows, text))
    assert read_bvh(File(path)).fps == pytest.approx(fps, rel=1e-12)


def test_splits(tmp_path: Path) -> None:
    text = _standing(_MIXAMO, _STRAIGHT, 10, np.eye(3))[0]
    for kind in "abcdefghij":
        for number in ("1", "_02"):
            folder = tmp_path / number
            folder.mkdir(exist_ok=True)
            (folder / f"{kind}{number}.bvh").write_text(text)
    sources = BVH().sources(tmp_path)
    splits = {source.name: source.split for source in sources}
    for kind in "abcdefghij":
        assert splits[f"1/{kind}1"] == splits[f"_02/{kind}_02"]
    counts = pd.Series(splits).value_counts().to_dict()
    assert counts == {"train": 12, "valid": 4, "test": 4}
    assert {source.action for source in sources} == {"1", "_02"}
    with zipfile.ZipFile(tmp_path / "bvh.zip", "w") as archive:
        for split in ("train", "valid", "test"):
            archive.writestr(f"{split}/walk/x.bvh", text)
    inside = BVH().sources(tmp_path)
    assert [(s.name, s.split, s.action) for s in inside] == [
        (f"{split}/walk/x", split, "walk") for split in ("test", "train", "valid")
    ]
    assert np.isfinite(BVH().read(inside[0])).all()
    for part in ("train", "rest"):
        (tmp_path / "some" / part).mkdir(parents=True)
        (tmp_path / "some" / part / "a.bvh").write_text(text)
    with pytest.raises(InputError, match=r"rest/a\.bvh lies in none of train"):
        BVH().sources(tmp_path / "some")
    with pytest.raises(InputError, match="cannot be split in three"):
        BVH().sources(tmp_path / "some" / "rest")


def test_no_files_say_where_they_should_be(written: Written, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data-root"):
        BVH().sources(None)
    with pytest.raises(InputError, match="is no folder"):
        BVH().sources(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no \.bvh file"):
        BVH().sources(tmp_path)


# Real files.


@pytest.fixture(scope="module")
def real(real_data: Path) -> dict[str, NDArray[np.float32]]:
    dataset = BVH()
    return {source.name: dataset.read(source) for source in dataset.sources(real_data)}


def test_every_file_loads_whole(real_data: Path, real: dict[str, NDArray[np.float32]]) -> None:
    index = pd.read_csv(real_data / "index.csv").set_index("path")
    # Some lie in archives, which the setting ``folder`` names.
    listed = [name for name in index.index if name.endswith(".bvh")]
    known = {name.removeprefix("bvh/") for name in listed if (real_data / name).is_file()}
    assert {f"{name}.bvh" for name in real} == known
    for name, motion in real.items():
        row = dict(index.loc[f"bvh/{name}.bvh"])
        content = read_bvh(File(real_data / "bvh" / f"{name}.bvh"))
        assert (len(content.motion), content.fps) == (row["frames"], row["fps"])
        t_pose = "_mb" in name or "daz" in name
        assert len(motion) == int((row["frames"] - t_pose - 1) / row["fps"] * 25 + 1e-6) + 1


def test_an_archive_in_the_folder_of_files_is_read_by_its_name(real_data: Path) -> None:
    found = BVH(folder="bandai_namco_2").sources(real_data)
    assert len(found) == 1402
    assert {source.split for source in found} == {"train", "valid", "test"}
    motion = BVH(folder="bandai_namco_2").read(found[0])
    assert motion.shape[1:] == (18, 3)
    for folder in ("nowhere", "../cmu_expmap"):
        with pytest.raises(InputError, match="no folder or archive"):
            BVH(folder=folder).sources(real_data)


def test_bones_are_rigid_and_bodies_upright(real: dict[str, NDArray[np.float32]]) -> None:
    skeleton = BVH().skeleton
    for name, motion in real.items():
        for parent, child in skeleton.bones:
            length = np.linalg.norm(motion[:, child] - motion[:, parent], axis=-1)
            assert np.ptp(length) < 1e-2, (name, KEPT[child])
        mean = dict(zip(KEPT, motion.mean(axis=0), strict=True))
        assert mean["left_shoulder"][0] - mean["right_shoulder"][0] > 150, name
        assert mean["neck"][1] > 300, name
        assert abs(mean["neck"][0]) < 100, name
        assert mean["left_knee"][1] < -100, name
        assert mean["right_knee"][1] < -100, name
        if "walk" in name:
            assert mean["left_foot"][2] > mean["left_ankle"][2] + 20, name
            assert mean["right_foot"][2] > mean["right_ankle"][2] + 20, name


def test_bandai_namco_actions_and_kinds(real_data: Path) -> None:
    sources = {source.name: source for source in BVH().sources(real_data)}
    first, second = (
        sources[f"bandai_namco_1/dataset-1_walk_normal_00{number}"] for number in (1, 2)
    )
    assert first.action == "walk_normal"
    assert first.split == second.split
    assert sources["cmu_pairs/16_15"].action == "cmu_pairs"
    assert {source.split for source in sources.values()} == {"train", "valid", "test"}


_ENDS = {
    "spine2": "upperback",
    "spine3": "thorax",
    "neck": "lowerneck",
    "head": "upperneck",
    **{
        f"{side}_{joint}": side[0] + bone
        for side in ("left", "right")
        for joint, bone in {
            "knee": "femur",
            "ankle": "tibia",
            "foot": "foot",
            "shoulder": "clavicle",
            "elbow": "humerus",
            "wrist": "wrist",
        }.items()
    },
}
"""Bones of ASF files that end at joints."""


_MOTIONBUILDER_ENDS = {
    "spine2": "lowerback",
    "spine3": "upperback",
    "left_wrist": "lradius",
    "right_wrist": "rradius",
}


def _amc(real_data: Path, trial: str) -> tuple[str, str]:
    subject = trial.partition("_")[0]
    folder = f"all_asfamc/subjects/{subject}"
    with zipfile.ZipFile(real_data / "cmu_asfamc.zip") as archive:
        asf, amc = (
            archive.read(f"{folder}/{name}").decode("latin-1")
            for name in (f"{subject}.asf", f"{trial}.amc")
        )
    return asf, amc


@pytest.mark.parametrize(("name", "trial"), [("16_15", "16_15"), ("01_01_mb", "01_01")])
def test_the_same_trial_as_amc_is_the_same_to_a_hundredth_of_a_millimetre(
    real_data: Path, name: str, trial: str
) -> None:
    motion = _read(real_data / "bvh" / "cmu_pairs" / f"{name}.bvh", fps=120)
    asf, amc = _amc(real_data, trial)
    bones, frames = bones_of(asf), frames_of(amc)
    assert len(motion) == len(frames)
    motionbuilder = name.endswith("_mb")
    ends_at = _ENDS | (_MOTIONBUILDER_ENDS if motionbuilder else {})
    for number in range(0, len(frames), 37):
        ends = {key: np.array(end) for key, end in ends_of(bones, frames[number]).items()}
        # The MotionBuilder-friendly conversion lacks the thorax, so the joints above are lower.
        lost = ends["thorax"] - ends["upperback"] if motionbuilder else np.zeros(3)
        assert np.linalg.norm(lost) * MM_PER_UNIT == pytest.approx(
            115.5 if motionbuilder else 0, abs=1.5
        )
        for joint, bone in ends_at.items():
            # The other one invented the limbs of three frames in four, up to 340 mm off.
            if joint.startswith(("left", "right")) and not motionbuilder and number % 4:
                continue
            on_thorax = not bone.endswith(("back", "femur", "tibia", "foot"))
            expected = ends[bone] - (lost if on_thorax else 0)
            found = motion[number, KEPT.index(joint)]
            assert np.linalg.norm(found - expected * MM_PER_UNIT) < 0.01, joint


def test_the_daz_conversion_rotates_its_hips_as_the_amc_does(real_data: Path) -> None:
    """It applies the motion to other bones, so only directions can be compared."""
    path = real_data / "bvh" / "cmu_pairs" / "135_04_daz.bvh"
    asf, amc = _amc(real_data, "135_04")
    bones, frames = bones_of(asf), frames_of(amc)
    motion = _read(path, fps=120)
    assert len(motion) == len(frames)
    roots = Rotation.from_euler("xyz", [frame["root"][3:] for frame in frames], degrees=True)
    content = read_bvh(File(path))
    hips = Rotation.from_matrix(content.place([0], 1, 120.0)[0][1])
    assert np.degrees((roots.inv() * hips).magnitude()).max() < 1e-3
    angles = []
    for number in range(0, len(frames), 50):
        ends = ends_of(bones, frames[number])
        for side in ("left", "right"):
            knee, ankle = (motion[number, KEPT.index(f"{side}_{j}")] for j in ("knee", "ankle"))
            shank = np.subtract(ends[f"{side[0]}tibia"], ends[f"{side[0]}femur"])
            along = (ankle - knee) @ shank / np.linalg.norm(ankle - knee) / np.linalg.norm(shank)
            angles.append(np.degrees(np.arccos(along)))
    assert np.mean(angles) < 5
