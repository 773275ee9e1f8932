"""Recordings to windows on disk, one recording in memory at a time.

Windows are built once, into a folder named by a fingerprint of the source files and of everything
that happened to them on the way; ``cut`` says what lies there. Recordings are read by several
processes and kept one by one until the windows are there, each under the hash of its own file: a
build that was interrupted, or refused because of one file, goes on where it was.
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
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import current_process, get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from filelock import FileLock
from rich.console import Console
from rich.progress import track

from bench.core.code_versions import code_version
from bench.core.errors import InputError
from bench.core.files import atomic_file, readable
from bench.datasets import cut as cutting
from bench.datasets.base import SPLITS, Data, Dataset, Source
from bench.datasets.cut import FACTS, RECORDINGS, Kept, cut, open_windows

T = TypeVar("T")

IN_PROCESS = 3.0
"""Seconds that this process reads alone; starting others takes about as long."""
REMEMBERED = 2**16
"""Bytes from which on a file's hash is remembered, by its size and time of change."""
READING = ".reading-"
"""How the folders begin that keep what was read until the windows are there."""
ABANDONED = 14 * 24 * 3600
"""Seconds after which such a folder is removed if nothing has been added to it."""


def load(
    dataset: Dataset,
    root: Path | None,
    cache: Path,
    strict: bool = False,
    console: Console | None = None,
) -> Data:
    """Return the windows of a data set, building them in ``cache`` if they are not there yet.

    A script that calls it should do so under ``if __name__ == "__main__":``, as the processes that
    read recordings import the script; otherwise they end there, and this one reads alone.

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
    if _imports_its_parents_script():
        # Its parent holds the lock and waits for it.
        sys.exit()
    sources = dataset.sources(root)
    cache.mkdir(parents=True, exist_ok=True)
    prints = _Fingerprints.taken(dataset, sources, root, cache, console)
    key = prints.whole
    folder = cache / key
    strict = strict or dataset.fixed
    with FileLock(cache / f".{prints.reading}.lock"):
        if not folder.exists():
            _build(dataset, sources, prints, folder, strict, console)
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
    )


@dataclass(frozen=True)
class _Fingerprints:
    """Hashes that tell whether something was built or read before.

    Attributes:
        reading: of the settings, of the code that reads and of the files that all recordings share.
        recordings: of what a recording is called and of its file's bytes, in their order.
    """

    reading: str
    recordings: tuple[str, ...]

    @classmethod
    def taken(
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
        hashes = _hashes(sorted(own.union(files)), cache / "hashes.json", console)
        shared = [(path.name, hashes[path]) for path in files if path not in own]
        code = code_version(type(dataset), cutting)
        return cls(
            _hash(dataset.name, dataset.model_dump_json(), code, shared),
            tuple(_hash(_told(one), hashes[one.file.path] if one.file else "") for one in sources),
        )

    @property
    def whole(self) -> str:
        """Of everything."""
        return _hash(self.reading, self.recordings)


def _told(source: Source) -> tuple[str, ...]:
    member = source.file.member if source.file else ""
    return source.name, source.split, source.action, source.subject, member


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _hashes(paths: Sequence[Path], known_at: Path, console: Console | None) -> dict[Path, str]:
    """Return the SHA-256 of files; those of all but small files are remembered from run to run."""
    known = _remembered(known_at)
    new: dict[str, str] = {}

    def of(path: Path) -> str:
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
        # Hashing lets go of the interpreter, so threads do.
        with ThreadPoolExecutor() as pool:
            found = _shown(pool.map(of, paths), "looking at files", len(paths), console)
            return dict(zip(paths, found, strict=True))
    finally:
        if new:
            with atomic_file(known_at) as draft:
                draft.write_text(json.dumps(known | new, indent=0))


def _remembered(known_at: Path) -> dict[str, str]:
    try:
        known = json.loads(known_at.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _shown(
    results: Iterable[T], description: str, total: int, console: Console | None
) -> Iterable[T]:
    """Show how far results have come, if there is a console and more than one of them."""
    if console is None or total < 2:
        return results
    return track(results, description, total, console=console, transient=True)


def _build(
    dataset: Dataset,
    sources: Sequence[Source],
    prints: _Fingerprints,
    folder: Path,
    strict: bool,
    console: Console | None,
) -> None:
    """Read all recordings that are not read yet, and make a folder of windows of them."""
    names = Counter(source.name for source in sources)
    if twice := [name for name, times in names.items() if times > 1]:
        raise InputError(f"{dataset.name}: two recordings are called {twice[0]}; keep one of them")
    _forget_abandoned(folder.parent)
    kept_in = folder.with_name(f"{READING}{prints.reading}")
    kept_in.mkdir(exist_ok=True)
    kept = [
        Kept(source, kept_in, key) for source, key in zip(sources, prints.recordings, strict=True)
    ]
    _read_all(dataset, kept, strict, console)
    cut(dataset, kept, folder)
    shutil.rmtree(kept_in)


def _forget_abandoned(cache: Path) -> None:
    """Remove what was kept for builds that nobody has gone on with for long."""
    for folder in cache.glob(f"{READING}*"):
        with suppress(OSError):  # another process removes it too
            if time.time() - folder.stat().st_mtime > ABANDONED:
                shutil.rmtree(folder)


def _read_all(
    dataset: Dataset, kept: Sequence[Kept], strict: bool, console: Console | None
) -> None:
    """Read what is missing; raises InputError at the first refusal if ``strict``."""
    # What was refused is tried again: a disk may have failed, not the file.
    missing = [one for one in kept if not one.motion.exists()]
    # Closed here, or other processes would go on reading while an error is on its way up.
    with closing(_each(dataset, missing)) as results:
        for refused in _shown(results, f"reading {dataset.name}", len(missing), console):
            if refused and strict:
                raise InputError(refused)


def _each(dataset: Dataset, missing: Sequence[Kept]) -> Generator[str, None, None]:
    """Read recordings, first here, and what takes long in as many processes as processors."""
    read = partial(_read, dataset)
    left, begun = list(missing), time.monotonic()
    while left and time.monotonic() - begun < IN_PROCESS:
        yield read(left.pop(0))
    workers = min(os.cpu_count() or 1, len(left))
    if workers < 2:
        yield from map(read, left)
        return
    from bench.core.registry import plugins

    context = get_context("spawn")
    started = context.Event()
    pool = ProcessPoolExecutor(workers, context, _prepare, (tuple(plugins().values()), started))
    try:
        yield from pool.map(read, left, chunksize=4)
    except BrokenProcessPool:
        if not started.is_set():
            warnings.warn(
                "no other process can read recordings, so one reads them all; call load under "
                'if __name__ == "__main__": in your script',
                stacklevel=2,
            )
            yield from map(read, left)
            return
        raise InputError(
            f"{dataset.name}: a process that read recordings was killed, perhaps for want of "
            "memory; what was read is kept, so run again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _imports_its_parents_script() -> bool:
    """Return whether this is a process of a pool, and still imports the script that made it."""
    # Python looks at the same to refuse that such a process starts others.
    return getattr(current_process(), "_inheriting", False)


def _prepare(plugins: tuple[Path, ...], started: Event) -> None:
    """Make known to another process what the user's own files define."""
    from bench.core.registry import load_plugin

    started.set()
    # An interrupt reaches every process of a terminal; the first one tells the others to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for path in plugins:
        load_plugin(path)


def _read(dataset: Dataset, kept: Kept) -> str:
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
