"""Parts of figures: panels, lines whose clipped values are marked, legends, and files.

A line's points carry texts, which the SVG file has as ``data-tip``: the report page shows them.
"""

import html
import json
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import NullFormatter
from matplotlib.transforms import ScaledTranslation
from numpy.typing import ArrayLike, NDArray

from bench.core.files import atomic_file
from bench.report import ticks
from bench.report.looks import PAGE, STYLE, Looks

PANEL = 1.6
"""Least width of a panel, inches."""
HEIGHT = 1.2
"""Height of a row of panels, inches."""
LEFT, RIGHT, BELOW = 0.55, 0.1, 0.38
"""Room left and right of panels, and below them for ticks and a label, inches."""
LABEL = 0.15
"""Height of a label of an x axis, inches."""
YLABEL = 0.21
"""From the left of a figure to the end of the label of its first y axis, inches."""
ENTRY, LETTER, TITLE_LETTER = 0.135, 0.053, 0.066
"""Height of a row of a legend, and width of a letter in legends and titles, inches."""
SUFFIXES = ("pdf", "png", "svg")
DATES = {"pdf": "CreationDate", "svg": "Date"}
"""The entry of a format's metadata that would differ at every drawing."""
_TIPS = "tips:"


@dataclass(frozen=True)
class Sheet:
    """What all figures of a run have in common.

    Attributes:
        looks: of the models.
        basis: the line below a figure: the data, and how much of it; empty: none.
        width: of the figures, inches.
        style: settings of matplotlib.
    """

    looks: Looks
    basis: str = ""
    width: float = PAGE
    style: Any = field(default_factory=lambda: STYLE)

    def panels(
        self, count: int, sharex: bool = False, sharey: bool = False
    ) -> tuple[Figure, list[Axes]]:
        """Return a figure of ``count`` panels, as many in a row as its width has room for."""
        columns = max(1, min(count, int(self.width / PANEL)))
        figure = Figure(figsize=(self.width, HEIGHT))
        shape = (-(-count // columns), columns)
        axes = list(figure.subplots(*shape, sharex=sharex, sharey=sharey, squeeze=False).flat)
        for spare in axes[count:]:
            spare.remove()
        # The panel above a spare one has to show the axis itself.
        for axis in axes[max(0, count - columns) : count]:
            axis.tick_params(labelbottom=True)
        return figure, axes[:count]

    def single(self) -> tuple[Figure, Axes]:
        """Return a figure of one panel."""
        figure, (axis,) = self.panels(1)
        return figure, axis

    def finish(
        self,
        figure: Figure,
        title: str,
        height: float = HEIGHT,
        left: float = LEFT,
        below: float = BELOW,
        right: float = RIGHT,
    ) -> Figure:
        """Give a figure its title and one legend below all panels, and place everything.

        Placing by what is known takes a hundredth of the time of matplotlib's own layout.

        Args:
            figure: made by ``panels`` or ``single``.
            title: wrapped to the width.
            height: of a row of panels, without what is around it, inches.
            left: room for the labels of the y axis, inches.
            below: room for the labels of each x axis, inches.
            right: room for what is right of the last panel, inches.
        """
        entries: dict[str, Any] = {}
        for axis in figure.axes:
            for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
                entries.setdefault(name, handle)
        longest = max(map(len, entries), default=0) * LETTER + 0.4
        columns = max(1, int((self.width - 0.1) / longest))
        wrapped = textwrap.fill(plain(title), int(self.width / TITLE_LETTER))
        top = 0.17 * (wrapped.count("\n") + 1) + 0.28
        under = below + ENTRY * -(-len(entries) // columns) + 0.2
        grid = figure.axes[0].get_subplotspec().get_gridspec()  # type: ignore[union-attr]
        apart = below + 0.2 - (LABEL if _label_once(figure.axes, grid.ncols) else 0)
        whole = top + grid.nrows * height + (grid.nrows - 1) * apart + under
        figure.set_size_inches(self.width, whole)
        # Panels with a y axis of their own need room for its labels.
        shared = len(figure.axes) < 2 or figure.axes[0].get_shared_y_axes().joined(*figure.axes[:2])
        between = 0.12 if shared else 0.38
        wide = (self.width - left - right - (grid.ncols - 1) * between) / grid.ncols
        figure.subplots_adjust(
            left=left / self.width,
            right=1 - right / self.width,
            top=1 - top / whole,
            bottom=under / whole,
            wspace=between / wide,
            hspace=apart / height,
        )
        _place_labels(figure, left)
        if len(figure.axes) > 1:
            ticks.fix(figure.axes)
        figure.suptitle(wrapped, fontsize=8, y=1 - 0.06 / whole, va="top")
        if entries:
            place: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.16 / whole)}
            figure.legend(entries.values(), entries.keys(), ncols=columns, borderpad=0, **place)
        return figure


def _label_once(panels: Sequence[Axes], columns: int) -> bool:
    """Leave a label that all x axes have to the lowest panels; return whether there is one."""
    once = len({panel.get_xlabel() for panel in panels}) == 1 and bool(panels[0].get_xlabel())
    if once:
        for panel in panels[:-columns]:
            panel.set_xlabel("")
    return once


def _place_labels(figure: Figure, left: float) -> None:
    """Put labels of x axes below one row of tick labels, and of y axes at the left of the figure.

    Placing by what is known, since matplotlib measures all tick labels for each label.
    """
    settings = matplotlib.rcParams
    letters = FontProperties(size=settings["xtick.labelsize"]).get_size_in_points()
    parts = (settings[name] for name in ("xtick.major.size", "xtick.major.pad", "axes.labelpad"))
    below = ScaledTranslation(0, -(letters + sum(parts)) / 72, figure.dpi_scale_trans)
    beside = ScaledTranslation(YLABEL - left, 0, figure.dpi_scale_trans)
    for axis in figure.axes:
        axis.xaxis.set_label_coords(0.5, 0, axis.transAxes + below)
        axis.yaxis.set_label_coords(0, 0.5, axis.transAxes + beside)


def line(
    axis: Axes,
    x: ArrayLike,
    table: pd.DataFrame,
    name: str,
    style: dict[str, Any],
    limits: tuple[float, float] = (-np.inf, np.inf),
    band: bool = True,
    unit: str = "",
) -> None:
    """Draw values with their intervals; those beyond the limits are marked at the limit.

    Args:
        axis: where to draw.
        x: ``(row,)`` places.
        table: columns ``value``, and with ``band`` also ``low`` and ``high``.
        name: in the legend.
        style: arguments of ``Axes.plot`` (``Looks.style``).
        limits: least and greatest value that is drawn at its place.
        band: whether to draw intervals.
        unit: after the number in a point's text.
    """
    places, value = np.asarray(x, np.float64), table["value"].to_numpy(np.float64)
    known = np.isfinite(value)
    places, value = places[known], value[known]
    shown = value.clip(*limits)
    (drawn,) = axis.plot(places, shown, label=plain(name), **style)
    ends = np.full((2, len(value)), np.nan)
    if band:
        ends = np.array([table[end].to_numpy(np.float64)[known] for end in ("low", "high")])
        _band(axis, places, ends.clip(*limits), style["color"])
    texts = []
    for number, low, high in zip(value, *ends, strict=True):
        interval = "" if np.isnan(low) else f" [{low:.4g}, {high:.4g}]"
        clipped = ", beyond the axis" if not limits[0] <= number <= limits[1] else ""
        texts.append(f"{name}: {number:.4g}{interval} {unit}".strip() + clipped)
    tips(drawn, texts)
    for outside, marker in ((value > limits[1], 6), (value < limits[0], 7)):
        if not outside.any():
            continue
        # A caret that points outwards.
        axis.plot(
            places[outside],
            shown[outside],
            marker=marker,
            linestyle="none",
            color=style["color"],
            markersize=6,
            markerfacecolor="none",
            clip_on=False,
            zorder=5,
        )


def _band(axis: Axes, places: NDArray[np.float64], ends: NDArray[np.float64], colour: Any) -> None:
    """Fill between low and high ends, wherever there are any.

    As ``Axes.fill_between`` does, which places the limits of all panels anew for each band.
    """
    known = np.ma.masked_array(places, ~np.isfinite(ends).all(axis=0))
    corners = [
        np.column_stack([_there_and_back(places[run], places[run]), _there_and_back(*ends[:, run])])
        for run in np.ma.clump_unmasked(known)
    ]
    if corners:
        filled = PolyCollection(corners, color=colour, alpha=0.12, linewidth=0)
        axis.add_collection(filled, autolim=False)
        axis.update_datalim(np.vstack(corners))


def _there_and_back(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.append(one, other[::-1])


def room(table: pd.DataFrame, row: float) -> tuple[float, float, float]:
    """Return height, left and below of ``Sheet.finish`` for a picture with a row per table row."""
    longest = [max(map(len, map(str, names)), default=0) for names in (table.index, table.columns)]
    return row * len(table), 0.3 + LETTER * longest[0], 0.3 + 0.7 * LETTER * longest[1]


def tips(artist: Artist, texts: Sequence[str]) -> None:
    """Attach texts to an artist: one per marker of a line, or one to anything else."""
    artist.set_gid(_TIPS + json.dumps(list(texts)))


def plain(text: str) -> str:
    """Return a text whose dollars are no mathematics."""
    return text.replace("$", r"\$")


def plain_ticks(axis: Axes, which: str = "x") -> None:
    """Write the ticks of a logarithmic axis as plain numbers."""
    side = axis.xaxis if which == "x" else axis.yaxis
    side.set_major_formatter("{x:g}")
    side.set_minor_formatter(NullFormatter())
    side.set_tick_params(which="minor", label1On=False)


def save(
    figure: Figure,
    folder: Path,
    name: str,
    suffixes: Iterable[str] = SUFFIXES,
    style: Any = STYLE,
) -> Path:
    """Write a figure as PDF, PNG and SVG, or some of them; return the PNG's path."""
    for suffix in suffixes:
        with matplotlib.rc_context(style), atomic_file(folder / f"{name}.{suffix}") as draft:
            # Without a date, the same figure is the same file.
            more: Any = {} if suffix == "png" else {"metadata": {DATES[suffix]: None}}
            figure.savefig(draft, dpi=200, **more)
            if suffix == "svg":
                drawn = draft.read_text(encoding="utf-8")
                draft.write_text(_with_tips(drawn), encoding="utf-8")
    return folder / f"{name}.png"


def _with_tips(svg: str) -> str:
    """Return an SVG whose groups of texts have become texts of their points."""
    # matplotlib chooses the quotation marks by what is between them.
    before, *parts = re.split(rf"<g id=([\"'])({_TIPS}.*?)\1>", svg)
    found = [before]
    for texts, body in zip(parts[1::3], parts[2::3], strict=True):
        found.append(_pointed(json.loads(html.unescape(texts).removeprefix(_TIPS)), body))
    return "".join(found)


def _pointed(texts: list[str], body: str) -> str:
    """Return a group, and what follows it, with a text at each of its markers, or at itself."""
    tips = [f'data-tip="{html.escape(text)}"' for text in texts]
    if len(tips) == 1 and "<use" not in body.partition("</g>")[0]:
        return f"<g {tips[0]}>{body}"
    left = iter(tips)
    return "<g>" + re.sub("<use ", lambda _: f"<use {next(left)} ", body, count=len(tips))
