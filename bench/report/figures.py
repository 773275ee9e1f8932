"""The figures of a run: PDF for print, PNG, and SVG for the report page.

The paper's (Figs. 4 to 7), detection, comparisons and ranks; and, of the imputers' standing: skill
by level and by mechanism, error by the duration of gaps, error against time, and calibration. Each
is a function of the run's results and of a sheet, which says how wide it is and how models look.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogFormatter, NullLocator, SymmetricalLogLocator

from bench.analysis import tables
from bench.analysis.forecasting import CHANGE, GAIN, idle, telling
from bench.analysis.records import IMPUTER
from bench.analysis.results import Results
from bench.analysis.standing import Standing, milliseconds
from bench.core.errors import InputError, did_you_mean
from bench.core.processes import ALONE, Beside
from bench.metrics.probabilistic import COVERAGES
from bench.motion.mechanisms.base import Level
from bench.report import leaderboard
from bench.report.charts import SUFFIXES, Sheet, line, plain, plain_ticks, room, save, tips
from bench.report.critical_difference import rank_diagram
from bench.report.looks import LINES, PAGE, Looks, name_of
from bench.sweep.forecasts import AVERAGE
from bench.sweep.jobs import DEGRADED

WORST_CHANGE = 150.0
"""Per cent of change above which figures do not show how much worse a value is."""
SKILLS = (-999.0, -99.0, -9.0, -1.0, 0.0, 0.5, 0.9, 0.99, 0.999)
"""Ticks of skill; their ends are the farthest ends of its axis."""
SHORT = 160.0
"""Horizon in ms that Fig. 7 shows beside the whole future, or the nearest one there is."""
SHARE = "features hidden, %"
SCORE = "nlp"
"""The metric per window that Figs. 4 and 5 show."""


def begin_all(
    found: Results,
    folder: Path,
    standing: Standing | None = None,
    others: Beside = ALONE,
) -> Callable[[], list[Path]]:
    """Begin to draw every figure that the run has the numbers for, into a folder.

    Returns:
        What waits until all are there, and returns the PNG files.
    """
    sheet = sheet_of(found)
    # Of the values per window, figures show these alone, and other processes get a copy of them.
    shown = replace(found.with_values, values=found.values[found.values["metric"] == SCORE])
    begun = [others.submit(write, name, shown, folder, standing, sheet) for name in FIGURES]
    return lambda: [path for ended in begun if (path := ended()) is not None]


def write(
    name: str,
    found: Results,
    folder: Path,
    standing: Standing | None,
    sheet: Sheet,
    suffixes: Sequence[str] = SUFFIXES,
) -> Path | None:
    """Draw one of ``FIGURES`` into a folder; return the PNG's path, None without the numbers."""
    # Searching the millions of objects of a figure for garbage takes a fifth of the time.
    gc.disable()
    try:
        figure = draw(name, found, standing, sheet)
        return None if figure is None else save(figure, folder, name, suffixes)
    finally:
        gc.enable()


def sheet_of(found: Results) -> Sheet:
    """Return what all figures of a run have in common."""
    return Sheet(Looks.of(found.protocol), found.basis)


def draw(name: str, found: Results, standing: Standing | None, sheet: Sheet) -> Figure | None:
    """Draw one of ``FIGURES``; None if the run has not the numbers for it."""
    with matplotlib.rc_context(sheet.style):
        figure = FIGURES[name](found.with_values, standing, sheet)
        if figure is not None:
            # In inches, since a share of the height would reach into the legend of tall figures.
            place = 0.04 / figure.get_figheight()
            figure.supxlabel(plain(sheet.basis), fontsize=6, color="0.4", y=place)
    return figure


def find(name: str) -> str:
    """Return the figure of a name, or of a number of the paper's; raises InputError for others."""
    numbered = {one.removeprefix("fig").partition("_")[0]: one for one in FIGURES if "fig" in one}
    chosen = numbered.get(name, name)
    if chosen not in FIGURES:
        raise InputError(f"figure: no {name}{did_you_mean(name, [*FIGURES, *numbered])}")
    return chosen


