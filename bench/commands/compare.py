"""``bench compare``: two runs compared, their settings and their values cell by cell."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis import records, results, statistics, tables
from bench.core import files, safe_yaml
from bench.core.code_versions import ROOT
from bench.core.errors import InputError
from bench.report import plain_values

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
"""Columns that identify one value of a run's cells; the data set is compared with the settings."""
PROVENANCE = ("commit", "versions", "hardware", "executor", "plugins", "rescored")
"""Parts of the provenance that may explain a difference."""
CIRCUMSTANCES = (*PROVENANCE, "description", "resources")
"""What may differ between identical runs, since no value depends on it."""
REFERENCE = ROOT / "results" / "reference"
"""Where a checkout of the project keeps the results that it was published with."""


ABSENT = "not there"


@dataclass(frozen=True)
class Compared:
    """What two runs have in common and where they differ.

    Attributes:
        paired: whether values were compared window by window, which needs the ``windows.parquet``
            of both; if not, the means of cells were compared.
        settings: ``setting``, ``first``, ``second``: each setting and circumstance that differs.
        cells: one row per cell and metric that both have and that differs: ``KEYS``, ``first`` and
            ``second`` (means over windows), ``difference`` (second minus first) with a 95 %
            interval ``low``, ``high`` over recordings (nan where not paired), ``within`` (whether
            the second lies in the first's 95 % interval; False where there is none), ``n`` windows.
        same: how many cells and metrics are equal in every value compared.
        alone: how many values only the first, or only the second run has.
        unfinished: the cells that failed or were skipped in the first and in the second run.
    """

    paired: bool
    settings: pd.DataFrame
    cells: pd.DataFrame
    same: int
    alone: tuple[int, int]
    unfinished: tuple[set[tuple[Any, ...]], set[tuple[Any, ...]]]

    @property
    def identical(self) -> bool:
        """Whether both runs have the same values under the same settings."""
        own = ~self.settings["setting"].str.startswith(CIRCUMSTANCES)
        first, second = self.unfinished
        return self.cells.empty and self.alone == (0, 0) and first == second and not own.any()


def reference_of(run: Path) -> Path:
    """Return the folder of the committed results of a run's protocol.

    Raises:
        InputError: ``run`` is not a run's folder, or no results of its protocol are committed.
    """
    name = str(_protocol(run).get("name", ""))
    folder = REFERENCE / name
    if not (folder / results.RECORDS).is_file():
        raise InputError(
            f"--reference: {folder} has no {results.RECORDS}; a checkout of the project has the "
            "committed results of some of its protocols, an installed package has none"
        )
    return folder


def compare(first: Path, second: Path) -> Compared:
    """Compare a second run with a first, window by window where both kept their windows.

    Raises:
        InputError: one of the folders does not hold a run, or at least its records.
    """
    paired = all((folder / results.VALUES).is_file() for folder in (first, second))
    tables_ = [_windows(folder) if paired else _means(folder) for folder in (first, second)]
    joint = [*KEYS, "window", "source"] if paired else KEYS
    both = tables_[0].merge(tables_[1], on=joint, suffixes=("_1", "_2"))
    groups = both.groupby(KEYS, sort=False, dropna=False)
    row = _paired_row if paired else _unpaired_row
    within = _intervals(first)
    rows = [(*key, *row(group)) for key, group in groups if not _equal(group)]
    columns = [*KEYS, "first", "second", "difference", "low", "high", "n"]
    cells = pd.DataFrame(rows, columns=columns).merge(within, how="left", on=KEYS)
    inside = (cells["second"] >= cells.pop("from")) & (cells["second"] <= cells.pop("to"))
    left, right = (len(table) - len(both) for table in tables_)
    settings = pd.DataFrame(list(_settings(first, second)), columns=["setting", "first", "second"])
    return Compared(
        paired=paired,
        settings=settings,
        cells=cells.assign(within=inside),
        same=groups.ngroups - len(rows),
        alone=(left, right),
        unfinished=(_unfinished(first), _unfinished(second)),
    )


