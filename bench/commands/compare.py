"""Two runs held against each other: what was set otherwise, and what came out otherwise."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis import results, statistics, tables
from bench.analysis.records import CELL
from bench.analysis.results import Run
from bench.core import files

KEYS = [
    "split",
    "model",
    "inference",
    "predictor",
    "mechanism",
    "level",
    "seed",
    "horizon_ms",
    "metric",
]
"""What tells one value of a run's cells from another; the data set is told with the settings."""
PROVENANCE = ("commit", "versions", "hardware", "executor", "plugins", "rescored")
"""Parts of the provenance that may explain a difference."""
CIRCUMSTANCES = (*PROVENANCE, "description", "resources")
"""What may be otherwise in runs that are identical: no value hangs on it."""


ABSENT = "not there"


@dataclass(frozen=True)
class Compared:
    """What two runs have in common and what not.

    Attributes:
        settings: ``setting``, ``first``, ``second``: each setting and circumstance that differs.
        cells: one row per cell and metric that both have and that differs in a window: ``KEYS``,
            ``first`` and ``second`` (means over the windows of both), ``difference`` (second less
            first) with a 95 % interval ``low``, ``high`` over recordings, ``n`` windows.
        same: how many cells and metrics both have alike in every window.
        alone: how many cells and metrics, or windows of them, the first or the second run has
            alone.
        unfinished: the cells that failed or were skipped in the first or the second run, with what
            became of them.
    """

    settings: pd.DataFrame
    cells: pd.DataFrame
    same: int
    alone: tuple[int, int]
    unfinished: tuple[set[tuple[Any, ...]], set[tuple[Any, ...]]]

    @property
    def identical(self) -> bool:
        """Whether both runs say the same, set alike."""
        own = ~self.settings["setting"].str.startswith(CIRCUMSTANCES)
        first, second = self.unfinished
        return self.cells.empty and self.alone == (0, 0) and first == second and not own.any()


def compare(first: Path, second: Path) -> Compared:
    """Hold the second run against the first, cell by cell and window by window.

    Raises:
        InputError: one of the folders is not that of a run.
    """
    one, other = results.open_run(first), results.open_run(second)
    values = [_values(run) for run in (one, other)]
    paired = values[0].merge(values[1], on=[*KEYS, "window", "source"], suffixes=("_1", "_2"))
    groups = paired.groupby(KEYS, sort=False, dropna=False)
    rows = [(*key, *_row(group)) for key, group in groups if not _alike(group)]
    columns = [*KEYS, "first", "second", "difference", "low", "high", "n"]
    left, right = (len(table) - len(paired) for table in values)
    return Compared(
        settings=pd.DataFrame(list(_settings(one, other)), columns=["setting", "first", "second"]),
        cells=pd.DataFrame(rows, columns=columns),
        same=groups.ngroups - len(rows),
        alone=(left, right),
        unfinished=(_unfinished(first), _unfinished(second)),
    )


def readable(cells: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return the cells that differ most against what they were, as text, ``most`` rows."""
    change = (cells["difference"] / cells["first"].abs().clip(lower=1e-12)).abs()
    chosen = cells.loc[change.sort_values(ascending=False, kind="stable").index[:most]]
    names = ["split", "predictor", "model", "inference", "mechanism", "level"]
    where = [" ".join(filter(None, map(str, row))) for row in chosen[names].itertuples(index=False)]
    horizon = chosen["horizon_ms"].map(lambda ms: "" if np.isnan(ms) else f" at {ms:.0f} ms")
    return pd.DataFrame(
        {
            "cell": where,
            "seed": chosen["seed"].astype(str),
            "metric": chosen["metric"] + horizon,
            "first": chosen["first"].map(tables.number),
            "second": chosen["second"].map(tables.number),
            "second - first": [
                tables.interval(*row)
                for row in chosen[["difference", "low", "high"]].itertuples(index=False)
            ],
            "n": chosen["n"].astype(str),
        }
    )


def _values(run: Run) -> pd.DataFrame:
    return run.values[[*KEYS, "window", "source", "value"]]


def _unfinished(folder: Path) -> set[tuple[Any, ...]]:
    path = folder / results.RECORDS
    with files.readable(path):
        table = pd.read_parquet(path, columns=[*CELL[1:], "metric", "status"])
    lacking = table[(table["metric"] == "") & (table["status"] != "done")]
    return set(lacking.itertuples(index=False, name=None))


def _alike(group: pd.DataFrame) -> bool:
    return np.array_equal(group["value_1"], group["value_2"], equal_nan=True)


def _row(group: pd.DataFrame) -> tuple[float, float, float, float, float, int]:
    pair = group[["value_1", "value_2"]].to_numpy(dtype=np.float64)
    columns = np.column_stack([pair[:, 1] - pair[:, 0], np.ones(len(pair))])
    told = statistics.estimate(columns, group["source"].to_numpy(), statistics.mean)
    return (*pair.mean(axis=0).tolist(), *told, len(group))


def _settings(one: Run, other: Run) -> Iterator[tuple[str, str, str]]:
    """Yield every setting and circumstance that two runs do not have alike."""
    first, second = (run.protocol.to_dict() | _circumstances(run) for run in (one, other))
    yield from _otherwise(first, second, "")


def _circumstances(run: Run) -> dict[str, Any]:
    told = {name: run.facts[name] for name in PROVENANCE if name in run.facts}
    return told | {"data fingerprint": run.facts["data"].get("fingerprint")}


def _otherwise(first: Any, second: Any, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield where plain values differ; a list is one value, and so is what one of them lacks."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in dict.fromkeys([*first, *second]):
            where = f"{path}.{key}" if path else str(key)
            yield from _otherwise(first.get(key, ABSENT), second.get(key, ABSENT), where)
    elif first != second:
        # What an entry consists of that the other run does not have says nothing of a change.
        mine, theirs = ("there" if isinstance(one, dict) else str(one) for one in (first, second))
        yield path, mine, theirs
