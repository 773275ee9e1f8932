"""What a protocol asks for, and what of it is already there.

A fit is one model under one seed. A cell is the unit of result: one fitted model and one task on
windows, see ``Task``.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bench import metrics
from bench.code import code_version
from bench.datasets.base import Data
from bench.protocol import ModelEntry, Protocol
from bench.registry import CORRUPTIONS, INFERENCES, MECHANISMS, MODELS
from bench.store import Store, key_of
from models.base import Detector, GenerativeImputer, Imputer

DEGRADED = "mean"
"""The inference that leaves a degraded window as it is."""

UNSEEN = "unseen actions"
"""What stands for a mechanism where windows of actions that a model was not fitted on are scored"""

Task = Literal["clean", "impute", "corrupt", "foreign", "unseen", "sample"]
"""What a cell does: score and reconstruct clean test windows; complete (or leave degraded) and
score occluded ones; score corrupted ones, those of another data set, those of unseen actions; or
draw windows from the model."""


@dataclass(frozen=True)
class Fit:
    """One model under one seed."""

    key: str
    model: str
    seed: int

    @property
    def title(self) -> str:
        """A name for messages."""
        return f"{self.model} (seed {self.seed})"


@dataclass(frozen=True)
class Cell:
    """One fitted model and one task.

    ``mechanism`` is the label of what was done to the windows, of a mechanism, a corruption or a
    foreign data set, and empty on clean ones. ``level`` and ``inference`` are empty where they do
    not apply.
    """

    key: str
    fit: str
    model: str
    seed: int
    task: Task
    inference: str = ""
    mechanism: str = ""
    level: str = ""

    @property
    def title(self) -> str:
        """A name for messages."""
        what = self.mechanism or self.task
        parts = [self.model, self.inference, what, self.level, f"seed {self.seed}"]
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class Plan:
    """All fits and cells of a protocol on a data set."""

    fits: list[Fit]
    cells: list[Cell]

    def missing(self, store: Store) -> "Plan":
        """Return what is not in the store; fits that only finished cells need are left out."""
        cells = [cell for cell in self.cells if not store.has_cell(cell.key)]
        needed = {cell.fit for cell in cells}
        fits = [fit for fit in self.fits if fit.key in needed and not store.has_fit(fit.key)]
        return Plan(fits, cells)


def make(protocol: Protocol, data: Data, foreign: dict[str, str]) -> Plan:
    """Return every fit and cell, each with the key of all that influences its outcome.

    Args:
        protocol: what to do.
        data: on which windows.
        foreign: fingerprint of each foreign data set, by label.
    """
    fits, cells = [], []
    code = model_code(protocol)
    for seed in protocol.seeds:
        for label, entry in protocol.models.items():
            fit = Fit(
                key_of(
                    model=entry.model,
                    settings=entry.settings.model_dump(mode="json"),
                    code=code[label],
                    data=data.fingerprint,
                    train=protocol.scale.train,
                    valid=protocol.scale.valid,
                    train_on=entry.train_on,
                    seed=seed,
                ),
                label,
                seed,
            )
            fits.append(fit)
            cells += [
                _cell(protocol, fit, task, parts, **labels)
                for task, parts, labels in _tasks(protocol, entry, seed, foreign)
            ]
    return Plan(fits, cells)


def model_code(protocol: Protocol) -> dict[str, str]:
    """Return the code version of each model, by label."""
    return {
        label: code_version(MODELS.get(entry.model)) for label, entry in protocol.models.items()
    }


_Asked = tuple[Task, dict[str, Any], dict[str, str]]
"""A task, what its outcome hangs on beside fit and test windows, and a cell's labels."""


def _tasks(
    protocol: Protocol, entry: ModelEntry, seed: int, foreign: dict[str, str]
) -> Iterator[_Asked]:
    cls = MODELS.get(entry.model)
    if issubclass(cls, Detector):
        yield "clean", {}, {}
    if entry.train_on:
        yield "unseen", {"actions": entry.train_on}, {"mechanism": UNSEEN}
        return
    if issubclass(cls, GenerativeImputer):
        yield "sample", {"samples": protocol.scale.samples}, {}
    yield from _occluded(protocol, entry, seed)
    if issubclass(cls, Detector):
        yield from _corrupted(protocol, seed)
        for label, fingerprint in foreign.items():
            yield "foreign", {"foreign": fingerprint}, {"mechanism": label}


def _occluded(protocol: Protocol, entry: ModelEntry, seed: int) -> Iterator[_Asked]:
    for inference in _inferences(protocol, entry):
        how = describe_inference(protocol, inference)
        for label, occlusion in protocol.occlusion.items():
            code = code_version(MECHANISMS.get(occlusion.mechanism))
            for level in occlusion.levels:
                at = occlusion.at(level, seed).model_dump(mode="json")
                hidden = {"name": occlusion.mechanism, "code": code, **at}
                labels = {"inference": inference, "mechanism": label, "level": str(level)}
                yield "impute", {"hidden": hidden, "how": how}, labels


def _corrupted(protocol: Protocol, seed: int) -> Iterator[_Asked]:
    for label, corruption in protocol.corruption.items():
        cls = CORRUPTIONS.get(corruption.corruption)
        for level in corruption.levels:
            at = corruption.at(level, seed).model_dump(mode="json")
            done = {"name": corruption.corruption, "code": code_version(cls), **at}
            yield "corrupt", {"done": done}, {"mechanism": label, "level": corruption.label(level)}


def _inferences(protocol: Protocol, entry: ModelEntry) -> list[str]:
    """Return the labels of what completes with a model; one without a choice has an empty one."""
    cls = MODELS.get(entry.model)
    if issubclass(cls, GenerativeImputer):
        chosen = protocol.inference if entry.inference is None else entry.inference
        return [DEGRADED, *(label for label in chosen if label != DEGRADED)]
    if issubclass(cls, Imputer):
        return [""]
    return [DEGRADED]


def _cell(protocol: Protocol, fit: Fit, task: Task, parts: dict[str, Any], **labels: str) -> Cell:
    key = key_of(
        fit=fit.key,
        task=task,
        test=protocol.scale.test,
        code=code_version(metrics),
        seed=fit.seed,
        **parts,
    )
    return Cell(key, fit.key, fit.model, fit.seed, task, **labels)


def describe_inference(protocol: Protocol, label: str) -> dict[str, Any] | None:
    """Return what an inference does, as plain values with its code version."""
    if not label:
        return None
    inference = protocol.inference.get(label) or INFERENCES.get(label)()
    settings = inference.model_dump(mode="json", exclude={"batch"})
    return {"name": inference.name, "code": code_version(type(inference)), **settings}


def to_plain(job: Fit | Cell) -> dict[str, Any]:
    """Return a job as plain values for a trial."""
    return {"kind": type(job).__name__.lower(), **asdict(job)}


def from_plain(plain: dict[str, Any]) -> Fit | Cell:
    """Undo ``to_plain``."""
    fields = {name: value for name, value in plain.items() if name != "kind"}
    return Fit(**fields) if plain["kind"] == "fit" else Cell(**fields)
