"""The exception for input that the user can fix, and helpers that word error messages."""

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Input that cannot be used; the message is one line: what, where, how to fix it.

    Line ends and control characters that the message quotes from the input are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(legible(message))


def legible(text: str) -> str:
    """Return text with line ends and control characters escaped, so that a terminal shows them."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class WriteError(InputError):
    """A file that cannot be written: no space, no permission, no disk."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint to append to an error message about an unknown word.

    ``" (did you mean 'x'?)"`` for the most similar of ``known``; if none is similar, all of them.
    """
    known = sorted(known)
    small = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), small, n=1)
    if near:
        return f" (did you mean '{small[near[0]]}'?)"
    return f" (known: {', '.join(known)})" if known else ""


def reason_of(error: Exception) -> str:
    """Return an exception's message as one line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
