"""Ticks drawn as few artists: where and what matplotlib would have drawn."""

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PolyCollection

from bench.report import ticks
from bench.report.charts import _band


def linear(panel: Axes) -> None:
    panel.plot([0, 7], [-3, 12])


def logarithmic(panel: Axes) -> None:
    panel.plot([1, 300], [2e-3, 5])
    panel.set(xscale="log", yscale="log")


def far(panel: Axes) -> None:
    panel.plot([0, 1], [1e6, 1e6 + 5])


def labels(panel: Axes, axis: Axis) -> list[tuple[str, float]]:
    """Return texts and places of an axis's tick labels that are drawn by matplotlib itself."""
    along = 0 if axis is panel.xaxis else 1
    ticks_shown = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    low, high = sorted(axis.get_view_interval())
    found = [(tick.label1.get_text(), tick.label1.get_position()[along]) for tick in ticks_shown]
    return sorted((text, float(at)) for text, at in found if text and low <= at <= high)


@pytest.mark.parametrize("kind", [linear, logarithmic, far])
def test_labels_say_what_they_said_where_they_said_it(kind: Callable[[Axes], None]) -> None:
    figure, panel = plt.subplots()
    kind(panel)
    figure.canvas.draw()
    before = [labels(panel, axis) for axis in (panel.xaxis, panel.yaxis)]
    assert all(before)
    offset = panel.yaxis.get_offset_text().get_text()
    ticks.fix([panel])
    figure.canvas.draw()
    assert [labels(panel, axis) for axis in (panel.xaxis, panel.yaxis)] == [[], []]
    drawn = [(text.get_text(), *map(float, text.get_position())) for text in panel.texts]
    assert len(drawn) == sum(map(len, before))
    for along, expected in enumerate(before):
        assert set(expected) <= {(text, place[along]) for text, *place in drawn}
    assert panel.yaxis.get_offset_text().get_text() == offset
    plt.close(figure)


def test_panels_that_share_an_axis_keep_inner_labels_hidden() -> None:
    figure, axes = plt.subplots(2, 1, sharex=True)
    for panel in axes:
        linear(panel)
    figure.canvas.draw()
    ticks.fix(list(axes))
    upper, lower = ([text.get_text() for text in panel.texts] for panel in axes)
    assert len(upper) < len(lower)
    plt.close(figure)


def test_a_band_has_a_piece_on_either_side_of_what_is_unknown() -> None:
    figure, panels = plt.subplots(1, 2)
    places = np.arange(6.0)
    ends = np.array([places, places + 2])
    ends[:, 3] = np.nan
    _band(panels[0], places, ends, "red")
    panels[1].fill_between(places, *ends, color="red", alpha=0.12, linewidth=0)
    ours, theirs = (panel.collections[0] for panel in panels)
    assert isinstance(ours, PolyCollection)
    assert len(ours.get_paths()) == 2
    for mine, other in zip(ours.get_paths(), theirs.get_paths(), strict=True):
        corners, expected = (np.unique(np.asarray(one.vertices), axis=0) for one in (mine, other))
        np.testing.assert_allclose(corners, expected)
    assert panels[0].dataLim.bounds == panels[1].dataLim.bounds
    plt.close(figure)
