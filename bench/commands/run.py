"""``bench run``: one execution of a protocol, from the plan to the run's folder."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.analysis import records
from bench.analysis.results import Run
from bench.core import provenance
from bench.core.errors import InputError, WriteError, did_you_mean
from bench.core.files import remove_stale
from bench.core.notices import counts
from bench.core.registry import plugins
from bench.datasets.base import Data, Dataset
from bench.datasets.build import load
from bench.protocol.schema import Protocol
from bench.report import gallery, run_folder
from bench.report.printing import SHOWN_FAILURES, print_run, stages
from bench.sweep import cluster, executions, executors, plan, times
from bench.sweep.status import Status, now
from bench.sweep.store import Store
from bench.sweep.workspace import Workspace

SHOWN_NAMES = 40
"""Names of files that a line lists; it counts the others."""


@dataclass(frozen=True)
class Options:
    """What the command line adds to a protocol.

    Attributes:
        results: folder of runs and of the store.
        data_root: folder of real data; None if the protocol needs none.
        executor: ray or local.
        address: of a running Ray cluster; None starts a local Ray.
        dry_run: whether to stop after printing the plan.
        strict: whether an unusable file of motion, or missing foreign data, is an error.
        retry_failed: whether jobs that failed before are run again.
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
    """One execution: its protocol, options, data, plan and store."""

    protocol: Protocol
    options: Options
    data: Data
    foreign: dict[str, str]
    plan: plan.Plan
    store: Store

    @property
    def folder(self) -> Path:
        """The folder of the protocol's runs."""
        return self.options.results / self.protocol.folder


def run(protocol: Protocol, options: Options, console: Console) -> int:
    """Run the missing jobs of a protocol and write its tables and figures.

    Args:
        protocol: the experiment.
        options: what the command line adds to it.
        console: where to print.

    Returns:
        The exit code: 0, or 1 if a job failed (results of the others are written nevertheless).

    Raises:
        InputError: the data cannot be used, the executor is not available, or no GPU is.
        KeyboardInterrupt: the user stopped it; finished results are in the store.
        WriteError: results cannot be written.
    """
    store = Store(options.results / ".store")
    check_device(protocol)
    remove_stale(options.results)

    def loaded(dataset: Dataset) -> Data:
        # In piped output, progress bars would leave empty lines.
        bars = console if console.is_terminal else None
        return load(dataset, options.data_root, store.windows, options.strict, bars)

    data = loaded(protocol.dataset)
    others = {
        label: loaded(other)
        for label, other in protocol.foreign.items()
        if _is_available(label, other, options, console)
    }
    foreign = {label: other.fingerprint for label, other in others.items()}
    _check_actions(protocol, data)
    _check_masks(protocol, data)
    _check_shown(protocol, data)
    whole = plan.make(protocol, data.fingerprint, foreign)
    to_do = whole.to_do(store, options.retry_failed)
    for one in (data, *others.values()):
        _print_left_out(one, console)
    _print_plan(protocol, data, whole, to_do, console)
    if options.dry_run:
        return 0
    work = _Work(protocol, options, data, foreign, whole, store)
    with _recorded(work, to_do, console) as execution:
        _sweep(work, to_do, console)
        overhead = times.overhead(executions.statuses_of(whole.cells, store), execution.since)
        if not console.is_terminal:
            console.print("all cells have ended; making tables and figures", markup=False)
        with stages(console) as stage:
            stage("reading the cells")
            contents = _contents(work, overhead)
            draw = partial(_draw, work)
            written, tables = run_folder.write(contents, options.results, draw, stage)
        execution.end(work.folder, "finished", written.name)
    code = print_run(tables, written, contents.outcomes, console)
    if overhead:
        console.print(str(overhead))
    return code


@contextmanager
def _recorded(work: _Work, to_do: plan.ToDo, console: Console) -> Iterator[executions.Execution]:
    """Record the execution for ``bench status``, and how the block ends if it raises."""
    execution = executions.begin(work.protocol.name, work.folder, work.plan, to_do)
    if to_do.cells:
        message = f"to follow its progress: python -m bench status {work.folder}"
        console.print(message, soft_wrap=True, markup=False)
    try:
        yield execution
    except KeyboardInterrupt:
        execution.end(work.folder, "interrupted")
        raise
    except InputError as error:
        with suppress(WriteError):
            execution.end(work.folder, f"stopped ({error})")
        raise


def _is_available(label: str, dataset: Dataset, options: Options, console: Console) -> bool:
    """Return whether a foreign data set is available; print a warning if it is not.

    The rest of a protocol does not need it, and not every user has every corpus.

    Raises:
        InputError: it is not available, and the options are ``strict``.
    """
    try:
        dataset.sources(options.data_root)
    except InputError as error:
        if options.strict:
            raise
        warning = f"[yellow]foreign.{escape(label)} left out:[/] {escape(str(error))}"
        console.print(warning, soft_wrap=True)
        return False
    return True


def check_device(protocol: Protocol) -> None:
    """Raise InputError if the protocol requires a GPU and torch sees none."""
    import torch

    if protocol.resources.device == "cuda" and not torch.cuda.is_available():
        raise InputError("resources.device: cuda requested, but torch sees no GPU; use auto or cpu")


def _check_actions(protocol: Protocol, data: Data) -> None:
    """Raise InputError if the protocol names actions that no train or test window has."""
    known = set(data.splits["train"].index["action"])
    for action in protocol.actions:
        if action not in known:
            raise InputError(f"actions: no train window of '{action}'{did_you_mean(action, known)}")
    test = data.splits["test"].thin(protocol.scale.test)
    if protocol.actions and not set(protocol.actions) & set(test.index["action"]):
        raise InputError("actions: no test window has any of them; raise scale.test or name others")
    for label, entry in protocol.models.items():
        for action in entry.train_on or ():
            if action not in known:
                near = did_you_mean(action, known)
                raise InputError(f"models.{label}.train_on: no train window of '{action}'{near}")


