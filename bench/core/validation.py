"""Plain values to validated settings; the first error becomes a one-line message."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bench.core.errors import InputError, did_you_mean

MAX_SHOWN = 80
"""Characters of an invalid value that a message quotes."""
HINTS = {
    "string_type": "give text, in quotes if it reads as a number, a date, yes or no",
    "invalid_key": "a key is text; put it in quotes",
    "dict_type": "give a mapping of keys",
    "list_type": "give a list, such as [a, b]",
    "tuple_type": "give a list, such as [a, b]",
    "model_type": "give a mapping of keys",
    "model_attributes_type": "give a mapping of keys",
    "string_pattern_mismatch": "give letters, digits, '_', '.' and '-', first a letter or digit",
}
"""Replacements for those of pydantic's messages that are meant for programmers, by error type."""

Built = TypeVar("Built", bound=BaseModel)


def validated(cls: type[Built], raw: Mapping[str, Any], where: str) -> Built:
    """Return ``raw`` validated as ``cls``.

    Args:
        cls: the pydantic model to build.
        raw: its plain values.
        where: path of ``raw`` in the file, with which messages begin; may be empty.

    Raises:
        InputError: ``raw`` is not valid; one line with the path and reason of the first error.
    """
    try:
        return cls.model_validate(raw)
    except ValidationError as error:
        first, *others = error.errors(include_url=False)
        more = f" (and {len(others)} more)" if others else ""
        raise InputError(_one_line(cls, first, where) + more) from None


def _one_line(cls: type[BaseModel], error: Any, where: str) -> str:
    path = [str(part) for part in error["loc"]]
    if path[-1:] == ["[key]"]:  # a label; the rest of the path says what it labels
        path = path[:-2]
    location = ".".join([*([where] if where else []), *path])
    if error["type"] == "extra_forbidden":
        hint = did_you_mean(path[-1], _keys(cls, path[:-1]))
        return f"{location}: unknown key '{path[-1]}'{hint}"
    if error["type"] == "missing":
        return f"{location}: missing"
    message = HINTS.get(error["type"], error["msg"].removeprefix("Value error, "))
    if not path:  # several keys contradict each other; the message names them
        return f"{location}: {message}" if location else message
    given = repr(error["input"])
    given = given if len(given) <= MAX_SHOWN else f"{given[:MAX_SHOWN]}..."
    return f"{location}: {message[0].lower()}{message[1:]}, not {given}"


def _keys(cls: Any, path: list[str]) -> Iterable[str]:
    """Return the keys of the settings at a path, as far as annotations say."""
    for part in path:
        cls = cls.model_fields[part].annotation if part in _fields(cls) else None
    return _fields(cls)


def _fields(cls: Any) -> Iterable[str]:
    return getattr(cls, "model_fields", {})
