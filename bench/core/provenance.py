"""Provenance: what is needed to repeat a run."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from bench.core.code_versions import ROOT

NAME = "motion-imputation-bench"
PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "pydantic",
    "ray",
    "safetensors",
    "scikit-learn",
    "matplotlib",
)


def collect() -> dict[str, Any]:
    """Return versions, the commit of this code, the command line and the hardware."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": ["bench", *sys.argv[1:]],
        "commit": commit(),
        "versions": {NAME: _version(NAME), **versions()},
        "hardware": _hardware(),
    }


def commit() -> str | None:
    """Return this code's git commit, with ``-dirty`` if files were changed; None outside git."""
    folder = ROOT
    if not (folder / ".git").exists():
        return None
    # Git's own variables, as set in hooks, name another repository than the folder's.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of each package that results may depend on."""
    packages = {package: _version(package) for package in PACKAGES}
    return {"python": platform.python_version(), **packages}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _hardware() -> dict[str, Any]:
    import torch

    gpus = range(torch.cuda.device_count())
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": psutil.cpu_count(logical=False),
        "threads": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(number) for number in gpus],
    }


def _processor() -> str:
    """Return the processor's name; the platform module reports it only on some systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
