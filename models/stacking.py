"""Weights of a mean of completions that err least, learnt by kinds of gaps (stacking)."""

from functools import partial

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

POOLED = 1.0
"""Weight of the products of a whole family beside those of one of its classes, which may be few."""
RIDGES = (1e-6, 0.1, 1.0, 3.0)
"""Ridges that are tried (``simplex``)."""


def weights_of(products: Tensor, usable: Tensor) -> Tensor:
    """Return the weights of each class of gaps in each family of masks.

    Each family has the ridge, of ``RIDGES``, whose weights, learnt on all folds of people but one,
    err least on that one.

    Args:
        products: ``(fold, family, class, completion, completion)`` sums of products of errors.
        usable: bool ``(class, completion)``; what is not has no weight.

    Returns:
        ``(family, class, completion)``, not negative, of sum one.
    """
    whole = products.sum(dim=0)

    def left_out(family: int, ridge: float) -> float:
        found = 0.0
        for fold, own in enumerate(products[:, family]):
            weights = of_family(whole - products[fold], usable, family, ridge)
            found += float(torch.einsum("ck,ckj,cj->", weights, own, weights))
        return found

    return torch.stack(
        [
            of_family(whole, usable, family, min(RIDGES, key=partial(left_out, family)))
            for family in range(len(whole))
        ]
    )


def of_family(products: Tensor, usable: Tensor, family: int, ridge: float) -> Tensor:
    """Return the weights of each class of gaps, ``(class, completion)``, in one family of masks.

    The products of errors of a class are pooled with those of its whole family. A class that a
    family was not tried on has the weights that are best for it in other families, one that none
    was tried on those of its family, and a family that no mask belonged to those of all.

    Args:
        products: ``(family, class, completion, completion)`` sums of products of errors.
        usable: as of ``weights_of``.
        family: its number.
        ridge: see ``simplex``.
    """
    parts = products[family]
    whole = parts.sum(dim=0) if parts.any() else products.sum(dim=(0, 1))
    weights = parts.new_zeros(parts.shape[:2])
    for number, own in enumerate(parts):
        elsewhere = products[:, number].sum(dim=0)
        if own.any():
            pooled = _of_one(own) + POOLED * _of_one(whole)
        else:
            pooled = _of_one(elsewhere if elsewhere.any() else whole)
        some = usable[number]
        weights[number, some] = simplex(pooled[some][:, some], ridge)
    return weights


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


def _of_one(products: Tensor) -> Tensor:
    """Return products of errors scaled to a least mean square of one; zeros stay."""
    return products / products.diagonal().min().clamp(min=1e-12)