def posterior(values: pd.DataFrame, label: str, sheet: Sheet) -> Figure | None:
    """Fig. 4: log posterior of ground truth, degraded input and completion, by share hidden.

    Mean over windows, and one standard deviation between them, as in the paper.

    Args:
        values: per-window values (``records.windows``).
        label: the data set.
        sheet: what all figures have in common.

    Returns:
        The figure; None without such scores.
    """
    panels = list(_panels(values))
    if not panels:
        return None
    figure, axes = sheet.panels(len(panels))
    for axis, ((model, mechanism), clean, hidden) in zip(axes, panels, strict=True):
        mean, deviation = -clean["value"].mean(), clean["value"].std()
        lowest = mean
        axis.axhline(mean, color="0.25", linestyle="--", linewidth=0.8, label="ground truth")
        axis.axhspan(mean - deviation, mean + deviation, color="0.25", alpha=0.12, linewidth=0)
        for name, group in hidden.groupby("inference", sort=False, observed=True):
            shares, by_level = _by_level(group)
            centre, spread = -by_level.mean()[shares.index], by_level.std()[shares.index]
            shown = pd.DataFrame({"value": centre, "low": centre - spread, "high": centre + spread})
            style = sheet.looks.style(model, str(name))
            top = mean + 3 * deviation
            # Bands that reach far above the ground truth only say that the scores are skewed.
            line(axis, 100 * shares.to_numpy(), shown, _state(model, str(name)), style,
                 (-np.inf, top), unit="nats")  # fmt: skip
            lowest = min(lowest, float(centre.min()))
            axis.set_ylim(top=top)
        _by_share(axis, title=plain(f"{model}, {mechanism}"))
        plain_ticks(axis)
        _signed_log(axis, around=abs(mean) + deviation, lowest=lowest)
    axes[0].set_ylabel("log posterior, nats")
    return sheet.finish(figure, f"Log posterior on {label}; band: one s.d. over windows")


def posterior_change(values: pd.DataFrame, label: str, sheet: Sheet) -> Figure | None:
    """Fig. 5: per-cent change of the mean negative log posterior against ground truth, log-log.

    Where the posterior is above that of ground truth the change is negative: these points are drawn
    at their absolute value, hollow. Arguments are those of ``posterior``.
    """
    panels: dict[str, list[tuple[str, pd.DataFrame, pd.DataFrame]]] = {}
    for (model, mechanism), clean, hidden in _panels(values):
        panels.setdefault(mechanism, []).append((model, clean, hidden))
    if not panels:
        return None
    figure, axes = sheet.panels(len(panels), sharex=True)
    for axis, (mechanism, scored) in zip(axes, panels.items(), strict=True):
        for model, clean, hidden in scored:
            _changes(axis, model, float(clean["value"].mean()), hidden, sheet)
        _by_share(axis, yscale="log", title=plain(mechanism))
        plain_ticks(axis)
        # Powers of ten, as 6 x 10^1 or 100000, would reach into what is on the left.
        axis.yaxis.set_major_formatter(_decade)
        axis.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.0, 0.4)))
    axes[0].set_ylabel("|change of -log posterior|, %")
    return sheet.finish(figure, f"Change against ground truth on {label}; hollow: negative")


def _changes(axis: Axes, model: str, reference: float, hidden: pd.DataFrame, sheet: Sheet) -> None:
    """Draw the change of a model's scores against those of ground truth after each inference."""
    for name, group in hidden.groupby("inference", sort=False, observed=True):
        share, by_level = _by_level(group)
        change = 100 * (by_level.mean()[share.index] - reference) / abs(reference)
        shares = 100 * share.to_numpy()
        style = sheet.looks.style(model, str(name))
        table = pd.DataFrame({"value": change.abs()})
        line(axis, shares, table, _state(model, str(name)), style, band=False, unit="%")
        lower = (change < 0).to_numpy()
        hollow = style | {"linestyle": "none", "markerfacecolor": "white", "markeredgewidth": 1}
        axis.plot(shares[lower], change.abs()[lower], **hollow)


