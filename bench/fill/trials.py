"""Gaps cut where samples are seen, in the pattern of a recording's own gaps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

import numpy as np

from bench.fill.gaps import Bools, Frames, Gap, Numbers
from bench.fill.methods import Completed, Methods

BUCKETS_MS = (50, 100, 200, 500, 1000, 2000, np.inf)
"""Upper ends of the durations that are judged apart."""
USUAL_MS = (100, 200, 500, 1000, 2000)
"""Durations of the gaps that are cut into a recording that has none of its own."""
PER_KIND = 24
"""Trials of each kind of gap, at most."""


class Kind(NamedTuple):
    """Gaps that are judged together: ``inside`` or ``edge``, and the longest, ms."""

    place: str
    up_to_ms: float


@dataclass(frozen=True)
class Trial:
    """A gap cut where its point is seen.

    Attributes:
        gap: what is hidden of its point, and compared.
        pattern: bool ``(frame, point)``, what else may be used in the gap's frames.
        beyond: frames in which the point is hidden too, as the gap is at an edge.
    """

    gap: Gap
    pattern: Bools
    beyond: slice

    def applied(self, seen: Bools) -> Bools:
        """Return what is seen of a recording with this gap in it."""
        left = seen.copy()
        left[self.gap.start : self.gap.stop] &= self.pattern
        left[self.beyond, self.gap.point] = False
        return left


@dataclass(frozen=True)
class Outcome:
    """A trial that several methods filled.

    Attributes:
        kind: of its gap.
        truth: ``(frame, 3)``, mm.
        found: what each method made of it.
    """

    kind: Kind
    truth: Numbers
    found: dict[str, Completed]

    def error(self, name: str) -> Numbers:
        """Return the error ``(frame, 3)`` of a method, mm."""
        return self.found[name].positions - self.truth


def kind_of(gap: Gap, fps: float) -> Kind:
    """Return the kind of a gap."""
    bucket = BUCKETS_MS[int(np.searchsorted(BUCKETS_MS, 1000 * len(gap) / fps - 1e-6))]
    return Kind(gap.place, float(bucket))


def trials_of(
    seen: Bools,
    gaps: Sequence[Gap],
    fps: float,
    seed: int,
    nearness: Frames,
    most: int = PER_KIND,
) -> list[Trial]:
    """Return gaps to cut, by turns like the recording's own.

    Each is the pattern of a gap, with what else is missing meanwhile, moved to a time at which the
    point is seen throughout and on both sides; to another point where there is no such time, with
    what is missing of points as near to that one. That of a gap at an edge is cut next to the same
    edge.

    Args:
        seen: bool ``(frame, point)``.
        gaps: those to be like; of none, single points for ``USUAL_MS``.
        fps: frames per second.
        seed: of the draw.
        nearness: ``(point, point)``, the numbers of all points by their distance to each.
        most: trials of each kind of gap.
    """
    # Copies of one recording with other gaps are tried at other times.
    rng = np.random.default_rng([seed, crc32(np.packbits(seen).tobytes())])
    alike: dict[Kind, list[Gap]] = {}
    for gap in list(gaps) or _usual(seen, fps):
        alike.setdefault(kind_of(gap, fps), []).append(gap)
    found = []
    for kind in sorted(alike):
        models = alike[kind]
        order = rng.permutation(max(most, len(models)))[:most] % len(models)
        trials = (_trial(seen, models[number], rng, nearness) for number in order)
        found += [trial for trial in trials if trial is not None]
    return found


def _usual(seen: Bools, fps: float) -> list[Gap]:
    """Return gaps of usual durations that fit into the recording."""
    lengths = [max(round(duration * fps / 1000), 1) for duration in USUAL_MS]
    points = np.flatnonzero(seen.any(axis=0)).tolist()
    return [
        Gap(point, 0, length, "inside")
        for length in lengths
        if length <= len(seen) // 2
        for point in points
    ]


def _trial(seen: Bools, gap: Gap, rng: np.random.Generator, nearness: Frames) -> Trial | None:
    """Return a gap of the same pattern elsewhere; None where no point is seen for so long."""
    needed = len(gap) + 2
    if needed > len(seen):
        return None
    points = [gap.point] if gap.place == "inside" else []
    for point in [*points, *rng.permutation(seen.shape[1]).tolist()]:
        total = np.concatenate([[0], np.cumsum(seen[:, point])])
        starts = np.flatnonzero(total[needed:] - total[:-needed] == needed) + 1
        if not len(starts):
            continue
        beyond = slice(0)
        if gap.place == "inside":
            start = int(rng.choice(starts))
        elif gap.start == 0:
            start = int(starts[0])
            beyond = slice(start)
        else:
            start = int(starts[-1])
            beyond = slice(start, None)
        pattern = np.empty((len(gap), seen.shape[1]), dtype=np.bool_)
        pattern[:, nearness[point]] = seen[gap.start : gap.stop][:, nearness[gap.point]]
        pattern[:, point] = False
        return Trial(Gap(point, start, start + len(gap), gap.place), pattern, beyond)
    return None


def outcomes(
    methods: Methods, seen: Bools, trials: Iterable[Trial], names: Sequence[str]
) -> list[Outcome]:
    """Return what methods make of trials."""
    found = []
    for trial in trials:
        hidden, gap = trial.applied(seen), trial.gap
        truth = methods.truth(gap, hidden)
        completed = {name: methods.complete(name, gap, hidden) for name in names}
        found.append(Outcome(kind_of(gap, methods.fps), truth, completed))
    return found
