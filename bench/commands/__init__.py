"""What each command does, as functions that another program could call.

In: one file per command, from its inputs to what it returns or writes. Never in: parsing of the
command line (``bench.cli``), or statistics (``bench.analysis``).
"""

__all__ = [
    "compare",
    "describe",
    "doctor",
    "download",
    "export",
    "fill",
    "inventory",
    "merge",
    "notebook",
    "rescore",
    "run",
    "show",
    "show_mask",
    "status",
    "view",
]
