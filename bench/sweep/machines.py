"""What the machines of a cluster would compute with, and whether it is the same.

A worker is asked before any job runs, so this imports nothing that takes a while to import.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core import provenance
from bench.core.code_versions import PROJECT, ROOT

SHOWN = 3


@dataclass(frozen=True)
class Facts:
    """What a machine would compute with.

    Attributes:
        packages: version of each, and of Python.
        code: a hash of each source file of the project.
        plugins: a hash of each file, empty where it is not there.
        note: what it reads in a file of the store, empty where it is not there.
    """

    packages: Mapping[str, str | None]
    code: Mapping[str, str]
    plugins: Mapping[str, str]
    note: str


def facts(plugins: Sequence[str], note: str) -> Facts:
    """Return what this process would compute with, and what it reads in the file ``note``."""
    sources = (path for name in PROJECT for path in sorted((ROOT / name).rglob("*.py")))
    return Facts(
        packages=provenance.versions(),
        code={str(path.relative_to(ROOT)): _hash(path) for path in sources},
        plugins={path: _hash(Path(path)) for path in plugins},
        note=Path(note).read_text() if Path(note).is_file() else "",
    )


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def differs(here: Facts, there: Facts) -> str:
    """Return what is otherwise on another machine and how to mend it, empty if nothing is."""
    if there.note != here.note:
        return "does not see the results folder; put --results on storage that all machines share"
    if told := _told(here.packages, there.packages, "{name} {there}, here {here}"):
        return f"has other packages: {told}; install the same there"
    if told := _told(here.code, there.code, "{name}"):
        return f"has other code: {told}; install this version of the project there"
    if told := _told(here.plugins, there.plugins, "{name}"):
        return f"has not the same plugins: {told}; put them where all machines see them"
    return ""


def _told(here: Mapping[str, Any], there: Mapping[str, Any], line: str) -> str:
    """Return in words where two mappings differ."""
    names = sorted(name for name in {*here, *there} if here.get(name) != there.get(name))
    told = [
        line.format(name=name, here=here.get(name) or "none", there=there.get(name) or "none")
        for name in names[:SHOWN]
    ]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(told) + more
