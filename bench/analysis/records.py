"""From the store's cells to the two tidy tables that everything else reads.

``windows``: one row per cell, window and metric. ``records``: one row per cell and metric, with a
95 % interval over recordings. Their columns are a public interface.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis import statistics

if TYPE_CHECKING:  # they load torch, which readers of records need not
    from bench.protocol.schema import Comparison
    from bench.sweep.jobs import Cell
    from bench.sweep.plan import Plan
    from bench.sweep.status import Status
    from bench.sweep.store import Store

CELL = ["dataset", "split", "model", "inference", "predictor", "mechanism", "level", "seed"]
"""The columns that identify a cell."""
COLUMNS = [
    *CELL[:-1],
    "share",
    "seed",
    "horizon_ms",
    "metric",
    "value",
    "low",
    "high",
    "n",
    "status",
]
WINDOW_COLUMNS = [
    *CELL[:-1],
    "share",
    "seed",
    "window",
    "source",
    "subject",
    "action",
    "fold",
    "horizon_ms",
    "metric",
    "value",
]
NUMBERS = ("share", "seed", "horizon_ms", "value")
TEXT = [name for name in WINDOW_COLUMNS if name not in NUMBERS]
LABELS = ["window", "source", "subject", "action"]
"""What a cell's table says of a window, besides its share and its metrics."""
COUNTS = ["n", "recordings", "seeds"]
SUMMARY = ["share", "value", "low", "high", *COUNTS]
"""Share hidden, mean or change, its 95 % interval, number of windows, recordings and seeds."""
RECORDINGS, SUBJECTS = "recordings", "subjects"
CONDITION = ["mechanism", "level"]
IMPUTER = ["model", "inference"]
SHARES = ("hidden_joints", "hidden_frames")
"""Values that say how much is hidden, not how well it is completed."""
SPARSE = 4
"""Places per row, at most, of a table of all groups and codes."""
UNFINISHED = ("failed", "skipped")
"""The ``status`` of rows without a value."""


def windows(plan: Plan, store: Store, dataset: str, fold: str = "") -> pd.DataFrame:
    """Return every finished cell's values, one row per window and metric.

    Args:
        plan: the run's cells.
        store: holds the results of those that are finished.
        dataset: the label in the column ``dataset``.
        fold: the number in the column ``fold``; empty if subjects are not dealt into folds.

    Returns:
        ``WINDOW_COLUMNS``, text as categories (``coded``).
    """
    finished = [cell for cell in plan.cells if store.has_cell(cell.key)]
    return _long(finished, store.load_cells([cell.key for cell in finished]), dataset, fold)


def coded(values: pd.DataFrame) -> pd.DataFrame:
    """Return per-window values with text as categories, in order of names.

    Rows are taken and grouped by a byte of each in place of a text, and fit into memory.
    """
    kinds = {
        name: "category"
        for name in TEXT
        if name in values and not isinstance(values[name].dtype, pd.CategoricalDtype)
    }
    return values.astype(kinds)


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with text in the place of categories; raises ValueError where none is."""
    text = {
        str(name): column.cat.categories.astype(str).take(codes(column))
        for name, column in table.select_dtypes("category").items()
    }
    return table.assign(**text)


def codes(column: pd.Series) -> NDArray[np.integer[Any]]:
    """Return the numbers of a column's categories; raises ValueError where one is missing."""
    numbers = column.cat.codes.to_numpy()
    if (numbers < 0).any():
        raise ValueError(f"{column.name} has no value in some rows")
    return numbers


def long(found: Iterable[tuple[Cell, pd.DataFrame]], dataset: str, fold: str = "") -> pd.DataFrame:
    """Convert cells' tables from wide to long format.

    Args:
        found: each cell with its table: one row per window, one column per metric.
        dataset: the label in the column ``dataset``.
        fold: that in the column ``fold``.

    Returns:
        ``WINDOW_COLUMNS``, one row per cell, window and metric that the window has.
    """
    pairs = list(found)
    tables = [(table, np.full(len(table), number)) for number, (_, table) in enumerate(pairs)]
    return plain(_long([cell for cell, _ in pairs], tables, dataset, fold))


