"""Filling arrays, and how well."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.spatial.transform import Rotation

from bench.core.errors import InputError
from bench.fill import METHODS, fill, validate
from bench.fill.gaps import Gap, gaps_of, seen_in
from bench.fill.methods import Methods
from bench.fill.support import Supports, spread_of
from bench.fill.trials import trials_of

FPS = 100.0


def body(frames: int = 400, points: int = 7, seed: int = 0) -> NDArray[np.float64]:
    """Return a synthetic rigid body of points that turns and wanders, ``(frame, point, 3)``, mm."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / FPS
    turn = Rotation.from_rotvec(np.sin(time * rng.uniform(1, 4, 3)) * rng.uniform(0.5, 1.5, 3))
    shape = rng.normal(0, 150, (points, 3))
    path = 400 * np.sin(time * rng.uniform(0.5, 3, 3))
    moved = np.einsum("fij,pj->fpi", turn.as_matrix(), shape) + path[:, None]
    return moved + rng.normal(0, 0.1, moved.shape)


def gappy(never_whole: bool = False) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a body, and a copy with gaps of 100, 300 and 800 ms; none complete if asked."""
    truth = body()
    seen = truth.copy()
    for point, start, frames in ((0, 50, 10), (1, 120, 30), (2, 250, 80)):
        seen[start : start + frames, point] = np.nan
    if never_whole:
        for point in range(3, 6):
            seen[point::3, point] = np.nan
    return truth, seen


@pytest.mark.parametrize("method", METHODS)
def test_every_method_fills_all_gaps_and_touches_nothing_else(method: str) -> None:
    _, given_ = gappy()
    result = fill(given_, FPS, method=method)
    seen = np.isfinite(given_)
    assert result.positions[seen].tobytes() == given_[seen].tobytes()
    assert (result.filled == ~seen.all(axis=-1)).all()
    assert np.isfinite(result.positions).all()
    assert (result.sigma[result.filled] > 0).all()
    assert (result.sigma[~result.filled] == 0).all()
    assert list(result.gaps["status"]) == ["filled"] * 3
    assert list(result.gaps["frames"]) == [10, 30, 80]


def test_curves_are_those_of_the_literature() -> None:
    _, given_ = gappy()
    frames, missing = np.arange(len(given_)), slice(120, 150)
    seen = np.isfinite(given_[:, 1, 0])
    known = given_[seen, 1]
    curves = {
        "pchip": PchipInterpolator(frames[seen], known),
        "spline": CubicSpline(frames[seen], known, bc_type="natural"),
    }
    for method, curve in curves.items():
        found = fill(given_, FPS, method=method).positions[missing, 1]
        np.testing.assert_allclose(found, curve(frames[missing]), atol=1e-3)


@pytest.mark.parametrize("never_whole", [False, True])
def test_the_rigid_body_is_found_from_the_recording_itself(never_whole: bool) -> None:
    truth, given_ = gappy(never_whole)
    for method in ("marker", "rigid", "pca_gap", "auto"):
        error = np.linalg.norm(fill(given_, FPS, method=method).positions - truth, axis=-1)
        assert error[120:150, 1].mean() < 6, method
    curve = fill(given_, FPS, method="pchip").positions
    assert np.nanmax(np.linalg.norm(curve - truth, axis=-1)) > 30


def test_sigma_covers_the_errors() -> None:
    truth, given_ = gappy()
    result = fill(given_, FPS, method="marker")
    error = (result.positions - truth)[result.filled]
    inside = np.abs(error) < 1.645 * result.sigma[result.filled][:, None]
    assert inside.mean() > 0.75


def test_long_gaps_edges_and_points_never_seen_are_left_and_listed() -> None:
    _, given_ = gappy()
    given_[:5, 3] = np.nan
    given_[:, 4] = np.nan
    result = fill(given_, FPS, max_gap=500)
    status = dict(zip(result.gaps["point"], result.gaps["status"], strict=True))
    assert status["0"] == status["1"] == "filled"
    assert status["2"] == "longer than 500 ms"
    assert status["3"] == "before the first or after the last sample"
    assert status["4"] == "never seen"
    assert np.isnan(result.positions[250:330, 2]).all()
    assert np.isnan(result.positions[:5, 3]).all()
    assert np.isfinite(fill(given_, FPS, edges=True).positions[:, 3]).all()


def test_validation_agrees_with_the_true_error() -> None:
    truth, given_ = gappy()
    table = validate(given_, FPS, ("auto", "pchip")).set_index(["up_to_ms", "method"])["mean_mm"]
    for method in ("auto", "pchip"):
        error = np.linalg.norm(fill(given_, FPS, method=method).positions - truth, axis=-1)
        assert 1 / 3 < table[500.0, method] / error[120:150, 1].mean() < 3


def test_hidden_values_have_no_part_in_a_trial() -> None:
    truth = body()
    seen = np.ones(truth.shape[:2], dtype=np.bool_)
    seen[100:140, 2] = False
    other = truth.copy()
    other[100:140, 2] += 1000
    for method in METHODS[1:]:
        gap = Gap(2, 100, 140, "inside")
        one, two = (Methods(x, FPS).complete(method, gap, seen).positions for x in (truth, other))
        np.testing.assert_allclose(one, two, atol=1e-6, err_msg=method)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=30))
def test_gaps_are_what_is_not_seen(rows: list[list[bool]]) -> None:
    seen = np.array(rows)
    covered = np.zeros_like(seen)
    for gap in gaps_of(seen):
        assert not covered[gap.start : gap.stop, gap.point].any()
        covered[gap.start : gap.stop, gap.point] = True
        before, after = gap.start > 0, gap.stop < len(seen)
        assert gap.place == (
            "inside" if before and after else "edge" if before or after else "never"
        )
        assert not before or seen[gap.start - 1, gap.point]
        assert not after or seen[gap.stop, gap.point]
    assert (covered == ~seen).all()


def test_trials_hide_only_what_is_seen_in_the_pattern_of_the_gaps() -> None:
    _, given_ = gappy(never_whole=True)
    seen = seen_in(given_)
    wanted = [gap for gap in gaps_of(seen) if gap.place == "inside" and len(gap) >= 10]
    trials = trials_of(seen, wanted, FPS, 0, Methods(given_, FPS).nearness)
    assert {len(trial.gap) for trial in trials} == {10, 30, 80}
    for trial in trials:
        hidden = trial.applied(seen)
        assert seen[trial.gap.start - 1 : trial.gap.stop + 1, trial.gap.point].all()
        assert not hidden[trial.gap.start : trial.gap.stop, trial.gap.point].any()
        assert (hidden <= seen).all()


def test_support_is_seen_throughout_and_has_donors() -> None:
    positions, given_ = gappy(never_whole=True)
    seen = seen_in(given_)
    gap = Gap(1, 120, 150, "inside")
    parts, rest = Supports(seen).of(spread_of(positions, seen, 1), gap)
    assert sum(len(part.frames) for part in parts) + sum(map(len, rest)) == len(gap)
    for part in parts:
        assert seen[np.ix_(part.frames, part.others)].all()
        assert seen[np.ix_(np.union1d(part.memory, part.near), np.append(part.others, 1))].all()


@pytest.mark.parametrize(
    ("positions", "options", "message"),
    [
        (np.zeros((5, 3)), {}, "give (frame, point, 3)"),
        (np.zeros((5, 2, 3)), {"fps": 0.0}, "give a rate above 0"),
        (np.zeros((5, 2, 3)), {"method": "magic"}, "no method 'magic'"),
        (np.zeros((5, 2, 3)), {"max_gap": -1.0}, "give a duration above 0"),
        (np.zeros((5, 2, 3)), {"names": ["a"]}, "1 names for 2 points"),
        (np.full((5, 2, 3), 1e9), {}, "more than a kilometre away"),
    ],
)
def test_bad_arguments_are_refused(
    positions: NDArray[np.float64], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(").replace(")", r"\)")):
        fill(positions, **{"fps": FPS, **options})


def test_importing_loads_neither_torch_nor_ray() -> None:
    code = "import sys, bench.fill; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
