"""Public archives of motion: fetched with resume, checked, and unpacked into one folder.

A download lies as ``NAME.part`` beside its target until it is whole, with a note of what the server
said of it, so that the same command goes on where it was cut off, and starts over if the file has
changed there. Of an archive nothing is written before every name in it is known to be harmless.
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
"""Bytes read at a time; what came of one is lost when a connection drops."""
LARGEST_DOWNLOAD = 2**33
"""Bytes that are fetched at most."""


@dataclass(frozen=True)
class Archive:
    """A zip archive that anybody may fetch.

    Attributes:
        url: where its owner publishes it.
        sha256: of the whole file.
        folder: the one folder that all its members lie in.
        suffixes: of the members that are unpacked, in small letters; others are left out.
    """

    url: str
    sha256: str
    folder: str
    suffixes: frozenset[str]


ARCHIVES = {
    "cmu": Archive(
        url="http://mocap.cs.cmu.edu/allasfamc.zip",
        # Second-hand: the owner publishes no hash. This one is from the catalogue of one public
        # repository, so a mismatch may as well mean a new archive; hence --sha256.
        sha256="4b0fc3a7ba3cbb2aa23948b4cefe7efa45edf864b2b5e00713659a4f2144a591",
        folder="all_asfamc",
        suffixes=frozenset({"", ".asf", ".amc", ".txt", ".md", ".html"}),
    )
}
"""What ``bench data get`` fetches, by the data set that reads it."""


def get(
    name: str, folder: Path, url: str | None, sha256: str | None, console: Console | None
) -> tuple[Path, int]:
    """Fetch and unpack the archive of a data set, unless it is there.

    Args:
        name: of the data set.
        folder: the data root; the archive's own folder is made in it.
        url: another place that has the archive.
        sha256: another hash that it must have, 64 hexadecimal digits.
        console: where to show progress; None shows nothing.

    Returns:
        The archive's folder, and how many members were left out, being neither motion nor text.

    Raises:
        InputError: no public archive of that name, or it cannot be had, or is not what is due.
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
    """Raise InputError if nothing could be fetched from an address, before anything is tried."""
    try:
        requests.Request("GET", url).prepare()
    except requests.exceptions.RequestException as error:
        raise InputError(f"--url {url}: {error}") from None
    if not url.lower().startswith(("http://", "https://")):
        raise InputError(f"--url {url}: must begin with http:// or https://")


def _known(name: str) -> Archive:
    """Return an archive; raises InputError that says where else the motion is to be had."""
    if name in ARCHIVES:
        return ARCHIVES[name]
    known = DATASETS.all()
    if name not in known:
        raise InputError(f"get: no data set '{name}'{did_you_mean(name, {*known, *ARCHIVES})}")
    if not known[name].home:
        raise InputError(f"get: nobody publishes {name}; it is made here, or is your own")
    raise InputError(f"get: {name} cannot be fetched for you; published at {known[name].home}")


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Attributes:
        connect: seconds for a connection to stand.
        stall: seconds without a byte after which a connection is given up.
        tries: attempts in a row that bring nothing new.
        pause: seconds after the first of them; twice as many after each further one.
    """

    connect: float = 15.0
    stall: float = 30.0
    tries: int = 6
    pause: float = 1.0


class _Again(Exception):  # noqa: N818 - not the end
    """An attempt failed in a way that another one may not."""


def download(
    url: str,
    target: Path,
    sha256: str,
    console: Console | None = None,
    patience: Patience = Patience(),
) -> None:
    """Fetch a file, going on with what is there of it.

    Args:
        url: http or https.
        target: where to; it appears whole and checked, or not at all.
        sha256: what the file must have, in small letters.
        console: where to show progress; None shows nothing.
        patience: how long to wait for the server.

    Raises:
        InputError: the server does not give the file, or another one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(target, url)
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
                    _persist(part, patience, bars, bars.add_task(f"fetching {target.name}"))
            fetched = target if target.exists() else part.path
            found = _sha256(fetched)
            if found != sha256:
                raise InputError(
                    f"{url}: SHA-256 is {found} where {sha256} is due; if you have reason to "
                    f"trust what was fetched, add --sha256 {found}, else delete {fetched} and "
                    "fetch it again"
                )
            if fetched != target:
                fetched.replace(target)
                part.forget()
    except Timeout:
        raise InputError(f"{target}: another process is fetching it; wait for that") from None


