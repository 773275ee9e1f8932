"""How long jobs took, kept apart from what they found: no two executions have times alike."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.sweep.plan import Plan
from bench.sweep.status import Status

TIMES = "times.csv"
LABELS = ["task", "model", "inference", "predictor", "mechanism", "level", "seed"]


def table(
    plan: Plan, statuses: Iterable[Status], fits: Mapping[str, dict[str, Any]], dataset: str
) -> pd.DataFrame:
    """Return ``dataset``, ``LABELS`` and ``seconds``, one row per finished fit and cell.

    A fit's task is ``fit``, and its label stands under ``model``. Seconds are empty where a worker
    died before it could tell them.

    Args:
        plan: the fits and cells.
        statuses: how they ended.
        fits: summary of every finished fit, by ``Fit.name``.
        dataset: the data set.
    """
    # A cell that was found finished has a status that nobody wrote.
    seconds = {
        status.key: status.seconds if status.since else float("nan")
        for status in statuses
        if status.status == "done"
    }
    rows = [
        {"task": "fit", "model": fit.label, "seed": fit.seed, "seconds": fits[fit.name]["seconds"]}
        for fit in plan.fits
        if fit.name in fits
    ]
    cells = [
        {name: getattr(cell, name) for name in LABELS} | {"seconds": seconds[cell.key]}
        for cell in plan.cells
        if cell.key in seconds
    ]
    found = pd.DataFrame(rows + cells, columns=["dataset", *LABELS, "seconds"])
    labels = found[LABELS].astype(object).fillna("")
    return found.assign(dataset=dataset, **labels)


@dataclass(frozen=True)
class Overhead:
    """What the cells of an execution cost beside what they computed.

    Attributes:
        cells: how many it did.
        workers: how many cells were being done at once, at most.
        computing: seconds a cell, by its models and metrics.
        harness: seconds a cell of a worker's time beside that, from the first cell's beginning to
            the last one's end: keeping results, starting workers, waiting for one another.
    """

    cells: int
    workers: int
    computing: float
    harness: float

    def __str__(self) -> str:
        share = self.harness / (self.harness + self.computing)
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        return (
            f"harness: {1000 * self.harness:.0f} ms a cell beside {1000 * self.computing:.0f} ms "
            f"of computing, {100 * share:.0f} % of the time ({workers})"
        )


def overhead(cells: Iterable[Status], since: float) -> Overhead | None:
    """Return what the cells done since a time cost, seconds since 1970; None if there are none."""
    done = [cell for cell in cells if cell.status == "done" and cell.since >= since]
    if not done:
        return None
    ends = [cell.since + cell.seconds for cell in done]
    # An end counts before a beginning at the same moment.
    events = sorted([(cell.since, 1) for cell in done] + [(end, -1) for end in ends])
    workers = int(np.cumsum([change for _, change in events]).max())
    span = max(ends) - min(cell.since for cell in done)
    computing = sum(cell.seconds for cell in done)
    count = len(done)
    return Overhead(count, workers, computing / count, max(0.0, workers * span - computing) / count)
