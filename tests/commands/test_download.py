"""Downloads from faulty servers (dropped, changed, stalled), and unpacking of harmful archives."""

import hashlib
import io
import shutil
import socket
import stat
import struct
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.commands import download as downloading
from bench.commands import unpack as unpacking
from bench.commands.download import ARCHIVES, Archive, RetryPolicy, download, get
from bench.commands.unpack import unpack
from bench.core.errors import InputError
from tests.conftest import Bench

CONTENT = np.random.default_rng(0).bytes(300_000)
QUICK = RetryPolicy(connect_timeout=2, read_timeout=0.4, attempts=3, delay=0.01)
SUFFIXES = frozenset({"", ".asf", ".amc", ".txt"})


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Behaviour:
    """How the test server behaves, and the requests that it received."""

    content: bytes = CONTENT
    etag: str = '"first"'
    ranges: bool = True
    dated: bool = False
    drops: list[int] = field(default_factory=list)
    """Bytes after which the next connections are dropped."""
    stalls: bool = False
    length: int | None = None
    """Content-Length of the whole file; the true length by default."""
    codes: list[int] = field(default_factory=list)
    """Status codes of the next responses."""
    before: Callable[["Behaviour"], None] = lambda behaviour: None
    requests: list[dict[str, str]] = field(default_factory=list)
    """Headers of the requests received."""


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self) -> None:
        behaviour = self.behaviour
        behaviour.before(behaviour)
        behaviour.requests.append(dict(self.headers))
        if behaviour.codes:
            self.send_error(behaviour.codes.pop(0))
            return
        start, whole = 0, len(behaviour.content)
        state = formatdate(1e9, usegmt=True) if behaviour.dated else behaviour.etag
        wanted = self.headers.get("Range", "")
        if behaviour.ranges and wanted and self.headers.get("If-Range") == state:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= whole:
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Last-Modified" if behaviour.dated else "ETag", state)
        promised = (behaviour.length or whole) - start
        self.send_header("Content-Length", str(promised))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        self.end_headers()
        rest = behaviour.content[start:][:promised]
        if behaviour.drops:
            self.wfile.write(rest[: behaviour.drops.pop(0)])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        elif behaviour.stalls:
            self.wfile.write(rest[:100_000])
            self.wfile.flush()
            time.sleep(1.5)
        else:
            self.wfile.write(rest)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    handler = type("Here", (Handler,), {"behaviour": behaviour})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/allasfamc.zip"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use no proxy, and allow no connection to another machine."""
    monkeypatch.setenv("NO_PROXY", "*")
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        assert address[0] == "127.0.0.1", address
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


def fetch(behaviour: Behaviour, folder: Path, expected: bytes = CONTENT) -> Path:
    target = folder / "all.zip"
    with serving(behaviour) as url:
        download(url, target, sha256(expected), retries=QUICK)
    return target


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def test_a_file_is_downloaded_completely(tmp_path: Path) -> None:
    assert fetch(Behaviour(), tmp_path).read_bytes() == CONTENT
    assert left_in(tmp_path) == {"all.zip"}


@pytest.mark.parametrize("dated", [False, True])
def test_dropped_connections_are_resumed(tmp_path: Path, dated: bool) -> None:
    behaviour = Behaviour(drops=[70_000] * 4, dated=dated)
    assert fetch(behaviour, tmp_path).read_bytes() == CONTENT
    starts = [int(request.get("Range", "bytes=0-")[6:-1]) for request in behaviour.requests]
    # More drops than attempts: an attempt with new bytes is no failure.
    assert len(starts) == 5 > QUICK.attempts
    assert starts == sorted(set(starts))
    assert all(b - a > 70_000 - downloading.CHUNK for a, b in pairwise(starts))


def test_another_call_resumes_a_failed_download(tmp_path: Path) -> None:
    behaviour = Behaviour(drops=[100_000, 0, 0, 0])
    target = tmp_path / "all.zip"
    with serving(behaviour) as url:
        with pytest.raises(InputError, match="partial file kept") as error:
            download(url, target, sha256(CONTENT), retries=QUICK)
        one_line(error)
        kept = (tmp_path / "all.zip.part").stat().st_size
        assert 100_000 - downloading.CHUNK < kept <= 100_000
        assert not target.exists()
        download(url, target, sha256(CONTENT), retries=QUICK)
    assert target.read_bytes() == CONTENT
    assert behaviour.requests[-1]["Range"] == f"bytes={kept}-"
    assert behaviour.requests[-1]["If-Range"] == behaviour.etag


