"""The stacked imputer: folds, classes of gaps, learnt weights, and the mixture that it computes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import shortest_path

from bench.fitting.training import FitContext
from bench.motion import Skeleton, Windows
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.frames import Frames
from bench.motion.mechanisms.sampler import usual_masks
from models.families import FAMILIES
from models.frame_gaussian import FrameGaussian
from models.gap_classes import CLASSES, DISTANCES, LENGTHS, STEPS, bones_to_seen, gap_class
from models.spectral_gaussian import SpectralGaussian
from models.stacked import POSES, Stacked, folds_of
from tests.conftest import walk

SHORT: dict[str, Any] = {"windows": 60, "frames": 12}
"""Windows of 648 values, quick to invert."""
SMALL: dict[str, Any] = {"folds": 3, "masks": 2}


def people(windows: Windows, names: list[str]) -> Windows:
    """Return the windows as if people had performed them in turn."""
    windows.index["subject"] = [names[row % len(names)] for row in range(len(windows))]
    return windows


@contextmanager
def trusting(model: Stacked, trust: float) -> Iterator[None]:
    """Let all families trust windows' own errors as much."""
    before = model.weights.trust.clone()
    model.weights.trust.fill_(trust)
    try:
        yield
    finally:
        model.weights.trust.copy_(before)


@pytest.fixture(scope="module")
def fitted() -> Stacked:
    train = people(walk(**SHORT, seed=1), list("abcd"))
    model = Stacked(train.spec, Stacked.Settings(**SMALL))
    model.fit(train, walk(**SHORT, seed=2))
    return model


@given(st.lists(st.integers(0, 6), min_size=8, max_size=60), st.integers(2, 5))
@settings(deadline=None)
def test_folds_are_of_whole_people_and_of_similar_size(people_of: list[int], count: int) -> None:
    windows = walk(len(people_of), 8, seed=1)
    windows.index["subject"] = [str(person) for person in people_of]
    windows.index["source"] = [f"r{row}" for row in range(len(people_of))]
    folds = folds_of(windows, count)
    persons = len(set(people_of))
    assert len(set(folds)) == min(count, persons if persons > 1 else len(people_of))
    if persons > 1:
        for person in set(people_of):
            assert len(set(folds[np.array(people_of) == person])) == 1
        sizes = np.bincount(folds)
        assert sizes.max() - sizes.min() <= np.bincount(people_of).max()


