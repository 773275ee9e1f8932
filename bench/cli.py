"""The command line."""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text
from typer.core import TyperCommand, TyperOption

from bench.errors import InputError, did_you_mean, legible


class Strict(TyperCommand):
    """A command that refuses what an unset variable of a shell, or a slip, makes of its words."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse an empty word, and an option given twice where one alone would count."""
        told, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for one in self.get_params(ctx):
            values = told.get(one.name)
            option = one if isinstance(one, TyperOption) else None
            name = option.opts[0] if option else str(one.name).upper()
            if values == "" or (isinstance(values, list | tuple) and "" in values):
                raise InputError(f"{name}: it is empty; say what, or leave it out")
            if option and not option.multiple and not option.is_flag and given.count(option) > 1:
                raise InputError(f"{name}: it is given twice; leave one out")
        return super().parse_args(ctx, args)


class App(typer.Typer):
    """Commands that are ``Strict``."""

    def command(self, name: str | None = None, **more: Any) -> Any:
        """Return a decorator that makes a command of a function."""
        return super().command(name, cls=Strict, **more)


class Terminal(Console):
    """A console that obeys no control character of the names that it shows."""

    def render_str(self, text: str, **more: Any) -> Text:
        """Return text to be shown; lines stay lines."""
        return super().render_str("\n".join(map(legible, text.split("\n"))), **more)


app = App(
    help="Compare generative imputers of human motion.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data = App(help="Motion: what there is, what it is worth, where to get it.")
app.add_typer(data, name="data", no_args_is_help=True)
# Piped output is not squeezed into 80 columns.
console = Terminal(width=None if sys.stdout.isatty() else 160)


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """The user stopped a run."""


class Executor(StrEnum):
    """What runs the trials."""

    ray = "ray"
    local = "local"


class Allocator(StrEnum):
    """How memory is had."""

    default = "default"
    tuned = "tuned"
    both = "both"


ProtocolFile = Annotated[
    Path, typer.Argument(metavar="PROTOCOL", help="A protocol file, such as protocols/cmu.yaml.")
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
    from bench.registry import load_plugin

    for path in paths or ():
        load_plugin(path)
    return paths


Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        callback=_load_plugins,
        help="A Python file with a model, predictor or data set of your own; may be repeated.",
    ),
]


def _may_be_made(results: Path) -> Path:
    if not (place := _nearest(results)).is_dir():
        raise InputError(f"--results {results}: {place} is no folder; name another place")
    return results


def _is_folder(results: Path | None) -> Path | None:
    if results is not None and not results.is_dir():
        raise InputError(f"--results {results}: it is no folder; name one that has runs")
    return results


def _may_be_written(file: Path | None) -> Path | None:
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


