"""Weights of the methods of ``auto`` for recordings into which too few gaps can be cut.

``scripts/fill_benchmark.py --weights`` makes the table: for each duration, the weights of least
error in gaps cut into complete recordings, each recording with the same part in it.
"""

from functools import cache
from importlib.resources import files

import pandas as pd

TABLE = "weights.csv"


@cache
def shipped() -> dict[float, dict[str, float]]:
    """Return weights by the upper end of durations, ms, and by method."""
    with files(__package__).joinpath(TABLE).open() as file:
        rows = pd.read_csv(file).to_dict("records")
    return {
        float(row["up_to_ms"]): {str(name): float(row[name]) for name in row if name != "up_to_ms"}
        for row in rows
    }
