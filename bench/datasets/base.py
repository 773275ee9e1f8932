"""What a source of motion is, and the windows that ``build`` makes of it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from bench.core.errors import InputError, legible
from bench.core.settings import Settings
from bench.datasets.archive import HEAD, File
from bench.motion import Skeleton, Windows

SPLITS = ("train", "valid", "test")
LONGEST = 2**18
"""Frames of a recording at most, in its file and at ``fps``: three hours at 25 a second.

Memory is taken for every frame, so that a small file that unpacks to many could take all of it.
"""


@dataclass(frozen=True)
class Source:
    """One continuous recording, and where it is read from.

    Attributes:
        name: no other recording of the data set has it.
        split: train, valid or test.
        action: what is done, empty where unknown.
        subject: who does it, empty where unknown.
        file: where it lies; None if it is made up.
    """

    name: str
    split: str
    action: str = ""
    subject: str = ""
    file: File | None = None

    def __post_init__(self) -> None:
        # Names go into messages, tables and pictures, which have no use for line ends in them.
        for part in ("name", "action", "subject"):
            object.__setattr__(self, part, legible(getattr(self, part)))


class Dataset(Settings, ABC):
    """A source of motion; its fields are the settings a protocol may give.

    A subclass sets ``name`` and implements ``skeleton``, ``sources`` and ``read``.

    Attributes:
        name: what protocols call it.
        synthetic: whether its motion is made up.
        caveat: what every table and figure must say of the motion.
        fixed: whether its files are a fixed list, so that a number means nothing without one of
            them. Of any other data set, a file that cannot be used is named and left out.
        home: where its owner publishes it, and on what terms; empty if nobody does.
    """

    name: ClassVar[str]
    synthetic: ClassVar[bool] = False
    caveat: ClassVar[str] = ""
    fixed: ClassVar[bool] = False
    home: ClassVar[str] = ""

    frames: int = Field(50, ge=2, le=2000, description="frames of a window")
    fps: float = Field(25.0, gt=0, le=1000, description="frames per second")
    stride: int = Field(5, ge=1, description="frames from one window's start to the next one's")
    future: int = Field(
        25, ge=1, le=2000, description="frames after a window, for predictors to foretell"
    )
    orientation: Literal["removed", "facing_removed", "kept"] = Field(
        "removed", description="the root's rotation: none, all but its turn about the vertical, all"
    )

    @property
    @abstractmethod
    def skeleton(self) -> Skeleton:
        """The joints of every recording."""

    @abstractmethod
    def sources(self, root: Path | None) -> list[Source]:
        """Return every recording under ``root``, unread; raises InputError if there is none."""

    @abstractmethod
    def read(self, source: Source) -> NDArray[np.float32]:
        """Return a recording's motion, ``(frame, joint, 3)``, mm, y up, relative to the root.

        It is at ``fps`` and oriented as ``orientation`` says; a value that the recording lacks is
        nan. What it returns depends on the source and the settings alone, since several processes
        read at once.

        Raises:
            InputError: the file cannot be used; the message names it and says why.
        """

    def files(self, root: Path | None) -> list[Path]:
        """Return all files that the recordings are made of, archives whole."""
        return sorted({source.file.path for source in self.sources(root) if source.file})

    def recognise(self, file: File) -> Source | None:
        """Return a file, wherever it lies, as a recording to be read; None if it is none of these.

        It claims what looks like such a recording, damaged or not; ``read`` then says what is
        wrong with it. ``bench data check`` asks every data set, with its default settings.

        Raises:
            InputError: the file cannot be opened.
        """
        return None

    @property
    def joint_weights(self) -> NDArray[np.float64]:
        """``(joint,)`` what each joint counts for in the error of a prediction."""
        return np.full(len(self.skeleton), 1 / len(self.skeleton))

    def absent(self, root: Path | None) -> list[str]:
        """Return the known files of this data set that are not there."""
        return []

    def test_sets(self, index: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
        """Return the choices of test windows that predictions are judged by, by name.

        Args:
            index: of the test windows that have a future, in the order of their recordings.

        Returns:
            Row numbers; one that a choice has twice counts twice.
        """
        return {"all": np.arange(len(index))}


def check_length(file: File, frames: float) -> None:
    """Refuse a recording of so many frames that no machine may hold it."""
    if frames > LONGEST:
        raise InputError(
            f"{file}: {frames:.0f} frames, more than the {LONGEST} that are read; cut it into parts"
        )


def check_table(file: File, content: bytes) -> None:
    """Refuse a text that has more rows or columns than a recording, before it is taken apart."""
    check_length(file, max(content.count(b"\n"), content.count(b"\r")))
    if len(content.partition(b"\n")[0]) > HEAD:
        raise InputError(f"{file}: its first line has more than {HEAD >> 10} KiB, so no recording")


def data_root(name: str, root: Path | None, holding: str) -> Path:
    """Return the folder of real data; raises InputError if none is given or it is not there."""
    if root is None:
        raise InputError(
            f"{name}: where are the files? Give --data-root DIR or set BENCH_DATA=DIR, "
            f"DIR holding {holding}"
        )
    if not root.is_dir():
        raise InputError(f"{name}: the data root {root} is no folder; check --data-root")
    return root


@dataclass(frozen=True)
class Data:
    """The windows of a data set by split, and where they came from.

    Attributes:
        name: of the data set.
        synthetic: whether its motion was made up.
        fingerprint: of the source files, the settings and the code that read them.
        splits: train, valid and test.
        absent: known files that are not there.
        short: recordings shorter than one window, which give none.
        caveat: what every table and figure must say of the motion.
        skipped: why recordings that cannot be used were left out, by name.
        incomplete: windows that were left out because the recording lacks some of their values.
        recordings: one row for each that was read: ``source``, ``split``, ``action``, ``subject``,
            its ``frames``, and how many of its coordinates are ``missing``.
    """

    name: str
    synthetic: bool
    fingerprint: str
    splits: dict[str, Windows]
    absent: list[str]
    short: list[str]
    caveat: str = ""
    skipped: dict[str, str] = field(default_factory=dict)
    incomplete: int = 0
    recordings: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def label(self) -> str:
        """The name for tables and figures, with what must be said of the motion."""
        caveat = "synthetic motion" if self.synthetic else self.caveat
        return f"{self.name} ({caveat})" if caveat else self.name
