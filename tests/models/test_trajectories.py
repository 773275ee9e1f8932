"""Interpolation of single trajectories: last, pchip, spline; and what all of them do at edges."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline, pchip_interpolate
from torch import Tensor

from bench.core.registry import MODELS
from bench.motion import MotionSpec
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.features import Features
from models.base import Imputer
from tests.conftest import walk

TRAIN = walk(20, seed=1)
NAMES = ("last", "pchip", "spline", "slerp", "kalman", "shuffled")
FITTED: dict[str, Imputer] = {}


def fitted(name: str) -> Imputer:
    if name not in FITTED:
        model = MODELS.get(name)(TRAIN.spec)
        assert isinstance(model, Imputer)
        model.fit(TRAIN, TRAIN)
        FITTED[name] = model
    return FITTED[name]


def held(time: int, seen: NDArray[np.int64], values: NDArray[np.float64]) -> float:
    earlier = [value for at, value in zip(seen, values, strict=True) if at <= time]
    return float(earlier[-1] if earlier else values[0])


def monotone(time: int, seen: NDArray[np.int64], values: NDArray[np.float64]) -> float:
    return float(pchip_interpolate(seen, values, min(max(time, seen[0]), seen[-1])))


def natural(time: int, seen: NDArray[np.int64], values: NDArray[np.float64]) -> float:
    """As B-splines, in place of the piecewise polynomials of the code."""
    if len(seen) == 2:
        return float(np.interp(time, seen, values))
    spline = make_interp_spline(seen, values, k=3, bc_type="natural")
    return float(spline(min(max(time, seen[0]), seen[-1])))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
@pytest.mark.parametrize(
    ("name", "curve"), [("last", held), ("pchip", monotone), ("spline", natural)]
)
def test_each_coordinate_follows_its_curve(name: str, curve: Any, share: float) -> None:
    rng = np.random.default_rng(0)
    frames = 12
    model = MODELS.get(name)(MotionSpec(frames, 25.0, TRAIN.skeleton))
    assert isinstance(model, Imputer)
    motion = rng.normal(0, 100, (2, frames, 18, 3)).astype(np.float32)
    occluded = rng.random(motion.shape) < share
    model.mean.fill_(7)
    completed = model.impute(torch.from_numpy(motion), torch.from_numpy(occluded)).motion.numpy()
    for window, joint, axis in np.ndindex(2, 2, 3):
        mask = occluded[window, :, joint, axis]
        seen, values = np.flatnonzero(~mask), motion[window, ~mask, joint, axis].astype(np.float64)
        for time in np.flatnonzero(mask):
            if len(seen) < 2:
                expected = values[0] if len(seen) else 7.0
            else:
                expected = curve(time, seen, values)
            assert completed[window, time, joint, axis] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("name", ["last", "pchip", "spline"])
def test_nothing_lies_beyond_the_seen_values_before_the_first_and_after_the_last(name: str) -> None:
    truth, occluded = walk(3, seed=5).tensor(), torch.ones(3, 50, 18, 3, dtype=torch.bool)
    occluded[:, 20:30] = False
    completed = fitted(name).impute(truth, occluded).motion
    assert torch.equal(completed[:, :20], truth[:, 20:21].expand(-1, 20, -1, -1))
    assert torch.equal(completed[:, 30:], truth[:, 29:30].expand(-1, 20, -1, -1))


def test_pchip_stays_between_the_neighbouring_seen_values() -> None:
    truth, occluded = walk(3, seed=6).tensor(), torch.ones(3, 50, 18, 3, dtype=torch.bool)
    occluded[:, ::7] = False
    completed = fitted("pchip").impute(truth, occluded).motion
    for start in range(0, 49, 7):
        ends = truth[:, [start, start + 7]]
        inside = completed[:, start : start + 8]
        assert (inside >= ends.min(dim=1, keepdim=True).values - 1e-3).all()
        assert (inside <= ends.max(dim=1, keepdim=True).values + 1e-3).all()


def masks() -> dict[str, Tensor]:
    """One joint never seen, one frame seen, the ends hidden, single values hidden."""
    nothing = torch.zeros(5, 50, 18, 3, dtype=torch.bool)
    joint, frame, ends = nothing.clone(), ~nothing, nothing.clone()
    joint[:, :, 4] = True
    frame[:, 17] = False
    ends[:, [0, -1]] = True
    values = torch.from_numpy(Features(level=Level.parse("60%")).occluded(walk(5, seed=3)))
    mixed = torch.stack([nothing[0], joint[1], frame[2], ends[3], values[4]])
    return {"joint": joint, "frame": frame, "ends": ends, "values": values, "mixed": mixed}


@pytest.mark.parametrize("case", masks())
@pytest.mark.parametrize("name", NAMES)
def test_a_completion_depends_on_the_seen_values_of_its_own_window_alone(
    name: str, case: str
) -> None:
    model, truth, occluded = fitted(name), walk(5, seed=3).tensor(), masks()[case]
    together = model.impute(truth, occluded)
    again = model.impute(torch.where(occluded, 1e30, truth), occluded)
    assert torch.equal(again.motion, together.motion)
    for row in range(5):
        alone = model.impute(truth[row : row + 1], occluded[row : row + 1])
        torch.testing.assert_close(alone.motion[0], together.motion[row], atol=1e-3, rtol=0)
        if together.sigma is not None:
            assert alone.sigma is not None
            torch.testing.assert_close(alone.sigma[0], together.sigma[row], atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("name", ["pchip", "spline", "kalman"])
def test_a_short_gap_in_smooth_motion_is_filled_better_than_by_the_last_value(name: str) -> None:
    truth = walk(5, seed=3).tensor()
    occluded = torch.zeros_like(truth, dtype=torch.bool)
    occluded[:, 20:24, 3:9] = True

    def error(imputer: str) -> float:
        completed = fitted(imputer).impute(truth, occluded).motion
        return (completed - truth)[occluded].square().mean().item()

    assert error(name) < 0.1 * error("last")
