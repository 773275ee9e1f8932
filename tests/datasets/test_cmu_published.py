"""The CMU benchmark as published: zero-velocity errors, joints, windows and draws."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from numpy.typing import NDArray

from bench.datasets.archive import File
from bench.datasets.base import Data
from bench.datasets.build import load
from bench.datasets.cmu_expmap import FULL_SKELETON, joint_rotations, rows_of
from bench.datasets.cmu_published import COPIES, PREDICTED, SKELETON, STILL, CMUPublished
from bench.metrics import forecast_error
from bench.motion import rotation_matrices
from predictors.zero_velocity import ZeroVelocity
from tests.conftest import PROJECT

ACTIONS = ("basketball", "jumping", "running", "soccer", "walking", "washwindow")
AHEAD = (2, 4, 8, 10, 14, 25)
"""Frames that are published as 80, 160, 320, 400, 560 and 1000 ms."""

_tables = yaml.safe_load((PROJECT / "protocols" / "cmu_prediction.yaml").read_text())["published"]
PUBLISHED: dict[str, dict[str, list[float]]] = {
    table.get("windows", "all"): table["mm"]
    for table in _tables
    if table["predictor"] == "zero_velocity"
}


@pytest.fixture(scope="module")
def root(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every test file, and the train files of two actions; all would make 450 MB of windows."""
    folder = tmp_path_factory.mktemp("files")
    paths = [*real_data.glob("cmu_expmap/test/*/*.txt")]
    for action in ("walking", "running"):
        paths += real_data.glob(f"cmu_expmap/train/{action}/*.txt")
    for path in paths:
        link = folder / path.relative_to(real_data / "cmu_expmap")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
    return folder


