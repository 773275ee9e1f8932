"""Recordings to windows on disk, one recording in memory at a time.

Windows are built once. They lie as ``<split>.npy`` and ``<split>_future.npy`` (float32,
memory-mapped when read) and ``<split>.parquet`` (the window index) in a folder named by a
fingerprint of the source files and of everything that happened to them on the way. Recordings are
read by several processes and kept one by one beside it until all are there, so that an interrupted
build goes on where it was.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from bench.code import code_version
from bench.datasets.base import SPLITS, Data, Dataset, Source
from bench.errors import InputError
from bench.files import atomic_file, atomic_folder
from bench.motion import Windows

IN_PROCESS = 16 * 2**20
"""Bytes of source files below which other processes would take longer to start than they save."""
LARGE = 2**20
"""Bytes from which on a file's hash is remembered, by its size and time of change."""
FACTS = "dataset.json"
RECORDINGS = "recordings.parquet"
COLUMNS = ["source", "start", "action", "subject"]


def load(
    dataset: Dataset,
    root: Path | None,
    cache: Path,
    strict: bool = False,
    console: Console | None = None,
) -> Data:
    """Return the windows of a data set, building them in ``cache`` if they are not there yet.

    Args:
        dataset: which, with its settings.
        root: where real data lie.
        cache: where built windows lie.
        strict: whether a file that cannot be used is an error for any data set.
        console: where to show progress; None shows nothing.

    Raises:
        InputError: no data at ``root``, a split without windows, or an unusable file where
            ``strict`` or the data set's fixed list forbids one.
    """
    sources = dataset.sources(root)
    key = fingerprint(dataset, root, cache)
    folder = cache / key
    strict = strict or dataset.fixed
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{key}.lock"):
        if not folder.exists():
            _build(dataset, sources, folder, strict, console)
    facts = json.loads((folder / FACTS).read_text())
    if strict and facts["skipped"]:
        raise InputError(next(iter(facts["skipped"].values())))
    return Data(
        name=dataset.name,
        synthetic=dataset.synthetic,
        fingerprint=key,
        splits={split: open_windows(folder, split, dataset) for split in SPLITS},
        absent=dataset.absent(root),
        short=facts["short"],
        caveat=dataset.caveat,
        skipped=facts["skipped"],
        incomplete=facts["incomplete"],
        recordings=pd.read_parquet(folder / RECORDINGS),
    )


def fingerprint(dataset: Dataset, root: Path | None, cache: Path) -> str:
    """Return a hash of the source files' bytes, the settings and the code that reads them."""
    digest = hashlib.sha256()
    digest.update(dataset.name.encode())
    digest.update(dataset.model_dump_json().encode())
    digest.update(code_version(type(dataset)).encode())
    for source in dataset.sources(root):
        member = source.file.member if source.file else ""
        told = (source.name, source.split, source.action, source.subject, member)
        digest.update(repr(told).encode())
    known = _Hashes(cache / "hashes.json")
    for path in dataset.files(root):
        digest.update(path.name.encode())
        digest.update(known.of(path))
    known.save()
    return digest.hexdigest()[:16]


def open_windows(folder: Path, split: str, dataset: Dataset) -> Windows:
    """Return one split of a built folder as read-only memory-mapped windows."""
    motion, future = (
        np.load(folder / f"{split}{part}.npy", mmap_mode="r", allow_pickle=False)
        for part in ("", "_future")
    )
    index = pd.read_parquet(folder / f"{split}.parquet")
    return Windows(motion, index, dataset.fps, dataset.skeleton, future)


