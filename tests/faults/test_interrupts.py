"""Ctrl-C once lets running jobs finish, twice ends them; both runs can be continued."""

from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from bench.sweep.status import Status
from tests.conftest import Bench
from tests.faults.conftest import (
    PATIENCE,
    Running,
    Sweeps,
    assert_nothing_half_written,
    assert_same_tables,
    latest,
)

HOW_TO_CONTINUE = "interrupted; what had finished is kept, the same command goes on from there"


@pytest.mark.ray
def test_runs_interrupted_once_and_twice(
    sweeps: Sweeps, undisturbed: Path, tmp_path: Path, bench: Bench
) -> None:
    both = sweeps.start_both(tmp_path)
    fits = [interrupt(running, "slow_vae (seed 0)") for running in both]
    for running, fit in zip(both, fits, strict=True):
        assert_interrupted(running)
        left = {path.name for path in (running.results / ".store" / "fits" / fit.key).iterdir()}
        assert "checkpoint.safetensors" in left  # of the epoch that it finished
        assert "fit.json" not in left
        assert not running.running()
        text = bench("status", running.results / "small").out
        assert "interrupted; to continue: bench run" in text

    hold = tmp_path / "hold"
    hold.touch()
    both = sweeps.start_both(tmp_path, HOLD=str(hold))
    cells = [interrupt(running, "slow features") for running in both]
    for running in both:
        wait_for_stop(running)
    hold.unlink()
    for running, cell in zip(both, cells, strict=True):
        assert_interrupted(running)
        states = {one.key: one.status for one in running.statuses()}
        assert states[cell.key] == "done"
        assert set(states.values()) == {"done"}
    kept = both[0].finished() | both[1].finished()

    hold.touch()
    for running in sweeps.start_both(tmp_path, HOLD=str(hold)):
        cell = interrupt(running, "slow features")
        wait_for_stop(running)
        running.ctrl_c()
        assert_interrupted(running)
        assert cell.key not in {one.key for one in running.statuses()}
        with suppress(psutil.NoSuchProcess):
            psutil.Process(cell.pid).wait(PATIENCE)

    both = sweeps.start_both(tmp_path)
    for running in both:
        running.end()
        assert_same_tables(latest(running.results), undisturbed)
        assert_nothing_half_written(running.results)
    assert kept.items() <= (both[0].finished() | both[1].finished()).items()


def interrupt(running: Running, title: str) -> Status:
    """Press Ctrl-C while a job of a title is running; return its status."""
    one = running.wait_for(title)
    running.ctrl_c()
    return one


def wait_for_stop(running: Running) -> None:
    """Return once waiting workers can see that they are to stop."""
    store = running.results / ".store"
    running.until("it is to stop", lambda: list(store.glob(".stop-*")))


def assert_interrupted(running: Running) -> None:
    """Assert that a run ends with the message how to continue, and without tables."""
    ended = running.end(code=130)
    assert "finishing what is running; Ctrl-C again stops now" in ended.err
    assert ended.err.splitlines()[-1] == f"bench: {HOW_TO_CONTINUE}"
    assert not list(running.results.glob("*/latest"))
