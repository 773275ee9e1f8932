"""Compare drawn with real windows by an action classifier (Guo et al., Action2Motion, 2020)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from bench.motion import derive_seed

PAIRS = 2000
"""Number of pairs of windows that a mean distance is estimated from."""
SET = "all windows together"
"""The window's name in rows whose values describe a whole set."""


@dataclass(frozen=True)
class Judged:
    """Windows with what a classifier makes of them.

    Attributes:
        features: ``(window, feature)``, the classifier's.
        actions: ``(window,)`` true or requested action; empty where there is none.
        predicted: ``(window,)`` the classifier's action.
    """

    features: NDArray[np.float64]
    actions: NDArray[np.object_]
    predicted: NDArray[np.object_]

    @property
    def right(self) -> NDArray[np.float64]:
        """``(window,)`` 1.0 where the prediction is right, 0.0 where wrong, nan without action."""
        return np.where(self.actions == "", np.nan, (self.predicted == self.actions) * 1.0)


def set_metrics(windows: Judged, real: Judged) -> dict[str, float]:
    """Return the metrics of a set of windows as a whole.

    Args:
        windows: the set.
        real: the real windows that it is compared with.

    Returns:
        ``frechet``: the Fréchet distance to ``real``. ``diversity`` and ``multimodality``: the mean
        feature distance of two windows, of any two and of two of the same action; nan where there
        are no two.
    """
    rng = np.random.default_rng(derive_seed("generation"))
    named = windows.actions != ""
    return {
        "frechet": frechet(windows.features, real.features),
        "diversity": spread(windows.features, np.zeros(len(named)), rng),
        "multimodality": spread(windows.features[named], windows.actions[named], rng),
    }


def frechet(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the Fréchet distance of two Gaussians fitted to features (Heusel et al., 2017).

    Args:
        first: ``(window, feature)``.
        second: the same of other windows.

    Returns:
        The distance; nan where either side has fewer than two windows, hence no covariance.
    """
    if min(len(first), len(second)) < 2:
        return np.nan
    centres = [features.mean(axis=0) for features in (first, second)]
    covariances = [np.cov(features, rowvar=False) for features in (first, second)]
    # The root of a product of two positive semi-definite matrices is real but for rounding.
    root = np.real(sqrtm(covariances[0] @ covariances[1]))
    distance = np.square(centres[0] - centres[1]).sum()
    return float(distance + np.trace(covariances[0] + covariances[1] - 2 * root))


def spread(
    features: NDArray[np.float64], groups: NDArray[np.generic], rng: np.random.Generator
) -> float:
    """Return the mean distance of two windows of one group, averaged over groups of equal weight.

    Estimated from ``PAIRS`` random pairs in each group; groups of one window are left out.

    Args:
        features: ``(window, feature)``.
        groups: ``(window,)`` the group of each window.
        rng: draws the pairs.

    Returns:
        The mean distance; nan if every group has one window.
    """
    distances = []
    for group in np.unique(groups):
        members = features[groups == group]
        if len(members) < 2:
            continue
        one = rng.integers(len(members), size=PAIRS)
        other = (one + rng.integers(1, len(members), size=PAIRS)) % len(members)
        distances.append(np.linalg.norm(members[one] - members[other], axis=1).mean())
    return float(np.mean(distances)) if distances else np.nan


def shares(actions: Sequence[str], real: Iterable[str], count: int) -> list[str]:
    """Return ``count`` actions in the proportions of real windows, at least one of each.

    Args:
        actions: those to choose from; actions of no real window are left out.
        real: the action of each real window.
        count: how many to return; at least the number of actions.
    """
    frequency = Counter(real)
    present = [action for action in actions if frequency[action]]
    counts = np.array([frequency[action] for action in present])
    quota = counts / counts.sum() * count
    whole = np.maximum(np.floor(quota).astype(int), 1)
    # The remainder goes to the actions that rounding down cost most.
    while whole.sum() < count:
        whole[np.argmax(quota - whole)] += 1
    while whole.sum() > count:
        whole[np.argmax(np.where(whole > 1, whole - quota, -np.inf))] -= 1
    return [action for action, number in zip(present, whole, strict=True) for _ in range(number)]


def matching_windows(actions: Iterable[str], requested: Sequence[str]) -> NDArray[np.int64]:
    """Return a window of the same action for each requested one, evenly spaced over those windows.

    Args:
        actions: the action of each window.
        requested: an action per window to choose; actions of no window are left out.

    Returns:
        Row numbers of windows, grouped by action.
    """
    present = np.array(list(actions), dtype=object)
    chosen = []
    for action in dict.fromkeys(requested):
        rows = np.flatnonzero(present == action)
        if len(rows):
            count = list(requested).count(action)
            chosen.append(rows[np.linspace(0, len(rows) - 1, count).round().astype(int)])
    return np.concatenate(chosen)
