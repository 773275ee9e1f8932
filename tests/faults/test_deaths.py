"""Processes that die in the middle of a sweep cost nothing that had finished."""

import os
import signal
from pathlib import Path

import pytest

from tests.faults.conftest import (
    BOTH,
    Sweeps,
    assert_nothing_half_written,
    assert_same_tables,
    latest,
)


@pytest.mark.ray
def test_workers_killed_in_a_fit_and_in_an_evaluation(
    sweeps: Sweeps, undisturbed: Path, tmp_path: Path
) -> None:
    running = sweeps.start(tmp_path)
    for title in ("slow_vae (seed 0)", "slow features"):
        one = running.wait_for(title)
        os.kill(one.pid, signal.SIGKILL)
        again = running.wait_for(one.title, other_than=one)
    assert again.attempt == 2  # the fit may have kept an epoch, which makes it a first one again
    ended = running.end()
    assert ended.code == 0, ended.out + ended.err
    assert_same_tables(latest(tmp_path), undisturbed)
    assert_nothing_half_written(tmp_path)


@BOTH
def test_a_driver_killed_in_a_fit_and_in_an_evaluation(
    executor: tuple[str, ...], sweeps: Sweeps, undisturbed: Path, tmp_path: Path
) -> None:
    kept: dict[Path, int] = {}
    for title in ("slow_vae (seed 0)", "slow features"):
        running = sweeps.start(tmp_path, *executor)
        running.wait_for(title)
        running.process.kill()
        running.process.communicate()
        assert not list(tmp_path.glob("*/latest"))
        assert kept.items() <= running.finished().items()
        kept = running.finished()
    assert kept
    ended = sweeps.run(tmp_path, *executor)
    assert ended.code == 0, ended.out + ended.err
    assert kept.items() <= sweeps.running[-1].finished().items()
    assert_same_tables(latest(tmp_path), undisturbed)
    assert_nothing_half_written(tmp_path)
