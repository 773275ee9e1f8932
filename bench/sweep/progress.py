"""The progress of a sweep, shown: bars on a terminal, else a line per fit and minute."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from bench.fitting.training import Progress
from bench.sweep.jobs import Fit

JOBS = "fits and cells"
LINE_SECONDS = 60.0
"""Seconds between two lines about the same thing where there is no terminal."""


def describe(progress: Progress) -> str:
    """Return a fit's progress in one line: losses, KL by level, speed, time left."""
    losses = progress.losses
    shown = (("loss", "loss"), ("valid", "valid_loss"))
    parts = [f"{name} {_short(losses[key])}" for name, key in shown if key in losses]
    levels = [f"{value:.1f}" for name, value in losses.items() if name.startswith("kl_z")]
    if levels:
        parts.append(f"KL {'/'.join(levels)}")
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    parts.append(f"{progress.windows_per_second:.0f} windows/s")
    parts.append(f"{minutes}:{seconds:02d} left")
    return ", ".join(parts)


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


class ProgressLines:
    """Writes lines of text, at most one a minute about each subject."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write
        self.last: dict[str, float] = {}

    def line(self, subject: str, text: str, always: bool = False) -> None:
        """Write ``subject: text``, unless there was a line about it less than a minute ago."""
        now = time.monotonic()
        if always or now - self.last.get(subject, -LINE_SECONDS) >= LINE_SECONDS:
            self.last[subject] = now
            self.write(f"{subject}: {text}")


class ProgressDisplay:
    """Shows how far a sweep is: bars on a terminal, else lines."""

    def __init__(self, total: int, console: Console) -> None:
        self.total = total
        self.terminal = console.is_terminal
        self.lines = ProgressLines(lambda line: console.print(line, markup=False, soft_wrap=True))
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not self.terminal,
        )
        self.all = self.bars.add_task(JOBS, total=total, note="")
        self.ended = 0
        self.fits: dict[str, TaskID] = {}

    def __enter__(self) -> "ProgressDisplay":
        self.bars.start()
        self.begun = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def count(self, more: int) -> None:
        """Show that more jobs have ended."""
        self.ended += more
        self.bars.update(self.all, completed=self.ended)
        if not self.terminal:
            seconds = time.monotonic() - self.begun
            self.lines.line(JOBS, f"{self.ended}/{self.total} after {seconds:.0f} s")

    def fit(self, fit: Fit, progress: Progress) -> None:
        """Show the progress of a fit."""
        name, last = fit.title, progress.epoch == progress.epochs
        if not self.terminal:
            text = f"epoch {progress.epoch}/{progress.epochs}, {describe(progress)}"
            self.lines.line(name, text, always=last)
            return
        if name not in self.fits:
            self.fits[name] = self.bars.add_task(name, total=progress.epochs, note="")
        self.bars.update(self.fits[name], completed=progress.epoch, note=describe(progress))
