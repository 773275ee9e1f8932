"""What people look at: figures, drawn motion, the report page, the terminal, a run's folder.

In: drawing, templates, printing, and the one function that writes a run's folder. Never in: a
number that is not already in a table.
"""

__all__ = [
    "figures",
    "gallery",
    "page",
    "poses",
    "printing",
    "run_folder",
]