@pytest.fixture(scope="module", params=[50, 10])
def data(
    request: pytest.FixtureRequest, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Data:
    return load(CMUPublished(frames=request.param), root, tmp_path_factory.mktemp("windows"))


def joints_38(path: Path) -> NDArray[np.float64]:
    """Return all 38 joints in published millimetres, ``(frame, joint, 3)``, parent by parent."""
    local = rotation_matrices(joint_rotations(rows_of(File(path)), drop_t_pose=False)[::2])
    unit = 70 / 56.444
    turned: list[NDArray[np.float64]] = []
    placed: list[NDArray[np.float64]] = []
    for joint, parent in enumerate(FULL_SKELETON.parents):
        if parent < 0:
            turned.append(np.broadcast_to(np.eye(3), local[:, joint].shape))
            placed.append(np.zeros((len(local), 3)))
            continue
        turned.append(np.einsum("fij,fjk->fik", turned[parent], local[:, joint]))
        bone = (FULL_SKELETON.rest[joint] - FULL_SKELETON.rest[parent]) * unit
        placed.append(placed[parent] + np.einsum("fij,j->fi", turned[parent], bone))
    return np.stack(placed, axis=1)


def file_of(root: Path, action: str) -> Path:
    return root / "test" / action / f"{action}_1.txt"


def zero_velocity_errors(data: Data) -> dict[str, pd.DataFrame]:
    """Return errors by subset of windows: a row per action, a column per horizon."""
    test = data.splits["test"]
    test = test.take(test.continued)
    assert test.future is not None
    predicted = ZeroVelocity(test.spec).predict(test.tensor())
    weights = torch.from_numpy(CMUPublished().joint_weights)
    errors = forecast_error(predicted, torch.from_numpy(np.array(test.future)), weights)
    table = pd.DataFrame(errors[:, [ahead - 1 for ahead in AHEAD]].numpy())
    chosen = CMUPublished(frames=test.spec.frames).test_sets(test.index)
    return {
        name: table.iloc[rows].groupby(test.index["action"].to_numpy()[rows]).mean()
        for name, rows in chosen.items()
    }


@pytest.fixture(scope="module")
def errors(data: Data) -> dict[str, pd.DataFrame]:
    return zero_velocity_errors(data)


@pytest.mark.parametrize(("windows", "action"), [*product(("all", "8 windows"), ACTIONS)])
def test_zero_velocity_errors_match_published_ones(
    errors: dict[str, pd.DataFrame], windows: str, action: str
) -> None:
    assert set(PUBLISHED) == {"all", "8 windows"}
    assert set(PUBLISHED[windows]) == set(ACTIONS)
    found = errors[windows].loc[action].to_numpy()
    # To the last published digit, with a margin for rounding of a half.
    np.testing.assert_allclose(found, PUBLISHED[windows][action], rtol=0, atol=0.0501)


@pytest.mark.parametrize(
    ("windows", "action", "expected"),
    [
        ("all", "washwindow", (14.7, 28.5, 53.4, 64.0, 81.5, 113.1)),
        ("8 windows", "running", (44.7, 84.2, 148.4, 177.3, 222.4, 213.8)),
    ],
)
def test_two_rows_match_values_copied_by_hand(
    errors: dict[str, pd.DataFrame], windows: str, action: str, expected: tuple[float, ...]
) -> None:
    np.testing.assert_allclose(errors[windows].loc[action], expected, rtol=0, atol=0.0501)


def test_weights_count_copies_and_leave_out_still_joints() -> None:
    weights = CMUPublished().joint_weights
    assert weights.shape == (25,)
    assert weights.sum() == pytest.approx(32 / 38)
    counts = dict(zip(SKELETON.names, np.round(weights * 38).astype(int), strict=True))
    more = {name: count for name, count in counts.items() if count != 1}
    assert more == {"chest": 4, "left_wrist": 3, "right_wrist": 3}
    assert sorted([*PREDICTED, *COPIES, *STILL]) == list(range(38))


@pytest.mark.parametrize("action", ["walking", "soccer"])
def test_weighted_joints_give_the_mean_over_all_38(root: Path, action: str) -> None:
    motion = joints_38(file_of(root, action))
    for joint in STILL:
        assert np.ptp(motion[:, joint], axis=0).max() < 1e-9
    for joint, same in COPIES.items():
        np.testing.assert_allclose(motion[:, joint], motion[:, same], atol=1e-9)
    # For any prediction in which the copies follow; this one is wrong everywhere.
    predicted = motion.copy()
    noise = np.random.default_rng(0).normal(0, 50, predicted[:, PREDICTED].shape)
    predicted[:, PREDICTED] += noise
    for joint, same in COPIES.items():
        predicted[:, joint] = predicted[:, same]
    over_all = np.linalg.norm(predicted - motion, axis=-1).mean(axis=1)
    weighted = forecast_error(
        torch.from_numpy(predicted[None][:, :, PREDICTED]),
        torch.from_numpy(motion[None][:, :, PREDICTED]),
        torch.from_numpy(CMUPublished().joint_weights),
    )
    np.testing.assert_allclose(weighted[0], over_all, rtol=1e-9)


@pytest.mark.parametrize("action", ["walking", "running"])
def test_windows_are_every_second_row_at_seventy_to_a_unit(
    data: Data, root: Path, action: str
) -> None:
    motion = joints_38(file_of(root, action))[:, PREDICTED]
    windows = data.splits["test"]
    windows = windows.take((windows.index["action"] == action).to_numpy() & windows.continued)
    assert windows.future is not None
    assert len(windows) == len(motion) - 35 + 1
    assert list(windows.index["start"]) == list(range(len(windows)))
    for row in (0, 1, 3, len(windows) - 1):
        # Ten frames from the row's own number on, and 25 that follow.
        np.testing.assert_allclose(
            windows.motion[row][-10:], motion[row : row + 10], rtol=1e-5, atol=1e-2
        )
        np.testing.assert_allclose(
            windows.future[row], motion[row + 10 : row + 35], rtol=1e-5, atol=1e-2
        )


def test_the_first_frame_is_repeated_before_the_recording(data: Data) -> None:
    windows = data.splits["test"]
    before = windows.spec.frames - 10
    starts = np.flatnonzero(windows.index["start"] == 0)
    assert len(starts) == len(ACTIONS)
    for row in starts:
        for frame in range(before):
            assert np.array_equal(windows.motion[row][frame], windows.motion[row][before])
        assert not np.array_equal(windows.motion[row][before + 1], windows.motion[row][before])
        # The next window has one such frame fewer.
        assert np.array_equal(windows.motion[row + 1][:-1], windows.motion[row][1:])


def test_every_length_of_past_has_the_same_futures(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = tmp_path_factory.mktemp("both")
    long, short = (load(CMUPublished(frames=frames), root, cache) for frames in (50, 10))
    for split in ("train", "valid", "test"):
        a, b = long.splits[split], short.splits[split]
        assert a.names == b.names
        assert a.future is not None
        assert b.future is not None
        assert np.array_equal(a.future, b.future, equal_nan=True)
        assert np.array_equal(a.motion[:, -10:], b.motion)
    index = long.splits["test"].take(long.splits["test"].continued).index
    for name, rows in CMUPublished(frames=50).test_sets(index).items():
        assert np.array_equal(rows, CMUPublished(frames=10).test_sets(index)[name])


def test_the_eight_windows_of_a_file_are_those_drawn_for_it(data: Data, root: Path) -> None:
    windows = data.splits["test"]
    windows = windows.take(windows.continued)
    rows = CMUPublished(frames=windows.spec.frames).test_sets(windows.index)["8 windows"]
    assert len(rows) == 8 * len(ACTIONS)
    mine = [row for row in rows if windows.index["action"][row] == "walking"]
    # 359 rows in the file are 180 frames; one draw after another, as published loaders do.
    draws = np.random.RandomState(1234567890)
    expected = [draws.randint(0, 180 - 75) + 40 for _ in range(8)]
    assert [int(windows.index["start"][row]) for row in mine] == expected
    motion = joints_38(file_of(root, "walking"))[:, PREDICTED]
    assert len(motion) == 180
    for row, start in zip(mine, expected, strict=True):
        assert windows.future is not None
        whole = np.concatenate([windows.motion[row][-10:], windows.future[row]])
        np.testing.assert_allclose(whole, motion[start : start + 35], rtol=1e-5, atol=1e-2)


def made_up_index(lengths: dict[str, int]) -> pd.DataFrame:
    """Return the index of windows with a future, for recordings of given lengths."""
    rows = [(name, start) for name, frames in lengths.items() for start in range(frames - 34)]
    return pd.DataFrame(rows, columns=["source", "start"])


def test_draws_are_seeded_per_file_and_short_files_have_none() -> None:
    index = made_up_index({"b": 200, "short": 75, "a": 200, "just": 76})
    sets = CMUPublished().test_sets(index)
    assert np.array_equal(sets["all"], np.arange(len(index)))
    drawn = index.iloc[sets["8 windows"]]
    by_file = {name: list(group["start"]) for name, group in drawn.groupby("source")}
    assert set(by_file) == {"a", "b", "just"}
    assert by_file["a"] == by_file["b"]
    assert by_file["just"] == [40] * 8
    assert all(40 <= start < 200 - 75 + 40 for start in by_file["a"])


def test_thinned_windows_are_not_drawn_from() -> None:
    sets = CMUPublished(stride=5).test_sets(made_up_index({"a": 200}))
    assert list(sets) == ["all"]


def test_recordings_that_validate_are_among_those_trained_on(
    real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every available file of the benchmark, a few frames of each."""
    monkeypatch.setattr("bench.datasets.cmu_published.rows_of", lambda file: rows_of(file)[:8])
    by_split: dict[str, dict[str, Any]] = {"train": {}, "valid": {}, "test": {}}
    dataset = CMUPublished()
    for source in dataset.sources(real_data):
        split, _, stem = source.name.partition("/")
        assert split == source.split
        by_split[split][stem] = dataset.read(source)
    train, valid, test = by_split.values()
    assert set(valid) == {
        "basketball_5",
        "basketball_signal_5",
        "jumping_5",
        "running_5",
        "soccer_5",
        "walking_5",
    }
    assert set(valid) < set(train)
    assert all(np.array_equal(motion, train[stem]) for stem, motion in valid.items())
    assert set(test) == {f"{action}_1" for action in ACTIONS}
    assert len(train) == 32


@pytest.mark.parametrize("orientation", ["kept", "facing_removed"])
def test_no_other_orientation_than_the_published_one(orientation: str) -> None:
    with pytest.raises(ValueError, match="the published protocol removes the root's rotation"):
        CMUPublished.model_validate({"orientation": orientation})
    assert CMUPublished.model_validate({"orientation": "removed"}).orientation == "removed"
