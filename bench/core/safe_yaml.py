"""YAML to plain values, within bounds, and without a key that says two things."""

from pathlib import Path
from typing import Any

import yaml

from bench.core.errors import InputError, reason_of

LARGEST = 2**20
"""Bytes of a file of settings at most."""
MOST = 100_000
"""Keys and values of a text at most, with all that its aliases stand for written out."""


class _Loader(yaml.SafeLoader):
    """Builds nothing but plain values; two keys alike in one mapping are an error."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if (name := (key.tag, key.value)) in lines:
                    first = lines[name]
                    raise ValueError(
                        f"line {line}: the key '{key.value}' is there twice, first in line {first}"
                    )
                lines[name] = line
        return node


def parse(text: bytes | str) -> Any:
    """Return the plain values that a YAML text says.

    Raises:
        ValueError: it is not YAML, asks for objects, has a key twice, or says too much.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node)
        return loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        raise ValueError(f"no UTF-8 text at position {error.position}: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        told = " ".join(part for part in (error.context, error.problem) if part)
        hint = "; indent with spaces" if "'\\t'" in told else ""
        raise ValueError(f"{where}{told}{hint}") from None
    except RecursionError:
        raise ValueError("too many levels within each other") from None
    except Exception as error:
        # A damaged number or date lets the reader raise almost anything.
        raise ValueError(reason_of(error)) from None


def read(path: Path) -> Any:
    """Return the plain values that a YAML file says.

    Raises:
        InputError: it cannot be read, or is no such file.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe might never end, nor begin
            raise InputError(f"{path}: cannot be read (not a regular file)")
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if len(text) > LARGEST:
        raise InputError(f"{path}: larger than {LARGEST >> 20} MiB, so no file of settings")
    try:
        return parse(text)
    except ValueError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None


def _check_size(node: yaml.Node) -> None:
    """Raise ValueError if a few lines that name each other say more than memory may hold."""
    pending: list[yaml.Node] = [node]
    count = 0
    while pending:
        value = pending.pop().value
        if isinstance(value, list):
            count += len(value)
            if count > MOST:
                raise ValueError(f"more than {MOST:,} values with its aliases written out")
            for item in value:
                pending += item if isinstance(item, tuple) else [item]
