"""What jobs and imputers cost."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch

from bench.analysis import costs
from bench.analysis.records import WINDOW_COLUMNS
from bench.fitting.allocator import retain_freed_memory
from bench.sweep.costs import Meter

MIB = 2**20

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


def grown(mib: int) -> float:
    """Return what the meter says of a block that allocates and frees."""
    with Meter("cpu") as meter:
        torch.ones(mib * MIB // 4).sum()
    if meter.memory is None:
        pytest.skip("this system does not let a process reset its peak")
    assert meter.seconds > 0
    return meter.memory


@linux
def test_memory_is_that_of_the_block_whatever_ran_before() -> None:
    """Even if the allocator keeps what an earlier block freed."""
    retain_freed_memory()
    for mib in (64, 256, 128, 16):
        assert grown(mib) == pytest.approx(mib, abs=8)


@linux
def test_memory_in_use_before_does_not_count() -> None:
    held = torch.ones(128 * MIB // 4)
    assert grown(32) == pytest.approx(32, abs=8)
    assert held.sum() == len(held)


def test_a_system_that_does_not_tell_has_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("pathlib.Path.write_text", refused)
    with Meter("cpu") as meter:
        torch.ones(MIB).sum()
    assert meter.memory is None
    assert meter.seconds > 0


def test_costs_are_of_imputers() -> None:
    labels = {"model": "vae", "predictor": "", "mechanism": "gaps", "seed": 0, "metric": "mse"}
    values = pd.DataFrame(
        [
            labels | {"inference": inference, "level": level, "window": f"{n}", "source": f"{n}"}
            for inference in ("map", "mean")
            for level in ("200 ms", "500 ms", "1 s")
            for n in range(4)
        ]
    ).reindex(columns=WINDOW_COLUMNS, fill_value="")
    cell = {"task": "impute", "model": "vae", "inference": "map", "mechanism": "gaps", "seed": 0}
    times = pd.DataFrame(
        [
            {"task": "fit", "model": "vae", "seed": 0, "seconds": 9.0, "memory": 70.0},
            cell | {"level": "200 ms", "seconds": 1.0, "memory": 30.0},
            cell | {"level": "500 ms", "seconds": 2.0, "memory": np.nan},
            cell | {"level": "1 s", "seconds": 8.0, "memory": 10.0},
            # What completes nothing costs nothing.
            cell | {"inference": "mean", "level": "1 s", "seconds": 99.0, "memory": 999.0},
        ]
    )
    fits = [
        {"model": "vae", "seed": 0, "parameters": 7, "seconds": 9.0, "memory": 70.0},
        {"model": "vae", "seed": 1, "parameters": 7, "seconds": 11.0, "memory": None},
    ]
    table = costs.table(values, times, fits)
    assert set(table["inference"]) == {"map"}
    assert table.set_index("metric")["value"].to_dict() == {
        "parameters": 7,
        "fit_seconds": 10,
        "fit_memory": 70,
        "impute_ms": 500,
        "impute_memory": 30,
    }
    assert (table["n"] == 4).all()
    (section,) = costs.sections(table)
    assert section.text.loc["vae (map)", "imputing, ms per window"] == "500"
    assert costs.table(values, times.iloc[:0], []).empty
