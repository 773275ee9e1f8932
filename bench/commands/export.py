"""Takes a fitted imputer out of a run, into one file."""

from pathlib import Path

from bench.core.errors import InputError
from bench.fill.run_imputer import load
from bench.sweep import exported


def export(run: Path, imputer: str, output: Path) -> int:
    """Write an imputer of a run, with its first seed, to a file; return the file's size in bytes.

    Raises:
        InputError: it is no run, has no such imputer, or its weights are gone; the file exists or
            cannot be written.
    """
    if output.suffix != ".safetensors":
        raise InputError(f"{output}: an imputer is written as .safetensors; rename it")
    if output.exists():
        raise InputError(f"{output} exists; remove it, or give another name")
    if "/" in imputer:
        raise InputError(f"{imputer}: weights are of no inference; give {imputer.split('/')[0]}")
    found = load(run, imputer)
    exported.write(output, imputer, found.protocol, found.model)
    return output.stat().st_size
