"""How figures look: one colour and marker per model in all figures of a run, sizes for print.

The colours are distinct for the common kinds of colour blindness (Okabe and Ito 2008, "Color
universal design", and four darker ones). Beyond as many models, colours repeat with other markers:
seven markers and ten colours make 70 pairs. Controls are grey. The line style is the inference's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

from matplotlib import rc_params_from_file, style

from bench.analysis.comparable import DEGRADED
from bench.core.errors import InputError, did_you_mean

if TYPE_CHECKING:  # it loads torch, which figures of records do without
    from bench.protocol.schema import Protocol

COLUMN, PAGE = 3.35, 7.0
"""Inches: the width of one column of a paper with two, and of both."""
COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
    *("#332288", "#882255", "#999933", "#7f3b08"),
)
GREYS = ("0.25", "0.45", "0.6", "0.75")
"""The colours of controls."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": "0.6",
    "axes.grid": True,
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.titlesize": 8,
    # Known, so that no title is moved by measuring all tick labels first.
    "axes.titley": 1.0,
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    # Letters of a PDF stay letters, in a font that is embedded; those of an SVG stay text.
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
}
"""Settings of matplotlib for every figure of a run, in points."""


def styled(name: str) -> Any:
    """Return ``STYLE`` with the settings of one of matplotlib's styles over it.

    Args:
        name: as in ``matplotlib.style.available``, or a file that ends with .mplstyle.

    Raises:
        InputError: there is no such style, or its file cannot be read.
    """
    if not name.endswith(".mplstyle"):
        if name not in style.library:
            raise InputError(f"--style {name}: no such style{did_you_mean(name, style.available)}")
        return STYLE | style.library[name]
    try:
        return STYLE | rc_params_from_file(name, fail_on_error=True, use_default_template=False)
    except OSError as error:
        raise InputError(f"--style {name}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"--style {name}: {' '.join(str(error).split())}") from None


@dataclass(frozen=True)
class Looks:
    """The colour, marker and line style of each imputer of a run.

    Attributes:
        colours: by the model's label.
        markers: by the model's label.
        lines: by the inference's label.
    """

    colours: Mapping[str, str]
    markers: Mapping[str, str]
    lines: Mapping[str, Any]

    @classmethod
    def of(cls, protocol: Protocol) -> Looks:
        """Return the looks of a run's models; they depend on the protocol alone.

        What completes motion comes first, since it is in most figures.
        """
        entries = protocol.models.items()
        controls = [label for label, entry in entries if entry.cls.control]
        only_scores = {label: not hasattr(entry.cls, "impute") for label, entry in entries}
        ordered = sorted(protocol.models, key=only_scores.__getitem__)
        return cls.named(ordered, controls, protocol.inference)

    @classmethod
    def named(
        cls, models: Iterable[str], controls: Iterable[str] = (), inferences: Iterable[str] = ()
    ) -> Looks:
        """Return looks by labels, in their order."""
        grey = set(controls)
        free = [label for label in dict.fromkeys(models) if label not in grey]
        colours = dict(zip(free, cycle(COLOURS), strict=False))
        colours |= dict(zip(controls, cycle(GREYS), strict=False))
        markers = dict(zip([*free, *controls], cycle(MARKERS), strict=False))
        lines = dict(zip(inferences, cycle(LINES), strict=False))
        return cls(colours, markers, {DEGRADED: LINES[-1], **lines, "": "-"})

    def style(self, model: str, inference: str = "") -> dict[str, Any]:
        """Return the arguments of matplotlib that draw an imputer's line."""
        return {
            "color": self.colours.get(model, GREYS[-1]),
            "marker": self.markers.get(model, "o"),
            "linestyle": self.lines.get(inference, "-"),
            "markeredgewidth": 0,
        }


def name_of(model: str, inference: str = "") -> str:
    """Return an imputer's name in legends, as in tables."""
    return f"{model} ({inference})" if inference else model
