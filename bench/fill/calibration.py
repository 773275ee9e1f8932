"""How much of each method a gap is filled by, and by how much stated deviations are too small."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from scipy.optimize import LinearConstraint, minimize

from bench.fill.gaps import Bools, Gap, Numbers
from bench.fill.methods import Completed, Methods, combined
from bench.fill.shipped import shipped
from bench.fill.trials import BUCKETS_MS, Kind, Outcome, kind_of, outcomes, trials_of

CANDIDATES = ("marker", "smooth", "spline", "pchip")
"""Methods that ``auto`` combines."""
LEAST = 0.02
"""Weights below this are set to 0."""
OF_USE = 1.02
"""How many times its least error an error has to be for the marker process to be of use."""
FEWEST = 6
"""Trials of a kind from which weights are taken, and by which deviations are scaled."""
SHORT_MS = 200
"""Durations up to which a spline is the usual choice where no other point is of help."""
CHOICE, CHECK = 0, 1
"""Seeds: trials that a choice is made on have no part in its check."""
CHOOSING = 4
"""Trials of each kind that reach and scale of the marker process are chosen on."""
COMPARED = 50
"""Frames of a trial, evenly spaced, that weights are taken from at most."""
MANY = 4000
"""Gaps from which every core takes a part; a process needs seconds to start."""
PARTS = 8
"""Parts of the gaps that each core takes: what a part returns is in memory twice."""
LEVEL, NORMAL = 0.9, 1.6448536
"""Share of errors that a stated interval is to hold, and its half width in deviations."""


@dataclass(frozen=True)
class Recipe:
    """How gaps of a kind are filled.

    Attributes:
        weights: by method, of sum 1.
        scale: by method, what its stated deviation is multiplied by.
        factor: what that of all together is multiplied by.
    """

    weights: Mapping[str, float]
    scale: Mapping[str, float]
    factor: float = 1.0

    def of(self, found: Mapping[str, Completed]) -> Completed:
        """Return what several methods make of a gap together, with a scaled deviation."""
        parts = {name: found[name] for name in self.weights}
        whole = combined(parts, self.weights, self.scale)
        return Completed(whole.positions, self.factor * whole.deviation, whole.methods)


@dataclass(frozen=True)
class Calibration:
    """What trials cut into a recording say of the methods.

    Attributes:
        methods: of the recording.
        recipes: by the kind of gap that they were found for.
        names: the methods that were tried.
    """

    methods: Methods
    recipes: Mapping[Kind, Recipe]
    names: tuple[str, ...]

    def complete(self, gap: Gap, seen: Bools) -> Completed:
        """Fill a gap by the recipe for its kind."""
        recipe = self.recipe(kind_of(gap, self.methods.fps))
        return recipe.of({name: self.methods.complete(name, gap, seen) for name in recipe.weights})

    def recipe(self, kind: Kind) -> Recipe:
        """Return the recipe for a kind; of one without trials with the next one's deviations."""
        if kind in self.recipes:
            return self.recipes[kind]
        weights = _usual(kind, self.names)
        rank = BUCKETS_MS.index(kind.up_to_ms)
        near = sorted(
            self.recipes,
            key=lambda one: (
                one.place != kind.place,
                abs(BUCKETS_MS.index(one.up_to_ms) - rank),
                -one.up_to_ms,
            ),
        )
        if not near:
            return Recipe(weights, dict.fromkeys(weights, 1.0))
        known = self.recipes[near[0]]
        return Recipe(weights, known.scale, known.factor)


