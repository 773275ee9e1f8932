"""The paper's figures, for any run: PDF for print, PNG for the report page."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import SymmetricalLogLocator

from bench.analysis.forecasting import CHANGE
from bench.analysis.results import Results
from bench.core.files import atomic_file
from bench.report.critical_difference import rank_diagram
from bench.sweep.forecasts import AVERAGE
from bench.sweep.jobs import DEGRADED


def write_all(found: Results, folder: Path) -> list[Path]:
    """Draw every figure that the run has the numbers for, into a folder; return the PNG files."""
    found = found.with_values
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind")
    drawn = {
        "fig4_posterior": posterior(found.values, found.label),
        "fig5_posterior_change": posterior_change(found.values, found.label),
        "fig6_mse_change": mse_change(found.imputation, found.label),
        "ranks": rank_diagram(found.ranks, found.label),
        "fig7_forecasting": forecasts(found.forecasting, found.label),
        "forecasting_change": forecast_changes(found.forecasting, found.label),
        "auroc": auroc(found.detection, found.label),
        "comparisons": comparisons(found.comparisons, found.label),
    }
    written = []
    for name, figure in drawn.items():
        if figure is None:
            continue
        figure.supxlabel(found.basis, fontsize=7, color="0.4")
        written.append(save(figure, folder, name))
    return written


def save(figure: Figure, folder: Path, name: str) -> Path:
    """Write a figure as PDF and as PNG; return the PNG."""
    for suffix in ("pdf", "png"):
        with atomic_file(folder / f"{name}.{suffix}") as draft:
            figure.savefig(draft, dpi=200, bbox_inches="tight")
    return folder / f"{name}.png"


def posterior(values: pd.DataFrame, label: str) -> Figure | None:
    """Fig. 4: log posterior of ground truth, degraded input and completion, by share hidden.

    Mean over windows, and one standard deviation between them, as in the paper.

    Args:
        values: per-window values (``records.windows``).
        label: the data set.

    Returns:
        The figure; None without such scores.
    """
    panels = list(_panels(values))
    if not panels:
        return None
    figure, axes = _grid(len(panels))
    colours = _colours(values["inference"].unique())
    for axis, (title, clean, hidden) in zip(axes, panels, strict=True):
        mean, deviation = -clean["value"].mean(), clean["value"].std()
        lowest = mean
        axis.axhline(mean, color="0.25", linestyle="--", label="ground truth")
        axis.axhspan(mean - deviation, mean + deviation, color="0.25", alpha=0.15)
        for name, group in hidden.groupby("inference", sort=False):
            by_share = group.groupby("share")["value"]
            centre, spread = -by_share.mean(), by_share.std()
            shares = 100 * centre.index.to_numpy()
            colour = colours[str(name)]
            axis.plot(shares, centre, "o-", markersize=3, label=_state(str(name)), color=colour)
            axis.fill_between(shares, centre - spread, centre + spread, color=colour, alpha=0.15)
            lowest = min(lowest, float(centre.min()))
        _by_share(axis, title=title)
        _signed_log(axis, around=abs(mean) + deviation, lowest=lowest)
        # Bands that reach far above the ground truth only say that the scores are skewed.
        axis.set_ylim(top=mean + 3 * deviation)
    axes[0].set_ylabel("log posterior, nats")
    _legend(figure)
    return _titled(figure, f"Log posterior on {label}; band: one s.d. over windows")


def posterior_change(values: pd.DataFrame, label: str) -> Figure | None:
    """Fig. 5: per-cent change of the mean negative log posterior against ground truth, log-log.

    Where the posterior is above that of ground truth the change is negative: these points are drawn
    at their absolute value, as downward triangles. Arguments are those of ``posterior``.
    """
    panels = list(_panels(values))
    if not panels:
        return None
    figure, axes = _grid(len(panels))
    colours = _colours(values["inference"].unique())
    for axis, (title, clean, hidden) in zip(axes, panels, strict=True):
        reference = clean["value"].mean()
        for name, group in hidden.groupby("inference", sort=False):
            mean = group.groupby("share")["value"].mean()
            change = 100 * (mean - reference) / abs(reference)
            shares = 100 * change.index.to_numpy()
            axis.plot(shares, change.abs(), label=_state(str(name)), color=colours[str(name)])
            for lower, marker in ((change < 0, "v"), (change >= 0, "o")):
                axis.plot(
                    shares[lower],
                    change.abs()[lower],
                    linestyle="none",
                    marker=marker,
                    markersize=4,
                    color=colours[str(name)],
                )
        _by_share(axis, yscale="log", title=title)
    axes[0].set_ylabel("|change of -log posterior|, %")
    _legend(figure)
    return _titled(figure, f"Change against ground truth on {label}; triangles: negative")


def mse_change(table: pd.DataFrame, label: str) -> Figure | None:
    """Fig. 6: per-cent change of MSE against mean imputation, with 95 % intervals.

    Args:
        table: as ``tables.imputation`` returns it.
        label: the data set.
    """
    chosen = table[(table["metric"] == "change_vs_mean") & (table["model"] != "mean")]
    if chosen.empty:
        return None
    panels = list(chosen.groupby("mechanism", sort=False))
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns + 1.4, 4.0 * rows), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(rows, columns, sharey=True)).flat)
    for spare in axes[len(panels) :]:
        spare.remove()
    for axis, mechanism, _ in _by_imputer(axes[: len(panels)], panels, band=True):
        axis.axhline(0, color="0.25", linewidth=1, label="mean imputation")
        axis.axhline(-77, color="0.25", linewidth=1, linestyle=":", label="paper's HG-VAE, -77 %")
        _by_share(axis, title=mechanism)
        axis.set_yscale("symlog", linthresh=100)
        # How much worse a value is beyond this does not matter.
        axis.set_ylim(-110, min(float(chosen["value"].max()) + 100, 1e4))
    for first in axes[: len(panels) : columns]:
        first.set_ylabel("change of MSE against mean, %")
    _legend(figure)
    return _titled(figure, f"Imputation error on {label}; negative is better")


def forecasts(table: pd.DataFrame, label: str) -> Figure | None:
    """Fig. 7: error of each predictor by the imputer that completed its past.

    Without intervals: errors differ far more between recordings than between imputers, and in the
    same way for all imputers. ``forecast_changes`` shows intervals of the differences.

    Args:
        table: as ``forecasting.table`` returns it.
        label: the data set.
    """
    panels = _forecast_panels(table, AVERAGE)
    if not panels:
        return None
    figure, axes = _grid(len(panels))
    average = table[table["metric"] == AVERAGE]
    for axis, (predictor, mechanism), here in _by_imputer(axes, panels, band=False):
        clean = average[(average["predictor"] == predictor) & (average["mechanism"] == "")]
        for value in clean["value"]:
            axis.axhline(value, color="0.25", linewidth=1, label="true past")
        # A control far above all others would leave no room to distinguish those.
        usual = here.loc[here["model"] == "mean", "value"]
        top = 1.5 * usual.max() if len(usual) else here["value"].max()
        lowest = min([here["value"].min(), *clean["value"]])
        axis.set_ylim(0.95 * lowest, min(top, 1.05 * here["value"].max()))
        _by_share(axis, title=f"{predictor}, {mechanism}")
    axes[0].set_ylabel("MPJPE over the future, mm")
    _legend(figure)
    return _titled(figure, f"Prediction from completed pasts on {label}")


def forecast_changes(table: pd.DataFrame, label: str) -> Figure | None:
    """Change of each predictor's error by completing its past, with 95 % intervals.

    Arguments are those of ``forecasts``.
    """
    panels = _forecast_panels(table, CHANGE)
    if not panels:
        return None
    figure, axes = _grid(len(panels))
    for axis, (predictor, mechanism), _ in _by_imputer(axes, panels, band=True):
        axis.axhline(0, color="0.25", linewidth=1, label="mean imputation")
        _by_share(axis, title=f"{predictor}, {mechanism}")
        axis.set_yscale("symlog", linthresh=1)
        axis.set_ylim(-100, 200)
    axes[0].set_ylabel("change of MPJPE against mean, %")
    _legend(figure)
    return _titled(figure, f"Prediction from completed pasts on {label}; negative is better")


def _forecast_panels(table: pd.DataFrame, metric: str) -> list[tuple[Any, pd.DataFrame]]:
    """Return the rows of completed pasts by predictor and mechanism."""
    if table.empty:
        return []
    chosen = table[(table["metric"] == metric) & (table["mechanism"] != "")]
    if metric == CHANGE:
        chosen = chosen[chosen["model"] != "mean"]
    return list(chosen.groupby(["predictor", "mechanism"], sort=False))


def _by_imputer(
    axes: list[Axes], panels: Sequence[tuple[Any, pd.DataFrame]], band: bool
) -> Iterator[tuple[Axes, Any, pd.DataFrame]]:
    """Draw a line per imputer into each panel, and yield the panel with its keys and rows."""
    everywhere = pd.concat([here for _, here in panels])
    colours = _colours(everywhere["model"].unique())
    styles = _styles(everywhere["inference"].unique())
    for axis, (names, here) in zip(axes, panels, strict=True):
        for (model, inference), group in here.groupby(["model", "inference"], sort=False):
            name = f"{model} ({inference})" if inference else str(model)
            style = {"color": colours[str(model)], "linestyle": styles[str(inference)]}
            _line(axis, group, name, band, **style)
        yield axis, names, here


def auroc(table: pd.DataFrame, label: str) -> Figure | None:
    """How well each score distinguishes degraded windows from clean ones, by share hidden.

    Args:
        table: as ``ood.detection`` returns it.
        label: the data set.
    """
    whole = ~table["score"].str.match(r"nlp_z\d")
    chosen = table[(table["metric"] == "auroc") & whole & (table["share"] > 0)]
    if chosen.empty:
        return None
    mechanisms = list(chosen["mechanism"].unique())
    colours = _colours(chosen["model"].unique())
    figure = Figure(figsize=(4.6 * len(mechanisms) + 1.6, 3.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(mechanisms), sharey=True))
    for axis, mechanism in zip(axes, mechanisms, strict=True):
        here = chosen[chosen["mechanism"] == mechanism]
        for (model, score), group in here.groupby(["model", "score"], sort=False):
            style = {"distance": ":", "negative_elbo": "--"}.get(str(score), "-")
            _line(axis, group, f"{model} ({score})", linestyle=style, color=colours[model])
        axis.axhline(0.5, color="0.25", linewidth=1, label="chance")
        _by_share(axis, title=mechanism, ylim=(0, 1.02))
    axes[0].set_ylabel("AUROC, degraded against clean")
    _legend(figure)
    return _titled(figure, f"Detection of hidden features on {label}")


def comparisons(table: pd.DataFrame, label: str) -> Figure | None:
    """The protocol's comparisons: change of MSE of one imputer against another, by level.

    Args:
        table: as ``tables.comparisons`` returns it.
        label: the data set.
    """
    if table.empty:
        return None
    columns = (table["mechanism"] + " " + table["level"]).str.strip()
    long = table.assign(column=columns)
    wide = long.pivot(index="comparison", columns="column", values="value")
    wide = wide.loc[long["comparison"].unique(), columns.unique()].astype(float)
    size = (0.75 * len(wide.columns) + 4.5, 0.3 * len(wide) + 1.6)
    figure = Figure(figsize=size, layout="constrained")
    # Beyond twice as bad it does not matter how bad.
    sns.heatmap(
        wide.clip(upper=100),
        annot=wide.map(lambda change: "" if np.isnan(change) else f"{change:.0f}"),
        fmt="",
        cmap="vlag",
        center=0,
        vmin=-100,
        vmax=100,
        linewidths=0.5,
        cbar=False,
        annot_kws={"fontsize": 7},
        ax=figure.subplots(),
    )
    axis = figure.axes[0]
    axis.set(xlabel="features hidden", ylabel="")
    axis.tick_params(axis="x", rotation=45)
    axis.tick_params(axis="y", rotation=0)
    return _titled(figure, f"Change of MSE on {label}; negative is better (the paper: -77 %)")


def _line(axis: Axes, group: pd.DataFrame, name: str, band: bool = True, **style: Any) -> None:
    """Draw values over the share hidden, with their intervals if ``band``."""
    ordered = group.sort_values("share")
    shares = 100 * ordered["share"]
    (line,) = axis.plot(shares, ordered["value"], marker="o", markersize=3, label=name, **style)
    if not band:
        return
    low, high = ordered["low"].astype(float), ordered["high"].astype(float)
    axis.fill_between(shares, low, high, color=line.get_color(), alpha=0.1)


def _colours(names: Iterable[str]) -> dict[str, Any]:
    """Return a colour for each name."""
    distinct = list(names)
    palette = sns.color_palette("tab10" if len(distinct) <= 10 else "tab20", len(distinct))
    return dict(zip(distinct, palette, strict=True))


def _styles(names: Iterable[str]) -> dict[str, str]:
    """Return a line style for each name, cycling through four."""
    return dict(zip(names, cycle(("-", "--", ":", "-.")), strict=False))


def _legend(figure: Figure) -> None:
    """Put one legend for all panels to their right."""
    lines: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            lines.setdefault(name, handle)
    figure.legend(lines.values(), lines.keys(), fontsize=7, loc="outside right center")


def _grid(count: int) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``count`` panels, four in a row."""
    columns = min(count, 4)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.6 * columns, 3.4 * rows), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(rows, columns)).flat)
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def _by_share(axis: Axes, **settings: Any) -> None:
    """Make the x axis that of shares hidden, logarithmic, and set what else is given."""
    least, most = axis.dataLim.intervalx
    if least == most:  # a single level has no width
        axis.set_xlim(least / 2, most * 2)
    axis.set(xscale="log", xlabel="features hidden, %", **settings)


