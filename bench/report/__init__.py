"""What people look at: figures, drawn motion, the report page, the terminal, a run's folder.

Drawing, templates, printing, and the one function that writes a run's folder. Nothing here computes
a number that is not already in a table.
"""

import importlib
import os

try:
    importlib.import_module("matplotlib")
except ValueError:
    # MPLBACKEND names a backend that is not installed, as in what a notebook starts. Figures are
    # drawn to files without it.
    del os.environ["MPLBACKEND"]

__all__ = [
    "charts",
    "exhibition",
    "figures",
    "gallery",
    "leaderboard",
    "looks",
    "masks",
    "page",
    "plain_values",
    "poses",
    "printing",
    "run_folder",
]
