"""Figures of a leaderboard, from records: skill, skill by mechanism, error against time.

Loads no torch, and leaves the backend of matplotlib as it is.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from bench.analysis.comparable import name_of
from bench.analysis.leaderboard import leaderboard
from bench.analysis.records import CONDITION, IMPUTER
from bench.core.errors import InputError, did_you_mean

ROW = 0.24
"""Height of an imputer's row, inches."""
MARGIN = 1.4
"""Height of title and axis, inches."""


def plot(
    records: pd.DataFrame,
    figure: str = "skill",
    *,
    reference: str = "linear",
    metric: str = "mse",
    windows: pd.DataFrame | None = None,
) -> Figure:
    """Draw a figure of one or several runs.

    Args:
        records: rows of ``records.parquet``, of any number of runs (``bench.load``).
        figure: ``skill``, a bar per imputer with its 95 % interval; ``mechanisms``, a heat map of
            skill by imputer and mechanism; ``pareto``, the geometric mean of error ratios against
            the seconds per window that imputing and measuring took, with a line through the
            imputers that no other beats in both.
        reference: the imputer that errors are stated against.
        metric: what is compared, such as ``mse``.
        windows: rows of ``windows.parquet``, for intervals over recordings.

    Returns:
        A figure of matplotlib, not shown yet.

    Raises:
        InputError: there is no such figure, or no times for it, or the records cannot be compared
            (``bench.leaderboard``).
    """
    if figure not in FIGURES:
        raise InputError(f"figure: no {figure}{did_you_mean(figure, FIGURES)}")
    by = ["mechanism"] if figure == "mechanisms" else []
    table = leaderboard(records, reference, metric, by=by, windows=windows)
    table = table.assign(name=[name_of(*row) for row in table[IMPUTER].itertuples(index=False)])
    drawn = FIGURES[figure](table.dropna(subset="skill"), records, f"{reference}, {metric}")
    shown = records[(records["metric"] == metric) & (records["predictor"] == "")]
    count = len(shown[CONDITION].drop_duplicates())
    what = f"{shown['dataset'].iloc[0]}; {count} condition{'s' if count > 1 else ''}"
    drawn.suptitle(f"{what}, {shown['n'].max()} windows", fontsize=8, color="0.4")
    return drawn


def _skill(table: pd.DataFrame, records: pd.DataFrame, against: str) -> Figure:
    """Draw a bar per imputer, best on top."""
    figure, axis = _rows(table["name"])
    places = np.arange(len(table))
    value = table["skill"].to_numpy()
    beyond = np.abs(table[["skill_low", "skill_high"]].to_numpy().T - value)
    axis.barh(places, value, xerr=beyond, color="0.7", error_kw={"linewidth": 1, "capsize": 2})
    axis.axvline(0, color="0.1", linewidth=0.8)
    # Skill is 1 at best but may be -99 at worst.
    axis.set_xscale("symlog", linthresh=1)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set(xlabel=f"skill against {against}; 95 % intervals", xlim=(None, 1))
    return figure


def _mechanisms(table: pd.DataFrame, records: pd.DataFrame, against: str) -> Figure:
    """Draw the skill of each imputer for each mechanism, best mean on top."""
    wide = table.pivot(index="name", columns="mechanism", values="skill")
    wide = wide.loc[wide.clip(lower=-1).mean(axis=1).sort_values(ascending=False).index]
    figure, axis = _rows(wide.index.to_series(), 3 + 0.7 * wide.shape[1])
    image = axis.imshow(wide.to_numpy(), cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    axis.set_xticks(np.arange(wide.shape[1]), wide.columns, rotation=40, ha="right", fontsize=8)
    for (row, column), skill in np.ndenumerate(wide.to_numpy()):
        if not np.isnan(skill):
            colour = "white" if abs(skill) > 0.6 else "black"
            text = f"{skill:.2f}" if abs(skill) < 10 else f"{skill:.0f}"
            axis.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    bar = figure.colorbar(image, ax=axis, extend="min")
    bar.set_label(f"skill against {against}", fontsize=8)
    return figure


def _pareto(table: pd.DataFrame, records: pd.DataFrame, against: str) -> Figure:
    """Draw the error of each imputer against its seconds per window."""
    if "seconds" not in records:
        raise InputError("pareto: the records have no times; load runs whose folder has times.csv")
    timed = records[(records["predictor"] == "") & records["seconds"].notna() & (records["n"] > 0)]
    timed = timed.assign(ms=1000 * timed["seconds"] / timed["n"])
    table = table.join(timed.groupby(IMPUTER)["ms"].median(), on=IMPUTER).dropna(subset="ms")
    table = table.assign(error=1 - table["skill"]).sort_values(["ms", "error"])
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    axis.plot(table["ms"], table["error"], "o", color="C0", markersize=4)
    best = table[table["error"] < table["error"].cummin().shift(fill_value=np.inf)]
    axis.step(best["ms"], best["error"], where="post", color="0.6", linewidth=1)
    for name, *place in table[["name", "ms", "error"]].itertuples(index=False):
        axis.annotate(name, tuple(place), (3, 3), textcoords="offset points", fontsize=7)
    axis.set(xscale="log", yscale="log", xlabel="median time per window, ms")
    axis.set_ylabel(f"geometric mean of error ratios to {against}")
    axis.margins(x=0.15)
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_formatter("{x:g}")
        side.set_minor_formatter(NullFormatter())
    return figure


FIGURES: dict[str, Callable[[pd.DataFrame, pd.DataFrame, str], Figure]] = {
    "skill": _skill,
    "mechanisms": _mechanisms,
    "pareto": _pareto,
}
"""What ``plot`` draws, by name."""


def _rows(names: pd.Series, width: float = 7) -> tuple[Figure, Axes]:
    """Return a figure with a row per name, the first on top."""
    figure = Figure(figsize=(width, MARGIN + ROW * len(names)), layout="constrained")
    axis = figure.subplots()
    axis.set_yticks(np.arange(len(names)), names, fontsize=8)
    axis.set_ylim(len(names) - 0.5, -0.5)
    return figure, axis
