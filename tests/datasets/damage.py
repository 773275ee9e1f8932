"""Kinds of damage to files: by disks, transfers, editors and programs, or on purpose."""

import io
import re
import stat
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

Rng = np.random.Generator
Damage = Callable[[bytes, Rng], bytes]
T = TypeVar("T")

WORDS = (
    *(b"nan", b"NaN", b"inf", b"-inf", b"1e308", b"-1e300", b"1e9999", b"-7", b"-0", b"1e-320"),
    *(b"99999999999999999999999", b"0x1f", b"1_000", b"word", b"", b"\x00", b'"', b"#", b"1e"),
    *(b"--1", b"1.2.3", b"1,5", b"NA", b"True", b"1+2j", b"\xef\xbc\x91", b"\xff", b"\x1b[31m"),
)
"""Words that may replace a number."""
COUNTS = (b"0", b"-1", b"1", b"2147483648", b"9223372036854775808", b"1" + b"0" * 30)
_NUMBER = re.compile(rb"[-+]?\d[\d.]*(?:[eE][-+]?\d+)?")
_COUNT = re.compile(rb"\b\d+\b")


def _any(options: Sequence[T], rng: Rng) -> T:
    return options[int(rng.integers(len(options)))]


def one_bit(content: bytes, rng: Rng) -> bytes:
    return _flipped(content, rng, 1)


def many_bits(content: bytes, rng: Rng) -> bytes:
    return _flipped(content, rng, int(rng.integers(2, 60)))


def _flipped(content: bytes, rng: Rng, bits: int) -> bytes:
    changed = bytearray(content)
    for place in rng.integers(len(content), size=bits).tolist():
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut_short(content: bytes, rng: Rng) -> bytes:
    return content[: rng.integers(len(content))]


def without_start(content: bytes, rng: Rng) -> bytes:
    return content[rng.integers(1, len(content)) :]


def emptied(content: bytes, rng: Rng) -> bytes:
    return b"\n" * int(rng.integers(2))


def garbage(content: bytes, rng: Rng) -> bytes:
    return rng.bytes(int(rng.integers(1, 3000)))


def zeroed(content: bytes, rng: Rng) -> bytes:
    """Zero a block, as if it had not reached the disk."""
    first, last = _span(len(content), rng)
    return content[:first] + bytes(last - first) + content[last:]


def twice(content: bytes, rng: Rng) -> bytes:
    return content + content


def moved(content: bytes, rng: Rng) -> bytes:
    first, last = _span(len(content), rng)
    return content[:first] + content[last:] + content[first:last]


def _span(length: int, rng: Rng) -> tuple[int, int]:
    first = int(rng.integers(length))
    return first, min(length, first + int(rng.integers(1, 600)))


def huge_counts(content: bytes, rng: Rng) -> bytes:
    """Replace four or eight bytes, as of a length or offset, by a huge value."""
    changed = bytearray(content)
    place = int(rng.integers(max(1, len(content) - 8)))
    word = _any((b"\xff" * 4, b"\xff\xff\xff\x7f", b"\xff" * 8), rng)
    changed[place : place + len(word)] = word
    return bytes(changed)


def line_lost(content: bytes, rng: Rng) -> bytes:
    lines = content.split(b"\n")
    del lines[rng.integers(len(lines))]
    return b"\n".join(lines)


def line_twice(content: bytes, rng: Rng) -> bytes:
    lines = content.split(b"\n")
    line = int(rng.integers(len(lines)))
    return b"\n".join([*lines[: line + 1], *lines[line:]])


def lines_swapped(content: bytes, rng: Rng) -> bytes:
    lines = content.split(b"\n")
    one, other = rng.integers(len(lines), size=2).tolist()
    lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


def number_replaced(content: bytes, rng: Rng) -> bytes:
    return _put(content, _NUMBER, _any(WORDS, rng), rng)


def count_replaced(content: bytes, rng: Rng) -> bytes:
    """Replace one of the first whole numbers, which are counts and indices in most formats."""
    head = content[:600]
    return _put(head, _COUNT, _any(COUNTS, rng), rng) + content[600:]


def _put(content: bytes, pattern: re.Pattern[bytes], word: bytes, rng: Rng) -> bytes:
    places = [match.span() for match in pattern.finditer(content)]
    if not places:
        return content + word
    first, last = _any(places, rng)
    return content[:first] + word + content[last:]


def column_lost(content: bytes, rng: Rng) -> bytes:
    return _put(content, re.compile(rb"[ ,]+[-\d.e]+"), b"", rng)


def column_added(content: bytes, rng: Rng) -> bytes:
    found = re.search(rb"[-\d.]+([ ,])[-\d.]+", content)
    between = found[1] if found else b" "
    return _put(content, _NUMBER, b"1.5" + between + b"-2.5", rng)


def one_column_more(content: bytes, rng: Rng) -> bytes:
    """Add a column to every line."""
    between = b"," if content.count(b",") > content.count(b" ") else b" "
    return re.sub(rb"(?m)([\d.])$", rb"\1" + between + b"7", content)


def utf16(content: bytes, rng: Rng) -> bytes:
    return content.decode("latin-1").encode("utf-16")


def marked(content: bytes, rng: Rng) -> bytes:
    return b"\xef\xbb\xbf" + content


def other_letters(content: bytes, rng: Rng) -> bytes:
    return content.replace(b"e", "é".encode("latin-1"), int(rng.integers(1, 9)))


