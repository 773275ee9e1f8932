"""A cluster of several Ray nodes on this machine: one is lost, one differs from the others."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.core.code_versions import PROJECT as SOURCES
from bench.sweep.status import Status
from tests.conftest import PROJECT
from tests.faults.conftest import (
    PATIENCE,
    Running,
    Sweeps,
    assert_nothing_half_written,
    assert_same_tables,
    latest,
)

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def hold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that makes slow cells wait, on all nodes, while it exists."""
    return tmp_path_factory.mktemp("hold") / "hold"


@pytest.fixture(scope="module")
def cluster(hold: Path) -> Iterator[Any]:
    """A head with a CPU and a GPU, as Ray counts them."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    cluster = cluster_utils.Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1, "num_gpus": 1, "include_dashboard": False,
            "env_vars": {"HOLD": str(hold)},
        },
    )  # fmt: skip
    yield cluster
    cluster.shutdown()


def raylet(node: Any) -> int:
    """Return the id of the parent process of a node's workers."""
    (found,) = node.all_processes["raylet"]
    pid: int = found.process.pid
    return pid


def workers(running: Running, raylet: int) -> list[Status]:
    """Return the statuses of slow cells that a node runs."""

    def is_on_node(pid: int) -> bool:
        try:
            return psutil.Process(pid).ppid() == raylet
        except psutil.NoSuchProcess:
            return False

    return [one for one in running.running("slow features") if is_on_node(one.pid)]


def test_shares_of_a_gpu_limit_how_many_trials_run_at_once(
    cluster: Any, hold: Path, sweeps: Sweeps, tmp_path: Path
) -> None:
    hold.touch()

    def pids() -> list[int]:
        return sorted({one.pid for one in running.running("features")})

    running = sweeps.start(
        tmp_path, "--address", cluster.address, "--only", "slow", "--set", "seeds=[0,1,2,3]",
        "--set", "resources={evaluate: {cpus: 0.25, gpus: 0.5}, cells_per_trial: 4}",
    )  # fmt: skip
    running.until("two run at once", lambda: pids() if len(pids()) == 2 else [])
    # All trials that fit are waiting: a third would have started within this time.
    time.sleep(3)
    at_once = {len(pids())}
    hold.unlink()
    while running.process.poll() is None:
        at_once.add(len(pids()))
        time.sleep(0.05)
    ended = running.end()
    assert "1 GPUs, 1 machines" in ended.out
    assert max(at_once) == 2
    statuses = [one for one in running.statuses() if "features" in one.title]
    assert len(statuses) == 16
    assert {one.status for one in statuses} == {"done"}
    assert {one.attempt for one in statuses} == {1}


def test_a_node_is_lost_in_the_middle(
    cluster: Any, hold: Path, sweeps: Sweeps, undisturbed: Path, tmp_path: Path
) -> None:
    hold.touch()
    # Each node has room for one trial, and two trials of slow cells wait.
    node = cluster.add_node(num_cpus=1, env_vars={"HOLD": str(hold)})
    try:
        running = sweeps.start(
            tmp_path, "--address", cluster.address, "--set", "resources.cells_per_trial=2",
        )  # fmt: skip
        lost = running.until("the second node has work", lambda: workers(running, raylet(node)))
    finally:
        cluster.remove_node(node, allow_graceful=False)
    for one in lost:
        # It would finish if it were released before it knows that its node is lost.
        with suppress(psutil.NoSuchProcess):
            psutil.Process(one.pid).wait(PATIENCE)
    hold.unlink()
    ended = running.end()
    assert "2 machines" in ended.out
    statuses = {one.key: one for one in running.statuses()}
    assert any(statuses[one.key].pid != one.pid for one in lost)
    assert_same_tables(latest(tmp_path), undisturbed)
    assert_nothing_half_written(tmp_path)


def other_code(folder: Path) -> str:
    """Copy the project to a folder, with one line changed; return the expected message."""
    for name in SOURCES:
        shutil.copytree(PROJECT / name, folder / name)
    with (folder / "models" / "vae.py").open("a") as file:
        file.write("VERSION = 2\n")
    return "has other code: models/vae.py; install this version of the project there"


def other_packages(folder: Path) -> str:
    """Write the metadata of another version of a package; return the expected message."""
    metadata = folder / "scipy-0.1.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: scipy\nVersion: 0.1\n")
    return "has other packages: scipy 0.1, here "


@pytest.mark.parametrize("other", [other_code, other_packages])
def test_a_node_that_would_compute_other_values_is_refused(
    other: Any, cluster: Any, sweeps: Sweeps, tmp_path: Path
) -> None:
    problem = other(tmp_path / "other")
    node = cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": str(tmp_path / "other")})
    try:
        ended = sweeps.run(tmp_path / "results", "--address", cluster.address, code=2)
    finally:
        cluster.remove_node(node)
    (line,) = [line for line in ended.err.splitlines() if line.startswith("bench: ")]
    assert line.startswith(f"bench: machine {os.uname().nodename} (")
    assert problem in line
    assert not list((tmp_path / "results").glob(".store/status/*"))