def mse_change(table: pd.DataFrame, label: str, sheet: Sheet) -> Figure | None:
    """Fig. 6: per-cent change of MSE against mean imputation, with 95 % intervals.

    Args:
        table: as ``tables.imputation`` returns it.
        label: the data set.
        sheet: what all figures have in common.
    """
    chosen = table[(table["metric"] == "change_vs_mean") & (table["model"] != "mean")]
    if chosen.empty:
        return None
    panels = list(chosen.groupby("mechanism", sort=False))
    figure, axes = sheet.panels(len(panels), sharey=True)
    limits = (-105.0, min(float(chosen["value"].max()) + 10, WORST_CHANGE))
    for axis, mechanism, _ in _by_imputer(axes, panels, sheet, limits, "%"):
        axis.axhline(0, color="0.25", linewidth=0.8, label="mean imputation")
        axis.axhline(-77, color="0.25", linewidth=0.8, linestyle=":", label="paper: HG-VAE, -77 %")
        _by_share(axis, title=plain(str(mechanism)))
        axis.set_ylim(limits[0] - 5, limits[1] + 10)
        plain_ticks(axis)
    axes[0].set_ylabel("change of MSE against mean, %")
    return sheet.finish(figure, f"Imputation error on {label}; negative is better")


def skill(found: Results, standing: Standing | None, sheet: Sheet) -> Figure | None:
    """Skill of each imputer by level, a panel per mechanism, on an axis of error ratios.

    1 is perfect, 0 as good as the reference, -1 twice its MSE. The axis is that of the logarithm of
    1 - skill, so that equal distances are equal ratios of errors.
    """
    if standing is None:
        return None
    chosen = found.imputation
    chosen = chosen[chosen["metric"] == f"change_vs_{standing.reference}"]
    if chosen.empty:
        return None
    panels = list(chosen.groupby("mechanism", sort=False))
    figure, axes = sheet.panels(len(panels), sharey=True)
    free = ~chosen["model"].map({k: e.cls.control for k, e in found.protocol.models.items()})
    ticks = _skills(chosen.loc[free.astype(bool), "value"] / -100)
    for axis, (mechanism, here) in zip(axes, panels, strict=True):
        levels = list(here["level"].unique())
        for name, style, group in _imputers(here, sheet):
            numbers = group[["value", "low", "high"]].to_numpy(np.float64) / -100
            shown = pd.DataFrame(numbers, columns=["value", "high", "low"])
            places = [levels.index(level) for level in group["level"]]
            line(axis, places, shown, name, style, (ticks[0], ticks[-1]))
        axis.axhline(0, color="0.25", linewidth=0.8)
        axis.set(title=plain(str(mechanism)), xlim=(-0.4, len(levels) - 0.6))
        # Words that would run into each other are turned.
        turned = sum(map(len, levels)) > 16
        axis.set_xticks(range(len(levels)), levels)
        axis.tick_params(axis="x", labelrotation=35 * turned)
    axes[0].set_yscale("function", functions=(_shrink, _stretch))
    axes[0].set_ylim(*(1 - (1 - np.array(ticks)[[0, -1]]) * [1.4, 1 / 1.4]))
    axes[0].yaxis.set_major_locator(FixedLocator(ticks))
    axes[0].yaxis.set_minor_locator(NullLocator())
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].set_ylabel(f"skill against {standing.reference}")
    return sheet.finish(figure, f"Skill of imputers by level on {found.label}")


def durations(found: Results, standing: Standing | None, sheet: Sheet) -> Figure | None:
    """MPJPE of each imputer by the duration of gaps, a panel per mechanism that has one."""
    table = found.imputation
    chosen = table[table["metric"] == "mpjpe"]
    levels = {level: Level.parse(_parsed(level)) for level in chosen["level"].unique()}
    timed = [level for level, parsed in levels.items() if parsed.kind == "duration"]
    chosen = chosen[chosen["level"].isin(timed)]
    if chosen.empty:
        return None
    fps = found.protocol.spec.fps
    frames = {level: 1000 * levels[level].duration(fps) / fps for level in timed}
    chosen = chosen.assign(ms=chosen["level"].map(frames))
    panels = list(chosen.groupby("mechanism", sort=False))
    figure, axes = sheet.panels(len(panels), sharey=True)
    limits = _usual(chosen["value"])
    axes[0].set(yscale="log", ylim=(limits[0] / 1.3, limits[1] * 1.3))
    for axis, (mechanism, here) in zip(axes, panels, strict=True):
        for name, style, group in _imputers(here, sheet):
            ordered = group.sort_values("ms")
            line(axis, ordered["ms"], ordered, name, style, limits, unit="mm")
        axis.set(title=plain(str(mechanism)), xlabel="hidden, ms")
        plain_ticks(axis, "y")
    axes[0].set_ylabel("MPJPE of hidden joints, mm")
    return sheet.finish(figure, f"Error by the duration of gaps on {found.label}")