def crlf(content: bytes, rng: Rng) -> bytes:
    return content.replace(b"\n", b"\r\n")


def mixed_ends(content: bytes, rng: Rng) -> bytes:
    lines = content.split(b"\n")
    ends = (b"\n", b"\r\n", b"\r")
    return b"".join(line + _any(ends, rng) for line in lines)


BYTES: tuple[Damage, ...] = (
    *(one_bit, one_bit, many_bits, many_bits, cut_short, cut_short, without_start, emptied),
    *(garbage, zeroed, twice, moved, huge_counts),
)
"""Damage to any file."""
TEXT: tuple[Damage, ...] = (
    *(one_bit, many_bits, cut_short, without_start, emptied, garbage, zeroed, twice, moved),
    *(line_lost, line_twice, lines_swapped, number_replaced, number_replaced, number_replaced),
    *(count_replaced, column_lost, column_added, one_column_more, utf16, marked, other_letters),
    *(crlf, mixed_ends),
)
"""Damage to text with numbers."""


def npy_shape(content: bytes, rng: Rng) -> bytes:
    """Put a false shape into the header, without changing its length."""
    size = 10 + struct.unpack_from("<H", content, 8)[0]
    head = content[10:size].rstrip()
    shapes = (
        *(b"(10, 10, 3)", b"()", b"(99999999999, 21, 3)", b"(0, 10000000000000000000000, 3)"),
        *(b"(-1, 21, 3)", b"(4294967296, 4294967296, 4294967296)", b"(True,)", b"(None,)"),
    )
    other = re.sub(rb"\((?:\d+, ?)*\d*\)", _any(shapes, rng), head)
    return content[:10] + other.ljust(size - 11) + b"\n" + content[size:]


def npy_type(content: bytes, rng: Rng) -> bytes:
    types = (b"<f2", b">f8", b"<c8", b"|O8", b"<U2", b"|V8", b"<i1", b"<M8", b"<f99", b"[('a')]")
    return content.replace(b"<f8", _any(types, rng).ljust(3), 1)


NPY = (*BYTES, npy_shape, npy_shape, npy_type, npy_type)


# Archives.


def members_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def packed(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return buffer.getvalue()


def in_a_member(damages: Sequence[Damage]) -> Damage:
    """Return damage to a member before packing, so that checksums are valid."""

    def damage(content: bytes, rng: Rng) -> bytes:
        members = members_of(content)
        name = _any(sorted(members), rng)
        members[name] = _any(damages, rng)(members[name], rng)
        return packed(members)

    return damage


def without_directory(content: bytes, rng: Rng) -> bytes:
    start = content.index(b"PK\x01\x02")
    return content[: int(rng.integers(start, len(content)))]


def in_directory(content: bytes, rng: Rng) -> bytes:
    start = content.index(b"PK\x01\x02")
    return content[:start] + many_bits(content[start:], rng)


def field_set(place: int, kind: str, values: Sequence[int], local: int | None = None) -> Damage:
    """Return damage to one number in the directory, and to its copy in the member's header."""

    def damage(content: bytes, rng: Rng) -> bytes:
        changed = bytearray(content)
        entries = [match.start() for match in re.finditer(rb"PK\x01\x02", content)]
        value = _any(values, rng)
        entry = _any(entries, rng)
        struct.pack_into(kind, changed, entry + place, value)
        if local is not None:
            header = struct.unpack_from("<I", content, entry + 42)[0]
            struct.pack_into(kind, changed, header + local, value)
        return bytes(changed)

    return damage


encrypted = field_set(8, "<H", [1, 1 | 64, 32], local=6)
version = field_set(6, "<H", [99, 255])
other_method = field_set(10, "<H", [1, 9, 12, 14, 93, 99, 0], local=8)
wrong_sum = field_set(16, "<I", [0, 1, 2**32 - 1])
wrong_size = field_set(24, "<I", [0, 1, 10_000, 2**32 - 2])
wrong_packed_size = field_set(20, "<I", [0, 1, 100, 2**32 - 2])
wrong_place = field_set(42, "<I", [1, 40, 2**31, 2**32 - 2])


def with_member(name: str, content: bytes = b"1\n", mode: int = 0) -> Damage:
    """Return damage that adds a member, or duplicates the name of one (``FIRST``)."""

    def damage(whole: bytes, rng: Rng) -> bytes:
        buffer = io.BytesIO(whole)
        with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as opened:
            first = opened.namelist()[0]
            info = zipfile.ZipInfo(name.replace("FIRST", first))
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            opened.writestr(info, content)
        return buffer.getvalue()

    return damage


def nested(content: bytes, rng: Rng) -> bytes:
    return packed({"inner.zip": content, "deeper/inner.zip": packed({"inner.zip": content})})


def repacked(content: bytes, rng: Rng) -> bytes:
    """Pack with an unusual compression method, then damage."""
    method = _any((zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2), rng)
    return _any(BYTES, rng)(packed(members_of(content), method), rng)


LINK = stat.S_IFLNK | 0o777

ARCHIVE: tuple[Damage, ...] = (
    *BYTES,
    *(without_directory, in_directory, in_directory, encrypted, version, other_method),
    *(other_method, wrong_sum, wrong_size, wrong_packed_size, wrong_place, nested, repacked),
)
"""Damage to an archive as a whole."""
