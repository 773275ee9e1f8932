"""From the store's cells to the two tidy tables that everything else reads.

``windows``: one row per cell, window and metric. ``records``: one row per cell and metric, with a
95 % interval over recordings. Their columns are a public interface.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

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
        ``WINDOW_COLUMNS``.
    """
    finished = [cell for cell in plan.cells if store.has_cell(cell.key)]
    tables = store.load_cells([cell.key for cell in finished])
    return long(zip(finished, tables, strict=True), dataset, fold)


def long(found: Iterable[tuple[Cell, pd.DataFrame]], dataset: str, fold: str = "") -> pd.DataFrame:
    """Convert cells' tables from wide to long format.

    Args:
        found: each cell with its table: one row per window, one column per metric.
        dataset: the label in the column ``dataset``.
        fold: that in the column ``fold``.

    Returns:
        ``WINDOW_COLUMNS``, one row per cell, window and metric that the window has.
    """
    cells: list[Cell] = []
    by_columns: dict[tuple[str, ...], list[tuple[int, pd.DataFrame]]] = {}
    for cell, wide in found:
        by_columns.setdefault(tuple(wide.columns), []).append((len(cells), wide))
        cells.append(cell)
    if not cells:
        return pd.DataFrame(columns=WINDOW_COLUMNS)
    table = pd.concat([_melted(tables) for tables in by_columns.values()], ignore_index=True)
    table = table.iloc[table["cell"].argsort(kind="stable")]
    cell_of = table["cell"].to_numpy()
    # Some metrics do not apply to all rows: errors need something hidden, a set is no window.
    kept = table["value"].notna().to_numpy()
    named = pd.DataFrame([labels(cell) for cell in cells], columns=CELL[1:])
    repeated = named.take(cell_of[kept]).reset_index(drop=True)
    table = pd.concat([repeated, table[kept].reset_index(drop=True)], axis=1).assign(
        dataset=dataset, fold=fold
    )
    codes, metrics = pd.factorize(table["metric"])
    parts = [str(metric).partition("@") for metric in metrics]
    table["metric"] = pd.Index([name for name, _, _ in parts]).take(codes)
    horizons = np.array([float(horizon) if horizon else np.nan for _, _, horizon in parts])
    table["horizon_ms"] = horizons[codes]
    return table[WINDOW_COLUMNS]


def _melted(tables: list[tuple[int, pd.DataFrame]]) -> pd.DataFrame:
    """Return tables of the same columns in long format, each table's number as ``cell``."""
    wide = pd.concat([table for _, table in tables], ignore_index=True)
    wide["cell"] = np.repeat([number for number, _ in tables], [len(one) for _, one in tables])
    return wide.melt(id_vars=["cell", *LABELS, "share"], var_name="metric")


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
    return values.assign(source=_units(values)) if unit(values) == SUBJECTS else values


def unit(values: pd.DataFrame) -> str:
    """Return the name of what statistics resample: ``RECORDINGS`` or ``SUBJECTS``."""
    if "fold" not in values or values["fold"].nunique() < 2:
        return RECORDINGS
    known = values.loc[tested(values), "subject"] != ""
    return SUBJECTS if known.all() else RECORDINGS


def tested(values: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows are of recorded test windows: not of drawn ones, or of a whole set."""
    return (values["split"] == "test") & (values["source"] != values["window"])


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
    if set(CELL) <= set(keys):
        return values  # a cell has one value per metric and window
    kept = list(dict.fromkeys([*keys, "metric", "seed", "window", "source"]))
    return values.groupby(kept, sort=False, as_index=False, dropna=False).agg(
        value=("value", "mean"), share=("share", "mean")
    )


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
    condition = table.groupby(others, sort=False, dropna=False).ngroup().to_numpy()
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
    errors = values[values["metric"] == "mse"]
    rows = []
    for condition, level in by_window(errors, [*IMPUTER, *CONDITION]).groupby(
        CONDITION, sort=False
    ):
        simple = level[level["model"].isin(baselines) & (level["inference"] == "")]
        if simple.empty:
            continue
        best = str(simple.groupby("model")["value"].mean().idxmin())
        base = simple[simple["model"] == best]
        for imputer, group in level.groupby(IMPUTER, sort=False):
            if imputer[0] in models:
                pairs = paired(group, base)
                difference = (pairs["value"] - pairs["base"]).to_numpy()
                p = statistics.sign_flip_p(difference, pairs["source"].to_numpy())
                rows.append((*imputer, *condition, best, p))
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
    errors = by_window(values[values["metric"] == metric], [*IMPUTER, *CONDITION])
    rows = []
    for condition, level in errors.groupby(CONDITION, sort=False):
        means = level.groupby(IMPUTER, sort=False)["value"].mean().sort_values(kind="stable")
        if len(means) < 2:
            continue
        first, second = means.index[:2]
        pairs = paired(_of(level, *first), _of(level, *second))
        difference = (pairs["value"] - pairs["base"]).to_numpy()
        p = statistics.sign_flip_p(difference, pairs["source"].to_numpy())
        rows.append((*first, *condition, p))
    table = pd.DataFrame(rows, columns=[*IMPUTER, *CONDITION, "p_lead"])
    return table.assign(p_lead=statistics.holm(table["p_lead"].to_numpy(dtype=np.float64)))


def _by_group(
    table: pd.DataFrame, keys: list[str], statistic: statistics.Statistic
) -> pd.DataFrame:
    """Return ``keys`` and ``SUMMARY`` of each group of windows, of their ``value`` and ``base``."""
    if table.empty:
        # Numbers, since columns of objects would make those that they are joined to objects too.
        kinds = {name: np.int64 if name in COUNTS else np.float64 for name in SUMMARY}
        return pd.DataFrame(columns=[*keys, *SUMMARY]).astype(kinds)
    number = np.asarray(table.groupby(keys, sort=False, dropna=False).ngroup(), dtype=np.int64)
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
    identified = table[keys].iloc[order[starts]].reset_index(drop=True)
    return pd.concat([identified, summary[SUMMARY]], axis=1)


def _within(
    group: NDArray[np.int64], codes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each row's code counted within its group, and the number of codes of each group.

    Args:
        group: ``(row,)`` the number of each row's group.
        codes: ``(row,)`` numbers, of which each group has some.
    """
    pairs, place = np.unique(group * (codes.max() + 1) + codes, return_inverse=True)
    owner = pairs // (codes.max() + 1)
    first = np.searchsorted(owner, np.arange(owner[-1] + 1))
    return place - first[group], np.bincount(owner)


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
