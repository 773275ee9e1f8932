"""Mechanisms of joints that come and go: gap lengths, neighbours, speed, and sight lines."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from bench.datasets.synthetic import SKELETON, Synthetic
from bench.motion import MotionSpec, Skeleton
from bench.motion.mechanisms import empirical, flicker, self_occlusion
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.chains import resize
from bench.motion.mechanisms.empirical import Empirical
from bench.motion.mechanisms.fast import Fast
from bench.motion.mechanisms.flicker import Flicker
from bench.motion.mechanisms.self_occlusion import SelfOcclusion
from tests.conftest import walk
from tests.motion.test_mechanisms import lengths

SPEC = MotionSpec(50, 25.0, SKELETON)
LONG = MotionSpec(2000, 25.0, SKELETON)
STILL = np.zeros((2000, 18, 3), dtype=np.float32)


def body() -> NDArray[np.float32]:
    """Return 50 frames of the embedded walk."""
    data = Synthetic()
    source = next(one for one in data.sources(None) if one.action == "walk")
    return data.read(source)[:50]


@st.composite
def masks(draw: Any) -> tuple[NDArray[np.bool_], int]:
    """Return a mask ``(frame, joint)`` and a number of its positions."""
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=12))
    mask = draw(
        st.one_of(
            arrays(bool, shape), st.sampled_from([np.zeros(shape, bool), np.ones(shape, bool)])
        )
    )
    return mask, draw(st.integers(0, mask.size))


@given(masks(), st.integers(0, 2**32))
def test_a_mask_gets_its_exact_size_by_moving_the_ends_of_gaps(
    drawn: tuple[NDArray[np.bool_], int], seed: int
) -> None:
    before, count = drawn
    kept = before.copy()
    after = resize(before, count, np.random.default_rng(seed))
    assert (before == kept).all()
    assert after.sum() == count
    # It only grows or only shrinks.
    assert (after >= before).all() if count >= before.sum() else (after <= before).all()
    gaps = [len(lengths(column)) for column in before.T]
    left = [len(lengths(column)) for column in after.T]
    ends = [0 < column.sum() < len(column) for column in before.T]
    if count > before.sum() and any(ends):
        # A gap may only begin once all joints with gaps are hidden throughout.
        full = all(after[:, joint].all() for joint in np.flatnonzero(ends))
        assert full or all(b >= a for b, a in zip(gaps, left, strict=True))
    if count < before.sum() and any(ends):
        # A joint that is hidden throughout may only be opened once no other is hidden.
        empty = not any(after[:, joint].any() for joint in np.flatnonzero(ends))
        assert empty or all(b >= a for b, a in zip(gaps, left, strict=True))


def test_a_mask_without_gaps_begins_one() -> None:
    nothing = np.zeros((50, 18), dtype=bool)
    for seed in range(20):
        grown = resize(nothing, 40, np.random.default_rng(seed))
        assert sum(len(lengths(column)) for column in grown.T) == 1
        opened = resize(~nothing, 900 - 40, np.random.default_rng(seed))
        assert sum(len(lengths(~column)) for column in opened.T) == 1


@pytest.fixture
def unresized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the ends of gaps where they were drawn."""
    for module in (flicker, empirical):
        monkeypatch.setattr(module, "resize", lambda hidden, count, generator: hidden)


