"""Runs jobs as trials, on Ray or in this process; both run the same functions.

Starting a Ray trial costs seconds, so jobs that are short share one: all cells of a fit, and all
fits that train nothing. The store is the truth about what is done; Ray is only asked to run what
is missing, and a trial whose worker died is run again for what it had not finished.
"""

import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from bench.plan import Cell, Fit, from_plain, to_plain
from bench.protocol import Protocol, Share
from bench.training import Progress
from bench.trials import Outcome, Workspace
from models.base import GenerativeImputer

Executor = Literal["ray", "local"]
WORKER_DEATHS = 2
FORECASTS = 16
"""Forecasts take so many times less than other cells, and as many more share a trial."""
LINE_SECONDS = 15.0


def trials_of_fits(protocol: Protocol, fits: Sequence[Fit]) -> list[list[dict[str, Any]]]:
    """Return fits by trial: one each for what trains, one for all that does not."""
    trained = [fit for fit in fits if protocol.learners[fit.label].cls.trained]
    quick = [to_plain(fit) for fit in fits if fit not in trained]
    return [[to_plain(fit)] for fit in trained] + ([quick] if quick else [])


def trials_of_cells(
    protocol: Protocol, cells: Sequence[Cell], size: int
) -> list[list[dict[str, Any]]]:
    """Return cells by trial, at most ``size`` each, or ``FORECASTS`` times as many forecasts.

    Cells of one generative fit or predictor share trials, so that its weights are read once.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        alone = cell.predictor or issubclass(protocol.models[cell.model].cls, GenerativeImputer)
        groups.setdefault(cell.fit if alone else "", []).append(cell)
    trials: list[list[dict[str, Any]]] = []
    for group in groups.values():
        step = size * (FORECASTS if group[0].predictor else 1)
        for start in range(0, len(group), step):
            trials.append([to_plain(cell) for cell in group[start : start + step]])
    return trials


def run(
    title: str,
    workspace: Workspace,
    trials: list[list[dict[str, Any]]],
    share: Share,
    executor: Executor,
    console: Console,
) -> list[Outcome]:
    """Run trials and return how every job of them ended."""
    if not trials:
        return []
    workspace = replace(workspace, threads=max(1, int(share.cpus)))
    with _Display(title, sum(map(len, trials)), console) as display:
        if executor == "local":
            return list(_here(workspace, trials, display))
        return _on_ray(title, workspace, trials, share, display)


def _here(
    workspace: Workspace, trials: list[list[dict[str, Any]]], display: "_Display"
) -> Iterator[Outcome]:
    ended = 0
    with _interrupts() as interrupted:
        for jobs in trials:
            for outcome in workspace.run(jobs, display.fit):
                if interrupted.is_set():
                    raise KeyboardInterrupt
                ended += 1
                display.count(ended)
                yield outcome


def _on_ray(
    title: str,
    workspace: Workspace,
    trials: list[list[dict[str, Any]]],
    share: Share,
    display: "_Display",
) -> list[Outcome]:
    from ray import tune

    jobs = [from_plain(job) for jobs in trials for job in jobs]

    def trial(config: dict[str, Any], jobs: list[list[dict[str, Any]]]) -> dict[str, Any]:
        outcomes = workspace.run(jobs[config["trial"]], _Lines(print))
        return {"outcomes": [asdict(outcome) for outcome in outcomes]}

    # What Tune writes is of no use afterwards: the store has every result.
    with tempfile.TemporaryDirectory(dir=workspace.store, prefix=".ray-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(trial, jobs=trials), {"cpu": share.cpus, "gpu": share.gpus}
            ),
            param_space={"trial": tune.grid_search(list(range(len(trials))))},
            tune_config=tune.TuneConfig(trial_dirname_creator=lambda trial: trial.trial_id),
            run_config=tune.RunConfig(
                name=title,
                storage_path=str(Path(scratch).resolve()),
                failure_config=tune.FailureConfig(max_failures=WORKER_DEATHS),
                verbose=0,
            ),
        )
        with _every_second(lambda: display.count(sum(map(workspace.finished, jobs)))):
            results = tuner.fit()
    return [
        outcome
        for result in (results[number] for number in range(len(results)))
        for outcome in _outcomes(result, trials[(result.config or {})["trial"]], workspace)
    ]


def _outcomes(result: Any, jobs: list[dict[str, Any]], workspace: Workspace) -> Iterator[Outcome]:
    """Yield how each job of a Ray trial ended, also where its worker did not live to tell."""
    told = {plain["key"]: plain for plain in (result.metrics or {}).get("outcomes", [])}
    reason = "its worker died"
    if result.error:
        reason = str(result.error).strip().splitlines()[-1]
    for job in map(from_plain, jobs):
        if job.key in told:
            yield Outcome(**told[job.key])
        elif workspace.finished(job):
            yield Outcome(job.key, job.title, "done")
        else:
            yield Outcome(job.key, job.title, "failed", error=reason)


def describe(progress: Progress) -> str:
    """Return a fit's progress in one line: losses, KL by level, speed, time left."""
    losses = progress.losses
    parts = [f"loss {losses['loss']:.0f}", f"valid {losses['valid_loss']:.0f}"]
    levels = [f"{value:.1f}" for name, value in losses.items() if name.startswith("kl_z")]
    if levels:
        parts.append(f"KL {'/'.join(levels)}")
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    parts.append(f"{progress.windows_per_second:.0f} windows/s")
    parts.append(f"{minutes}:{seconds:02d} left")
    return ", ".join(parts)


class _Lines:
    """Says how fits stand in plain lines, now and then: where there is no terminal."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write
        self.last = -LINE_SECONDS

    def __call__(self, name: str, progress: Progress) -> None:
        line = f"{name}: epoch {progress.epoch}/{progress.epochs}, {describe(progress)}"
        self.say(line, always=progress.epoch == progress.epochs)

    def say(self, line: str, always: bool = False) -> None:
        if always or time.monotonic() - self.last >= LINE_SECONDS:
            self.last = time.monotonic()
            self.write(line)


class _Display:
    """Shows how far a sweep is: bars on a terminal, else a line now and then."""

    def __init__(self, title: str, total: int, console: Console) -> None:
        self.title, self.total = title, total
        self.terminal = console.is_terminal
        self.lines = _Lines(lambda line: console.print(line, markup=False, soft_wrap=True))
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not self.terminal,
        )
        self.all = self.bars.add_task(title, total=total, note="")
        self.fits: dict[str, TaskID] = {}

    def __enter__(self) -> "_Display":
        self.bars.start()
        self.begun = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def count(self, ended: int) -> None:
        """Show how many jobs have ended."""
        self.bars.update(self.all, completed=ended)
        if not self.terminal:
            seconds = time.monotonic() - self.begun
            self.lines.say(f"{self.title}: {ended}/{self.total} after {seconds:.0f} s")

    def fit(self, name: str, progress: Progress) -> None:
        """Show how a fit stands."""
        if not self.terminal:
            self.lines(name, progress)
            return
        if name not in self.fits:
            self.fits[name] = self.bars.add_task(name, total=progress.epochs, note="")
        self.bars.update(self.fits[name], completed=progress.epoch, note=describe(progress))


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Give an event that tells whether the user interrupted.

    A KeyboardInterrupt raised while some libraries run their own code is lost or comes out as
    another error; the event is not.
    """
    seen = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return

    def remember(number: int, frame: FrameType | None) -> None:
        seen.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _every_second(action: Callable[[], None]) -> Iterator[None]:
    """Repeat an action while the block runs, and once more when it ends."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(1.0):
            action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        action()
