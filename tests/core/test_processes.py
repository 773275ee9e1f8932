"""Work in processes beside this one comes out as it does in this one, whatever happens to them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from bench.analysis import results
from bench.core import processes
from bench.core.files import temporary_prefix
from bench.core.processes import ALONE, Beside, beside
from bench.core.registry import MODELS, load_plugin
from bench.report import figures, run_folder
from tests.conftest import PROJECT, Bench, run_of
from tests.core.test_plugins import MODEL, unload

MODULES = ["bench.core.errors"]
RUN = {
    "name": "small",
    "dataset": {"name": "synthetic", "subjects": 4, "seconds": 3.5, "stride": 10},
    "models": {"mean": {}, "linear": {}, "middle": {}},
    "occlusion": {"features": {"levels": ["10%", "50%"]}},
    "seeds": [0],
    "scale": {"train": 20, "valid": 8, "test": 8},
}
pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(),
    reason="no fork server, so no processes beside this one",
)


@pytest.fixture(autouse=True)
def _two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "available_cpus", lambda: 2)


@pytest.fixture
def all_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no work fall back to this process."""

    def refuse(work: Any) -> None:
        raise AssertionError(f"{work} was left to this process")

    monkeypatch.setattr(processes, "_here", refuse)


@pytest.fixture
def alone() -> Iterator[None]:
    """Leave no plugin to other tests."""
    unload()
    yield
    unload()


def process() -> int:
    return os.getpid()


def divided(one: float, other: float) -> float:
    return one / other


def killed_unless(process: int) -> str:
    """Return a word; a process that is not the given one is killed, as for lack of memory."""
    if os.getpid() != process:
        os._exit(9)
    return "done"


def drawn(folder: Path, process: int) -> Path:
    """Draw a figure; a process that is not the given one is killed, and leaves half of it."""
    if os.getpid() != process:
        (folder / f"{temporary_prefix('.draft-')}half.png").write_bytes(b"half")
        os._exit(9)
    (folder / "whole.png").write_bytes(b"whole")
    return folder / "whole.png"


def drawn_late(folder: Path) -> None:
    """Draw a figure when its folder may be gone, and make that again."""
    time.sleep(2)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "late.png").write_bytes(b"late")


@pytest.mark.usefixtures("all_beside")
def test_work_is_done_beside_and_errors_come_back() -> None:
    with beside(MODULES) as others:
        assert others.submit(process)() != os.getpid()
        assert others.submit(divided, 1.0, other=4.0)() == 0.25
        failed = others.submit(divided, 1.0, 0.0)
        with pytest.raises(ZeroDivisionError):
            failed()


def test_work_of_a_killed_process_is_done_here() -> None:
    with beside(MODULES) as others:
        ended = [others.submit(killed_unless, os.getpid()) for _ in range(3)]
        assert [one() for one in ended] == ["done"] * 3
        assert others.submit(process)() == os.getpid()


def test_what_cannot_be_started_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError("no more processes")

    with monkeypatch.context() as patch, beside(MODULES) as others:
        patch.setattr("multiprocessing.context.ForkServerContext.Process", refused)
        assert others.submit(process)() == os.getpid()
    monkeypatch.setattr(forkserver, "ensure_running", refused)
    with beside(MODULES) as others:
        assert others == ALONE


def test_one_cpu_does_work_when_asked_for_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "available_cpus", lambda: 1)
    with beside(MODULES) as others:
        assert others == ALONE
        assert others.submit(process)() == os.getpid()


CHILD = """
import os, sys, time
from bench.core import processes
from bench.core.files import temporary_prefix
processes.available_cpus = lambda: 2
if __name__ == "__main__":
    with processes.beside(["yaml", "bench.core.errors"]) as others:
        waited = others.submit(time.sleep, 0.01)
        if sys.argv[1] == "killed":
            print(others.submit(os.getpid)(), flush=True)
            time.sleep(60)
        waited()
"""


def started(folder: Path, what: str) -> "subprocess.Popen[str]":
    (folder / "child.py").write_text(CHILD)
    place = folder / "place"
    place.mkdir()
    (place / "yaml.py").write_text(f"open({str(folder / 'sprung')!r}, 'w')\nraise ValueError\n")
    return subprocess.Popen(
        [sys.executable, str(folder / "child.py"), what],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_they_end_when_this_process_is_killed(tmp_path: Path) -> None:
    child = started(tmp_path, "killed")
    assert child.stdout is not None
    helper = psutil.Process(int(child.stdout.readline()))
    child.send_signal(signal.SIGKILL)
    child.wait()
    psutil.wait_procs([helper], timeout=20)
    assert not helper.is_running() or helper.status() == psutil.STATUS_ZOMBIE


def test_nothing_is_imported_from_the_working_directory(tmp_path: Path) -> None:
    assert started(tmp_path, "whole").wait(timeout=60) == 0
    assert not (tmp_path / "sprung").exists()


@pytest.mark.usefixtures("alone")
def test_a_run_is_the_same_whoever_aggregates_it(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    plugin = tmp_path / "middle.py"
    plugin.write_text(MODEL)
    assert bench(*run_of(RUN, tmp_path), "--plugin", str(plugin)).code == 0
    load_plugin(plugin)
    assert "middle" in MODELS.all()
    contents = run_folder.read(tmp_path / "results" / "small" / "latest")
    folders = {"here": run_folder.write(contents, tmp_path / "here", lambda _: None)[0]}
    request.getfixturevalue("all_beside")
    monkeypatch.setattr(run_folder, "MANY", 0)
    folders["beside"], _ = run_folder.write(contents, tmp_path / "beside", lambda _: None)
    names = sorted(path.name for path in folders["here"].iterdir())
    assert names == sorted(path.name for path in folders["beside"].iterdir())
    assert {"mechanisms.png", "fig6_mse_change.pdf", "imputation.csv", "report.html"} <= {*names}
    for name in names:
        same = (folders[one] / name for one in ("here", "beside"))
        one, other = (
            pd.read_parquet(path).to_csv().encode() if name == results.VALUES else path.read_bytes()
            for path in same
        )
        assert one == other, name


def test_neither_a_killed_process_nor_an_interruption_leaves_a_draft(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RUN | {"models": {"mean": {}, "linear": {}}}
    assert bench(*run_of(run, tmp_path)).code == 0
    contents = run_folder.read(tmp_path / "results" / "small" / "latest")
    monkeypatch.setattr(run_folder, "MANY", 0)

    def begin_all(found: Any, folder: Path, standing: Any, others: Beside) -> Any:
        return others.submit(drawn, folder, os.getpid())

    monkeypatch.setattr(figures, "begin_all", begin_all)
    folder, _ = run_folder.write(contents, tmp_path / "killed", lambda _: None)
    assert (folder / "whole.png").exists()
    assert not list(folder.glob(".*"))

    def slow(found: Any, folder: Path, standing: Any, others: Beside) -> Any:
        return others.submit(drawn_late, folder)

    def interrupted(_: Path) -> None:
        time.sleep(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(figures, "begin_all", slow)
    with pytest.raises(KeyboardInterrupt):
        run_folder.write(contents, tmp_path / "interrupted", interrupted)
    assert not [path for path in (tmp_path / "interrupted").rglob("*") if path.is_file()]