@given(st.integers(0, 1000))
@settings(deadline=None)
def test_classes_are_those_of_a_walk_along_each_trajectory(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hidden = rng.random((50, 2, 3)) < rng.random()
    found = gap_class(torch.from_numpy(hidden)[None], tree((-1, 0)))[0].numpy()
    for place in np.ndindex(2, 3):
        seen = np.flatnonzero(~hidden[:, *place])
        for frame in np.flatnonzero(hidden[:, *place]):
            before, after = seen[seen < frame], seen[seen > frame]
            if not len(seen):
                both = place[0] == 1 and hidden[:, 0].all() and hidden[:, 1].all()
                expected = CLASSES - STEPS + int(both)
            elif len(before) and len(after):
                length = after[0] - before[-1] - 1
                expected = sum(length > edge for edge in LENGTHS)
            else:
                distance = frame - before[-1] if len(before) else after[0] - frame
                expected = len(LENGTHS) + 1 + sum(distance > edge for edge in DISTANCES)
            assert found[frame, *place] == expected


def tree(parents: tuple[int, ...]) -> Skeleton:
    names = tuple(f"j{number}" for number in range(len(parents)))
    return Skeleton(names, parents, np.zeros((len(parents), 3)), {"all": names}, ())


@given(st.data())
@settings(deadline=None)
def test_bones_to_what_is_seen_are_the_shortest_way_through_the_tree(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    parents = tuple(data.draw(st.integers(-1, joint - 1)) for joint in range(count))
    never = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    links = np.zeros((count + 1, count + 1))
    for joint, parent in enumerate(parents):
        links[joint, parent % (count + 1)] = 1
    ways = shortest_path(links, directed=False, unweighted=True)
    targets = [joint for joint in range(count) if not never[joint]] + [count]
    expected = ways[:count][:, targets].min(axis=1)
    assert bones_to_seen(never, tree(parents)) == expected.astype(int).tolist()


def test_weights_are_learnt_on_people_that_the_gaussians_do_not_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train = people(walk(**SHORT, seed=1), list("abcd"))
    valid = people(walk(**SHORT, seed=2), ["e"])
    performers = train.index["subject"].tolist() + valid.index["subject"].tolist()
    motion = torch.cat([train.tensor(), valid.tensor()])
    known: dict[int, set[str]] = {}
    estimate = SpectralGaussian.estimate

    def noted(self: SpectralGaussian, windows: Windows) -> None:
        known[id(self)] = set(windows.index["subject"])
        estimate(self, windows)

    monkeypatch.setattr(SpectralGaussian, "estimate", noted)
    model = Stacked(train.spec, Stacked.Settings(**SMALL))
    model.experts.fit(train, valid, None, FitContext())
    used: set[str] = set()
    for fold, windows, hidden, experts in model._held_out(train, valid, FitContext()):
        rows = [int((motion == window).all(dim=(1, 2, 3)).nonzero()[0, 0]) for window in windows]
        seen = {performers[row] for row in rows}
        assert hidden.any()
        assert not seen & known[id(experts.windows)]
        assert seen | known[id(experts.windows)] == set(
            "abcd" if fold < SMALL["folds"] else "abcde"
        )
        used |= seen
    assert used == set("abcde")


@pytest.mark.parametrize("trust", [0.0, 3.0])
def test_the_mean_is_weighted_and_the_deviation_that_of_the_mixture(
    fitted: Stacked, trust: float
) -> None:
    test = walk(4, 12, seed=3)
    hidden = torch.from_numpy(Frames(level=Level.parse("160 ms")).occluded(test))
    with trusting(fitted, trust):
        check_mixture(fitted, test, hidden)


def check_mixture(fitted: Stacked, test: Windows, hidden: torch.Tensor) -> None:
    found = fitted.impute(test.tensor(), hidden)
    assert found.sigma is not None
    family = FAMILIES.index("frames")
    for row in range(4):
        mask = hidden[row]
        fills, sigma = fitted.completions(test.tensor()[[row]], mask, fitted.experts)
        classes = gap_class(mask[None], test.spec.skeleton)[0]
        own = fitted._own(test.tensor()[[row]], mask, fitted.experts)
        of_classes = fitted.weights(family, classes.unique().tolist(), own)
        weights = np.stack([of_classes[one][0].numpy() for one in classes[mask].tolist()])
        parts, spreads = fills[:, 0, mask].numpy(), sigma[:, mask].numpy()
        mean = (weights.T * parts).sum(axis=0)
        np.testing.assert_allclose(found.motion[row][mask], mean, rtol=1e-4, atol=1e-2)
        square = (weights.T * (spreads**2 + (parts - mean) ** 2)).sum(axis=0)
        factor = fitted.calibration[family][classes].numpy()[mask.numpy()]
        expected = np.sqrt(square) * factor
        np.testing.assert_allclose(found.sigma[row][mask], expected, rtol=1e-3, atol=1e-2)


def test_stated_intervals_cover_what_they_say_in_every_class_of_gaps() -> None:
    train, valid = people(walk(**SHORT, seed=1), list("abc")), walk(60, 12, seed=2)
    model = Stacked(train.spec, Stacked.Settings(**SMALL))
    model.fit(train, valid)
    assert len(model.calibration[FAMILIES.index("frames")].unique()) > 2
    masks = usual_masks(train.spec)
    generator = np.random.default_rng(0)
    hidden = torch.from_numpy(masks.draw(train.spec, generator, valid.motion[:], "frames"))
    found = model.impute(valid.tensor(), hidden)
    assert found.sigma is not None
    inside = (found.motion - valid.tensor()).abs() <= 1.645 * found.sigma
    classes = gap_class(hidden, train.spec.skeleton)
    for number in classes[hidden].unique().tolist():
        own = hidden & (classes == number)
        if own.flatten(1).any(dim=1).sum() > 20:
            assert 0.8 < float(inside[own].float().mean()) < 0.98


def test_deviations_grow_into_a_gap(fitted: Stacked) -> None:
    test = walk(8, 12, seed=3)
    hidden = torch.zeros_like(test.tensor(), dtype=torch.bool)
    hidden[:, 2:10] = True
    sigma = fitted.impute(test.tensor(), hidden).sigma
    assert sigma is not None
    by_frame = sigma.mean(dim=(0, 2, 3))
    assert by_frame[[0, 1, 10, 11]].eq(0).all()
    assert by_frame[5:7].min() > 1.5 * by_frame[[2, 9]].max()


def test_masks_that_the_protocol_states_are_those_learnt_on() -> None:
    train = people(walk(**SHORT, seed=1), list("abc"))

    class Counting:
        def __init__(self) -> None:
            self.families = {"frames": usual_masks(train.spec).families["frames"]}
            self.asked: set[str] = set()

        def draw(self, *arguments: Any) -> np.ndarray:
            self.asked.add(arguments[-1])
            return usual_masks(train.spec).draw(*arguments)

    masks: Any = Counting()
    model = Stacked(train.spec, Stacked.Settings(**SMALL))
    model.fit(train, walk(**SHORT, seed=2), FitContext(masks=masks))
    assert masks.asked == {"frames"}


def test_a_window_s_own_errors_are_its_own_whatever_the_batch(
    fitted: Stacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = walk(6, 12, seed=3)
    hidden = torch.zeros_like(test.tensor()[0], dtype=torch.bool)
    hidden[4:6] = True
    own = fitted._own(test.tensor(), hidden, fitted.experts)
    assert {len(products) for products in own.values()} == {6}
    alone = fitted._own(test.tensor()[[2]], hidden, fitted.experts)
    for number, products in own.items():
        torch.testing.assert_close(alone[number][0], products[2], rtol=1e-3, atol=1e-2)
    # Only the window's own errors count, and each errs least by another completion.
    count = fitted.completion_count
    best = torch.stack([torch.eye(count).double() * 1e6 for _ in range(6)])
    usable = [one for one in range(count) if one != POSES]
    for row in range(6):
        best[row, usable[row], usable[row]] = 1.0
    given = dict.fromkeys(own, best)
    monkeypatch.setattr(fitted, "_own", lambda *_: given)
    fills, _ = fitted.completions(test.tensor(), hidden, fitted.experts)
    with trusting(fitted, 1e9):
        found = fitted.impute(test.tensor(), hidden.expand(6, -1, -1, -1)).motion
    for row in range(6):
        torch.testing.assert_close(found[row], fills[usable[row], row], rtol=1e-3, atol=0.1)


def test_a_body_that_stands_still_and_families_that_were_not_learnt_are_completed() -> None:
    train = people(walk(**SHORT, seed=1), list("abc"))
    usual = usual_masks(train.spec)
    masks = replace(usual, families={"frames": usual.families["frames"]})
    model = Stacked(train.spec, Stacked.Settings(**SMALL))
    model.fit(train, walk(**SHORT, seed=2), FitContext(masks=masks))
    model.weights.trust.fill_(3.0)
    still = train.tensor()[:2, :1].expand(-1, 12, -1, -1).contiguous()
    for family in usual.families:
        generator = np.random.default_rng(0)
        hidden = torch.from_numpy(usual.draw(train.spec, generator, still.numpy(), family))
        found = model.impute(still, hidden)
        assert bool(found.motion.isfinite().all())
        assert found.sigma is not None
        assert bool(found.sigma.isfinite().all())


def test_noise_on_what_is_seen_does_not_spread_into_gaps(fitted: Stacked) -> None:
    test = walk(6, 12, seed=3)
    motion = test.tensor()
    hidden = torch.zeros_like(motion, dtype=torch.bool)
    hidden[:, 7:9, :6] = True
    noise = torch.from_numpy(np.random.default_rng(4).normal(0, 60, motion.shape)).float()
    given = motion + noise

    def error(imputed: torch.Tensor) -> float:
        return float((imputed - motion)[hidden].square().mean())

    found = fitted.impute(given, hidden).motion
    assert torch.equal(found[~hidden], given[~hidden])
    sigma, clean = fitted.impute(given, hidden).sigma, fitted.impute(motion, hidden).sigma
    assert sigma is not None
    assert clean is not None
    assert float(sigma[hidden].mean()) > 1.1 * float(clean[hidden].mean())
    usual = fitted.denoiser.usual
    fitted.denoiser.usual = torch.full_like(usual, torch.inf)
    try:
        assert error(found) < 0.8 * error(fitted.impute(given, hidden).motion)
    finally:
        fitted.denoiser.usual = usual


def test_poses_alone_are_among_what_is_weighed(fitted: Stacked) -> None:
    test = walk(2, 12, seed=3)
    hidden = torch.zeros_like(test.tensor()[0], dtype=torch.bool)
    hidden[:, 3:5] = True
    fills, sigma = fitted.completions(test.tensor(), hidden, fitted.experts)
    assert len(fills) == len(sigma) == fitted.completion_count
    alone = FrameGaussian(test.spec)
    alone.load_state_dict(fitted.experts.frames.state_dict())
    expected = alone.impute(test.tensor(), hidden.expand(2, -1, -1, -1))
    assert torch.equal(fills[POSES], expected.motion)
    assert expected.sigma is not None
    assert torch.equal(sigma[POSES], expected.sigma[0])
    for family in range(len(FAMILIES)):
        for number, weights in fitted.weights(family, range(CLASSES), {}).items():
            assert bool((weights[:, POSES] == 0).all()) or number >= CLASSES - STEPS
