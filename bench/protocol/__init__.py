"""What an experiment says: its schema, and how a file becomes a checked ``Protocol``.

In: every key that a protocol may have, the resolution of labels, presets and overrides, the list of
what can be named. Never in: fitting, computing or reading motion.
"""

__all__ = [
    "combining",
    "listing",
    "resolving",
    "schema",
    "shipped",
]
