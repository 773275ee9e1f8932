"""The protocol that several protocols are parts of."""

from collections.abc import Iterator, Mapping
from typing import Any

from bench.core.errors import InputError
from bench.protocol.resolving import resolve
from bench.protocol.schema import Protocol

OPEN = {
    ("models",),
    ("predictors",),
    ("inference",),
    ("occlusion",),
    ("corruption",),
    ("foreign",),
    ("comparisons",),
}
"""Where each may have entries of its own."""
LISTS = {
    ("seeds",),
    ("references",),
    ("show",),
    ("published",),
    ("forecast", "imputers"),
    ("models", "*", "inference"),
    ("occlusion", "*", "levels"),
    ("corruption", "*", "levels"),
}
"""Where each may list what others do not."""
FREE = {("description",), ("resources",)}
"""What may be otherwise, since no value hangs on it; the first's stands."""


def combined(protocols: Mapping[str, Protocol]) -> Protocol:
    """Return the protocol that asks for all that any of some protocols does, in their order.

    Args:
        protocols: by what messages call them.

    Raises:
        InputError: two set something otherwise, or together they say what cannot be.
    """
    (first, protocol), *others = protocols.items()
    plain = protocol.to_dict()
    for name, other in others:
        try:
            plain = _united(plain, other.to_dict(), ())
        except _Otherwise as error:
            setting, mine, theirs = error.args
            raise InputError(
                f"{name}: {setting} is {theirs}, but {mine} in {first}; runs that are joined are "
                "set alike, but for the models, seeds, levels and such that they list"
            ) from None
    try:
        return resolve(plain)
    except InputError as error:
        raise InputError(f"{', '.join(protocols)}: together they cannot be: {error}") from None


def beyond(whole: Protocol, part: Protocol) -> str:
    """Return the first setting of a part that the whole does not have; empty: there is none."""
    plain = whole.to_dict()
    try:
        both = dict(flat(_united(plain, part.to_dict(), ())))
    except _Otherwise as error:
        return str(error.args[0])
    have = dict(flat(plain))
    return next((name for name, value in both.items() if have.get(name) != value), "")


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of plain values by their path; a list is one leaf."""
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from flat(part, f"{path}.{key}" if path else str(key))
    else:
        yield path, str(value)


class _Otherwise(Exception):  # noqa: N818 - turned into an InputError that names the protocols
    """Two protocols set something otherwise: its path, and the two values."""


def _united(mine: Any, theirs: Any, path: tuple[str, ...]) -> Any:
    pattern = path if len(path) < 3 else (path[0], "*", *path[2:])
    if pattern in FREE or mine == theirs:
        return mine
    if isinstance(mine, list) and isinstance(theirs, list) and pattern in LISTS:
        return [*mine, *(one for one in theirs if one not in mine)]
    if isinstance(mine, dict) and isinstance(theirs, dict):
        both = {}
        for key in [*mine, *(key for key in theirs if key not in mine)]:
            if key in mine and key in theirs:
                both[key] = _united(mine[key], theirs[key], (*path, key))
            elif pattern in OPEN:
                both[key] = mine[key] if key in mine else theirs[key]
            else:
                told = (one.get(key, "not there") for one in (mine, theirs))
                raise _Otherwise(".".join((*path, key)), *told)
        return both
    raise _Otherwise(".".join(path), mine, theirs)
