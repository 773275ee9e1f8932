"""A small sweep that takes its time, run as a user runs it, and what to do to it."""

import atexit
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pytest
import yaml

from bench.core.files import TEMPORARY_PREFIXES
from bench.sweep.cluster import SETTINGS
from bench.sweep.status import Status
from tests.conftest import PROJECT, TINY, Ended

PLUGIN = Path(__file__).with_name("plugin.py")
SMALL: dict[str, Any] = {
    "name": "small",
    "dataset": TINY["dataset"],
    "models": {
        "mean": {},
        "linear": {},
        "slow": {"seconds": 0.1},
        "slow_vae": {
            "hidden": [16], "latent": 4, "epochs": 8, "batch_size": 10, "seconds": 0.1,
            "inference": ["map"],
        },
    },
    "inference": {"map": {"steps": 2}},
    "occlusion": {"features": {"levels": [3, "10%", "50%", "90%"]}},
    "seeds": [0],
    "scale": {"train": 20, "valid": 8, "test": 6, "samples": 4},
    "resources": {"cells_per_trial": 12},
}  # fmt: skip
EXECUTORS = ("local", "ray")
PATIENCE = 120.0
TIMED = ("times", "jobs")
"""Tables of how long things took."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is a fault test."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.faults)


class Driver:
    """A process that is ``python -m bench``, forked from one that has imported it.

    It has the part of ``subprocess.Popen`` that is needed here. To import all anew would take
    longer than most of what is done to it.
    """

    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["bench.cli", "bench.commands.run", "bench.sweep.tune_hooks"])

    def __init__(self, arguments: list[str], folder: Path, environment: dict[str, str]) -> None:
        with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1", **SETTINGS}):
            forkserver.ensure_running()
        self.place = tempfile.TemporaryDirectory()
        self.told = [Path(self.place.name, name) for name in ("out", "err")]
        self.process = self.processes.Process(
            target=_be_bench, args=(arguments, folder, environment, self.told)
        )
        self.process.start()
        assert self.process.pid
        self.pid: int = self.process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended, None while it has not."""
        return self.process.exitcode

    def poll(self) -> int | None:
        """Return how it ended, None while it has not."""
        return self.process.exitcode

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end; return what it wrote to output and to error."""
        self.process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired("bench", timeout or 0)
        out, err = (path.read_text() for path in self.told)
        return out, err


def _be_bench(
    arguments: list[str], folder: Path, environment: dict[str, str], told: list[Path]
) -> None:
    """Run the command line as a process of its own session, without figures."""
    from bench.cli import main
    from bench.report import figures

    # Drawing takes longer than all the rest of so small a run.
    figures.write_all = lambda *_: []
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for stream, name in enumerate(told, 1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    sys.argv = ["bench", *arguments]
    try:
        main()
    finally:
        atexit._run_exitfuncs()


@dataclass
class Running:
    """A ``bench run`` in processes of its own, on one folder of results."""

    process: Driver
    results: Path

    def statuses(self) -> list[Status]:
        """Return how its jobs stand, as the store says."""
        found = []
        for path in (self.results / ".store" / "status").glob("[!.]*.json"):
            try:
                found.append(Status(**json.loads(path.read_text())))
            except FileNotFoundError:
                continue
        return found

    def wait_for(self, title: str, other_than: Status | None = None) -> Status:
        """Return how a job of a title stands, as soon as it runs, or another process does it."""
        pid = other_than.pid if other_than else 0
        found = self.until(
            f"'{title}' runs", lambda: [one for one in self.running(title) if one.pid != pid]
        )
        return found[0]

    def running(self, title: str = "") -> list[Status]:
        """Return the jobs of a title that are running."""
        return [one for one in self.statuses() if one.status == "running" and title in one.title]

    def until(self, what: str, found: Callable[[], list[Any]]) -> list[Any]:
        """Return what is found as soon as there is something."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            if there := found():
                return there
            time.sleep(0.01)
        self.process.kill()
        out, err = self.process.communicate(timeout=PATIENCE)
        pytest.fail(f"it never came about that {what}\n{out}\n{err}")

    def ctrl_c(self) -> None:
        """Do what a terminal does: interrupt every process of the foreground."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self, code: int = 0) -> Ended:
        """Wait for the end, which has this exit code."""
        out, err = self.process.communicate(timeout=3 * PATIENCE)
        assert self.process.returncode == code, out + err
        return Ended(code, out, err)

    def finished(self) -> dict[Path, int]:
        """Return when each file of a finished fit or cell was written."""
        store = self.results / ".store"
        files = [*store.glob("cells/[!.]*.parquet"), *store.glob("fits/*/fit.json")]
        return {path: path.stat().st_mtime_ns for path in files}


@dataclass
class Sweeps:
    """Starts runs of one protocol, and ends those that are left."""

    protocol: Path
    running: list[Running] = field(default_factory=list)

    def __enter__(self) -> "Sweeps":
        return self

    def __exit__(self, *error: object) -> None:
        for one in self.running:
            if one.process.poll() is None:
                os.killpg(one.process.pid, signal.SIGKILL)
                one.process.communicate()

    def start(self, results: Path, *arguments: object, **environment: str) -> Running:
        """Start ``bench run`` on a folder of results."""
        plugin = ["--plugin", str(PLUGIN)]
        given = ["run", str(self.protocol), *plugin, "--results", str(results)]
        variables = {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", **environment}
        process = Driver(
            [*given, *map(str, arguments)], self.protocol.parent, {**os.environ, **variables}
        )
        self.running.append(Running(process, results))
        return self.running[-1]

    def start_both(self, folder: Path, *arguments: object, **environment: str) -> list[Running]:
        """Start one run on each executor at once, on results of its own below a folder."""
        return [
            self.start(folder / name, "--executor", name, *arguments, **environment)
            for name in EXECUTORS
        ]

    def run(self, results: Path, *arguments: object, code: int = 0, **environment: str) -> Ended:
        """Run ``bench run`` to its end, which has this exit code."""
        return self.start(results, *arguments, **environment).end(code)


LOCAL = ("--executor", "local")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the small protocol."""
    path = tmp_path_factory.mktemp("protocol") / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL, sort_keys=False))
    # It is where runs are started, and no process of theirs may look there for modules.
    (path.parent / "torch.py").write_text("raise ImportError('a stranger wrote this')\n")
    return path