def plain(found: Compared, first: Path, second: Path) -> dict[str, Any]:
    """Return a comparison as plain values (``docs/schemas/compare.json``)."""
    return {
        "first": str(first),
        "second": str(second),
        "identical": bool(found.identical),
        "paired": found.paired,
        "same": found.same,
        "alone": list(map(int, found.alone)),
        "settings": plain_values.rows(found.settings),
        "cells": plain_values.rows(found.cells),
        "unfinished": [len(lacking) for lacking in found.unfinished],
    }


def readable(cells: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return the cells that differ most, relative to the first run, as text, ``most`` rows."""
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


def _windows(folder: Path) -> pd.DataFrame:
    """Return a run's values by window: ``KEYS``, window, source, value."""
    return results.open_run(folder).values[[*KEYS, "window", "source", "value"]]


def _records(folder: Path) -> pd.DataFrame:
    path = folder / results.RECORDS
    if not path.is_file():
        raise results.no_run(folder, f"it has no {results.RECORDS}")
    with files.readable(path):
        return pd.read_parquet(path, columns=records.COLUMNS)


def _means(folder: Path) -> pd.DataFrame:
    """Return a run's records that have a value: ``KEYS``, value, n."""
    table = _records(folder)
    return table.loc[table["metric"] != "", [*KEYS, "value", "n"]]


def _intervals(folder: Path) -> pd.DataFrame:
    """Return the 95 % intervals of a run's records: ``KEYS``, from, to."""
    table = _records(folder).rename(columns={"low": "from", "high": "to"})
    return table.loc[table["metric"] != "", [*KEYS, "from", "to"]]


def _unfinished(folder: Path) -> set[tuple[Any, ...]]:
    table = _records(folder)
    lacking = table[(table["metric"] == "") & (table["status"] != "done")]
    return set(lacking[[*records.CELL[1:], "metric", "status"]].itertuples(index=False, name=None))


def _equal(group: pd.DataFrame) -> bool:
    return np.array_equal(group["value_1"], group["value_2"], equal_nan=True)


def _paired_row(group: pd.DataFrame) -> tuple[float, float, float, float, float, int]:
    pair = group[["value_1", "value_2"]].to_numpy(dtype=np.float64)
    columns = np.column_stack([pair[:, 1] - pair[:, 0], np.ones(len(pair))])
    difference = statistics.estimate(columns, group["source"].to_numpy(), statistics.mean)
    return (*pair.mean(axis=0).tolist(), *difference, len(group))


def _unpaired_row(group: pd.DataFrame) -> tuple[float, float, float, float, float, int]:
    row = group.iloc[0]
    first, second = float(row["value_1"]), float(row["value_2"])
    return first, second, second - first, np.nan, np.nan, int(row["n_1"])


def _protocol(folder: Path) -> dict[str, Any]:
    """Return the resolved protocol that a run's folder states, as plain values."""
    raw = safe_yaml.read(folder / results.PROTOCOL)
    if not isinstance(raw, dict):
        raise InputError(f"{folder / results.PROTOCOL}: not a protocol")
    return raw


def _settings(first: Path, second: Path) -> Iterator[tuple[str, str, str]]:
    """Yield every setting and circumstance that differs between two runs."""
    one, other = (_protocol(folder) | _circumstances(folder) for folder in (first, second))
    yield from _differences(one, other, "")


def _circumstances(folder: Path) -> dict[str, Any]:
    path = folder / results.PROVENANCE
    with files.readable(path):
        facts = json.loads(path.read_text(encoding="utf-8"))
        known = {name: facts[name] for name in PROVENANCE if name in facts}
        return known | {"data fingerprint": facts["data"].get("fingerprint")}


def _differences(first: Any, second: Any, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield where plain values differ; a list counts as one value."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in dict.fromkeys([*first, *second]):
            where = f"{path}.{key}" if path else str(key)
            yield from _differences(first.get(key, ABSENT), second.get(key, ABSENT), where)
    elif first != second:
        # The settings of an entry that the other run does not have say nothing of a change.
        mine, theirs = ("there" if isinstance(one, dict) else str(one) for one in (first, second))
        yield path, mine, theirs
