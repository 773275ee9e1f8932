"""Files in a folder, or members of a zip archive, which are read without unpacking it."""

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from bench.core.errors import InputError, reason_of

LARGEST = 2**29
"""Most bytes of a file that are read; a larger one is no motion, or a zip bomb."""

HEAD = 2**16
"""Bytes at a file's start that suffice to recognise its format."""

LARGEST_POINTER = 1024
"""Most bytes of a file that only names where its content is."""

UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    KeyError,
    MemoryError,
    OSError,
    RuntimeError,
    ValueError,
)
"""Exceptions that reading a damaged archive raises.

RuntimeError if it is encrypted; NotImplementedError (a RuntimeError) for an unsupported compression
method; MemoryError if the declared size exceeds the available memory.
"""


@dataclass(frozen=True, order=True)
class File:
    """A file, or a member of an archive.

    Attributes:
        path: of the file, or of the archive.
        member: path inside the archive; empty for a plain file.
    """

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    @property
    def inner(self) -> PurePosixPath:
        """The path inside the archive, or on disk for a plain file; names are taken from it."""
        return PurePosixPath(self.member or self.path.as_posix())

    def read(self, largest: int = LARGEST) -> bytes:
        """Return all bytes; raises InputError if unreadable or larger than ``largest`` bytes."""
        content = self._start(largest + 1)
        if len(content) > largest:
            raise InputError(f"{self}: larger than {largest >> 20} MiB, so it is no motion")
        if pointer := _pointer(content):
            raise InputError(f"{self}: {pointer}; fetch the content of the data set's files")
        return content

    def head(self) -> bytes:
        """Return the first ``HEAD`` bytes; raises InputError if unreadable."""
        return self._start(HEAD)

    def _start(self, size: int) -> bytes:
        """Return the first ``size`` bytes, or all if there are fewer."""
        try:
            with (
                _archive(self.path, self.path.stat().st_mtime_ns).open(self.member)
                if self.member
                else self.path.open("rb")
            ) as file:
                return file.read(size)
        except UNREADABLE as error:
            if dangling(self.path):
                raise InputError(
                    f"{self}: a link to {self.path.readlink()}, where nothing is; fetch the "
                    "content of the data set's files"
                ) from None
            reason = getattr(error, "strerror", None) or reason_of(error)
            raise InputError(f"{self}: cannot be read ({reason}); fetch it again") from None


def dangling(path: Path) -> bool:
    """Return whether a path is a link to nothing, as where content was not fetched."""
    return path.is_symlink() and not path.exists()


def _pointer(content: bytes) -> str:
    """Return what a file stands for if it only names its content, empty if it is the content."""
    if len(content) < LARGEST_POINTER:
        if content.startswith(b"version https://git-lfs"):
            return "a pointer of Git LFS, not the content"
        if content.startswith((b"/annex/objects/", b"../.git/annex/", b".git/annex/")):
            return "a pointer of git-annex, not the content"
    return ""


def tree(place: Path, *suffixes: str) -> list[File]:
    """Return the sorted files with given suffixes in a folder or a zip archive, at any depth.

    Files that macOS adds to archives and foreign disks (``__MACOSX/``, ``._*``) are ignored.

    Args:
        place: a folder, or a zip archive.
        suffixes: such as ``".amc"``, in lower case, matched regardless of case; none for all files.

    Raises:
        InputError: the archive cannot be read.
    """
    if place.is_dir():
        found = (File(path) for path in _files(place))
    else:
        try:
            names = _archive(place, place.stat().st_mtime_ns).namelist()
        except UNREADABLE as error:
            raise InputError(
                f"{place}: not a whole zip archive ({reason_of(error)}); fetch it again"
            ) from None
        found = (File(place, name) for name in names if not name.endswith("/"))
    wanted = (file for file in found if not suffixes or file.inner.suffix.lower() in suffixes)
    return sorted(
        file
        for file in wanted
        if not file.inner.name.startswith("._") and "__MACOSX" not in file.inner.parts
    )


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, following links, but visiting no folder twice."""
    visited, pending = {folder.resolve()}, [folder]
    while pending:
        try:
            inside = sorted(pending.pop().iterdir())
        except PermissionError:  # system folders, such as lost+found
            continue
        # A link to nothing is a file that cannot be read, and must not go unnoticed.
        yield from (path for path in inside if path.is_file() or dangling(path))
        folders = {path.resolve(): path for path in inside if path.is_dir()}
        pending += [path for real, path in folders.items() if real not in visited]
        visited.update(folders)


@lru_cache(maxsize=4)
def _archive(path: Path, modified: int) -> zipfile.ZipFile:
    """Return an opened archive, cached because reading its directory for every member is slow.

    ``modified`` is the modification time, so that a changed archive is opened again.
    """
    return zipfile.ZipFile(path)
