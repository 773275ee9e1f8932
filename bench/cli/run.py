"""Commands that start or watch a run: ``run``, ``status``, ``validate``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import Interrupted, console, print_json
from bench.cli.options import (
    DataRoot,
    Json,
    Limit,
    Only,
    Overrides,
    Plugins,
    ProtocolFile,
    Results,
    Show,
    resolved,
)
from bench.core.errors import InputError


class Executor(StrEnum):
    """What runs the trials."""

    ray = "ray"
    local = "local"


def run(
    protocol: ProtocolFile,
    set_: Overrides = None,
    only: Only = None,
    limit: Limit = None,
    show: Show = None,
    data_root: DataRoot = None,
    results: Results = Path("results"),
    executor: Annotated[
        Executor, typer.Option(help="Ray, or this process (which needs no Ray).")
    ] = Executor.ray,
    address: Annotated[
        str | None, typer.Option(help="Join a running Ray cluster: auto, or HOST:6379.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at a file of motion that cannot be used.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Retry what failed in an earlier run.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Run an experiment: fit its models, evaluate them, and write tables, figures and a report.

    Only what is not in the store yet is computed. Ctrl-C once lets running jobs finish, fits at the
    end of an epoch; twice stops now. Either way, the same command continues.

    Example: bench run occlusion --only mean,linear,hgvae
    """
    from bench.commands.run import Options
    from bench.commands.run import run as execute
    from bench.sweep.cluster import check_address

    if address and executor is Executor.local:
        raise InputError("--address names a Ray cluster; leave it out with --executor local")
    if address and not dry_run:
        check_address(address)
    options = Options(results, data_root, executor.value, address, dry_run, strict, retry_failed)
    try:
        code = execute(resolved(protocol, set_, only, limit, show), options, console)
    except KeyboardInterrupt:
        raise Interrupted from None
    raise typer.Exit(code)


def status(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="Such as results/occlusion, or the folder of a run in it."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show the progress of a run, while it runs and after: what is done, running, failed, waiting.

    Example: bench status results/occlusion
    """
    from bench.commands import status as command

    if as_json:
        print_json(command.plain(path))
    else:
        command.show(path, console)


def validate(
    protocol: ProtocolFile,
    set_: Overrides = None,
    only: Only = None,
    limit: Limit = None,
    plugin: Plugins = None,
) -> None:
    """Check a protocol and print it with every setting stated, without running it.

    Example: bench validate protocols/cmu.yaml --set seeds=[0]
    """
    import yaml

    found = resolved(protocol, set_, only, limit)
    typer.echo(yaml.safe_dump(found.to_dict(), sort_keys=False, allow_unicode=True), nl=False)
