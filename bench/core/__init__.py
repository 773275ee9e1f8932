"""Foundations that every other package uses and that do not depend on motion data.

In: errors that the user can fix, atomic file writes, blocks of settings, the registry that finds
models and mechanisms by name, size-limited YAML, code versions, provenance, processes that help.
Never in: anything that depends on what a window, a model or a protocol is.
"""

__all__ = [
    "code_versions",
    "errors",
    "files",
    "processes",
    "provenance",
    "registry",
    "safe_yaml",
    "settings",
    "validation",
]
