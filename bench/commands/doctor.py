"""``bench doctor``: what this machine offers, what is wrong with it, and how to mend that."""

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from rich.markup import escape
from rich.table import Table

from bench.core import provenance
from bench.core.errors import InputError
from bench.core.registry import DATASETS, MODELS, PREDICTORS
from bench.protocol import resolving

State = Literal["well", "absent", "wrong"]
STYLES: dict[State, str] = {"well": "green", "absent": "yellow", "wrong": "red"}
LEAST_FREE = 5.0
"""Gibibytes that a disk should have left for results."""
LEAST_SHARED = 1.0
"""Gibibytes of shared memory below which Ray uses the disk instead."""
OPTIONAL = {
    "pdflatex": "only tables as PDF need it; apt install texlive-latex-recommended texlive-science",
    "ffmpeg": "only moving pictures as MP4 need it; pip install imageio-ffmpeg",
}
"""Programs that something optional needs, and how to get them."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: it is.
        state: whether it is well, absent (which may not matter), or wrong.
        found: what was found.
        mend: how to mend it; empty if there is nothing to mend.
    """

    what: str
    state: State
    found: str
    mend: str = ""


def examine(results: Path, root: Path | None) -> list[Finding]:
    """Return what was found about this machine.

    Args:
        results: the folder of runs.
        root: of real data; None if none is given.
    """
    parts = (_versions(), _threads(), _gpu(), _ray(), _plugins(), _data(root), _disk(results))
    return [finding for part in (*parts, _programs()) for finding in part]


def table(findings: list[Finding]) -> Table:
    """Return findings as a table."""
    shown = Table("what", "", "found", "how to mend it", title="this machine")
    for one in findings:
        state = f"[{STYLES[one.state]}]{one.state}[/]"
        shown.add_row(escape(one.what), state, escape(one.found), escape(one.mend))
    return shown


def _versions() -> Iterator[Finding]:
    found = provenance.versions()
    lacking = [name for name, version in found.items() if version is None]
    text = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    if lacking:
        yield Finding("versions", "wrong", f"{text}; no {', '.join(lacking)}", "pip install -e .")
    else:
        yield Finding("versions", "well", text)
    yield Finding("code", "well", provenance.commit() or "installed, not a checkout")


def _threads() -> Iterator[Finding]:
    import torch

    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else psutil.cpu_count() or 1
    stated = {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}
    named = "".join(f", {name}={value}" for name, value in stated.items())
    found = f"{usable} CPUs usable, torch uses {torch.get_num_threads()}{named}"
    yield Finding("threads", "well", found)
    memory = psutil.virtual_memory()
    free = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    low = memory.available < 2**30
    mend = "end what uses it, or set resources.memory_gib" if low else ""
    yield Finding("memory", "wrong" if low else "well", free, mend)


def _gpu() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        yield Finding("GPU", "well", ", ".join(names))
    elif shutil.which("nvidia-smi"):
        build = "without CUDA" if torch.version.cuda is None else f"for CUDA {torch.version.cuda}"
        mend = "install the build of torch that pytorch.org names for the driver"
        yield Finding(
            "GPU", "wrong", f"there is a driver, but torch, built {build}, sees none", mend
        )
    else:
        yield Finding("GPU", "absent", "none; all runs on the CPU")


def _ray() -> Iterator[Finding]:
    if importlib.util.find_spec("ray") is None:
        yield Finding("Ray", "wrong", "not installed", "pip install ray[tune], or --executor local")
        return
    address = os.environ.get("RAY_ADDRESS")
    place = Path("/dev/shm")
    shared = shutil.disk_usage(place).total / 2**30 if place.is_dir() else None
    found = f"shared memory {shared:.1f} GiB" if shared is not None else "no /dev/shm here"
    if address:
        found += f"; RAY_ADDRESS={address}"
    if shared is not None and shared < LEAST_SHARED:
        mend = "in a container, give more: docker run --shm-size=2g; or --executor local"
        yield Finding("Ray", "wrong", found, mend)
    else:
        yield Finding("Ray", "well", found)


def _plugins() -> Iterator[Finding]:
    for registry in (MODELS, PREDICTORS, DATASETS):
        for name, reason in registry.broken.items():
            yield Finding(f"extension {name}", "wrong", reason, "mend or uninstall its package")


def _data(root: Path | None) -> Iterator[Finding]:
    if root is None:
        found = "no folder of real data is named; the synthetic set needs none"
        yield Finding("data", "absent", found, "set BENCH_DATA, or give --data-root")
    for name in DATASETS.all():
        try:
            count = len(resolving.dataset(name).sources(root))
        except InputError as error:
            if root is not None:
                yield Finding(f"data: {name}", "absent", str(error), "bench data list")
        else:
            yield Finding(f"data: {name}", "well", f"{count} recordings")


def _disk(results: Path) -> Iterator[Finding]:
    place = next(one for one in (results, *results.absolute().parents) if one.is_dir())
    free = shutil.disk_usage(place).free / 2**30
    low = free < LEAST_FREE
    mend = "make room, or name another disk with --results" if low else ""
    yield Finding("disk", "wrong" if low else "well", f"{free:.1f} GiB free at {place}", mend)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        mend = "change its permissions, or name another folder with --results"
        yield Finding("results", "wrong", f"{place}: {error.strerror}", mend)
    else:
        yield Finding("results", "well", f"{place} can be written to")


def _programs() -> Iterator[Finding]:
    for program, mend in OPTIONAL.items():
        if path := shutil.which(program):
            yield Finding(program, "well", path)
        else:
            yield Finding(program, "absent", "not there", mend)
