"""The script that records how predictors' errors fall while they are fitted."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import PROJECT

PROTOCOL = """
dataset: {name: synthetic, subjects: 5, seconds: 6, frames: 10, future: 5}
models: {mean: {}}
predictors: {zero_velocity: {}, ltd: {width: 8, blocks: 1, batch_size: 64, epochs: %d}}
occlusion: {features: {levels: [50%%]}}
scale: {test: 20}
"""


def curves(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.prediction_curves", *map(str, arguments)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curves")
    protocol, out = folder / "p.yaml", folder / "out.csv"
    protocol.write_text(PROTOCOL % 3)
    ended = curves("fit", protocol, out, "--only", "ltd", "--work", folder / "work")
    assert ended.returncode == 0, ended.stderr[-2000:]
    return out


def test_each_epoch_has_a_row_and_the_error_falls(table: Path) -> None:
    rows = pd.read_csv(table)
    assert rows["epoch"].tolist() == [1, 2, 3]
    assert (rows["fit"] == "ltd").all()
    assert rows["train"].iloc[-1] < rows["train"].iloc[0]


def test_the_rows_are_drawn(table: Path) -> None:
    ended = curves("draw", table)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert table.with_suffix(".png").stat().st_size > 5000