@app.command()
def run(
    protocol: ProtocolFile,
    set_: Overrides = None,
    only: Only = None,
    limit: Limit = None,
    data_root: DataRoot = None,
    results: Results = Path("results"),
    executor: Annotated[
        Executor, typer.Option(help="Ray, or this process (which needs no Ray).")
    ] = Executor.ray,
    address: Annotated[
        str | None, typer.Option(help="Join a running Ray cluster, as auto or HOST:6379.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at a file of motion that cannot be used.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in an earlier run.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Fit, sweep and aggregate what is missing of a protocol; write tables and figures.

    Ctrl-C once: what is running comes to an end, a fit at that of its epoch, and the same command
    goes on from there. Ctrl-C twice: it stops now.
    """
    from bench.cluster import check_address
    from bench.run import Options
    from bench.run import run as execute

    if address and executor is Executor.local:
        raise InputError("--address is of a Ray cluster; leave it out with --executor local")
    if address and not dry_run:
        check_address(address)
    options = Options(results, data_root, executor.value, address, dry_run, strict, retry_failed)
    try:
        code = execute(_resolved(protocol, set_, only, limit), options, console)
    except KeyboardInterrupt:
        raise Interrupted from None
    raise typer.Exit(code)


@app.command()
def status(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="As results/occlusion, or the folder of a run in it."),
    ],
) -> None:
    """Say how a run stands, while it goes on and after: what is done, running, failed, waiting."""
    from bench import executions

    executions.show(path, console)


@app.command()
def validate(
    protocol: ProtocolFile,
    set_: Overrides = None,
    only: Only = None,
    limit: Limit = None,
    plugin: Plugins = None,
) -> None:
    """Check a protocol and print it with every setting stated; run nothing."""
    import yaml

    resolved = _resolved(protocol, set_, only, limit)
    typer.echo(yaml.safe_dump(resolved.to_dict(), sort_keys=False, allow_unicode=True), nl=False)


@app.command("claims")
def claims_(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run's folder, as results/occlusion/latest.")
    ],
    plugin: Plugins = None,
) -> None:
    """Hold the paper's claims against a run; print the verdicts and write them to its folder."""
    from bench import claims, results
    from bench.printing import print_claims

    found = results.read(run)
    claims.write(found, run)
    print_claims(found, console)
    console.print(f"written: {run / 'claims.csv'}, {run / 'claims.md'}", soft_wrap=True)


@app.command("compare")
def compare_(
    first: Annotated[
        Path, typer.Argument(metavar="RUN_A", help="A run's folder, as results/cmu/latest.")
    ],
    second: Annotated[Path, typer.Argument(metavar="RUN_B", help="Another run's folder.")],
    most: Annotated[int, typer.Option(min=1, help="Cells to print, largest change first.")] = 30,
    csv: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", callback=_may_be_written, help="Write every cell that differs."
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Say what two runs have otherwise: settings, circumstances, and values cell by cell.

    The exit code is 0 if they are identical, whatever made them and however long it took, 1 if not.
    """
    from bench import compare
    from bench.files import atomic_file
    from bench.printing import print_text

    found = compare.compare(first, second)
    if not found.settings.empty:
        print_text(found.settings.set_index("setting"), "set otherwise", console)
    if not found.cells.empty:
        text = compare.readable(found.cells, most).set_index("cell")
        print_text(text, "second run against the first, most changed first", console)
    if csv:
        with atomic_file(csv) as draft:
            found.cells.to_csv(draft, index=False, lineterminator="\n")
        console.print(f"written: {csv}", soft_wrap=True)
    left, right = found.alone
    counts = f"{found.same} cells and metrics alike, {len(found.cells)} not"
    if left or right:
        counts += f"; {left} values only the first has, {right} only the second"
    for which, lacking in zip(("first", "second"), found.unfinished, strict=True):
        if lacking:
            counts += f"; {len(lacking)} cells failed or were skipped in the {which}"
    console.print(f"{'' if found.identical else 'not '}identical: {counts}", soft_wrap=True)
    raise typer.Exit(0 if found.identical else 1)


@app.command()
def merge(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of two runs or more.")
    ],
    protocol: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The protocol that the runs are parts of; by default, their union."
        ),
    ] = None,
    results: Results = Path("results"),
    allow_differences: Annotated[
        bool,
        typer.Option(
            "--allow-differences",
            help="Join runs made with other versions, or that have cells not alike: the first's "
            "stand, and the provenance says so.",
        ),
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Join runs made on several machines into one, with tables as if one machine had run all.

    They are of the same data and set alike, but for the models, seeds, levels and such that each
    lists. What no run has is told and marked as skipped; the exit code is then 1.
    """
    from bench import folder, printing
    from bench.merge import merge as join

    whole = _resolved(protocol, None, None, None) if protocol else None
    found = join(runs, whole, allow_differences)
    for difference in found.differences:
        console.print(f"[yellow]allowed:[/] {escape(difference)}", soft_wrap=True)
    written, tables = folder.write(found.contents, results, found.draw)
    raise typer.Exit(printing.print_run(tables, written, found.contents.outcomes, console))


@app.command()
def rescore(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run's folder, as results/occlusion/latest.")
    ],
    results: Annotated[
        Path | None,
        typer.Option(
            callback=_is_folder,
            help="Folder of runs that has what the run kept; its own by default.",
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Compute a run's errors anew from what was completed, calling no model; write a new run.

    For a metric that was added or mended in bench/metrics.py. It needs the completions: run with
    --set resources.keep_completions=all. Scores of models, reconstructions and what a classifier
    says of windows stay as they were.
    """
    from bench import folder, printing
    from bench.rescore import rescore as anew

    place = results or run.resolve().parent.parent
    found = anew(run, place)
    for counts, what in ((found.done, "computed anew"), (found.left, "not all kept, left as was")):
        for task, count in counts.items():
            console.print(f"{count} cells of task {task}: {what}")
    written, tables = folder.write(found.contents, place, found.draw)
    raise typer.Exit(printing.print_run(tables, written, found.contents.outcomes, console))


@app.command("list")
def list_(
    what: Annotated[
        str,
        typer.Argument(help="models, predictors, inferences, mechanisms, datasets..., or all."),
    ] = "all",
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Settings, and parameters at the paper's size.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """List what a protocol can name."""
    from bench import listing

    known = listing.sections()
    if what != "all" and what not in known:
        raise InputError(f"list: nothing called '{what}'{did_you_mean(what, [*known, 'all'])}")
    for name, table in known.items():
        if what in (name, "all"):
            console.print(table(verbose))


@data.command("list")
def data_list(data_root: DataRoot = None, plugin: Plugins = None) -> None:
    """List the data sets: whether they are there, and where their owners publish them."""
    from bench import inventory

    console.print(inventory.known(data_root))


@data.command("describe")
@app.command("describe", hidden=True)
def data_describe(
    datasets: Annotated[
        list[str] | None, typer.Argument(help="Data sets to put side by side; all that are there.")
    ] = None,
    data_root: DataRoot = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of them all, as fps=50."),
    ] = None,
    results: Results = Path("results"),
    plugin: Plugins = None,
) -> None:
    """Print what data sets hold and how hard they are, side by side, and draw some of each."""
    from bench import describe

    cache = results / ".store" / "windows"
    found, left_out = describe.find(datasets or [], set_ or [], data_root, cache, _bars())
    for table in describe.tables(found):
        console.print(table)
    for reason in left_out:
        console.print(f"left out: {reason}", soft_wrap=True, markup=False)
    for one in found:
        for reason in one.skipped.values():
            console.print(f"skipped: {reason}", soft_wrap=True, markup=False)
    for one in found:
        drawn = describe.draw(one, results / "data")
        console.print(f"written: {drawn}", soft_wrap=True, markup=False)


@data.command("check")
def data_check(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file, a folder, or an archive.")],
    plugin: Plugins = None,
) -> None:
    """Read every file of motion and say which cannot be used; exit code 1 if any cannot."""
    from bench import inventory

    checked = inventory.check(path, _bars())
    refused = [one for one in checked if one.refused]
    for one in refused:
        console.print(f"refused: {one.problem}", soft_wrap=True, markup=False)
    console.print(inventory.report(checked))
    raise typer.Exit(1 if refused else 0)


@data.command("get")
def data_get(
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
    """Fetch a data set that anybody may have, check it and unpack it; goes on where it stopped."""
    from bench import download

    try:
        folder, left_out = download.get(name, to, url, sha256, console)
    except KeyboardInterrupt:
        raise Interrupted from None
    if left_out:
        console.print(f"left out: {left_out} files that are neither motion nor text")
    console.print(f"there: {folder}; use it with --data-root {to}", soft_wrap=True, markup=False)


@app.command()
def speed(
    rows: Annotated[
        list[str] | None, typer.Argument(metavar="[ROW]...", help="What to measure; all by default")
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="A checkout of published code; may be repeated."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each thing is timed.")] = 3,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of torch; as many as it takes by default.")
    ] = None,
    malloc: Annotated[
        Allocator, typer.Option(help="glibc as it is, without page faults again and again, or both")
    ] = Allocator.both,
    json: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", callback=_may_be_written, help="Write it all, for later comparison."
        ),
    ] = None,
    growth: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Measure instead how cost grows with each size; write growth.csv and .png there.",
        ),
    ] = None,
) -> None:
    """Time the program: beside published code, and beside this machine's matrix products."""
    import torch

    from bench.speed import report
    from bench.speed.measure import MALLOC, Setup

    mallocs = list(MALLOC) if malloc is Allocator.both else [malloc.value]
    setup = Setup(rounds, threads or torch.get_num_threads())
    try:
        if growth:
            report.write_growth(setup, growth, console)
            return
        found = report.measure(rows or [], against or [], setup, mallocs)
    except KeyboardInterrupt:
        raise Interrupted from None
    console.print(report.table(found))
    if json:
        report.write(found, json)
        console.print(f"written: {json}", soft_wrap=True, markup=False)


def _bars() -> Console | None:
    """Return where progress is shown; piped output would have empty lines instead."""
    return console if console.is_terminal else None


def _resolved(path: Path, overrides: list[str] | None, only: str | None, limit: int | None) -> Any:
    from bench.resolving import load

    stated = [] if limit is None else [f"limit={limit}"]
    protocol = load(path, [*(overrides or []), *stated])
    return protocol.only([name.strip() for name in only.split(",")]) if only else protocol


def _wrong_words(error: Any) -> str:
    """Return what is wrong with a command's words, and which help says how to write them."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "bench"
    return f"{' '.join(error.format_message().split()).rstrip('.')}; see {command} --help"


def _file_trouble(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; input that can be mended ends in one line and exit code 2."""
    try:
        sys.exit(app(arguments, prog_name="bench", standalone_mode=False))
    except InputError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
    except typer.TyperException as error:
        if error.format_message():  # nothing is wrong where help was shown for want of a command
            print(f"bench: {InputError(_wrong_words(error))}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"bench: {InputError(_file_trouble(error))}", file=sys.stderr)
        sys.exit(2)
    except Interrupted:
        note = "interrupted; what had finished is kept, the same command goes on from there"
        print(f"bench: {note}", file=sys.stderr)
        sys.exit(130)
