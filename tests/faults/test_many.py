"""A thousand small cells, and ten workers killed at random."""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import TINY
from tests.faults.conftest import (
    LOCAL,
    Sweeps,
    assert_nothing_half_written,
    assert_same_tables,
    latest,
)

KILLS = 10
CELLS = 1000
MANY: dict[str, Any] = {
    "name": "many",
    "dataset": TINY["dataset"],
    "models": {"slow": {"seconds": 0.01}, "linear": {}},
    "occlusion": {"features": {"levels": list(range(1, 101))}},
    "seeds": [0, 1, 2, 3, 4],
    "scale": {"train": 4, "valid": 1, "test": 1},
    "resources": {"cells_per_trial": 100},
}


@pytest.mark.ray
def test_a_thousand_cells_and_ten_killed_workers(tmp_path: Path) -> None:
    chance = random.Random(7)
    protocol = tmp_path / "many.yaml"
    protocol.write_text(yaml.safe_dump(MANY, sort_keys=False))
    with Sweeps(protocol) as sweeps:
        undisturbed = sweeps.start(tmp_path / "undisturbed", *LOCAL)
        running = sweeps.start(tmp_path / "results")
        killed: set[int] = set()

        def alive() -> list[int]:
            return sorted({one.pid for one in running.running("features")} - killed)

        while len(killed) < KILLS:
            running.until(f"there is a worker to kill after {len(killed)}", alive)
            time.sleep(chance.uniform(0, 0.3))
            if found := alive():
                victim = chance.choice(found)
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    killed.add(victim)
        running.end()
        undisturbed.end()
    statuses = [one for one in running.statuses() if "features" in one.title]
    assert len(statuses) == CELLS
    assert {one.status for one in statuses} == {"done"}
    assert_same_tables(latest(tmp_path / "results"), latest(tmp_path / "undisturbed"))
    assert_nothing_half_written(tmp_path / "results")