@pytest.fixture
def sweeps(small: Path) -> Iterator[Sweeps]:
    """Runs of the small protocol."""
    with Sweeps(small) as sweeps:
        yield sweeps


@pytest.fixture(scope="session")
def undisturbed(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the small protocol that nothing happened to."""
    results = tmp_path_factory.mktemp("undisturbed")
    with Sweeps(small) as sweeps:
        sweeps.run(results, *LOCAL)
    return latest(results)


def latest(results: Path) -> Path:
    """Return the folder of the last run, of the one protocol in a folder of results."""
    (link,) = results.glob("*/latest")
    return link.resolve()


def tables(run: Path) -> dict[str, pd.DataFrame]:
    """Return the tables of values of a run, without how long things took."""
    records = {path.name: pd.read_parquet(path) for path in run.glob("*.parquet")}
    told = {path.name: pd.read_csv(path) for path in run.glob("*.csv") if path.stem not in TIMED}
    return records | {name: timeless(table) for name, table in told.items()}


def timeless(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table without how long fits took."""
    table = table.drop(columns="fit_seconds", errors="ignore")
    return table[table["metric"] != "fit_seconds"] if "metric" in table else table


def assert_same_tables(run: Path, undisturbed: Path) -> None:
    """Assert that two runs say the same, bit for bit."""
    here, there = tables(run), tables(undisturbed)
    assert here.keys() == there.keys() >= {"records.parquet", "windows.parquet", "imputation.csv"}
    for name, table in here.items():
        pd.testing.assert_frame_equal(table, there[name], check_exact=True, obj=name)


def assert_nothing_half_written(results: Path) -> None:
    """Assert that no draft is left, and that whatever is there can be read."""
    assert not [path for path in results.rglob("*") if path.name.startswith(TEMPORARY_PREFIXES)]
    for path in results.rglob("*.parquet"):
        pd.read_parquet(path)
    for path in results.rglob("[!.]*.json"):
        json.loads(path.read_text())
