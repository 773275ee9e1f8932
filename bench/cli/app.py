"""The application that commands register with, its console, and how strict it is with words."""

import sys
from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand, TyperOption

from bench.core.errors import InputError, legible


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


# Piped output is not squeezed into 80 columns.
console = Terminal(width=None if sys.stdout.isatty() else 160)


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """The user stopped a run."""


def progress_console() -> Console | None:
    """Return where progress is shown; piped output would have empty lines instead."""
    return console if console.is_terminal else None
