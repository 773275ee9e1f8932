"""``bench speed``: benchmarks of the program itself."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import Interrupted, console
from bench.cli.options import may_be_written


class Allocator(StrEnum):
    """How glibc allocates memory."""

    default = "default"
    tuned = "tuned"
    both = "both"


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
            metavar="FILE", callback=may_be_written, help="Write it all, for later comparison."
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
    """Time the program, relative to published code and to this machine's matrix products.

    Example: bench speed train map --rounds 5
    """
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
