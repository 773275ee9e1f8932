"""Mechanisms that hide entries of windows: one per file, found by name.

A new mechanism is one new file here with a subclass of ``base.Mechanism``; nothing else has to be
changed. It is given the shape of a window, a random generator, and the window itself, since what
real recordings lose depends on the motion.
"""

__all__ = [
    "base",
]
