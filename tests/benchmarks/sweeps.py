"""Cells of a protocol with fitted models, which can be run repeatedly."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from bench.datasets.base import Data
from bench.datasets.build import load
from bench.protocol.resolving import resolve
from bench.protocol.schema import Protocol
from bench.sweep import executors, plan
from bench.sweep.jobs import Cell
from bench.sweep.store import Store
from bench.sweep.workspace import Workspace
from tests.conftest import PROJECT

QUIET = Console(file=open(os.devnull, "w"))  # noqa: SIM115 - open until exit


def occlusion(models: list[str], **changes: Any) -> dict[str, Any]:
    """Return some models of ``protocols/occlusion.yaml``, fitted in one epoch, without predictors.

    The cost of a cell does not depend on how well its model is fitted.
    """
    raw = yaml.safe_load((PROJECT / "protocols" / "occlusion.yaml").read_text())
    for part in ("predictors", "forecast", "comparisons"):
        raw.pop(part, None)
    raw["models"] = {name: raw["models"][name] for name in models}
    for settings in raw["models"].values():
        if "epochs" in settings:
            settings["epochs"] = 1
    return {"name": "occlusion", **raw, **changes}


@dataclass(frozen=True)
class Fitted:
    """A protocol with its windows, and a store with all its fits."""

    protocol: Protocol
    store: Store
    data: Data
    foreign: dict[str, Data]

    @property
    def workspace(self) -> Workspace:
        """The workspace that its jobs share."""
        code = plan.learner_code(self.protocol)
        return Workspace(
            self.protocol.to_dict(),
            str(self.store.folder.resolve()),
            self.data.fingerprint,
            code,
            {label: data.fingerprint for label, data in self.foreign.items()},
            device="cpu",
        )

    def plan(self) -> plan.Plan:
        """Return the plan of all fits and cells."""
        foreign = {label: data.fingerprint for label, data in self.foreign.items()}
        return plan.make(self.protocol, self.data.fingerprint, foreign)

    def forget_cells(self) -> None:
        """Delete the results of all cells from the store."""
        for name in ("cells", "status", "completions"):
            shutil.rmtree(self.store.folder / name, ignore_errors=True)

    def run(
        self, executor: executors.Executor, chosen: Callable[[Cell], bool] = lambda cell: True
    ) -> list[Cell]:
        """Plan and run the chosen cells that are missing, as ``bench run`` does; return them."""
        cells = [cell for cell in self.plan().to_do(self.store).cells if chosen(cell)]
        trials = executors.trials(self.protocol, (), cells)
        executors.run(self.workspace, trials, executor, QUIET)
        assert all(self.store.has_cell(cell.key) for cell in cells)
        return cells


def fitted(raw: dict[str, Any], folder: Path) -> Fitted:
    """Return a protocol whose models were fitted in this process."""
    protocol, store = resolve(raw), Store(folder)

    def loaded(dataset: Any) -> Data:
        return load(dataset, None, store.windows, False, None)

    foreign = {label: loaded(dataset) for label, dataset in protocol.foreign.items()}
    made = Fitted(protocol, store, loaded(protocol.dataset), foreign)
    executors.run(made.workspace, executors.trials(protocol, made.plan().fits, ()), "local", QUIET)
    return made
