"""Files in a folder, or members of a zip archive that need not be unpacked."""

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
"""Bytes of a file that are read at most; a larger one is no motion, or a zip bomb."""

HEAD = 2**16
"""Bytes of a file's start that are enough to see what it is."""

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
"""What reading a damaged archive raises.

RuntimeError where it is encrypted, NotImplementedError, which is one, where it is packed in a way
that nobody packs in, MemoryError where it states that unpacking takes more than there is.
"""


@dataclass(frozen=True, order=True)
class File:
    """A file, or a member of an archive.

    Attributes:
        path: of the file, or of the archive.
        member: path inside the archive; empty for a file.
    """

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    @property
    def inner(self) -> PurePosixPath:
        """Where it lies, in its archive or on disk, to take names from."""
        return PurePosixPath(self.member or self.path.as_posix())

    def read(self, largest: int = LARGEST) -> bytes:
        """Return all bytes; raises InputError if they cannot be had or exceed ``largest``."""
        content = self._start(largest + 1)
        if len(content) > largest:
            raise InputError(f"{self}: larger than {largest >> 20} MiB, so no recording of motion")
        return content

    def first_line(self) -> bytes:
        """Return the first line, as far as ``HEAD`` goes; raises InputError if it cannot be had."""
        return self._start(HEAD).partition(b"\n")[0]

    def _start(self, size: int) -> bytes:
        """Return so many bytes, or all if there are fewer."""
        try:
            with (
                _archive(self.path, self.path.stat().st_mtime_ns).open(self.member)
                if self.member
                else self.path.open("rb")
            ) as file:
                return file.read(size)
        except UNREADABLE as error:
            raise InputError(
                f"{self}: cannot be read ({reason_of(error)}); fetch it again"
            ) from None


def tree(place: Path, *suffixes: str) -> list[File]:
    """Return the files of some suffixes in a folder or a zip archive, at any depth, in order.

    What macOS adds to archives and foreign disks, ``__MACOSX/`` and ``._*``, is passed over.

    Args:
        place: a folder, or a file whose name ends in ``.zip``.
        suffixes: as ``".amc"``, in small letters; the files' may be in capitals. All without any.

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
    """Yield the files in a folder, through links to other folders, but none of these twice."""
    been, pending = {folder.resolve()}, [folder]
    while pending:
        try:
            inside = sorted(pending.pop().iterdir())
        except PermissionError:  # the system's own, as lost+found
            continue
        yield from (path for path in inside if path.is_file())
        folders = {path.resolve(): path for path in inside if path.is_dir()}
        pending += [path for real, path in folders.items() if real not in been]
        been.update(folders)


@lru_cache(maxsize=4)
def _archive(path: Path, modified: int) -> zipfile.ZipFile:
    """Return an opened archive; reading its table of contents again for every member is slow."""
    return zipfile.ZipFile(path)
