"""How long jobs took, kept apart from what they found: no two executions have times alike."""

import pandas as pd

from bench.plan import Plan
from bench.store import Store

TIMES = "times.csv"
LABELS = ["task", "model", "inference", "predictor", "mechanism", "level", "seed"]


def table(plan: Plan, store: Store, dataset: str) -> pd.DataFrame:
    """Return ``dataset``, ``LABELS`` and ``seconds``, one row per finished fit and cell.

    A fit's task is ``fit``, and its label stands under ``model``.
    """
    fits = [
        {"task": "fit", "model": fit.label, "seed": fit.seed}
        | {"seconds": store.fit_summary(fit.key)["seconds"]}
        for fit in plan.fits
        if store.has_fit(fit.key)
    ]
    cells = [
        {name: getattr(cell, name) for name in LABELS} | {"seconds": store.load_seconds(cell.key)}
        for cell in plan.cells
        if store.has_cell(cell.key)
    ]
    found = pd.DataFrame(fits + cells, columns=["dataset", *LABELS, "seconds"])
    return found.assign(dataset=dataset).fillna(dict.fromkeys(LABELS, ""))
