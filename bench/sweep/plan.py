"""The fits and cells of a protocol with their cache keys, and which of them are still to do.

A fit is one model or predictor with one seed. A cell is the unit of result: one task (``Task``) of
one fitted model or predictor.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from bench import metrics
from bench.core.code_versions import code_version, own_version
from bench.core.registry import CORRUPTIONS, INFERENCES, MECHANISMS
from bench.metrics import judging
from bench.motion.mechanisms.base import Level
from bench.protocol.schema import ModelEntry, OcclusionEntry, PredictorEntry, Protocol
from bench.sweep import exhibits
from bench.sweep.jobs import DEGRADED, UNSEEN, Cell, Fit, Task, finished, skip_reason
from bench.sweep.store import Store, key_of
from models.base import Classifier, ConditionalImputer, Detector, GenerativeImputer, Imputer

TASK_MODULES: dict[Task, tuple[str, ...]] = {
    "impute": ("bench.sweep.occlusion",),
    "forecast": ("bench.sweep.forecasts", "bench.sweep.occlusion"),
    "sample": ("bench.sweep.samples",),
    "real": ("bench.sweep.samples",),
}
"""Modules that compute only some tasks, in addition to ``bench.sweep.cells``."""


@dataclass(frozen=True)
class Plan:
    """All fits and cells of a protocol on a data set."""

    fits: list[Fit]
    cells: list[Cell]

    @property
    def jobs(self) -> list[Fit | Cell]:
        """Fits and cells, fits first."""
        return [*self.fits, *self.cells]

    def to_do(self, store: Store, retry: bool = False) -> "ToDo":
        """Return the jobs without a result in the store, without fits that no such cell needs.

        Args:
            store: the store of results.
            retry: whether jobs that failed before are to be run again.
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
            elif reason := skip_reason(cell, failed.keys(), failed.keys() | skipped.keys()):
                skipped[cell.key] = reason
            else:
                cells.append(cell)
        return ToDo(fits, cells, list(failed.values()), skipped)


@dataclass(frozen=True)
class ToDo:
    """The jobs of a plan that have no result yet.

    Attributes:
        fits: fits to do.
        cells: cells to do.
        failed: jobs that failed before and are not retried.
        skipped: for cells that depend on failed jobs, the reason why they are skipped, by key.
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
    """Return every fit and cell, each with the key of everything that its result depends on.

    Args:
        protocol: the experiment.
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
                    seed=seed if entry.cls.seeded else None,
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
                # Not all that is kept: drawn windows and completions for figures are kept too.
                completed += [
                    cell
                    for cell in mine
                    if cell.task == "impute"
                    and _is_predicted_from(protocol, cell.model, cell.inference)
                ]
            else:
                cells += _forecasts(protocol, fit, completed)
    # Where a fit does not depend on the seed, that of the first seed serves all.
    first: dict[tuple[str, str], Fit] = {}
    for fit in fits:
        first.setdefault((fit.label, fit.key), fit)
    return Plan(list(first.values()), cells)


def learner_code(protocol: Protocol) -> dict[str, str]:
    """Return the code version of each model and predictor, by label."""
    return {label: code_version(entry.cls) for label, entry in protocol.learners.items()}


def _fitted_on(protocol: Protocol, entry: ModelEntry | PredictorEntry) -> dict[str, Any]:
    """Return the parts of a fit's key that describe its training data besides the windows."""
    if isinstance(entry, ModelEntry):
        labelled = issubclass(entry.cls, ConditionalImputer | Classifier)
        return {
            "train_on": entry.train_on,
            **({"actions": protocol.actions} if labelled else {}),
            **({"masks": _masks(protocol)} if entry.cls.uses_masks else {}),
        }
    return {
        "degraded": [
            _hidden(protocol.occlusion[label], level, 0)
            for label in entry.degraded
            for level in protocol.occlusion[label].levels
        ]
    }


def _masks(protocol: Protocol) -> list[dict[str, Any]]:
    """Return ``training_masks`` as plain values, with the labels, which seed what is drawn."""
    return [
        {"label": label, **_hidden(entry, level, 0)}
        for label, entry in sorted(protocol.training_masks.items())
        for level in entry.levels
    ]


_Request = tuple[Task, dict[str, Any], dict[str, str]]
"""A task, the parts of its key besides fit and test windows, and a cell's labels."""


