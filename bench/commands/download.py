"""Public archives of motion: downloaded with resume, verified, and unpacked into one folder.

An incomplete download is ``NAME.part`` in the target's folder, with a note of the server's
validator (ETag or Last-Modified), so that the same command resumes it, or starts over if the file
has changed on the server. Nothing is unpacked before every name in the archive is checked.
"""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import requests
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from urllib3.exceptions import ReadTimeoutError

from bench.commands.unpack import unpack
from bench.core.errors import InputError, did_you_mean
from bench.core.files import atomic_file
from bench.core.registry import DATASETS

CHUNK = 2**14
"""Bytes read at a time; an incomplete chunk is lost when a connection drops."""
LARGEST_DOWNLOAD = 2**33
"""Most bytes that are downloaded."""


@dataclass(frozen=True)
class Archive:
    """A zip archive that is public.

    Attributes:
        url: where its owner publishes it.
        sha256: hash of the whole file, 64 hexadecimal digits.
        folder: the top-level folder of all its members.
        suffixes: suffixes of the members to unpack, in lower case; others are left out.
    """

    url: str
    sha256: str
    folder: str
    suffixes: frozenset[str]


ARCHIVES = {
    "cmu": Archive(
        url="http://mocap.cs.cmu.edu/allasfamc.zip",
        # The owner publishes no hash. This one is from the catalogue of another public repository,
        # so a mismatch may also mean a new archive; hence --sha256.
        sha256="4b0fc3a7ba3cbb2aa23948b4cefe7efa45edf864b2b5e00713659a4f2144a591",
        folder="all_asfamc",
        suffixes=frozenset({"", ".asf", ".amc", ".txt", ".md", ".html"}),
    )
}
"""The archives that ``bench data get`` downloads, by data set."""


def get(
    name: str, folder: Path, url: str | None, sha256: str | None, console: Console | None
) -> tuple[Path, int]:
    """Download and unpack the archive of a data set, unless its folder exists.

    Args:
        name: of the data set.
        folder: the data root, in which the archive's folder is created.
        url: address to use instead of the owner's.
        sha256: hash to expect instead of the known one, 64 hexadecimal digits.
        console: where to show progress; None shows nothing.

    Returns:
        The archive's folder, and how many members were left out as neither motion nor text.

    Raises:
        InputError: there is no public archive for ``name``, the download fails, or the archive does
            not have the expected hash or content.
    """
    archive = _known(name)
    if url is not None:
        _check_url(url)
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise InputError(f"--sha256 {sha256}: a SHA-256 is 64 hexadecimal digits")
    target = folder / archive.folder
    if target.exists():
        return target, 0
    url = url or archive.url
    fetched = folder / f"{archive.folder}.zip"
    download(url, fetched, (sha256 or archive.sha256).lower(), console)
    left_out = unpack(fetched, target, archive.suffixes)
    fetched.unlink()
    return target, left_out


def _check_url(url: str) -> None:
    """Raise InputError if an address is not a valid http or https URL."""
    try:
        requests.Request("GET", url).prepare()
    except requests.exceptions.RequestException as error:
        raise InputError(f"--url {url}: {error}") from None
    if not url.lower().startswith(("http://", "https://")):
        raise InputError(f"--url {url}: must begin with http:// or https://")


def _known(name: str) -> Archive:
    """Return a data set's archive; the InputError for an unknown one says where it is published."""
    if name in ARCHIVES:
        return ARCHIVES[name]
    known = DATASETS.all()
    if name not in known:
        raise InputError(f"get: no data set '{name}'{did_you_mean(name, {*known, *ARCHIVES})}")
    if not known[name].home:
        raise InputError(f"get: {name} is not published; it is generated, or reads your own files")
    raise InputError(f"get: {name} cannot be downloaded by bench; published at {known[name].home}")


@dataclass(frozen=True)
class RetryPolicy:
    """Timeouts and retries of a download.

    Attributes:
        connect_timeout: seconds until a connection must be established.
        read_timeout: seconds without a byte after which a connection is closed.
        attempts: consecutive attempts without new bytes after which the download fails.
        delay: seconds before the first retry; doubled after each further attempt without new bytes.
    """

    connect_timeout: float = 15.0
    read_timeout: float = 30.0
    attempts: int = 6
    delay: float = 1.0


class _RetryableError(Exception):
    """A failure that another attempt may overcome."""