def test_a_part_from_another_address_is_not_resumed(tmp_path: Path) -> None:
    behaviour = Behaviour(drops=[100_000, 0, 0])
    with serving(behaviour) as url:
        with pytest.raises(InputError):
            download(url, tmp_path / "all.zip", sha256(CONTENT), retries=QUICK)
        download(f"{url}?other", tmp_path / "all.zip", sha256(CONTENT), retries=QUICK)
    assert "Range" not in behaviour.requests[-1]


def test_a_server_without_ranges_starts_over(tmp_path: Path) -> None:
    behaviour = Behaviour(drops=[100_000, 200_000], ranges=False)
    assert fetch(behaviour, tmp_path).read_bytes() == CONTENT


def test_a_server_without_ranges_that_always_drops_is_given_up(tmp_path: Path) -> None:
    behaviour = Behaviour(drops=[100_000] * 99, ranges=False)
    with pytest.raises(InputError, match="the connection failed"):
        fetch(behaviour, tmp_path)
    assert len(behaviour.requests) == QUICK.attempts


def test_a_file_that_changes_meanwhile_is_not_mixed(tmp_path: Path) -> None:
    new = CONTENT[::-1]

    def change(behaviour: Behaviour) -> None:
        if behaviour.requests:
            behaviour.content, behaviour.etag = new, '"second"'

    behaviour = Behaviour(drops=[100_000], before=change)
    assert fetch(behaviour, tmp_path, expected=new).read_bytes() == new


def test_a_weak_etag_does_not_allow_resuming(tmp_path: Path) -> None:
    behaviour = Behaviour(drops=[100_000], etag='W/"weak"')
    assert fetch(behaviour, tmp_path).read_bytes() == CONTENT
    assert "Range" not in behaviour.requests[1]


def test_a_length_that_is_too_long_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"all\.zip|127\.0\.0\.1") as error:
        fetch(Behaviour(length=len(CONTENT) + 5), tmp_path)
    one_line(error)
    assert not (tmp_path / "all.zip").exists()


def test_a_length_that_is_too_short_fails_the_hash(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="SHA-256") as error:
        fetch(Behaviour(length=len(CONTENT) - 5), tmp_path)
    assert sha256(CONTENT[:-5]) in one_line(error)
    assert not (tmp_path / "all.zip").exists()


def test_another_file_is_refused_with_both_hashes_and_can_be_trusted(tmp_path: Path) -> None:
    behaviour = Behaviour()
    target = tmp_path / "all.zip"
    with serving(behaviour) as url:
        with pytest.raises(InputError) as error:
            download(url, target, sha256(b"another"), retries=QUICK)
        for part in (sha256(CONTENT), sha256(b"another"), "--sha256"):
            assert part in one_line(error)
        assert not target.exists()
        download(url, target, sha256(CONTENT), retries=QUICK)
    assert target.read_bytes() == CONTENT
    assert len(behaviour.requests) == 1  # the file is not downloaded again


@pytest.mark.parametrize("code", [404, 403, 410])
def test_a_wrong_address_is_not_retried(tmp_path: Path, code: int) -> None:
    behaviour = Behaviour(codes=[code] * 9)
    with pytest.raises(InputError, match=f"{code}.*check the address") as error:
        fetch(behaviour, tmp_path)
    one_line(error)
    assert len(behaviour.requests) == 1
    assert left_in(tmp_path) == set()


def test_a_busy_server_is_retried(tmp_path: Path) -> None:
    behaviour = Behaviour(codes=[503, 429])
    assert fetch(behaviour, tmp_path).read_bytes() == CONTENT
    with pytest.raises(InputError, match="500"):
        fetch(Behaviour(codes=[500] * 9), tmp_path / "other")


def test_a_stalled_server_is_given_up(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match="the server stopped responding") as error:
        fetch(Behaviour(stalls=True, ranges=False), tmp_path)
    one_line(error)
    assert time.monotonic() - start < 10


def test_no_server_and_no_address(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/a.zip"
    for url in (closed, "ftp://127.0.0.1/a.zip", "nonsense", "http://", "file:///etc/passwd"):
        with pytest.raises(InputError) as error:
            download(url, tmp_path / "all.zip", sha256(b""), retries=QUICK)
        assert url in one_line(error)
        assert "responding" not in str(error.value)


def test_a_too_large_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "LARGEST_DOWNLOAD", 100_000)
    with pytest.raises(InputError, match="too many"):
        fetch(Behaviour(), tmp_path)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    from filelock import FileLock

    with (
        FileLock(tmp_path / ".all.zip.lock"),
        pytest.raises(InputError, match="another process"),
    ):
        fetch(Behaviour(), tmp_path)


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return path


