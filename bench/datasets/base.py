"""What a source of motion is, and how its recordings become windows on disk.

Windows are built once. They lie as ``<split>.npy`` (float32, memory-mapped when read) and
``<split>.parquet`` (the window index) in a folder named by a fingerprint of the source files and
of everything that happened to them on the way.
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

    frames: int = Field(50, ge=2, description="frames of a window")
    fps: float = Field(25.0, gt=0, description="frames per second")
    stride: int = Field(5, ge=1, description="frames from one window's start to the next one's")

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

    def absent(self, root: Path | None) -> list[str]:
        """Return the known files of this data set that are not there."""
        return []


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
    """

    name: str
    synthetic: bool
    fingerprint: str
    splits: dict[str, Windows]
    absent: list[str]
    short: list[str]

    @property
    def label(self) -> str:
        """The name for tables and figures, with the word synthetic where it applies."""
        return f"{self.name} (synthetic motion)" if self.synthetic else self.name


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
            for split, (motion, index) in built.items():
                np.save(draft / f"{split}.npy", motion, allow_pickle=False)
                index.to_parquet(draft / f"{split}.parquet")
            facts = {"name": dataset.name, **dataset.model_dump(mode="json"), "short": short}
            (draft / "dataset.json").write_text(json.dumps(facts, indent=1))
    splits = {split: open_windows(folder, split, dataset) for split in SPLITS}
    short = json.loads((folder / "dataset.json").read_text())["short"]
    return Data(dataset.name, dataset.synthetic, key, splits, dataset.absent(root), short)


def open_windows(folder: Path, split: str, dataset: Dataset) -> Windows:
    """Return one split of a built folder as read-only memory-mapped windows."""
    motion = np.load(folder / f"{split}.npy", mmap_mode="r", allow_pickle=False)
    index = pd.read_parquet(folder / f"{split}.parquet")
    return Windows(motion, index, dataset.fps, dataset.skeleton)


def _cut(
    dataset: Dataset, root: Path | None
) -> tuple[dict[str, tuple[NDArray[np.float32], pd.DataFrame]], list[str]]:
    """Return motion and index of every split, and recordings too short for a window.

    Windows never straddle two recordings.
    """
    short: list[str] = []
    motion: dict[str, list[NDArray[np.float32]]] = {split: [] for split in SPLITS}
    rows: dict[str, list[tuple[str, int, str, str]]] = {split: [] for split in SPLITS}
    for recording in dataset.recordings(root):
        if not np.isfinite(recording.motion).all():
            raise InputError(f"{dataset.name}: {recording.name} has values that are not finite")
        if len(recording.motion) < dataset.frames:
            short.append(recording.name)
        for start in range(0, len(recording.motion) - dataset.frames + 1, dataset.stride):
            motion[recording.split].append(recording.motion[start : start + dataset.frames])
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
        split: (np.stack(motion[split]), pd.DataFrame(rows[split], columns=columns))
        for split in SPLITS
    }
    return cut, short