def _tasks(
    protocol: Protocol, entry: ModelEntry, seed: int, foreign: dict[str, str], judge: str
) -> Iterator[_Request]:
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
    if entry.train_on and issubclass(cls, Detector):
        yield "unseen", {"actions": entry.train_on}, {"mechanism": UNSEEN}
        return
    if issubclass(cls, GenerativeImputer):
        yield "sample", judged, {"judge": judge}
    yield from _occluded(protocol, entry, seed)
    if issubclass(cls, Detector):
        yield from _corrupted(protocol, seed)
        for label, fingerprint in foreign.items():
            yield "foreign", {"foreign": fingerprint}, {"mechanism": label}


def _occluded(protocol: Protocol, entry: ModelEntry, seed: int) -> Iterator[_Request]:
    for inference in _inferences(protocol, entry):
        how = describe_inference(protocol, inference)
        for label, occlusion in protocol.occlusion.items():
            for level in occlusion.levels:
                hidden = _hidden(occlusion, level, seed)
                labels = {"inference": inference, "mechanism": label, "level": str(level)}
                yield "impute", {"hidden": hidden, "how": how}, labels


def _hidden(entry: OcclusionEntry, level: Level, seed: int) -> dict[str, Any]:
    """Return a mechanism at a level and seed as plain values, with its code version."""
    code = code_version(MECHANISMS.get(entry.mechanism))
    at = entry.at(level, seed).model_dump(mode="json")
    return {"name": entry.mechanism, "code": code, **at}


def _forecasts(protocol: Protocol, fit: Fit, completed: list[Cell]) -> Iterator[Cell]:
    """Yield a predictor's cells: from the true past, and from each completed one."""
    horizons = {"horizons": protocol.horizons}
    yield _cell(protocol, fit, "forecast", horizons, model="", predictor=fit.label)
    for cell in completed:
        names = ("model", "inference", "mechanism", "level")
        labels = {name: getattr(cell, name) for name in names} | {"predictor": fit.label}
        parts = horizons | {"past": cell.key}
        yield _cell(protocol, fit, "forecast", parts, past=cell.key, **labels)


def _corrupted(protocol: Protocol, seed: int) -> Iterator[_Request]:
    for label, corruption in protocol.corruption.items():
        cls = CORRUPTIONS.get(corruption.corruption)
        for level in corruption.levels:
            at = corruption.at(level, seed).model_dump(mode="json")
            done = {"name": corruption.corruption, "code": code_version(cls), **at}
            yield "corrupt", {"done": done}, {"mechanism": label, "level": corruption.label(level)}


def _inferences(protocol: Protocol, entry: ModelEntry) -> list[str]:
    """Return the labels of a model's inferences; an empty one for models without a choice."""
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
        # Of their imports, metrics are above; the others change no value or are other parts.
        cells=[
            own_version(module) for module in ("bench.sweep.cells", *TASK_MODULES.get(task, ()))
        ],
        seed=fit.seed,
        **parts,
    )
    cell = Cell(key, fit.key, seed=fit.seed, task=task, keep=False, **labels)
    return replace(cell, keep=_is_kept(protocol, cell), windows=exhibits.kept_by(protocol, cell))


def _is_kept(protocol: Protocol, cell: Cell) -> bool:
    """Return whether a cell's completed, drawn or predicted motion is kept."""
    if protocol.resources.keep_completions == "all" and cell.rescorable:
        return True
    if cell.task == "sample":
        return bool(protocol.actions)
    return cell.task == "impute" and (
        _is_predicted_from(protocol, cell.model, cell.inference) or _is_shown(protocol, cell)
    )


def _is_predicted_from(protocol: Protocol, model: str, inference: str) -> bool:
    """Return whether predictors are given a model's completions with an inference."""
    imputers = protocol.forecast.imputers
    chosen = imputers is None or model in imputers
    return bool(protocol.predictors) and chosen and inference != DEGRADED


def _is_shown(protocol: Protocol, cell: Cell) -> bool:
    """Return whether a figure shows a cell's completion."""
    labels = (cell.model, cell.inference, cell.mechanism, cell.level)
    return any(labels == shown.cell for shown in protocol.show)


def describe_inference(protocol: Protocol, label: str) -> dict[str, Any] | None:
    """Return an inference as plain values, with its code version; None for an empty label."""
    if not label:
        return None
    inference = protocol.inference.get(label) or INFERENCES.get(label)()
    settings = inference.model_dump(mode="json", exclude={"batch"})
    return {"name": inference.name, "code": code_version(type(inference)), **settings}
