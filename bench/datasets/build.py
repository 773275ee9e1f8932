"""Recordings to windows on disk, one recording in memory at a time.

Windows are built once, into a folder named by a fingerprint of the source files, the settings and
the code; ``cut`` describes its content. Recordings are read by several worker processes and cached
one by one until the windows are complete, each under the hash of its own file: a build that was
interrupted, or failed because of one file, resumes from there.
"""

import hashlib
import json
import os
import shutil
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from bench.core import notices
from bench.core.code_versions import code_version
from bench.core.errors import InputError
from bench.core.files import atomic_file, readable
from bench.core.processes import imports_its_parents_script
from bench.datasets import cut as cutting
from bench.datasets import folds
from bench.datasets.archive import dangling
from bench.datasets.base import SPLITS, Data, Dataset, Source
from bench.datasets.cut import FACTS, RECORDINGS, CachedRecording, cut, open_windows

T = TypeVar("T")

IN_PROCESS = 3.0
"""Seconds for which this process reads alone; starting worker processes takes about as long."""
REMEMBERED = 2**16
"""Least size in bytes of a file of which the hash is cached, by size and modification time."""
READING = ".reading-"
"""Prefix of the folders in which recordings are cached until the windows are complete."""
ABANDONED = 14 * 24 * 3600
"""Seconds without a change after which such a folder is removed."""


def load(
    dataset: Dataset,
    root: Path | None,
    cache: Path,
    strict: bool = False,
    console: Console | None = None,
) -> Data:
    """Return the windows of a data set, building them in ``cache`` if they do not exist yet.

    A script that calls it should do so under ``if __name__ == "__main__":``, because the worker
    processes import the script; without this guard they exit, and this process reads alone.

    Args:
        dataset: the data set with its settings.
        root: folder of real data.
        cache: folder of built windows, and of the cached hashes.
        strict: whether a file that cannot be used is an error for any data set.
        console: where to show progress; None shows nothing.

    Raises:
        InputError: no data at ``root``, a split without windows, or an unusable file although
            ``strict`` is set or the data set has a fixed list of files.
    """
    if imports_its_parents_script():
        # A worker process must not wait for the lock, which its parent holds.
        sys.exit()
    with notices.collected() as noticed:
        sources = folds.sources(dataset, root)
    cache.mkdir(parents=True, exist_ok=True)
    fingerprints = _Fingerprints.computed(dataset, sources, root, cache, console)
    key = fingerprints.whole
    folder = cache / key
    strict = strict or dataset.fixed
    with FileLock(cache / f".{fingerprints.reading}.lock"):
        if not folder.exists():
            masks = dataset.test_masks(root)
            _build(dataset, sources, masks, fingerprints, folder, strict, console)
    with readable(folder):
        facts = json.loads((folder / FACTS).read_text())
        recordings = pd.read_parquet(folder / RECORDINGS)
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
        recordings=recordings,
        notices={**({dataset.name: noticed} if noticed else {}), **facts["notices"]},
    )


@dataclass(frozen=True)
class _Fingerprints:
    """Hashes that identify what was built or read before.

    Attributes:
        reading: hash of the settings, the code that reads, and files shared by all recordings.
        recordings: for each recording, hash of its labels and of its file's bytes.
    """

    reading: str
    recordings: tuple[str, ...]

    @classmethod
    def computed(
        cls,
        dataset: Dataset,
        sources: Sequence[Source],
        root: Path | None,
        cache: Path,
        console: Console | None,
    ) -> "_Fingerprints":
        """Hash every source file; raises InputError for one that cannot be read."""
        own = {source.file.path for source in sources if source.file}
        files = dataset.files(root)
        hashes = _hashes(sorted(own | set(files)), cache / "hashes.json", console)
        shared = [(path.name, hashes[path]) for path in files if path not in own]
        code = code_version(type(dataset), cutting)
        return cls(
            _hash(dataset.name, dataset.model_dump_json(), code, shared),
            tuple(
                _hash(_labels(one), hashes[one.file.path] if one.file else "") for one in sources
            ),
        )

    @property
    def whole(self) -> str:
        """Hash of everything that the windows depend on."""
        return _hash(self.reading, self.recordings)


def _labels(source: Source) -> tuple[str, ...]:
    member = source.file.member if source.file else ""
    return source.name, source.split, source.action, source.subject, member


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _hashes(paths: Sequence[Path], cache: Path, console: Console | None) -> dict[Path, str]:
    """Return the SHA-256 of files; all but those of small files are cached in ``cache``."""
    known = _cached_hashes(cache)
    new: dict[str, str] = {}

    def of(path: Path) -> str:
        if dangling(path):  # its reader says so
            return "absent"
        try:
            stat = path.stat()
            key = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
            if key in known:
                return known[key]
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        if stat.st_size >= REMEMBERED:
            new[key] = found
        return found

    try:
        # Hashing releases the interpreter lock, so threads suffice.
        with ThreadPoolExecutor() as pool:
            found = _with_progress(pool.map(of, paths), "hashing files", len(paths), console)
            return dict(zip(paths, found, strict=True))
    finally:
        if new:
            with atomic_file(cache) as draft:
                draft.write_text(json.dumps(known | new, indent=0))


