"""The interface of a source of motion, and the windows that ``build`` makes from it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, field_validator

from bench.core.errors import InputError, legible
from bench.core.notices import Notices
from bench.core.settings import Settings
from bench.datasets.archive import File
from bench.motion import Skeleton, Windows

SPLITS = ("train", "valid", "test")
LONGEST = 2**18
"""Most frames of a recording, in its file and at ``fps``: almost three hours at 25 per second.

Memory is allocated for every frame, so a small file that unpacks to many frames could exhaust it.
"""


@dataclass(frozen=True)
class Source:
    """One continuous recording, and the file it is read from.

    Attributes:
        name: unique within the data set.
        split: train, valid or test.
        action: label of what is performed, empty where unknown.
        subject: identifier of the performer, empty where unknown.
        file: the file or archive member; None if the motion is synthetic.
    """

    name: str
    split: str
    action: str = ""
    subject: str = ""
    file: File | None = None

    def __post_init__(self) -> None:
        # Names go into messages, tables and figures, which must not contain line breaks.
        for part in ("name", "action", "subject"):
            object.__setattr__(self, part, legible(getattr(self, part)))


class Dataset(Settings, ABC):
    """A source of motion; its fields are the settings that a protocol may give.

    A subclass sets ``name`` and implements ``skeleton``, ``sources`` and ``read``.

    Attributes:
        name: its name in protocols.
        synthetic: whether its motion is generated rather than recorded.
        fixed: whether its files are a fixed list, so that results are only valid with all of
            them. In any other data set, a file that cannot be used is reported and left out.
        home: where its owner publishes it, and under which terms; empty if it is not published.
    """

    name: ClassVar[str]
    synthetic: ClassVar[bool] = False
    fixed: ClassVar[bool] = False
    home: ClassVar[str] = ""

    frames: int = Field(50, ge=2, le=2000, description="frames of a window")
    fps: float = Field(25.0, gt=0, le=1000, description="frames per second")
    stride: int = Field(5, ge=1, description="frames from one window's start to the next one's")
    future: int = Field(
        25, ge=1, le=2000, description="frames after a window, for predictors to predict"
    )
    orientation: Literal["removed", "facing_removed", "kept"] = Field(
        "removed", description="the root's rotation: none, all but its turn about the vertical, all"
    )
    fold: tuple[int | tuple[int, ...], int] | None = Field(
        None,
        description="[k, of]: subjects dealt into `of` groups, group k being test and the next one "
        "valid, see [runs.md](runs.md#subject-folds); null: the data set's own split",
    )

    @field_validator("fold")
    @classmethod
    def _is_a_fold(
        cls, fold: tuple[int | tuple[int, ...], int] | None
    ) -> tuple[int | tuple[int, ...], int] | None:
        if fold is None:
            return None
        held, of = fold
        if of < len(SPLITS):
            raise ValueError(f"fold [k, of] needs at least {len(SPLITS)} groups")
        numbers = (held,) if isinstance(held, int) else held
        if not numbers or sorted(set(numbers)) != list(numbers):
            raise ValueError("fold [k, of] of joined runs lists each k once, in order")
        if not 0 <= numbers[0] <= numbers[-1] < of:
            raise ValueError(f"fold [k, of] has k from 0 to {of - 1}")
        return fold

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

        It is resampled to ``fps`` and oriented according to ``orientation``; missing values are
        nan. The result may depend on the source and the settings alone, since several processes
        read in parallel.

        Raises:
            InputError: the file cannot be used; the message gives its path and the reason.
        """

    def files(self, root: Path | None) -> list[Path]:
        """Return all files that the recordings depend on; an archive counts as one file."""
        return sorted({source.file.path for source in self.sources(root) if source.file})

    def together(self, source: Source) -> str:
        """Return what folds keep together: the subject, or the recording where it is unknown."""
        return source.subject or source.name

    @property
    def folds(self) -> tuple[int, ...]:
        """The numbers of the folds that a run is of, several for joined ones; empty without."""
        if self.fold is None:
            return ()
        held, _ = self.fold
        return (held,) if isinstance(held, int) else held

    def recognise(self, file: File) -> Source | None:
        """Return a file at any path as a recording of this data set, or None if it is not one.

        A damaged recording is recognised too; ``read`` then reports what is wrong with it.
        ``bench data check`` calls this for every data set, with its default settings.

        Raises:
            InputError: the file cannot be opened.
        """
        return None

    @property
    def caveat(self) -> str:
        """Warning that every table and figure of this motion must carry; may be empty."""
        return ""

    @property
    def joint_weights(self) -> NDArray[np.float64]:
        """``(joint,)`` weight of each joint in the mean error of a prediction; equal by default."""
        return np.full(len(self.skeleton), 1 / len(self.skeleton))

    def absent(self, root: Path | None) -> list[str]:
        """Return the names of known files of this data set that are missing under ``root``."""
        return []

    def test_masks(self, root: Path | None) -> Mapping[int, NDArray[np.bool_]]:
        """Return masks that were published with the test windows, by level; here, none.

        Returns:
            bool ``(mask, frame, joint, 3)`` by level, True where a value is hidden.

        Raises:
            InputError: a file of masks cannot be used.
        """
        return {}

    def test_sets(self, index: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
        """Return the subsets of test windows that predictions are evaluated on, by name.

        Args:
            index: the index of the test windows that have a future, ordered by recording.

        Returns:
            Row numbers of ``index`` per subset; a repeated row counts repeatedly.
        """
        return {"all": np.arange(len(index))}


def check_length(file: File, frames: float) -> None:
    """Raise InputError if a recording has more frames than ``LONGEST``."""
    if frames > LONGEST:
        raise InputError(
            f"{file}: {frames:.0f} frames, more than the {LONGEST} that are read; cut it into parts"
        )


def data_root(name: str, root: Path | None, holding: str) -> Path:
    """Return the folder of real data; raises InputError if none is given or it does not exist.

    Args:
        name: of the data set, for messages.
        root: the folder, if one was given.
        holding: what the folder should contain, for messages.
    """
    if root is None:
        raise InputError(
            f"{name}: where are the files? Give --data-root DIR or set BENCH_DATA=DIR, "
            f"DIR containing {holding}"
        )
    if not root.is_dir():
        raise InputError(f"{name}: the data root {root} is no folder; check --data-root")
    return root


@dataclass(frozen=True)
class Data:
    """The windows of a data set by split, and their provenance.

    Attributes:
        name: of the data set.
        synthetic: whether its motion is generated rather than recorded.
        fingerprint: hash of the source files, the settings and the code that reads them.
        splits: windows of train, valid and test.
        absent: names of known files that are missing.
        short: names of recordings shorter than one window, which yield none.
        caveat: warning that every table and figure of this motion must carry; may be empty.
        skipped: reason why a recording could not be used, by the recording's name.
        incomplete: number of windows left out because of missing values.
        recordings: one row per recording that was read: ``source``, ``split``, ``action``,
            ``subject``, number of ``frames``, and number of ``missing`` coordinates.
        notices: what was noticed of a recording that was read, by kind, by the recording's name;
            what concerns the data set as a whole is under its own name.
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
    notices: dict[str, Notices] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name for tables and figures, with its caveat in brackets."""
        caveat = "synthetic motion" if self.synthetic else self.caveat
        return f"{self.name} ({caveat})" if caveat else self.name