def download(
    url: str,
    target: Path,
    sha256: str,
    console: Console | None = None,
    retries: RetryPolicy = RetryPolicy(),
) -> None:
    """Download a file, resuming an incomplete download of it.

    Args:
        url: http or https address.
        target: path of the file; it appears complete and verified, or not at all.
        sha256: expected hash, 64 hexadecimal digits in lower case.
        console: where to show progress; None shows nothing.
        retries: timeouts and retries.

    Raises:
        InputError: the download fails, or the file does not have the expected hash.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _PartialDownload(target, url)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    lock = FileLock(target.with_name(f".{target.name}.lock"), timeout=0)
    try:
        with lock:
            if not target.exists():
                with Progress(*columns, console=console, disable=not console) as bars:
                    _download(part, retries, bars, bars.add_task(f"fetching {target.name}"))
            fetched = target if target.exists() else part.path
            found = _sha256(fetched)
            if found != sha256:
                raise InputError(
                    f"{url}: SHA-256 is {found}, expected {sha256}; if you have reason to trust "
                    f"the downloaded file, add --sha256 {found}, else delete {fetched} and "
                    "fetch it again"
                )
            if fetched != target:
                fetched.replace(target)
                part.discard()
    except Timeout:
        raise InputError(f"{target}: another process is fetching it; wait for it") from None


class _PartialDownload:
    """The downloaded part of a file, and a note of the server's validator for it."""

    def __init__(self, target: Path, url: str) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self.note = target.with_name(f"{target.name}.part.json")
        self.url = url

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def state(self) -> tuple[str, int | None]:
        """The validator of the file (ETag or date), empty if unknown, and its full size."""
        try:
            note = json.loads(self.note.read_text())
            if note["url"] == self.url:
                return str(note["state"]), note["size"]
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return "", None

    def begin(self, state: str, size: int | None) -> None:
        """Start over with an empty part."""
        self.path.unlink(missing_ok=True)
        with atomic_file(self.note) as draft:
            draft.write_text(json.dumps({"url": self.url, "state": state, "size": size}))

    def discard(self) -> None:
        """Remove the part and its note."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _download(part: _PartialDownload, retries: RetryPolicy, bars: Progress, bar: TaskID) -> None:
    """Retry until the file is complete; raises InputError after attempts without new bytes."""
    most, failures = part.size, 0
    with requests.Session() as session:
        while True:
            try:
                _attempt(session, part, retries, bars, bar)
                return
            except _RetryableError as error:
                reason = str(error)
            if part.size > most:
                most, failures = part.size, 0
            failures += 1
            if failures >= retries.attempts:
                raise InputError(f"{part.url}: {reason}; try again later, partial file kept")
            time.sleep(retries.delay * 2 ** (failures - 1))


def _attempt(
    session: requests.Session,
    part: _PartialDownload,
    retries: RetryPolicy,
    bars: Progress,
    bar: TaskID,
) -> None:
    """Download the rest of a file; raises _RetryableError if the connection fails."""
    state, size = part.state
    have = part.size if state else 0
    if have and have == size:
        return
    # No compression: ranges of a compressed transfer would be different.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": state}
    try:
        with session.get(
            part.url,
            headers=headers,
            stream=True,
            timeout=(retries.connect_timeout, retries.read_timeout),
        ) as response:
            size = _begin(response, part, have)
            bars.update(bar, total=size, completed=part.size)
            with part.path.open("ab") as file:
                _copy(response, file, lambda step: bars.advance(bar, step))
    except requests.exceptions.InvalidSchema:
        raise InputError(f"--url {part.url}: must begin with http:// or https://") from None
    except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema) as error:
        raise InputError(f"--url {part.url}: {error}") from None
    except requests.exceptions.RequestException as error:
        reason = _reason(error)
        timed_out = isinstance(error, requests.exceptions.Timeout) or isinstance(
            reason, ReadTimeoutError
        )
        failed = f"the connection failed ({' '.join(str(reason).split())})"
        raise _RetryableError("the server stopped responding" if timed_out else failed) from None
    if size is not None and part.size != size:
        raise _RetryableError(f"only {part.size:,} of {size:,} bytes were received")


def _begin(response: requests.Response, part: _PartialDownload, have: int) -> int | None:
    """Prepare ``part`` for a response's content; return the size of the whole file, if known."""
    code = response.status_code
    if code == 206:
        content_range = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "")
        )
        if content_range and int(content_range[1]) == have:
            return int(content_range[2]) if content_range[2] != "*" else None
    if code in (206, 416):
        # Not the requested range: the downloaded part cannot be used.
        part.discard()
        raise _RetryableError("the server does not have the rest of the file")
    if code in (408, 429) or code >= 500:
        raise _RetryableError(f"the server returned {code} {response.reason}")
    if code != 200:
        raise InputError(
            f"{part.url}: the server returned {code} {response.reason}; check the address"
        )
    length = response.headers.get("Content-Length", "")
    size = int(length) if length.isdecimal() else None
    if size is not None and size > LARGEST_DOWNLOAD:
        raise InputError(f"{part.url}: {size:,} bytes are too many; check the address")
    free = shutil.disk_usage(part.path.parent).free
    if size is not None and size > free:
        raise InputError(f"{part.path}: {size:,} bytes do not fit into {free:,}; give another --to")
    tag = response.headers.get("ETag", "")
    # A weak ETag does not guarantee identical bytes, so it does not allow resuming.
    state = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
    part.begin(state, size)
    return size


def _copy(response: requests.Response, file: BinaryIO, advance: Callable[[int], None]) -> None:
    """Append a response's content to ``file``; ``advance`` receives the size of each chunk."""
    for chunk in response.iter_content(CHUNK):
        file.write(chunk)
        advance(len(chunk))
        if file.tell() > LARGEST_DOWNLOAD:
            raise InputError(
                f"{response.url}: more than {LARGEST_DOWNLOAD:,} bytes; check the address"
            )


def _reason(error: BaseException) -> BaseException:
    """Return the innermost error that an error of requests wraps."""
    inner = getattr(error, "reason", None) or (error.args or ("",))[-1]
    return _reason(inner) if isinstance(inner, BaseException) else error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