class _Hashes:
    """SHA-256 of files; those of large files are remembered from run to run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
        self.added = False

    def of(self, path: Path) -> bytes:
        """Return a file's hash; raises InputError if it cannot be read."""
        try:
            stat = path.stat()
            if stat.st_size < LARGE:
                return hashlib.sha256(path.read_bytes()).digest()
            key = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
            if key not in self.known:
                with path.open("rb") as file:
                    self.known[key] = hashlib.file_digest(file, "sha256").hexdigest()
                self.added = True
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        return bytes.fromhex(self.known[key])

    def save(self) -> None:
        if self.added:
            with atomic_file(self.path) as draft:
                draft.write_text(json.dumps(self.known, indent=0))


@dataclass(frozen=True)
class _Kept:
    """What was read of one recording, on disk: its motion, or why there is none."""

    source: Source
    folder: Path
    number: int

    @property
    def motion(self) -> Path:
        return self.folder / f"{self.number}.npy"

    @property
    def refusal(self) -> Path:
        return self.folder / f"{self.number}.txt"

    @property
    def done(self) -> bool:
        return self.motion.exists() or self.refusal.exists()


def _build(
    dataset: Dataset,
    sources: Sequence[Source],
    folder: Path,
    strict: bool,
    console: Console | None,
) -> None:
    """Read all recordings that are not read yet, and make a folder of windows of them."""
    names = Counter(source.name for source in sources)
    if twice := [name for name, times in names.items() if times > 1]:
        raise InputError(f"{dataset.name}: two recordings are called {twice[0]}; rename one")
    kept_in = folder.with_name(f".reading-{folder.name}")
    kept_in.mkdir(exist_ok=True)
    kept = [_Kept(source, kept_in, number) for number, source in enumerate(sources)]
    try:
        _read_all(dataset, kept, strict, console)
        _assemble(dataset, kept, folder)
    except KeyboardInterrupt:
        raise
    except Exception:
        shutil.rmtree(kept_in)
        raise
    shutil.rmtree(kept_in)


def _read_all(
    dataset: Dataset, kept: Sequence[_Kept], strict: bool, console: Console | None
) -> None:
    """Read what is missing; raises InputError at the first refusal if ``strict``."""
    missing = [one for one in kept if not one.done]
    results = track(
        _each(dataset, missing),
        description=f"reading {dataset.name}",
        total=len(missing),
        console=console,
        disable=console is None or len(missing) < 2,
        transient=True,
    )
    for refused in results:
        if refused and strict:
            raise InputError(refused)


def _each(dataset: Dataset, missing: Sequence[_Kept]) -> Iterator[str]:
    """Read recordings, here or in as many processes as there are processors."""
    read = partial(_read, dataset)
    paths = {one.source.file.path for one in missing if one.source.file}
    workers = min(os.cpu_count() or 1, len(missing))
    if workers < 2 or sum(path.stat().st_size for path in paths) < IN_PROCESS:
        yield from map(read, missing)
        return
    from bench.registry import plugins

    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), _prepare, (tuple(plugins().values()),)
    )
    with pool:
        try:
            yield from pool.map(read, missing, chunksize=4)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _prepare(plugins: tuple[Path, ...]) -> None:
    """Make known to another process what the user's own files define."""
    from bench.registry import load_plugin

    for path in plugins:
        load_plugin(path)


def _read(dataset: Dataset, kept: _Kept) -> str:
    """Read one recording and keep its motion; return why it cannot be used, empty if it can."""
    try:
        motion = dataset.read(kept.source)
    except InputError as error:
        with atomic_file(kept.refusal) as draft:
            draft.write_text(str(error), encoding="utf-8")
        return str(error)
    joints = len(dataset.skeleton)
    if motion.dtype != np.float32 or motion.ndim != 3 or motion.shape[1:] != (joints, 3):
        raise TypeError(
            f"{dataset.name} read {motion.dtype} {motion.shape}, not float32 (frame, {joints}, 3)"
        )
    with atomic_file(kept.motion) as draft:
        np.save(draft, motion, allow_pickle=False)
    return ""


