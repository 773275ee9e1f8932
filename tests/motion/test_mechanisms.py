"""What every mechanism does: how much it hides, of what, and for which windows it is the same."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.core.registry import MECHANISMS, MODELS
from bench.motion import Skeleton, Windows
from bench.motion.mechanisms.base import Level, Mechanism
from tests.conftest import walk

WINDOWS = walk(4)
SPEC = WINDOWS.spec
FRAMES, JOINTS = 50, 18
NAMES = sorted(MECHANISMS.all())
FIXED = {"future", "past", "transition", "inbetween", "sparse"}
"""Mechanisms that draw nothing."""
SINGLE = {"features"}
"""Mechanisms that hide single coordinates."""

counts = st.integers(0, JOINTS)
shares = st.floats(0, 1).map(lambda share: f"{100 * share:.4f}%")
durations = st.one_of(
    st.integers(0, 48).map(lambda frames: f"{frames} frames"),
    st.floats(0, 1900).map(lambda ms: f"{ms:.3f} ms"),
)
LEVELS: dict[str, Any] = {
    "features": st.one_of(st.integers(0, 2700), shares),
    "joints": st.one_of(counts, shares),
    "own_gaps": st.one_of(counts, shares),
    "limbs": st.integers(0, 4),
    "self_occlusion": st.integers(2, 12),
    "flicker": st.floats(0, 0.83).map(lambda share: f"{100 * share:.4f}%"),
    "empirical": shares,
    "fast": shares,
    "inbetween": st.integers(1, 49).map(lambda frames: f"{frames} frames"),
    "sparse": st.just(""),
}
"""Levels that each mechanism takes; of all others, durations."""


def build(name: str, level: Any, seed: int = 0, **settings: Any) -> Mechanism:
    mechanism: Mechanism = MECHANISMS.get(name)(level=Level.parse(level), seed=seed, **settings)
    return mechanism


def some(name: str) -> Mechanism:
    """Return a mechanism at a level of which much is left to chance."""
    return build(name, MECHANISMS.get(name).examples[0])


@dataclass(frozen=True)
class Asked:
    """How much a level asks for, counted without the mechanisms' code."""

    level: str | int

    @property
    def share(self) -> float:
        return float(str(self.level).removesuffix("%")) / 100

    @property
    def frames(self) -> tuple[int, ...]:
        """The whole numbers of frames that are nearest to a duration."""
        number, unit = str(self.level).split()
        exact = float(number) * (25 / 1000 if unit == "ms" else 1)
        return tuple(n for n in range(FRAMES) if abs(n - exact) <= 0.5 + 1e-9)

    def of(self, total: int) -> tuple[int, ...]:
        if isinstance(self.level, int):
            return (self.level,)
        exact = self.share * total
        return tuple(n for n in range(total + 1) if abs(n - exact) <= 0.5 + 1e-9)


def lengths(hidden: NDArray[np.bool_]) -> list[int]:
    """Return the lengths of the runs of True in a vector."""
    ends = np.flatnonzero(np.diff(np.concatenate([[0], hidden.astype(int), [0]])))
    return [int(length) for length in ends[1::2] - ends[::2]]


