"""Predictors compared with their published networks: a train step and prediction."""

from collections.abc import Callable

from torch import Tensor

from bench.speed.measure import Result, Setup, in_turns
from bench.speed.published_predictors import ADAPTERS, FUTURE, SPEC, agreement
from bench.speed.work import batch_gflop, relative, train_step, windows

PREDICTED = 256
"""Windows that are predicted at once."""
CHECKED = 64
"""Windows on which the agreement of both networks is checked."""
WANTED = 1.5
"""Target speed-up over the published networks."""
STEPS = 4
"""Train steps per round; a single one is too short to time."""


def ltd(setup: Setup) -> list[Result]:
    """Time LTD and the published network."""
    return _compare("ltd", "LTD", setup)


def hisrep(setup: Setup) -> list[Result]:
    """Time HisRepItself and the published network."""
    return _compare("hisrep", "HisRepItself", setup)


def simlpe(setup: Setup) -> list[Result]:
    """Time siMLPe and the published network."""
    return _compare("simlpe", "siMLPe", setup)


def _compare(row: str, name: str, setup: Setup) -> list[Result]:
    cls, published = ADAPTERS[row]
    ours = cls(SPEC)
    theirs = published(setup.against[row], ours)
    motion = windows(PREDICTED, SPEC.frames + FUTURE)
    found = max(agreement(ours, theirs, motion[:CHECKED]))
    note = f"losses and gradients agree to {found:.0e}"
    ours.eval()
    past = motion[:, : SPEC.frames]
    prediction = _row(
        row,
        f"{name} prediction, {PREDICTED} windows",
        setup,
        (lambda some: lambda: ours.predict(some[:, : SPEC.frames]), theirs.predict),
        motion,
        f"predictions agree to {relative(ours.predict(past), theirs.predict(motion)()):.0e}",
    )
    ours.train()
    batch = motion[: ours.settings.batch_size]
    works = tuple(
        _repeated(one) for one in (lambda some: train_step(ours, some), theirs.train_step)
    )
    what = f"{name} {STEPS} train steps, {len(batch)} windows"
    return [_row(row, what, setup, works, batch, note), prediction]


def _row(
    row: str,
    what: str,
    setup: Setup,
    works: tuple[Callable[[Tensor], Callable[[], object]], ...],
    motion: Tensor,
    note: str,
) -> Result:
    mine, other = (one(motion) for one in works)
    mine(), other()
    first, second = (batch_gflop(one, motion) for one in works)
    (ours, theirs), _ = in_turns(2 * setup.rounds, what, mine, other)
    return Result(
        row, what, ours, "published", theirs, WANTED, "s", first, second, setup.malloc, note
    )


def _repeated(
    work: Callable[[Tensor], Callable[[], object]],
) -> Callable[[Tensor], Callable[[], object]]:
    def steps(motion: Tensor) -> Callable[[], object]:
        step = work(motion)
        return lambda: [step() for _ in range(STEPS)]

    return steps
