"""The critical-difference diagram of mean ranks (Demšar 2006, Fig. 1)."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.analysis import ranks
from bench.report.charts import LETTER, Sheet, plain
from bench.report.looks import PAGE

ROW = 0.22
"""Height of a row of labels, inches."""
BAR = 0.12
"""Distance of bars, inches."""
COLOURS = {False: "0.1", True: "C3"}
"""The colour of an imputer, by whether it is a control."""


def rank_diagram(table: pd.DataFrame, label: str, sheet: Sheet) -> Figure | None:
    """Draw mean ranks on an axis, best left; bars join imputers that do not differ significantly.

    By Nemenyi's test at 5 %. Controls are red.

    Args:
        table: as ``ranks.table`` returns it.
        label: the data set.
        sheet: how wide the figure is.

    Returns:
        The figure; None if the table is empty.
    """
    if table.empty:
        return None
    table = table.sort_values("value", kind="stable")
    places, difference = table["value"].to_numpy(), float(table["cd"].iloc[0])
    count = len(table)
    groups = ranks.cliques(places, difference)
    bars = BAR * (len(groups) + 1)
    rows = (count + 1) // 2
    depth = bars + ROW * (rows + 0.5)
    figure, axis = sheet.single()
    axis.set(xlim=(1, count), ylim=(depth, -0.55))
    axis.xaxis.tick_top()
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.spines[["left", "right", "bottom"]].set_visible(False)
    axis.spines["top"].set_position(("data", 0))
    axis.tick_params(axis="x", top=True, direction="out", labelsize=7)
    axis.set_yticks([])
    axis.grid(visible=False)
    # A critical difference longer than the axis is cut.
    shown = min(difference, count - 1)
    axis.plot([1, 1 + shown], [-0.4, -0.4], "|-", color="0.1", linewidth=1)
    axis.text(1 + shown / 2, -0.43, f"CD {difference:.2f}", ha="center", va="bottom", fontsize=7)
    for number, (first, last) in enumerate(groups, start=1):
        ends = [places[first] - 0.04, places[last] + 0.04]
        axis.plot(ends, [BAR * number] * 2, color="0.1", linewidth=3, solid_capstyle="butt")
    names = [plain(name) for name in ranks.names(table)]
    size = 7 if sheet.width >= PAGE else 5.5
    for place, (rank, name, control) in enumerate(
        zip(places, names, table["control"], strict=True)
    ):
        # The outermost lines end highest, so that none crosses another.
        left = place < rows
        row = place if left else count - 1 - place
        height, margin, side = bars + ROW * (row + 0.5), 1 if left else count, -1 if left else 1
        colour = COLOURS[bool(control)]
        axis.plot([rank, rank, margin], [0, height, height], color=colour, linewidth=0.8)
        axis.annotate(
            f"{name} ({rank:.2f})",
            (margin, height),
            xytext=(3 * side, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=size,
            color=colour,
        )
    aside = 0.45 + LETTER * max(map(len, names))
    title = f"Mean ranks of MSE on {label}; 1 is best"
    return sheet.finish(figure, title, depth + 0.55, left=aside, below=0.1, right=aside)