def check_amount(name: str, asked: Asked, hidden: NDArray[np.bool_]) -> None:
    """Assert that one window ``(frame, joint, 3)`` hides what was asked for."""
    joints = np.asarray(hidden.any(axis=-1))
    frames = np.asarray(joints.any(axis=1))
    if name == "features":
        assert hidden.sum() in asked.of(2700)
    elif name == "joints":
        assert joints.all(axis=0).sum() in asked.of(JOINTS)
        assert joints.any(axis=0).sum() in asked.of(JOINTS)
    elif name == "limbs":
        assert set(joints.sum(axis=1)) == {joints[0].sum()}
        whole = [joints[:, SPEC.skeleton.index(limb)].all() for limb in ARMS_AND_LEGS]
        assert sum(whole) == asked.level
        assert joints[0].sum() == sum(
            len(limb) for limb, all_of_it in zip(ARMS_AND_LEGS, whole, strict=True) if all_of_it
        )
    elif name == "own_gaps":
        assert joints.any(axis=0).sum() in asked.of(JOINTS)
        assert {tuple(lengths(joint)) for joint in joints.T} <= {(), (46,)}  # 92.5 % of 50 frames
    elif name in ("flicker", "empirical", "fast"):
        assert joints.sum() in asked.of(FRAMES * JOINTS)
    elif name in ("gaps", "noise_and_gaps", "limb_gaps"):
        assert lengths(frames) in [[n] if n else [] for n in asked.frames]
        assert len({row.tobytes() for row in joints[frames]}) <= 1  # the same joints all along
        together = set(np.flatnonzero(joints.any(axis=0)))
        if name == "limb_gaps":
            assert together in [set(), *(set(SPEC.skeleton.index(limb)) for limb in ARMS_AND_LEGS)]
        else:
            assert len(together) in (0, 5)
    elif name == "inbetween":
        (spacing,) = asked.frames
        keyframes = {*range(0, FRAMES, spacing), FRAMES - 1}
        assert set(np.flatnonzero(~frames)) == keyframes
    elif name in ("frames", "future", "past", "transition"):
        assert lengths(frames) in [[n] if n else [] for n in asked.frames]
        assert (joints.all(axis=1) == frames).all()
        ends = {"frames": (0, 0), "future": (0, 1), "past": (1, 0), "transition": (0, 0)}[name]
        if frames.any():
            assert (frames[0], frames[-1]) == ends
        if name == "transition" and frames.any():
            assert frames[-2]
    elif name == "sparse":
        seen = SPEC.skeleton.index(["head", "left_wrist", "right_wrist"])
        assert (np.flatnonzero(~joints.all(axis=0)) == sorted(seen)).all()
        assert not joints[:, seen].any()
    else:
        assert name == "self_occlusion", "say here what the new mechanism hides"


ARMS_AND_LEGS = [
    SPEC.skeleton.limbs[name] for name in ("left_arm", "right_arm", "left_leg", "right_leg")
]


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_a_window_hides_what_the_level_says(name: str, data: Any, seed: int) -> None:
    level = data.draw(LEVELS.get(name, durations))
    mechanism = build(name, level, seed)
    mechanism.check(SPEC)
    window = WINDOWS.take(slice(seed % 4, seed % 4 + 1))
    hidden = mechanism.occluded(window)
    assert hidden.shape == window.motion.shape
    assert hidden.dtype == bool
    check_amount(name, Asked(level), hidden[0])
    if name not in SINGLE:
        assert (hidden.any(axis=-1) == hidden.all(axis=-1)).all()
    assert mechanism.amount(SPEC) > 0 or not hidden.any()


@pytest.mark.parametrize("name", NAMES)
def test_a_windows_mask_does_not_depend_on_its_batch(name: str, windows: Windows) -> None:
    mechanism = some(name)
    hidden, observed = mechanism.occluded(windows), mechanism.observed(windows)
    rows = [4, 1]
    part = windows.take(np.array(rows))
    np.testing.assert_array_equal(mechanism.occluded(part), hidden[rows])
    np.testing.assert_array_equal(mechanism.observed(part), observed[rows])
    again = some(name)
    np.testing.assert_array_equal(again.occluded(windows), hidden)


@pytest.mark.parametrize("name", NAMES)
def test_windows_levels_and_seeds_have_masks_of_their_own(name: str) -> None:
    """The windows differ in name alone, so a difference of their masks is the draw's."""
    same = replace(WINDOWS, motion=np.tile(WINDOWS.motion[:1], (4, 1, 1, 1)))
    levels = MECHANISMS.get(name).examples
    masks = {
        (level, seed, row): build(name, level, seed).occluded(same)[row].tobytes()
        for level in levels
        for seed in range(5)
        for row in range(4)
    }
    by_level = {level: {m for (own, *_), m in masks.items() if own == level} for level in levels}
    for found in by_level.values():
        assert len(found) == 1 if name in FIXED else len(found) > 3
    assert len(set.union(*by_level.values())) == sum(map(len, by_level.values()))


