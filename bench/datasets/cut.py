"""Cached recordings to windows on disk, and back as memory-mapped arrays.

A folder of windows contains ``<split>.npy``, float32 ``(frame, joint, 3)``, every frame of every
recording of the split once, in the order of ``recordings.parquet``; ``<split>.parquet``, which has
the recording and first frame of each window; ``dataset.json`` (settings and what was left out) and,
where the data set has masks of its test windows, ``masks_<level>.npy``.
Its fingerprint covers the code of this module, but not that of ``build``, which only schedules the
reading.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.errors import InputError
from bench.core.files import atomic_folder, readable
from bench.datasets.base import SPLITS, Dataset, Source
from bench.motion import Clips, Recordings, Windows

FACTS = "dataset.json"
RECORDINGS = "recordings.parquet"
MASKS = "masks_"


@dataclass(frozen=True)
class CachedRecording:
    """The result of reading one recording, on disk: its motion, or why it cannot be used.

    Attributes:
        source: the recording.
        folder: where the result lies.
        key: hash of the recording's name and file, which names the result.
    """

    source: Source
    folder: Path
    key: str

    @property
    def motion(self) -> Path:
        """Path of its motion, which exists if it was read."""
        return self.folder / f"{self.key}.npy"

    @property
    def notices(self) -> Path:
        """Path of what was noticed when it was read, by kind, which exists if anything was."""
        return self.folder / f"{self.key}.json"

    @property
    def refusal(self) -> Path:
        """Path of the reason, which exists if it cannot be used."""
        return self.folder / f"{self.key}.txt"


_Starts = tuple[CachedRecording, NDArray[np.int64]]
"""A recording, and the first frames of the windows that are cut from it."""


def cut(
    dataset: Dataset,
    cached: Sequence[CachedRecording],
    masks: Mapping[int, NDArray[np.bool_]],
    folder: Path,
) -> None:
    """Cut cached recordings into windows in ``folder``, one recording at a time.

    Args:
        dataset: the data set.
        cached: its recordings.
        masks: its ``test_masks``.
        folder: where to write; it appears whole or not at all.

    Raises:
        InputError: a split has no window.
    """
    facts: dict[str, Any] = {"short": [], "skipped": {}, "incomplete": 0, "notices": {}}
    starts: dict[str, list[_Starts]] = {split: [] for split in SPLITS}
    recordings: list[dict[str, Any]] = []
    for one in cached:
        if not one.motion.exists():
            facts["skipped"][one.source.name] = one.refusal.read_text(encoding="utf-8")
            continue
        if one.notices.exists():
            facts["notices"][one.source.name] = json.loads(one.notices.read_bytes())
        motion = np.load(one.motion, mmap_mode="r", allow_pickle=False)
        first = np.arange(0, len(motion) - dataset.frames + 1, dataset.stride)
        if not len(first):
            facts["short"].append(one.source.name)
        recordings.append(_row(one.source, motion))
        complete = _complete(motion, first, dataset.frames)
        facts["incomplete"] += int((~complete).sum())
        starts[one.source.split].append((one, first[complete]))
    for split in SPLITS:
        if not sum(len(first) for _, first in starts[split]):
            raise InputError(_no_windows(dataset, split, facts))
    with atomic_folder(folder) as draft:
        for split in SPLITS:
            _write_split(dataset, starts[split], draft, split)
        for level, given in masks.items():
            np.save(draft / f"{MASKS}{level}.npy", given, allow_pickle=False)
        stated = {"name": dataset.name, **dataset.model_dump(mode="json"), **facts}
        (draft / FACTS).write_text(json.dumps(stated, indent=1))
        pd.DataFrame(recordings).to_parquet(draft / RECORDINGS)


def _row(source: Source, motion: NDArray[np.float32]) -> dict[str, Any]:
    """Return the row of ``Data.recordings`` for one recording."""
    return {
        "source": source.name,
        "split": source.split,
        "action": source.action,
        "subject": source.subject,
        "frames": len(motion),
        "missing": int(np.isnan(motion).sum()),
    }


def _complete(
    motion: NDArray[np.float32], first: NDArray[np.int64], frames: int
) -> NDArray[np.bool_]:
    """Return which windows, given by their first frames, have no missing value."""
    recording = Recordings(motion, np.array([0, len(motion)]))
    return recording.covers(np.zeros_like(first), first, frames)


def _no_windows(dataset: Dataset, split: str, facts: dict[str, Any]) -> str:
    complete = " without a missing value" if facts["incomplete"] else ""
    reason = (
        f"{dataset.name}: no {split} recording has {dataset.frames} frames at "
        f"{dataset.fps:g} fps{complete}; add recordings or lower dataset.frames"
    )
    skipped = list(facts["skipped"].values())
    return f"{reason}; {len(skipped)} cannot be used, first: {skipped[0]}" if skipped else reason


def _write_split(
    dataset: Dataset,
    starts: Sequence[_Starts],
    draft: Path,
    split: str,
) -> None:
    """Write the frames of one recording after the other, and the index of the windows."""
    counts = [len(first) for _, first in starts]
    with (draft / f"{split}.npy").open("wb") as file:
        _write_header(file, (sum(_length(one) for one, _ in starts), len(dataset.skeleton), 3))
        for one, _ in starts:
            file.write(np.load(one.motion, allow_pickle=False).data)
    index = {
        "source": _repeated([one.source.name for one, _ in starts], counts),
        "start": np.concatenate([first for _, first in starts]),
        "action": _repeated([one.source.action for one, _ in starts], counts),
        "subject": _repeated([one.source.subject for one, _ in starts], counts),
    }
    pd.DataFrame(index).to_parquet(draft / f"{split}.parquet")


def _length(one: CachedRecording) -> int:
    return len(np.load(one.motion, mmap_mode="r", allow_pickle=False))


def _repeated(words: Sequence[str], counts: Sequence[int]) -> NDArray[np.object_]:
    return np.repeat(np.array(words, dtype=object), counts)


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(
        file,
        {
            "descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)),
            "fortran_order": False,
            "shape": shape,
        },
    )


def open_windows(folder: Path, split: str, dataset: Dataset) -> Windows:
    """Return one split of a built folder, its frames as a read-only memory map."""
    with readable(folder):
        frames = np.lib.format.open_memmap(folder / f"{split}.npy", mode="r")
        index = pd.read_parquet(folder / f"{split}.parquet")
        read = pd.read_parquet(folder / RECORDINGS).query("split == @split")
        masks = {
            int(path.stem.removeprefix(MASKS)): np.load(path, mmap_mode="r", allow_pickle=False)
            for path in sorted(folder.glob(f"{MASKS}*.npy"))
            if split == "test"
        }
    recordings = Recordings(frames, np.append(0, read["frames"].cumsum()))
    number = pd.Index(read["source"]).get_indexer(index["source"]).astype(np.int64)
    first = recordings.bounds[number] + index["start"].to_numpy()
    motion = Clips(recordings, number, first, dataset.frames)
    future = motion.following(dataset.future)
    return Windows(motion, index, dataset.fps, dataset.skeleton, future, masks)