def _panels(values: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Yield, per scoring model and mechanism: a title, its clean scores, its other scores."""
    scores = values[values["metric"] == "nlp"]
    hidden = scores[(scores["share"] > 0) & (scores["inference"] != "")]
    for (model, mechanism), group in hidden.groupby(["model", "mechanism"], sort=False):
        clean = scores[(scores["model"] == model) & (scores["mechanism"] == "")]
        if not clean.empty:
            yield f"{model}, {mechanism}", clean, group


def _signed_log(axis: Axes, around: float, lowest: float) -> None:
    """Make the y axis linear up to the power of ten above ``around``, logarithmic beyond.

    It stays linear if ``lowest`` is not far beyond.
    """
    threshold = 10.0 ** np.ceil(np.log10(max(around, 1.0)))
    if -lowest < 2 * threshold:
        return
    axis.set_yscale("symlog", linthresh=threshold)
    locator = SymmetricalLogLocator(base=10, linthresh=threshold)
    locator.set_params(numticks=6)
    axis.yaxis.set_major_locator(locator)


def _state(inference: str) -> str:
    return "degraded (mean)" if inference == DEGRADED else f"after {inference}"


def _titled(figure: Figure, title: str) -> Figure:
    figure.suptitle(title, fontsize=9)
    return figure
