"""What a protocol asks for, and what of it is already there.

A fit is one model or predictor under one seed. A cell is the unit of result: one of them, fitted,
and one task on windows, see ``Task``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from bench import metrics
from bench.core.code_versions import code_version, own_version
from bench.core.registry import CORRUPTIONS, INFERENCES, MECHANISMS
from bench.metrics import judging
from bench.motion.mechanisms.base import Level
from bench.protocol.schema import ModelEntry, PredictorEntry, Protocol
from bench.sweep.jobs import DEGRADED, UNSEEN, Cell, Fit, Task, finished, lacking
from bench.sweep.store import Store, key_of
from models.base import Classifier, ConditionalImputer, Detector, GenerativeImputer, Imputer

TASK_MODULES: dict[Task, tuple[str, ...]] = {
    "forecast": ("bench.sweep.forecasts",),
    "sample": ("bench.sweep.samples",),
    "real": ("bench.sweep.samples",),
}
"""Modules that compute some tasks alone, beside ``bench.sweep.cells``."""


@dataclass(frozen=True)
class Plan:
    """All fits and cells of a protocol on a data set."""

    fits: list[Fit]
    cells: list[Cell]

    @property
    def jobs(self) -> list[Fit | Cell]:
        """Fits and cells."""
        return [*self.fits, *self.cells]

    def to_do(self, store: Store, retry: bool = False) -> "ToDo":
        """Return what is not in the store; fits that only finished cells need are left out.

        Args:
            store: where to look.
            retry: whether what failed before is to do.
        """
        failed: dict[str, Fit | Cell] = {}
        skipped: dict[str, str] = {}
        fits, cells = [], []
        missing = [cell for cell in self.cells if not finished(cell, store)]
        needed = {key for cell in missing for key in (cell.fit, cell.judge)}

        def failed_before(job: Fit | Cell) -> bool:
            status = None if retry else store.statuses.read(job.key)
            return status is not None and status.status == "failed"

        for fit in self.fits:
            if fit.key in needed and not store.has_fit(fit.key):
                if failed_before(fit):
                    failed[fit.key] = fit
                else:
                    fits.append(fit)
        for cell in missing:
            if failed_before(cell):
                failed[cell.key] = cell
            elif reason := lacking(cell, failed.keys(), failed.keys() | skipped.keys()):
                skipped[cell.key] = reason
            else:
                cells.append(cell)
        return ToDo(fits, cells, list(failed.values()), skipped)


@dataclass(frozen=True)
class ToDo:
    """What of a plan is not there.

    Attributes:
        fits: to do.
        cells: to do.
        failed: what failed before and is not tried again.
        skipped: why cells cannot be done that need what failed, by key.
    """

    fits: list[Fit]
    cells: list[Cell]
    failed: list[Fit | Cell]
    skipped: dict[str, str]

    @property
    def jobs(self) -> list[Fit | Cell]:
        """Fits and cells to do."""
        return [*self.fits, *self.cells]


def make(protocol: Protocol, data: str, foreign: dict[str, str]) -> Plan:
    """Return every fit and cell, each with the key of all that influences its outcome.

    Args:
        protocol: what to do.
        data: fingerprint of the data set.
        foreign: fingerprint of each foreign data set, by label.
    """
    fits: list[Fit] = []
    cells: list[Cell] = []
    code = learner_code(protocol)
    for seed in protocol.seeds:
        completed: list[Cell] = []
        fitted = {
            label: Fit(
                key_of(
                    name=entry.cls.name,
                    settings=entry.settings.model_dump(mode="json"),
                    code=code[label],
                    data=data,
                    train=protocol.scale.train,
                    valid=protocol.scale.valid,
                    seed=seed,
                    **_fitted_on(protocol, entry),
                ),
                label,
                seed,
            )
            for label, entry in protocol.learners.items()
        }
        fits += fitted.values()
        judge = fitted[protocol.judge].key if protocol.judge else ""
        for label, entry in protocol.learners.items():
            fit = fitted[label]
            if isinstance(entry, ModelEntry):
                mine = [
                    _cell(protocol, fit, task, parts, model=label, **labels)
                    for task, parts, labels in _tasks(protocol, entry, seed, foreign, judge)
                ]
                cells += mine
                # Drawn windows, and completions for figures alone, are kept as well.
                completed += [
                    cell
                    for cell in mine
                    if cell.task == "impute" and _is_fed(protocol, cell.model, cell.inference)
                ]
            else:
                cells += _forecasts(protocol, fit, completed)
    return Plan(fits, cells)


def learner_code(protocol: Protocol) -> dict[str, str]:
    """Return the code version of each model and predictor, by label."""
    return {label: code_version(entry.cls) for label, entry in protocol.learners.items()}


def _fitted_on(protocol: Protocol, entry: ModelEntry | PredictorEntry) -> dict[str, Any]:
    """Return what a fit sees of the train windows, as far as that is not the same for all."""
    if isinstance(entry, ModelEntry):
        told = issubclass(entry.cls, ConditionalImputer | Classifier)
        return {"train_on": entry.train_on, **({"actions": protocol.actions} if told else {})}
    return {
        "degraded": [
            _hidden(protocol, label, level, 0)
            for label in entry.degraded
            for level in protocol.occlusion[label].levels
        ]
    }


_Asked = tuple[Task, dict[str, Any], dict[str, str]]
"""A task, what its outcome hangs on beside fit and test windows, and a cell's labels."""


