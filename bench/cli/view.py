"""Commands that show results and recordings: ``view``, ``plot``."""

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import console
from bench.cli.options import Plugins, may_be_written
from bench.core.errors import InputError


def view(
    what: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|FILE...",
            help="A run's folder; or recordings of one skeleton, as a.bvh and its filled copy.",
        ),
    ],
    to: Annotated[
        Path | None,
        typer.Option(metavar="FILE", callback=may_be_written, help="Write the page there."),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
    plugin: Plugins = None,
) -> None:
    """Open the report of a run, or a page that shows recordings over each other, to be played.

    A run whose folder has no report gets one. Of several recordings the first counts as ground
    truth, and joints that it lacks are hollow.

    Example: bench view walk.bvh walk_filled.bvh
    """
    from bench.commands import view as command
    from bench.report.printing import stages

    first, *more = what
    with stages(console) as stage:
        if first.is_dir():
            if more:
                raise InputError(f"{more[0]}: give one run, or recordings alone")
            page = command.report(first, to, stage)
        else:
            page = to or Path(f"{first.stem}-view.html")
            stage("reading")
            command.recordings(what, page)
    console.print(f"page: {page}", soft_wrap=True, markup=False)
    if browser and _has_screen():
        webbrowser.open(page.resolve().as_uri())


def plot(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run's folder, as results/occlusion/latest.")
    ],
    figure: Annotated[
        str, typer.Option(metavar="NAME", help="Of its files, as skill; or its number, as 6.")
    ],
    width: Annotated[
        str, typer.Option(help="column or page of a paper with two columns, or inches.")
    ] = "page",
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            callback=may_be_written,
            help="Ending with .pdf, .png or .svg, or without an ending for all three.",
        ),
    ] = None,
    style: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A style of matplotlib, or a .mplstyle file."),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Draw one figure of a run for print, as wide as a column or a page, with fonts embedded.

    Example: bench plot results/occlusion/latest --figure 6 --width column --to fig6.pdf
    """
    from bench.commands import view as command
    from bench.report.figures import find

    place = to or Path(find(figure))
    for path in command.plot(run, figure, width, place, style):
        console.print(f"written: {path}", soft_wrap=True, markup=False)


def _has_screen() -> bool:
    """Return whether a browser could be seen here."""
    return sys.stdout.isatty() and (
        sys.platform in ("darwin", "win32")
        or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    )
