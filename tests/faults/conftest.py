"""A small, slow sweep on the command line, and helpers to disturb it."""

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
TIMED = ("times", "jobs", "costs")
"""Tables of times."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test in this folder as a fault test."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.faults)


class Driver:
    """A process of ``python -m bench``, forked from one that has imported the modules.

    It has the part of the interface of ``subprocess.Popen`` that is used here. Importing the
    modules again would take longer than most tests.
    """

    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["bench.cli", "bench.commands.run", "bench.sweep.tune_hooks"])

    def __init__(self, arguments: list[str], folder: Path, environment: dict[str, str]) -> None:
        with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1", **SETTINGS}):
            forkserver.ensure_running()
        self.place = tempfile.TemporaryDirectory()
        self.outputs = [Path(self.place.name, name) for name in ("out", "err")]
        self.process = self.processes.Process(
            target=_be_bench, args=(arguments, folder, environment, self.outputs)
        )
        self.process.start()
        assert self.process.pid
        self.pid: int = self.process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code; None while it runs."""
        return self.process.exitcode

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self.process.exitcode

    def kill(self) -> None:
        """Kill the process."""
        self.process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end; return standard output and standard error."""
        self.process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired("bench", timeout or 0)
        out, err = (path.read_text() for path in self.outputs)
        return out, err


def _be_bench(
    arguments: list[str], folder: Path, environment: dict[str, str], outputs: list[Path]
) -> None:
    """Run the command line in a new session, without figures."""
    from bench.cli import main
    from bench.report import figures

    # Drawing takes longer than the rest of such a small run.
    figures.begin_all = lambda *_: list
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for stream, name in enumerate(outputs, 1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    sys.argv = ["bench", *arguments]
    try:
        main()
    finally:
        atexit._run_exitfuncs()


@dataclass
class Running:
    """A ``bench run`` in separate processes, with its folder of results."""

    process: Driver
    results: Path

    def statuses(self) -> list[Status]:
        """Return the statuses of its jobs from the store."""
        found = []
        for path in (self.results / ".store" / "status").glob("[!.]*.json"):
            try:
                found.append(Status(**json.loads(path.read_text())))
            except FileNotFoundError:
                continue
        return found

    def wait_for(self, title: str, other_than: Status | None = None) -> Status:
        """Wait until a job of a title runs, in a process other than that of a status; return it."""
        pid = other_than.pid if other_than else 0
        found = self.until(
            f"'{title}' runs", lambda: [one for one in self.running(title) if one.pid != pid]
        )
        return found[0]

    def running(self, title: str = "") -> list[Status]:
        """Return the statuses of running jobs with a text in their title."""
        return [one for one in self.statuses() if one.status == "running" and title in one.title]

    def until(self, what: str, found: Callable[[], list[Any]]) -> list[Any]:
        """Call ``found`` until it returns a list that is not empty; return that."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            if result := found():
                return result
            time.sleep(0.01)
        self.process.kill()
        out, err = self.process.communicate(timeout=PATIENCE)
        pytest.fail(f"timed out waiting until {what}\n{out}\n{err}")

    def ctrl_c(self) -> None:
        """Interrupt every process of the session, as a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self, code: int = 0) -> Ended:
        """Wait for the end, and assert the exit code."""
        out, err = self.process.communicate(timeout=3 * PATIENCE)
        assert self.process.returncode == code, out + err
        return Ended(code, out, err)

    def finished(self) -> dict[Path, int]:
        """Return the modification time of the file of each finished fit and cell."""
        store = self.results / ".store"
        files = [*store.glob("cells/[!.]*.parquet"), *store.glob("fits/*/fit.json")]
        return {path: path.stat().st_mtime_ns for path in files}


@dataclass
class Sweeps:
    """Starts runs of one protocol, and kills those that still run at the end."""

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
        """Start one run per executor at the same time, with separate results in a folder."""
        return [
            self.start(folder / name, "--executor", name, *arguments, **environment)
            for name in EXECUTORS
        ]

    def run(self, results: Path, *arguments: object, code: int = 0, **environment: str) -> Ended:
        """Run ``bench run`` to its end, and assert the exit code."""
        return self.start(results, *arguments, **environment).end(code)


LOCAL = ("--executor", "local")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the small protocol."""
    path = tmp_path_factory.mktemp("protocol") / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL, sort_keys=False))
    # Runs start in this folder, and none of their processes may import modules from it.
    (path.parent / "torch.py").write_text("raise ImportError('imported from here')\n")
    return path


@pytest.fixture
def sweeps(small: Path) -> Iterator[Sweeps]:
    """Runs of the small protocol."""
    with Sweeps(small) as sweeps:
        yield sweeps


@pytest.fixture(scope="session")
def undisturbed(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the small protocol without disturbance."""
    results = tmp_path_factory.mktemp("undisturbed")
    with Sweeps(small) as sweeps:
        sweeps.run(results, *LOCAL)
    return latest(results)


def latest(results: Path) -> Path:
    """Return the folder of the last run in the results of a single protocol."""
    (link,) = results.glob("*/latest")
    return link.resolve()


def tables(run: Path) -> dict[str, pd.DataFrame]:
    """Return the tables of a run, without times."""
    records = {path.name: pd.read_parquet(path) for path in run.glob("*.parquet")}
    texts = {path.name: pd.read_csv(path) for path in run.glob("*.csv") if path.stem not in TIMED}
    return records | {name: timeless(table) for name, table in texts.items()}


def timeless(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table without the times of fits."""
    table = table.drop(columns="fit_seconds", errors="ignore")
    return table[table["metric"] != "fit_seconds"] if "metric" in table else table


def assert_same_tables(run: Path, undisturbed: Path) -> None:
    """Assert that the tables of two runs are equal, bit for bit."""
    found, expected = tables(run), tables(undisturbed)
    assert (
        found.keys() == expected.keys() >= {"records.parquet", "windows.parquet", "imputation.csv"}
    )
    for name, table in found.items():
        pd.testing.assert_frame_equal(table, expected[name], check_exact=True, obj=name)


def assert_nothing_half_written(results: Path) -> None:
    """Assert that no temporary file is left, and that all files can be read."""
    assert not [path for path in results.rglob("*") if path.name.startswith(TEMPORARY_PREFIXES)]
    for path in results.rglob("*.parquet"):
        pd.read_parquet(path)
    for path in results.rglob("[!.]*.json"):
        json.loads(path.read_text())
