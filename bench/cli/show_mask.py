"""``bench show-mask``: what a mechanism hides."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import console
from bench.cli.options import Plugins, may_be_written


def show_mask(
    mechanism: Annotated[
        str, typer.Argument(metavar="MECHANISM", help="As bench list mechanisms names it.")
    ],
    level: Annotated[
        str | None, typer.Option(help="As a protocol writes it, such as 10%, 3 or '500 ms'.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting, as joints=3."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the mechanism's draws.")] = 0,
    frames: Annotated[int, typer.Option(help="Of the window.")] = 50,
    fps: Annotated[float, typer.Option(min=1, help="Frames per second.")] = 25.0,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", callback=may_be_written, help="Draw it as well, as gaps.png."),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Show what a mechanism hides of a window of synthetic walking.

    Example: bench show-mask gaps --level '500 ms' --set joints=3
    """
    from bench.commands import show_mask as command

    mask = command.compute(mechanism, level, set_ or [], seed, frames, fps)
    if figure:
        command.draw(mask, figure)
    command.show(mask, console)
    if figure:
        console.print(f"written: {figure}", soft_wrap=True, markup=False)
