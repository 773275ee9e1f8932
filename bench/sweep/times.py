"""How long jobs took, and how much memory: apart from results, since executions differ in it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.sweep.plan import Plan
from bench.sweep.status import Status

TIMES = "times.csv"
COSTS = ("seconds", "memory")
LABELS = ["task", "model", "inference", "predictor", "mechanism", "level", "seed"]


def table(
    plan: Plan, statuses: Iterable[Status], fits: Mapping[str, dict[str, Any]], dataset: str
) -> pd.DataFrame:
    """Return ``dataset``, ``LABELS`` and ``COSTS``, one row per finished fit and cell.

    A fit has the task ``fit`` and its label as ``model``. Seconds are NaN if a worker died before
    it could record them, memory (MiB) also where it cannot be measured.

    Args:
        plan: the fits and cells.
        statuses: how they ended.
        fits: summary of every finished fit, by ``Fit.name``.
        dataset: name of the data set, for a column.
    """
    ended = {status.key: status for status in statuses if status.status == "done"}
    rows = [
        {"task": "fit", "model": fit.label, "seed": fit.seed}
        | {name: fits[fit.name].get(name) for name in COSTS}
        for fit in plan.fits
        if fit.name in fits
    ]
    cells = [
        {name: getattr(cell, name) for name in LABELS} | _costs(ended[cell.key])
        for cell in plan.cells
        if cell.key in ended
    ]
    found = pd.DataFrame(rows + cells, columns=["dataset", *LABELS, *COSTS])
    labels = found[LABELS].astype(object).fillna("")
    costs = found[list(COSTS)].astype(np.float64)
    return found.assign(dataset=dataset, **labels, **costs)


def _costs(status: Status) -> dict[str, Any]:
    # A finished cell without a stored status has ``since`` 0.
    return {name: getattr(status, name) if status.since else None for name in COSTS}


@dataclass(frozen=True)
class Overhead:
    """The time that the cells of an execution took in addition to computing them.

    Attributes:
        cells: number of cells that were computed.
        workers: maximum number of cells that were computed at the same time.
        computing: mean seconds per cell that its models and metrics took.
        harness: mean further seconds per cell of all workers, from the first cell's beginning to
            the last one's end: storing results, starting workers, waiting for each other.
    """

    cells: int
    workers: int
    computing: float
    harness: float

    def __str__(self) -> str:
        share = self.harness / (self.harness + self.computing)
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        return (
            f"harness: {1000 * self.harness:.0f} ms per cell in addition to "
            f"{1000 * self.computing:.0f} ms of computing, {100 * share:.0f} % of the time "
            f"({workers})"
        )


def overhead(cells: Iterable[Status], since: float) -> Overhead | None:
    """Return the overhead of the cells begun at or after ``since``, seconds since 1970.

    None if there are no such cells.
    """
    done = [cell for cell in cells if cell.status == "done" and cell.since >= since]
    if not done:
        return None
    ends = [cell.since + cell.seconds for cell in done]
    # At equal times, ends are counted before beginnings.
    events = sorted([(cell.since, 1) for cell in done] + [(end, -1) for end in ends])
    workers = int(np.cumsum([change for _, change in events]).max())
    span = max(ends) - min(cell.since for cell in done)
    computing = sum(cell.seconds for cell in done)
    count = len(done)
    return Overhead(count, workers, computing / count, max(0.0, workers * span - computing) / count)
