"""``bench.run``: what the command ``bench run`` does, from Python."""

import json
import os
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.commands.run import Options
from bench.commands.run import run as execute
from bench.protocol.resolving import load, overridden, resolve
from bench.protocol.shipped import locate
from bench.sweep.executors import Executor


def run(
    protocol: str | PathLike[str] | Mapping[str, Any],
    *,
    only: Iterable[str] = (),
    limit: int | None = None,
    set: Mapping[str, Any] | None = None,
    data_root: str | PathLike[str] | None = None,
    results: str | PathLike[str] = "results",
    executor: Executor = "local",
) -> Path:
    """Run a protocol, and return the folder of the run, for ``bench.load``.

    Only what is not in the store of ``results`` yet is computed. Cells that fail do not stop the
    others; the records say which failed.

    Args:
        protocol: a protocol file, the name of one that comes with the program, or plain values as
            such a file has them.
        only: labels of the models to run; none: all.
        limit: for a quick look: at most so many windows of each split, and 2 epochs.
        set: overrides by key, such as ``{"models.hgvae.epochs": 5}``.
        data_root: folder of real data; None: that of the variable BENCH_DATA, if it is set.
        results: folder of runs and of the store.
        executor: ``local`` runs in this process, ``ray`` on all cores or a cluster.

    Raises:
        InputError: the protocol or the data cannot be used.
        WriteError: results cannot be written.
    """
    stated = dict(set or {}) | ({} if limit is None else {"limit": limit})
    overrides = [f"{key}={json.dumps(value)}" for key, value in stated.items()]
    if isinstance(protocol, Mapping):
        found = resolve(overridden({"name": "notebook", **protocol}, overrides))
    else:
        found = load(locate(Path(protocol)), overrides)
    if chosen := list(only):
        found = found.only(chosen)
    root = data_root or os.environ.get("BENCH_DATA")
    options = Options(Path(results), Path(root) if root else None, executor)
    execute(found, options, Console())
    return (options.results / found.folder / "latest").resolve()
