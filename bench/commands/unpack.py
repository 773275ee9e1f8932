"""Zip archives from outside, unpacked only once every member is known to be harmless."""

import re
import shutil
import stat
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

from bench.core.errors import InputError, reason_of
from bench.core.files import atomic_folder
from bench.datasets.archive import UNREADABLE

CHUNK = 2**14
"""Bytes unpacked at a time."""
MEMBERS = 50_000
"""Members of an archive at most."""


LARGEST_MEMBER = 2**28


LARGEST_TOTAL = 2**34
"""Bytes of one member, and of all, unpacked, at most."""


DEEPEST = 16
"""Folders within folders at most; each member has as many paths above it."""


RATIO = 100
"""Bytes that one byte of the archive unpacks to at most; text of numbers has less than 10."""


def unpack(archive: Path, target: Path, suffixes: frozenset[str]) -> int:
    """Unpack a zip archive, all of whose members must lie in a folder called as ``target`` is.

    Args:
        archive: the file.
        target: the folder; it appears whole or not at all.
        suffixes: of members that are wanted; others are left out.

    Returns:
        How many members were left out.

    Raises:
        InputError: the archive is damaged, or some member's name, kind or size is not what an
            honest archive has. Then nothing was written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            if problem := _problem(members, target.name, archive.stat().st_size):
                raise InputError(f"{archive}: {problem}; not unpacked, fetch it from its owner")
            files = [member for member in members if not member.is_dir()]
            wanted = [m for m in files if PurePosixPath(m.filename).suffix.lower() in suffixes]
            if not wanted:
                raise InputError(f"{archive}: it holds no file of {', '.join(sorted(suffixes))}")
            needed, free = sum(m.file_size for m in wanted), shutil.disk_usage(archive.parent).free
            if needed > free:
                raise InputError(f"{target}: {needed:,} bytes do not fit into {free:,}; make room")
            with atomic_folder(target) as draft:
                for member in wanted:
                    path = draft.joinpath(*PurePosixPath(member.filename).parts[1:])
                    path.parent.mkdir(parents=True, exist_ok=True)
                    # Reading to the end checks the CRC, and ends at the size that was stated.
                    with opened.open(member) as source, path.open("xb") as file:
                        shutil.copyfileobj(source, file, CHUNK)
    except UNREADABLE as error:
        raise InputError(
            f"{archive}: cannot be unpacked ({reason_of(error)}); fetch it again"
        ) from None
    return len(files) - len(wanted)


def _problem(members: list[zipfile.ZipInfo], folder: str, size: int) -> str:
    """Return why an archive must not be unpacked, empty if it may be."""
    if len(members) > MEMBERS:
        return f"{len(members):,} members are too many"
    for member in members:
        if why := _harm(member, folder):
            return f"{member.orig_filename!r} {why}"
    if sum(member.file_size for member in members) > LARGEST_TOTAL:
        return f"its members are larger than {LARGEST_TOTAL >> 30} GiB together"
    if sum(member.compress_size for member in members) > size:
        return "its members overlap"
    # Some file systems do not tell small letters from capitals.
    paths = [PurePosixPath(member.filename.casefold()) for member in members]
    for path, times in Counter(paths).most_common(1):
        if times > 1:
            return f"'{path}' is in it twice"
    plain = {path for path, member in zip(paths, members, strict=True) if not member.is_dir()}
    if below := plain & {parent for path in paths for parent in path.parents}:
        return f"'{min(below)}' is a file and a folder in it"
    return ""


def _harm(member: zipfile.ZipInfo, folder: str) -> str:
    """Return what is wrong with one member, empty if nothing is."""
    name = member.orig_filename
    parts = name.removesuffix("/").split("/")
    kind = stat.S_IFMT(member.external_attr >> 16)
    due = stat.S_IFDIR if member.is_dir() else stat.S_IFREG
    strange = re.search(r'[\x00-\x1f\\:*?"<>|]', name) or {"", ".", ".."} & set(parts)
    if strange or len(parts) > DEEPEST:
        return "is no name that an honest archive has"
    if parts[0] != folder or (len(parts) == 1 and not member.is_dir()):
        return f"lies outside the folder {folder}"
    if kind not in (0, due):
        return "is neither a file nor a folder"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.file_size > LARGEST_MEMBER:
        return f"is larger than {LARGEST_MEMBER >> 20} MiB"
    if member.file_size > RATIO * max(member.compress_size, 1):
        return f"unpacks to more than {RATIO} times its size"
    return ""
