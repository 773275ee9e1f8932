"""Records checked and put in arrays, so that imputers can be compared: what may be mixed, and how.

Loads no torch.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis.records import CONDITION, IMPUTER, UNFINISHED, of_units
from bench.core.errors import InputError, did_you_mean

METRICS = (
    *(
        "mse",
        "mse_slow",
        "mse_fast",
        "mpjpe",
        "mae",
        "bone_error",
        "acceleration_error",
        "border_jump",
        "npss",
        "l2p",
    ),
    *("crps", "energy_score", "best_of_10"),
)
"""What imputers may be compared by: 0 is perfect, and less is better."""
CELL = [*CONDITION, "seed"]
"""The columns that, with an imputer, identify what has one value of a metric."""
SAME = 1e-6
"""Share by which what must be the same may differ: sums in another order, float32."""
DEGRADED = "mean"
"""``bench.sweep.jobs.DEGRADED``, whose module loads torch: cells that complete nothing."""


@dataclass(frozen=True)
class Comparable:
    """Errors of imputers under the same conditions. All is sorted, whatever the order of rows.

    Attributes:
        metric: what the errors are.
        cells: one row per imputer, condition and seed that has a value.
        imputers: model and inference of those with values, or with failures.
        conditions: mechanism and level of those at which some imputer has a value.
        seeds: of all cells.
        means: ``(condition, imputer, seed)`` mean error over windows, nan where there is none.
        failures: ``(condition, imputer)`` number of cells that failed or were skipped.
        unusable: mechanism, level, model and inference of failures at other conditions.
    """

    metric: str
    cells: pd.DataFrame
    imputers: pd.MultiIndex
    conditions: pd.MultiIndex
    seeds: pd.Index
    means: NDArray[np.float64]
    failures: NDArray[np.int64]
    unusable: pd.DataFrame

    @property
    def names(self) -> list[str]:
        """Imputers as text, such as ``linear`` and ``hgvae map``."""
        return [name_of(*imputer) for imputer in self.imputers]

    def index_of(self, reference: str) -> int:
        """Return the place of a reference; raises InputError unless every condition has it."""
        if reference not in self.names:
            known = did_you_mean(reference, self.names)
            raise InputError(f"reference: no imputer {reference} in the records{known}")
        place = self.names.index(reference)
        lacking = np.flatnonzero(np.isnan(self.means[:, place]).all(axis=-1))
        absent = self.conditions[lacking].to_list()
        model, inference = self.imputers[place]
        mine = (self.unusable["model"] == model) & (self.unusable["inference"] == inference)
        absent += self.unusable.loc[mine, CONDITION].itertuples(index=False, name=None)
        if absent:
            where = " ".join(absent[0]).strip()
            raise InputError(
                f"reference: {reference} has no value at {where}"
                f"{f' and {len(absent) - 1} more' if absent[1:] else ''}; name another reference, "
                "or leave these conditions out of the records"
            )
        return place

    def by_recording(self, windows: pd.DataFrame) -> tuple[NDArray[np.float64], ...]:
        """Return sums of errors over the windows of each recording, and numbers of windows.

        Args:
            windows: rows of ``windows.parquet`` of the same runs.

        Returns:
            Two arrays ``(condition, seed, recording, imputer)``.

        Raises:
            InputError: the windows are not those that the records were computed from.
        """
        cell = [*IMPUTER, *CELL]
        chosen = windows[(windows["metric"] == self.metric) & (windows["predictor"] == "")]
        whose = [*cell, "dataset", "split"]
        chosen = chosen.merge(self.cells[whose], on=whose)
        # In one order, which the rounding of sums depends on.
        chosen = chosen.sort_values([*cell, "window", "value"]).drop_duplicates([*cell, "window"])
        found = self.cells.merge(
            chosen.groupby(cell, as_index=False).agg(
                mean=("value", "mean"), count=("value", "size")
            ),
            on=cell,
            how="left",
        )
        same = np.isclose(found["mean"], found["value"], rtol=SAME, atol=0)
        if not (same & (found["count"] == found["n"])).all():
            raise InputError("windows: not those of the records; give windows of the same runs")
        recording, names = pd.factorize(of_units(chosen)["source"], sort=True)
        condition, imputer, seed = _places(self.conditions, self.imputers, self.seeds, chosen)
        shape = (len(self.conditions), len(self.seeds), len(names), len(self.imputers))
        sums, counts = np.zeros(shape), np.zeros(shape)
        places = (condition, seed, recording, imputer)
        np.add.at(sums, places, chosen["value"].to_numpy(np.float64))
        np.add.at(counts, places, 1)
        return sums, counts


def comparable(records: pd.DataFrame, metric: str) -> Comparable:
    """Return the errors of imputers, checked.

    Args:
        records: rows of ``records.parquet`` (``records.COLUMNS``) of any number of runs.
        metric: one of ``METRICS``.

    Raises:
        InputError: there is no such error in the records, or they cannot be compared: data sets,
            splits, numbers of windows or hidden shares differ, or two runs have different values
            for what bears one name.
    """
    if metric not in METRICS:
        hint = did_you_mean(metric, METRICS)
        raise InputError(f"metric: imputers are not compared by {metric}{hint}")
    records = records[records["predictor"] == ""]
    cells = records[(records["metric"] == metric) & records["value"].notna()]
    if cells.empty:
        raise InputError(f"records: no imputer has a value of {metric}")
    _check_alike(cells)
    cells = _distinct(cells)
    ended = records[
        records["status"].isin(UNFINISHED) & (records["split"] == cells["split"].iloc[0])
    ]
    failed = _without(ended[ended["inference"] != DEGRADED], cells)
    conditions = _index(cells[CONDITION])
    usable = conditions.get_indexer(pd.MultiIndex.from_frame(failed[CONDITION])) >= 0
    counted, unusable = failed[usable], failed[~usable]
    imputers = _index(pd.concat([cells[IMPUTER], counted[IMPUTER]]))
    seeds = pd.Index(np.sort(cells["seed"].unique()))
    means = np.full((len(conditions), len(imputers), len(seeds)), np.nan)
    means[_places(conditions, imputers, seeds, cells)] = cells["value"]
    failures = np.zeros(means.shape[:2], np.int64)
    np.add.at(failures, _places(conditions, imputers, seeds, counted)[:2], 1)
    return Comparable(metric, cells, imputers, conditions, seeds, means, failures, unusable)


def name_of(model: str, inference: str) -> str:
    """Return the name of an imputer: its model and, if it has one, its inference."""
    return f"{model} {inference}".strip()


def _check_alike(cells: pd.DataFrame) -> None:
    """Raise InputError if cells are not of the same data, windows and masks."""
    for column in ("dataset", "split"):
        if len(names := sorted(cells[column].unique())) > 1:
            raise InputError(f"records: {column} is {' and '.join(names)}; compare within one")
    if (cells["value"] < 0).any():
        raise InputError("records: an error is negative")
    for column, what in (("n", "number of windows"), ("share", "share hidden")):
        for place, low, high in _unequal(cells, CELL, column):
            raise InputError(
                f"records: the {what} at {_at(*place)} is {low:g} and {high:g}; compare runs that "
                "hide the same of the same windows"
            )


def _distinct(cells: pd.DataFrame) -> pd.DataFrame:
    """Return one row per imputer and cell, sorted; raises InputError if two runs disagree."""
    for (model, inference, *place), low, high in _unequal(cells, [*IMPUTER, *CELL], "value"):
        raise InputError(
            f"records: {name_of(model, inference)} has two errors at {_at(*place)}, {low:g} and "
            f"{high:g}; change its name in the records of one run, or leave it out there"
        )
    keys = [*IMPUTER, *CELL]
    return cells.sort_values([*keys, "value"]).drop_duplicates(keys).reset_index(drop=True)


def _unequal(
    table: pd.DataFrame, keys: list[str], column: str
) -> Iterable[tuple[tuple[str, ...], float, float]]:
    """Yield keys, least and greatest value where a column is not the same for equal keys."""
    spread = table.groupby(keys)[column].agg(["min", "max"])
    same = np.isclose(spread["min"], spread["max"], rtol=SAME, atol=0)
    return spread[~same].itertuples(name=None)


def _at(mechanism: str, level: str, seed: str) -> str:
    return f"{mechanism} {level}".strip() + f", seed {seed}"


def _without(failed: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Return the failed cells, each once, but for those that another run has a value of."""
    lacking, done = (_index(table[[*IMPUTER, *CELL]]) for table in (failed, cells))
    return lacking[~lacking.isin(done)].to_frame(index=False)


def _index(table: pd.DataFrame) -> pd.MultiIndex:
    """Return the distinct rows of a table, sorted."""
    return pd.MultiIndex.from_frame(table.drop_duplicates().sort_values(table.columns.to_list()))


def _places(
    conditions: pd.MultiIndex, imputers: pd.MultiIndex, seeds: pd.Index, table: pd.DataFrame
) -> tuple[NDArray[np.intp], ...]:
    """Return the numbers of condition, imputer and seed of each row."""
    return (
        conditions.get_indexer(pd.MultiIndex.from_frame(table[CONDITION])),
        imputers.get_indexer(pd.MultiIndex.from_frame(table[IMPUTER])),
        seeds.get_indexer(pd.Index(table["seed"])),
    )
