"""Records of runs, read from their folders without torch."""

from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from bench.analysis.records import CELL, COLUMNS
from bench.core.errors import InputError, reason_of

RECORDS = "records.parquet"
TIMES = "times.csv"
"""``bench.sweep.times.TIMES``, whose module loads torch."""


def load(run: str | PathLike[str], *more: str | PathLike[str]) -> pd.DataFrame:
    """Return the records of one or several runs.

    Args:
        run: the folder of a run, such as ``results/occlusion/latest``.
        more: folders of further runs.

    Returns:
        ``records.COLUMNS``, one row per cell and metric; ``run``, the folder as it was given; and,
        of runs that recorded them, ``seconds`` and ``memory`` (MiB at the peak) that an
        imputation's cell took.

    Raises:
        InputError: a folder has no readable records.
    """
    return pd.concat([_read(Path(folder)) for folder in (run, *more)], ignore_index=True)


def _read(folder: Path) -> pd.DataFrame:
    try:
        records = pd.read_parquet(folder / RECORDS)[COLUMNS]
    except (OSError, ValueError, LookupError) as error:
        raise InputError(
            f"{folder}: no records of a run; name a folder such as results/occlusion/latest "
            f"({reason_of(error)})"
        ) from None
    if (folder / TIMES).is_file():
        records = records.merge(costs(folder / TIMES), how="left")
    return records.assign(run=str(folder))


def costs(path: Path) -> pd.DataFrame:
    """Return the seconds and MiB of the cells that impute, with the columns that identify them."""
    imputed = times(path)
    imputed = imputed[imputed["task"] == "impute"].assign(split="test")
    return imputed[[*CELL, "seconds", "memory"]]


def times(path: Path) -> pd.DataFrame:
    """Return the ``times.csv`` of a run, with the columns of today's version."""
    text = {name: str for name in CELL if name != "seed"}
    empty = {"seconds": [""], "memory": [""]}
    table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=empty)
    return table if "memory" in table else table.assign(memory=np.nan)
