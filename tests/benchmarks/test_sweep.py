"""Two workers compared with one, on equal and independent cells with one thread each.

Each cell is MAP of 80 windows by the HG-VAE of ``protocols/occlusion.yaml``. Starting Ray is not
timed.
"""

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from bench.speed.measure import seconds
from bench.sweep import cluster, times
from bench.sweep.jobs import Cell
from tests.benchmarks.sweeps import QUIET, Fitted, fitted, occlusion

ROUNDS = 2
LEVELS = list(range(100, 2500, 100))
"""Numbers of hidden features; the cost of MAP does not depend on them."""


@pytest.fixture
def sweep_of_equal_cells(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    raw = occlusion(["hgvae"], corruption={}, foreign={})
    raw["models"]["hgvae"]["inference"] = ["map"]
    raw["occlusion"] = {"features": {"levels": LEVELS}}
    raw["resources"] = {"cells_per_trial": 4}
    return fitted(raw, tmp_path_factory.mktemp("equal"))


@pytest.fixture
def with_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Fitted, int], None]]:
    """Start Ray with a number of CPUs, in place of the previous one."""
    with ExitStack() as running:

        def start(sweep: Fitted, count: int) -> None:
            running.close()
            monkeypatch.setattr(cluster, "available_cpus", lambda: count)
            resources, folder = sweep.protocol.resources, sweep.store.folder
            running.enter_context(cluster.joined(None, resources, folder, [], QUIET))

        yield start


def test_two_workers_compared_with_one(
    sweep_of_equal_cells: Fitted,
    with_workers: Callable[[Fitted, int], None],
    benchmark: Any,
    record: Callable[..., None],
) -> None:
    sweep = sweep_of_equal_cells
    alone: list[float] = []
    spans: dict[int, list[float]] = {1: [], 2: []}

    def run(count: int) -> None:
        cells = sweep.run("ray", of_map)
        spans[count].append(span(sweep, cells))

    def one_then_ready_for_two() -> None:
        with_workers(sweep, 1)
        sweep.forget_cells()
        alone.append(seconds(lambda: run(1)))
        with_workers(sweep, 2)
        sweep.forget_cells()

    benchmark.pedantic(lambda: run(2), setup=one_then_ready_for_two, rounds=ROUNDS)
    both = list(benchmark.stats.stats.data)
    record(
        times_as_fast=ratio(alone, both),
        from_first_cell_on=ratio(spans[1], spans[2]),
        seconds_alone=statistics.median(alone),
        cells=2 * len(LEVELS),
    )


def of_map(cell: Cell) -> bool:
    return cell.inference == "map"


def span(sweep: Fitted, cells: list[Cell]) -> float:
    """Return the seconds from the start of the first cell to the end of the last."""
    found = [status for cell in cells if (status := sweep.store.statuses.read(cell.key))]
    spent = times.overhead(found, 0.0)
    assert spent is not None
    return spent.cells * (spent.computing + spent.harness) / spent.workers


def ratio(alone: list[float], both: list[float]) -> float:
    return statistics.median(one / two for one, two in zip(alone, both, strict=True))
