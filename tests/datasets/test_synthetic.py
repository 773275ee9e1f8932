"""The embedded motion: reproducible, anatomically plausible, and as hard as real motion."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.commands.describe import TRIVIAL, _errors, dct_energy
from bench.datasets.base import Data, Source
from bench.datasets.build import load
from bench.datasets.cmu_expmap import CMUExpmap
from bench.datasets.synthetic import (
    _LOWER,
    _UPPER,
    ACTIONS,
    ANGLES,
    SKELETON,
    Style,
    Synthetic,
    _mirror,
    take,
)
from bench.motion.clips import Clips
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.features import Features


def recordings(dataset: Synthetic) -> list[tuple[Source, NDArray[np.float32]]]:
    return [(source, dataset.read(source)) for source in dataset.sources(None)]


@pytest.fixture(scope="module")
def takes() -> list[tuple[Source, NDArray[np.float32]]]:
    return recordings(Synthetic(subjects=4, seconds=3))


def test_the_same_seed_gives_the_same_motion(
    takes: list[tuple[Source, NDArray[np.float32]]],
) -> None:
    again = recordings(Synthetic(subjects=4, seconds=3))
    for (source, first), (same, second) in zip(takes, again, strict=True):
        assert source == same
        np.testing.assert_array_equal(first, second)
    other = Synthetic(subjects=4, seconds=3, seed=1)
    assert not np.allclose(other.read(other.sources(None)[0]), takes[0][1])


def test_whole_subjects_are_held_out() -> None:
    sources = Synthetic(subjects=4, seconds=3).sources(None)
    subjects: dict[str, set[str]] = {}
    for source in sources:
        subjects.setdefault(source.split, set()).add(source.subject)
    assert {split: len(names) for split, names in subjects.items()} == {
        "train": 1,
        "valid": 1,
        "test": 2,
    }
    assert len(set().union(*subjects.values())) == 4
    assert len({source.action for source in sources}) == len(ACTIONS) >= 15


def test_bones_are_rigid(takes: list[tuple[Source, NDArray[np.float32]]]) -> None:
    for _, motion in takes:
        for parent, child in SKELETON.bones:
            length = np.linalg.norm(motion[:, child] - motion[:, parent], axis=1)
            np.testing.assert_allclose(length, length[0], rtol=1e-4)


@pytest.mark.parametrize("action", ACTIONS)
def test_joint_angles_stay_within_limits_and_move(action: str) -> None:
    rng = np.random.default_rng(0)
    angles = take(action, Style.draw(rng), 8, 25, rng)
    assert angles.shape == (200, len(ANGLES))
    assert (angles >= _LOWER).all()
    assert (angles <= _UPPER).all()
    assert np.ptp(angles, axis=0).max() > 20


def test_no_cycle_repeats_itself() -> None:
    rng = np.random.default_rng(1)
    angles = take("walk", Style.draw(rng), 12, 25, rng)[:, ANGLES.index("left_hip_flex")]
    swing = angles - angles.mean()
    lagged = np.correlate(swing, swing, "full")[len(swing) :] / (swing**2).sum()
    # The second step resembles the first but is not equal to it.
    assert 0.2 < lagged[15:40].max() < 0.97


def test_mirroring_twice_changes_nothing() -> None:
    angles = np.random.default_rng(0).normal(size=(5, len(ANGLES)))
    np.testing.assert_array_equal(_mirror(_mirror(angles)), angles)
    assert not np.allclose(_mirror(angles), angles)


@pytest.fixture(scope="module")
def both(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Data, Data]:
    cache = tmp_path_factory.mktemp("windows")
    return load(Synthetic(), None, cache), load(CMUExpmap(), real_data, cache)


def test_it_is_as_hard_as_real_motion(both: tuple[Data, Data]) -> None:
    synthetic, cmu = (dct_energy(data.splits["train"]) for data in both)
    for count in (1, 3, 5, 10, 20):
        # Remaining energy after some coefficients: within a factor of two and a half.
        ratio = (1 - synthetic[count - 1]) / (1 - cmu[count - 1])
        assert 0.4 < ratio < 2.5, f"after {count} coefficients: {ratio}"


@pytest.mark.parametrize("level", Features.examples)
def test_trivial_imputers_rank_as_on_real_motion(both: tuple[Data, Data], level: str) -> None:
    mechanism = Features(level=Level.parse(level))
    errors = [_errors(data, mechanism) for data in both]
    ranks = [sorted(TRIVIAL, key=found.__getitem__) for found in errors]
    assert ranks[0] == ranks[1]


def test_it_is_labelled_synthetic(both: tuple[Data, Data]) -> None:
    assert "synthetic" in both[0].label
    assert "synthetic" not in both[1].label


def test_the_future_of_a_window_is_the_continuation_of_its_recording(tmp_path: Path) -> None:
    dataset = Synthetic(subjects=4, seconds=3.5, stride=10, future=12)
    motion = {source.name: dataset.read(source) for source in dataset.sources(None)}
    data = load(dataset, None, tmp_path)
    whole, cut = 0, 0
    for windows in data.splits.values():
        assert windows.future is not None
        assert windows.future.shape == (len(windows), 12, 18, 3)
        assert isinstance(windows.future, Clips)
        for row, (source, start) in enumerate(
            zip(windows.index["source"], windows.index["start"], strict=True)
        ):
            after = motion[source][start + 50 : start + 62]
            np.testing.assert_array_equal(windows.future[row, : len(after)], after)
            assert np.isnan(windows.future[row, len(after) :]).all()
            assert windows.continued[row] == (len(after) == 12)
            whole, cut = whole + (len(after) == 12), cut + (len(after) < 12)
    assert whole > 100
    assert cut > 50
    assert sorted(path.name for path in (tmp_path / data.fingerprint).glob("*.npy")) == sorted(
        f"{split}.npy" for split in ("train", "valid", "test")
    )


def test_another_future_gives_another_cache_and_the_same_windows(tmp_path: Path) -> None:
    near, far = (
        load(Synthetic(subjects=4, seconds=3, stride=10, future=future), None, tmp_path)
        for future in (1, 25)
    )
    assert near.fingerprint != far.fingerprint
    for split, windows in near.splits.items():
        np.testing.assert_array_equal(windows.motion, far.splits[split].motion)
        assert windows.names == far.splits[split].names