REFUSED = {"count": "500 ms", "share": "500 ms", "duration": "10%", "none": 3}


@pytest.mark.parametrize("name", NAMES)
def test_a_level_of_another_kind_is_refused_with_what_to_write(name: str) -> None:
    cls = MECHANISMS.get(name)
    wrong = REFUSED[cls.kinds[0]]
    advice = {
        "count": f"a count of {cls.counted}, such as 2",
        "share": "a share, such as 10%",
        "duration": "a duration, such as 500 ms or 12 frames",
        "none": "no level at all",
    }
    expected = f"level {wrong} is not what {name} takes: .*{advice[cls.kinds[-1]]}"
    with pytest.raises(ValueError, match=expected):
        build(name, wrong).check(SPEC)
    if cls.kinds != ("none",):
        with pytest.raises(ValueError, match=f"level none is not what {name} takes"):
            build(name, "").check(SPEC)


@pytest.mark.parametrize(
    ("name", "longest", "limit"),
    [
        ("gaps", 50, "2000 ms"),
        ("noise_and_gaps", 50, "2000 ms"),
        ("limb_gaps", 50, "2000 ms"),
        ("frames", 48, "1920 ms"),
        ("transition", 48, "1920 ms"),
        ("future", 49, "1960 ms"),
        ("past", 49, "1960 ms"),
        ("inbetween", 49, "1960 ms"),
    ],
)
def test_a_duration_too_long_for_a_window_is_refused(name: str, longest: int, limit: str) -> None:
    build(name, f"{longest} frames").check(SPEC)
    message = f"level {longest + 1} frames is too long: at most {longest} frames .{limit}. here"
    with pytest.raises(ValueError, match=message):
        build(name, f"{longest + 1} frames").check(SPEC)


def test_a_duration_is_in_time_whatever_the_rate() -> None:
    fast = replace(walk(2, frames=100), fps=50.0)
    hidden = build("frames", "400 ms").occluded(fast)
    assert (hidden.any(axis=(2, 3)).sum(axis=1) == 20).all()


def bare(skeleton: Skeleton) -> Skeleton:
    """Return its joints without bones or limbs."""
    count = len(skeleton)
    return Skeleton(skeleton.names, (-1,) * count, skeleton.rest, {"all": skeleton.names}, ())


@pytest.mark.parametrize(
    ("name", "level", "settings", "message"),
    [
        ("features", 2701, {}, "over 100%: a window has 2700 features"),
        ("joints", 19, {}, "over 100%: a window has 18 joints"),
        ("own_gaps", 19, {}, "over 100%: a window has 18 joints"),
        ("limbs", 5, {}, "over 100%: a window has 4 limbs to choose from"),
        ("limbs", 2, {"which": ["left_arm"]}, "over 100%: a window has 1 limbs"),
        ("limbs", 1, {"which": ["left_wing"]}, "no limb 'left_wing' .*known: .*left_arm.*legs"),
        ("limbs", 1, {"which": ["arms", "left_arm"]}, "arms, left_arm have joints in common"),
        ("limb_gaps", "5 frames", {"which": ["tail"]}, "no limb 'tail'"),
        ("gaps", "5 frames", {"joints": 19}, "19 of 18 cannot be hidden"),
        ("sparse", "", {"seen": ["head", "antenna"]}, "no joint antenna .known: .*head"),
        ("sparse", "", {"seen": SPEC.skeleton.names}, "all joints are seen"),
        ("flicker", "90%", {}, "gaps of 200 ms on average hide at most 83.3%; .*longer mean_gap"),
        ("flicker", "10%", {"mean_gap": "1 ms"}, "1 ms is shorter than a frame"),
        ("fast", "10%", {"gap": "1 ms"}, "1 ms is shorter than a frame"),
        ("inbetween", "1 ms", {}, "shorter than a frame at 25 fps"),
        ("self_occlusion", 1, {}, "fewer cameras than the 2 needed"),
    ],
)
def test_what_cannot_be_hidden_is_refused(
    name: str, level: Any, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, level, **settings).check(SPEC)


