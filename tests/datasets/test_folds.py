"""Subjects dealt into groups that take turns at being tested."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.core.errors import InputError
from bench.core.validation import validated
from bench.datasets import folds
from bench.datasets.archive import File
from bench.datasets.arrays import Arrays
from bench.datasets.base import Dataset, Source
from bench.datasets.build import load
from bench.datasets.bvh import BVH
from bench.datasets.cmu import CMU, SHARED_TAKES
from bench.datasets.cmu_published import CMUPublished
from bench.datasets.hdm05 import HDM05
from bench.datasets.synthetic import SKELETON, Synthetic
from bench.motion import Skeleton

SUBJECTS = st.lists(st.text("abc01", min_size=1, max_size=3), min_size=1, max_size=12, unique=True)


class Listed(Dataset):
    """Recordings of given subjects, two each, that are never read."""

    name: ClassVar[str] = "listed"
    people: tuple[str, ...] = ()

    @property
    def skeleton(self) -> Skeleton:
        return SKELETON

    def sources(self, root: Path | None) -> list[Source]:
        return [
            Source(f"{one}@{take}", "train", subject=one) for one in self.people for take in "ab"
        ]

    def read(self, source: Source) -> NDArray[np.float32]:
        raise NotImplementedError


def splits(dataset: Dataset, root: Path | None = None) -> dict[str, set[str]]:
    """Return the splits that the recordings of each subject are in."""
    found: dict[str, set[str]] = {}
    for source in folds.sources(dataset, root):
        found.setdefault(source.subject or source.name, set()).add(source.split)
    return found


def by_fold(people: Sequence[str], of: int) -> list[dict[str, set[str]]]:
    """Return the splits of each fold; of few people, some folds lack a split and are left out."""
    found = []
    for k in range(of):
        with suppress(InputError):
            found.append(splits(Listed(people=tuple(people), fold=(k, of))))
    return found


@given(SUBJECTS, st.integers(3, 5))
def test_every_subject_is_in_one_split_and_tested_once(people: list[str], of: int) -> None:
    found = by_fold(people, of)
    for one in found:
        assert all(len(names) == 1 for names in one.values())
    if len(found) == of:
        for person in people:
            names = [name for one in found for name in one[person]]
            assert (names.count("test"), names.count("valid")) == (1, 1)
            # The group after the tested one is valid.
            assert names.index("valid") == (names.index("test") - 1) % of


@given(SUBJECTS, SUBJECTS, st.integers(3, 5))
def test_other_subjects_change_no_subjects_split(
    people: list[str], more: list[str], of: int
) -> None:
    everyone = tuple(dict.fromkeys([*people, *more]))
    few, many = by_fold(people, of), by_fold(everyone, of)
    if len(few) == len(many) == of:
        for one, other in zip(few, many, strict=True):
            assert {person: other[person] for person in people} == one


def test_an_empty_group_is_named() -> None:
    with pytest.raises(InputError, match=r"listed: dataset.fold \[0, 3\]: no valid .* are empty"):
        folds.sources(Listed(people=("s0", "s2"), fold=(0, 3)), None)


def test_without_a_fold_the_data_set_splits() -> None:
    assert folds.sources(Synthetic(), None) == Synthetic().sources(None)


@pytest.mark.parametrize(
    ("fold", "message"),
    [
        ([0, 2], "fold .k, of. needs at least 3 groups, not .0, 2."),
        ([4, 4], "k from 0 to 3"),
        ([-1, 4], "k from 0 to 3"),
        ([[1, 1], 4], "lists each k once, in order"),
        ([True, 4], "true or false is not allowed"),
        ([0], "dataset.fold.1: missing"),
        ("first", "give a list"),
    ],
)
def test_a_bad_fold_is_refused(fold: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        validated(Synthetic, {"fold": fold}, "dataset")


def test_a_run_is_of_a_single_fold(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a run is of one, such as \[0, 4\]"):
        load(Synthetic(fold=((0, 1), 4)), None, tmp_path)


def test_windows_are_of_the_fold(tmp_path: Path) -> None:
    data = load(Synthetic(fold=(1, 4), seconds=3.0), None, tmp_path)
    people = {name: set(windows.index["subject"]) for name, windows in data.splits.items()}
    assert people["test"] == {"synthetic_01", "synthetic_05"}
    assert people["valid"] == {"synthetic_02", "synthetic_06"}
    assert len(people["train"]) == 4


def test_partners_of_shared_takes_stay_together() -> None:
    data = CMU()
    for one, other in SHARED_TAKES.items():
        here, there = (
            data.together(Source(f"{number}_01", "train", subject=f"{number:02d}"))
            for number in (one, other)
        )
        assert here == there


def test_real_subjects_are_each_tested_once(real_data: Path) -> None:
    for cls, of in ((CMU, 4), (HDM05, 3)):
        found = [splits(cls(fold=(k, of)), real_data) for k in range(of)]
        for person in found[0]:
            assert sum(one[person] == {"test"} for one in found) == 1, person
        if cls is CMU:
            assert all(one["60"] == one["61"] for one in found)


def test_styles_of_bandai_namco_are_kept_apart(real_data: Path) -> None:
    """By default and in folds: each content exists in every style."""
    for fold in (None, (0, 3), (1, 3), (2, 3)):
        data = BVH(folder="bandai_namco_2", fold=fold)
        style = {s.action.rpartition("_")[2]: s.split for s in folds.sources(data, real_data)}
        assert set(style.values()) == {"train", "valid", "test"}
        found = {(s.action.rpartition("_")[2], s.split) for s in folds.sources(data, real_data)}
        assert found == set(style.items())


def test_a_published_split_is_not_dealt(real_data: Path) -> None:
    with pytest.raises(InputError, match="has a split of its own"):
        folds.sources(CMUPublished(fold=(0, 4)), real_data)


def test_patterns_of_arrays_are_what_stays_together(tmp_path: Path) -> None:
    layout = tmp_path / "motion.yaml"
    layout.write_text(
        "joints: [root, a]\nparents: {root: null, a: root}\nroot: root\n"
        "units: mm\nfps: 25\nup: y\noriented: true\n"
        "splits:\n  train: ['subject1/*']\n  valid: ['subject2/*']\n  test: ['subject3/*']\n"
    )
    data = Arrays()
    together = {
        data.together(
            Source(f"subject{n}/{take}.npy", "train", file=File(tmp_path / f"{take}.npy"))
        )
        for n in (1, 2, 3)
        for take in ("walk", "run_1")
    }
    assert together == {"subject1", "subject2", "subject3"}
