"""Folds: which recordings are train, valid and test when subjects take turns at being held out.

Subjects are dealt into ``of`` groups. In fold k, group k is test, the group after it (the first one
after the last) is valid, and the others are train: over all folds, each subject is test once. A
subject's group depends on its name alone, so that a file more or less moves no other subject; the
groups are therefore of different size. A name that ends in a number is dealt by that number modulo
``of``, which spreads numbered subjects evenly; any other name by a hash of it.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.core.errors import InputError
from bench.datasets.base import SPLITS, Dataset, Source
from bench.motion import derive_seed

_NUMBER = re.compile(r"[0-9]{1,18}$")


def sources(dataset: Dataset, root: Path | None) -> list[Source]:
    """Return the recordings of a data set under ``root``, split by its ``fold`` if it states one.

    Raises:
        InputError: there is none, or they cannot be dealt into these groups.
    """
    found = dataset.sources(root)
    if dataset.fold is None:
        return found
    held, of = dataset.fold
    if not isinstance(held, int):
        raise InputError(
            f"dataset.fold: {list(held)} are folds of joined runs; a run is of one, such as "
            f"[{held[0]}, {of}]"
        )
    return _dealt(dataset, found, held, of)


def group_of(dataset: str, subject: str, of: int) -> int:
    """Return the group, from 0 to ``of`` - 1, of a subject of a data set."""
    number = _NUMBER.search(subject)
    return (int(number[0]) if number else derive_seed(dataset, "fold", subject)) % of


def _dealt(dataset: Dataset, found: Sequence[Source], held: int, of: int) -> list[Source]:
    where = f"{dataset.name}: dataset.fold [{held}, {of}]"
    files = Counter(source.file for source in found if source.file)
    if shared := [file for file, times in files.items() if times > 1]:
        raise InputError(
            f"{where}: {shared[0]} is part of several splits; leave fold out, this data set has a "
            "split of its own"
        )
    split_of = {held: "test", (held + 1) % of: "valid"}
    dealt = [
        replace(one, split=split_of.get(group_of(dataset.name, dataset.together(one), of), "train"))
        for one in found
    ]
    there = {source.split for source in dealt}
    for split in SPLITS:
        if split not in there:
            units = len({dataset.together(source) for source in found})
            raise InputError(
                f"{where}: no {split} recording; {units} subjects or kinds of recordings are dealt "
                f"into {of} groups by name, and some are empty: choose another number of folds"
            )
    return dealt
