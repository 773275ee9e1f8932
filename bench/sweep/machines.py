"""Compares the code, packages and plugins of the machines of a cluster.

Every machine is checked before any job runs, so this module imports nothing slow.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core import provenance
from bench.core.code_versions import PROJECT, ROOT

SHOWN = 3
"""Differences that a message names; it counts the others."""


@dataclass(frozen=True)
class Facts:
    """The environment that a machine computes in.

    Attributes:
        packages: version of each package and of Python, by name; None if it is not installed.
        code: SHA-256 of each source file of the project, by relative path.
        plugins: SHA-256 of each plugin file, by path; empty if the file does not exist there.
        note: content of a file in the store, by which machines that do not share the store are
            recognised; empty if the file does not exist there.
    """

    packages: Mapping[str, str | None]
    code: Mapping[str, str]
    plugins: Mapping[str, str]
    note: str


def facts(plugins: Sequence[str], note: str) -> Facts:
    """Return the facts of this process.

    Args:
        plugins: paths of the plugin files.
        note: path of the file that ``Facts.note`` is read from.
    """
    sources = (path for name in PROJECT for path in sorted((ROOT / name).rglob("*.py")))
    return Facts(
        packages=provenance.versions(),
        code={str(path.relative_to(ROOT)): _hash(path) for path in sources},
        plugins={path: _hash(Path(path)) for path in plugins},
        note=Path(note).read_text() if Path(note).is_file() else "",
    )


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def difference(here: Facts, there: Facts) -> str:
    """Return how another machine differs from this one and how to fix it; empty if it does not.

    The text continues a message that begins with the machine's name.
    """
    if there.note != here.note:
        return "does not see the results folder; put --results on storage that all machines share"
    if names := _differing(here.packages, there.packages, "{name} {there}, here {here}"):
        return f"has other packages: {names}; install the same there"
    if names := _differing(here.code, there.code, "{name}"):
        return f"has other code: {names}; install this version of the project there"
    if names := _differing(here.plugins, there.plugins, "{name}"):
        return f"has other plugins: {names}; put them where all machines can read them"
    return ""


def _differing(here: Mapping[str, Any], there: Mapping[str, Any], line: str) -> str:
    """Return a list of the entries in which two mappings differ, ``line`` formatted for each."""
    names = sorted(name for name in {*here, *there} if here.get(name) != there.get(name))
    parts = [
        line.format(name=name, here=here.get(name) or "none", there=there.get(name) or "none")
        for name in names[:SHOWN]
    ]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(parts) + more
