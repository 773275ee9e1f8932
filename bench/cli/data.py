"""``bench data``: sources of motion."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import Interrupted, console, print_json, progress_console
from bench.cli.options import DataRoot, Json, Plugins, Results


def list_(data_root: DataRoot = None, plugin: Plugins = None) -> None:
    """List the data sets: whether they are present, and where their owners publish them.

    Example: bench data list --data-root ~/mocap
    """
    from bench.commands import inventory

    console.print(inventory.known(data_root))


def describe(
    datasets: Annotated[
        list[str] | None, typer.Argument(help="Data sets to put side by side; all that are there.")
    ] = None,
    data_root: DataRoot = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of them all, as fps=50."),
    ] = None,
    results: Results = Path("results"),
    as_json: Json = False,
    plugin: Plugins = None,
) -> None:
    """Compare data sets: what they contain, how hard they are to impute, and some drawn motion.

    Example: bench data describe cmu synthetic --data-root ~/mocap
    """
    from bench.commands import describe as command
    from bench.report import plain_values

    cache = results / ".store" / "windows"
    found, left_out = command.find(datasets or [], set_ or [], data_root, cache, progress_console())
    described = command.tables(found)
    if as_json:
        pictures = [str(command.draw(one, results / "data")) for one in found]
        more = {"left_out": left_out, "written": pictures}
        more["skipped"] = [reason for one in found for reason in one.skipped.values()]
        print_json(plain_values.tables(described) | more)
        return
    for table in described:
        console.print(table)
    for reason in left_out:
        console.print(f"left out: {reason}", soft_wrap=True, markup=False)
    for one in found:
        for reason in one.skipped.values():
            console.print(f"skipped: {reason}", soft_wrap=True, markup=False)
        for name, notices in one.notices.items():
            for text in notices.values():
                console.print(f"noticed: {name}: {text}", soft_wrap=True, markup=False)
    for one in found:
        drawn = command.draw(one, results / "data")
        console.print(f"written: {drawn}", soft_wrap=True, markup=False)


def check(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file, a folder, or an archive.")],
    plugin: Plugins = None,
) -> None:
    """Read every file of motion and report those that cannot be used; exit code 1 if there are any.

    Example: bench data check ~/mocap
    """
    from bench.commands import inventory

    checked = inventory.check(path, progress_console())
    refused = [one for one in checked if one.refused]
    for one in refused:
        console.print(f"refused: {one.problem}", soft_wrap=True, markup=False)
    console.print(inventory.report(checked))
    if (noticed := inventory.noticed(checked)) is not None:
        console.print(noticed)
    raise typer.Exit(1 if refused else 0)


def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set, as cmu.")],
    to: Annotated[
        Path, typer.Option(envvar="BENCH_DATA", help="Folder of real data, to put it in.")
    ] = Path("data"),
    url: Annotated[str | None, typer.Option(help="Another place that has the archive.")] = None,
    sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="The hash that you trust instead.")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Download a free data set, check its hash and unpack it; an interrupted download resumes.

    Example: bench data get cmu --to ~/mocap
    """
    from bench.commands import download

    try:
        folder, left_out = download.get(name, to, url, sha256, console)
    except KeyboardInterrupt:
        raise Interrupted from None
    if left_out:
        console.print(f"left out: {left_out} files that are neither motion nor text")
    console.print(f"there: {folder}; use it with --data-root {to}", soft_wrap=True, markup=False)