def calibration(found: Results, standing: Standing | None, sheet: Sheet) -> Figure | None:
    """Share of hidden features within central intervals against the intervals' probability."""
    names = {f"coverage{level}": float(level) for level in COVERAGES}
    table = found.imputation
    chosen = table[table["metric"].isin(names)]
    if chosen.empty:
        return None
    chosen = chosen.assign(nominal=chosen["metric"].map(names))
    panels = list(chosen.groupby("mechanism", sort=False))
    figure, axes = sheet.panels(len(panels), sharex=True, sharey=True)
    for axis, (mechanism, here) in zip(axes, panels, strict=True):
        axis.plot([0, 100], [0, 100], color="0.25", linewidth=0.8, label="calibrated")
        for name, style, group in _imputers(here, sheet):
            mean = group.groupby("nominal")[["value"]].mean().reset_index()
            line(axis, mean["nominal"], mean, name, style, band=False, unit="%")
        axis.set(title=plain(str(mechanism)), xlim=(45, 100), ylim=(0, 102))
        axis.set_xlabel("central interval, %")
    axes[0].set_ylabel("hidden features in it, %")
    return sheet.finish(figure, f"Calibration on {found.label}; mean over levels")


def predictors(table: pd.DataFrame, label: str, sheet: Sheet) -> Figure | None:
    """Change of each predictor's error against standing still by horizon, from the true past.

    Args:
        table: as ``forecasting.table`` returns it.
        label: the data set.
        sheet: what all figures have in common.
    """
    gains = table[table["metric"] == GAIN]
    if gains.empty:
        return None
    gains = gains[gains["horizon_ms"].notna()]
    figure, axis = sheet.single()
    silent = idle(table)
    looks = Looks.named(list(gains["predictor"].unique()))
    for which, rows in gains.groupby("predictor", sort=False):
        predictor = str(which)
        name = f"{predictor} (no better)" if predictor in silent else predictor
        limits = (-100.0, WORST_CHANGE)
        line(axis, rows["horizon_ms"], rows, name, looks.style(predictor), limits, unit="%")
    axis.axhline(0, color="0.25", linewidth=0.8, label="standing still")
    axis.set(xlabel="horizon, ms", ylabel="change of MPJPE, %")
    return sheet.finish(figure, f"Prediction from the true past against standing still on {label}")


def forecasts(table: pd.DataFrame, label: str, sheet: Sheet) -> Figure | None:
    """Fig. 7: error of each predictor by the imputer that completed its past.

    At a short horizon and over the whole future, of predictors that are better than standing still
    alone. Without intervals: errors differ far more between recordings than between imputers, and
    in the same way for all imputers. ``forecast_changes`` shows intervals of the differences.

    Args:
        table: as ``forecasting.table`` returns it.
        label: the data set.
        sheet: what all figures have in common.
    """
    if table.empty:
        return None
    silent, kept = idle(table), telling(table)
    wholes = kept["metric"] == AVERAGE
    horizons = kept.loc[kept["metric"] == "mpjpe", "horizon_ms"].unique()
    panels = _forecast_panels(kept[wholes], AVERAGE)
    if not panels:
        return None
    chosen = [("whole future", wholes)]
    if len(horizons):
        short = min(horizons, key=lambda horizon: abs(horizon - SHORT))
        at = (kept["metric"] == "mpjpe") & (kept["horizon_ms"] == short)
        chosen.insert(0, (f"at {short:.0f} ms", at))
    shown = [
        (when, names, kept[rows & (kept["predictor"] == names[0])])
        for names, _ in panels
        for when, rows in chosen
    ]
    figure, axes = sheet.panels(len(shown))
    for axis, (when, (predictor, mechanism), rows) in zip(axes, shown, strict=True):
        here, clean = rows[rows["mechanism"] == mechanism], rows[rows["mechanism"] == ""]
        # A control far above all others would leave no room to distinguish those.
        usual = here.loc[here["model"] == "mean", "value"]
        top = min(1.5 * usual.max() if len(usual) else np.inf, 1.05 * here["value"].max())
        lowest = 0.95 * min([here["value"].min(), *clean["value"]])
        for _ in _by_imputer([axis], [(when, here)], sheet, (lowest, top), "mm", band=False):
            for value in clean["value"]:
                axis.axhline(value, color="0.25", linewidth=0.8, label="true past")
        axis.set_ylim(lowest, top + 0.03 * (top - lowest))
        _by_share(axis, title=plain(f"{predictor},\n{mechanism}, {when}"))
        axis.title.set_fontsize(6)  # long, and panels are narrow
        plain_ticks(axis)
    axes[0].set_ylabel("MPJPE of the future, mm")
    left_out = f"; left out: {', '.join(silent)}, no better than standing still" if silent else ""
    return sheet.finish(figure, f"Prediction from completed pasts on {label}{left_out}")


