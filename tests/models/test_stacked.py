"""The stacked imputer: folds, classes of gaps, learnt weights, and the mixture that it computes."""

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
from models.stacking import RIDGES, of_family, simplex, weights_of
from tests.conftest import walk

SHORT: dict[str, Any] = {"windows": 60, "frames": 12}
"""Windows of 648 values, quick to invert."""
SMALL: dict[str, Any] = {"folds": 3, "masks": 2}


def people(windows: Windows, names: list[str]) -> Windows:
    """Return the windows as if people had performed them in turn."""
    windows.index["subject"] = [names[row % len(names)] for row in range(len(windows))]
    return windows


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
    found = gap_class(torch.from_numpy(hidden), tree((-1, 0))).numpy()
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


@given(st.integers(0, 1000), st.integers(2, 5))
@settings(deadline=None, max_examples=25)
def test_no_weights_that_sum_to_one_are_better(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    errors = rng.normal(size=(count, 40)) * rng.uniform(0.5, 3, (count, 1)) + rng.normal(size=40)
    products = errors @ errors.T
    weights = simplex(torch.from_numpy(products)).numpy()
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    # No other point of the simplex, far or near, is better.
    others = rng.dirichlet(np.ones(count), 2000)
    others = np.concatenate([others, 0.98 * weights + 0.02 * others])
    least = np.einsum("ni,ij,nj->n", others, products, others).min()
    assert weights @ products @ weights <= least * (1 + 1e-3)


def test_equal_completions_share_their_weight_in_any_way() -> None:
    errors = torch.tensor([[1.0, 2.0], [1.0, 2.0], [9.0, 9.0]], dtype=torch.float64)
    weights = simplex(errors @ errors.T)
    assert weights[:2].sum() == pytest.approx(1, abs=1e-3)


def test_weights_are_learnt_on_people_that_the_gaussians_do_not_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train = people(walk(**SHORT, seed=1), list("abcd"))
    motion = train.tensor()
    known: dict[int, set[str]] = {}
    estimate = SpectralGaussian.estimate

    def noted(self: SpectralGaussian, windows: Windows) -> None:
        known[id(self)] = set(windows.index["subject"])
        estimate(self, windows)

    monkeypatch.setattr(SpectralGaussian, "estimate", noted)
    model = Stacked(train.spec, Stacked.Settings(**SMALL))
    used: set[str] = set()
    for _, windows, hidden, experts in model._held_out(train, train, FitContext()):
        rows = [int((motion == window).all(dim=(1, 2, 3)).nonzero()[0, 0]) for window in windows]
        performers = set(train.index["subject"].iloc[rows])
        assert hidden.any()
        assert not performers & known[id(experts.windows)]
        assert performers | known[id(experts.windows)] == set("abcd")
        used |= performers
    assert used == set("abcd")


def test_the_mean_is_weighted_and_the_deviation_that_of_the_mixture(fitted: Stacked) -> None:
    test = walk(4, 12, seed=3)
    hidden = torch.from_numpy(Frames(level=Level.parse("160 ms")).occluded(test))
    found = fitted.impute(test.tensor(), hidden)
    assert found.sigma is not None
    family = FAMILIES.index("frames")
    for row in range(4):
        mask = hidden[row]
        fills, sigma = fitted.completions(test.tensor()[[row]], mask, fitted.experts)
        classes = gap_class(mask, test.spec.skeleton)
        weights = fitted.weights[family][classes].numpy()[mask.numpy()]
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
    classes = torch.stack([gap_class(mask, train.spec.skeleton) for mask in hidden])
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


def products_of(errors: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(errors @ errors.T)


def test_a_class_that_a_family_was_not_tried_on_has_the_weights_of_other_families() -> None:
    rng = np.random.default_rng(0)
    products = torch.zeros(len(FAMILIES), CLASSES, 3, 3, dtype=torch.float64)
    for place in [(0, 0), (0, 1), (1, 1), (1, 2), (1, CLASSES - 1)]:
        products[place] = products_of(rng.normal(size=(3, 50)))
    # Two folds of people that are alike.
    usable = torch.ones(CLASSES, 3, dtype=torch.bool)
    usable[: CLASSES - STEPS, 1] = False
    weights = weights_of(torch.stack([products, products]), usable)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(dim=2), torch.ones_like(weights[..., 0]))
    assert (weights[:, : CLASSES - STEPS, 1] == 0).all()
    assert weights[:, CLASSES - 1, 1].min() > 0

    def of_gaps(one: torch.Tensor) -> torch.Tensor:
        """The best weights without poses."""
        found = torch.zeros(3, dtype=torch.float64)
        found[[0, 2]] = simplex(one[[0, 2]][:, [0, 2]])
        return found

    # Alone in its class, so what other families say of it is all there is.
    torch.testing.assert_close(weights[1, 0], of_gaps(products[0, 0]))
    torch.testing.assert_close(weights[0, 2], of_gaps(products[1, 2]))
    torch.testing.assert_close(weights[0, CLASSES - 1], simplex(products[1, CLASSES - 1]))
    # A class that was tried nowhere is as its family, a family that was not tried as all.
    torch.testing.assert_close(weights[0, 5], of_gaps(products[0].sum(dim=0)))
    torch.testing.assert_close(weights[2, 5], of_gaps(products.sum(dim=(0, 1))))
    torch.testing.assert_close(weights[2, 0], of_gaps(products[0, 0]))
    # Of equal weight are the class and its whole family, whatever the sizes of their errors.
    scaled = [one / one.diagonal().min() for one in (products[0, 0], products[0].sum(dim=0))]
    torch.testing.assert_close(weights[0, 0], of_gaps(scaled[0] + scaled[1]))


def test_weights_are_more_equal_where_people_differ_in_what_is_best() -> None:
    rng = np.random.default_rng(0)
    alike, apart = (
        np.array([1.0, 9.0, 2.0, 3.0]),
        np.array([[1.0, 9.0, 1.1, 3.0], [3.0, 9.0, 1.1, 1]]),
    )
    products = torch.zeros(2, len(FAMILIES), CLASSES, 4, 4, dtype=torch.float64)
    for fold in range(2):
        noise = rng.normal(size=(4, 4000))
        products[fold, 0, 0] = products_of(alike[:, None] * noise)
        products[fold, 1, 0] = products_of(apart[fold][:, None] * noise)
    usable = torch.ones(CLASSES, 4, dtype=torch.bool)
    weights = weights_of(products, usable)
    torch.testing.assert_close(
        weights[0, 0], of_family(products.sum(dim=0), usable, 0, RIDGES[0])[0]
    )
    assert not torch.allclose(
        weights[1, 0], of_family(products.sum(dim=0), usable, 1, RIDGES[0])[0]
    )


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
    assert (fitted.weights[:, : CLASSES - STEPS, POSES] == 0).all()
