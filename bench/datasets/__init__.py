"""Sources of motion, one file each, registered by name; and how recordings become windows.

Here: file formats and the conventions of each data set. Not here: models, or how a run is
organised. A new data set is one new file here with a subclass of ``base.Dataset``.
"""

__all__ = ["archive", "base", "build", "cut", "synthetic"]
