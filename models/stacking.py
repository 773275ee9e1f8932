"""Weights of a mean of completions that err least, learnt by kinds of gaps (stacking)."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn

POOLED = 1.0
"""Weight of the products of a whole family beside those of one of its classes, which may be few."""
RIDGES = (1e-6, 0.1, 1.0, 3.0)
"""Ridges that are tried (``simplex``)."""
TRUSTS = (0.0, 0.3, 1.0, 3.0)
"""Weights that are tried of a window's own products beside those learnt on other people."""
RATIO = 1e6
"""Times the least mean square that the largest counts at most: what errs more has no weight."""

ByClass = dict[int, Tensor]
"""A tensor for each class of gap."""


@dataclass(frozen=True)
class Trial:
    """How completions err on windows with one mask.

    Attributes:
        fold: of the people.
        family: of the mask.
        products: of errors, ``(window, completion, completion)`` sums, mm^2, by class of gap; not
            empty.
        own: those on similar gaps of the same windows, whose values are known to an imputer.
    """

    fold: int
    family: int
    products: ByClass
    own: ByClass


class Weights(nn.Module):
    """Weights, not negative and of sum one, for each family of masks and class of gaps.

    They minimise the squared error of the weighted mean on other people, and on what is known of
    the window itself. How much the latter counts (``TRUSTS``), and how equal weights are
    (``RIDGES``), is what errs least in each family on a fold of people, learnt on the others.

    Attributes:
        products: buffer ``(family, class, completion, completion)`` sums of products of errors.
        usable: buffer that is not stored, bool ``(class, completion)``; what is not has no weight.
        ridge: buffer ``(family,)``.
        trust: buffer ``(family,)``, of a window's own products.
    """

    products: Tensor
    usable: Tensor
    ridge: Tensor
    trust: Tensor

    def __init__(self, families: int, usable: Tensor) -> None:
        super().__init__()
        classes, count = usable.shape
        equal = torch.eye(count, dtype=torch.float64).repeat(families, classes, 1, 1)
        self.register_buffer("products", equal)
        self.register_buffer("usable", usable, persistent=False)
        self.register_buffer("ridge", torch.full((families,), RIDGES[0], dtype=torch.float64))
        self.register_buffer("trust", torch.zeros(families, dtype=torch.float64))

    def learn(self, trials: Sequence[Trial]) -> None:
        """Learn all from errors on folds of people; a family without trials goes by the others."""
        self.products.copy_(self._sums(trials))
        self.ridge.fill_(RIDGES[0])
        self.trust.zero_()
        left_out = self._left_out(trials)
        for family, errors in left_out.items():
            self.ridge[family], self.trust[family] = min(errors, key=lambda one: errors[one])

    def forward(self, family: int, classes: Iterable[int], own: ByClass) -> ByClass:
        """Return the weights of windows with one mask.

        Args:
            family: of the mask.
            classes: of gaps, to return weights of.
            own: products of errors on similar gaps of the windows (``Trial``); empty if there are
                none.

        Returns:
            By class ``(window, completion)``; one row for all windows where nothing is their own.
        """
        ridge, trust = float(self.ridge[family]), float(self.trust[family])
        products = self.products.cpu()
        learnt = {one: _pooled(products, family, one) for one in classes}
        return self._weights(learnt, own, ridge, trust)

    def _weights(self, learnt: ByClass, own: ByClass, ridge: float, trust: float) -> ByClass:
        """Return what ``forward`` does, given ``(completion, completion)`` products learnt."""
        found = {}
        for one, products in learnt.items():
            beside = products[None]
            if trust and own:
                # Where no gap of the class was tried, those of the other classes tell something.
                tried = own[one] if one in own else torch.stack(list(own.values())).sum(dim=0)
                beside = products + trust * _of_one(tried)
            some = self.usable[one].cpu()
            weights = beside.new_zeros(beside.shape[:2])
            rows = beside[:, some][..., some]
            weights[:, some] = torch.stack([simplex(row, ridge) for row in rows])
            found[one] = weights
        return found

    def _sums(self, trials: Iterable[Trial]) -> Tensor:
        """Return products by family and class; every mask counts equally, however hard it is."""
        sums = torch.zeros_like(self.products, device="cpu")
        for trial in trials:
            for number, products in trial.products.items():
                sums[trial.family, number] += products.sum(dim=0) / _size(trial)
        return sums

    def _left_out(self, trials: Sequence[Trial]) -> dict[int, dict[tuple[float, float], float]]:
        """Return the error of each family on folds left out, by ridge and trust."""
        errors: dict[int, dict[tuple[float, float], float]] = {}
        for fold in {one.fold for one in trials}:
            sums = self._sums(one for one in trials if one.fold != fold)
            for trial in (one for one in trials if one.fold == fold):
                learnt = {one: _pooled(sums, trial.family, one) for one in trial.products}
                of_family = errors.setdefault(trial.family, defaultdict(float))
                for choice in itertools.product(RIDGES, TRUSTS):
                    weights = self._weights(learnt, trial.own, *choice)
                    of_family[choice] += _error(trial, weights) / _size(trial)
        return errors


