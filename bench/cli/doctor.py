"""``bench doctor``: whether this machine is fit for runs."""

from pathlib import Path

import typer

from bench.cli.app import console, print_json
from bench.cli.options import DataRoot, Json, Results


def doctor(
    data_root: DataRoot = None, results: Results = Path("results"), as_json: Json = False
) -> None:
    """Examine this machine: versions, threads, GPU, Ray, data, disk, and how to mend what is wrong.

    The exit code is 1 if anything is wrong.

    Example: bench doctor --data-root ~/mocap
    """
    from bench.commands import doctor as command

    findings = command.examine(results, data_root)
    if as_json:
        print_json({"findings": [vars(one) for one in findings]})
    else:
        console.print(command.table(findings))
    raise typer.Exit(1 if any(one.state == "wrong" for one in findings) else 0)
