"""Figures of a leaderboard, from records: skill, skill by mechanism, error against time.

Loads no torch, and leaves the backend of matplotlib as it is.
"""

from collections.abc import Callable, Iterable

import matplotlib
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.analysis.comparable import name_of
from bench.analysis.leaderboard import leaderboard
from bench.analysis.records import CONDITION, IMPUTER
from bench.analysis.standing import milliseconds
from bench.core.errors import InputError, did_you_mean
from bench.report.charts import Sheet, line, plain, plain_ticks, room, tips
from bench.report.looks import STYLE, Looks

ROW = 0.17
"""Height of an imputer's row, inches."""


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
    if figure == "pareto" and "seconds" not in records:
        raise InputError("pareto: the records have no times; load runs whose folder has times.csv")
    by = ["mechanism"] if figure == "mechanisms" else []
    table = leaderboard(records, reference, metric, by=by, windows=windows)
    sheet = Sheet(Looks.named(records["model"].unique()))
    shown = records[(records["metric"] == metric) & (records["predictor"] == "")]
    count = len(shown[CONDITION].drop_duplicates())
    what = f"{shown['dataset'].iloc[0]}; {count} condition{'s' if count > 1 else ''}"
    title = f"{TITLES[figure]} on {what}, {shown['n'].max()} windows"
    return draw(figure, table, records, f"{reference}, {metric}", sheet, title)


def draw(
    figure: str,
    table: pd.DataFrame,
    records: pd.DataFrame,
    against: str,
    sheet: Sheet,
    title: str,
) -> Figure:
    """Draw one of ``FIGURES`` from a table that ``leaderboard`` made of records.

    Args:
        figure: its name.
        table: of ``mechanisms`` by mechanism, of the others over all conditions.
        records: what the table was made from, with ``seconds`` for ``pareto``.
        against: what skill is stated against.
        sheet: how wide the figure is, and how models look.
        title: of the figure.
    """
    table = table.dropna(subset="skill")
    table = table.assign(name=[plain(name_of(*row)) for row in table[IMPUTER].to_numpy()])
    with matplotlib.rc_context(STYLE):
        return FIGURES[figure](table, records, against, sheet, title)


def _skill(
    table: pd.DataFrame, records: pd.DataFrame, against: str, sheet: Sheet, title: str
) -> Figure:
    """Draw a bar per imputer, best on top."""
    figure, axis = sheet.single()
    _rows(axis, table["name"])
    places = np.arange(len(table))
    value = table["skill"].to_numpy()
    beyond = np.abs(table[["skill_low", "skill_high"]].to_numpy().T - value)
    colours = [sheet.looks.style(model)["color"] for model in table["model"]]
    error = {"linewidth": 0.8, "capsize": 2, "ecolor": "0.2"}
    axis.barh(places, value, xerr=beyond, color=colours, error_kw=error)
    axis.axvline(0, color="0.1", linewidth=0.8)
    # Skill is 1 at best but may be -99 at worst.
    axis.set_xscale("symlog", linthresh=1)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set(xlabel=f"skill against {against}; 95 % intervals", xlim=(None, 1))
    return sheet.finish(figure, title, *room(table.set_index("name")[[]], ROW)[:2])


def _mechanisms(
    table: pd.DataFrame, records: pd.DataFrame, against: str, sheet: Sheet, title: str
) -> Figure:
    """Draw the skill of each imputer for each mechanism, best mean on top."""
    wide = table.pivot(index="name", columns="mechanism", values="skill")
    wide = wide[list(dict.fromkeys(table["mechanism"]))]
    wide = wide.loc[wide.clip(lower=-1).mean(axis=1).sort_values(ascending=False).index]
    figure, axis = sheet.single()
    # Brown and green-blue differ with any common colour blindness.
    seaborn.heatmap(
        wide,
        vmin=-1,
        vmax=1,
        cmap="BrBG",
        annot=wide.map(lambda skill: f"{skill:.2f}" if abs(skill) < 10 else f"{skill:.0f}"),
        fmt="",
        annot_kws={"fontsize": min(7.0, 9 * sheet.width / wide.shape[1])},
        cbar=False,
        xticklabels=[plain(str(name)) for name in wide.columns],
        yticklabels=wide.index.to_list(),
        ax=axis,
    )
    axis.set(xlabel="", ylabel="")
    for label in axis.get_xticklabels():
        label.set(rotation=40, horizontalalignment="right")
    axis.tick_params(axis="y", rotation=0)
    values = wide.to_numpy()
    for put, (row, column) in zip(axis.texts, np.argwhere(~np.isnan(values)), strict=True):
        skill = values[row, column]
        tips(put, [f"{wide.index[row]}, {wide.columns[column]}: skill {skill:.4g}"])
    return sheet.finish(figure, f"{title}; skill against {against}", *room(wide, ROW))


def _pareto(
    table: pd.DataFrame, records: pd.DataFrame, against: str, sheet: Sheet, title: str
) -> Figure:
    """Draw the error of each imputer against its time per window."""
    table = table.join(milliseconds(records), on=IMPUTER).dropna(subset="ms")
    table = table.assign(error=1 - table["skill"]).sort_values(["ms", "error"])
    figure, axis = sheet.single()
    best = table[table["error"] < table["error"].cummin().shift(fill_value=np.inf)]
    axis.step(best["ms"], best["error"], where="post", color="0.6", linewidth=1, zorder=1)
    for name, *place in best[["name", "ms", "error"]].itertuples(index=False):
        axis.annotate(name, tuple(place), (4, 3), textcoords="offset points", fontsize=6)
    top = 30 * table["error"].median()
    for row in table.itertuples():
        style = sheet.looks.style(str(row.model), str(row.inference)) | {"markersize": 5}
        point = pd.DataFrame({"value": [row.error]})
        line(axis, np.array([row.ms]), point, str(row.name), style, (0, top), band=False)
    axis.set(xscale="log", yscale="log", xlabel="median time per window, ms")
    axis.set_ylabel(f"geometric mean of error ratios to {against}")
    axis.margins(x=0.15)
    plain_ticks(axis)
    plain_ticks(axis, "y")
    return sheet.finish(figure, title, height=0.45 * sheet.width)


FIGURES: dict[str, Callable[[pd.DataFrame, pd.DataFrame, str, Sheet, str], Figure]] = {
    "skill": _skill,
    "mechanisms": _mechanisms,
    "pareto": _pareto,
}
"""What ``plot`` draws, by name."""
TITLES = {
    "skill": "Skill of imputers",
    "mechanisms": "Skill of imputers by mechanism",
    "pareto": "Error against time",
}


def _rows(axis: Axes, names: Iterable[str]) -> None:
    """Give a panel a row per name, the first on top."""
    labels = list(names)
    axis.set_yticks(np.arange(len(labels)), labels)
    axis.set_ylim(len(labels) - 0.5, -0.5)
