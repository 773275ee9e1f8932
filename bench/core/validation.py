"""Plain values to settings, and what is wrong with them in one line."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bench.core.errors import InputError, did_you_mean

SHOWN = 80
"""Letters of a wrong value that are shown."""
HOW = {
    "string_type": "give text, in quotes if it reads as a number, a date, yes or no",
    "invalid_key": "a key is text; put it in quotes",
    "dict_type": "give a mapping of keys",
    "model_type": "give a mapping of keys",
    "model_attributes_type": "give a mapping of keys",
    "string_pattern_mismatch": "give letters, digits, '_', '.' and '-', first a letter or digit",
}
"""What to do where pydantic's own words are for programmers, by its name of the error."""

Built = TypeVar("Built", bound=BaseModel)


def validated(cls: type[Built], raw: Mapping[str, Any], where: str) -> Built:
    """Validate ``raw`` as ``cls``; the first error becomes one line with its place.

    Raises:
        InputError: ``raw`` is not what ``cls`` asks for.
    """
    try:
        return cls.model_validate(raw)
    except ValidationError as error:
        first, *others = error.errors(include_url=False)
        more = f" (and {len(others)} more)" if others else ""
        raise InputError(_one_line(cls, first, where) + more) from None


def _one_line(cls: type[BaseModel], error: Any, where: str) -> str:
    path = [str(part) for part in error["loc"]]
    if path[-1:] == ["[key]"]:  # a label; the path says what it labels
        path = path[:-2]
    place = ".".join([*([where] if where else []), *path])
    if error["type"] == "extra_forbidden":
        return f"{place}: unknown key '{path[-1]}'{did_you_mean(path[-1], _keys(cls, path[:-1]))}"
    if error["type"] == "missing":
        return f"{place}: missing"
    message = HOW.get(error["type"], error["msg"].removeprefix("Value error, "))
    if not path:  # what is wrong is how several keys go together; the message names them
        return f"{place}: {message}" if place else message
    given = repr(error["input"])
    given = given if len(given) <= SHOWN else f"{given[:SHOWN]}..."
    return f"{place}: {message[0].lower()}{message[1:]}, not {given}"


def _keys(cls: Any, path: list[str]) -> Iterable[str]:
    """Return the keys that the settings at a path have, as far as their types tell."""
    for part in path:
        cls = cls.model_fields[part].annotation if part in _fields(cls) else None
    return _fields(cls)


def _fields(cls: Any) -> Iterable[str]:
    return getattr(cls, "model_fields", {})