def forecast_changes(table: pd.DataFrame, label: str, sheet: Sheet) -> Figure | None:
    """Change of each predictor's error by completing its past, with 95 % intervals.

    Arguments are those of ``forecasts``.
    """
    panels = _forecast_panels(telling(table), CHANGE)
    if not panels:
        return None
    figure, axes = sheet.panels(len(panels), sharey=True)
    limits = (-100.0, WORST_CHANGE)
    for axis, (predictor, mechanism), _ in _by_imputer(axes, panels, sheet, limits, "%"):
        axis.axhline(0, color="0.25", linewidth=0.8, label="mean imputation")
        _by_share(axis, title=plain(f"{predictor}, {mechanism}"))
        axis.set_yscale("symlog", linthresh=1)
        axis.set_ylim(-130, 1.3 * WORST_CHANGE)
        plain_ticks(axis)
        plain_ticks(axis, "y")
    axes[0].set_ylabel("change of MPJPE, %")
    return sheet.finish(
        figure, f"Prediction from completed pasts against mean imputation on {label}"
    )


def auroc(table: pd.DataFrame, label: str, sheet: Sheet) -> Figure | None:
    """How well each score distinguishes degraded windows from clean ones, by share hidden.

    Args:
        table: as ``ood.detection`` returns it.
        label: the data set.
        sheet: what all figures have in common.
    """
    if table.empty:
        return None
    whole = ~table["score"].str.match(r"nlp_z\d")
    chosen = table[(table["metric"] == "auroc") & whole & (table["share"] > 0)]
    if chosen.empty:
        return None
    panels = list(chosen.groupby("mechanism", sort=False))
    styles = dict(zip(chosen["score"].unique(), cycle(LINES), strict=False))
    figure, axes = sheet.panels(len(panels), sharey=True)
    for axis, (mechanism, here) in zip(axes, panels, strict=True):
        for (model, score), group in here.groupby(["model", "score"], sort=False):
            style = sheet.looks.style(str(model)) | {"linestyle": styles[score]}
            ordered = group.sort_values("share")
            line(axis, 100 * ordered["share"], ordered, name_of(str(model), str(score)), style)
        axis.axhline(0.5, color="0.25", linewidth=0.8, label="chance")
        _by_share(axis, title=plain(str(mechanism)), ylim=(0, 1.02))
        plain_ticks(axis)
    axes[0].set_ylabel("AUROC, degraded against clean")
    return sheet.finish(figure, f"Detection of hidden features on {label}", height=2.0)