class _Part:
    """What there is of a file on the way, and how the server told that state of it."""

    def __init__(self, target: Path, url: str) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self.note = target.with_name(f"{target.name}.part.json")
        self.url = url

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def state(self) -> tuple[str, int | None]:
        """The server's name for the state of the file, empty if unknown, and its size."""
        try:
            told = json.loads(self.note.read_text())
            if told["url"] == self.url:
                return str(told["state"]), told["size"]
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return "", None

    def begin(self, state: str, size: int | None) -> None:
        self.path.unlink(missing_ok=True)
        with atomic_file(self.note) as draft:
            draft.write_text(json.dumps({"url": self.url, "state": state, "size": size}))

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _persist(part: _Part, patience: Patience, bars: Progress, bar: TaskID) -> None:
    """Try until the file is whole; raises InputError when several tries bring nothing new."""
    most, failures = part.size, 0
    with requests.Session() as session:
        while True:
            try:
                _attempt(session, part, patience, bars, bar)
                return
            except _Again as error:
                reason = str(error)
            if part.size > most:
                most, failures = part.size, 0
            failures += 1
            if failures >= patience.tries:
                raise InputError(f"{part.url}: {reason}; try again later, what came is kept")
            time.sleep(patience.pause * 2 ** (failures - 1))


def _attempt(
    session: requests.Session, part: _Part, patience: Patience, bars: Progress, bar: TaskID
) -> None:
    """Fetch the rest of a file, or all of it; raises _Again where the connection fails."""
    state, size = part.state
    have = part.size if state else 0
    if have and have == size:
        return
    # Bytes as they are: a compressed transfer has other ranges.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": state}
    try:
        with session.get(
            part.url,
            headers=headers,
            stream=True,
            timeout=(patience.connect, patience.stall),
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
        silent = isinstance(error, requests.exceptions.Timeout) or isinstance(
            reason, ReadTimeoutError
        )
        failed = f"the connection failed ({' '.join(str(reason).split())})"
        raise _Again("the server fell silent" if silent else failed) from None
    if size is not None and part.size != size:
        raise _Again(f"{part.size:,} bytes came of {size:,}")


def _begin(response: requests.Response, part: _Part, have: int) -> int | None:
    """Make ``part`` ready for what a response brings; return the size of the whole file."""
    code = response.status_code
    if code == 206:
        told = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if told and int(told[1]) == have:
            return int(told[2]) if told[2] != "*" else None
    if code in (206, 416):
        # Not the range that was asked for: what is here is of no use.
        part.forget()
        raise _Again("the server does not have the rest of the file")
    if code in (408, 429) or code >= 500:
        raise _Again(f"the server says {code} {response.reason}")
    if code != 200:
        raise InputError(f"{part.url}: the server says {code} {response.reason}; check the address")
    length = response.headers.get("Content-Length", "")
    size = int(length) if length.isdecimal() else None
    if size is not None and size > LARGEST_DOWNLOAD:
        raise InputError(f"{part.url}: {size:,} bytes are too many; check the address")
    free = shutil.disk_usage(part.path.parent).free
    if size is not None and size > free:
        raise InputError(f"{part.path}: {size:,} bytes do not fit into {free:,}; give another --to")
    tag = response.headers.get("ETag", "")
    # A weak tag does not promise the same bytes, so nothing can be continued by it.
    state = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
    part.begin(state, size)
    return size


def _copy(response: requests.Response, file: BinaryIO, told: Callable[[int], None]) -> None:
    for chunk in response.iter_content(CHUNK):
        file.write(chunk)
        told(len(chunk))
        if file.tell() > LARGEST_DOWNLOAD:
            raise InputError(f"{response.url}: it has no end; check the address")


def _reason(error: BaseException) -> BaseException:
    """Return the innermost of the errors that one of requests is wrapped around."""
    inner = getattr(error, "reason", None) or (error.args or ("",))[-1]
    return _reason(inner) if isinstance(inner, BaseException) else error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