@pytest.mark.parametrize("name", ["limbs", "limb_gaps", "self_occlusion"])
def test_joints_without_a_body_are_refused(name: str) -> None:
    spec = replace(SPEC, skeleton=bare(SPEC.skeleton))
    with pytest.raises(ValueError, match=r"in this skeleton"):
        some(name).check(spec)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("flicker", {"mean_gap": "10%"}),
        ("fast", {"gap": "soon"}),
        ("fast", {"power": -1}),
        ("limbs", {"which": []}),
        ("limb_gaps", {"which": []}),
        ("sparse", {"seen": []}),
        ("gaps", {"joints": 0}),
        ("empirical", {"together": 1.5}),
        ("noise_and_gaps", {"noise_mm": 0}),
        ("self_occlusion", {"needed": 0}),
    ],
)
def test_impossible_settings_are_refused(name: str, settings: dict[str, Any]) -> None:
    (key,) = settings
    with pytest.raises(ValueError, match=key):
        build(name, MECHANISMS.get(name).examples[0], **settings)


@pytest.mark.parametrize(
    ("which", "names"),
    [
        ("upper_body", ("left_arm", "right_arm", "head", "trunk")),
        ("lower_body", ("left_leg", "right_leg")),
        ("trunk", ("trunk",)),
    ],
)
def test_limbs_can_be_chosen(which: str, names: tuple[str, ...]) -> None:
    hidden = build("limbs", 1, which=[which]).occluded(WINDOWS)
    chosen = {joint for name in names for joint in SPEC.skeleton.limbs.get(name, ())}
    expected = np.isin(SPEC.skeleton.names, list(chosen))
    assert (hidden == expected[:, None]).all()
    gap = build("limb_gaps", "50 frames", which=[which]).occluded(WINDOWS)
    assert (gap == hidden).all()


def test_several_gaps_may_overlap() -> None:
    hidden = build("gaps", "10 frames", gaps=3, joints=2).occluded(walk(40)).any(axis=-1)
    hidden_positions = hidden.sum(axis=(1, 2))
    assert hidden_positions.max() == 60
    assert hidden_positions.min() >= 20
    assert all(
        length >= 10
        for window in np.asarray(hidden)
        for joint in window.T
        for length in lengths(joint)
    )


def test_a_mask_can_be_shared_by_all_windows() -> None:
    hidden = build("features", 300, shared=True).occluded(WINDOWS)
    assert (hidden == hidden[0]).all()
    assert hidden[0].sum() == 300


@pytest.mark.parametrize(
    ("name", "level", "share"),
    [("features", "20%", 0.2), ("joints", 4, 4 / 18), ("gaps", "10 frames", None)],
)
def test_every_joint_is_equally_likely(name: str, level: Any, share: float | None) -> None:
    many = walk(400)
    rate = build(name, level).occluded(many).any(axis=-1).mean(axis=0)
    rate = rate.mean(axis=0)
    if name == "features":  # a joint position is hidden if any of three coordinates is
        share = 1 - (1 - 0.2) ** 3
    expected = share if share is not None else 5 / 18 * 10 / 50
    # Frames of a window are dependent, so each window counts as a single draw.
    assert np.abs(rate - expected).max() < 5 * np.sqrt(expected * (1 - expected) / 400)
    assert rate.mean() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("level", "count"), [("1%", 27), ("10%", 270), ("90%", 2430), (0.5, 1350)])