def _long(
    cells: Sequence[Cell],
    tables: Sequence[tuple[pd.DataFrame, NDArray[np.intp]]],
    dataset: str,
    fold: str,
) -> pd.DataFrame:
    """Return what ``long`` does, text as categories.

    Args:
        cells: that the values are of.
        tables: values in wide format, and the number of each row's cell (``Store.load_cells``).
        dataset: as in ``long``.
        fold: as in ``long``.
    """
    if not cells:
        return pd.DataFrame(columns=WINDOW_COLUMNS)
    wide, numbers = [table for table, _ in tables], [number for _, number in tables]
    cell = np.concatenate(numbers)
    rows = pd.concat([table[[*LABELS, "share"]] for table in wide], ignore_index=True)
    row, metric, value = _melted([table.drop(columns=rows.columns) for table in wide])
    # Some metrics do not apply to all rows: errors need something hidden, a set is no window.
    kept = np.flatnonzero(~np.isnan(value))
    order = kept[np.argsort(cell[row[kept]], kind="stable")]
    row, metric, value = row[order], metric[order], value[order]
    named = pd.DataFrame([labels(one) for one in cells], columns=CELL[1:])
    names = pd.Series(metric.categories).str.partition("@")
    horizons = pd.to_numeric(names[2].where(names[2] != "", None)).to_numpy(np.float64)
    found: dict[str, pd.Series | NDArray[np.float64]] = {
        **{name: _taken(named[name], cell[row]) for name in CELL[1:]},
        **{str(name): _taken(rows[name], row) for name in rows},
        "dataset": _taken(pd.Series([dataset]), np.zeros(len(row), np.intp)),
        "fold": _taken(pd.Series([fold]), np.zeros(len(row), np.intp)),
        "metric": _taken(names[0], metric.codes),
        "horizon_ms": horizons[metric.codes],
        "value": value,
    }
    return pd.DataFrame(found)[WINDOW_COLUMNS]


def _melted(
    tables: Sequence[pd.DataFrame],
) -> tuple[NDArray[np.intp], pd.Categorical, NDArray[np.float64]]:
    """Return the row of each value, counted through all tables, its column, and the value."""
    metrics = pd.Index(list(dict.fromkeys(name for table in tables for name in table)))
    first = np.cumsum([0, *map(len, tables)])
    parts = [
        (
            np.tile(np.arange(start, start + len(table)), table.shape[1]),
            np.repeat(metrics.get_indexer(table.columns), len(table)),
            table.to_numpy(np.float64).T.ravel(),
        )
        for start, table in zip(first, tables, strict=False)
    ]
    row, code, value = (np.concatenate(part) for part in zip(*parts, strict=True))
    return row, pd.Categorical.from_codes(code, metrics), value


def _taken(values: pd.Series, places: NDArray[np.intp]) -> pd.Series:
    """Return the values at places; text as categories, in order of names."""
    if values.name in NUMBERS:
        return pd.Series(values.to_numpy()[places])
    return pd.Series(pd.Categorical(values).take(places))


def records(
    values: pd.DataFrame,
    plan: Plan,
    statuses: Iterable[Status],
    dataset: str,
    references: Sequence[str],
) -> pd.DataFrame:
    """Return one row per cell and metric, and one per cell without values.

    Args:
        values: per-window values of the finished cells (``windows``).
        plan: the run's cells.
        statuses: how each of them ended.
        dataset: the label in the column ``dataset``.
        references: imputers to state the others' error against.

    Returns:
        ``COLUMNS``. Cells without values have an empty metric and the status ``done`` (there was no
        window for them), ``failed`` or ``skipped``.
    """
    # The shares of joints and frames are per window; ``share`` is a column of its own.
    values = of_units(values[~values["metric"].isin(SHARES)])
    done = summarise(values, [*CELL, "horizon_ms"], references).assign(status="done")
    unfinished = pd.DataFrame(_without_values(plan, statuses, values, dataset))
    table = pd.concat([done, unfinished], ignore_index=True).reindex(columns=COLUMNS)
    for column in ("share", "horizon_ms", "value", "low", "high"):
        table[column] = table[column].astype(np.float64)
    return table.astype({"n": np.int64, "seed": np.int64})


def of_units(values: pd.DataFrame) -> pd.DataFrame:
    """Return per-window values with what statistics resample in the column ``source``.

    That is the recording. In joined folds it is the subject, if it is known of all test windows:
    each fold's imputers are fitted on other subjects, and each subject is tested once.
    """
    return values.assign(source=_units(plain(values))) if unit(values) == SUBJECTS else values


def unit(values: pd.DataFrame) -> str:
    """Return the name of what statistics resample: ``RECORDINGS`` or ``SUBJECTS``."""
    if "fold" not in values or values["fold"].nunique() < 2:
        return RECORDINGS
    known = values.loc[tested(values), "subject"] != ""
    return SUBJECTS if known.all() else RECORDINGS