def comparisons(table: pd.DataFrame, label: str, sheet: Sheet) -> Figure | None:
    """The protocol's comparisons: change of MSE of one imputer against another, by level.

    Args:
        table: as ``tables.comparisons`` returns it.
        label: the data set.
        sheet: what all figures have in common.
    """
    if table.empty:
        return None
    columns = tables.conditions(table)
    long = table.assign(column=columns)
    wide = long.pivot(index="comparison", columns="column", values="value")
    wide = wide.loc[long["comparison"].unique(), columns.unique()].astype(float)
    figure, axis = sheet.single()
    axis.grid(visible=False)
    # Beyond twice as bad it does not matter how bad.
    axis.imshow(wide.clip(upper=100), cmap="PuOr_r", vmin=-100, vmax=100, aspect="auto")
    axis.set_xticks(np.arange(wide.shape[1]), map(plain, wide.columns), rotation=40, ha="right")
    axis.set_yticks(np.arange(len(wide)), map(plain, wide.index))
    size = min(7.0, 60 * sheet.width / PAGE / wide.shape[1])
    for (row, column), change in np.ndenumerate(wide.to_numpy()):
        if np.isfinite(change):
            text = axis.text(column, row, f"{change:.0f}", ha="center", va="center", fontsize=size)
            text.set_color("white" if abs(change) > 70 else "black")
            tips(text, [f"{wide.index[row]}, {wide.columns[column]}: {change:.4g} %"])
    title = f"Change of MSE on {label}; negative is better (paper: -77 %)"
    return sheet.finish(figure, title, *room(wide, 0.2))


def _of_values(
    function: Callable[[pd.DataFrame, str, Sheet], Figure | None], name: str
) -> "Figured":
    """Return a figure of one attribute of ``Results``."""
    return lambda found, _, sheet: function(getattr(found, name), found.label, sheet)


def _standing(figure: str) -> "Figured":
    """Return a figure of ``bench.plot`` by its name."""

    def drawn(found: Results, standing: Standing | None, sheet: Sheet) -> Figure | None:
        if standing is None or (figure == "pareto" and milliseconds(standing.records).empty):
            return None
        table = standing.by_mechanism if figure == "mechanisms" else standing.overall
        against = f"{standing.reference}, mse"
        title = f"{leaderboard.TITLES[figure]} on {found.label}"
        return leaderboard.draw(figure, table, standing.records, against, sheet, title)

    return drawn


Figured = Callable[[Results, Standing | None, Sheet], Figure | None]
FIGURES: dict[str, Figured] = {
    "skill": skill,
    "mechanisms": _standing("mechanisms"),
    "durations": durations,
    "pareto": _standing("pareto"),
    "calibration": calibration,
    "ranks": lambda found, _, sheet: rank_diagram(found.ranks, found.label, sheet),
    "fig4_posterior": _of_values(posterior, "values"),
    "fig5_posterior_change": _of_values(posterior_change, "values"),
    "fig6_mse_change": _of_values(mse_change, "imputation"),
    "predictors": _of_values(predictors, "forecasting"),
    "fig7_forecasting": _of_values(forecasts, "forecasting"),
    "forecasting_change": _of_values(forecast_changes, "forecasting"),
    "auroc": _of_values(auroc, "detection"),
    "comparisons": _of_values(comparisons, "comparisons"),
}
"""Every figure of a run by the name of its files, in the order of the page."""


def _forecast_panels(table: pd.DataFrame, metric: str) -> list[tuple[Any, pd.DataFrame]]:
    """Return the rows of completed pasts by predictor and mechanism."""
    if table.empty:
        return []
    chosen = table[(table["metric"] == metric) & (table["mechanism"] != "")]
    if metric == CHANGE:
        chosen = chosen[chosen["model"] != "mean"]
    return list(chosen.groupby(["predictor", "mechanism"], sort=False))


def _by_imputer(
    axes: list[Axes],
    panels: Sequence[tuple[Any, pd.DataFrame]],
    sheet: Sheet,
    limits: tuple[float, float],
    unit: str,
    band: bool = True,
) -> Iterator[tuple[Axes, Any, pd.DataFrame]]:
    """Draw a line per imputer by share into each panel; yield the panel with its keys and rows."""
    for axis, (names, here) in zip(axes, panels, strict=True):
        for name, style, group in _imputers(here, sheet):
            ordered = group.sort_values("share")
            line(axis, 100 * ordered["share"], ordered, name, style, limits, band, unit)
        yield axis, names, here


def _skills(values: "pd.Series[float]") -> list[float]:
    """Return the ticks around skills, those of 0 and its neighbours at least."""
    low, high = min(values.min(), -0.5), max(values.max(), 0.1)
    neighbours = zip((-np.inf, *SKILLS[:-1]), SKILLS, (*SKILLS[1:], np.inf), strict=True)
    ticks = [tick for below, tick, above in neighbours if above > low and below < high]
    # On a long axis these two would touch that of 0.
    return [tick for tick in ticks if len(ticks) < 6 or tick not in (-1, 0.5)]


