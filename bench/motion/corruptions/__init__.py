"""How whole windows come to be odd: one corruption per file, found by name.

A new corruption is one new file here with a subclass of ``base.Corruption``. Corrupted windows are
scored, never completed.
"""

__all__ = [
    "base",
]
