"""Work in processes beside this one comes out as it does in this one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from bench.analysis import results
from bench.core.processes import ALONE, beside
from bench.core.registry import MODELS, load_plugin
from bench.report import run_folder
from tests.conftest import Bench, run_of
from tests.core.test_plugins import MODEL, unload

RUN = {
    "name": "small",
    "dataset": {"name": "synthetic", "subjects": 4, "seconds": 3.5, "stride": 10},
    "models": {"mean": {}, "linear": {}, "middle": {}},
    "occlusion": {"features": {"levels": ["10%", "50%"]}},
    "seeds": [0],
    "scale": {"train": 20, "valid": 8, "test": 8},
}


def process() -> int:
    return os.getpid()


def divided(one: float, other: float) -> float:
    return one / other


def killed_unless(process: int) -> str:
    """Return a word; a process that is not the given one is killed, as for lack of memory."""
    if os.getpid() != process:
        os._exit(9)
    return "done"


def test_work_is_done_beside_and_errors_come_back() -> None:
    with beside(["bench.core.errors"]) as others:
        assert others.submit(process)() != os.getpid()
        assert others.submit(divided, 1.0, other=4.0)() == 0.25
        failed = others.submit(divided, 1.0, 0.0)
        with pytest.raises(ZeroDivisionError):
            failed()


def test_work_of_a_killed_process_is_done_here() -> None:
    with beside(["bench.core.errors"]) as others:
        ended = [others.submit(killed_unless, os.getpid()) for _ in range(3)]
        assert [one() for one in ended] == ["done"] * 3
        assert others.submit(process)() == os.getpid()


def test_one_process_does_work_when_asked_for_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    with beside(["bench.core.errors"]) as others:
        assert others == ALONE
        assert others.submit(process)() == os.getpid()


@pytest.fixture
def alone() -> Iterator[None]:
    """Leave no plugin to other tests."""
    unload()
    yield
    unload()


@pytest.mark.usefixtures("alone")
def test_a_run_is_the_same_whoever_aggregates_it(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "middle.py"
    plugin.write_text(MODEL)
    assert bench(*run_of(RUN, tmp_path), "--plugin", str(plugin)).code == 0
    load_plugin(plugin)
    assert "middle" in MODELS.all()
    contents = run_folder.read(tmp_path / "results" / "small" / "latest")
    folders = {}
    for name, least in (("here", 10**6), ("beside", 0)):
        monkeypatch.setattr(run_folder, "MANY", least)
        folders[name], _ = run_folder.write(contents, tmp_path / name, lambda _: None)
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