HONEST = {
    "all_asfamc/readme.txt": b"words",
    "all_asfamc/subjects/01/01.asf": b":version 1.10",
    "all_asfamc/subjects/01/01_01.amc": np.random.default_rng(1).bytes(50_000),
}


def everything_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_an_honest_archive_is_unpacked(tmp_path: Path) -> None:
    members = HONEST | {"all_asfamc/subjects/": b"", "all_asfamc/subjects/01/01_01.avi": b"film"}
    packed = archive(tmp_path / "a.zip", members)
    assert unpack(packed, tmp_path / "all_asfamc", SUFFIXES) == 1
    for name, content in HONEST.items():
        assert (tmp_path / name).read_bytes() == content
    assert "all_asfamc/subjects/01/01_01.avi" not in everything_in(tmp_path)


def _link(path: Path) -> None:
    link = zipfile.ZipInfo("all_asfamc/link.txt")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr(link, "/etc/passwd")


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("all_asfamc/bomb.txt", bytes(10**7))


def _twice(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr("all_asfamc/README.TXT", "other words")


def _encrypted(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in (content.find(b"PK\x01\x02") + 8, content.find(b"PK\x03\x04") + 6):
        content[place] |= 1
    path.write_bytes(content)


def _wrong_crc(path: Path) -> None:
    content = bytearray(path.read_bytes())
    central = content.rfind(b"PK\x01\x02")
    content[central + 16] ^= 1
    local = struct.unpack_from("<I", content, central + 42)[0]
    content[local + 14] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _added(name: str) -> Callable[[Path], None]:
    def add(path: Path) -> None:
        with zipfile.ZipFile(path, "a") as opened:
            opened.writestr(name, "x")

    return add


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        *(
            (_added(name), "is a suspicious name")
            for name in (
                "../evil.txt",
                "all_asfamc/../../evil.txt",
                "all_asfamc/subjects/../evil.txt",
                "/tmp/evil.txt",
                "C:/evil.txt",
                "C:evil.txt",
                "all_asfamc\\..\\..\\evil.txt",
                "all_asfamc//evil.txt",
                "all_asfamc/./evil.txt",
                "all_asfamc/evil\n.txt",
                f"all_asfamc/{'deeper/' * 30}evil.txt",
            )
        ),
        (_added("evil.txt"), "lies outside the folder all_asfamc"),
        (_added("other/evil.txt"), "lies outside"),
        (_added("all_asfamc_evil/evil.txt"), "lies outside"),
        (_added("all_asfamc"), "lies outside"),
        (_added("all_asfamc/readme.txt/evil.txt"), "is a file and a folder"),
        (_link, "neither a file nor a folder"),
        (_bomb, "more than 100 times its size"),
        (_twice, "is in it twice"),
        (_encrypted, "is encrypted"),
        (_wrong_crc, "CRC"),
        (_cut, "cannot be unpacked"),
    ],
)
def test_an_archive_that_harms_leaves_nothing(
    tmp_path: Path, harm: Callable[[Path], None], message: str
) -> None:
    (tmp_path / "root").mkdir()
    packed = archive(tmp_path / "root" / "a.zip", HONEST)
    harm(packed)
    with pytest.raises(InputError, match=message) as error:
        unpack(packed, packed.with_name("all_asfamc"), SUFFIXES)
    assert str(packed) in one_line(error)
    assert everything_in(tmp_path) == {"root", "root/a.zip"}
    assert not Path("/tmp/evil.txt").exists()


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("LARGEST_MEMBER", 40_000, "is larger than"),
        ("LARGEST_TOTAL", 50_010, "together"),
        ("MEMBERS", 2, "too many"),
    ],
)
def test_sizes_have_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, message: str
) -> None:
    monkeypatch.setattr(unpacking, limit, value)
    packed = archive(tmp_path / "a.zip", HONEST)
    with pytest.raises(InputError, match=message):
        unpack(packed, tmp_path / "all_asfamc", SUFFIXES)
    assert everything_in(tmp_path) == {"a.zip"}


