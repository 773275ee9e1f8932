"""The script that measures how long a run's tables and figures take."""

import subprocess
import sys

from tests.conftest import PROJECT


def test_the_script_makes_a_run_s_folder_of_made_cells() -> None:
    command = [sys.executable, "-m", "scripts.aggregation", "--cells", "12", "--windows", "40"]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    stages = [line.split(":")[1].split()[0] for line in ended.stdout.splitlines()]
    assert {"reading", "records", "tables", "figures", "page", "in"} <= set(stages)