def _imputers(
    table: pd.DataFrame, sheet: Sheet
) -> Iterator[tuple[str, dict[str, Any], pd.DataFrame]]:
    """Yield the name, the style and the rows of each imputer of a table."""
    for (model, inference), rows in table.groupby(IMPUTER, sort=False):
        model, inference = str(model), str(inference)
        yield name_of(model, inference), sheet.looks.style(model, inference), rows


def _usual(values: pd.Series) -> tuple[float, float]:
    """Return limits of a logarithmic axis that a few absurd values do not stretch."""
    positive = values[values > 0]
    top = min(float(positive.max()), 30 * float(positive.median()))
    return max(float(positive.min()), top / 1e4), top


def _parsed(level: str) -> int | str:
    """Return a level as protocols write it: a count is a number there."""
    return int(level) if level.isdecimal() else level


def _shrink(skills: Any) -> Any:
    return -np.log(np.maximum(1 - np.asarray(skills, np.float64), 1e-9))


def _stretch(places: Any) -> Any:
    return 1 - np.exp(-np.asarray(places, np.float64))


def _decade(value: float, place: float) -> str:
    """Return a power of ten in few letters: 0.01 to 1000 as they are, others as 1e4 or 1e-3."""
    if 1e-2 <= value < 1e4:
        return f"{value:g}"
    digit, exponent = f"{value:.0e}".split("e")
    return f"{digit}e{int(exponent)}"


def _thousands(value: float, place: float) -> str:
    """Return a number in few letters: -20k, since -20000 would reach into what is on the left."""
    text = f"{value / 1000:g}k" if abs(value) >= 1e4 else f"{value:g}"
    return text.replace("-", "\N{MINUS SIGN}")


def _by_share(axis: Axes, **settings: Any) -> None:
    """Make the x axis that of shares hidden, logarithmic, and set what else is given."""
    least, most = axis.dataLim.intervalx
    alone = len(axis.get_shared_x_axes().get_siblings(axis)) == 1
    # A single level has no width but rounding; limits of a shared axis would cut other panels off.
    if np.isclose(least, most) and alone:
        axis.set_xlim(least / 2, most * 2)
    # Once for panels that share the axis: each would set that of all.
    if axis.get_xscale() != "log":
        axis.set_xscale("log")
    axis.set(xlabel=SHARE, **settings)


def _by_level(scores: pd.DataFrame) -> tuple[pd.Series, Any]:
    """Return the mean share that is hidden at each level, ascending, and the scores by level.

    Windows of one level may lack different shares: what a body hides of itself, for instance.
    """
    groups = scores.groupby("level", sort=False, observed=True)
    return groups["share"].mean().sort_values(), groups["value"]


def _panels(
    values: pd.DataFrame,
) -> Iterator[tuple[tuple[str, str], pd.DataFrame, pd.DataFrame]]:
    """Yield, per scoring model and mechanism: both, its clean scores, its other scores."""
    scores = values[values["metric"] == SCORE]
    hidden = scores[(scores["share"] > 0) & (scores["inference"] != "")]
    grouped = hidden.groupby(["model", "mechanism"], sort=False, observed=True)
    for (model, mechanism), group in grouped:
        clean = scores[(scores["model"] == model) & (scores["mechanism"] == "")]
        if not clean.empty:
            yield (str(model), str(mechanism)), clean, group


def _signed_log(axis: Axes, around: float, lowest: float) -> None:
    """Make the y axis linear up to the power of ten above ``around``, logarithmic beyond.

    It stays linear if ``lowest`` is not far beyond.
    """
    threshold = 10.0 ** np.ceil(np.log10(max(around, 1.0)))
    if -lowest < 2 * threshold:
        axis.yaxis.set_major_formatter(_thousands)
        return
    axis.set_yscale("symlog", linthresh=threshold)
    locator = SymmetricalLogLocator(base=10, linthresh=threshold)
    locator.set_params(numticks=6)
    axis.yaxis.set_major_locator(locator)


def _state(model: str, inference: str) -> str:
    return f"{model}, " + ("degraded (mean)" if inference == DEGRADED else f"after {inference}")
