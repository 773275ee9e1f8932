"""Runs jobs as trials, on Ray or in this process; both run the same functions.

Starting a Ray trial costs seconds, so jobs that are short share one: all cells of a fit, and all
fits that train nothing. The store is the truth about what is done; Ray is only asked to run what
is missing, and a trial whose worker died is run again for what it had not finished.
"""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from bench.errors import InputError
from bench.plan import Cell, Fit, from_plain, to_plain
from bench.protocol import Protocol, Share
from bench.registry import MODELS
from bench.training import Progress
from bench.trials import Outcome, Workspace, available_cpus

Executor = Literal["ray", "local"]
WORKER_DEATHS = 2
LINE_SECONDS = 15.0


def trials_of_fits(protocol: Protocol, fits: Sequence[Fit]) -> list[list[dict[str, Any]]]:
    """Return fits by trial: one each for what trains, one for all that does not."""
    trained = [fit for fit in fits if MODELS.get(protocol.models[fit.model].model).trained]
    quick = [to_plain(fit) for fit in fits if fit not in trained]
    return [[to_plain(fit)] for fit in trained] + ([quick] if quick else [])


def trials_of_cells(cells: Sequence[Cell]) -> list[list[dict[str, Any]]]:
    """Return cells by trial: those of one scoring fit together, all the quick ones together."""

    def is_slow(cell: Cell) -> bool:
        return bool(cell.inference) or not cell.mechanism

    slow = sorted((cell for cell in cells if is_slow(cell)), key=lambda cell: cell.fit)
    trials = [[to_plain(cell) for cell in group] for _, group in groupby(slow, lambda c: c.fit)]
    # Cells of one fit stand together, so that its weights are read once.
    quick = sorted((cell for cell in cells if not is_slow(cell)), key=lambda cell: cell.fit)
    return trials + ([[to_plain(cell) for cell in quick]] if quick else [])


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
    with _bars(console) as bars:
        if executor == "local":
            return list(_here(title, workspace, trials, bars))
        return _on_ray(title, workspace, trials, share, bars)


def _here(
    title: str, workspace: Workspace, trials: list[list[dict[str, Any]]], bars: Bars
) -> Iterator[Outcome]:
    total = bars.add_task(title, total=sum(map(len, trials)), note="")
    rows: dict[str, TaskID] = {}

    def report(name: str, progress: Progress) -> None:
        if name not in rows:
            rows[name] = bars.add_task(name, total=progress.epochs, note="")
        bars.update(rows[name], completed=progress.epoch, note=describe(progress))

    for jobs in trials:
        for outcome in workspace.run(jobs, report):
            bars.advance(total)
            yield outcome


def _on_ray(
    title: str,
    workspace: Workspace,
    trials: list[list[dict[str, Any]]],
    share: Share,
    bars: Bars,
) -> list[Outcome]:
    from ray import tune

    placed = replace(workspace, threads=max(1, int(share.cpus)))
    jobs = [from_plain(job) for jobs in trials for job in jobs]
    total = bars.add_task(title, total=len(jobs), note="")

    def trainable(config: dict[str, Any], jobs: list[list[dict[str, Any]]]) -> dict[str, Any]:
        outcomes = placed.run(jobs[config["trial"]], _LinePrinter())
        return {"outcomes": [asdict(outcome) for outcome in outcomes]}

    class CountFinished(tune.Callback):
        last = 0.0

        def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
            if time.monotonic() - self.last > 1:
                self.last = time.monotonic()
                bars.update(total, completed=sum(workspace.finished(job) for job in jobs))

    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(trainable, jobs=trials), {"cpu": share.cpus, "gpu": share.gpus}
        ),
        param_space={"trial": tune.grid_search(list(range(len(trials))))},
        tune_config=tune.TuneConfig(trial_dirname_creator=lambda trial: trial.trial_id),
        run_config=tune.RunConfig(
            name=title,
            storage_path=str(Path(workspace.store).resolve() / "ray"),
            failure_config=tune.FailureConfig(max_failures=WORKER_DEATHS),
            callbacks=[CountFinished()],
            verbose=0,
        ),
    )
    told = {
        plain["key"]: Outcome(**plain)
        for result in tuner.fit()
        for plain in (result.metrics or {}).get("outcomes", [])
    }
    bars.update(total, completed=len(jobs))
    died = "its worker died"
    return [told.get(job.key) or Outcome(job.key, job.title, "failed", error=died) for job in jobs]


def start_ray(address: str | None, console: Console) -> None:
    """Start a local Ray, or join the cluster at ``address``; InputError if that cannot be."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise InputError(
            f"ray cannot be imported ({error}); install it or run with --executor local"
        ) from None
    project = str(Path(__file__).resolve().parent.parent)
    paths = os.pathsep.join(p for p in (project, os.environ.get("PYTHONPATH", "")) if p)
    try:
        ray.init(
            address=address,
            num_cpus=None if address else available_cpus(),
            include_dashboard=None if address else False,
            logging_level="error",
            runtime_env={"env_vars": {"PYTHONPATH": paths, "RAY_CHDIR_TO_TRIAL_DIR": "0"}},
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = address or "this machine"
        raise InputError(f"no Ray at {where}: {' '.join(str(error).split())}") from None
    have = ray.cluster_resources()
    console.print(f"Ray: {have.get('CPU', 0):g} CPUs, {have.get('GPU', 0):g} GPUs")


def check_share(share: Share, what: str) -> None:
    """Raise InputError if no machine of the running Ray could ever hold one trial."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(
        node.get("CPU", 0) >= share.cpus and node.get("GPU", 0) >= share.gpus for node in nodes
    ):
        raise InputError(
            f"resources.{what}: no machine of this Ray has {share.cpus:g} CPUs and "
            f"{share.gpus:g} GPUs free for one trial; ask for less"
        )


def stop_ray() -> None:
    """Leave Ray; a local one ends."""
    import ray

    ray.shutdown()


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


class _LinePrinter:
    """Reports fits as plain lines now and then: a worker has no terminal."""

    def __init__(self) -> None:
        self.printed = -LINE_SECONDS

    def __call__(self, name: str, progress: Progress) -> None:
        last = progress.epoch == progress.epochs
        if last or time.monotonic() - self.printed >= LINE_SECONDS:
            self.printed = time.monotonic()
            line = f"{name}: epoch {progress.epoch}/{progress.epochs}, {describe(progress)}"
            print(line, flush=True)


def _bars(console: Console) -> Bars:
    return Bars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=console,
    )

