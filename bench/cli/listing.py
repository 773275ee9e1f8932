"""``bench list``: what a protocol can name."""

from typing import Annotated

import typer

from bench.cli.app import console, print_json
from bench.cli.options import Json, Plugins
from bench.core.errors import InputError, did_you_mean


def list_(
    what: Annotated[
        str,
        typer.Argument(
            metavar="[WHAT]",
            help="models, predictors, inferences, mechanisms, corruptions, datasets, protocols.",
        ),
    ] = "all",
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Settings, and parameters at the paper's size.")
    ] = False,
    as_json: Json = False,
    plugin: Plugins = None,
) -> None:
    """List what a protocol can name: models, predictors, mechanisms, data sets, protocols.

    Example: bench list mechanisms -v
    """
    from bench.protocol import listing
    from bench.report import plain_values

    known = listing.sections()
    if what != "all" and what not in known:
        raise InputError(f"list: nothing called '{what}'{did_you_mean(what, [*known, 'all'])}")
    chosen = [table(verbose) for name, table in known.items() if what in (name, "all")]
    if as_json:
        print_json(plain_values.tables(chosen))
        return
    for one in chosen:
        console.print(one)
