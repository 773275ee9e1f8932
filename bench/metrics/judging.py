"""Drawn and real windows as a classifier of actions sees them (Guo et al., Action2Motion, 2020)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from bench.motion import derive_seed

PAIRS = 2000
"""Pairs of windows that distances are averaged over."""
SET = "all windows together"
"""What stands for a window in values that are of a whole set."""


@dataclass(frozen=True)
class Judged:
    """Windows as their judge sees them.

    Attributes:
        features: ``(window, feature)``.
        actions: what each is, or was asked to be; empty where nothing was asked.
        told: what each is taken for.
    """

    features: NDArray[np.float64]
    actions: NDArray[np.object_]
    told: NDArray[np.object_]

    @property
    def right(self) -> NDArray[np.float64]:
        """``(window,)`` 1.0 where the action is told right, nan where there is none to tell."""
        return np.where(self.actions == "", np.nan, (self.told == self.actions) * 1.0)


def set_metrics(windows: Judged, real: Judged) -> dict[str, float]:
    """Return what is of a set of windows as a whole, held against real ones.

    Returns:
        ``frechet``, and ``diversity`` and ``multimodality``: the mean distance of features of two
        windows, of any two and of two of one action; nan where there are none.
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
        The distance; nan where a side has fewer than two windows, which have no spread.
    """
    if min(len(first), len(second)) < 2:
        return np.nan
    centres = [features.mean(axis=0) for features in (first, second)]
    spreads = [np.cov(features, rowvar=False) for features in (first, second)]
    # Of a product of two positive matrices, so real but for rounding.
    root = np.real(sqrtm(spreads[0] @ spreads[1]))
    apart = np.square(centres[0] - centres[1]).sum()
    return float(apart + np.trace(spreads[0] + spreads[1] - 2 * root))


def spread(
    features: NDArray[np.float64], groups: NDArray[np.generic], rng: np.random.Generator
) -> float:
    """Return the mean distance of two windows of one group, groups alike; nan if no two are."""
    distances = []
    for group in np.unique(groups):
        mine = features[groups == group]
        if len(mine) < 2:
            continue
        one = rng.integers(len(mine), size=PAIRS)
        other = (one + rng.integers(1, len(mine), size=PAIRS)) % len(mine)
        distances.append(np.linalg.norm(mine[one] - mine[other], axis=1).mean())
    return float(np.mean(distances)) if distances else np.nan


def shares(actions: Sequence[str], real: Iterable[str], count: int) -> list[str]:
    """Return ``count`` actions in the proportions that real windows have, one of each at least.

    Args:
        actions: those to choose from, as far as real windows have them.
        real: the action of each real window.
        count: how many to return; as many as there are actions at the least.
    """
    times = Counter(real)
    there = [action for action in actions if times[action]]
    counts = np.array([times[action] for action in there])
    quota = counts / counts.sum() * count
    whole = np.maximum(np.floor(quota).astype(int), 1)
    # What rounding left goes to those it took most from.
    while whole.sum() < count:
        whole[np.argmax(quota - whole)] += 1
    while whole.sum() > count:
        whole[np.argmax(np.where(whole > 1, whole - quota, -np.inf))] -= 1
    return [action for action, number in zip(there, whole, strict=True) for _ in range(number)]


def matching_windows(actions: Iterable[str], asked: Sequence[str]) -> NDArray[np.int64]:
    """Return rows of windows, one of each action asked for, evenly spaced over those it has.

    Args:
        actions: of each window.
        asked: which to choose; actions that no window has are left out.
    """
    there = np.array(list(actions), dtype=object)
    chosen = []
    for action in dict.fromkeys(asked):
        rows = np.flatnonzero(there == action)
        if len(rows):
            count = list(asked).count(action)
            chosen.append(rows[np.linspace(0, len(rows) - 1, count).round().astype(int)])
    return np.concatenate(chosen)
