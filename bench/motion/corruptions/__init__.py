"""Corruptions that make whole windows anomalous: one per file, found by name.

A new corruption is one new file here with a subclass of ``base.Corruption``. Corrupted windows are
scored by detectors, never completed.
"""

__all__ = [
    "base",
]
