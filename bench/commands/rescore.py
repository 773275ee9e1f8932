"""``bench rescore``: recomputes a run's errors from its completed, drawn and predicted motion.

It serves metrics that were added or changed: no model is loaded. Scores of models, reconstructions
and the judgements of a classifier stay as they were.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.analysis import records
from bench.analysis.results import Run
from bench.core import provenance
from bench.core.errors import InputError
from bench.core.registry import plugins
from bench.report import gallery, run_folder
from bench.report.run_folder import Contents
from bench.sweep.jobs import Cell
from bench.sweep.store import Store
from bench.sweep.workspace import Workspace

LABELS = records.CELL[1:]
"""The columns that identify a cell of a run."""


@dataclass(frozen=True)
class Rescored:
    """A run with recomputed errors.

    Attributes:
        run: the folder of the original run.
        contents: the contents of the new run's folder.
        done: number of recomputed cells, by task.
        left: number of cells that were not recomputed, since not all motion of their task was kept,
            by task.
    """

    run: Path
    contents: Contents
    done: dict[str, int]
    left: dict[str, int]

    def draw(self, folder: Path) -> None:
        """Copy the pictures of motion from the original run to a folder."""
        protocol = self.contents.run.protocol
        gallery.copy_drawn(protocol, [(self.run, protocol)], folder)


def rescore(run: Path, results: Path) -> Rescored:
    """Recompute a run's errors.

    Either all cells of a task are recomputed or none, so that no table mixes old and new errors.

    Args:
        run: the folder of the run.
        results: the folder with the store that has its windows and kept motion.

    Raises:
        InputError: it is no run, or no task has all of its motion kept.
    """
    contents = run_folder.read(run)
    protocol, facts = contents.run.protocol, contents.run.facts
    if protocol.dataset.folds[1:]:
        raise InputError(f"{run}: a run of joined folds; rescore the run of each fold, then merge")
    store = Store(results / ".store")
    data = str(facts["data"].get("fingerprint"))
    if not data.isalnum() or not (store.windows / data).is_dir():
        raise InputError(
            f"{store.windows}: the windows of the run are missing; name the --results that it was "
            f"made in, or build them with: bench run {run / 'protocol.yaml'} --dry-run"
        )
    done = {status.key for status in contents.statuses if status.status == "done"}
    cells = [cell for cell in contents.plan.cells if cell.rescorable and cell.key in done]
    left = {cell.task for cell in cells if not _is_kept(cell, store)}
    chosen = [cell for cell in cells if cell.task not in left]
    if not chosen:
        raise InputError(
            f"{store.folder / 'completions'}: no task has all of its completed, drawn or predicted "
            "motion; run it again with --set resources.keep_completions=all"
        )
    workspace = Workspace(
        protocol=protocol.to_dict(),
        store_folder=str(store.folder),
        data=data,
        code={},
        device=protocol.resources.device,
        plugins=tuple(map(str, plugins().values())),
    )
    label = contents.label
    fresh = records.long(((cell, workspace.rescore(cell)) for cell in chosen), label)
    values = _replaced(contents.run.values, fresh)
    counts = _counts(chosen)
    facts = facts | _provenance(run, counts)
    made = Contents(Run(protocol, values, facts), contents.plan, contents.statuses)
    return Rescored(run, made, counts, _counts(cell for cell in cells if cell.task in left))


def _counts(cells: Iterable[Cell]) -> dict[str, int]:
    return dict(Counter(str(cell.task) for cell in cells))


def _is_kept(cell: Cell, store: Store) -> bool:
    return all(store.has_completion(key) for key in (cell.key, cell.past) if key)


def _replaced(old: pd.DataFrame, fresh: pd.DataFrame) -> pd.DataFrame:
    """Return the old values, with fresh ones in place of those of the same cell and metric."""
    by_cell = dict(iter(fresh.groupby(LABELS, sort=False)))
    tables = []
    for labels, table in old.groupby(LABELS, sort=False):
        if labels in by_cell:
            recomputed = by_cell[labels]
            names = [*table["metric"].unique(), *recomputed["metric"].unique()]
            order = {name: number for number, name in enumerate(dict.fromkeys(names))}
            rest = table[~table["metric"].isin(recomputed["metric"])]
            both = pd.concat([rest, recomputed])
            table = both.sort_values("metric", key=lambda names: names.map(order), kind="stable")
        tables.append(table)
    return pd.concat(tables, ignore_index=True)[records.WINDOW_COLUMNS]


def _provenance(run: Path, counts: dict[str, int]) -> dict[str, Any]:
    """Return the entries that rescoring changes in a run's provenance."""
    now = provenance.collect()
    circumstances = {name: now[name] for name in ("commit", "versions", "hardware")}
    when = {name: now[name] for name in ("time", "command")}
    return when | {"rescored": {"folder": str(run.resolve()), "cells": counts, **circumstances}}
