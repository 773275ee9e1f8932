"""The embedded motion: repeatable, anatomically sane, and hard the way real motion is."""

from pathlib import Path

import numpy as np
import pytest

from bench.datasets.base import Data, Recording, load
from bench.datasets.cmu import CMU
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
from bench.describe import LEVELS, TRIVIAL, _errors, dct_energy
from bench.motion.occlusion import Features, Level


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return list(Synthetic(subjects=4, seconds=3).recordings(None))


def test_the_same_seed_gives_the_same_motion(recordings: list[Recording]) -> None:
    again = Synthetic(subjects=4, seconds=3).recordings(None)
    for first, second in zip(recordings, again, strict=True):
        np.testing.assert_array_equal(first.motion, second.motion)
    other = next(Synthetic(subjects=4, seconds=3, seed=1).recordings(None))
    assert not np.allclose(other.motion, recordings[0].motion)


def test_whole_subjects_are_held_out(recordings: list[Recording]) -> None:
    subjects: dict[str, set[str]] = {}
    for recording in recordings:
        subjects.setdefault(recording.split, set()).add(recording.subject)
    assert {split: len(names) for split, names in subjects.items()} == {
        "train": 1,
        "valid": 1,
        "test": 2,
    }
    assert len(set.union(*subjects.values())) == 4
    assert len({recording.action for recording in recordings}) == len(ACTIONS) >= 15


def test_bones_are_rigid(recordings: list[Recording]) -> None:
    for recording in recordings:
        for parent, child in SKELETON.bones:
            length = np.linalg.norm(
                recording.motion[:, child] - recording.motion[:, parent], axis=1
            )
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
    # The second step resembles the first, and is not the first.
    assert 0.2 < lagged[15:40].max() < 0.97


def test_mirroring_twice_changes_nothing() -> None:
    angles = np.random.default_rng(0).normal(size=(5, len(ANGLES)))
    np.testing.assert_array_equal(_mirror(_mirror(angles)), angles)
    assert not np.allclose(_mirror(angles), angles)


@pytest.fixture(scope="module")
def both(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Data, Data]:
    cache = tmp_path_factory.mktemp("windows")
    return load(Synthetic(), None, cache), load(CMU(), real_data, cache)


def test_it_is_as_hard_as_real_motion(both: tuple[Data, Data]) -> None:
    synthetic, cmu = (dct_energy(data.splits["train"]) for data in both)
    for count in (1, 3, 5, 10, 20):
        # Energy left after so many coefficients: within a factor of two and a half.
        ratio = (1 - synthetic[count - 1]) / (1 - cmu[count - 1])
        assert 0.4 < ratio < 2.5, f"after {count} coefficients: {ratio}"


@pytest.mark.parametrize("level", LEVELS)
def test_trivial_imputers_rank_as_on_real_motion(both: tuple[Data, Data], level: str) -> None:
    mechanism = Features(level=Level.parse(level))
    errors = [_errors(data, mechanism) for data in both]
    ranks = [sorted(TRIVIAL, key=found.__getitem__) for found in errors]
    assert ranks[0] == ranks[1]


def test_it_says_that_it_is_synthetic(both: tuple[Data, Data]) -> None:
    assert "synthetic" in both[0].label
    assert "synthetic" not in both[1].label
