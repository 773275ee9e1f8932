"""What a protocol asks for, and what of it is already there.

A fit is one model under one seed. A cell is one imputer, mechanism, level and seed; for a
generative model there is also one cell on clean windows, whose mechanism is empty, and one per
level that scores the degraded input as it is (inference ``mean``).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from bench import metrics
from bench.code import code_version
from bench.datasets.base import Data
from bench.motion.occlusion import Level
from bench.protocol import Protocol
from bench.registry import INFERENCES, MECHANISMS, MODELS
from bench.store import Store, key_of
from models.base import GenerativeImputer

DEGRADED = "mean"
"""The inference that leaves a degraded window as it is."""


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
    """One imputer, mechanism, level and seed; the last three strings are empty on clean windows."""

    key: str
    fit: str
    model: str
    seed: int
    inference: str
    mechanism: str
    level: str

    @property
    def title(self) -> str:
        """A name for messages."""
        parts = [self.model, self.inference, self.mechanism, self.level, f"seed {self.seed}"]
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


def make(protocol: Protocol, data: Data) -> Plan:
    """Return every fit and cell, each with the key of all that influences its outcome."""
    fits, cells = [], []
    code = model_code(protocol)
    for seed in protocol.seeds:
        for label, entry in protocol.models.items():
            cls = MODELS.get(entry.model)
            fit = Fit(
                key_of(
                    model=entry.model,
                    settings=entry.settings.model_dump(mode="json"),
                    code=code[label],
                    data=data.fingerprint,
                    train=protocol.scale.train,
                    valid=protocol.scale.valid,
                    seed=seed,
                ),
                label,
                seed,
            )
            fits.append(fit)
            generative = issubclass(cls, GenerativeImputer)
            cells += list(_cells(protocol, fit, generative))
    return Plan(fits, cells)


def model_code(protocol: Protocol) -> dict[str, str]:
    """Return the code version of each model, by label."""
    return {
        label: code_version(MODELS.get(entry.model)) for label, entry in protocol.models.items()
    }


def _cells(protocol: Protocol, fit: Fit, generative: bool) -> Iterator[Cell]:
    def cell(inference: str, mechanism: str, level: Level | None, **parts: Any) -> Cell:
        key = key_of(
            fit=fit.key,
            test=protocol.scale.test,
            code=code_version(metrics),
            seed=fit.seed,
            **parts,
        )
        stated = "" if level is None else str(level)
        return Cell(key, fit.key, fit.model, fit.seed, inference, mechanism, stated)

    if generative:
        yield cell("", "", None)
        inferences = [DEGRADED, *(label for label in protocol.inference if label != DEGRADED)]
    else:
        inferences = [""]
    for label, entry in protocol.occlusion.items():
        code = code_version(MECHANISMS.get(entry.mechanism))
        for level in entry.levels:
            hidden = {
                "name": entry.mechanism,
                **entry.at(level, fit.seed).model_dump(mode="json"),
            }
            for inference in inferences:
                how = describe_inference(protocol, inference)
                yield cell(inference, label, level, hidden=hidden, how=how, mechanism_code=code)


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
