"""Runs made apart, joined into one as if one machine had run all.

Everything is made of what the folders of the runs keep. Runs can be joined that are of the same
data, set alike but for what they list (``protocol.combining``), and made with the same commit and
versions; a cell that several have must be the same bit for bit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bench.analysis import records
from bench.analysis.results import Run
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
"""What tells one cell of a run from another."""
NOT_HAD = "none of the merged runs has it"
SHOWN = 3


@dataclass(frozen=True)
class Part:
    """One of the runs to join: where it lies, and what it was made from."""

    folder: Path
    contents: Contents

    @property
    def run(self) -> Run:
        """What it says."""
        return self.contents.run


@dataclass(frozen=True)
class Merged:
    """Several runs as one.

    Attributes:
        parts: the runs.
        contents: what the folder of the whole is made from.
        differences: what is otherwise in the parts and was to be allowed.
    """

    parts: list[Part]
    contents: Contents
    differences: list[str]

    def draw(self, folder: Path) -> None:
        """Take the pictures of motion over from the parts: they need what only those have."""
        runs = [(part.folder, part.run.protocol) for part in self.parts]
        gallery.copy_drawn(self.contents.run.protocol, runs, folder)


def merge(
    folders: Sequence[Path], whole: Protocol | None = None, allow_differences: bool = False
) -> Merged:
    """Join runs.

    Args:
        folders: of the runs.
        whole: the protocol that they are parts of; None: what they ask for together.
        allow_differences: whether versions, and values of cells that several runs have, may be
            otherwise; of each cell the first run's values stand.

    Raises:
        InputError: a folder is not that of a run, or the runs cannot be joined.
    """
    parts = [Part(folder, read(folder)) for folder in _distinct(folders)]
    protocol = _protocol(parts, whole)
    foreign = _same_data(parts)
    made = plan.make(protocol, str(parts[0].run.facts["data"].get("fingerprint")), foreign)
    made, statuses = _jobs(made, parts)
    values, unlike = _values(made, parts)
    differences = [*_circumstances(parts), *unlike]
    if differences and not allow_differences:
        raise InputError(
            f"{differences[0]}; make them alike, or say --allow-differences, which keeps the first "
            "run's values and says so in the provenance"
        )
    label = str(parts[0].run.facts["data"]["label"])
    values = values.assign(dataset=protocol.labelled(label))[records.WINDOW_COLUMNS]
    facts = _provenance(protocol, made, statuses, parts, foreign) | {"differences": differences}
    return Merged(parts, Contents(Run(protocol, values, facts), made, statuses), differences)


def _distinct(folders: Sequence[Path]) -> Sequence[Path]:
    if len(folders) < 2:
        raise InputError("merge: one run is whole as it is; name two or more")
    for number, folder in enumerate(folders):
        for other in folders[:number]:
            if folder.resolve() == other.resolve():
                raise InputError(f"{folder}: the same run as {other}; name each once")
    return folders


def _protocol(parts: Sequence[Part], whole: Protocol | None) -> Protocol:
    """Return the protocol of the joined run."""
    if whole is None:
        return combining.combined({str(part.folder): part.run.protocol for part in parts})
    for part in parts:
        if setting := combining.beyond(whole, part.run.protocol):
            raise InputError(
                f"{part.folder}: {setting} is not as in --protocol, so the run is no part of it"
            )
    return whole


def _same_data(parts: Sequence[Part]) -> dict[str, str]:
    """Return the fingerprints of foreign data; raises InputError if runs are of other data."""
    seen: dict[str, tuple[str, Part]] = {}
    for part in parts:
        facts = part.run.facts["data"]
        for name, key in {"the data": facts.get("fingerprint"), **facts.get("foreign", {})}.items():
            known, first = seen.setdefault(name, (key, part))
            if known != key:
                raise InputError(
                    f"{part.folder}: {name} are not those of {first.folder}: other files, or read "
                    "by other code; run it again on the same"
                )
    return {name: key for name, (key, _) in seen.items() if name != "the data"}


def _jobs(made: Plan, parts: Sequence[Part]) -> tuple[Plan, list[Status]]:
    """Return the plan with the keys that jobs have in the parts, and how they ended, once by key.

    A job that ended well in one part did so, whatever became of it in others.
    """
    known: dict[Fit | Cell, tuple[Fit | Cell, Status]] = {}
    for part in parts:
        statuses = {status.key: status for status in part.contents.statuses}
        for job in part.contents.plan.jobs:
            status = statuses[job.key]
            before = known.get(_asked(job))
            if before is None or (status.status == "done" and before[1].status != "done"):
                known[_asked(job)] = job, status
    told = {
        job: known.get(_asked(job), (job, Status(job.key, job.title, "skipped", error=NOT_HAD)))
        for job in made.jobs
    }
    fits = [fit for one in made.fits if isinstance(fit := told[one][0], Fit)]
    cells = [cell for one in made.cells if isinstance(cell := told[one][0], Cell)]
    return Plan(fits, cells), list({status.key: status for _, status in told.values()}.values())


def _asked(job: Fit | Cell) -> Fit | Cell:
    """Return what a job is about, whatever made it."""
    if isinstance(job, Fit):
        return replace(job, key="")
    return replace(job, key="", fit="", past="", judge="", keep=False)


def _values(made: Plan, parts: Sequence[Part]) -> tuple[pd.DataFrame, list[str]]:
    """Return per-window values in the plan's order, and which cells parts do not have alike."""
    order: dict[Any, int] = {records.labels(cell): number for number, cell in enumerate(made.cells)}
    kept: dict[int, tuple[pd.DataFrame, Part]] = {}
    unlike: dict[tuple[str, str], list[str]] = {}
    for part in parts:
        for labels, table in part.run.values.groupby(LABELS, sort=False):
            number = order.get(labels)
            if number is None:
                raise InputError(
                    f"{part.folder}: has values of {' '.join(map(str, labels))}, of which its "
                    "protocol says nothing"
                )
            table = table.drop(columns="dataset").reset_index(drop=True)
            before, first = kept.setdefault(number, (table, part))
            if not before.equals(table):
                pair = str(first.folder), str(part.folder)
                unlike.setdefault(pair, []).append(made.cells[number].title)
    tables = [kept[number][0] for number in sorted(kept)]
    empty = pd.DataFrame(columns=records.WINDOW_COLUMNS)
    values = pd.concat(tables, ignore_index=True) if tables else empty
    return values, [_unlike(*pair, titles) for pair, titles in unlike.items()]


