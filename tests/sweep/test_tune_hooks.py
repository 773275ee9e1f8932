"""In which order Ray is given trials, and jobs are taken that others may be doing."""

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


class Clerk:
    """Says which jobs have ended, as a workspace does."""

    def __init__(self) -> None:
        self.over: set[str] = set()

    def ended(self, job: Fit | Cell) -> bool:
        return job.key in self.over


def trials(*parts: Sequence[Fit | Cell]) -> list[Trial]:
    return [Trial([job_to_dict(job) for job in jobs], Share()) for jobs in parts]


def test_a_trial_is_given_as_soon_as_what_it_needs_has_ended_and_no_sooner() -> None:
    from bench.sweep.tune_hooks import DependencyOrder

    clerk: Any = Clerk()
    parts = trials([FITS["one"]], [FITS["other"]], [FIRST], [SECOND], [FORECAST])
    order = DependencyOrder(clerk, parts)
    assert order.suggest("a") == {"trial": 0}
    assert order.suggest("b") == {"trial": 1}
    assert order.suggest("c") is None
    clerk.over.add(FITS["other"].key)
    order.on_trial_complete("b")
    assert order.suggest("c") == {"trial": 3}  # its fit has ended, the first one's has not
    clerk.over.add("second")
    order.on_trial_complete("c")
    assert order.suggest("d") is None  # a forecast needs its predictor as well as its past
    clerk.over.add(FITS["one"].key)
    order.on_trial_complete("a")
    assert order.suggest("d") == {"trial": 2}
    assert order.suggest("e") == {"trial": 4}


def test_where_nothing_runs_and_nothing_is_ready_it_is_over() -> None:
    from bench.sweep.tune_hooks import DependencyOrder

    clerk: Any = Clerk()
    order = DependencyOrder(clerk, trials([FITS["one"]], [FIRST]))
    assert order.suggest("a") == {"trial": 0}
    order.on_trial_complete("a", error=True)
    assert order.suggest("b") == DependencyOrder.FINISHED


def test_jobs_of_one_trial_do_not_wait_for_each_other() -> None:
    from bench.sweep.tune_hooks import DependencyOrder

    clerk: Any = Clerk()
    order = DependencyOrder(clerk, trials([FITS["one"], FIRST]))
    assert order.suggest("a") == {"trial": 0}


def test_what_others_do_and_what_needs_it_come_last(tmp_path: Path) -> None:
    workspace = Workspace(resolve(TINY).to_dict(), str(tmp_path), data="", code={})
    jobs = [job_to_dict(job) for job in (FITS["one"], FIRST, FORECAST, FITS["other"])]
    statuses = workspace.store.statuses
    with statuses.if_free(FITS["one"].key) as mine:
        assert mine
        held = Worker(workspace, lambda *_: None)._holding(jobs)
        assert next(held).key == FITS["other"].key
    # It is let go, and can be had now.
    assert [job.key for job in held] == [FITS["one"].key, "first", "forecast"]
