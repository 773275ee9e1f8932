"""What all commands share: strict parsing of arguments, and the console that they print to."""

import json
import sys
from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand, TyperOption

from bench.core.errors import InputError, legible


class Strict(TyperCommand):
    """A command that refuses arguments that an unset shell variable or a slip leaves behind."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse an empty argument, and an option given twice of which only one would count."""
        values, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for one in self.get_params(ctx):
            value = values.get(one.name)
            option = one if isinstance(one, TyperOption) else None
            name = option.opts[0] if option else str(one.name).upper()
            if value == "" or (isinstance(value, list | tuple) and "" in value):
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
    """A console that shows control characters in names instead of obeying them."""

    def render_str(self, text: str, **more: Any) -> Text:
        """Return text with control characters escaped, except line ends."""
        return super().render_str("\n".join(map(legible, text.split("\n"))), **more)


# Piped output is not squeezed into 80 columns.
console = Terminal(width=None if sys.stdout is not None and sys.stdout.isatty() else 160)


def print_json(value: Any) -> None:
    """Print plain values as JSON."""
    typer.echo(json.dumps(value, indent=1, allow_nan=False))


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """The user stopped a run."""


def progress_console() -> Console | None:
    """Return the console for progress bars; None where output is piped."""
    return console if console.is_terminal else None
