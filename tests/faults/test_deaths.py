"""Processes that die in the middle of a sweep cost nothing that had finished."""

import os
import signal
from pathlib import Path

import pytest

from tests.faults.conftest import (
    LOCAL,
    Sweeps,
    assert_nothing_half_written,
    assert_same_tables,
)

pytestmark = pytest.mark.faults


@pytest.mark.ray
def test_workers_killed_in_a_fit_and_in_an_evaluation(
    sweeps: Sweeps, undisturbed: Path, tmp_path: Path
) -> None:
    running = sweeps.start(tmp_path)
    for title in ("slow_vae (seed 0)", "slow features"):
        os.kill(running.wait_for(title)[0].pid, signal.SIGKILL)
        again = running.wait_for(title)[0]
        assert again.attempt in (1, 2)
    ended = running.end()
    assert ended.code == 0, ended.out + ended.err
    assert_same_tables(tmp_path, undisturbed)
    assert_nothing_half_written(tmp_path)


@pytest.mark.parametrize("executor", [pytest.param((), marks=pytest.mark.ray), LOCAL])
@pytest.mark.parametrize("title", ["slow_vae (seed 0)", "slow features"])
def test_a_driver_killed(
    executor: tuple[str, ...], title: str, sweeps: Sweeps, undisturbed: Path, tmp_path: Path
) -> None:
    running = sweeps.start(tmp_path, *executor)
    running.wait_for(title)
    running.process.kill()
    running.process.communicate()
    kept = running.finished()
    assert not (tmp_path / "small" / "latest").exists()
    ended = sweeps.run(tmp_path, *executor)
    assert ended.code == 0, ended.out + ended.err
    assert kept.items() <= running.finished().items()
    assert_same_tables(tmp_path, undisturbed)
    assert_nothing_half_written(tmp_path)
