"""Plain values to settings, and what is wrong with them in one line."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bench.errors import InputError, did_you_mean

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
    place = ".".join([*([where] if where else []), *path])
    if error["type"] == "extra_forbidden":
        owner: Any = cls
        for part in path[:-1]:
            owner = owner.model_fields[part].annotation
        return f"{place}: unknown key '{path[-1]}'{did_you_mean(path[-1], owner.model_fields)}"
    if error["type"] == "missing":
        return f"{place}: missing"
    message = error["msg"].removeprefix("Value error, ")
    if not path:  # what is wrong is how several keys go together; the message names them
        return f"{place}: {message}" if place else message
    return f"{place}: {message[0].lower()}{message[1:]}, not {error['input']!r}"