def _assemble(dataset: Dataset, kept: Sequence[_Kept], folder: Path) -> None:
    """Cut kept recordings into windows, one recording at a time."""
    facts: dict[str, Any] = {"short": [], "skipped": {}, "incomplete": 0}
    starts: dict[str, list[tuple[_Kept, NDArray[np.int64]]]] = {split: [] for split in SPLITS}
    recordings: list[dict[str, Any]] = []
    for one in kept:
        if one.refusal.exists():
            facts["skipped"][one.source.name] = one.refusal.read_text(encoding="utf-8")
            continue
        motion = np.load(one.motion, mmap_mode="r", allow_pickle=False)
        first = np.arange(0, len(motion) - dataset.frames + 1, dataset.stride)
        if not len(first):
            facts["short"].append(one.source.name)
        recordings.append(_row(one.source, motion))
        whole = _whole(motion, first, dataset.frames)
        facts["incomplete"] += int((~whole).sum())
        starts[one.source.split].append((one, first[whole]))
    for split in SPLITS:
        if not sum(len(first) for _, first in starts[split]):
            raise InputError(_no_windows(dataset, split, facts))
    with atomic_folder(folder) as draft:
        for split in SPLITS:
            _write_split(dataset, starts[split], draft, split)
        stated = {"name": dataset.name, **dataset.model_dump(mode="json"), **facts}
        (draft / FACTS).write_text(json.dumps(stated, indent=1))
        pd.DataFrame(recordings).to_parquet(draft / RECORDINGS)


def _row(source: Source, motion: NDArray[np.float32]) -> dict[str, Any]:
    """Return what is remembered of a recording beside its windows."""
    return {
        "source": source.name,
        "split": source.split,
        "action": source.action,
        "subject": source.subject,
        "frames": len(motion),
        "missing": int(np.isnan(motion).sum()),
    }


def _whole(motion: NDArray[np.float32], first: NDArray[np.int64], frames: int) -> NDArray[np.bool_]:
    """Return which windows, by their first frames, lack no value."""
    lacking = np.append(0, np.cumsum(~np.isfinite(motion).all(axis=(1, 2))))
    return lacking[first + frames] == lacking[first]


def _no_windows(dataset: Dataset, split: str, facts: dict[str, Any]) -> str:
    reason = (
        f"{dataset.name}: no {split} recording has {dataset.frames} frames at "
        f"{dataset.fps:g} fps; add recordings or lower dataset.frames"
    )
    skipped = list(facts["skipped"].values())
    return f"{reason}; {len(skipped)} cannot be used, first: {skipped[0]}" if skipped else reason


def _write_split(
    dataset: Dataset,
    starts: Sequence[tuple[_Kept, NDArray[np.int64]]],
    draft: Path,
    split: str,
) -> None:
    count = sum(len(first) for _, first in starts)
    joints = len(dataset.skeleton)
    lengths = {"": dataset.frames, "_future": dataset.future}
    motion, future = (
        open_memmap(draft / f"{split}{part}.npy", "w+", np.float32, (count, length, joints, 3))
        for part, length in lengths.items()
    )
    rows: list[tuple[str, int, str, str]] = []
    for one, first in starts:
        recording = np.load(one.motion, allow_pickle=False)
        for start in first.tolist():
            end = start + dataset.frames
            motion[len(rows)] = recording[start:end]
            future[len(rows)] = _after(recording, end, dataset.future)
            rows.append((one.source.name, start, one.source.action, one.source.subject))
    motion.flush()
    future.flush()
    pd.DataFrame(rows, columns=COLUMNS).to_parquet(draft / f"{split}.parquet")


def _after(motion: NDArray[np.float32], start: int, frames: int) -> NDArray[np.float32]:
    """Return ``(frames, joint, 3)`` of a recording from ``start`` on, nan where it has ended."""
    future = np.full((frames, *motion.shape[1:]), np.nan, dtype=np.float32)
    there = motion[start : start + frames]
    future[: len(there)] = there
    return future