def test_a_duplicate_among_many_members_is_found_quickly(tmp_path: Path) -> None:
    names = [f"all_asfamc/{number}.txt" for number in range(20_000)]
    packed = archive(tmp_path / "a.zip", dict.fromkeys(names, b""))
    with pytest.warns(UserWarning, match="Duplicate name"):
        _added(names[-1])(packed)
    started = time.monotonic()
    with pytest.raises(InputError, match=r"'all_asfamc/19999\.txt' is in it twice"):
        unpack(packed, tmp_path / "all_asfamc", SUFFIXES)
    assert time.monotonic() - started < 10


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """A bomb whose members overlap has no member of a suspicious ratio."""
    packed = archive(tmp_path / "a.zip", {"all_asfamc/a.amc": HONEST[list(HONEST)[2]]})
    content = packed.read_bytes()
    central = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    entries = b""
    for number in range(3):
        name = f"all_asfamc/{number}.amc".encode()
        entries += content[central : central + 46] + name
    tail = bytearray(content[end:])
    struct.pack_into("<HHII", tail, 8, 3, 3, len(entries), central)
    packed.write_bytes(content[:central] + entries + tail)
    with pytest.raises(InputError, match="overlap"):
        unpack(packed, tmp_path / "all_asfamc", SUFFIXES)
    assert everything_in(tmp_path) == {"a.zip"}


def test_an_understated_size_writes_no_more_than_stated(tmp_path: Path) -> None:
    packed = archive(tmp_path / "a.zip", {"all_asfamc/a.amc": bytes(5000) + b"x"})
    content = bytearray(packed.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, 10)
    packed.write_bytes(content)
    with pytest.raises(InputError, match="cannot be unpacked"):
        unpack(packed, tmp_path / "all_asfamc", SUFFIXES)
    assert everything_in(tmp_path) == {"a.zip"}


def test_damaged_archives_never_crash_and_never_write_outside(tmp_path: Path) -> None:
    whole = archive(tmp_path / "whole.zip", HONEST).read_bytes()
    rng = np.random.default_rng(2)
    packed = tmp_path / "inner" / "a.zip"
    packed.parent.mkdir()
    # Damage to the directory of an archive, which is at its end, has the most effect.
    for number in range(300):
        content = bytearray(whole)
        for place in rng.integers(len(content) - 400, len(content), rng.integers(1, 6)):
            content[place] ^= 1 << rng.integers(8)
        if number % 3 == 0:
            content = content[: rng.integers(len(content))]
        packed.write_bytes(content)
        try:
            unpack(packed, packed.with_name("all_asfamc"), SUFFIXES)
        except InputError:
            assert everything_in(packed.parent) == {"a.zip"}
        else:
            for path in packed.with_name("all_asfamc").rglob("*"):
                assert path.is_dir() or path.read_bytes() in HONEST.values()
            shutil.rmtree(packed.with_name("all_asfamc"))
    assert {path.name for path in tmp_path.iterdir()} == {"whole.zip", "inner"}


@pytest.fixture
def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in HONEST.items():
            opened.writestr(name, content)
    return buffer.getvalue()


def test_one_command_downloads_verifies_and_unpacks(
    tmp_path: Path, bench: Bench, zipped: bytes
) -> None:
    behaviour = Behaviour(zipped, drops=[20_000])
    to = tmp_path / "data"
    with serving(behaviour) as url:
        call = ("data", "get", "cmu", "--to", to, "--url", url)
        wrong = bench(*call)
        assert wrong.code == 2
        assert ARCHIVES["cmu"].sha256 in wrong.err
        assert sha256(zipped) in wrong.err
        assert wrong.err.count("\n") == 1
        ended = bench(*call, "--sha256", sha256(zipped).upper())
        assert ended.code == 0
        assert str(to / "all_asfamc") in ended.out
        for name, content in HONEST.items():
            assert (to / name).read_bytes() == content
        assert left_in(to) == {"all_asfamc"}
        requests = len(behaviour.requests)
        assert bench(*call).code == 0
        assert len(behaviour.requests) == requests  # it exists already


def test_the_archive_stays_when_it_cannot_be_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bytes
) -> None:
    monkeypatch.setitem(ARCHIVES, "cmu", Archive("", sha256(zipped), "all_asfamc", SUFFIXES))
    with monkeypatch.context() as small, serving(Behaviour(zipped)) as url:
        small.setattr(unpacking, "LARGEST_TOTAL", 10)
        with pytest.raises(InputError, match="together"):
            get("cmu", tmp_path, url, None, None)
    # No server any more.
    folder, left_out = get("cmu", tmp_path, url, None, None)
    assert everything_in(folder) >= {"subjects/01/01_01.amc"}
    assert left_out == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["synthetic"], "synthetic is not published"),
        (["cmu_expmap"], "published at"),
        (["cmv"], "did you mean 'cmu'"),
        (["cmu", "--sha256", "abc"], "64 hexadecimal digits"),
    ],
)
def test_what_cannot_be_fetched_gets_one_line(
    tmp_path: Path, bench: Bench, arguments: list[str], message: str
) -> None:
    ended = bench("data", "get", *arguments, "--to", tmp_path)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
