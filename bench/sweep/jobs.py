"""Fits and cells, the two kinds of job that a sweep runs."""

from collections.abc import Container
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bench.sweep.store import Store

DEGRADED = "mean"
"""The inference label of degraded windows, whose hidden values are filled with the train mean."""


UNSEEN = "unseen actions"
"""The mechanism label of cells that score windows of actions a model was not fitted on."""


Task = Literal["clean", "impute", "corrupt", "foreign", "unseen", "sample", "real", "forecast"]
"""What a cell computes.

``clean``: scores and reconstructions of clean test windows. ``impute``: completions (or degraded
windows) and their scores. ``corrupt``, ``foreign``, ``unseen``: scores of corrupted windows, of
those of another data set, of those of unseen actions. ``sample``: drawn windows, judged. ``real``:
test windows, judged in the same way. ``forecast``: predictions of the test windows' future.
"""


@dataclass(frozen=True)
class Fit:
    """One model or predictor fitted with one seed.

    Attributes:
        key: cache key of everything that its weights depend on.
        label: of the model or predictor in the protocol.
        seed: of initial weights and of the fit.
    """

    key: str
    label: str
    seed: int

    @property
    def name(self) -> str:
        """A name that is unique in a run, unlike ``key``, which two labels may share."""
        return f"{self.label}/{self.seed}"

    @property
    def title(self) -> str:
        """The job's name in messages."""
        return f"{self.label} (seed {self.seed})"

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the jobs that must have ended before this one."""
        return ()


@dataclass(frozen=True)
class Cell:
    """One task of one fitted model or predictor.

    Labels are empty where they do not apply.

    Attributes:
        key: cache key of everything that the result depends on.
        fit: key of the fit that it depends on.
        model: label of the model that scores or completes; of a forecast, the model that completed
            the past.
        seed: of the fit, of masks and corruptions, and of draws.
        task: what is computed.
        inference: label of the inference that completes.
        mechanism: label of the mechanism, corruption or foreign data set; empty for clean windows.
        level: of the mechanism or corruption, as tables show it.
        predictor: label of the predictor, of a forecast.
        past: key of the cell whose completion is predicted from; empty for the true past.
        judge: key of the fit of the classifier that judges windows; empty if none does.
        keep: whether completed, drawn or predicted motion is kept, for forecasts, figures or
            ``bench rescore``.
        windows: of which test windows the completion is kept for the viewer
            (``bench.sweep.exhibits``); empty for none.
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
    windows: str = ""

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the jobs that must have ended before this one."""
        return tuple(key for key in (self.fit, self.judge, self.past) if key)

    @property
    def rescorable(self) -> bool:
        """Whether its errors can be computed again from completed, drawn or predicted motion."""
        return self.task in ("sample", "forecast") or (
            self.task == "impute" and self.inference != DEGRADED
        )

    @property
    def learner(self) -> str:
        """The label of the model or predictor that is run."""
        return self.predictor or self.model

    @property
    def title(self) -> str:
        """The job's name in messages."""
        learners = (self.predictor, self.model, self.inference)
        parts = [*learners, self.mechanism or self.task, self.level, f"seed {self.seed}"]
        return " ".join(part for part in parts if part)


def finished(job: Fit | Cell, store: Store) -> bool:
    """Return whether the store has a job's result, and its kept motion if it keeps any."""
    if isinstance(job, Fit):
        return store.has_fit(job.key)
    kept = not job.keep or store.has_completion(job.key)
    shown = not job.windows or store.has_arrays(job.key, job.windows)
    return store.has_cell(job.key) and kept and shown


def skip_reason(cell: Cell, fits: Container[str], pasts: Container[str]) -> str:
    """Return which missing dependency a cell must be skipped for; empty if it can be computed.

    Args:
        cell: the cell.
        fits: keys of fits that are missing.
        pasts: keys of cells whose completions are missing.
    """
    if cell.fit in fits:
        return f"{cell.learner} (seed {cell.seed}) was not fitted"
    if cell.judge in fits:
        return f"its judge (seed {cell.seed}) was not fitted"
    if cell.past in pasts:
        return f"its past was not completed by {cell.model}"
    return ""


def job_to_dict(job: Fit | Cell) -> dict[str, Any]:
    """Return a job as plain values: its fields, and its ``kind``, ``fit`` or ``cell``."""
    return {"kind": type(job).__name__.lower(), **asdict(job)}


def job_from_dict(raw: dict[str, Any]) -> Fit | Cell:
    """Return the job that ``job_to_dict`` made plain values of."""
    fields = {name: value for name, value in raw.items() if name != "kind"}
    return Fit(**fields) if raw["kind"] == "fit" else Cell(**fields)
