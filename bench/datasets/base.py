"""What a source of motion is, and how its recordings become windows on disk.

Windows are built once. They lie as ``<split>.npy`` and ``<split>_future.npy`` (float32,
memory-mapped when read) and ``<split>.parquet`` (the window index) in a folder named by a
fingerprint of the source files and of everything that happened to them on the way.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from bench.code import code_version
from bench.errors import InputError
from bench.files import atomic_folder
from bench.motion import Skeleton, Windows
from bench.settings import Settings

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Recording:
    """One continuous recording, already at the data set's frame rate and in its conventions.

    Attributes:
        name: unique in the data set.
        split: train, valid or test.
        action: what is done, empty where unknown.
        subject: who does it, empty where unknown.
        motion: float32 ``(frame, joint, 3)``, mm, root-centred, root rotation removed.
    """

    name: str
    split: str
    action: str
    subject: str
    motion: NDArray[np.float32]


class Dataset(Settings, ABC):
    """A source of motion; its fields are the settings a protocol may give.

    A subclass sets ``name`` and implements ``skeleton``, ``files`` and ``recordings``.
    """

    name: ClassVar[str]
    synthetic: ClassVar[bool] = False
    caveat: ClassVar[str] = ""
    """What every table and figure must say of the motion."""

    frames: int = Field(50, ge=2, description="frames of a window")
    fps: float = Field(25.0, gt=0, description="frames per second")
    stride: int = Field(5, ge=1, description="frames from one window's start to the next one's")
    future: int = Field(25, ge=1, description="frames after a window, for predictors to foretell")

    @property
    @abstractmethod
    def skeleton(self) -> Skeleton:
        """The joints of every recording."""

    @abstractmethod
    def files(self, root: Path | None) -> list[Path]:
        """Return the files that ``recordings`` reads; raises InputError if there are none."""

    @abstractmethod
    def recordings(self, root: Path | None) -> Iterator[Recording]:
        """Yield every recording; raises InputError naming a file that cannot be used."""

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
    """

    name: str
    synthetic: bool
    fingerprint: str
    splits: dict[str, Windows]
    absent: list[str]
    short: list[str]
    caveat: str = ""

    @property
    def label(self) -> str:
        """The name for tables and figures, with what must be said of the motion."""
        caveat = "synthetic motion" if self.synthetic else self.caveat
        return f"{self.name} ({caveat})" if caveat else self.name


def fingerprint(dataset: Dataset, root: Path | None) -> str:
    """Return a hash of the source files' bytes, the settings and the code that reads them."""
    digest = hashlib.sha256()
    digest.update(dataset.name.encode())
    digest.update(dataset.model_dump_json().encode())
    digest.update(code_version(type(dataset)).encode())
    for path in dataset.files(root):
        digest.update(path.name.encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def load(dataset: Dataset, root: Path | None, cache: Path) -> Data:
    """Return the windows of a data set, building them in ``cache`` if they are not there yet.

    Raises:
        InputError: no data at ``root``, an unusable file, or recordings all too short.
    """
    key = fingerprint(dataset, root)
    folder = cache / key
    if not folder.exists():
        built, short = _cut(dataset, root)
        with atomic_folder(folder) as draft:
            for split, windows in built.items():
                np.save(draft / f"{split}.npy", windows.motion, allow_pickle=False)
                assert windows.future is not None
                np.save(draft / f"{split}_future.npy", windows.future, allow_pickle=False)
                windows.index.to_parquet(draft / f"{split}.parquet")
            facts = {"name": dataset.name, **dataset.model_dump(mode="json"), "short": short}
            (draft / "dataset.json").write_text(json.dumps(facts, indent=1))
    splits = {split: open_windows(folder, split, dataset) for split in SPLITS}
    short = json.loads((folder / "dataset.json").read_text())["short"]
    absent = dataset.absent(root)
    return Data(dataset.name, dataset.synthetic, key, splits, absent, short, dataset.caveat)


def open_windows(folder: Path, split: str, dataset: Dataset) -> Windows:
    """Return one split of a built folder as read-only memory-mapped windows."""
    motion, future = (
        np.load(folder / f"{split}{part}.npy", mmap_mode="r", allow_pickle=False)
        for part in ("", "_future")
    )
    index = pd.read_parquet(folder / f"{split}.parquet")
    return Windows(motion, index, dataset.fps, dataset.skeleton, future)


def _cut(dataset: Dataset, root: Path | None) -> tuple[dict[str, Windows], list[str]]:
    """Return the windows of every split, and recordings too short for one.

    Windows never straddle two recordings.
    """
    short: list[str] = []
    futures: dict[str, list[NDArray[np.float32]]] = {split: [] for split in SPLITS}
    motion: dict[str, list[NDArray[np.float32]]] = {split: [] for split in SPLITS}
    rows: dict[str, list[tuple[str, int, str, str]]] = {split: [] for split in SPLITS}
    for recording in dataset.recordings(root):
        if not np.isfinite(recording.motion).all():
            raise InputError(f"{dataset.name}: {recording.name} has values that are not finite")
        if len(recording.motion) < dataset.frames:
            short.append(recording.name)
        for start in range(0, len(recording.motion) - dataset.frames + 1, dataset.stride):
            end = start + dataset.frames
            motion[recording.split].append(recording.motion[start:end])
            futures[recording.split].append(_after(recording.motion, end, dataset.future))
            rows[recording.split].append(
                (recording.name, start, recording.action, recording.subject)
            )
    for split in SPLITS:
        if not motion[split]:
            raise InputError(
                f"{dataset.name}: no {split} recording has {dataset.frames} frames at "
                f"{dataset.fps:g} fps; add recordings or lower dataset.frames"
            )
    columns = ["source", "start", "action", "subject"]
    cut = {
        split: Windows(
            np.stack(motion[split]),
            pd.DataFrame(rows[split], columns=columns),
            dataset.fps,
            dataset.skeleton,
            np.stack(futures[split]),
        )
        for split in SPLITS
    }
    return cut, short


def _after(motion: NDArray[np.float32], start: int, frames: int) -> NDArray[np.float32]:
    """Return ``(frames, joint, 3)`` of a recording from ``start`` on, nan where it has ended."""
    future = np.full((frames, *motion.shape[1:]), np.nan, dtype=np.float32)
    there = motion[start : start + frames]
    future[: len(there)] = there
    return future
