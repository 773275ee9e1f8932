"""Arrays of positions: all formats, missing values, orientation, damage, the docs page."""

import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bench.core.errors import InputError
from bench.datasets.archive import File
from bench.datasets.arrays import Arrays
from bench.datasets.base import Dataset, Source
from bench.datasets.build import load
from bench.datasets.bvh import BVH
from bench.datasets.synthetic import BODY
from bench.motion.body import KEPT
from bench.motion.kinematics import resample_positions
from tests.conftest import PROJECT, Bench

JOINTS = ["pelvis", "left_hip", "right_hip", *KEPT]
LAYOUT: dict[str, Any] = {
    "fps": 25,
    "units": "mm",
    "joints": JOINTS,
    "root": "pelvis",
    "left": "left_hip",
    "right": "right_hip",
    "above": "neck",
}
REST = BODY.rest[BODY.index(JOINTS)]


_Z_UP = ((0, 1), (2, -1), (1, 1))
"""For each axis with z up, the corresponding axis with y up, and its sign."""


def _motion(frames: int = 40, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``(frame, joint, 3)`` positions in the world, y up, and the body's rotations.

    The rest pose moves as one piece; what is above the root lies in its plane of symmetry.
    """
    rng = np.random.default_rng(seed)
    turns = Rotation.from_euler("YXZ", rng.uniform(-60, 60, (frames, 3)), degrees=True).as_matrix()
    return REST @ turns.swapaxes(1, 2) + rng.normal(0, 500, (frames, 1, 3)), turns


def _folder(path: Path, layout: dict[str, Any]) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "motion.yaml").write_text(yaml.safe_dump(layout))
    return path


def _table(positions: NDArray[np.float64], mark: str) -> pd.DataFrame:
    names = [f"{joint}{mark}{axis}" for joint in JOINTS for axis in "xyz"]
    table = pd.DataFrame(positions.reshape(len(positions), -1), columns=names)
    table.insert(0, "time", np.arange(len(table)) / 25)
    return table[["time", *reversed(names)]]


WRITERS: dict[str, Callable[[Path, NDArray[np.float64]], object]] = {
    "a.npy": lambda path, positions: np.save(path, positions),
    "b.npz": lambda path, positions: np.savez(path, anything=positions),
    "c.npz": lambda path, positions: np.savez_compressed(path, positions=positions),
    "d.npy": lambda path, positions: np.save(path, np.asfortranarray(positions)),
    "e.csv": lambda path, positions: _table(positions, "_").to_csv(path, index=False),
    "f.csv": lambda path, positions: _table(positions, ".").to_csv(path),
    "g.parquet": lambda path, positions: _table(positions, "_").to_parquet(path),
    "h.npy": lambda path, positions: np.save(path, positions.astype(">f8")),
}


def _read(path: Path, **chosen: object) -> NDArray[np.float32]:
    return Arrays.model_validate(chosen).read(Source("a", "test", file=File(path)))


@pytest.mark.parametrize("orientation", ["removed", "facing_removed", "kept"])
def test_every_format_gives_the_same_motion(tmp_path: Path, orientation: str) -> None:
    positions, turns = _motion()
    positions[3, 5] = np.nan
    _folder(tmp_path, LAYOUT)
    read = []
    for name, write in WRITERS.items():
        write(tmp_path / name, positions)
        read.append(_read(tmp_path / name, orientation=orientation))
    for other in read[1:]:
        np.testing.assert_allclose(other, read[0], atol=1e-4)
    lacking = np.zeros((len(positions), 18), dtype=bool)
    lacking[3, KEPT.index(JOINTS[5])] = True
    assert (np.isnan(read[0]).all(axis=2) == lacking).all()
    if orientation == "kept":
        world = (REST @ turns.swapaxes(1, 2))[:, 3:].astype(np.float32)
        np.testing.assert_allclose(read[0][~lacking], world[~lacking], atol=1e-2)
    if orientation == "removed":
        # The neck is a little in front of the root, and up is through it: the same for all frames.
        first = np.broadcast_to(read[0][0], read[0].shape)
        np.testing.assert_allclose(read[0][~lacking], first[~lacking], atol=1e-2)
        assert np.abs(first[0][KEPT.index("neck")][[0, 2]]).max() < 1
        assert first[0][KEPT.index("left_shoulder")][0] > 150


@pytest.mark.parametrize(
    ("change", "convert"),
    [
        ({"units": "m"}, lambda positions: positions / 1000),
        ({"units": "cm"}, lambda positions: positions / 10),
        ({"up": "z"}, lambda positions: np.stack([positions[..., i] * s for i, s in _Z_UP], -1)),
        ({"root": ["left_hip", "right_hip"]}, lambda positions: positions),
        (
            {
                "joints": [f"my {name}" for name in JOINTS],
                "root": "my pelvis",
                "left": "my left_hip",
            }
            | {"right": "my right_hip", "above": "my neck"}
            | {"map": {name: f"my {name}" for name in KEPT}},
            lambda positions: positions,
        ),
    ],
)
def test_conventions_of_the_user_are_undone(
    tmp_path: Path,
    change: dict[str, Any],
    convert: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> None:
    positions, _ = _motion()
    usual, other = _folder(tmp_path / "a", LAYOUT), _folder(tmp_path / "b", LAYOUT | change)
    np.save(usual / "a.npy", positions)
    np.save(other / "a.npy", convert(positions))
    for orientation in ("removed", "facing_removed", "kept"):
        expected = _read(usual / "a.npy", orientation=orientation)
        found = _read(other / "a.npy", orientation=orientation)
        if "root" in change and isinstance(change["root"], list):
            # Relative to another point, or with another axis up.
            found, expected = (
                np.linalg.norm(np.diff(each, axis=1), axis=-1) for each in (found, expected)
            )
        np.testing.assert_allclose(found, expected, atol=1e-2)


def test_windows_with_missing_values_are_left_out_and_counted(tmp_path: Path) -> None:
    for split, seed in (("train", 1), ("valid", 2), ("test", 3)):
        positions, _ = _motion(40, seed)
        if split == "train":
            positions[20, JOINTS.index("left_wrist")] = np.nan
        if split == "test":
            positions[0, JOINTS.index("pelvis")] = np.nan
        np.save(_folder(tmp_path / "arrays" / split, LAYOUT) / "a.npy", positions)
    data = load(Arrays(frames=10, stride=1), tmp_path, tmp_path / "cache")
    counts = {split: len(windows) for split, windows in data.splits.items()}
    assert counts == {"train": 31 - 10, "valid": 31, "test": 30}
    assert data.incomplete == 11
    assert np.isfinite(data.splits["train"].motion).all()
    assert 11 not in set(data.splits["train"].index["start"])
    layout = tmp_path / "arrays" / "train" / "motion.yaml"
    layout.write_text(layout.read_text() + "\n")
    again = load(Arrays(frames=10, stride=1), tmp_path, tmp_path / "cache")
    assert again.fingerprint != data.fingerprint


def test_a_joint_that_is_always_missing_leaves_no_windows(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        positions, _ = _motion(40)
        positions[:, JOINTS.index("head")] = np.nan
        np.save(_folder(tmp_path / "arrays" / split, LAYOUT) / "a.npy", positions)
    with pytest.raises(InputError, match="has 10 frames at 25 fps without a missing value"):
        load(Arrays(frames=10), tmp_path, tmp_path / "cache")


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 30),
    st.sampled_from([25.0, 30.0, 50.0, 59.94, 60.0, 100.0, 120.0]),
    st.integers(0, 2**32 - 1),
)
def test_nothing_is_interpolated_across_a_missing_value(frames: int, fps: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(frames, 2, 3))
    values[rng.random((frames, 2)) < 0.3] = np.nan
    found = resample_positions(values, fps, 25.0)
    assert len(found) == int((frames - 1) / fps * 25 + 1e-6) + 1
    for number, frame in enumerate(found):
        time = number / 25 * fps
        near = round(time)
        if abs(time - near) < 1e-6:
            expected = values[near]
        else:
            low = int(time)
            expected = values[low] + (time - low) * (values[low + 1] - values[low])
        np.testing.assert_allclose(frame, expected, atol=1e-9)


def test_a_missing_root_or_hip_is_a_missing_frame(tmp_path: Path) -> None:
    _folder(tmp_path, LAYOUT)
    positions, _ = _motion()
    positions[4, JOINTS.index("pelvis")] = np.nan
    positions[9, JOINTS.index("left_hip"), 1] = np.nan
    np.save(tmp_path / "a.npy", positions)
    missing = np.isnan(_read(tmp_path / "a.npy")).all(axis=(1, 2))
    assert np.flatnonzero(missing).tolist() == [4, 9]
    missing = np.isnan(_read(tmp_path / "a.npy", orientation="kept")).all(axis=(1, 2))
    assert np.flatnonzero(missing).tolist() == [4]
    positions[5, JOINTS.index("left_hip")] = positions[5, JOINTS.index("right_hip")]
    np.save(tmp_path / "a.npy", positions)
    with pytest.raises(InputError, match=r"0\.20 s from the start"):
        _read(tmp_path / "a.npy")


BAD_LAYOUTS: list[tuple[dict[str, Any], str]] = [
    ({"fps": None}, "fps: input should be a valid number"),
    ({"fps": -1}, "fps: input should be greater than or equal to 1"),
    ({"fps": float("inf")}, "fps: "),
    ({"fps": 1e-9}, "fps: "),  # resampling a few frames would exhaust the memory
    ({"units": "ft"}, "units: input should be 'mm', 'cm' or 'm'"),
    ({"unit": "mm"}, "unknown key 'unit' .did you mean 'units'"),
    ({"joints": []}, "joints: "),
    ({"joints": [*JOINTS, "neck"]}, "'neck' twice"),
    ({"joints": JOINTS[:-1]}, "lack right_wrist.*map.*parents"),
    ({"root": "pelvs"}, "root: no joint 'pelvs' .did you mean 'pelvis'"),
    ({"left": "lefthip"}, "left: no joint 'lefthip' .did you mean 'left_hip'"),
    ({"map": {"left_nee": "left_knee"}}, "map: no joint 'left_nee' .* did you mean|did you mean"),
    ({"map": {"left_knee": "left_knee"}}, "map: right_knee.*missing"),
    ({"map": {"left_knee": "nee"}}, "map: no joint 'nee'"),
    ({"parents": {"pelvis": None}}, "parents: none of 'left_hip'"),
    ({"parents": {"knee": None}}, "parents: no joint 'knee'"),
    ({"parents": dict.fromkeys(JOINTS, "right_wrist")}, "must come before 'pelvis'"),
    ({"parents": dict.fromkeys(JOINTS), "limbs": {"a": ["neck"]}}, "exactly one limb"),
    ({"parents": dict.fromkeys(JOINTS)}, "set dataset.layout"),
    ({"left": None}, "dataset.orientation: removed needs left.*oriented: true"),
    ({"above": None}, "dataset.orientation: removed needs above"),
    ({"splits": {"train": ["*"], "test": ["a*"]}}, "a.npy is in 2 splits"),
    ({"splits": {"train": ["b*"]}}, "a.npy is in no split"),
    ({"splits": {"trein": ["b*"]}}, "splits"),
]


@pytest.mark.parametrize(("change", "message"), BAD_LAYOUTS)
def test_a_wrong_layout_is_refused_in_one_line(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    _folder(tmp_path, LAYOUT | change)
    np.save(tmp_path / "a.npy", _motion()[0])
    with pytest.raises(InputError, match=message) as refused:
        Arrays().sources(tmp_path)
    assert str(tmp_path / "motion.yaml") in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML"),
        ("- 1", "no mapping of keys"),
        ("", "no mapping of keys"),
        ("fps: !!int ''", "not valid YAML"),
        ("fps: 2026-99-99", "not valid YAML"),
        ("a: &a [*a]", "aliases"),
        ("#" * 2**17, "larger than"),
    ],
)
def test_what_is_no_layout_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "motion.yaml").write_text(text)
    np.save(tmp_path / "a.npy", _motion()[0])
    with pytest.raises(InputError, match=message):
        Arrays().sources(tmp_path)
    (tmp_path / "motion.yaml").unlink()
    with pytest.raises(InputError, match=r"no motion\.yaml"):
        Arrays().sources(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        _ = Arrays(layout=tmp_path / "motion.yaml").skeleton


def _npy(array: object, **changes: object) -> bytes:
    """Return bytes of an .npy file, with changes to its header."""
    stream = io.BytesIO()
    np.save(stream, np.asarray(array))
    content = stream.getvalue()
    for old, new in changes.items():
        content = content.replace(old.encode(), str(new).encode())
    return content


def _zip(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


def _shaped(shape: str) -> bytes:
    """Return an .npy file with a false shape in its header."""
    content = _npy(_motion()[0])
    stated = b"(40, 21, 3), }"
    assert stated in content
    return content.replace(stated + b" " * (len(shape) - 11), shape.encode() + b", }")


_GOOD = _motion()[0]


def _csv_with_longer_rows(positions: NDArray[np.float64]) -> bytes:
    """Return a table with rows one cell longer than the header."""
    head, *rows = _table(positions, "_").to_csv(index=False).encode().splitlines(keepends=True)
    return head + b"".join(b"0," + row for row in rows)


_BOMB = _zip(a=b"\0" * 2**26)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"", "no array of numpy's format"),
        ("a.npy", b"\x93NUMPY\x09\x00", "no array of numpy's format"),
        ("a.npy", _npy(_GOOD)[:-8], "cut short"),
        ("a.npy", _npy(_GOOD)[:60], "no array of numpy's format"),
        ("a.npy", _shaped("(40000000000, 21, 3)"), "cut short"),
        ("a.npy", _shaped("(-40, -21, 3)"), "cut short"),
        ("a.npy", _npy(_GOOD.astype(complex)), "not numbers"),
        ("a.npy", _npy(np.array([{}, {}], dtype=object)), "not numbers"),
        ("a.npy", _npy(np.where(_GOOD > 900, np.inf, _GOOD)), "no length"),
        ("a.npy", _npy(_GOOD[:, :5]), r"an array of \(40, 5, 3\)"),
        ("a.npy", _npy(_GOOD[0]), r"an array of \(21, 3\)"),
        ("a.npy", _npy(_GOOD[:0]), "no frame"),
        ("a.npy", _shaped(f"(0, {10**22}, 3)")[:128], "no frame"),
        ("a.npy", _npy(_GOOD / 1000), "correct units"),
        ("a.npz", b"PK\x03\x04", "not a whole zip archive"),
        ("a.npz", _zip(a=_npy(_GOOD))[:-40], "not a whole zip archive"),
        ("a.npz", _zip(a=_npy(_GOOD), b=_npy(_GOOD)), "which array.*a, b"),
        ("a.npz", _zip(), "which array"),
        ("a.npz", _BOMB, "no array of numpy's format"),
        ("a.csv", b"", "no table"),
        ("a.csv", b"\xff\xfe\x00,1\n2,3\n", "no table|no column"),
        ("a.csv", _csv_with_longer_rows(_GOOD), "row 1 has 65 cells, the header has 64"),
        ("a.csv", b"time,pelvis_x\n0,1\n", "no column 'pelvis_y' .did you mean 'pelvis_x'"),
        ("a.parquet", b"PAR1", "no Parquet table"),
        ("a.parquet", b"PAR1" + b"\0" * 100 + b"PAR1", "no Parquet table"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    _folder(tmp_path, LAYOUT)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as refused:
        _read(tmp_path / name)
    assert str(tmp_path / name) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_without_a_defined_rotation_is_refused_alone(tmp_path: Path) -> None:
    """As ``bench data check`` reads it, without the other files of its folder."""
    _folder(tmp_path, LAYOUT | {"left": None})
    np.save(tmp_path / "a.npy", _GOOD)
    with pytest.raises(InputError, match="needs left"):
        _read(tmp_path / "a.npy")


def test_a_cell_that_is_no_number_is_refused(tmp_path: Path) -> None:
    _folder(tmp_path, LAYOUT)
    table = _table(_GOOD, "_").astype(object)
    table.loc[3, "neck_x"] = "left out"
    table.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match="'left out' stands where a number is due"):
        _read(tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["b.npz", "e.csv", "g.parquet", "a.npy"])
def test_random_damage_never_crashes(tmp_path: Path, name: str) -> None:
    _folder(tmp_path, LAYOUT)
    path = tmp_path / name
    WRITERS[name](path, _GOOD[:8])
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    refusals = []
    for number in range(40):
        spoilt = bytearray(content[: rng.integers(1, len(content))] if number % 4 == 0 else content)
        for place in rng.integers(0, len(spoilt), rng.integers(1, 20)):
            spoilt[place] ^= 1 << int(rng.integers(8))
        # A new file each time: archives are cached by path and modification time.
        damaged = tmp_path / f"{number}{path.suffix}"
        damaged.write_bytes(spoilt)
        try:
            motion = _read(damaged)
        except InputError as error:
            refusals.append(str(error))
        else:
            assert motion.shape[1:] == (18, 3)
    assert len(refusals) >= 10
    assert not any("\n" in refusal for refusal in refusals)


def test_joints_of_ones_own(tmp_path: Path) -> None:
    layout = {
        "fps": 25,
        "units": "cm",
        "joints": ["wrist", "thumb", "index"],
        "root": "wrist",
        "parents": {"wrist": None, "thumb": "wrist", "index": "wrist"},
        "limbs": {"palm": ["wrist"], "fingers": ["thumb", "index"]},
        "oriented": True,
    }
    _folder(tmp_path, layout)
    positions = np.random.default_rng(0).normal(0, 3, (12, 3, 3))
    np.save(tmp_path / "a.npy", positions)
    dataset = Arrays(layout=tmp_path / "motion.yaml")
    assert dataset.skeleton.names == ("wrist", "thumb", "index")
    assert dataset.skeleton.bones == [(0, 1), (0, 2)]
    motion = dataset.read(Source("a", "test", file=File(tmp_path / "a.npy")))
    np.testing.assert_allclose(motion, 10 * (positions - positions[:, :1]), atol=1e-4)


# The docs page.


def _examples(text: str) -> dict[str, str]:
    found = re.findall(r"<!-- example: (\S+) -->\n```\w*\n(.*?)```", text, flags=re.DOTALL)
    return dict(found)


def _lay_out(folder: Path, *names: str) -> None:
    examples = _examples((PROJECT / "docs" / "own_data.md").read_text())
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(examples[name])


def test_the_docs_page_bvh_example_reads(tmp_path: Path) -> None:
    _lay_out(tmp_path, "mapping.yaml", "train/walk.bvh")
    dataset = BVH(mapping=tmp_path / "mapping.yaml")
    source = Source("walk", "train", file=File(tmp_path / "train" / "walk.bvh"))
    motion = dataset.read(source)
    assert motion.shape == (2, 18, 3)
    ankle, knee, foot, collar = (
        motion[0, KEPT.index(name)]
        for name in ("left_ankle", "left_knee", "left_foot", "left_collar")
    )
    np.testing.assert_allclose(knee, [90, -470, 0], atol=1e-3)
    assert np.linalg.norm(ankle - knee) == pytest.approx(410, abs=1e-3)
    assert foot[2] > ankle[2] + 50
    np.testing.assert_allclose(collar, [60, 390, 0], atol=1e-3)


def test_the_docs_page_arrays_example_runs(tmp_path: Path, bench: Bench) -> None:
    _lay_out(tmp_path / "data", "motion.yaml", "write.py", "protocol.yaml")
    subprocess.run([sys.executable, "write.py"], cwd=tmp_path / "data", check=True)
    dataset: Dataset = Arrays(frames=20)
    data = load(dataset, tmp_path / "data", tmp_path / "cache")
    assert {split: len(set(w.index["source"])) for split, w in data.splits.items()} == {
        "train": 2,
        "valid": 1,
        "test": 1,
    }
    assert data.incomplete > 0
    protocol = tmp_path / "data" / "protocol.yaml"
    protocol.write_text(protocol.read_text().replace("name: bvh", "name: arrays"))
    options = ("--results", tmp_path / "results", "--executor", "local")
    ended = bench("run", protocol, "--data-root", tmp_path / "data", *options)
    assert ended.code == 0, ended.err
