"""Unpack untrusted zip archives, after checking that every member is harmless."""

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
"""Most members of an archive."""
LARGEST_MEMBER = 2**28
"""Most bytes of one member, unpacked."""
LARGEST_TOTAL = 2**34
"""Most bytes of all members together, unpacked."""
DEEPEST = 16
"""Most parts of a member's path."""
RATIO = 100
"""Greatest compression ratio of a member; text of numbers has less than 10."""


def unpack(archive: Path, target: Path, suffixes: frozenset[str]) -> int:
    """Unpack a zip archive of which all members lie in a folder with the name of ``target``.

    Args:
        archive: path of the archive.
        target: the folder to create, atomically.
        suffixes: suffixes of the members to unpack, in lower case; others are left out.

    Returns:
        How many members were left out.

    Raises:
        InputError: the archive is damaged, or a member's name, type or size is suspicious. Then
            nothing was written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            if problem := _problem(members, target.name, archive.stat().st_size):
                raise InputError(f"{archive}: {problem}; not unpacked, fetch it from its owner")
            files = [member for member in members if not member.is_dir()]
            wanted = [m for m in files if PurePosixPath(m.filename).suffix.lower() in suffixes]
            if not wanted:
                raise InputError(
                    f"{archive}: it has no file with a suffix of {', '.join(sorted(suffixes))}"
                )
            needed, free = sum(m.file_size for m in wanted), shutil.disk_usage(archive.parent).free
            if needed > free:
                raise InputError(f"{target}: {needed:,} bytes do not fit into {free:,}; make room")
            with atomic_folder(target) as draft:
                for member in wanted:
                    path = draft.joinpath(*PurePosixPath(member.filename).parts[1:])
                    path.parent.mkdir(parents=True, exist_ok=True)
                    # Reading to the end verifies the CRC, and stops at the declared size.
                    with opened.open(member) as source, path.open("xb") as file:
                        shutil.copyfileobj(source, file, CHUNK)
    except UNREADABLE as error:
        raise InputError(
            f"{archive}: cannot be unpacked ({reason_of(error)}); fetch it again"
        ) from None
    return len(files) - len(wanted)


def _problem(members: list[zipfile.ZipInfo], folder: str, size: int) -> str:
    """Return why an archive must not be unpacked, or an empty string if it may be."""
    if len(members) > MEMBERS:
        return f"{len(members):,} members are too many"
    for member in members:
        if reason := _harm(member, folder):
            return f"{member.orig_filename!r} {reason}"
    if sum(member.file_size for member in members) > LARGEST_TOTAL:
        return f"its members are larger than {LARGEST_TOTAL >> 30} GiB together"
    if sum(member.compress_size for member in members) > size:
        return "its members overlap"
    # Some file systems are not case-sensitive.
    paths = [PurePosixPath(member.filename.casefold()) for member in members]
    for path, times in Counter(paths).most_common(1):
        if times > 1:
            return f"'{path}' is in it twice"
    file_paths = {path for path, member in zip(paths, members, strict=True) if not member.is_dir()}
    if below := file_paths & {parent for path in paths for parent in path.parents}:
        return f"'{min(below)}' is a file and a folder in it"
    return ""


def _harm(member: zipfile.ZipInfo, folder: str) -> str:
    """Return what is wrong with one member, or an empty string if nothing is."""
    name = member.orig_filename
    parts = name.removesuffix("/").split("/")
    kind = stat.S_IFMT(member.external_attr >> 16)
    expected = stat.S_IFDIR if member.is_dir() else stat.S_IFREG
    suspicious = re.search(r'[\x00-\x1f\\:*?"<>|]', name) or {"", ".", ".."} & set(parts)
    if suspicious or len(parts) > DEEPEST:
        return "is a suspicious name"
    if parts[0] != folder or (len(parts) == 1 and not member.is_dir()):
        return f"lies outside the folder {folder}"
    if kind not in (0, expected):
        return "is neither a file nor a folder"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.file_size > LARGEST_MEMBER:
        return f"is larger than {LARGEST_MEMBER >> 20} MiB"
    if member.file_size > RATIO * max(member.compress_size, 1):
        return f"unpacks to more than {RATIO} times its size"
    return ""