def _check_masks(protocol: Protocol, data: Data) -> None:
    """Raise InputError if a mechanism needs what the test windows do not come with."""
    for label, entry in protocol.occlusion.items():
        for level in entry.levels:
            for seed in protocol.seeds:
                try:
                    entry.at(level, seed).check_windows(data.splits["test"])
                except ValueError as error:
                    raise InputError(f"occlusion.{label}: {error}") from None


def _check_shown(protocol: Protocol, data: Data) -> None:
    """Raise InputError if the protocol shows a test window that there is not."""
    count = len(data.splits["test"].thin(protocol.scale.test))
    for number in protocol.resources.show_windows:
        if number >= count:
            raise InputError(
                f"resources.show_windows: no test window {number}; they are numbered from 0 to "
                f"{count - 1}"
            )


def _sweep(work: _Work, to_do: plan.ToDo, console: Console) -> None:
    """Run the jobs to do; raises KeyboardInterrupt if the user stopped them."""
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
        _releasing(workspace, to_do),
        cluster.joined(work.options.address, resources, work.store.folder, files, console)
        if executor == "ray"
        else nullcontext(),
    ):
        trials = executors.trials(work.protocol, to_do.fits, to_do.cells)
        executors.run(workspace, trials, executor, console)
        # A worker that was killed while writing has left a temporary file.
        remove_stale(work.options.results)


@contextmanager
def _releasing(workspace: Workspace, to_do: plan.ToDo) -> Iterator[None]:
    """Delete the status of jobs that were running when the user stopped the block."""
    try:
        yield
    except KeyboardInterrupt:
        workspace.release(to_do.jobs)
        raise


def _mark(work: _Work, to_do: plan.ToDo) -> None:
    """Delete old statuses of the jobs to do, and mark cells that depend on failed jobs skipped."""
    statuses = work.store.statuses
    for job in to_do.jobs:
        known = statuses.read(job.key)
        if known is not None and known.status in ("failed", "skipped"):
            statuses.forget(job.key)
    for cell in work.plan.cells:
        if reason := to_do.skipped.get(cell.key):
            statuses.write(Status(cell.key, cell.title, "skipped", now(), error=reason))


def _contents(work: _Work, overhead: times.Overhead | None) -> run_folder.Contents:
    """Return the contents of the run's folder, read from the store."""
    label = work.protocol.labelled(work.data.label)
    statuses = executions.statuses_of(work.plan.jobs, work.store)
    fold = ",".join(map(str, work.protocol.dataset.folds))
    values = records.windows(work.plan, work.store, label, fold)
    facts = _provenance(work, run_folder.outcomes(statuses))
    facts["overhead"] = asdict(overhead) if overhead else None
    return run_folder.Contents(Run(work.protocol, values, facts), work.plan, statuses)


def _draw(work: _Work, place: Path) -> None:
    """Write pictures of completed and of drawn windows to a folder."""
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
            "recordings": _digest(data.recordings),
            "foreign": work.foreign,
            "foreign_left_out": [
                label for label in work.protocol.foreign if label not in work.foreign
            ],
            "absent_files": data.absent,
            "shorter_than_a_window": data.short,
            "skipped_recordings": data.skipped,
            "windows_with_missing_values": data.incomplete,
            "notices": data.notices,
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


def _digest(recordings: pd.DataFrame) -> str:
    """Return a hash of which recordings were read, whatever split they are in."""
    rows = recordings.drop(columns="split").sort_values("source").to_csv(index=False)
    return hashlib.sha256(rows.encode()).hexdigest()[:16]


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
        f"{len(to_do.fits)} fits and {len(to_do.cells)} cells to do, {done} cells already done"
    )
    if to_do.failed:
        console.print(
            f"[red]{len(to_do.failed) - len(failed)} fits and {len(failed)} cells failed before[/] "
            f"and are not retried, nor are {len(to_do.skipped)} cells that depend on them; "
            "--retry-failed runs them again",
            soft_wrap=True,
        )


def _print_left_out(data: Data, console: Console) -> None:
    """Print which files of a data set are not in its windows, and why."""
    for what, names in (("absent files", data.absent), ("shorter than a window", data.short)):
        if names:
            more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
            shown = escape(", ".join(names[:SHOWN_NAMES]))
            label = f"{data.name}, {what} ({len(names)}):"
            console.print(f"[yellow]{label}[/] {shown}{more}", soft_wrap=True)
    if data.skipped:
        console.print(f"[yellow]{data.name}, left out, unusable ({len(data.skipped)}):[/]")
        for reason in list(data.skipped.values())[:SHOWN_FAILURES]:
            console.print(f"  {escape(reason)}", soft_wrap=True)
        if len(data.skipped) > SHOWN_FAILURES:
            rest = len(data.skipped) - SHOWN_FAILURES
            console.print(f"  and {rest} more; 'bench data describe {data.name}' names all")
    for kind, count in counts(data.notices).items():
        first = next(found[kind] for found in data.notices.values() if kind in found)
        label = f"{data.name}, noticed in {count} files, {escape(kind)}:"
        console.print(f"[yellow]{label}[/] {escape(first)}", soft_wrap=True)
    if data.incomplete:
        label = f"{data.name}, windows left out for missing values:"
        console.print(f"[yellow]{label}[/] {data.incomplete}")
