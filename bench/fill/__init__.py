"""A user's own recording: what is missing in it, how it is filled, and how well.

In: gaps, methods, their errors, and files that come back with nothing else touched. Never in:
sweeps, records or protocols. ``fill`` takes and returns numpy arrays; torch is imported when a
method needs it.
"""

from bench.fill.filling import METHODS, Filled, fill, validate

__all__ = ["METHODS", "Filled", "fill", "validate"]
