"""What data sets of a user's own files have in common: where they lie, and how they are split.

Files in ``train/``, ``valid/`` or ``test/`` below the data folder belong to that split; then every
file must lie in one of the three. Otherwise recordings of one kind, with equal names up to a
trailing number, stay together: kinds are ordered by a hash of their names; the first 15 % (at least
one) are test, the next 15 % (at least one) valid, the others train.
"""

import string
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TypeVar

from bench.core import safe_yaml
from bench.core.errors import InputError
from bench.core.settings import Settings
from bench.core.validation import validated
from bench.datasets.archive import HEAD, File, tree
from bench.datasets.base import SPLITS, data_root
from bench.motion import derive_seed

Description = TypeVar("Description", bound=Settings)

HELD_OUT = 0.15


def place_of(name: str, root: Path | None, what: str) -> Path:
    """Return where a data set's files lie: ``root/name``, ``root/name.zip``, or ``root`` itself.

    ``what`` describes the expected files in messages.

    Raises:
        InputError: ``root`` is not given, or no folder.
    """
    root = data_root(name, root, f"{what}, itself or in {name}/")
    inside = (root / name, root / f"{name}.zip")
    return next((path for path in inside if path.exists()), root)


def within(place: Path, folder: str) -> Path:
    """Return a folder, or an archive, inside the place where files lie.

    Raises:
        InputError: there is neither, or the name leads out of the place.
    """
    found = (place / folder, place / f"{folder}.zip")
    inside = (
        path for path in found if path.exists() and path.resolve().is_relative_to(place.resolve())
    )
    if path := next(inside, None):
        return path
    raise InputError(f"{place}: no folder or archive '{folder}' in it; check the setting folder")


def files_in(name: str, place: Path, *suffixes: str) -> dict[PurePosixPath, File]:
    """Return the files with given suffixes, by their path relative to ``place``.

    Raises:
        InputError: there is none.
    """
    found = {
        PurePosixPath(file.member) if file.member else _below(place, file.path): file
        for file in tree(place, *suffixes)
    }
    if not found:
        raise InputError(
            f"{name}: no {' or '.join(suffixes)} file under {place}; check --data-root"
        )
    return found


def _below(place: Path, path: Path) -> PurePosixPath:
    return PurePosixPath(path.relative_to(place).as_posix())


def kind_of(path: PurePosixPath) -> str:
    """Return a file's name up to its trailing number: ``walk`` of ``a/walk_003.bvh``."""
    # A regular expression would take quadratic time on a long run of spaces or digits.
    before = path.stem.rstrip(string.digits)
    if before == path.stem:
        return before
    return before.rstrip(f"{string.whitespace}_.-") or path.stem


def splits_of(
    name: str,
    paths: Sequence[PurePosixPath],
    kind_of: Callable[[PurePosixPath], str] = kind_of,
) -> dict[PurePosixPath, str]:
    """Return the split of each file of data set ``name``, by the rule at the top of this module.

    Args:
        name: of the data set.
        paths: its files, relative to the place where they lie.
        kind_of: returns what must not be divided between splits.

    Raises:
        InputError: some files lie in split folders and others do not, or there are fewer than
            three kinds.
    """
    outside = [path for path in paths if path.parts[0] not in SPLITS]
    if not outside:
        return {path: path.parts[0] for path in paths}
    if len(outside) < len(paths):
        raise InputError(
            f"{name}: {outside[0]} lies in none of train/, valid/ and test/, but others do; "
            "move it into one"
        )
    kinds = sorted({kind_of(path) for path in paths}, key=lambda kind: derive_seed(name, kind))
    if len(kinds) < len(SPLITS):
        raise InputError(
            f"{name}: {len(kinds)} kinds of recordings ({', '.join(sorted(kinds))}) cannot be "
            "split in three; put files into train/, valid/ and test/"
        )
    held = max(1, round(HELD_OUT * len(kinds)))
    split = dict.fromkeys(kinds, "train")
    split |= dict.fromkeys(kinds[:held], "test")
    split |= dict.fromkeys(kinds[held : 2 * held], "valid")
    return {path: split[kind_of(path)] for path in paths}


def folder_of(path: PurePosixPath) -> str:
    """Return the name of a file's folder; empty at the top level or in a split folder."""
    folders = path.parts[1:-1] if path.parts[0] in SPLITS else path.parts[:-1]
    return folders[-1] if folders else ""


def read_description(cls: type[Description], path: Path) -> Description:
    """Return a user's YAML file, validated as ``cls``.

    Raises:
        InputError: the file cannot be read or is not valid.
    """
    return _parsed(cls, path, File(path).read(HEAD))


@lru_cache(maxsize=64)
def _parsed(cls: type[Description], path: Path, text: bytes) -> Description:
    """Return a YAML text, validated as ``cls``; ``path`` is for messages."""
    try:
        raw = safe_yaml.parse(text)
    except ValueError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: no mapping of keys; docs/own_data.md shows a complete one")
    try:
        return validated(cls, raw, "")
    except InputError as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from None
