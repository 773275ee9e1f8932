"""What every room needs and no motion is involved in: errors, files, settings, names.

In: errors that the user can mend, files that appear whole or not at all, blocks of settings, the
registry that finds models and mechanisms by name, YAML within bounds, code versions, provenance.
Never in: anything that knows what a window, a model or a protocol is.
"""

__all__ = [
    "code_versions",
    "errors",
    "files",
    "provenance",
    "registry",
    "safe_yaml",
    "settings",
    "validation",
]
