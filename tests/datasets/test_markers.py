"""Recordings of named points, and the data set of markers that is made from them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from bench.core.errors import InputError
from bench.datasets.archive import File
from bench.datasets.base import Data, Source
from bench.datasets.build import load
from bench.datasets.markers import CMU, Markers
from bench.datasets.points import read_points
from bench.metrics import mae
from bench.motion import Windows
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.own_gaps import OwnGaps
from models.linear import Linear
from tests.datasets.c3d_files import write_c3d

NAMES = ("head", "hand", "hip", "toe")


def positions(frames: int = 40, seed: int = 0) -> NDArray[np.float64]:
    """Return ``(frame, 4, 3)`` positions, mm, z up, none of them at the origin."""
    rng = np.random.default_rng(seed)
    return rng.normal(1000, 200, (1, 4, 3)) + rng.normal(0, 5, (frames, 4, 3)).cumsum(axis=0)


# Files


def test_positions_come_back_as_written(tmp_path: Path) -> None:
    motion = positions()
    found = read_points(File(write_c3d(tmp_path / "a.c3d", motion, NAMES, fps=120)))
    np.testing.assert_allclose(found.positions, motion, rtol=1e-6)
    assert (found.labels, found.fps, found.notes) == (NAMES, 120, ())


def test_samples_that_are_not_known_are_missing(tmp_path: Path) -> None:
    """Residual -1, which the writer gives to nan, and the exact origin."""
    motion = positions()
    motion[3:7, 1] = np.nan
    motion[5, 2] = 0
    found = read_points(File(write_c3d(tmp_path / "a.c3d", motion, NAMES)))
    missing = np.isnan(found.positions)
    expected = np.zeros((40, 4), dtype=bool)
    expected[3:7, 1] = expected[5, 2] = True
    np.testing.assert_array_equal(missing, np.repeat(expected[..., None], 3, axis=2))
    assert found.notes == ("1 samples exactly at the origin count as missing",)


@pytest.mark.parametrize(
    ("units", "factor", "note"),
    [("mm", 1, ()), ("m", 1000, ()), ("cm", 10, ()), ("ft", 1, ("units 'ft' taken to be mm",))],
)
def test_lengths_are_in_mm(tmp_path: Path, units: str, factor: int, note: tuple[str]) -> None:
    path = write_c3d(tmp_path / "a.c3d", positions(), NAMES, UNITS=[units])
    found = read_points(File(path))
    np.testing.assert_allclose(found.positions, positions() * factor, rtol=1e-6)
    assert found.notes == note


def test_what_a_model_computed_and_the_subjects_name_are_left_out(tmp_path: Path) -> None:
    names = ("me:head", "me:hand", "me:LKneeAngles", "me:toe")
    path = write_c3d(tmp_path / "a.c3d", positions(), names, ANGLES=["me:LKneeAngles"])
    found = read_points(File(path))
    assert found.labels == ("head", "hand", "toe")
    np.testing.assert_allclose(found.positions, positions()[:, [0, 1, 3]], rtol=1e-6)
    assert len(found.notes) == 2


def test_points_of_the_same_name_are_numbered(tmp_path: Path) -> None:
    found = read_points(
        File(write_c3d(tmp_path / "a.c3d", positions(), ("toe", "a", "toe", "toe")))
    )
    assert found.labels == ("toe", "a", "toe (2)", "toe (3)")
    assert found.notes == ("points of one name numbered: toe",)


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    whole = write_c3d(tmp_path / "a.c3d", positions(), NAMES).read_bytes()
    for length in (0, 3, 100, 600, len(whole) // 2, len(whole) - 600):  # it ends in padding
        (tmp_path / "cut.c3d").write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut\.c3d: ") as refused:
            read_points(File(tmp_path / "cut.c3d"))
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match=r"not one of \.c3d; export"):
        read_points(File(tmp_path / "a.xyz"))


def test_real_files_have_what_an_independent_reader_counted(real_data: Path) -> None:
    folder = real_data / "markers"
    if not (folder / "index.csv").is_file():
        pytest.skip("no markers/ with an index in the real data")
    index = pd.read_csv(folder / "index.csv").set_index("path")
    names = [name for name in index.index if str(name).endswith(".c3d")]
    assert len(names) > 5
    for name in names:
        row = pd.to_numeric(index.loc[name], errors="coerce")
        if np.isnan(row["frames"]):
            with pytest.raises(InputError, match=str(name)):
                read_points(File(folder / str(name)))
            continue
        found = read_points(File(folder / str(name)))
        assert len(found.positions) == row["frames"]
        assert found.fps == pytest.approx(float(row["rate"]))
        missing = int(np.isnan(found.positions).all(axis=-1).sum())
        if name == "bts_dynamic.c3d":
            # Counted by a library that takes words of its analog channels for points.
            assert any("header taken" in note for note in found.notes)
        elif len(found.labels) == row["points"]:
            assert missing == row["missing_flagged"] + row["missing_as_zero"]
        else:
            assert "pig" in str(name)  # these hold what a model computed


# The data set

PARTS: dict[str, Any] = {
    "train": [
        {"file": "take.c3d", "frames": [10, 20], "action": "leak"},
        {"file": "take.c3d", "frames": [20, 40], "action": "apart"},
    ],
    "valid": [{"file": "take.c3d", "frames": [30, 40]}],
    "test": [{"file": "take.c3d", "frames": [5, 15]}],
}


def settings(**more: Any) -> dict[str, Any]:
    return {"points": NAMES, "frames": 10, "fps": 100, "future": 1, **PARTS, **more}


def loaded(tmp_path: Path, **more: Any) -> Data:
    (tmp_path / "markers").mkdir(exist_ok=True)
    write_c3d(tmp_path / "markers" / "take.c3d", positions(), NAMES)
    return load(Markers(**settings(**more)), tmp_path, tmp_path / "cache")


def test_parts_are_frames_of_the_file_in_the_laboratorys_axes(tmp_path: Path) -> None:
    data = loaded(tmp_path, stride=10)
    train, test = data.splits["train"], data.splits["test"]
    assert list(train.index["action"]) == ["leak", "apart", "apart"]
    upright = positions()[..., [0, 2, 1]] * (1, 1, -1)
    np.testing.assert_allclose(test.motion[0], upright[5:15], rtol=1e-6)
    np.testing.assert_allclose(train.motion[:, 0], upright[[10, 20, 30]], rtol=1e-6)
    assert test.skeleton.bones == []


def test_a_part_that_shares_frames_with_the_test_is_named_in_every_table(tmp_path: Path) -> None:
    assert loaded(tmp_path).label == (
        "markers (train take[10:20] of action 'leak' overlaps the test)"
    )
    assert loaded(tmp_path, train=PARTS["train"][1:]).label == "markers"


def test_without_parts_files_are_split_by_folders_and_resampled(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / split).mkdir()
        write_c3d(tmp_path / split / "a.c3d", positions(), NAMES)
    bare = {"train": (), "valid": (), "test": ()}
    data = load(Markers(**settings(fps=50, **bare)), tmp_path, tmp_path / "cache")
    upright = positions()[..., [0, 2, 1]] * (1, 1, -1)
    np.testing.assert_allclose(data.splits["test"].motion[0], upright[:20:2], rtol=1e-6)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"points": ("head", "hnad")}, r"no point 'hnad' \(did you mean"),
        ({"test": [{"file": "take.c3d", "frames": [35, 45]}]}, r"frames \[35, 45\] of 40"),
        ({"test": [{"file": "tkae.c3d"}]}, r"tkae\.c3d: no such file"),
        ({"test": [{"file": "../../take.c3d"}]}, "no such file"),
        ({"masks": "take.npz"}, "no such file"),
    ],
)
def test_what_the_files_do_not_have_is_named(
    tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        loaded(tmp_path, **more)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"train": ()}, "valid, test given; give all of train, valid and test, or none"),
        ({"points": ("head", "head")}, "a name occurs twice"),
        ({"test": [{"file": "take.c3d", "frames": [9, 9]}]}, "the first comes before the last"),
        ({"orientation": "removed"}, "kept"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Markers(**settings(**more))


def test_masks_come_with_the_test_windows(tmp_path: Path) -> None:
    (tmp_path / "markers").mkdir()
    known = np.random.default_rng(0).integers(0, 2, (3, 10, 12)).astype(np.uint8)
    np.savez(tmp_path / "markers" / "masks.npz", some_2=known)
    data = loaded(tmp_path, masks="masks.npz")
    test = data.splits["test"]
    mechanism = OwnGaps(level=Level(count=2), seed=1, masks="published")
    hidden = mechanism.occluded(test)
    np.testing.assert_array_equal(hidden[0].reshape(10, 12), known[1] == 0)
    assert not data.splits["train"].masks
    for level, seed, message in (
        (3, 0, "no masks of level 3; of level 2"),
        (2, 3, "seeds are 0 to 2"),
    ):
        with pytest.raises(ValueError, match=message):
            OwnGaps(level=Level(count=level), seed=seed, masks="published").check_windows(test)
    np.savez(tmp_path / "markers" / "masks.npz", some_2=known[:, :9])
    with pytest.raises(InputError, match=r"masks \(3, 9, 12\); expected \(mask, 10, 12\)"):
        loaded(tmp_path, masks="masks.npz")


def test_a_file_with_other_points_is_not_recognised(tmp_path: Path) -> None:
    path = write_c3d(tmp_path / "a.c3d", positions(), NAMES)
    assert Markers().recognise(File(path)) is None
    path.write_bytes(path.read_bytes()[:700])
    assert isinstance(Markers().recognise(File(path)), Source)  # damaged, so it is named as such
    motion = np.random.default_rng(0).normal(1000, 1, (5, len(CMU), 3))
    assert Markers().recognise(File(write_c3d(path, motion, CMU)))


def test_linear_interpolation_has_the_published_protocols_errors(
    real_data: Path, tmp_path: Path
) -> None:
    """An independent computation, by np.interp over the 150 masks, found these errors."""
    if not (real_data / "markers" / "lwpca_masks.npz").is_file():
        pytest.skip("no markers/lwpca_masks.npz in the real data")
    part = [{"file": "cmu_135_02.c3d", "frames": [50, 450]}]
    dataset = Markers(
        frames=400, fps=120, train=part, valid=part, test=part, masks="lwpca_masks.npz"
    )
    test = load(dataset, real_data, tmp_path).splits["test"]
    for level, expected in ((3, 32.91), (6, 33.64), (9, 33.02)):
        masks = [OwnGaps(level=Level(count=level), seed=s, masks="published") for s in range(50)]
        errors = [_error(Linear(test.spec), test, mask) for mask in masks]
        assert np.mean(errors) == pytest.approx(expected, abs=0.006)


def _error(model: Linear, test: Windows, mask: OwnGaps) -> float:
    hidden = torch.from_numpy(mask.occluded(test))
    return float(mae(model.impute(test.tensor(), hidden).motion, test.tensor(), hidden))
