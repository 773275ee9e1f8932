"""A small run that all of these tests read, and helpers to read and start others."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.conftest import PROJECT, TINY, run_of

LOCAL = ("--executor", "local")
FITS = 21
CELLS = 248


def texts(run: Path) -> dict[str, str]:
    """Return the text of a run's tables, by file name."""
    suffixes = {".csv", ".md", ".tex"}
    tables = (path for path in run.iterdir() if path.suffix in suffixes and path.stem != "jobs")
    return {path.name: path.read_text() for path in tables}


def latest(results: Path, table: str, name: str = "tiny") -> pd.DataFrame:
    """Return a table of the last run."""
    file = results / name / "latest" / table
    return pd.read_parquet(file) if table.endswith("parquet") else pd.read_csv(file)


def subprocess_bench(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=PROJECT,
        # Several threads slow down models as small as these.
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(autouse=True)
def _one_thread(_two_threads: None) -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the tiny protocol, run once in this process."""
    from bench.cli import main

    folder = tmp_path_factory.mktemp("finished")
    torch.set_num_threads(1)
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, run_of(TINY, folder))))
    assert not ended.value.code
    return folder / "results"


def same_errors(some: pd.DataFrame, all_of_them: pd.DataFrame) -> None:
    """Assert that per-window values equal those of a larger table, bit for bit."""
    keys = ["model", "inference", "mechanism", "level", "seed", "metric", "window"]
    one, other = (
        table[table["predictor"] == ""].set_index(keys)["value"].sort_index()
        for table in (some, all_of_them)
    )
    other = other.loc[one.index]
    assert len(one)
    pd.testing.assert_series_equal(one, other, check_exact=True)


def fits_alone(results: Path, folder: Path) -> Path:
    """Return a copy of results with windows and fits, but without cells."""
    ignore = shutil.ignore_patterns("cells", "tiny", ".draft*")
    return Path(shutil.copytree(results, folder, ignore=ignore))


def scored(values: pd.DataFrame, metric: str, **labels: object) -> "pd.Series[float]":
    """Return the values of one metric by window, of the cell with these labels."""
    chosen = values[values["metric"] == metric]
    for name, label in labels.items():
        chosen = chosen[chosen[name] == label]
    assert chosen["window"].is_unique
    return chosen.set_index("window")["value"]


def as_stored(results: Path) -> bytes:
    """Return the bytes of the last run's records."""
    return (results / "tiny" / "latest" / "records.parquet").read_bytes()
