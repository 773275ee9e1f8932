"""Atomic file writes, temporary files and readable file-system errors."""

import glob
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import psutil
from safetensors import SafetensorError

from bench.core.errors import InputError, WriteError

HOST = socket.gethostname()
TEMPORARY_PREFIXES = (".draft-", ".ray-", ".stop-")
"""Name prefixes of temporary files and folders, which belong to the process that made them."""
DEPTH = 4
"""Levels of folders in which ``remove_stale`` looks."""
FULL = 1 << 16
"""Free bytes below which a disk counts as full."""


def temporary_prefix(prefix: str) -> str:
    """Return ``prefix`` followed by the host name and the process id that own the file."""
    assert prefix in TEMPORARY_PREFIXES
    return f"{prefix}{HOST}-{os.getpid()}-"


def alive(host: str, pid: int) -> bool | None:
    """Return whether a process is running; None if it belongs to another machine."""
    return psutil.pid_exists(pid) if host == HOST else None


def remove_stale(folder: Path) -> None:
    """Remove temporary files that killed processes of this machine left in or below ``folder``."""
    for depth in range(DEPTH):
        for path in folder.glob("*/" * depth + f".*-{glob.escape(HOST)}-*-*"):
            pid = path.name.split(f"-{HOST}-", 1)[1].split("-")[0]
            if (
                path.name.startswith(TEMPORARY_PREFIXES)
                and pid.isdigit()
                and not alive(HOST, int(pid))
            ):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    with suppress(OSError):
                        path.unlink()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error while writing ``path`` into a WriteError that names the path and the reason."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        if _is_full(path):
            reason = "no space left on device"
        raise WriteError(
            f"{path}: cannot be written: {reason}; fix that and run the same command again, what "
            "had finished is kept"
        ) from error


def _is_full(path: Path) -> bool:
    """Return whether the file system is full; errors of numpy and other writers do not say so."""
    folder = next((one for one in path.parents if one.is_dir()), None)
    try:
        return folder is not None and shutil.disk_usage(folder).free < FULL
    except OSError:
        return False


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, renamed to ``path`` if the block succeeds.

    Raises:
        WriteError: it cannot be written.
    """
    # Keep the suffix: some writers choose the format by it.
    draft = path.with_name(f"{temporary_prefix('.draft-')}{secrets.token_hex(4)}{path.suffix}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield draft
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder in the same parent, renamed to ``path`` if the block succeeds.

    If another process created ``path`` meanwhile, its folder is kept and this one is removed.

    Raises:
        WriteError: it cannot be written.
    """
    with draft_folder(path.parent) as draft:
        yield draft
        try:
            draft.rename(path)
        except OSError:
            if not path.is_dir():
                raise


@contextmanager
def draft_folder(parent: Path) -> Iterator[Path]:
    """Yield a temporary folder that is removed when the block ends, unless it was renamed.

    Raises:
        WriteError: it cannot be written.
    """
    with writing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=parent, prefix=temporary_prefix(".draft-")))
        try:
            draft.chmod(0o755)
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def rename_unused(draft: Path, name: str) -> Path:
    """Rename ``draft`` to ``name``, or to ``name-2``, ``name-3``, ... if taken; return the path."""
    for number in count(1):
        path = draft.with_name(name if number == 1 else f"{name}-{number}")
        try:
            return draft.rename(path)
        except OSError:
            if not path.exists():
                raise
    raise AssertionError


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn any error while reading a file that this program wrote into an InputError naming it."""
    try:
        yield
    except Exception as error:
        # Each file format's reader raises its own exceptions.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: damaged ({reason}); delete it and run again") from None
