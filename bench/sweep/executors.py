"""Executors run jobs as trials, on Ray or in this process; both call the same functions.

A Ray trial has a cost of its own, so short jobs share one: all cells of a fit, and all fits that do
not train. The store alone says what is done and what failed; Ray runs the rest, and is started
again while workers die and fewer jobs remain.
"""

import logging
import multiprocessing
import os
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain, groupby
from multiprocessing.connection import Connection
from operator import attrgetter
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from rich.console import Console

from bench.core.errors import WriteError
from bench.core.files import temporary_prefix, writing
from bench.core.processes import end_with_parent, fork_server
from bench.fitting.training import Progress
from bench.protocol.schema import Protocol
from bench.sweep.jobs import Cell, Fit, job_from_dict, job_to_dict
from bench.sweep.progress import ProgressDisplay
from bench.sweep.worker import WORKER_DEATHS, Trial, Worker
from bench.sweep.workspace import Stopped, Workspace
from models.base import GenerativeImputer

Executor = Literal["ray", "local"]
FORECASTS = 16
"""Forecast cells take this many times less than others, so this many times more share a trial."""
AT_ONCE = 200
"""Trials that Ray may run at once, at least: several workers may share a CPU."""
SECOND = 1.0


def trials(protocol: Protocol, fits: Sequence[Fit], cells: Sequence[Cell]) -> list[Trial]:
    """Return jobs grouped into trials, dependencies first."""
    resources = protocol.resources
    forecasts = [cell for cell in cells if cell.task == "forecast"]
    others = [cell for cell in cells if cell.task != "forecast"]
    return [
        *(Trial(jobs, resources.fit) for jobs in _by_training(protocol, fits)),
        *(Trial(jobs, resources.evaluate) for jobs in _by_learner(protocol, others)),
        *(Trial(jobs, resources.evaluate) for jobs in _by_learner(protocol, forecasts)),
    ]


def _by_training(protocol: Protocol, fits: Sequence[Fit]) -> list[list[dict[str, Any]]]:
    """Return fits by trial: one each for what trains, one for all that does not."""

    def trains(fit: Fit) -> bool:
        return protocol.learners[fit.label].cls.trained

    quick = [job_to_dict(fit) for fit in fits if not trains(fit)]
    return [[job_to_dict(fit)] for fit in fits if trains(fit)] + ([quick] if quick else [])


def _by_learner(protocol: Protocol, cells: Sequence[Cell]) -> Iterator[list[dict[str, Any]]]:
    """Yield cells by trial, as many as the protocol says, or ``FORECASTS`` times as many forecasts.

    Cells of one generative fit or predictor share trials, so that its weights are read once.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        alone = cell.predictor or issubclass(protocol.models[cell.model].cls, GenerativeImputer)
        groups.setdefault(cell.fit if alone else "", []).append(cell)
    for group in groups.values():
        size = protocol.resources.cells_per_trial * (FORECASTS if group[0].predictor else 1)
        for start in range(0, len(group), size):
            yield [job_to_dict(cell) for cell in group[start : start + size]]


def run(
    workspace: Workspace, trials: Sequence[Trial], executor: Executor, console: Console
) -> None:
    """Run trials until every job of them has ended; the store says how.

    Raises:
        KeyboardInterrupt: the user stopped it; once: what was running has come to an end.
        WriteError: the store does not take what comes out.
    """
    resources = workspace.resolved.resources
    limited = resources.memory_gib or resources.fit_timeout_s or resources.cell_timeout_s
    stop = workspace.store.folder / f"{temporary_prefix('.stop-')}{secrets.token_hex(4)}"
    worker = executor == "ray" or bool(limited)
    placed = replace(workspace, stop=str(stop), worker=worker)
    with _stoppable(stop), ProgressDisplay(len(_jobs(trials)), console) as display:
        while left := _left(placed, trials):
            before = placed.statuses_of(_jobs(left))
            if executor == "ray":
                reason = _on_ray(placed, left, display)
            elif limited:
                reason = _in_a_process(placed, left, display)
            else:
                reason = _here(placed, left, display)
            if stop.exists():
                raise KeyboardInterrupt
            if _left(placed, left) == left and placed.statuses_of(_jobs(left)) == before:
                placed.mark_unreachable(_ready(_jobs(left)), reason)


def _jobs(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    return list(chain.from_iterable(trial.jobs for trial in trials))


def _left(workspace: Workspace, trials: Iterable[Trial]) -> list[Trial]:
    """Return trials with those of their jobs that have not ended."""
    left = (replace(trial, jobs=workspace.left(trial.jobs)) for trial in trials)
    return [trial for trial in left if trial.jobs]


def _ready(left: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those of the jobs left that need none of the others."""
    keys = {job["key"] for job in left}
    return [job for job in left if keys.isdisjoint(job_from_dict(job).needs)]


def _merged(trials: Iterable[Trial]) -> Iterator[Trial]:
    """Yield one trial for each run of trials that reserve the same share."""
    for _, some in groupby(trials, key=attrgetter("share")):
        same = list(some)
        yield replace(same[0], jobs=_jobs(same))


