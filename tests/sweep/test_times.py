"""The time that a sweep takes in addition to computing its cells."""

from dataclasses import asdict

import pytest

from bench.sweep.status import Status
from bench.sweep.times import overhead

BEGAN = 1000.0


def cell(since: float, seconds: float, pid: int = 1, status: str = "done") -> Status:
    key = f"{pid}-{since}"
    return Status(key, key, status, BEGAN + since, "here", pid, seconds=seconds)  # type: ignore[arg-type]


def test_a_worker_without_idle_time_has_no_overhead() -> None:
    found = overhead([cell(0, 2), cell(2, 3), cell(5, 1)], BEGAN)
    assert found is not None
    assert asdict(found) == {"cells": 3, "workers": 1, "computing": 2.0, "harness": 0.0}


def test_all_time_of_a_worker_but_computing_is_overhead() -> None:
    two = [cell(0, 2), cell(2.5, 3.5), cell(0, 1, pid=2), cell(3, 2, pid=2)]
    found = overhead(two, BEGAN)
    assert found is not None
    # Two workers have 12 s from 0 to 6, and compute for 8.5 of them.
    assert (found.workers, found.computing) == (2, pytest.approx(8.5 / 4))
    assert found.harness == pytest.approx((12 - 8.5) / 4)
    assert str(found) == (
        "harness: 875 ms per cell in addition to 2125 ms of computing, 29 % of the time (2 workers)"
    )


def test_only_cells_of_the_execution_count() -> None:
    before, failed = cell(-5, 4), cell(1, 1, status="failed")
    assert overhead([before, failed], BEGAN) is None
    assert overhead([before, failed, cell(2, 1)], BEGAN) == overhead([cell(2, 1)], BEGAN)
