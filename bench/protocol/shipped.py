"""Protocols that come with the program, found by name from any folder."""

from pathlib import Path

from bench.core.code_versions import ROOT
from bench.core.errors import InputError, did_you_mean


def shipped() -> dict[str, Path]:
    """Return the protocol files that come with the program, by name."""
    return {path.stem: path for path in sorted((ROOT / "protocols").glob("*.yaml"))}


def locate(protocol: Path) -> Path:
    """Return the file of a protocol, given as a path or by the name of a shipped one.

    Raises:
        InputError: it looks like a name, and no protocol is called so.
    """
    if protocol.exists() or protocol.suffix or len(protocol.parts) > 1:
        return protocol
    known = shipped()
    if protocol.name not in known:
        raise InputError(
            f"{protocol}: no such file, and no protocol of that name"
            f"{did_you_mean(protocol.name, known)}"
        )
    return known[protocol.name]
