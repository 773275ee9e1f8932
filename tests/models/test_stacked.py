"""The stacked imputer: folds, the mixture it computes, what it is fitted on, and what it gains."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.fitting.training import FitContext
from bench.motion import Windows
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.frames import Frames
from bench.motion.mechanisms.sampler import usual_masks
from models.families import FAMILIES
from models.spectral_gaussian import SpectralGaussian
from models.stacked import Stacked, folds_of
from tests.conftest import walk

SHORT: dict[str, Any] = {"windows": 60, "frames": 12}
"""Windows of 648 values, quick to invert."""
SMALL: dict[str, Any] = {"width": 16, "blocks": 1, "epochs": 2, "folds": 3}


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


def test_gaussians_for_a_fold_are_of_the_other_people(monkeypatch: pytest.MonkeyPatch) -> None:
    train = people(walk(**SHORT, seed=1), list("abcd"))
    seen: list[set[str]] = []
    estimate = SpectralGaussian.estimate

    def noted(self: SpectralGaussian, windows: Windows) -> None:
        seen.append(set(windows.index["subject"]))
        estimate(self, windows)

    monkeypatch.setattr(SpectralGaussian, "estimate", noted)
    used: list[tuple[int, int]] = []
    conditioned = Stacked._of_group

    def of_group(self: Stacked, motion: torch.Tensor, number: int) -> Any:
        used.append((number, len(motion)))
        return conditioned(self, motion, number)

    monkeypatch.setattr(Stacked, "_of_group", of_group)
    model = Stacked(train.spec, Stacked.Settings(**SMALL | {"epochs": 1}))
    model.fit(train, walk(**SHORT, seed=2))
    folds = folds_of(train, 3)
    subjects = train.index["subject"].to_numpy()
    assert seen[0] == set("abcd")
    assert seen[1:] == [set("abcd") - set(subjects[folds == fold]) for fold in range(3)]
    assert sum(rows for number, rows in used if number >= 0) == len(train)
    assert {number for number, _ in used} == {-1, 0, 1, 2}


def test_a_network_that_is_not_fitted_weighs_completions_by_precision(fitted: Stacked) -> None:
    model = Stacked(fitted.spec, Stacked.Settings(**SMALL))
    test = walk(3, 12, seed=3)
    rng = np.random.default_rng(0)
    fills = test.tensor()[:, None] + torch.from_numpy(
        rng.normal(0, 20, (3, 3, *test.motion.shape[1:])).astype(np.float32)
    )
    sigma = torch.from_numpy(rng.uniform(1, 30, (3, *test.motion.shape[1:])).astype(np.float32))
    model.eval()
    hidden = torch.ones_like(test.tensor(), dtype=torch.bool)
    mean, deviation = model.network(fills, sigma, hidden)
    with_doubt = np.array([1.0, 1.0, np.exp(-2.0)])[:, None, None]
    precise = with_doubt / np.exp(2 * np.log(sigma.numpy()).mean(axis=-1))
    weights = (precise / precise.sum(axis=0))[None, ..., None]
    expected = (weights * fills.numpy()).sum(axis=1)
    np.testing.assert_allclose(mean.detach(), expected, rtol=1e-4, atol=1e-2)
    square = sigma.numpy() ** 2 + (fills.numpy() - expected[:, None]) ** 2
    spread = np.sqrt((weights * square).sum(axis=1))
    np.testing.assert_allclose(deviation.detach(), spread, rtol=1e-4)


def test_a_window_s_completion_does_not_depend_on_its_batch(fitted: Stacked) -> None:
    test = walk(6, 12, seed=3)
    generator = np.random.default_rng(0)
    masks = torch.from_numpy(
        usual_masks(test.spec).draw(test.spec, generator, test.tensor().numpy())
    )
    with torch.no_grad():
        together = fitted.impute(test.tensor(), masks)
        for row in range(6):
            alone = fitted.impute(test.tensor()[row : row + 1], masks[row : row + 1])
            torch.testing.assert_close(alone.motion[0], together.motion[row], atol=0.02, rtol=1e-4)
            assert alone.sigma is not None
            assert together.sigma is not None
            torch.testing.assert_close(alone.sigma[0], together.sigma[row], atol=0.02, rtol=1e-3)


def test_deviations_grow_into_a_gap(fitted: Stacked) -> None:
    test = walk(8, 12, seed=3)
    hidden = torch.zeros_like(test.tensor(), dtype=torch.bool)
    hidden[:, 2:10] = True
    with torch.no_grad():
        sigma = fitted.impute(test.tensor(), hidden).sigma
    assert sigma is not None
    by_frame = sigma.mean(dim=(0, 2, 3))
    assert by_frame[[0, 1, 10, 11]].eq(0).all()
    assert by_frame[5:7].min() > 1.5 * by_frame[[2, 9]].max()


def test_a_family_is_completed_by_the_network_and_its_best_single_completion(
    fitted: Stacked,
) -> None:
    test = walk(4, 12, seed=3)
    hidden = torch.from_numpy(Frames(level=Level.parse("160 ms")).occluded(test))
    family = FAMILIES.index("frames")
    kept = fitted.weight.clone(), fitted.single.clone()
    try:
        with torch.no_grad():
            ends = []
            for weight in (0.0, 0.25, 1.0):
                fitted.weight[family] = weight
                ends.append(fitted.impute(test.tensor(), hidden).motion)
            fitted.single[family] = 2
            fitted.weight[family] = 0.0
            spline = fitted.impute(test.tensor(), hidden).motion
    finally:
        fitted.weight.copy_(kept[0])
        fitted.single.copy_(kept[1])
    torch.testing.assert_close(ends[1], 0.75 * ends[0] + 0.25 * ends[2])
    expected = fitted.spline.impute(test.tensor(), hidden).motion
    torch.testing.assert_close(spline, expected)


def test_masks_that_the_protocol_states_are_those_trained_on() -> None:
    train = people(walk(**SHORT, seed=1), list("abc"))

    class Counting:
        families = usual_masks(train.spec).families
        drawn = 0

        def draw(self, *arguments: Any) -> np.ndarray:
            self.drawn += 1
            return usual_masks(train.spec).draw(*arguments)

    masks: Any = Counting()
    model = Stacked(train.spec, Stacked.Settings(**SMALL | {"epochs": 1}))
    model.fit(train, walk(**SHORT, seed=2), FitContext(masks=masks))
    assert masks.drawn > len(FAMILIES)
