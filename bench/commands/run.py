"""One execution of a protocol: plan, sweep, and hand on what was found."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.analysis import records
from bench.analysis.results import Run
from bench.core import provenance
from bench.core.errors import InputError, WriteError, did_you_mean
from bench.core.files import remove_stale
from bench.core.registry import plugins
from bench.datasets.base import Data, Dataset
from bench.datasets.build import load
from bench.protocol.schema import Protocol
from bench.report import gallery, run_folder
from bench.report.printing import SHOWN_FAILURES, print_run
from bench.sweep import cluster, executions, executors, plan, times
from bench.sweep.status import Status, now
from bench.sweep.store import Store
from bench.sweep.workspace import Workspace

SHOWN_NAMES = 40


@dataclass(frozen=True)
class Options:
    """What the command line adds to a protocol.

    Attributes:
        results: folder of runs and of the store.
        data_root: where real data lie, if anywhere.
        executor: ray or local.
        address: of a running Ray cluster; None starts a local Ray.
        dry_run: stop after the plan.
        strict: whether a file of motion that cannot be used is an error.
        retry_failed: whether what failed before is tried again.
    """

    results: Path
    data_root: Path | None = None
    executor: executors.Executor = "ray"
    address: str | None = None
    dry_run: bool = False
    strict: bool = False
    retry_failed: bool = False


@dataclass(frozen=True)
class _Work:
    """What one execution is about."""

    protocol: Protocol
    options: Options
    data: Data
    foreign: dict[str, str]
    plan: plan.Plan
    store: Store

    @property
    def folder(self) -> Path:
        """Where runs of the protocol lie."""
        return self.options.results / self.protocol.folder


def run(protocol: Protocol, options: Options, console: Console) -> int:
    """Run what is missing of a protocol and write its tables and figures.

    Returns:
        The exit code: 0, or 1 if some job failed (the others' results are written all the same).

    Raises:
        InputError: the data cannot be used, or the executor cannot be had.
    """
    store = Store(options.results / ".store")
    check_device(protocol)
    remove_stale(options.results)

    def loaded(dataset: Dataset) -> Data:
        # Piped output would have empty lines in place of a bar.
        bars = console if console.is_terminal else None
        return load(dataset, options.data_root, store.windows, options.strict, bars)

    data = loaded(protocol.dataset)
    others = {
        label: loaded(other)
        for label, other in protocol.foreign.items()
        if _is_there(label, other, options, console)
    }
    foreign = {label: other.fingerprint for label, other in others.items()}
    _check_actions(protocol, data)
    whole = plan.make(protocol, data.fingerprint, foreign)
    to_do = whole.to_do(store, options.retry_failed)
    for one in (data, *others.values()):
        _print_left_out(one, console)
    _print_plan(protocol, data, whole, to_do, console)
    if options.dry_run:
        return 0
    work = _Work(protocol, options, data, foreign, whole, store)
    with _followed(work, to_do, console) as execution:
        _sweep(work, to_do, console)
        spent = times.overhead(executions.statuses_of(whole.cells, store), execution.since)
        made = _contents(work, spent)
        written, found = run_folder.write(made, options.results, partial(_draw, work))
        execution.end(work.folder, "finished", written.name)
    code = print_run(found, written, made.outcomes, console)
    if spent:
        console.print(str(spent))
    return code


@contextmanager
def _followed(work: _Work, to_do: plan.ToDo, console: Console) -> Iterator[executions.Execution]:
    """Let ``bench status`` tell of the block."""
    execution = executions.begin(work.protocol.name, work.folder, work.plan, to_do)
    if to_do.cells:
        told = f"to follow it: python -m bench status {work.folder}"
        console.print(told, soft_wrap=True, markup=False)
    try:
        yield execution
    except KeyboardInterrupt:
        execution.end(work.folder, "interrupted")
        raise
    except InputError as error:
        with suppress(WriteError):
            execution.end(work.folder, f"stopped ({error})")
        raise


def _is_there(label: str, dataset: Dataset, options: Options, console: Console) -> bool:
    """Return whether there is foreign motion; say so if not, or raise InputError if ``strict``.

    Who has one corpus need not have another: the rest of a protocol stands without it.
    """
    try:
        dataset.sources(options.data_root)
    except InputError as error:
        if options.strict:
            raise
        told = f"[yellow]foreign.{escape(label)} left out:[/] {escape(str(error))}"
        console.print(told, soft_wrap=True)
        return False
    return True


def check_device(protocol: Protocol) -> None:
    """Raise InputError if the protocol demands a GPU and torch sees none."""
    import torch

    if protocol.resources.device == "cuda" and not torch.cuda.is_available():
        raise InputError("resources.device: cuda asked for, but torch sees no GPU; use auto or cpu")


def _check_actions(protocol: Protocol, data: Data) -> None:
    """Raise InputError if models are to be fitted on, or told, actions that windows have not."""
    known = set(data.splits["train"].index["action"])
    for action in protocol.actions:
        if action not in known:
            raise InputError(f"actions: no train window of '{action}'{did_you_mean(action, known)}")
    test = data.splits["test"].thin(protocol.scale.test)
    if protocol.actions and not set(protocol.actions) & set(test.index["action"]):
        raise InputError(
            "actions: no test window is of any of them; raise scale.test or name others"
        )
    for label, entry in protocol.models.items():
        for action in entry.train_on or ():
            if action not in known:
                near = did_you_mean(action, known)
                raise InputError(f"models.{label}.train_on: no train window of '{action}'{near}")


def _sweep(work: _Work, to_do: plan.ToDo, console: Console) -> None:
    """Do what is to do; raise KeyboardInterrupt if the user stopped it."""
    _mark(work, to_do)
    if not to_do.cells:
        return
    resources = work.protocol.resources
    workspace = Workspace(
        protocol=work.protocol.to_dict(),
        store_folder=str(work.store.folder.resolve()),
        data=work.data.fingerprint,
        code=plan.learner_code(work.protocol),
        foreign=work.foreign,
        device=resources.device,
        plugins=tuple(map(str, plugins().values())),
    )
    executor = work.options.executor
    files = list(plugins().values())
    with (
        _letting_go(workspace, to_do),
        cluster.joined(work.options.address, resources, work.store.folder, files, console)
        if executor == "ray"
        else nullcontext(),
    ):
        trials = executors.trials(work.protocol, to_do.fits, to_do.cells)
        executors.run(workspace, trials, executor, console)
        # A worker that was killed while it wrote has left its draft behind.
        remove_stale(work.options.results)


@contextmanager
def _letting_go(workspace: Workspace, to_do: plan.ToDo) -> Iterator[None]:
    """Where the user stops the block, tell of its jobs, once no worker is left, that none runs."""
    try:
        yield
    except KeyboardInterrupt:
        workspace.release(to_do.jobs)
        raise


def _mark(work: _Work, to_do: plan.ToDo) -> None:
    """Make jobs to do ones that nobody has begun, and mark those skipped that need failed ones."""
    statuses = work.store.statuses
    for job in to_do.jobs:
        known = statuses.read(job.key)
        if known is not None and known.status in ("failed", "skipped"):
            statuses.forget(job.key)
    for cell in work.plan.cells:
        if reason := to_do.skipped.get(cell.key):
            statuses.write(Status(cell.key, cell.title, "skipped", now(), error=reason))


def _contents(work: _Work, spent: times.Overhead | None) -> run_folder.Contents:
    """Return what the store has of a run, to be written to its folder."""
    label = work.protocol.labelled(work.data.label)
    statuses = executions.statuses_of(work.plan.jobs, work.store)
    values = records.windows(work.plan, work.store, label)
    facts = _provenance(work, run_folder.outcomes(statuses))
    facts["overhead"] = asdict(spent) if spent else None
    return run_folder.Contents(Run(work.protocol, values, facts), work.plan, statuses)


def _draw(work: _Work, place: Path) -> None:
    """Draw what was completed and drawn of test windows into a folder."""
    test = work.data.splits["test"].thin(work.protocol.scale.test)
    label = work.protocol.labelled(work.data.label)
    gallery.write(work.protocol, work.plan, work.store, test, place, label)


def _provenance(work: _Work, outcomes: list[Status]) -> dict[str, Any]:
    data, store = work.data, work.store
    return provenance.collect() | {
        "executor": work.options.executor,
        "plugins": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in plugins().values()
        },
        "data": {
            "name": data.name,
            "label": data.label,
            "synthetic": data.synthetic,
            "fingerprint": data.fingerprint,
            "foreign": work.foreign,
            "foreign_left_out": [
                label for label in work.protocol.foreign if label not in work.foreign
            ],
            "absent_files": data.absent,
            "shorter_than_a_window": data.short,
            "skipped_recordings": data.skipped,
            "windows_with_missing_values": data.incomplete,
            "windows": {split: len(windows) for split, windows in data.splits.items()},
        },
        "seeds": list(work.protocol.seeds),
        "smoke_run": work.protocol.limit is not None,
        "fits": {
            fit.name: {
                **store.fit_summary(fit.key),
                "key": fit.key,
                "model": fit.label,
            }
            for fit in work.plan.fits
            if store.has_fit(fit.key)
        },
        "failures": [vars(outcome) for outcome in outcomes],
    }


def _print_plan(
    protocol: Protocol, data: Data, whole: plan.Plan, to_do: plan.ToDo, console: Console
) -> None:
    counts = ", ".join(
        f"{split} {min(len(windows), getattr(protocol.scale, split) or len(windows))}"
        for split, windows in data.splits.items()
    )
    where = escape(protocol.labelled(data.label))
    console.print(f"[bold]{escape(protocol.name)}[/] on {where}: windows {counts}")
    table = Table("model", "parameters", "fits to do", "cells to do", "cells in all")
    for label, entry in protocol.learners.items():
        table.add_row(
            label + (" (control)" if entry.cls.control else ""),
            f"{protocol.parameters(label):,}",
            str(sum(fit.label == label for fit in to_do.fits)),
            str(sum(cell.learner == label for cell in to_do.cells)),
            str(sum(cell.learner == label for cell in whole.cells)),
        )
    console.print(table)
    failed = [job for job in to_do.failed if isinstance(job, plan.Cell)]
    done = len(whole.cells) - len(to_do.cells) - len(failed) - len(to_do.skipped)
    console.print(
        f"{len(to_do.fits)} fits and {len(to_do.cells)} cells to do, {done} cells already there"
    )
    if to_do.failed:
        console.print(
            f"[red]{len(to_do.failed) - len(failed)} fits and {len(failed)} cells failed before[/] "
            f"and are left alone, as {len(to_do.skipped)} cells that need them; --retry-failed "
            "tries them again",
            soft_wrap=True,
        )


def _print_left_out(data: Data, console: Console) -> None:
    """Print what of a data set is not in its windows, and why."""
    for what, names in (("absent files", data.absent), ("shorter than a window", data.short)):
        if names:
            more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
            told = escape(", ".join(names[:SHOWN_NAMES]))
            label = f"{data.name}, {what} ({len(names)}):"
            console.print(f"[yellow]{label}[/] {told}{more}", soft_wrap=True)
    if data.skipped:
        console.print(f"[yellow]{data.name}, left out, unusable ({len(data.skipped)}):[/]")
        for reason in list(data.skipped.values())[:SHOWN_FAILURES]:
            console.print(f"  {escape(reason)}", soft_wrap=True)
        if len(data.skipped) > SHOWN_FAILURES:
            rest = len(data.skipped) - SHOWN_FAILURES
            console.print(f"  and {rest} more; 'bench data describe {data.name}' names all")
    if data.incomplete:
        label = f"{data.name}, windows left out for missing values:"
        console.print(f"[yellow]{label}[/] {data.incomplete}")
