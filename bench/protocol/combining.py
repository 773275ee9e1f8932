"""Combines protocols that are parts of one experiment, as ``bench merge`` needs it."""

from collections.abc import Iterator, Mapping
from typing import Any

from bench.core.errors import InputError
from bench.protocol.resolving import resolve
from bench.protocol.schema import Protocol

MERGED_SECTIONS = {
    ("models",),
    ("predictors",),
    ("inference",),
    ("occlusion",),
    ("corruption",),
    ("foreign",),
    ("comparisons",),
}
"""Sections in which each protocol may have entries that the others lack."""
MERGED_LISTS = {
    ("seeds",),
    ("references",),
    ("show",),
    ("published",),
    ("published_imputation",),
    ("forecast", "imputers"),
    ("models", "*", "inference"),
    ("occlusion", "*", "levels"),
    ("corruption", "*", "levels"),
}
"""Lists in which each protocol may have items that the others lack; ``*`` stands for a label."""
IGNORED = {("description",), ("resources",)}
"""Settings that may differ, since no value depends on them; the first protocol's are kept."""


def combined(protocols: Mapping[str, Protocol]) -> Protocol:
    """Return the protocol that requests all that any of some protocols does, in their order.

    Args:
        protocols: by the name that error messages give them; at least one.

    Raises:
        InputError: two protocols set a setting differently, or the combination is not valid.
    """
    (first, protocol), *others = protocols.items()
    raw = protocol.to_dict()
    for name, other in others:
        try:
            raw = _combine(raw, other.to_dict(), ())
        except _Conflict as error:
            setting, mine, theirs = error.args
            raise InputError(
                f"{name}: {setting} is {theirs}, but {mine} in {first}; merged runs may differ "
                "in the models, seeds, levels and other entries that they list, not in settings"
            ) from None
    try:
        return resolve(raw)
    except InputError as error:
        raise InputError(f"{', '.join(protocols)}: cannot be combined: {error}") from None


def first_mismatch(whole: Protocol, part: Protocol) -> str:
    """Return the path of the first setting in which a part does not agree with the whole.

    The part may lack entries and list items of the whole; an empty string means that it agrees.
    """
    raw = whole.to_dict()
    try:
        both = dict(flatten(_combine(raw, part.to_dict(), ())))
    except _Conflict as error:
        return str(error.args[0])
    known = dict(flatten(raw))
    return next((name for name, value in both.items() if known.get(name) != value), "")


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted path and the text of each leaf of nested mappings; a list is one leaf."""
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from flatten(part, f"{path}.{key}" if path else str(key))
    else:
        yield path, str(value)


class _Conflict(Exception):  # noqa: N818 - turned into an InputError that names the protocols
    """Two protocols set a setting differently; its arguments are the path and the two values."""


def _combine(mine: Any, theirs: Any, path: tuple[str, ...]) -> Any:
    """Return the union of two values at a path; raises _Conflict where they must not differ."""
    pattern = path if len(path) < 3 else (path[0], "*", *path[2:])
    if pattern in IGNORED or mine == theirs:
        return mine
    if isinstance(mine, list) and isinstance(theirs, list) and pattern in MERGED_LISTS:
        return [*mine, *(one for one in theirs if one not in mine)]
    if isinstance(mine, dict) and isinstance(theirs, dict):
        both = {}
        for key in [*mine, *(key for key in theirs if key not in mine)]:
            if key in mine and key in theirs:
                both[key] = _combine(mine[key], theirs[key], (*path, key))
            elif pattern in MERGED_SECTIONS:
                both[key] = mine[key] if key in mine else theirs[key]
            else:
                values = (one.get(key, "absent") for one in (mine, theirs))
                raise _Conflict(".".join((*path, key)), *values)
        return both
    raise _Conflict(".".join(path), mine, theirs)
