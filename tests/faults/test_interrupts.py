"""Ctrl-C once lets what is running come to an end, twice does not; both can be gone on from."""

from pathlib import Path

import psutil

from tests.conftest import Bench
from tests.faults.conftest import (
    BOTH,
    Sweeps,
    assert_nothing_half_written,
    assert_same_tables,
    latest,
)

HOW_TO_GO_ON = "interrupted; what had finished is kept, the same command goes on from there"


@BOTH
def test_runs_interrupted_once_and_twice(
    executor: tuple[str, ...], sweeps: Sweeps, undisturbed: Path, tmp_path: Path, bench: Bench
) -> None:
    # A fit comes to the end of its epoch.
    running = sweeps.start(tmp_path, *executor, TIMES="5")
    fit = running.wait_for("slow_vae (seed 0)")
    running.ctrl_c()
    ended = running.end()
    assert ended.code == 130, ended.out + ended.err
    assert "finishing what is running; Ctrl-C again stops now" in ended.err
    assert ended.err.splitlines()[-1] == f"bench: {HOW_TO_GO_ON}"
    left = {path.name for path in (tmp_path / ".store" / "fits" / fit.key).iterdir()}
    assert "checkpoint.safetensors" in left
    assert "fit.json" not in left
    assert not running.running()
    told = bench("status", tmp_path / "small").out
    assert "interrupted; to go on: bench run" in told

    # Cells come to their own.
    running = sweeps.start(tmp_path, *executor, TIMES="4")
    cell = running.wait_for("slow features")
    running.ctrl_c()
    ended = running.end()
    assert ended.code == 130, ended.out + ended.err
    stand = {one.key: one.status for one in running.statuses()}
    assert stand[cell.key] == "done"
    assert set(stand.values()) == {"done"}
    kept = running.finished()

    # The second stops the next of them at once.
    running = sweeps.start(tmp_path, *executor, TIMES="1000")
    cell = running.wait_for("slow features")
    running.ctrl_c()
    running.until("it is to stop", lambda: list(tmp_path.glob(".store/.stop-*")))
    running.ctrl_c()
    ended = running.end()
    assert ended.code == 130, ended.out + ended.err
    assert ended.err.splitlines()[-1] == f"bench: {HOW_TO_GO_ON}"
    assert not psutil.pid_exists(cell.pid)
    assert cell.key not in {one.key for one in running.statuses()}
    assert not list(tmp_path.glob("*/latest"))

    ended = sweeps.run(tmp_path, *executor)
    assert ended.code == 0, ended.out + ended.err
    assert kept.items() <= running.finished().items()
    assert_same_tables(latest(tmp_path), undisturbed)
    assert_nothing_half_written(tmp_path)