def inner(hidden: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the lengths of all gaps ``(frame, joint)`` that neither end of the window cuts off."""
    found = []
    for column in hidden.T:
        runs = lengths(column)
        found += runs[int(column[0]) : len(runs) - int(column[-1])]
    return np.array(found)


@pytest.mark.usefixtures("unresized")
@pytest.mark.parametrize(("share", "gap", "frames"), [(0.3, "200 ms", 5), (0.6, "12 frames", 12)])
def test_gaps_of_flicker_are_geometric_with_the_mean_that_is_stated(
    share: float, gap: str, frames: int
) -> None:
    mechanism = Flicker(level=Level(share=share), mean_gap=gap)
    hidden = mechanism.hide(LONG, np.random.default_rng(0), STILL)[..., 0]
    # 36,000 positions, but neighbouring frames are alike.
    assert hidden.mean() == pytest.approx(share, abs=0.03)
    drawn = inner(hidden)
    assert drawn.mean() == pytest.approx(frames, rel=0.1)
    assert drawn.std() == pytest.approx(np.sqrt(frames * (frames - 1)), rel=0.15)
    assert (drawn == 1).mean() == pytest.approx(1 / frames, abs=0.04)
    # It starts as it goes on.
    starts = [
        mechanism.hide(replace(LONG, frames=2), np.random.default_rng(seed), STILL[:2])[0].mean()
        for seed in range(200)
    ]
    assert np.mean(starts) == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / 3600))


@pytest.mark.usefixtures("unresized")
def test_gaps_have_the_durations_of_the_recording() -> None:
    """A few gaps in long windows, so that they rarely meet or reach an end."""
    mechanism = Empirical(level=Level(share=0.02), together=0.0)
    drawn = np.concatenate(
        [
            inner(mechanism.hide(LONG, np.random.default_rng(seed), STILL)[..., 0])
            for seed in range(25)
        ]
    )
    assert len(drawn) > 600
    found = 40 * np.quantile(drawn, [0.05, 0.25, 0.5, 0.75, 0.95])
    assert found == pytest.approx([69, 166, 500, 973, 2114], rel=0.12, abs=40)


def test_after_resizing_gaps_are_still_of_the_order_that_is_stated() -> None:
    many = walk(60)
    hidden = Flicker(level=Level(share=0.3)).occluded(many)[..., 0]
    drawn = np.concatenate([inner(window) for window in hidden])
    assert drawn.mean() == pytest.approx(5, rel=0.25)


@pytest.mark.usefixtures("unresized")
def test_neighbours_vanish_together() -> None:
    """One gap at a time: its joints hang together by bones, and more so the likelier it is."""
    sizes = {}
    for together in (0.0, 0.6, 1.0):
        mechanism = Empirical(level=Level(share=1 / 36000), together=together)
        groups = []
        for seed in range(200):
            hidden = mechanism.hide(LONG, np.random.default_rng(seed), STILL)[..., 0]
            group = set(np.flatnonzero(hidden.any(axis=0)))
            assert len({column.tobytes() for column in hidden.T[list(group)]}) == 1
            bones = [bone for bone in SKELETON.bones if set(bone) <= group]
            assert len(bones) == len(group) - 1  # a tree
            groups.append(len(group))
        sizes[together] = np.mean(groups)
    # A joint of a leg takes two others along, one of the rest eleven.
    assert sizes[0.0] == 1
    assert 2 < sizes[0.6] < 7
    assert sizes[1.0] == pytest.approx((6 * 3 + 12 * 12) / 18, abs=1)


def test_fast_joints_vanish_more_often() -> None:
    """At few positions drawn, rates are proportional to the power of speed."""
    speeds = np.repeat([1.0, 2.0, 4.0], 6)
    frames = np.arange(50.0)
    moving = np.zeros((50, 18, 3), dtype=np.float32)
    moving[..., 0] = frames[:, None] * speeds
    rates = {}
    for power in (0.0, 1.0, 2.0):
        mechanism = Fast(level=Level(share=0.02), power=power, gap="200 ms")
        hidden = [
            mechanism.hide(SPEC, np.random.default_rng(seed), moving)[..., 0] for seed in range(500)
        ]
        rate = np.mean(hidden, axis=0)
        by_speed = rate.mean(axis=0).reshape(3, 6).mean(axis=1)
        rates[power] = by_speed / by_speed[0]
        # Speed is constant, so no time is likelier than another: not even the first frames.
        assert rate[:5].mean() == pytest.approx(rate.mean(), rel=0.2)
    assert rates[0.0] == pytest.approx([1, 1, 1], rel=0.15)
    assert rates[1.0] == pytest.approx([1, 2, 4], rel=0.2)
    assert rates[2.0] == pytest.approx([1, 4, 16], rel=0.3)


def test_a_joint_vanishes_while_it_is_fast() -> None:
    moving = np.zeros((50, 18, 3), dtype=np.float32)
    moving[20:, 7, 1] = 10 * np.minimum(np.arange(30), 10)  # still, but from frame 20 to 30
    mechanism = Fast(level=Level(share=10 / 900))
    hidden = [
        mechanism.hide(SPEC, np.random.default_rng(seed), moving)[..., 0] for seed in range(100)
    ]
    rate = np.mean(hidden, axis=0)
    assert rate[20:30, 7].mean() > 0.8
    rate[20:35, 7] = 0
    assert 0 < rate.max() < 0.05  # even joints at rest vanish sometimes


def test_gaps_of_fast_are_of_the_duration_that_is_stated() -> None:
    windows = walk(30, frames=48)
    hidden = Fast(level=Level(share=18 / 864), gap="6 frames").occluded(windows)[..., 0]
    runs = [run for window in hidden for joint in window.T for run in lengths(joint)]
    assert set(runs) <= {6, 12, 18}
    assert runs.count(6) > 60


@pytest.mark.parametrize("cameras", [2, 3, 5])
def test_the_body_hides_what_points_along_sight_lines_meet(cameras: int) -> None:
    """Sight lines and bones are walked in small steps; only the geometry's margin is left out."""
    motion = body()[::25].astype(np.float64)
    spec = replace(SPEC, frames=len(motion))
    mechanism = SelfOcclusion(level=Level(count=cameras))
    hidden = mechanism.hide(spec, np.random.default_rng(4), motion.astype(np.float32))
    turn = np.random.default_rng(4).uniform(0, 2 * np.pi)
    radius = dict.fromkeys(SKELETON.names, 45.0)
    radius |= dict.fromkeys(SKELETON.limbs["trunk"], 112.5)
    radius |= dict.fromkeys(SKELETON.limbs["head"], 67.5)

    def bone(pose: NDArray[np.float64], joint: int) -> NDArray[np.float64]:
        parent = SKELETON.parents[joint]
        start = pose[parent] if parent >= 0 else np.zeros(3)
        return start + np.linspace(0, 1, 60)[:, None] * (pose[joint] - start)

    certain = 0
    for frame, pose in enumerate(motion):
        for joint in range(18):
            views, doubtful = 0, False
            for number in range(cameras):
                angle = turn + 2 * np.pi * number / cameras
                camera = np.array([3000 * np.cos(angle), 800.0, 3000 * np.sin(angle)])
                ray = pose[joint] + np.linspace(0, 1, 500)[:, None] * (camera - pose[joint])
                seen = True
                for other, name in enumerate(SKELETON.names):
                    rest = bone(SKELETON.rest, other) - SKELETON.rest[joint]
                    if np.linalg.norm(rest, axis=1).min() < radius[name]:
                        continue
                    points = bone(pose, other)
                    squared = (
                        (ray**2).sum(1)[:, None] + (points**2).sum(1) - 2 * ray @ points.T
                    ).min()
                    distance = np.sqrt(max(squared, 0))
                    doubtful |= abs(distance - radius[name]) < 0.5
                    seen &= distance > radius[name]
                views += seen
            if not doubtful:
                certain += 1
                assert hidden[frame, joint].all() == (views < 2)
                assert hidden[frame, joint].any() == (views < 2)
    assert certain > 0.9 * 18 * len(motion)


TWO = Skeleton(
    names=("shoulder", "wrist", "watch"),
    parents=(-1, 0, -1),
    rest=np.array([[0.0, 0, 0], [500, 0, 0], [0, 0, 5000]]),
    limbs={"arm": ("shoulder", "wrist", "watch")},
    pairs=(),
)


@pytest.mark.parametrize(
    ("height", "seen"),
    [(0.0, False), (44.0, False), (46.0, True), (-46.0, True)],
)
def test_an_arm_hides_what_is_right_behind_it(height: float, seen: bool) -> None:
    """A camera far along x, a point behind an arm along z, above or below its axis."""
    spec = MotionSpec(2, 25.0, TWO)
    motion = np.tile(
        np.array([[300.0, 0, -250], [300, 0, 250], [200, height, 100]], dtype=np.float32), (2, 1, 1)
    )
    mechanism = SelfOcclusion(
        level=Level(count=1), needed=1, distance_mm=1e6, height_mm=height, radius_mm=45
    )
    hidden = mechanism.hide(spec, Aimed(), motion)
    assert hidden[:, 2].all() != seen
    assert not hidden[:, :2].any()


class Aimed(np.random.Generator):
    """A generator by which the first camera stands on the x axis."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def uniform(self, *_: Any) -> Any:
        return 0.0


def test_more_cameras_see_more() -> None:
    motion = body()
    shares = [
        np.mean(
            [
                SelfOcclusion(level=Level(count=count), needed=needed).hide(
                    SPEC, np.random.default_rng(seed), motion
                )
                for seed in range(8)
            ]
        )
        for count, needed in ((3, 3), (3, 2), (6, 2), (50, 2))
    ]
    assert shares == sorted(shares, reverse=True)
    assert 0.01 < shares[1] < 0.15
    assert shares[-1] < 0.01


def test_a_point_capsule_is_a_ball() -> None:
    """A joint at the root has a capsule without length."""
    joints = np.array([[[100.0, 0, 0]]])
    root = np.zeros((1, 1, 3))
    towards = np.array([-100.0, 30, 0])
    distance = self_occlusion._distances(joints, towards, root, root)
    # The area of a triangle, and its base.
    assert distance.item() == pytest.approx(3000 / np.hypot(200, 30))
