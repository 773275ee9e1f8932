"""``bench merge``: joins runs into one, as if one machine had run all of their jobs.

Only the folders of the runs are needed. Runs must have the same data, settings that can be combined
(``protocol.combining``), and the same commit and versions; cells that several of them have must be
identical bit for bit. Runs of several subject folds (``datasets.folds``) are joined fold by fold
first, then the folds (``commands.folds``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bench.analysis import records
from bench.analysis.results import Run
from bench.commands import folds
from bench.core import provenance
from bench.core.errors import InputError
from bench.protocol import combining
from bench.protocol.schema import Protocol
from bench.report import gallery
from bench.report.run_folder import Contents, outcomes, read
from bench.sweep import plan
from bench.sweep.jobs import Cell, Fit
from bench.sweep.plan import Plan
from bench.sweep.status import Status

LABELS = records.CELL[1:]
"""The columns that identify a cell of a run."""
MISSING = "none of the merged runs has it"
SHOWN = 3
"""Cells that a message names; it counts the others."""


@dataclass(frozen=True)
class Part:
    """One of the runs to join: its folder and the contents of it."""

    folder: Path
    contents: Contents

    @property
    def run(self) -> Run:
        """The run's protocol, values and provenance."""
        return self.contents.run


@dataclass(frozen=True)
class Merged:
    """Several runs joined into one.

    Attributes:
        parts: the runs.
        contents: the contents of the joined run's folder.
        differences: messages about the differences between the parts that were allowed.
    """

    parts: list[Part]
    contents: Contents
    differences: list[str]

    def draw(self, folder: Path) -> None:
        """Copy the pictures of motion from the parts: drawing them needs the parts' stores."""
        runs = [(part.folder, part.run.protocol) for part in self.parts]
        gallery.copy_drawn(self.contents.run.protocol, runs, folder)


def merge(
    folders: Sequence[Path], whole: Protocol | None = None, allow_differences: bool = False
) -> Merged:
    """Join runs.

    Args:
        folders: of the runs, two or more.
        whole: the protocol that they are parts of; None for the combination of theirs.
        allow_differences: whether versions, and values of cells that several runs have, may
            differ; the first run's values of a cell are kept.

    Raises:
        InputError: a folder is not that of a run, or the runs cannot be joined.
    """
    parts = [Part(folder, read(folder)) for folder in _distinct(folders)]
    groups: dict[tuple[int, ...], list[Part]] = {}
    for part in parts:
        groups.setdefault(part.run.protocol.dataset.folds, []).append(part)
    protocol = _protocol(parts, whole, folds.joint({str(p.folder): p.run.protocol for p in parts}))
    found = {
        numbers: _joined(group, folds.of_fold(protocol, numbers))
        for numbers, group in sorted(groups.items())
    }
    differences = [*_circumstances(parts), *(text for _, said in found.values() for text in said)]
    if differences and not allow_differences:
        raise InputError(
            f"{differences[0]}; run them with the same, or give --allow-differences, which keeps "
            "the first run's values and records the differences in the provenance"
        )
    made = folds.join({numbers: one for numbers, (one, _) in found.items()}, protocol)
    facts = made.run.facts | _sources(parts) | {"differences": differences}
    made = replace(made, run=replace(made.run, facts=facts))
    return Merged(parts, made, differences)


def _joined(parts: Sequence[Part], protocol: Protocol) -> tuple[Contents, list[str]]:
    """Return runs of one fold, or without folds, as one, and messages about cells that differ."""
    foreign = _same_data(parts)
    made = plan.make(protocol, str(parts[0].run.facts["data"].get("fingerprint")), foreign)
    made, statuses = _jobs(made, parts)
    values, conflicts = _values(made, parts)
    label = str(parts[0].run.facts["data"]["label"])
    values = values.assign(dataset=protocol.labelled(label))[records.WINDOW_COLUMNS]
    facts = _provenance(protocol, made, statuses, parts, foreign)
    return Contents(Run(protocol, values, facts), made, statuses), conflicts


def _distinct(folders: Sequence[Path]) -> Sequence[Path]:
    if len(folders) < 2:
        raise InputError("merge: name two or more runs")
    for number, folder in enumerate(folders):
        for other in folders[:number]:
            if folder.resolve() == other.resolve():
                raise InputError(f"{folder}: the same run as {other}; name each once")
    return folders


def _protocol(parts: Sequence[Part], whole: Protocol | None, fold: folds.Fold | None) -> Protocol:
    """Return the protocol of the joined run, which is of ``fold``."""
    protocols = {str(part.folder): folds.with_fold(part.run.protocol, fold) for part in parts}
    if whole is None:
        return combining.combined(protocols)
    if whole.dataset.fold is None:
        whole = folds.with_fold(whole, fold)
    for part, protocol in zip(parts, protocols.values(), strict=True):
        if setting := combining.first_mismatch(whole, protocol):
            raise InputError(
                f"{part.folder}: {setting} differs from --protocol, so the run is no part of it"
            )
    return whole