def _tasks(
    protocol: Protocol, entry: ModelEntry, seed: int, foreign: dict[str, str], judge: str
) -> Iterator[_Asked]:
    cls = entry.cls
    judged = {
        "samples": protocol.scale.samples,
        "actions": protocol.actions,
        "judge": judge,
        "judging": code_version(judging),
    }
    if issubclass(cls, Classifier):
        yield "real", judged, {"judge": judge}
        return
    if issubclass(cls, Detector):
        yield "clean", {}, {}
    if entry.train_on:
        yield "unseen", {"actions": entry.train_on}, {"mechanism": UNSEEN}
        return
    if issubclass(cls, GenerativeImputer):
        yield "sample", judged, {"judge": judge}
    yield from _occluded(protocol, entry, seed)
    if issubclass(cls, Detector):
        yield from _corrupted(protocol, seed)
        for label, fingerprint in foreign.items():
            yield "foreign", {"foreign": fingerprint}, {"mechanism": label}


def _occluded(protocol: Protocol, entry: ModelEntry, seed: int) -> Iterator[_Asked]:
    for inference in _inferences(protocol, entry):
        how = describe_inference(protocol, inference)
        for label, occlusion in protocol.occlusion.items():
            for level in occlusion.levels:
                hidden = _hidden(protocol, label, level, seed)
                labels = {"inference": inference, "mechanism": label, "level": str(level)}
                yield "impute", {"hidden": hidden, "how": how}, labels


def _hidden(protocol: Protocol, label: str, level: Level, seed: int) -> dict[str, Any]:
    """Return what hides entries, as plain values with its code version."""
    entry = protocol.occlusion[label]
    code = code_version(MECHANISMS.get(entry.mechanism))
    at = entry.at(level, seed).model_dump(mode="json")
    return {"name": entry.mechanism, "code": code, **at}


def _forecasts(protocol: Protocol, fit: Fit, completed: list[Cell]) -> Iterator[Cell]:
    """Yield a predictor's cells: the true past, and each completion of it."""
    horizons = {"horizons": protocol.horizons}
    yield _cell(protocol, fit, "forecast", horizons, model="", predictor=fit.label)
    for cell in completed:
        names = ("model", "inference", "mechanism", "level")
        labels = {name: getattr(cell, name) for name in names} | {"predictor": fit.label}
        parts = horizons | {"past": cell.key}
        yield _cell(protocol, fit, "forecast", parts, past=cell.key, **labels)


def _corrupted(protocol: Protocol, seed: int) -> Iterator[_Asked]:
    for label, corruption in protocol.corruption.items():
        cls = CORRUPTIONS.get(corruption.corruption)
        for level in corruption.levels:
            at = corruption.at(level, seed).model_dump(mode="json")
            done = {"name": corruption.corruption, "code": code_version(cls), **at}
            yield "corrupt", {"done": done}, {"mechanism": label, "level": corruption.label(level)}


def _inferences(protocol: Protocol, entry: ModelEntry) -> list[str]:
    """Return the labels of what completes with a model; one without a choice has an empty one."""
    cls = entry.cls
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
        # What these modules import beside metrics changes no value, or is another part of the key.
        cells=[
            own_version(module) for module in ("bench.sweep.cells", *TASK_MODULES.get(task, ()))
        ],
        seed=fit.seed,
        **parts,
    )
    cell = Cell(key, fit.key, seed=fit.seed, task=task, keep=False, **labels)
    return replace(cell, keep=_is_kept(protocol, cell))


def _is_kept(protocol: Protocol, cell: Cell) -> bool:
    """Return whether more than a cell's values is kept."""
    if protocol.resources.keep_completions == "all" and cell.rescorable:
        return True
    if cell.task == "sample":
        return bool(protocol.actions)
    return cell.task == "impute" and (
        _is_fed(protocol, cell.model, cell.inference) or _is_shown(protocol, cell)
    )


def _is_fed(protocol: Protocol, model: str, inference: str) -> bool:
    """Return whether predictors are fed what a model completes."""
    imputers = protocol.forecast.imputers
    chosen = imputers is None or model in imputers
    return bool(protocol.predictors) and chosen and inference != DEGRADED


def _is_shown(protocol: Protocol, cell: Cell) -> bool:
    """Return whether a figure shows what a model completes."""
    asked = (cell.model, cell.inference, cell.mechanism, cell.level)
    return any(asked == shown.cell for shown in protocol.show)


def describe_inference(protocol: Protocol, label: str) -> dict[str, Any] | None:
    """Return what an inference does, as plain values with its code version."""
    if not label:
        return None
    inference = protocol.inference.get(label) or INFERENCES.get(label)()
    settings = inference.model_dump(mode="json", exclude={"batch"})
    return {"name": inference.name, "code": code_version(type(inference)), **settings}
