"""Commands about finished runs: show, claims, compare, export, merge, rescore."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from bench.cli.app import console, print_json
from bench.cli.options import Json, Plugins, Results, is_folder, may_be_written, resolved
from bench.core.errors import InputError


def claims(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run's folder, as results/occlusion/latest.")
    ],
    as_json: Json = False,
    plugin: Plugins = None,
) -> None:
    """Check the paper's claims against a run; print the verdicts and write them to its folder.

    Example: bench claims results/cmu/latest
    """
    from bench.analysis import claims as verdicts
    from bench.analysis import results
    from bench.report.printing import print_claims

    found = results.read(run)
    judged = verdicts.write(found, run)
    if as_json:
        print_json({"run": str(run), "data": found.basis, "claims": list(map(vars, judged))})
        return
    print_claims(judged, found.basis, console)
    console.print(f"written: {run / 'claims.csv'}, {run / 'claims.md'}", soft_wrap=True)


def show(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run's folder, such as results/cmu/latest.")
    ],
    table: Annotated[
        str | None,
        typer.Argument(
            metavar="[TABLE]", help="Such as imputation, ood or claims; all by default."
        ),
    ] = None,
    as_json: Json = False,
    plugin: Plugins = None,
) -> None:
    """Print the tables of a finished run, all of them or one.

    Example: bench show results/occlusion/latest imputation
    """
    from bench.commands import show as command

    if as_json:
        print_json(command.plain(run, table))
    else:
        command.show(run, table, console)


def compare(
    first: Annotated[
        Path, typer.Argument(metavar="RUN_A", help="A run's folder, such as results/cmu/latest.")
    ],
    second: Annotated[
        Path | None, typer.Argument(metavar="[RUN_B]", help="Another run's folder.")
    ] = None,
    reference: Annotated[
        bool,
        typer.Option(
            "--reference",
            help="Compare RUN_A with the results that the project keeps of the same protocol.",
        ),
    ] = False,
    most: Annotated[int, typer.Option(min=1, help="Cells to print, largest change first.")] = 30,
    csv: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", callback=may_be_written, help="Write every cell that differs."
        ),
    ] = None,
    as_json: Json = False,
    plugin: Plugins = None,
) -> None:
    """Compare two runs: their settings, their circumstances, and their values cell by cell.

    Where both folders have windows.parquet, differences get intervals from paired windows; the
    committed reference results have records alone, so there means are compared. The exit code is 0
    if all values are identical, 1 if not.

    Example: bench compare results/occlusion/latest --reference
    """
    from bench.commands import compare as command
    from bench.core.files import atomic_file
    from bench.report.printing import print_text

    if (second is None) != reference:
        raise InputError("compare: name a second run, or give --reference in its place")
    if second is None:  # the committed results come first: what a run has changed
        first, second = command.reference_of(first), first
    found = command.compare(first, second)
    if csv:
        with atomic_file(csv) as draft:
            found.cells.to_csv(draft, index=False, lineterminator="\n")
    if as_json:
        print_json(command.plain(found, first, second))
        raise typer.Exit(0 if found.identical else 1)
    if not found.settings.empty:
        print_text(found.settings.set_index("setting"), "settings that differ", console)
    if not found.cells.empty:
        text = command.readable(found.cells, most).set_index("cell")
        print_text(text, f"{second} compared with {first}, largest change first", console)
    if csv:
        console.print(f"written: {csv}", soft_wrap=True)
    left, right = found.alone
    counts = f"{found.same} cells and metrics equal, {len(found.cells)} not"
    if not found.cells.empty:
        counts += f" ({found.cells['within'].sum()} of these within the first run's 95 % interval)"
    if left or right:
        counts += f"; {left} values only the first has, {right} only the second"
    for which, lacking in zip(("first", "second"), found.unfinished, strict=True):
        if lacking:
            counts += f"; {len(lacking)} cells failed or were skipped in the {which}"
    console.print(f"{'' if found.identical else 'not '}identical: {counts}", soft_wrap=True)
    if not found.paired:
        console.print("means of cells were compared: not both folders have windows.parquet")
    raise typer.Exit(0 if found.identical else 1)


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run's folder, such as results/cmu/latest.")
    ],
    imputer: Annotated[str, typer.Argument(metavar="IMPUTER", help="Its label in the protocol.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="A new .safetensors file.")
    ],
    plugin: Plugins = None,
) -> None:
    """Write a fitted imputer of a run to one file, which bench fill --run takes.

    Example: bench export results/leaderboard/latest stacked -o stacked.safetensors
    """
    from bench.commands.export import export as write

    size = write(run, imputer, output)
    console.print(f"written: {output} ({size / 1e6:.1f} MB)", soft_wrap=True)


def merge(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of two runs or more.")
    ],
    protocol: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The protocol that the runs are parts of; by default, all of theirs combined.",
        ),
    ] = None,
    results: Results = Path("results"),
    allow_differences: Annotated[
        bool,
        typer.Option(
            "--allow-differences",
            help="Merge runs of different versions or with differing cells too: the first run's "
            "values are kept, and the provenance says so.",
        ),
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Merge runs made on several machines into one, as if one machine had run all of it.

    The runs must have the same data and settings, except for the models, seeds, levels and other
    lists of each, and the subject folds that they test (dataset.fold). Cells that no run has are
    reported and marked as skipped; the exit code is then 1.

    Example: bench merge a/results/cmu/latest b/results/cmu/latest
    """
    from bench.commands.merge import merge as join
    from bench.report import printing, run_folder

    whole = resolved(protocol, None, None, None) if protocol else None
    found = join(runs, whole, allow_differences)
    for difference in found.differences:
        console.print(f"[yellow]allowed:[/] {escape(difference)}", soft_wrap=True)
    with printing.stages(console) as stage:
        written, tables = run_folder.write(found.contents, results, found.draw, stage)
    raise typer.Exit(printing.print_run(tables, written, found.contents.outcomes, console))


def rescore(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run's folder, as results/occlusion/latest.")
    ],
    results: Annotated[
        Path | None,
        typer.Option(
            callback=is_folder,
            help="Folder of runs that has what the run kept; its own by default.",
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Recompute a run's errors from its kept completions, without any model; write a new run.

    For a metric that was added or mended in bench/metrics. It needs the completions: run with
    --set resources.keep_completions=all. Scores of models, reconstructions and what a classifier
    says of windows stay as they were.
    """
    from bench.commands.rescore import rescore as recompute
    from bench.report import printing, run_folder

    place = results or run.resolve().parent.parent
    found = recompute(run, place)
    for counts, what in (
        (found.done, "recomputed"),
        (found.left, "not all kept, left as they were"),
    ):
        for task, count in counts.items():
            console.print(f"{count} cells of task {task}: {what}")
    with printing.stages(console) as stage:
        written, tables = run_folder.write(found.contents, place, found.draw, stage)
    raise typer.Exit(printing.print_run(tables, written, found.contents.outcomes, console))
