"""How values come to be hidden: one mechanism per file, found by name.

A new mechanism is one new file here with a subclass of ``base.Mechanism``; nothing else has to be
changed. It sees the shape of a window and a random generator, never the motion of other windows.
"""

__all__ = [
    "base",
]
