"""The order of trials on Ray, and of jobs that other processes may be running."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.protocol.resolving import resolve
from bench.protocol.schema import Share
from bench.sweep.jobs import Cell, Fit, job_to_dict
from bench.sweep.worker import Trial, Worker
from bench.sweep.workspace import Workspace
from tests.conftest import TINY

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.ray

FITS = {name: Fit(f"fit of {name}", name, 0) for name in ("one", "other")}


def cell(name: str, learner: str, **more: Any) -> Cell:
    return Cell(
        key=name,
        task="impute",
        fit=FITS[learner].key,
        model=learner,
        seed=0,
        mechanism="features",
        **more,
    )


FIRST, SECOND = cell("first", "one"), cell("second", "other")
FORECAST = cell("forecast", "one", past="second")


class FakeWorkspace:
    """A workspace that only knows which jobs have ended."""

    def __init__(self) -> None:
        self.done: set[str] = set()

    def ended(self, job: Fit | Cell) -> bool:
        return job.key in self.done


def trials(*parts: Sequence[Fit | Cell]) -> list[Trial]:
    return [Trial([job_to_dict(job) for job in jobs], Share()) for jobs in parts]


def test_a_trial_is_suggested_as_soon_as_its_dependencies_have_ended() -> None:
    from bench.sweep.tune_hooks import DependencyOrder

    workspace: Any = FakeWorkspace()
    parts = trials([FITS["one"]], [FITS["other"]], [FIRST], [SECOND], [FORECAST])
    order = DependencyOrder(workspace, parts)
    assert order.suggest("a") == {"trial": 0}
    assert order.suggest("b") == {"trial": 1}
    assert order.suggest("c") is None
    workspace.done.add(FITS["other"].key)
    order.on_trial_complete("b")
    assert order.suggest("c") == {"trial": 3}  # its fit has ended, that of trial 2 has not
    workspace.done.add("second")
    order.on_trial_complete("c")
    assert order.suggest("d") is None  # a forecast depends on its predictor as well as its past
    workspace.done.add(FITS["one"].key)
    order.on_trial_complete("a")
    assert order.suggest("d") == {"trial": 2}
    assert order.suggest("e") == {"trial": 4}


def test_the_search_finishes_when_nothing_runs_and_nothing_is_ready() -> None:
    from bench.sweep.tune_hooks import DependencyOrder

    workspace: Any = FakeWorkspace()
    order = DependencyOrder(workspace, trials([FITS["one"]], [FIRST]))
    assert order.suggest("a") == {"trial": 0}
    order.on_trial_complete("a", error=True)
    assert order.suggest("b") == DependencyOrder.FINISHED


def test_jobs_of_one_trial_do_not_wait_for_each_other() -> None:
    from bench.sweep.tune_hooks import DependencyOrder

    workspace: Any = FakeWorkspace()
    order = DependencyOrder(workspace, trials([FITS["one"], FIRST]))
    assert order.suggest("a") == {"trial": 0}


def test_jobs_of_other_processes_and_their_dependents_come_last(tmp_path: Path) -> None:
    workspace = Workspace(resolve(TINY).to_dict(), str(tmp_path), data="", code={})
    jobs = [job_to_dict(job) for job in (FITS["one"], FIRST, FORECAST, FITS["other"])]
    statuses = workspace.store.statuses
    with statuses.try_lock(FITS["one"].key) as locked:
        assert locked
        taken = Worker(workspace, lambda *_: None)._locked(jobs)
        assert next(taken).key == FITS["other"].key
    # Its lock is released now.
    assert [job.key for job in taken] == [FITS["one"].key, "first", "forecast"]