def _unlike(first: str, second: str, titles: list[str]) -> str:
    more = f" and {len(titles) - SHOWN} more" if len(titles) > SHOWN else ""
    return f"{second}: not alike in {first}: {', '.join(titles[:SHOWN])}{more}"


def _circumstances(parts: Sequence[Part]) -> Iterator[str]:
    """Yield in words what runs were not made with alike: commit, versions and plugins."""
    seen: dict[str, tuple[str, Part]] = {}
    for part in parts:
        facts = {name: part.run.facts.get(name) for name in ("commit", "versions", "plugins")}
        for name, value in combining.flat(facts):
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
    """Return the provenance of the whole, with that of each part."""
    fits: dict[str, Any] = {}
    for part in reversed(parts):
        fits |= part.run.facts["fits"]
    return provenance.collect() | {
        **{name: _common(parts, name) for name in ("commit", "versions", "hardware", "executor")},
        "plugins": {k: v for part in parts for k, v in part.run.facts.get("plugins", {}).items()},
        "data": parts[0].run.facts["data"]
        | {
            "foreign": foreign,
            "foreign_left_out": [label for label in protocol.foreign if label not in foreign],
        },
        "seeds": list(protocol.seeds),
        "smoke_run": protocol.limit is not None,
        "fits": {fit.name: fits[fit.name] for fit in made.fits if fit.name in fits},
        "failures": [vars(outcome) for outcome in outcomes(statuses)],
        "merged": [
            {"folder": str(part.folder.resolve()), **part.run.facts}
            | {"resources": part.run.protocol.resources.model_dump(mode="json")}
            for part in parts
        ],
    }


def _common(parts: Sequence[Part], name: str) -> Any:
    """Return what the provenance of all parts says alike, or a list of what each says."""
    told = [part.run.facts.get(name) for part in parts]
    return told[0] if all(one == told[0] for one in told) else told