def completed(known: Calibration, gaps: Sequence[Gap]) -> Iterator[Completed]:
    """Yield what fills each gap; many gaps are filled by a process for each core.

    Args:
        known: of the recording.
        gaps: by point, as those of a point have much in common.
    """
    jobs = effective_n_jobs(-1) if len(gaps) >= MANY else 1
    if jobs == 1:
        yield from (known.complete(gap, known.methods.seen) for gap in gaps)
        return
    methods, size = known.methods, -(-len(gaps) // (jobs * PARTS))
    segment = methods.segment
    # Copied on write: torch does not take what cannot be written to.
    # Idle processes would keep their memory for minutes.
    for part in Parallel(jobs, mmap_mode="c", return_as="generator", idle_worker_timeout=1)(
        delayed(_completed)(
            methods.positions, methods.fps, (segment.reach, segment.scale), known.recipes,
            known.names, gaps[start : start + size],
        )
        for start in range(0, len(gaps), size)
    ):  # fmt: skip
        yield from part


def _completed(
    positions: Numbers,
    fps: float,
    lengths: tuple[float, float],
    recipes: Mapping[Kind, Recipe],
    names: tuple[str, ...],
    gaps: Sequence[Gap],
) -> list[Completed]:
    """Fill gaps in a process of its own."""
    methods = Methods(positions, fps)
    methods.segment.reach, methods.segment.scale = lengths
    known = Calibration(methods, recipes, names)
    return [known.complete(gap, methods.seen) for gap in gaps]


def calibrated(
    methods: Methods, seen: Bools, gaps: Sequence[Gap], names: Sequence[str]
) -> Calibration:
    """Cut gaps like a recording's own into it, fill them, and compare with what was there.

    Args:
        methods: of the recording.
        seen: bool ``(frame, point)``.
        gaps: those to be like.
        names: methods to combine.
    """
    if "marker" in names:
        chosen = trials_of(seen, gaps, methods.fps, CHOICE, methods.nearness, CHOOSING)
        methods.choose([(trial.gap, trial.applied(seen)) for trial in chosen])
    trials = trials_of(seen, gaps, methods.fps, CHOICE, methods.nearness)
    by_kind: dict[Kind, list[Outcome]] = {}
    for outcome in outcomes(methods, seen, trials, names):
        by_kind.setdefault(outcome.kind, []).append(outcome)
    recipes = {
        kind: _recipe(kind, found, names) for kind, found in by_kind.items() if len(found) >= FEWEST
    }
    return Calibration(methods, recipes, tuple(names))


def _recipe(kind: Kind, found: Sequence[Outcome], names: Sequence[str]) -> Recipe:
    scale = {name: _root_mean(_ratios(found, name)) for name in names}
    weights = _usual(kind, names) if kind.place == "edge" else best_weights(found, names)
    plain = Recipe(weights, scale)
    ratios = []
    for one in found:
        whole = plain.of(one.found)
        ratios.append(np.abs(whole.positions - one.truth) / whole.deviation[:, None])
    # Of few trials the greatest errors are not seen.
    level = min(LEVEL + 0.5 / len(found), 0.97)
    return Recipe(weights, scale, _quantile(ratios, level) / NORMAL)


def best_weights(found: Sequence[Outcome], names: Sequence[str]) -> dict[str, float]:
    """Return the weights of methods, none below 0 and of sum 1, of least mean distance in trials.

    Stacked regression (Breiman 1996), with the mean distance in place of its square. The first
    method takes by far the longest, and is left out where it is of no use.
    """
    if len(names) == 1:
        return {names[0]: 1.0}
    errors, share = _errors(found, names)
    rest, least = _solved(errors[:, 1:], share)
    whole, lower = _solved(errors, share)
    weights = np.array([0, *rest]) if least <= OF_USE * lower else whole
    return _cleaned(dict(zip(names, weights.tolist(), strict=True)))


def _errors(found: Sequence[Outcome], names: Sequence[str]) -> tuple[Numbers, Numbers]:
    """Return errors ``(frame, method, 3)``, mm, of all trials, and the weight of each frame."""
    errors, shares = [], []
    for one in found:
        thin = slice(None, None, -(-len(one.truth) // COMPARED))
        errors.append(np.stack([one.error(name)[thin] for name in names], axis=1))
        shares.append(np.full(len(errors[-1]), 1 / len(errors[-1]) / len(found)))
    return np.concatenate(errors), np.concatenate(shares)


def _solved(errors: Numbers, share: Numbers) -> tuple[Numbers, float]:
    """Return the weights ``(method,)`` of least mean distance, and that distance, mm."""

    def loss(weights: Numbers) -> tuple[float, Numbers]:
        error = np.einsum("fni,n->fi", errors, weights)
        size = np.sqrt(np.square(error).sum(axis=1) + 1e-12)
        return float(share @ size), np.einsum("fni,fi,f->n", errors, error, share / size)

    good = 1 / np.array([loss(corner)[0] for corner in np.eye(errors.shape[1])])
    solved = minimize(
        loss,
        good / good.sum(),
        jac=True,
        bounds=[(0.0, 1.0)] * len(good),
        constraints=LinearConstraint(np.ones(len(good)), 1, 1),
        method="SLSQP",
    )
    return solved.x, float(solved.fun)


def _usual(kind: Kind, names: Sequence[str]) -> dict[str, float]:
    """Return the weights where too few trials can be cut; at an edge no curve is of use."""
    if len(names) == 1:
        return {names[0]: 1.0}
    if "marker" not in names:
        short = kind.place == "inside" and kind.up_to_ms <= SHORT_MS
        return {"spline" if short else "linear": 1.0}
    return {"marker": 1.0} if kind.place == "edge" else _cleaned(shipped()[kind.up_to_ms])


def _cleaned(weights: Mapping[str, float]) -> dict[str, float]:
    kept = {name: weight for name, weight in weights.items() if weight >= LEAST}
    total = sum(kept.values())
    return {name: weight / total for name, weight in kept.items()}


def _ratios(found: Sequence[Outcome], name: str) -> list[Numbers]:
    return [one.error(name) / one.found[name].deviation[:, None] for one in found]


def _root_mean(ratios: Sequence[Numbers]) -> float:
    """Return the root of the mean over trials of mean squares."""
    return max(float(np.sqrt(np.mean([np.square(one).mean() for one in ratios]))), 1e-6)


def _quantile(ratios: Sequence[Numbers], level: float) -> float:
    """Return the quantile of all, each trial with the same part in it."""
    values = np.concatenate([one.ravel() for one in ratios])
    share = np.concatenate([np.full(one.size, 1 / one.size / len(ratios)) for one in ratios])
    order = np.argsort(values)
    place = int(np.searchsorted(share[order].cumsum(), level))
    return float(values[order[min(place, len(order) - 1)]])


def expected(found: Iterable[tuple[Kind, str, float]]) -> pd.DataFrame:
    """Return errors by duration and method.

    Args:
        found: of each trial and method the kind, the method, and the mean error, mm.

    Returns:
        Columns ``up_to_ms``, ``method``, ``gaps``, ``mean_mm``, ``median_mm``, ``p90_mm``.
    """
    rows = pd.DataFrame(
        [(kind.up_to_ms, method, error) for kind, method, error in found],
        columns=["up_to_ms", "method", "error"],
    )
    errors = rows.groupby(["up_to_ms", "method"], sort=True)["error"]
    return errors.agg(
        gaps="size", mean_mm="mean", median_mm="median", p90_mm=lambda one: one.quantile(0.9)
    ).reset_index()