def _cached_hashes(cache: Path) -> dict[str, str]:
    try:
        known = json.loads(cache.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _with_progress(
    results: Iterable[T], description: str, total: int, console: Console | None
) -> Iterable[T]:
    """Show a progress bar over results, if there is a console and more than one result."""
    if console is None or total < 2:
        return results
    return track(results, description, total, console=console, transient=True)


def _build(
    dataset: Dataset,
    sources: Sequence[Source],
    masks: Mapping[int, NDArray[np.bool_]],
    fingerprints: _Fingerprints,
    folder: Path,
    strict: bool,
    console: Console | None,
) -> None:
    """Read all recordings that are not cached yet, and build the folder of windows from them."""
    names = Counter(source.name for source in sources)
    if twice := [name for name, times in names.items() if times > 1]:
        raise InputError(f"{dataset.name}: two recordings are called {twice[0]}; keep one of them")
    _remove_abandoned(folder.parent)
    recordings = folder.with_name(f"{READING}{fingerprints.reading}")
    recordings.mkdir(exist_ok=True)
    cached = [
        CachedRecording(source, recordings, key)
        for source, key in zip(sources, fingerprints.recordings, strict=True)
    ]
    _read_all(dataset, cached, strict, console)
    cut(dataset, cached, masks, folder)
    shutil.rmtree(recordings)


def _remove_abandoned(cache: Path) -> None:
    """Remove recordings cached by builds that were interrupted long ago and never resumed."""
    for folder in cache.glob(f"{READING}*"):
        with suppress(OSError):  # another process removes it too
            if time.time() - folder.stat().st_mtime > ABANDONED:
                shutil.rmtree(folder)


def _read_all(
    dataset: Dataset, cached: Sequence[CachedRecording], strict: bool, console: Console | None
) -> None:
    """Read what is not cached; raises InputError at the first unusable file if ``strict``."""
    # Unusable files are retried: the disk may have failed, not the file.
    missing = [one for one in cached if not one.motion.exists()]
    # Closed here; otherwise workers would go on reading while an exception propagates.
    with closing(_read_each(dataset, missing)) as results:
        for refused in _with_progress(results, f"reading {dataset.name}", len(missing), console):
            if refused and strict:
                raise InputError(refused)


def _read_each(dataset: Dataset, missing: Sequence[CachedRecording]) -> Generator[str, None, None]:
    """Read recordings, first in this process, then in one worker process per processor.

    Yields:
        For each recording, why it cannot be used, or an empty string.
    """
    read = partial(_read, dataset)
    remaining, begun = list(missing), time.monotonic()
    while remaining and time.monotonic() - begun < IN_PROCESS:
        yield read(remaining.pop(0))
    workers = min(os.cpu_count() or 1, len(remaining))
    if workers < 2:
        yield from map(read, remaining)
        return
    from bench.core.registry import plugins

    context = get_context("spawn")
    started = context.Event()
    pool = ProcessPoolExecutor(workers, context, _prepare, (tuple(plugins().values()), started))
    try:
        yield from pool.map(read, remaining, chunksize=4)
    except BrokenProcessPool:
        if not started.is_set():
            warnings.warn(
                "worker processes could not start, so one process reads all; call load under "
                'if __name__ == "__main__": in your script',
                stacklevel=2,
            )
            yield from map(read, remaining)
            return
        raise InputError(
            f"{dataset.name}: a process that read recordings was killed, perhaps for lack of "
            "memory; finished recordings are kept, so run again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(plugins: tuple[Path, ...], started: Event) -> None:
    """Load the user's plugins in a worker process."""
    from bench.core.registry import load_plugin

    started.set()
    # An interrupt reaches every process of a terminal; the parent process stops the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for path in plugins:
        load_plugin(path)


def _read(dataset: Dataset, cached: CachedRecording) -> str:
    """Read one recording and cache its motion; return why it cannot be used, empty if it can."""
    try:
        with notices.collected() as found:
            motion = dataset.read(cached.source)
    except InputError as error:
        with atomic_file(cached.refusal) as draft:
            draft.write_text(str(error), encoding="utf-8")
        return str(error)
    joints = len(dataset.skeleton)
    if motion.dtype != np.float32 or motion.ndim != 3 or motion.shape[1:] != (joints, 3):
        raise TypeError(
            f"{dataset.name} read {motion.dtype} {motion.shape}, not float32 (frame, {joints}, 3)"
        )
    if found:
        with atomic_file(cached.notices) as draft:
            draft.write_text(json.dumps(found), encoding="utf-8")
    with atomic_file(cached.motion) as draft:
        np.save(draft, motion, allow_pickle=False)
    return ""
