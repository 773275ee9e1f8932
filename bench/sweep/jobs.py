"""Fits and cells, the two kinds of job that a sweep does."""

from collections.abc import Container
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bench.sweep.store import Store

DEGRADED = "mean"
"""The inference that leaves a degraded window as it is."""


UNSEEN = "unseen actions"
"""What stands for a mechanism where windows of actions that a model was not fitted on are scored"""


Task = Literal["clean", "impute", "corrupt", "foreign", "unseen", "sample", "real", "forecast"]
"""What a cell does: score and reconstruct clean test windows; complete (or leave degraded) and
score occluded ones; score corrupted ones, those of another data set, those of unseen actions; draw
windows from the model and judge them; judge real ones the same way; or foretell how test windows go
on."""


@dataclass(frozen=True)
class Fit:
    """One model or predictor under one seed."""

    key: str
    label: str
    seed: int

    @property
    def name(self) -> str:
        """What tells it from the others of a run; two labels may have one key."""
        return f"{self.label}/{self.seed}"

    @property
    def title(self) -> str:
        """A name for messages."""
        return f"{self.label} (seed {self.seed})"

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the jobs that must have ended before."""
        return ()


@dataclass(frozen=True)
class Cell:
    """One fitted model or predictor and one task.

    ``mechanism`` is the label of what was done to the windows, of a mechanism, a corruption or a
    foreign data set, and empty on clean ones. Labels are empty where they do not apply.

    Attributes:
        key: of all that influences the outcome.
        fit: key of the fit that it needs.
        model: who scores or completes; for a forecast, who completed the past.
        seed: of the fit and of what is hidden.
        task: what is done.
        inference: how the model completes.
        mechanism: what was done to the windows.
        level: how much of it.
        predictor: who foretells.
        past: key of the cell whose completion is foretold from; empty for the true past.
        judge: key of the classifier's fit that judges drawn windows; empty if nothing does.
        keep: whether the completion, what was drawn or what was foretold is kept, for forecasts,
            figures, or errors to be computed anew.
    """

    key: str
    fit: str
    model: str
    seed: int
    task: Task
    inference: str = ""
    mechanism: str = ""
    level: str = ""
    predictor: str = ""
    past: str = ""
    judge: str = ""
    keep: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the jobs that must have ended before."""
        return tuple(key for key in (self.fit, self.judge, self.past) if key)

    @property
    def rescorable(self) -> bool:
        """Whether errors hang on what was completed, drawn or foretold."""
        return self.task in ("sample", "forecast") or (
            self.task == "impute" and self.inference != DEGRADED
        )

    @property
    def learner(self) -> str:
        """The label of what it needs fitted."""
        return self.predictor or self.model

    @property
    def title(self) -> str:
        """A name for messages."""
        what = self.mechanism or self.task
        who = (self.predictor, self.model, self.inference)
        parts = [*who, what, self.level, f"seed {self.seed}"]
        return " ".join(part for part in parts if part)


def finished(job: Fit | Cell, store: Store) -> bool:
    """Return whether the store has what a job makes."""
    if isinstance(job, Fit):
        return store.has_fit(job.key)
    return store.has_cell(job.key) and (not job.keep or store.has_completion(job.key))


def lacking(cell: Cell, fits: Container[str], pasts: Container[str]) -> str:
    """Return what a cell needs of the ``fits`` and ``pasts`` that are not there; empty: nothing."""
    if cell.fit in fits:
        return f"{cell.learner} (seed {cell.seed}) was not fitted"
    if cell.judge in fits:
        return f"its judge (seed {cell.seed}) was not fitted"
    if cell.past in pasts:
        return f"its past was not completed by {cell.model}"
    return ""


def job_to_dict(job: Fit | Cell) -> dict[str, Any]:
    """Return a job as plain values for a trial."""
    return {"kind": type(job).__name__.lower(), **asdict(job)}


def job_from_dict(plain: dict[str, Any]) -> Fit | Cell:
    """Undo ``job_to_dict``."""
    fields = {name: value for name, value in plain.items() if name != "kind"}
    return Fit(**fields) if plain["kind"] == "fit" else Cell(**fields)