def tested(values: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows are of recorded test windows: not of drawn ones, or of a whole set."""
    # As text: categories of different names cannot be compared.
    source, window = (values[name].astype(str) for name in ("source", "window"))
    return (values["split"] == "test") & (source != window)


def _units(values: pd.DataFrame) -> pd.Series[str]:
    return values["subject"].where(values["subject"] != "", values["source"])


def summarise(
    values: pd.DataFrame, keys: list[str], references: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the mean of each metric over windows, with an interval over recordings.

    Args:
        values: one row per cell, window and metric, as ``windows`` returns it.
        keys: the columns that identify a row of the result, together with the metric. If ``seed``
            is not among them, the mean and the interval are over seeds too.
        references: imputers to state the others' error against.

    Returns:
        ``keys``, metric and ``SUMMARY``: share, value, low, high, n (windows), recordings, seeds.
        In addition to the metrics of ``values`` there is ``change_vs_`` each reference that ran:
        the per-cent change of MSE against it, paired by window and seed.
    """
    averaged = by_window(values, keys).assign(base=1.0)
    table = _by_group(averaged, [*keys, "metric"], statistics.mean)
    errors = values[values["metric"] == "mse"]
    against = [
        changes(errors, keys, reference).assign(metric=f"change_vs_{reference}")
        for reference in references
    ]
    return pd.concat([table, *against], ignore_index=True)


def by_window(values: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return values by ``keys``, metric, window and seed, averaged over all other columns."""
    kept = list(dict.fromkeys([*keys, "metric", "seed", "window", "source"]))
    others = [name for name in (*CELL, "horizon_ms") if name not in kept and name in values]
    if all(_alike(values[name]) for name in others):
        # A cell has one value per metric, horizon and window: there is nothing to average.
        return values[[*kept, "value", "share"]]
    grouped = values.groupby(kept, sort=False, as_index=False, dropna=False, observed=True)
    return grouped.agg(value=("value", "mean"), share=("share", "mean"))


def _alike(column: pd.Series) -> bool:
    """Return whether all values of a column are the same, or all are missing."""
    categorical = isinstance(column.dtype, pd.CategoricalDtype)
    numbers = codes(column) if categorical else column.to_numpy()
    return len(numbers) == 0 or bool((numbers == numbers[0]).all()) or bool(column.isna().all())


def paired(group: pd.DataFrame, base: pd.DataFrame, keys: Sequence[str] = ()) -> pd.DataFrame:
    """Return the rows of ``group`` whose window and seed ``base`` has too.

    Args:
        group: one row per window, seed and ``keys``.
        base: the same of another imputer.
        keys: further columns that must agree.

    Returns:
        Rows of ``group`` with the other imputer's value in a column ``base``.
    """
    common = list(dict.fromkeys([*keys, "window", "seed"]))
    others = base[[*common, "value"]].rename(columns={"value": "base"})
    return group.merge(others, on=common)


def changes(values: pd.DataFrame, keys: list[str], reference: str) -> pd.DataFrame:
    """Return the per-cent change of each imputer's values against a reference's, by condition.

    Args:
        values: of one metric, one row per cell and window.
        keys: the columns that identify a row of the result, ``IMPUTER`` among them.
        reference: the imputer, without an inference, to compare with where all other keys agree.

    Returns:
        ``keys`` and ``SUMMARY``.
    """
    others = [key for key in keys if key not in IMPUTER]
    table = by_window(values, keys)
    grouped = table.groupby(others, sort=False, dropna=False, observed=True)
    condition = grouped.ngroup().to_numpy()
    table = table.iloc[np.argsort(condition, kind="stable")]
    return against(table, _of(table, reference, ""), keys, others, statistics.change)


def against(
    table: pd.DataFrame,
    base: pd.DataFrame,
    keys: list[str],
    common: Sequence[str],
    statistic: statistics.Statistic,
) -> pd.DataFrame:
    """Return a statistic of values and of another's, paired by window and seed.

    Args:
        table: one row per window, seed and ``keys``.
        base: the same of what it is compared with.
        keys: the columns that identify a row of the result.
        common: further columns that must agree.
        statistic: of sums of values and of the other's values.

    Returns:
        ``keys`` and ``SUMMARY``.
    """
    return _by_group(paired(table, base, common), keys, statistic)


def compare(values: pd.DataFrame, comparison: Comparison) -> pd.DataFrame:
    """Return the per-cent change of MSE of one imputer against another, by condition.

    Args:
        values: per-window values (``windows``).
        comparison: the two imputers; the one compared against is taken without an inference.

    Returns:
        mechanism, level and ``SUMMARY``. Windows are paired by window and seed.
    """
    errors = by_window(values[values["metric"] == "mse"], [*IMPUTER, *CONDITION])
    one = _of(errors, comparison.model, comparison.inference)
    other = _of(errors, comparison.against, "")
    return against(one, other, CONDITION, CONDITION, statistics.change)


def _of(table: pd.DataFrame, model: str, inference: str) -> pd.DataFrame:
    """Return the rows of an imputer."""
    return table[(table["model"] == model) & (table["inference"] == inference)]


def paired_tests(
    values: pd.DataFrame, models: Sequence[str], baselines: Sequence[str]
) -> pd.DataFrame:
    """Test the MSE of models against the best baseline's at each mechanism and level.

    The best baseline is the one of lowest MSE under that condition. The test is paired by recording
    (``statistics.sign_flip_p``) and two-sided; p is corrected over all rows by Holm's method.

    Args:
        values: per-window values (``windows``).
        models: labels to test, with every inference.
        baselines: labels to choose the best baseline from.

    Returns:
        model, inference, mechanism, level, best_baseline, p, p_holm.
    """
    rows = []
    for condition, level in _conditions(values, "mse"):
        simple = [
            (level.means[number], model, number)
            for number, (model, inference) in enumerate(level.imputers)
            if model in baselines and not inference
        ]
        if not simple:
            continue
        _, name, best = min(simple)
        rows += [
            (*imputer, *condition, name, level.p(number, best))
            for number, imputer in enumerate(level.imputers)
            if imputer[0] in models
        ]
    columns = [*IMPUTER, *CONDITION, "best_baseline", "p"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(p_holm=statistics.holm(table["p"].to_numpy(dtype=np.float64)))


def leads(values: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Test the best imputer's errors against the second's at each mechanism and level.

    Best and second are those of least mean. The test is that of ``paired_tests``; p is corrected
    over all conditions by Holm's method.

    Args:
        values: per-window values (``windows``).
        metric: less of which is better.

    Returns:
        model and inference of the best, mechanism, level, p_lead.
    """
    rows = []
    for condition, level in _conditions(values, metric):
        if len(level.imputers) > 1:
            first, second = (int(number) for number in np.argsort(level.means, kind="stable")[:2])
            rows.append((*level.imputers[first], *condition, level.p(first, second)))
    table = pd.DataFrame(rows, columns=[*IMPUTER, *CONDITION, "p_lead"])
    return table.assign(p_lead=statistics.holm(table["p_lead"].to_numpy(dtype=np.float64)))


@dataclass(frozen=True)
class _Condition:
    """Errors of all imputers under one condition.

    Attributes:
        imputers: model and inference of each.
        means: ``(imputer,)`` of all errors.
        errors: ``(imputer, pair)`` by window and seed, nan where there is none.
        recordings: ``(pair,)`` numbers that sort as the names do.
    """

    imputers: list[tuple[str, str]]
    means: NDArray[np.float64]
    errors: NDArray[np.float64]
    recordings: NDArray[np.intp]

    def p(self, one: int, other: int) -> float:
        """Return the p of the difference of two imputers (``statistics.sign_flip_p``)."""
        difference = self.errors[one] - self.errors[other]
        both = ~np.isnan(difference)
        return statistics.sign_flip_p(difference[both], self.recordings[both])


def _conditions(
    values: pd.DataFrame, metric: str
) -> Iterator[tuple[tuple[Hashable, ...], _Condition]]:
    """Yield mechanism and level of each condition, with the errors of one metric under it."""
    errors = by_window(values[values["metric"] == metric], [*IMPUTER, *CONDITION])
    if errors.empty:
        return
    value = errors["value"].to_numpy(np.float64)
    recording = pd.factorize(errors["source"], sort=True)[0]
    # Numbered once, not for each condition: grouping takes longer than what is computed of groups.
    condition, imputer, pair = (
        errors.groupby(keys, sort=False, observed=True).ngroup().to_numpy()
        for keys in (CONDITION, IMPUTER, ["window", "seed"])
    )
    conditions, imputers = (
        list(errors[keys].drop_duplicates().itertuples(index=False, name=None))
        for keys in (CONDITION, IMPUTER)
    )
    means = errors["value"].groupby([condition, imputer]).mean().unstack().to_numpy()
    order = np.argsort(condition, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(condition[order])) + 1):
        here = condition[rows[0]]
        (place, there), (column, pairs) = (pd.factorize(one[rows]) for one in (imputer, pair))
        table = np.full((len(there), len(pairs)), np.nan)
        table[place, column] = value[rows]
        first = np.unique(column, return_index=True)[1]
        names = [imputers[number] for number in there]
        yield (
            conditions[here],
            _Condition(names, means[here, there], table, recording[rows[first]]),
        )


def _by_group(
    table: pd.DataFrame, keys: list[str], statistic: statistics.Statistic
) -> pd.DataFrame:
    """Return ``keys`` and ``SUMMARY`` of each group of windows, of their ``value`` and ``base``."""
    if table.empty:
        # Numbers, since columns of objects would make those that they are joined to objects too.
        kinds = {name: np.int64 if name in COUNTS else np.float64 for name in SUMMARY}
        return pd.DataFrame(columns=[*keys, *SUMMARY]).astype(kinds)
    grouped = table.groupby(keys, sort=False, dropna=False, observed=True)
    number = np.asarray(grouped.ngroup(), dtype=np.int64)
    order = np.argsort(number, kind="stable")
    group = number[order].astype(np.int64)
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    # In order of names, which the draws of a bootstrap depend on.
    (_, windows), (recording, recordings), (seed, seeds) = (
        _within(group, pd.factorize(table[name], sort=True)[0].astype(np.int64)[order])
        for name in ("window", "source", "seed")
    )
    columns = table[["value", "base"]].to_numpy(np.float64)[order]
    share = np.add.reduceat(table["share"].to_numpy(np.float64)[order], starts)
    summary = pd.DataFrame({"share": share / np.diff(np.append(starts, len(order)))})
    interval = np.empty((len(starts), 3))
    # Groups with as many seeds and recordings are resampled together.
    for shape in set(zip(seeds.tolist(), recordings.tolist(), strict=True)):
        alike = (seeds == shape[0]) & (recordings == shape[1])
        of = (np.cumsum(alike) - 1)[group]
        rows = alike[group]
        sums = np.zeros((*shape, int(alike.sum()), columns.shape[1]))
        np.add.at(sums, (seed[rows], recording[rows], of[rows]), columns[rows])
        interval[alike] = statistics.estimates(sums, statistic)
    summary[["value", "low", "high"]] = interval
    summary["n"], summary["recordings"], summary["seeds"] = windows, recordings, seeds
    identified = plain(table[keys].iloc[order[starts]]).reset_index(drop=True)
    return pd.concat([identified, summary[SUMMARY]], axis=1)


def _within(
    group: NDArray[np.int64], codes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each row's code counted within its group, and the number of codes of each group.

    Args:
        group: ``(row,)`` the number of each row's group, ascending.
        codes: ``(row,)`` numbers, of which each group has some.
    """
    groups, most = int(group[-1]) + 1, int(codes.max()) + 1
    if groups * most > SPARSE * len(group):
        pairs, place = np.unique(group * most + codes, return_inverse=True)
        counts = np.bincount(pairs // most)
        return place - (np.cumsum(counts) - counts)[group], counts
    there = np.zeros((groups, most), np.bool_)
    there[group, codes] = True
    # Counted through all groups: sorting the pairs takes longer where groups have most codes.
    before = np.cumsum(there.ravel()).reshape(there.shape)[group, codes] - 1
    counts = there.sum(axis=1)
    return before - (np.cumsum(counts) - counts)[group], counts


def _without_values(
    plan: Plan, statuses: Iterable[Status], values: pd.DataFrame, dataset: str
) -> list[dict[str, object]]:
    # A finished cell has no values if there was no window for it.
    ended = {
        status.key: status.status
        for status in statuses
        if status.status in ("done", "failed", "skipped")
    }
    done = set(values[CELL[1:]].drop_duplicates().itertuples(index=False, name=None))
    rows: list[dict[str, object]] = []
    for cell in plan.cells:
        identity = labels(cell)
        if identity not in done:
            row = {"dataset": dataset, **dict(zip(CELL[1:], identity, strict=True))}
            rows.append({**row, "metric": "", "n": 0, "status": ended.get(cell.key, "skipped")})
    return rows


def labels(cell: Cell) -> tuple[str | int, ...]:
    """Return a cell's values of the columns ``CELL`` except ``dataset``."""
    split = "sample" if cell.task == "sample" else "test"
    level = cell.level or ("" if cell.mechanism else "0")
    what = (cell.model, cell.inference, cell.predictor, cell.mechanism, level)
    return (split, *what, cell.seed)
