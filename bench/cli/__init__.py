"""The command line: one file per group of commands, and the options that they share.

It reads what the user typed, calls ``bench.commands`` and prints. Nothing is computed here, and
nothing that computes is imported before a command needs it: ``bench --help`` answers at once.
"""

import sys

import typer

from bench.cli import data, doctor, fill, listing, results, run, show_mask, speed, view
from bench.cli.app import App, Interrupted
from bench.core.errors import InputError
from bench.core.surroundings import settle

__all__ = ["app", "main"]

app = App(
    help="Compare generative imputers of human motion.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("status")(run.status)
app.command("validate")(run.validate)
app.command("list")(listing.list_)
app.command("show-mask")(show_mask.show_mask)
app.command("show")(results.show)
app.command("view")(view.view)
app.command("plot")(view.plot)
app.command("fill")(fill.fill)
app.command("claims")(results.claims)
app.command("compare")(results.compare)
app.command("export")(results.export)
app.command("merge")(results.merge)
app.command("rescore")(results.rescore)
app.command("describe", hidden=True)(data.describe)
app.command("speed")(speed.speed)
app.command("doctor")(doctor.doctor)

_data = App(help="Motion: what there is, what it is worth, where to get it.")
_data.command("list")(data.list_)
_data.command("describe")(data.describe)
_data.command("check")(data.check)
_data.command("get")(data.get)
app.add_typer(_data, name="data", no_args_is_help=True)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; input that can be mended ends in one line and exit code 2."""
    settle()
    try:
        sys.exit(app(arguments, prog_name="bench", standalone_mode=False))
    except InputError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
    except typer.TyperException as error:
        if error.format_message():  # nothing is wrong where help was shown for want of a command
            print(f"bench: {InputError(_usage_error(error))}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"bench: {InputError(_file_error(error))}", file=sys.stderr)
        sys.exit(2)
    except Interrupted:
        note = "interrupted; what had finished is kept, the same command goes on from there"
        print(f"bench: {note}", file=sys.stderr)
        sys.exit(130)


def _usage_error(error: typer.TyperException) -> str:
    """Return what is wrong with a command's arguments, and which help describes them."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "bench"
    return f"{' '.join(error.format_message().split()).rstrip('.')}; see {command} --help"


def _file_error(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)
