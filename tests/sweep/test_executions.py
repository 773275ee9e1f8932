"""What ``bench status`` prints of a run that is in progress."""

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from torch import nn

from bench.core.files import HOST
from bench.sweep import executions
from bench.sweep.jobs import Cell, Fit
from bench.sweep.plan import Plan, ToDo
from bench.sweep.status import State, Status, now
from bench.sweep.store import Store
from tests.conftest import Bench

FITS = [Fit("a", "mean", 0), Fit("b", "vae", 0), Fit("c", "vae", 1)]
CELLS = [
    Cell(f"cell{number}", "b", "vae", 0, "impute", "map", "features", level)
    for number, level in enumerate(("1%", "10%", "50%", "90%"))
]


@dataclass(frozen=True)
class Begun:
    """An execution in progress, run by this process."""

    folder: Path
    store: Store
    bench: Bench

    def set(self, job: Fit | Cell, state: State, seconds: float = 0.0, error: str = "") -> None:
        """Set a job's state, as if this process ran it."""
        if state == "done" and isinstance(job, Fit):
            self.store.save_fit(job.key, nn.Linear(1, 1), {})
        if state == "done" and isinstance(job, Cell):
            self.store.save_cell(job.key, pd.DataFrame({"value": [1.0]}))
        self.store.statuses.write(
            Status(
                job.key, job.title, state, now(), HOST, os.getpid(), seconds=seconds, error=error
            )
        )

    def printed(self) -> str:
        """Return the output of ``bench status``."""
        return self.bench("status", self.folder).out


@pytest.fixture
def begun(tmp_path: Path, bench: Bench) -> Begun:
    folder = tmp_path / "results" / "some"
    folder.mkdir(parents=True)
    executions.begin("some", folder, Plan(FITS, CELLS), ToDo(FITS, CELLS, [], {}))
    return Begun(folder, Store(folder.parent / ".store"), bench)


def test_it_says_what_is_done_running_failed_and_waiting(begun: Begun) -> None:
    begun.set(FITS[0], "done", 1.0)
    begun.set(FITS[1], "done", 60.0)
    begun.set(FITS[2], "running")
    begun.set(CELLS[0], "failed", 1.0, "ValueError: no motion today")
    text = begun.printed()
    assert f"process {os.getpid()}), still running" in text
    assert [line.split("│")[1:-1] for line in text.splitlines() if line.startswith("│")] == [
        [" fits  ", " 2    ", " 1       ", " 0      ", " 0       ", " 0       "],
        [" cells ", " 0    ", " 0       ", " 1      ", " 0       ", " 3       "],
    ]
    assert "running vae (seed 1): on " in text
    assert "failed vae map features 1% seed 0: ValueError: no motion today" in text


def test_the_time_of_fits_is_no_estimate_for_cells(begun: Begun) -> None:
    assert "left" not in begun.printed()
    begun.set(FITS[0], "done", 1.0)
    begun.set(FITS[1], "done", 60.0)
    begun.set(FITS[2], "running")
    unknown = "4 cells of unknown duration"
    assert f"about 0:01:00 left, and {unknown}" in begun.printed()

    begun.set(FITS[2], "done", 80.0)
    begun.set(CELLS[0], "done", 10.0)
    text = begun.printed()
    assert "about 0:00:30 left" in text
    assert "unknown duration" not in text
