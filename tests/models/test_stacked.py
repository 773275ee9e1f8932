"""The stacked imputer: folds, classes of gaps, learnt weights, and the mixture that it computes."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.fitting.training import FitContext
from bench.motion import Windows
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.frames import Frames
from bench.motion.mechanisms.sampler import usual_masks
from models.families import FAMILIES
from models.spectral_gaussian import SpectralGaussian
from models.stacked import CLASSES, DISTANCES, LENGTHS, Stacked, folds_of, gap_class, simplex
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
    found = gap_class(torch.from_numpy(hidden)).numpy()
    for place in np.ndindex(2, 3):
        seen = np.flatnonzero(~hidden[:, *place])
        for frame in np.flatnonzero(hidden[:, *place]):
            before, after = seen[seen < frame], seen[seen > frame]
            if not len(seen):
                expected = CLASSES - 1
            elif len(before) and len(after):
                length = after[0] - before[-1] - 1
                expected = sum(length > edge for edge in LENGTHS)
            else:
                distance = frame - before[-1] if len(before) else after[0] - frame
                expected = len(LENGTHS) + 1 + sum(distance > edge for edge in DISTANCES)
            assert found[frame, *place] == expected


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
    for windows, hidden, gaussian in model._held_out(train, train, FitContext()):
        rows = [int((motion == window).all(dim=(1, 2, 3)).nonzero()[0, 0]) for window in windows]
        performers = set(train.index["subject"].iloc[rows])
        assert hidden.any()
        assert not performers & known[id(gaussian)]
        assert performers | known[id(gaussian)] == set("abcd")
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
        weights = fitted.weights[family][gap_class(mask)].numpy()[mask.numpy()]
        parts, spreads = fills[:, 0, mask].numpy(), sigma[:, mask].numpy()
        mean = (weights.T * parts).sum(axis=0)
        np.testing.assert_allclose(found.motion[row][mask], mean, rtol=1e-4, atol=1e-2)
        square = (weights.T * (spreads**2 + (parts - mean) ** 2)).sum(axis=0)
        factor = fitted.calibration[family][gap_class(mask)].numpy()[mask.numpy()]
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
    classes = torch.stack([gap_class(mask) for mask in hidden])
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
    joints = model.weights[FAMILIES.index("joints")]
    # Of what no mask was drawn, all together decide.
    assert (joints == joints[0]).all()