def test_a_share_is_a_share_of_all_features(level: object, count: int) -> None:
    assert Level.parse(level).of(2700) == count


@pytest.mark.parametrize(
    "text", ["110%", 1.01, "many", -1, "-3%", True, None, [1], "10 %%", "5 hours", "-2 ms", "1.5"]
)
def test_impossible_levels_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="level"):
        Level.parse(text)


@given(
    st.one_of(
        st.integers(0, 5000),
        st.floats(0, 1).map(lambda x: f"{100 * x:.3f}%"),
        st.floats(0, 10000).map(lambda x: f"{x:.3f} ms"),
        st.floats(0, 10).map(lambda x: f"{x:.3f} s"),
        st.integers(0, 100).map(lambda n: f"{n} frames"),
        st.just(""),
    )
)
def test_a_level_reads_back_what_it_writes(value: int | str) -> None:
    level = Level.parse(value)
    again = Level.parse(str(level))
    assert again.kind == level.kind
    if level.kind == "duration":
        assert again.duration(1000.0) == level.duration(1000.0)
    elif level.kind != "none":
        assert again.of(10**6) == level.of(10**6)
    if level.plain is not None:
        assert str(Level.parse(level.plain)) == str(level)


def test_noise_is_on_everything_seen_and_has_the_stated_deviation() -> None:
    many = walk(40)
    noise = build("noise_and_gaps", "500 ms", noise_mm=50.0).observed(many) - many.motion
    assert noise.shape == many.motion.shape
    assert noise.std() == pytest.approx(50, rel=0.02)
    assert abs(noise.mean()) < 5 * 50 / np.sqrt(noise.size)
    flat = noise.reshape(40, -1)
    correlation = np.corrcoef(flat)[~np.eye(40, dtype=bool)]
    assert np.abs(correlation).max() < 6 / np.sqrt(flat.shape[1])
    other = build("noise_and_gaps", "500 ms", seed=1, noise_mm=50.0).observed(many) - many.motion
    assert not np.isclose(noise, other, atol=1e-3).all(axis=(1, 2, 3)).any()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "noise_and_gaps"])
def test_what_is_seen_is_exact_without_noise(name: str) -> None:
    mechanism = some(name)
    assert not mechanism.disturbs
    assert mechanism.observed(WINDOWS) is WINDOWS.motion


def cheap() -> Iterator[str]:
    """Yield the imputers that are fitted in closed form."""
    from models.base import Imputer

    for name, cls in MODELS.all().items():
        if issubclass(cls, Imputer) and not cls.trained and name != "untrained":
            yield name


TRAIN = walk(12, frames=20, seed=1)
SHORT = walk(3, frames=20, seed=2)
SHORT_LEVELS = {"duration": "8 frames", "share": "30%", "none": ""}


@pytest.fixture(scope="module", params=sorted(cheap()))
def imputer(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    model = MODELS.get(request.param)(TRAIN.spec)
    model.fit(TRAIN, TRAIN)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_nothing_hidden_reaches_an_imputer(name: str, imputer: Any) -> None:
    cls = MECHANISMS.get(name)
    level = SHORT_LEVELS.get(cls.kinds[-1], 3 if name == "self_occlusion" else 2)
    mechanism = build(name, level)
    hidden = torch.from_numpy(mechanism.occluded(SHORT))
    observed = torch.from_numpy(np.array(mechanism.observed(SHORT)))
    outcomes = []
    for filling in (None, 1e30, float("nan")):
        filled = observed if filling is None else torch.where(hidden, filling, observed)
        torch.manual_seed(3)
        outcomes.append(imputer.impute(filled, hidden))
    for other in outcomes[1:]:
        for part in ("motion", "sigma", "samples"):
            known, found = getattr(outcomes[0], part), getattr(other, part)
            assert (known is None and found is None) or torch.equal(known, found)
    assert torch.equal(outcomes[0].motion[~hidden], observed[~hidden])
