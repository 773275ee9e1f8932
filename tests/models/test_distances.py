"""Distances that motion keeps: those of a skeleton are found, and completions come to keep them."""

import numpy as np
import pytest
import torch

from bench.motion import Skeleton, Windows
from models.distances import Distances, _Bonds, _Search
from tests.conftest import walk

UPPER, LOWER = 300.0, 250.0
ARM = Skeleton(
    names=("shoulder", "elbow", "wrist"),
    parents=(-1, 0, 1),
    rest=np.array([[0.0, 100, 0], [UPPER, 100, 0], [UPPER + LOWER, 100, 0]]),
    limbs={"arm": ("shoulder", "elbow", "wrist")},
    pairs=(),
)
HANG = np.array([50.0, -20.0, 10.0])
"""The point that is fixed to the root, from which the shoulder hangs."""


def directions(rng: np.random.Generator, *shape: int) -> np.ndarray:
    drawn = rng.normal(size=(*shape, 3)) + np.array([0.0, -1.0, 0.0])
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def arms(count: int = 40, frames: int = 6, stretch: float = 0.0) -> Windows:
    """Return arms that swing freely, with bones of lengths that vary from window to window."""
    rng = np.random.default_rng(0)
    factor = 1 + stretch * rng.normal(size=(count, 1, 1))
    shoulder = HANG + 100 * directions(rng, count, frames)
    elbow = shoulder + factor * UPPER * directions(rng, count, frames)
    wrist = elbow + factor * LOWER * directions(rng, count, frames)
    motion = np.stack([shoulder, elbow, wrist], axis=2).astype(np.float32)
    return Windows(motion, walk(count, frames).index, 25.0, ARM)


def measured(windows: Windows) -> Distances:
    distances = Distances(windows.spec)
    distances.measure(windows)
    return distances


def test_bones_and_the_sphere_around_a_fixed_point_are_found() -> None:
    distances = measured(arms())
    assert distances.length[1, 0] == pytest.approx(UPPER, abs=1e-3)
    assert distances.length[2, 1] == pytest.approx(LOWER, abs=1e-3)
    np.testing.assert_allclose(distances.centre[0], HANG, atol=0.01)
    assert distances.length[0, 3] == pytest.approx(100, abs=1e-3)
    found = {(1, 0), (2, 1), (0, 3)}
    small = distances.spread < 1
    assert {pair for pair in found if small[pair]} == found
    assert not small[2, 0]


def test_where_bones_differ_between_people_nothing_is_kept() -> None:
    distances = measured(arms(stretch=0.1))
    motion = torch.zeros(1, 6, 3, 3, dtype=torch.float64)
    covariance = torch.zeros(6, 9, 9, dtype=torch.float64)
    covariance[:, 3:, 3:] = 100 * torch.eye(6, dtype=torch.float64)
    assert torch.equal(distances.kept(motion, covariance), motion)


def test_an_elbow_between_seen_joints_comes_to_the_circle_that_bones_leave() -> None:
    windows = arms()
    distances, truth = measured(windows), windows.tensor(slice(0, 4)).double()
    noise = torch.randn((*truth.shape[:2], 3), generator=torch.manual_seed(0)).double()
    guess = truth.clone()
    guess[:, :, 1] += 20 * noise
    covariance = torch.zeros(6, 9, 9, dtype=torch.float64)
    covariance[:, 3:6, 3:6] = 400 * torch.eye(3, dtype=torch.float64)
    found = distances.kept(guess, covariance)
    seen = [0, 2]
    assert torch.equal(found[:, :, seen], truth[:, :, seen])
    for other, length in ((0, UPPER), (2, LOWER)):
        before = (guess[:, :, 1] - truth[:, :, other]).norm(dim=-1) - length
        after = (found[:, :, 1] - truth[:, :, other]).norm(dim=-1) - length
        assert after.abs().mean() < 0.1 * before.abs().mean()
    # Of three unknowns two are determined.
    error = (guess - truth).square().sum(), (found - truth).square().sum()
    assert error[1] < 0.6 * error[0]


def test_a_mean_over_many_directions_is_shorter_than_the_bone() -> None:
    """A wrist of which little is known: the mean of draws that lie on the sphere is the measure."""
    windows = arms()
    distances, truth = measured(windows), windows.tensor(slice(0, 1)).double()[:, :1]
    spread = 80.0
    covariance = torch.zeros(1, 9, 9, dtype=torch.float64)
    covariance[:, 6:, 6:] = spread**2 * torch.eye(3, dtype=torch.float64)
    elbow = truth[0, 0, 1]
    guess = truth.clone()
    guess[0, 0, 2] = elbow + 0.9 * (truth[0, 0, 2] - elbow)
    found = distances.kept(guess, covariance)[0, 0, 2]
    rng = np.random.default_rng(1)
    on = (
        LOWER
        * (drawn := rng.normal(size=(200_000, 3)))
        / np.linalg.norm(drawn, axis=1, keepdims=True)
    )
    weight = np.exp(-0.5 * ((on + (elbow - guess[0, 0, 2]).numpy()) ** 2).sum(axis=1) / spread**2)
    mean = (weight[:, None] * on).sum(axis=0) / weight.sum()
    expected, length = np.linalg.norm(mean), float((found - elbow).norm())
    assert expected < 0.95 * LOWER
    assert length == pytest.approx(expected, rel=0.03)


def test_no_step_makes_a_frame_worse() -> None:
    windows = arms()
    distances = measured(windows)
    covariance = torch.zeros(6, 9, 9, dtype=torch.float64)
    covariance[:, 3:, 3:] = 1e5 * torch.eye(6, dtype=torch.float64)
    # From poses in which all joints are nearly in one place, where directions mean nothing.
    start = windows.tensor(slice(0, 4)).double()
    start[:, :, 1:] = start[:, :, :1] + 1
    bonds: _Bonds = distances._bonds(covariance)
    search = _Search(start.flatten(2), covariance, bonds)
    for _ in range(6):
        search.step()
        assert search.target is not None
        cost = search._cost(search.pull, search.pose, search.target)
        before = search._cost(torch.zeros_like(search.pull), search.start, search.target)
        assert (cost <= before + 1e-6).all()
    assert torch.isfinite(search.pose).all()


def test_a_windows_poses_do_not_depend_on_its_batch() -> None:
    windows = arms()
    distances = measured(windows)
    covariance = torch.zeros(6, 9, 9, dtype=torch.float64)
    covariance[:, 3:, 3:] = 1e3 * torch.eye(6, dtype=torch.float64)
    guess = windows.tensor(slice(0, 5)).double() * 1.1
    together = distances.kept(guess, covariance)
    for row in range(5):
        np.testing.assert_allclose(
            distances.kept(guess[[row]], covariance)[0], together[row], atol=1e-6
        )