def _here(workspace: Workspace, trials: Sequence[Trial], display: ProgressDisplay) -> str:
    """Run trials in this process."""
    with suppress(Stopped):
        for trial in _merged(trials):
            for _ in Worker(workspace, display.fit).run(trial):
                display.count(1)
    return ""


def _in_a_process(workspace: Workspace, trials: Sequence[Trial], display: ProgressDisplay) -> str:
    """Run trials in a process of their own, which limits may end; return how it ended."""
    context = _processes()
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_as_child, args=(workspace, trials, sender))
    child.start()
    sender.close()
    try:
        with _counting(workspace, trials, display):
            child.join()
        with suppress(EOFError):
            raise WriteError(receiver.recv())
    finally:
        child.kill()
        child.join()
    return f"its process ended with code {child.exitcode}"


def _processes() -> Any:
    """Return a multiprocessing context; with a fork server that has imported all that is needed.

    A model that kills its process costs one start per attempt.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    return fork_server(["bench.sweep.worker"])


def _as_child(workspace: Workspace, trials: Sequence[Trial], sender: Connection) -> None:
    """Run trials in a child process; interruptions reach the parent alone."""
    end_with_parent()
    try:
        for trial in _merged(trials):
            for _ in Worker(workspace, workspace.keep_progress).run(trial):
                pass
    except Stopped:
        pass
    except WriteError as error:
        sender.send(str(error))


def _on_ray(workspace: Workspace, trials: Sequence[Trial], display: ProgressDisplay) -> str:
    """Run trials on Ray; return why some failed, if Ray knows."""
    import ray
    from ray import tune

    from bench.sweep.tune_hooks import DependencyOrder, StoreCallback

    def trial(config: dict[str, Any], all_trials: Sequence[Trial]) -> dict[str, Any]:
        try:
            for _ in Worker(workspace, workspace.keep_progress).run(all_trials[config["trial"]]):
                pass
        except Stopped:
            pass
        except WriteError as error:
            return {"unwritable": str(error)}
        return {"unwritable": ""}

    def reserved(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        share = trials[config["trial"]].share
        return tune.PlacementGroupFactory([{"CPU": share.cpus, "GPU": share.gpus}])

    # If Tune cannot save its own state, that is no error: the store reports a full disk.
    logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)
    watch = StoreCallback(workspace, trials)
    store = workspace.store.folder
    # What Tune writes is of no use afterwards: the store has every result.
    with (
        writing(store),
        tempfile.TemporaryDirectory(dir=store, prefix=temporary_prefix(".ray-")) as scratch,
    ):
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(trial, all_trials=trials), reserved),
            tune_config=tune.TuneConfig(
                search_alg=DependencyOrder(workspace, trials),
                num_samples=len(trials),
                max_concurrent_trials=max(AT_ONCE, int(ray.cluster_resources().get("CPU", 0))),
                # A new process for every trial would take as long to start as a trial's cells.
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(Path(scratch).resolve()),
                failure_config=tune.FailureConfig(max_failures=WORKER_DEATHS),
                stop=watch.stopper,
                callbacks=[watch],
                verbose=0,
            ),
        )
        with _counting(workspace, trials, display):
            results = tuner.fit()
    for result in map(results.__getitem__, range(len(results))):
        if message := (result.metrics or {}).get("unwritable"):
            raise WriteError(message)
    errors = [str(error).strip().splitlines()[-1] for error in results.errors]
    return errors[0] if errors else ""


@contextmanager
def _stoppable(stop: Path) -> Iterator[None]:
    """Make the first Ctrl-C leave the file ``stop``, and only the second one an interruption.

    Workers look for the file: they may be on other machines.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.exists():
            raise KeyboardInterrupt
        try:
            stop.touch()
        except OSError:
            raise KeyboardInterrupt from None
        # A handler must not print: it may have interrupted a print.
        os.write(2, b"\nbench: finishing what is running; Ctrl-C again stops now\n")

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        stop.unlink(missing_ok=True)


@contextmanager
def _counting(
    workspace: Workspace, trials: Sequence[Trial], display: ProgressDisplay
) -> Iterator[None]:
    """Show how many jobs have ended in other processes while the block runs, and at its end."""
    waiting = {job["key"]: job_from_dict(job) for job in _jobs(trials)}
    fits = {key: job for key, job in waiting.items() if isinstance(job, Fit)}
    over = threading.Event()

    def count() -> None:
        for key in [key for key in fits if key in waiting]:
            if progress := workspace.store.statuses.read_progress(key):
                display.fit(fits[key], Progress(**progress))
        ended = [key for key, job in waiting.items() if workspace.ended(job)]
        for key in ended:
            del waiting[key]
        display.count(len(ended))

    def repeat() -> None:
        pause = SECOND
        while not over.wait(pause):
            begun = time.monotonic()
            count()
            # Looking at very many jobs must not take much of the time.
            pause = max(SECOND, 20 * (time.monotonic() - begun))

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        count()
