"""Files that appear whole or not at all."""

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
"""What begins the names of files and folders that do not outlive the process that made them."""
DEPTH = 4
FULL = 1 << 16
"""Free bytes below which a disk counts as full."""


def temporary_prefix(prefix: str) -> str:
    """Return a prefix with the machine and process that the temporary file belongs to."""
    assert prefix in TEMPORARY_PREFIXES
    return f"{prefix}{HOST}-{os.getpid()}-"


def alive(host: str, pid: int) -> bool | None:
    """Return whether a process is there; None if it is another machine's."""
    return psutil.pid_exists(pid) if host == HOST else None


def remove_stale(folder: Path) -> None:
    """Remove what killed processes of this machine left in ``folder`` and the folders below."""
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
    """Turn what goes wrong in writing ``path`` into WriteError."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        if _is_full(path):
            reason = "no space left on device"
        raise WriteError(
            f"{path}: cannot be written: {reason}; mend that and run the same command again, what "
            "had finished is kept"
        ) from error


def _is_full(path: Path) -> bool:
    """Return whether a file system has no room; numpy's and others' errors do not say so."""
    there = next((one for one in path.parents if one.is_dir()), None)
    try:
        return there is not None and shutil.disk_usage(there).free < FULL
    except OSError:
        return False


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that replaces it when the block ends well.

    Raises:
        WriteError: the file system does not take it.
    """
    # The suffix is kept: some writers choose the format by it.
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
    """Give a temporary folder beside ``path`` that becomes it when the block ends well.

    If another process made ``path`` meanwhile, theirs is kept.

    Raises:
        WriteError: the file system does not take it.
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
    """Give a temporary folder that is gone when the block ends, unless it was renamed.

    Raises:
        WriteError: the file system does not take it.
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
    """Rename a draft to ``name``, or if others have that, ``name-2`` and so on; return the path."""
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
    """Turn whatever reading a file of ours raises into an InputError that names the file."""
    try:
        yield
    except Exception as error:
        # Each format's reader fails in ways of its own.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: damaged ({reason}); delete it and run again") from None
