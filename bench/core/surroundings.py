"""What a command inherits from whoever started it, and must not depend on.

Shells, notebooks, editors, git hooks and schedulers set a locale, warnings as errors, a backend for
drawing, a Ray cluster, and may close what is printed to. A run ends the same with any of these.
"""

import codecs
import os
import sys
import unicodedata
import warnings
from contextlib import suppress
from typing import Any, TextIO

PLAIN = {
    "²": "^2",
    "³": "^3",
    "±": "+-",
    "\N{MULTIPLICATION SIGN}": "x",
    "·": ".",
    "\N{EN DASH}": "-",
    "—": "-",
    "\N{MINUS SIGN}": "-",
    "…": "...",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "↑": "up",
    "↓": "down",
    "•": "*",
    "✓": "yes",
    "✗": "no",
    "µ": "u",
    "\N{GREEK SMALL LETTER SIGMA}": "sd",
    "°": " deg",
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "“": '"',
    "”": '"',
}
"""What stands for characters that a terminal's encoding does not have; lines of boxes apart."""
_BOX = range(0x2500, 0x25A0)


def settle() -> None:
    """Make this process, and those that it starts, independent of what it inherits.

    Nothing printed can fail any more, warnings are no errors, and figures are drawn to files.
    """
    sys.stdout, sys.stderr = _steady(sys.stdout), _steady(sys.stderr)
    os.environ["MPLBACKEND"] = "Agg"
    os.environ.pop("PYTHONWARNINGS", None)
    if sys.warnoptions:
        # Processes that Python starts inherit these options.
        sys.warnoptions.clear()
        warnings.resetwarnings()
        warnings.simplefilter("default")


class Steady:
    """A text stream that never fails: what it cannot encode degrades, what nobody reads is lost."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write a text; return its length."""
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            return self.write(degraded(text, self.stream.encoding or "ascii"))
        except (OSError, ValueError):  # a closed pipe, a full disk; a closed stream
            self._lose()
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        try:
            self.stream.flush()
        except (OSError, ValueError):
            self._lose()

    def _lose(self) -> None:
        """Let what is written from now on, and what is still buffered, vanish."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)


def _steady(stream: TextIO | None) -> Any:
    """Return a stream that never fails; of a closed one (None), one that goes nowhere."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    return stream if isinstance(stream, Steady) else Steady(stream)


def degraded(text: str, encoding: str) -> str:
    """Return a text with what an encoding lacks replaced by what reads alike."""
    try:
        codecs.lookup(encoding)
    except LookupError:
        encoding = "ascii"
    return "".join(_plain(character, encoding) for character in text)


def _plain(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        pass
    else:
        return character
    if character in PLAIN:
        return PLAIN[character]
    if ord(character) in _BOX:
        name = unicodedata.name(character, "")
        straight = "HORIZONTAL" in name and "VERTICAL" not in name and "AND" not in name
        return "-" if straight else "|" if name.endswith("VERTICAL") else "+"
    bare = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return bare or "?"
