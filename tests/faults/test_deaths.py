"""Processes that die in the middle of a sweep lose no finished result."""

import os
import signal
from pathlib import Path

import pytest

from tests.faults.conftest import (
    Sweeps,
    assert_nothing_half_written,
    assert_same_tables,
    latest,
)

pytestmark = pytest.mark.ray


def test_workers_killed_in_a_fit_and_in_an_evaluation(
    sweeps: Sweeps, undisturbed: Path, tmp_path: Path
) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    running = sweeps.start(tmp_path / "results", HOLD=str(hold))
    for title in ("slow_vae (seed 0)", "slow features"):
        one = running.wait_for(title)
        os.kill(one.pid, signal.SIGKILL)
        again = running.wait_for(one.title, other_than=one)
    assert again.attempt == 2  # a fit with a checkpoint counts as a first attempt again
    hold.unlink()
    running.end()
    assert_same_tables(latest(running.results), undisturbed)
    assert_nothing_half_written(running.results)


def test_drivers_killed_in_a_fit_and_in_an_evaluation(
    sweeps: Sweeps, undisturbed: Path, tmp_path: Path
) -> None:
    kept: dict[Path, int] = {}
    hold = tmp_path / "hold"
    hold.touch()
    for title in ("slow_vae (seed 0)", "slow features"):
        both = sweeps.start_both(tmp_path, HOLD=str(hold))
        for running in both:
            running.wait_for(title)
            running.process.kill()
            running.process.communicate()
            assert not list(running.results.glob("*/latest"))
        finished = both[0].finished() | both[1].finished()
        assert kept.items() <= finished.items()
        kept = finished
    hold.unlink()
    both = sweeps.start_both(tmp_path)
    for running in both:
        assert kept.items() & running.finished().items()
        running.end()
        assert_same_tables(latest(running.results), undisturbed)
        assert_nothing_half_written(running.results)
    assert kept.items() <= (both[0].finished() | both[1].finished()).items()