def _same_data(parts: Sequence[Part]) -> dict[str, str]:
    """Return the fingerprints of foreign data, by label; raises InputError if data differ."""
    seen: dict[str, tuple[str, Part]] = {}
    for part in parts:
        facts = part.run.facts["data"]
        for name, key in {"the data": facts.get("fingerprint"), **facts.get("foreign", {})}.items():
            known, first = seen.setdefault(name, (key, part))
            if known != key:
                raise InputError(
                    f"{part.folder}: {name} differ from those of {first.folder}: other files, or "
                    "read by other code; run it again on the same"
                )
    return {name: key for name, (key, _) in seen.items() if name != "the data"}


def _jobs(made: Plan, parts: Sequence[Part]) -> tuple[Plan, list[Status]]:
    """Return the plan with the keys that jobs have in the parts, and one status per key.

    A job is done if it is done in any part.
    """
    known: dict[Fit | Cell, tuple[Fit | Cell, Status]] = {}
    for part in parts:
        statuses = {status.key: status for status in part.contents.statuses}
        for job in part.contents.plan.jobs:
            status = statuses[job.key]
            before = known.get(_without_keys(job))
            if before is None or (status.status == "done" and before[1].status != "done"):
                known[_without_keys(job)] = job, status
    found = {
        job: known.get(
            _without_keys(job), (job, Status(job.key, job.title, "skipped", error=MISSING))
        )
        for job in made.jobs
    }
    fits = [fit for one in made.fits if isinstance(fit := found[one][0], Fit)]
    cells = [cell for one in made.cells if isinstance(cell := found[one][0], Cell)]
    return Plan(fits, cells), list({status.key: status for _, status in found.values()}.values())


def _without_keys(job: Fit | Cell) -> Fit | Cell:
    """Return a job's labels alone, by which jobs of different plans are matched."""
    if isinstance(job, Fit):
        return replace(job, key="")
    return replace(job, key="", fit="", past="", judge="", keep=False, windows="")


def _values(made: Plan, parts: Sequence[Part]) -> tuple[pd.DataFrame, list[str]]:
    """Return per-window values in the plan's order, and messages about cells that differ."""
    order: dict[Any, int] = {records.labels(cell): number for number, cell in enumerate(made.cells)}
    kept: dict[int, tuple[pd.DataFrame, Part]] = {}
    conflicts: dict[tuple[str, str], list[str]] = {}
    for part in parts:
        for labels, table in part.run.values.groupby(LABELS, sort=False):
            number = order.get(labels)
            if number is None:
                raise InputError(
                    f"{part.folder}: has values of {' '.join(map(str, labels))}, which is not in "
                    "its protocol"
                )
            table = table.drop(columns="dataset").reset_index(drop=True)
            before, first = kept.setdefault(number, (table, part))
            if not before.equals(table):
                pair = str(first.folder), str(part.folder)
                conflicts.setdefault(pair, []).append(made.cells[number].title)
    tables = [kept[number][0] for number in sorted(kept)]
    empty = pd.DataFrame(columns=records.WINDOW_COLUMNS)
    values = pd.concat(tables, ignore_index=True) if tables else empty
    return values, [_conflict(*pair, titles) for pair, titles in conflicts.items()]


def _conflict(first: str, second: str, titles: list[str]) -> str:
    """Return the message about cells with values that differ between two runs."""
    more = f" and {len(titles) - SHOWN} more" if len(titles) > SHOWN else ""
    return f"{second}: values differ from {first}: {', '.join(titles[:SHOWN])}{more}"


def _circumstances(parts: Sequence[Part]) -> Iterator[str]:
    """Yield messages about commits, versions and plugins that differ between runs."""
    seen: dict[str, tuple[str, Part]] = {}
    for part in parts:
        facts = {name: part.run.facts.get(name) for name in ("commit", "versions", "plugins")}
        for name, value in combining.flatten(facts):
            known, first = seen.setdefault(name, (value, part))
            if known != value:
                yield f"{part.folder}: {name} is {value}, but {known} in {first.folder}"


def _provenance(
    protocol: Protocol,
    made: Plan,
    statuses: list[Status],
    parts: Sequence[Part],
    foreign: dict[str, str],
) -> dict[str, Any]:
    """Return the provenance of the joined run, with that of each part."""
    fits: dict[str, Any] = {}
    for part in reversed(parts):
        fits |= part.run.facts["fits"]
    return provenance.collect() | {
        "data": parts[0].run.facts["data"]
        | {
            "foreign": foreign,
            "foreign_left_out": [label for label in protocol.foreign if label not in foreign],
        },
        "seeds": list(protocol.seeds),
        "smoke_run": protocol.limit is not None,
        "fits": {fit.name: fits[fit.name] for fit in made.fits if fit.name in fits},
        "failures": [vars(outcome) for outcome in outcomes(statuses)],
    }


def _sources(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the entries of the provenance about all parts of a joined run."""
    return {
        **{name: _common(parts, name) for name in ("commit", "versions", "hardware", "executor")},
        "plugins": {k: v for part in parts for k, v in part.run.facts.get("plugins", {}).items()},
        "merged": [
            {"folder": str(part.folder.resolve()), **part.run.facts}
            | {"resources": part.run.protocol.resources.model_dump(mode="json")}
            for part in parts
        ],
    }


def _common(parts: Sequence[Part], name: str) -> Any:
    """Return an entry of the provenance if it is equal in all parts, else a list of them."""
    values = [part.run.facts.get(name) for part in parts]
    return values[0] if all(value == values[0] for value in values) else values
