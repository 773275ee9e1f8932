"""Ticks of finished panels, drawn as few artists.

matplotlib has a mark, a line of the grid and a label for each tick, on either side of a panel, and
sets up every one of them anew for each format: most of the time of a figure of many panels. Here
the marks along a side are one line, and so is the grid, in the looks of matplotlib's own ticks.
"""

from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis, Tick
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

Places = NDArray[np.float64]
CLOSE = 1e-9
"""Share of an axis by which a tick may be beyond its end, by rounding."""


def fix(panels: Sequence[Axes]) -> None:
    """Draw the ticks of panels at their places; limits that change later leave them there."""
    sides = [(panel, axis) for panel in panels for axis in (panel.xaxis, panel.yaxis)]
    for panel, axis in sides:
        for tick, places, formatter in (
            (axis.get_minor_ticks(1)[0], axis.get_minorticklocs(), axis.get_minor_formatter()),
            (axis.get_major_ticks(1)[0], axis.get_majorticklocs(), axis.get_major_formatter()),
        ):
            every = np.asarray(places, np.float64)
            texts, shown = formatter.format_ticks(every.tolist()), _within(axis, every)
            _draw(panel, axis, tick, every[shown], list(compress(texts, shown)))
    # Afterwards, since panels may share what places their ticks.
    for _, axis in sides:
        axis.set_major_locator(NullLocator())
        axis.set_minor_locator(NullLocator())


def _within(axis: Axis, places: Places) -> NDArray[np.bool_]:
    """Return which places are between the ends of an axis."""
    scale = axis.get_transform()
    low, high = np.sort(scale.transform(axis.get_view_interval()))
    beyond = CLOSE * (high - low)
    at = scale.transform(places)
    return (low - beyond <= at) & (at <= high + beyond)


def _draw(panel: Axes, axis: Axis, tick: Tick, places: Places, texts: Sequence[str]) -> None:
    """Draw the grid, marks and labels of ticks that look like one of matplotlib's."""
    along = 0 if axis is panel.xaxis else 1
    for like in (tick.gridline, tick.tick1line, tick.tick2line):
        if like.get_visible() and len(places):
            # Both ends of a line of the grid, or the one place of a mark, across the axis.
            ends = np.asarray(like.get_data()[1 - along], np.float64)
            across = ends if len(ends) == 1 else np.append(ends, np.nan)
            points = np.repeat(places, len(across)), np.tile(across, len(places))
            line = Line2D([], [])
            line.update_from(like)
            line.set_data(*_ordered(points, along))
            _add(panel, axis, line, clipped=len(ends) > 1)
    for label in (tick.label1, tick.label2):
        for place, text in zip(places, texts, strict=True):
            if text and label.get_visible():
                drawn = Text(text=text)
                drawn.update_from(label)
                drawn.set_position(_ordered((place, label.get_position()[1 - along]), along))
                _add(panel, axis, drawn, clipped=False)


def _ordered(points: tuple[Any, Any], along: int) -> tuple[Any, Any]:
    """Return what is along an axis and across it as x and y."""
    return points if along == 0 else points[::-1]


def _add(panel: Axes, axis: Axis, artist: Artist, clipped: bool) -> None:
    """Draw an artist with a panel, above and below what matplotlib draws its axis."""
    artist.set_zorder(axis.get_zorder())
    artist.set_clip_on(clipped)
    panel.add_artist(artist)