def products_of(errors: Tensor, classes: Tensor) -> ByClass:
    """Return ``(window, completion, completion)`` sums of products of errors by class of gap.

    Args:
        errors: ``(completion, window, value)``, mm.
        classes: ``(value,)``.
    """
    found = {}
    for number in classes.unique().tolist():
        some = errors[..., classes == number].transpose(0, 1)
        found[number] = (some @ some.mT).cpu()
    return found


def simplex(products: Tensor, ridge: float = RIDGES[0]) -> Tensor:
    """Return the weights, not negative and of sum one, of least squared error of a weighted mean.

    Args:
        products: ``(completion, completion)`` sums of products of the completions' errors.
        ridge: times the least error that is added to each one's own: the more, the more equal the
            weights; some is needed, since completions may be equal.
    """
    scaled = _of_one(products)
    added = ridge * torch.eye(len(scaled), dtype=scaled.dtype)
    root = torch.linalg.cholesky(scaled + added).T.numpy()
    # Their sum is one as nearly as this factor is large; the division below makes it exact.
    heavy = 1e3 * np.ones((1, len(root)))
    target = np.append(np.zeros(len(root)), heavy[0, 0])
    weights, _ = nnls(np.vstack([root, heavy]), target)
    return torch.from_numpy(weights / weights.sum())


def _pooled(sums: Tensor, family: int, number: int) -> Tensor:
    """Return the products of errors that the weights of a class in a family are learnt from.

    Those of the class are pooled with those of its whole family. A class that the family was not
    tried on has those of other families, one that none was tried on those of the family, and a
    family that no mask belonged to those of all.

    Args:
        sums: ``(family, class, completion, completion)`` sums of products of errors.
        family: its number.
        number: of the class.
    """
    parts, elsewhere = sums[family], sums[:, number].sum(dim=0)
    whole = parts.sum(dim=0) if parts.any() else sums.sum(dim=(0, 1))
    if parts[number].any():
        return _of_one(parts[number]) + POOLED * _of_one(whole)
    return _of_one(elsewhere if elsewhere.any() else whole)


def _of_one(products: Tensor) -> Tensor:
    """Return products of errors scaled to a least mean square of one; zeros stay."""
    squares = products.diagonal(dim1=-2, dim2=-1)
    # Weights of what is exact, such as a spline of a body that stands still, need no more.
    least = torch.maximum(squares.amin(dim=-1), squares.amax(dim=-1) / RATIO).clamp(min=1e-12)
    return products / least[..., None, None]


def _size(trial: Trial) -> float:
    """Return the squared error of completions under a mask, their mean."""
    means = (one.diagonal(dim1=1, dim2=2).mean(dim=1).sum() for one in trial.products.values())
    return max(float(sum(means)), 1e-6)


def _error(trial: Trial, weights: ByClass) -> float:
    """Return the squared error of weighted means of a trial's completions."""
    found = 0.0
    for number, own in weights.items():
        errors = trial.products[number]
        each = own.expand(len(errors), -1)
        found += float(torch.einsum("wk,wkj,wj->", each, errors, each))
    return found
