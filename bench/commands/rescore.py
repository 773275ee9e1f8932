"""A run's errors computed anew from what its models completed, drew and foretold.

For a metric that was added or mended: no model is called, and none is loaded. Scores of models,
reconstructions, and what a classifier says of windows are left as they were.
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
"""What tells one cell of a run from another."""


@dataclass(frozen=True)
class Rescored:
    """A run with errors computed anew.

    Attributes:
        run: the folder of the run as it was.
        contents: what the folder of the new one is made from.
        done: how many cells were computed anew, by task.
        left: how many cells were not, since completions of their task were not all kept, by task.
    """

    run: Path
    contents: Contents
    done: dict[str, int]
    left: dict[str, int]

    def draw(self, folder: Path) -> None:
        """Take the pictures of motion over."""
        protocol = self.contents.run.protocol
        gallery.copy_drawn(protocol, [(self.run, protocol)], folder)


def rescore(run: Path, results: Path) -> Rescored:
    """Compute a run's errors anew.

    Of a task either every cell is computed anew or none is, so that no table has old errors beside
    new ones.

    Args:
        run: the folder of the run.
        results: where the store lies that has its completions and windows.

    Raises:
        InputError: it is no run, or what is needed was not kept.
    """
    contents = run_folder.read(run)
    protocol, facts = contents.run.protocol, contents.run.facts
    store = Store(results / ".store")
    data = str(facts["data"].get("fingerprint"))
    if not data.isalnum() or not (store.windows / data).is_dir():
        raise InputError(
            f"{store.windows}: the windows of the run are not there; name the --results that it "
            f"was made in, or build them by: bench run {run / 'protocol.yaml'} --dry-run"
        )
    done = {status.key for status in contents.statuses if status.status == "done"}
    cells = [cell for cell in contents.plan.cells if cell.rescorable and cell.key in done]
    left = {cell.task for cell in cells if not _is_kept(cell, store)}
    anew = [cell for cell in cells if cell.task not in left]
    if not anew:
        raise InputError(
            f"{store.folder / 'completions'}: of no task was all kept that was completed, drawn or "
            "foretold; run it again with --set resources.keep_completions=all"
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
    fresh = records.long(((cell, workspace.rescore(cell)) for cell in anew), label)
    values = _renewed(contents.run.values, fresh)
    counts = _counts(anew)
    facts = facts | _provenance(run, counts)
    made = Contents(Run(protocol, values, facts), contents.plan, contents.statuses)
    return Rescored(run, made, counts, _counts(cell for cell in cells if cell.task in left))


def _counts(cells: Iterable[Cell]) -> dict[str, int]:
    return dict(Counter(str(cell.task) for cell in cells))


def _is_kept(cell: Cell, store: Store) -> bool:
    return all(store.has_completion(key) for key in (cell.key, cell.past) if key)


def _renewed(old: pd.DataFrame, fresh: pd.DataFrame) -> pd.DataFrame:
    """Return the values with the fresh ones in place of those of the same cell and metric."""
    anew = dict(iter(fresh.groupby(LABELS, sort=False)))
    tables = []
    for labels, table in old.groupby(LABELS, sort=False):
        if labels in anew:
            mine = anew[labels]
            names = [*table["metric"].unique(), *mine["metric"].unique()]
            order = {name: number for number, name in enumerate(dict.fromkeys(names))}
            rest = table[~table["metric"].isin(mine["metric"])]
            both = pd.concat([rest, mine])
            table = both.sort_values("metric", key=lambda names: names.map(order), kind="stable")
        tables.append(table)
    return pd.concat(tables, ignore_index=True)[records.WINDOW_COLUMNS]


def _provenance(run: Path, counts: dict[str, int]) -> dict[str, Any]:
    """Return what a run's provenance says otherwise after its errors were computed anew."""
    now = provenance.collect()
    told = {name: now[name] for name in ("commit", "versions", "hardware")}
    when = {name: now[name] for name in ("time", "command")}
    return when | {"rescored": {"folder": str(run.resolve()), "cells": counts, **told}}
