"""Arguments and options that several commands share."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.core.errors import InputError

ProtocolFile = Annotated[
    Path,
    typer.Argument(
        metavar="PROTOCOL",
        help="A protocol file, or the name of one that bench list protocols shows.",
    ),
]


Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override, as models.hgvae.epochs=5."),
]


Limit = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Quick look: at most N windows of each split, 2 epochs. Stamped as no result.",
    ),
]


Only = Annotated[
    str | None, typer.Option(metavar="NAME,...", help="Run these models of the protocol alone.")
]


def _there(root: Path | None) -> Path | None:
    if root is not None and not root.is_dir():
        raise InputError(f"--data-root {root}: it is no folder; check it, or BENCH_DATA")
    return root


DataRoot = Annotated[
    Path | None,
    typer.Option(
        envvar="BENCH_DATA",
        callback=_there,
        help="Folder of real data; the synthetic set needs none.",
    ),
]


def _load_plugins(paths: list[Path] | None) -> list[Path] | None:
    from bench.core.registry import load_plugin

    for path in paths or ():
        load_plugin(path)
    return paths


Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        callback=_load_plugins,
        help="A Python file that defines a model, predictor, mechanism or data set of your own; "
        "may be repeated.",
    ),
]


def _may_be_made(results: Path) -> Path:
    if not (place := _nearest(results)).is_dir():
        raise InputError(f"--results {results}: {place} is no folder; name another place")
    return results


def is_folder(results: Path | None) -> Path | None:
    """Raise InputError unless a folder of results is there."""
    if results is not None and not results.is_dir():
        raise InputError(f"--results {results}: it is no folder; name one that has runs")
    return results


def may_be_written(file: Path | None) -> Path | None:
    """Raise InputError if no file can be written at a place."""
    if file and (file.is_dir() or not _nearest(file.parent).is_dir()):
        raise InputError(f"{file}: no file can be written there; name another place")
    return file


def _nearest(path: Path) -> Path:
    """Return what there is of a path."""
    return next(one for one in (path, *path.absolute().parents) if os.path.lexists(one))


Results = Annotated[
    Path,
    typer.Option(callback=_may_be_made, help="Folder of runs, and of what they share."),
]


Json = Annotated[
    bool,
    typer.Option("--json", help="Print JSON for programs, by the schemas in docs/schemas."),
]


Show = Annotated[
    list[int] | None,
    typer.Option(
        "--show",
        metavar="WINDOW",
        min=0,
        help="Keep this test window for the report's viewer too, by its number; may be repeated.",
    ),
]


def resolved(
    path: Path,
    overrides: list[str] | None,
    only: str | None,
    limit: int | None,
    show: list[int] | None = None,
) -> Any:
    """Return the protocol of a file or name, with what the command line changes of it."""
    from bench.protocol.resolving import load
    from bench.protocol.shipped import locate

    stated = [] if limit is None else [f"limit={limit}"]
    stated += [f"resources.show_windows={show}"] if show else []
    protocol = load(locate(path), [*(overrides or []), *stated])
    return protocol.only([name.strip() for name in only.split(",")]) if only else protocol
