"""Weights of means of completions, learnt on other people and on what is known of a window."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.stacking import POOLED, TRUSTS, Trial, Weights, products_of, simplex

CLASSES = 4
ALL = torch.ones(CLASSES, 3, dtype=torch.bool)


def products(errors: np.ndarray) -> torch.Tensor:
    """Return the products of errors ``(window, completion, value)``."""
    return torch.from_numpy(errors @ errors.swapaxes(-1, -2))


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


def test_products_of_errors_are_kept_apart_by_class_and_window() -> None:
    errors = np.random.default_rng(0).normal(size=(3, 5, 20))
    classes = np.arange(20) % 3
    found = products_of(torch.from_numpy(errors), torch.from_numpy(classes))
    assert set(found) == {0, 1, 2}
    for number, one in found.items():
        some = errors[:, 4, classes == number]
        np.testing.assert_allclose(one[4].numpy(), some @ some.T)


def test_a_class_that_a_family_was_not_tried_on_has_the_weights_of_other_families() -> None:
    rng = np.random.default_rng(0)
    usable = ALL.clone()
    usable[:3, 1] = False
    errors = {place: rng.normal(size=(1, 3, 50)) for place in [(0, 0), (0, 1), (1, 1), (1, 2)]}
    trials = [
        Trial(fold, family, {number: products(one)}, {})
        for fold in range(2)
        for (family, number), one in errors.items()
    ]
    weights = Weights(3, usable)
    weights.learn(trials)

    def of(family: int, number: int) -> torch.Tensor:
        return weights(family, [number], {})[number][0]

    def best(*places: tuple[int, int]) -> torch.Tensor:
        """The best weights without the one that is not usable."""
        one = torch.stack([of_one(products(errors[place])[0]) for place in places]).sum(dim=0)
        found = torch.zeros(3, dtype=torch.float64)
        found[[0, 2]] = simplex(one[[0, 2]][:, [0, 2]])
        return found

    def of_one(one: torch.Tensor) -> torch.Tensor:
        """Every trial counts equally."""
        return one / one.diagonal().mean()

    # Alone in its class, so what other families say of it is all there is.
    torch.testing.assert_close(of(1, 0), best((0, 0)))
    torch.testing.assert_close(of(0, 2), best((1, 2)))
    # A family that was not tried is as all.
    torch.testing.assert_close(of(2, 0), best((0, 0)))
    torch.testing.assert_close(of(2, 2), best((1, 2)))
    # A class that was tried nowhere is as its family, and may have what others may not.
    assert float(of(0, 3)[1]) > 0
    assert float(of(0, 0)[1]) == 0
    # Of equal weight are the class and its whole family, whatever the sizes of their errors.
    own = of_one(products(errors[0, 0])[0])
    whole = own + of_one(products(errors[0, 1])[0])
    both = own / own.diagonal().min() + POOLED * whole / whole.diagonal().min()
    expected = simplex(both[[0, 2]][:, [0, 2]])
    torch.testing.assert_close(of(0, 0)[[0, 2]], expected)


def drawn(rng: np.random.Generator, scale: np.ndarray) -> torch.Tensor:
    """Return products of independent errors of windows, their deviations ``(window, 3)``."""
    return products(scale[..., None] * rng.normal(size=(*scale.shape, 200)))


def test_weights_are_more_equal_where_people_differ_in_what_is_best() -> None:
    rng = np.random.default_rng(0)
    alike, apart = np.array([1.0, 9, 2]), np.array([[1.0, 1.2, 3], [3, 1.2, 1]])
    trials = [
        Trial(fold, family, {0: drawn(rng, np.tile(scale, (4, 1)))}, {})
        for fold in range(2)
        for family, scale in enumerate((alike, apart[fold]))
        for _ in range(4)
    ]
    weights = Weights(2, ALL)
    weights.learn(trials)
    assert weights.ridge[0] < weights.ridge[1]
    assert weights(0, [0], {})[0][0, 0] > 0.7


def test_a_window_s_own_errors_are_trusted_where_they_tell_what_is_best() -> None:
    rng = np.random.default_rng(0)
    trials = []
    for fold in range(3):
        for _ in range(4):
            # One completion is good for half of the windows, another for the rest.
            scale = np.where(rng.random((8, 1)) < 0.5, [[1.0, 9, 9]], [[9.0, 1, 9]])
            trials.append(Trial(fold, 0, {0: drawn(rng, scale)}, {0: drawn(rng, scale)}))
            other = np.where(rng.random((8, 1)) < 0.5, [[1.0, 2, 2]], [[2.0, 2, 1]])
            trials.append(Trial(fold, 1, {0: drawn(rng, np.tile([1.0, 2, 2], (8, 1)))},
                                {0: drawn(rng, other)}))  # fmt: skip
    weights = Weights(2, ALL)
    weights.learn(trials)
    assert weights.trust[0] == max(TRUSTS)
    assert weights.trust[1] == 0
    scale = np.array([[1.0, 9, 9], [9, 1, 9]])
    found = weights(0, [0], {0: drawn(rng, scale)})[0]
    assert found.argmax(dim=1).tolist() == [0, 1]
    assert len(weights(1, [0], {0: drawn(rng, scale)})[0]) == 1
    # A class that none of the windows' gaps was of goes by the others.
    elsewhere = weights(0, [2], {0: drawn(rng, scale)})[2]
    assert elsewhere.argmax(dim=1).tolist() == [0, 1]


def test_before_they_are_learnt_weights_are_equal() -> None:
    found = Weights(1, ALL)(0, [0], {})[0]
    torch.testing.assert_close(found, torch.full((1, 3), 1 / 3, dtype=torch.float64))
