"""Sources of motion, one file each, found by name; and how recordings become windows.

In: what a file format says, and what a data set's own conventions are. Never in: models, or how a
run is organised. A new data set is one new file here with a subclass of ``base.Dataset``.
"""

__all__ = ["archive", "base", "build", "cut", "synthetic"]
