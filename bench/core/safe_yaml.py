"""YAML to plain values, limited in size, with duplicate keys refused."""

from pathlib import Path
from typing import Any

import yaml

from bench.core.errors import InputError, reason_of

MAX_BYTES = 2**20
"""Largest size of a settings file."""
MAX_VALUES = 100_000
"""Most keys and values in a text once its aliases are expanded."""


class _Loader(yaml.SafeLoader):
    """Builds only plain values; a duplicate key in a mapping is an error."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if (name := (key.tag, key.value)) in lines:
                    first = lines[name]
                    raise ValueError(
                        f"line {line}: the key '{key.value}' occurs twice, first in line {first}"
                    )
                lines[name] = line
        return node


def parse(text: bytes | str) -> Any:
    """Return the plain values of a YAML text; None for an empty one.

    Raises:
        ValueError: it is not YAML, constructs objects, has a duplicate key, or is too large.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node)
        return loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        raise ValueError(f"not UTF-8 text at position {error.position}: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        problem = " ".join(part for part in (error.context, error.problem) if part)
        hint = "; indent with spaces" if "'\\t'" in problem else ""
        raise ValueError(f"{where}{problem}{hint}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except Exception as error:
        # For a malformed number or date, the YAML reader may raise almost anything.
        raise ValueError(reason_of(error)) from None


def read(path: Path) -> Any:
    """Return the plain values of a YAML file.

    Raises:
        InputError: it cannot be read, is too large, or is not valid YAML.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe might block forever
            raise InputError(f"{path}: cannot be read (not a regular file)")
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if len(text) > MAX_BYTES:
        raise InputError(
            f"{path}: larger than {MAX_BYTES >> 20} MiB, too large for a settings file"
        )
    try:
        return parse(text)
    except ValueError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None


def _check_size(node: yaml.Node) -> None:
    """Raise ValueError if expanded aliases make the text too large (the billion laughs attack)."""
    pending: list[yaml.Node] = [node]
    count = 0
    while pending:
        value = pending.pop().value
        if isinstance(value, list):
            count += len(value)
            if count > MAX_VALUES:
                raise ValueError(f"more than {MAX_VALUES:,} values with aliases expanded")
            for item in value:
                pending += item if isinstance(item, tuple) else [item]
