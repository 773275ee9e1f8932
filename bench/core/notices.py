"""Notices: what a reader did with a file that says something oddly but plainly.

A reader calls ``note``; who wants to know reads within ``collected``. A notice is of a kind, so
that files with the same oddity can be counted; each kind is kept once per file.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from bench.core.errors import legible

Notices = dict[str, str]
"""What was noticed of one file, by kind."""

_NOTICES: ContextVar[Notices | None] = ContextVar("notices", default=None)


def note(kind: str, text: str) -> None:
    """Record what was noticed of the file that is being read; the first of a kind counts.

    Args:
        kind: a few words by which files are counted, such as ``"decimal commas"``.
        text: what stands in the file, and how it was read; one line.
    """
    found = _NOTICES.get()
    if found is not None:
        found.setdefault(kind, legible(text))


@contextmanager
def collected() -> Iterator[Notices]:
    """Yield a mapping that fills with the notices of the block."""
    found: Notices = {}
    token = _NOTICES.set(found)
    try:
        yield found
    finally:
        _NOTICES.reset(token)


def counts(files: Iterable[Notices] | Mapping[str, Notices]) -> dict[str, int]:
    """Return in how many files each kind was noticed, most frequent first."""
    each = files.values() if isinstance(files, Mapping) else files
    return dict(Counter(kind for notices in each for kind in notices).most_common())
