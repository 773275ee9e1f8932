"""Cache keys change if anything changes that results depend on, and only then.

Both are tested by mutation: of every value of a resolved protocol, compared with a table of the
jobs that depend on it, and of every module of the project, in a copy that is edited.
"""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from bench.core.errors import InputError
from bench.core.registry import (
    CORRUPTIONS,
    DATASETS,
    INFERENCES,
    MECHANISMS,
    MODELS,
    PREDICTORS,
    REGISTRIES,
)
from bench.datasets.archive import File
from bench.datasets.base import Dataset, Source
from bench.datasets.build import _Fingerprints
from bench.datasets.synthetic import Synthetic
from bench.motion.corruptions.joint_swap import JointSwap
from bench.motion.corruptions.noise import Noise
from bench.motion.mechanisms.features import Features
from bench.protocol.resolving import load, resolve
from bench.protocol.schema import Protocol, Resources
from bench.sweep import plan
from bench.sweep.cells import Evaluator
from bench.sweep.jobs import Cell
from models.base import Classifier
from models.inference.map import Map
from tests.conftest import PROJECT, TINY, changed, walk

Job = tuple[str, ...]
Keys = dict[Job, str]


def base() -> dict[str, Any]:
    """Return a protocol with an example of every section and one seed, as resolved plain values."""
    raw = changed("seeds", [0])
    raw["occlusion"]["features"]["levels"] = [3, "10%"]
    raw["corruption"] = {"noise": {"levels": [5]}, "joint_swap": {"levels": ["10%"]}}
    raw["actions"] = ["walk", "jump"]
    raw["models"]["window_gaussian"] = {}
    raw["training_masks"] = {"joints": {"levels": [2]}, "gaps": {"levels": ["200 ms"]}}
    raw["models"]["action_classifier"] = {"epochs": 2}
    raw["models"]["conditional"] = {"model": "conditional_hgvae", "like": "hgvae"}
    raw["models"]["vae"]["inference"] = ["map"]
    raw["inference"]["again"] = {"inference": "reconstruct", "steps": 3}
    raw["forecast"] = {"horizons_ms": [80, 400], "imputers": ["linear", "vae"]}
    raw["references"] = ["mean"]
    raw["published"] = [{"predictor": "ltd", "source": "me", "mm": {"walk": [1, 2]}}]
    raw["published_imputation"] = [
        {"imputer": "theirs", "source": "me", "occlusion": "features", "errors": {"3": 1}}
    ]
    raw["show"] = [{"model": "linear", "mechanism": "features", "level": 3}]
    return resolve(raw).to_dict()


def fingerprint(dataset: Dataset, cache: Path) -> str:
    return _Fingerprints.computed(dataset, dataset.sources(None), None, cache, None).whole


def keys(protocol: Protocol, cache: Path) -> Keys:
    """Return the key of every fit and cell, by their labels."""
    data = fingerprint(protocol.dataset, cache)
    foreign = {label: fingerprint(other, cache) for label, other in protocol.foreign.items()}
    made = plan.make(protocol, data, foreign)
    fits: Keys = {("fit", fit.label, str(fit.seed)): fit.key for fit in made.fits}
    cells: Keys = {
        (
            *(cell.task, cell.model, str(cell.seed), cell.inference, cell.mechanism),
            *(cell.level, cell.predictor),
        ): cell.key
        for cell in made.cells
    }
    return fits | cells


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every value; a list is one value, unless it is a list of mappings."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from leaves(part, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, part in enumerate(value):
            yield from leaves(part, (*path, str(number)))
    else:
        yield path


ALL = "every fit and cell"
CELLS = "every cell of test windows, no fit"
OWN = "the fit of its entry and what depends on that, no other fit"
INFERENCE = "cells that its inference completes, and forecasts from them"
HIDDEN = "cells of its mechanism, and fits on pasts degraded by it"
MASKED = "fits of models that train on masks, and what depends on them"
DEGRADED = "fits on pasts degraded by its mechanism"
ODD = "cells of its corruption or foreign data"
FORECASTS = "forecasts"
DRAWN = "drawn windows, and real ones judged like them"
ACTIONS = "what uses labels of actions, and drawn windows"
NOTHING = "nothing"

DEPENDENTS = {
    "name": NOTHING,
    "description": NOTHING,
    "dataset.*": ALL,
    "models.*.inference": NOTHING,  # decides which cells exist, not their results
    "models.*": OWN,
    "predictors.*": OWN,
    "forecast.horizons_ms": FORECASTS,
    "forecast.imputers": NOTHING,
    "published.*": NOTHING,
    "published_imputation.*": NOTHING,
    "inference.*.batch": NOTHING,  # float32 rounding
    "inference.*": INFERENCE,
    "occlusion.*.levels": DEGRADED,
    "occlusion.*": HIDDEN,
    "training_masks.*": MASKED,
    "corruption.*.levels": NOTHING,
    "corruption.*": ODD,
    "foreign.*": ODD,
    "actions": ACTIONS,
    "show.*": NOTHING,
    "references": NOTHING,
    "comparisons.*": NOTHING,
    "seeds": NOTHING,  # another seed makes other cells; see below
    "scale.train": ALL,
    "scale.valid": ALL,
    "scale.test": CELLS,
    "scale.samples": DRAWN,
    "limit": ALL,
    "resources.*": NOTHING,
}
"""What depends on a value, by a pattern of its path; the first matching pattern counts.

Settings of entries of models, predictors, inference, occlusion, corruption and foreign are covered:
a new setting of a class needs no line. A new section of protocols does, or a test here fails.
"""

ALTERNATIVES: dict[str, Any] = {
    "resources.show_windows": [1],
    "dataset.fold": [0, 3],
    "foreign.*.fold": [0, 3],
    "name": "other",
    "dataset.name": "another",
    "foreign.*.name": "another",
    "models.*.train_on": ["run"],
    "models.*.inference": ["again"],
    "models.*.hidden": [8, 8],
    "models.*.latents": [[1, 8], [2, 4]],
    "predictors.*.degraded": [],
    "inference.*.rate": 3.5,
    "occlusion.*.levels": [3, "20%"],
    "training_masks.joints.levels": [2, 3],
    "training_masks.gaps.levels": ["400 ms"],
    "corruption.noise.levels": [5, 7],
    "corruption.joint_swap.levels": ["10%", 3],
    "forecast.horizons_ms": [80, 1000],
    "forecast.imputers": ["linear"],
    "actions": ["walk"],
    "show.*.model": "zero",
    "show.*.level": "10%",
    "references": ["linear"],
    "comparisons.zeros.model": "linear",
    "comparisons.zeros.against": "mean",
    "published.0.predictor": "ltd_degraded",
    "published.0.mm.walk": [1, 3],
    "published_imputation.0.metric": "mse",
    "seeds": [0, 1],
    "limit": 5,
}
"""Other values, where a neighbouring number or another choice is not valid."""
CLASSES = {
    "models.*.model": MODELS,
    "predictors.*.predictor": PREDICTORS,
    "inference.*.inference": INFERENCES,
    "occlusion.*.mechanism": MECHANISMS,
    "training_masks.*.mechanism": MECHANISMS,
    "corruption.*.corruption": CORRUPTIONS,
}
UNCHANGEABLE = (
    *("foreign.others.frames", "foreign.others.fps"),  # must equal those of the data set
    *("show.0.inference", "show.0.mechanism", "comparisons.zeros.inference"),  # one choice
    "published_imputation.0.occlusion",  # one choice
)
"""Values that have no other valid value while all else stays the same."""


def first(table: dict[str, Any], path: str) -> Any:
    """Return the value of a table's first pattern that matches a path; None if none does."""
    return next((value for pattern, value in table.items() if fnmatch(path, pattern)), None)


def choices() -> list[str]:
    """Return every text that some setting of the project has as a choice."""
    classes = [cls for registry in REGISTRIES for cls in registry.all().values()]
    settings = [Resources, *(getattr(cls, "Settings", cls) for cls in classes)]
    fields = [field for one in settings for field in one.model_fields.values()]
    return sorted({c for field in fields for c in get_args(field.annotation) if isinstance(c, str)})


def other_values(path: str, value: Any) -> list[Any]:
    """Return candidates for another value of a setting; some may be refused."""
    if (alternative := first(ALTERNATIVES, path)) is not None:
        return [alternative]
    if (registry := first(CLASSES, path)) is not None:
        # Another classifier would become the judge of all drawn windows.
        return [name for name, cls in registry.all().items() if not issubclass(cls, Classifier)]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value * 0.5, value + 0.25]
    return [2, 0.5] if value is None else [*choices(), "other"]


def at(raw: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        raw = raw[int(part) if isinstance(raw, list) else part]
    return raw


def mutated(plain: dict[str, Any], path: tuple[str, ...]) -> Protocol | None:
    """Return the protocol with one value changed; None if it has no other valid value."""
    *parents, last = path
    for value in other_values(".".join(path), at(plain, path)):
        for bare in (False, True):
            raw = copy.deepcopy(plain)
            place = at(raw, tuple(parents))
            if bare:  # another class may not have the same settings
                place.clear()
            place[last] = value
            if path in (("dataset", "frames"), ("dataset", "fps")):
                raw["foreign"]["others"][last] = value
            with suppress(InputError):
                found = resolve(raw)
                if found.to_dict() != plain:
                    return found
    return None


def due(effect: str, label: str, jobs: set[Job], degraded: set[str]) -> set[Job]:
    """Return the jobs with keys that must change.

    Args:
        effect: a value of ``DEPENDENTS``.
        label: of the entry that was changed, if any.
        jobs: all jobs.
        degraded: predictors that are fitted on pasts degraded by the label's mechanism.
    """
    of_fit = {job: job[6] or job[1] if job[0] != "fit" else job[1] for job in jobs}
    drawn = {job for job in jobs if job[0] in ("sample", "real")}
    judged = drawn if label == "action_classifier" else set()

    def made_with(*labels: str) -> set[Job]:
        return {job for job in jobs if of_fit[job] in labels or {*labels} & {*job[1:2], *job[6:]}}

    cells = {job for job in jobs if job[0] != "fit"}
    return {
        ALL: jobs,
        CELLS: cells,
        OWN: made_with(label) | judged,
        INFERENCE: {job for job in cells if job[3] == label},
        HIDDEN: {job for job in cells if job[4] == label} | made_with(*degraded),
        MASKED: made_with("window_gaussian"),
        DEGRADED: made_with(*degraded),
        ODD: {job for job in cells if job[4] == label},
        FORECASTS: {job for job in cells if job[0] == "forecast"},
        DRAWN: drawn,
        ACTIONS: made_with("conditional", "action_classifier") | drawn,
        NOTHING: set(),
    }[effect]


@pytest.fixture
def _one_more_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register another class of each kind that has only one suitable class."""
    added = (
        (DATASETS, type("Another", (Synthetic,), {"name": "another", "__module__": __name__})),
        (MECHANISMS, type("Another", (Features,), {"name": "another", "__module__": __name__})),
        (CORRUPTIONS, type("Another", (Noise,), {"name": "another", "__module__": __name__})),
        (CORRUPTIONS, type("Other", (JointSwap,), {"name": "other", "__module__": __name__})),
    )
    for registry, cls in added:
        monkeypatch.setitem(registry._classes, vars(cls)["name"], cls)


@pytest.mark.usefixtures("_one_more_of_each")
def test_every_value_of_a_protocol_changes_the_keys_that_depend_on_it(tmp_path: Path) -> None:
    plain = base()
    before = keys(resolve(plain), tmp_path)
    wrong: list[str] = []
    for path in leaves(plain):
        name = ".".join(path)
        effect = first(DEPENDENTS, name)
        other = mutated(plain, path)
        if other is None:
            assert name in UNCHANGEABLE, f"{name}: no other value found; add one to ALTERNATIVES"
            continue
        assert effect is not None, f"{name}: add what depends on it to DEPENDENTS"
        after = keys(other, tmp_path)
        common = before.keys() & after.keys()
        changed = {job for job in common if before[job] != after[job]}
        label = path[1] if len(path) > 1 else ""
        expected = due(
            effect, label, set(common), {"ltd_degraded"} if label == "features" else set()
        )
        if changed != expected:
            wrong.append(
                f"{name}: {effect}; missing {expected - changed}, excess {changed - expected}"
            )
    assert not wrong, "\n".join(wrong)


def test_predictors_are_given_only_completions_and_not_all_kept_motion(tmp_path: Path) -> None:
    """Drawn windows, and those completed for a figure, are kept too, but not predicted from."""
    raw = base() | {"show": [{"model": "zero", "mechanism": "features", "level": 3}]}
    protocol = resolve(raw)
    cells = {cell.key: cell for cell in plan.make(protocol, "key", {"others": "key"}).cells}
    fed = {cells[cell.past] for cell in cells.values() if cell.past}
    assert {(cell.task, cell.model, cell.inference) for cell in fed} == {
        ("impute", "linear", ""),
        ("impute", "vae", "map"),
    }
    kept = {(cell.task, cell.model) for cell in cells.values() if cell.keep}
    assert {("sample", "vae"), ("impute", "zero")} <= kept


def test_another_seed_is_another_key_of_all_that_depends_on_it(tmp_path: Path) -> None:
    protocol = resolve(base() | {"seeds": [0, 1]})
    found = keys(protocol, tmp_path)
    assert len(set(found.values())) == len(found)
    shared = [label for label, entry in protocol.learners.items() if not entry.cls.seeded]
    assert {"mean", "linear"} <= set(shared)
    assert len(found) == 2 * len(keys(resolve(base()), tmp_path)) - len(shared)
    for label in shared:
        assert ("fit", label, "0") in found
        assert ("fit", label, "1") not in found


def reversed_throughout(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_throughout(part) for key, part in reversed(value.items())}
    return value


def unstated(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the protocol as a user writes it, without the defaults that ``plain`` states."""
    raw = copy.deepcopy(TINY)
    for part in (
        *("models", "occlusion", "training_masks", "corruption", "actions"),
        *("inference", "forecast", "seeds"),
    ):
        raw[part] = copy.deepcopy(plain[part])
    raw["models"]["hgvae"] = copy.deepcopy(TINY["models"]["hgvae"])
    raw["models"]["conditional"] = {"model": "conditional_hgvae", "like": "hgvae"}
    raw["inference"] = {"map": {"steps": 2}, "again": {"inference": "reconstruct", "steps": 3}}
    return raw


EQUIVALENT: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "the order of everything": reversed_throughout,
    "defaults that are not stated": unstated,
    "a share in another notation": lambda raw: with_levels(raw, [3, "10.0%"]),
    "a share as a fraction": lambda raw: with_levels(raw, ["3", 0.1]),
    "a number in another notation": lambda raw: yaml.safe_load(
        yaml.safe_dump(raw).replace("learning_rate: 0.0001", "learning_rate: '1e-4'")
    ),
    "resources": lambda raw: (
        raw
        | {"resources": {"device": "cpu", "fit": {"cpus": 2, "gpus": 0.5}, "cells_per_trial": 1}}
    ),
}


def with_levels(raw: dict[str, Any], levels: list[Any]) -> dict[str, Any]:
    return raw | {"occlusion": {"features": {"levels": levels}}}


@pytest.mark.parametrize("what", EQUIVALENT)
def test_equivalent_protocols_have_equal_keys(what: str, tmp_path: Path) -> None:
    raw = EQUIVALENT[what](base())
    assert raw != base() or what == "the order of everything"
    assert keys(resolve(raw), tmp_path) == keys(resolve(base()), tmp_path)


def test_comments_and_the_name_of_the_file_change_no_key(tmp_path: Path) -> None:
    raw = base()
    del raw["name"]
    text = yaml.safe_dump(raw)
    (tmp_path / "one.yaml").write_text(text)
    (tmp_path / "other.yaml").write_text("# why\n" + text.replace("\n", "   # thus\n"))
    one, other = (load(tmp_path / name) for name in ("one.yaml", "other.yaml"))
    assert one.name != other.name
    assert keys(one, tmp_path) == keys(other, tmp_path)


def test_labels_change_no_key(tmp_path: Path) -> None:
    """Labels name fits and cells, but no result depends on them."""
    names = {
        "vae": "mine", "map": "ascent", "features": "dots", "noise": "hiss", "others": "strangers",
        "ltd": "first", "hgvae": "deep", "linear": "line", "action_classifier": "judge",
    }  # fmt: skip
    kinds = {"models": "model", "predictors": "predictor", "inference": "inference"}
    kinds |= {"occlusion": "mechanism", "corruption": "corruption", "foreign": "name"}

    def renamed(value: Any, place: str = "") -> Any:
        if isinstance(value, dict):
            labels = place in kinds
            own = kinds.get(place.split(".")[0]) if "." in place else None
            return {
                (names.get(key, key) if labels else key): (
                    part if key in (own, "name") else renamed(part, f"{place}.{key}".lstrip("."))
                )
                for key, part in value.items()
            }
        if isinstance(value, list):
            return [renamed(part, f"{place}.") for part in value]
        return names.get(value, value) if isinstance(value, str) else value

    found = keys(resolve(renamed(base())), tmp_path)
    expected = {
        tuple(names.get(part, part) for part in job): key
        for job, key in keys(resolve(base()), tmp_path).items()
    }
    assert found == expected


def test_random_numbers_of_an_inference_do_not_depend_on_its_label(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def drawn(self: Map, model: object, motion: Tensor, occluded: Tensor) -> Tensor:
        return torch.where(occluded, torch.randn_like(motion), motion)

    monkeypatch.setattr(Map, "complete", drawn)
    windows = walk()
    completions = []
    for label in ("map", "ascent"):
        raw = changed("inference", {label: {"inference": "map"}})
        protocol = resolve(raw)
        model = MODELS.get("vae")(protocol.spec, protocol.models["vae"].settings)
        cell = Cell("", "", "vae", 0, "impute", label, "features", "10%")
        found = Evaluator(protocol, windows, windows, {}, "cpu").evaluate(cell, model)
        completions.append(found.completion)
    assert (completions[0] == completions[1]).all()
    assert completions[0].std() > 0.5


DRIVER = """
import json, sys
from pathlib import Path

root = Path.cwd()
from bench.core import code_versions as code
from bench.protocol.resolving import resolve
sys.path.append(sys.argv[1])  # only for the helpers of the tests; the code is the copy's
from tests.sweep.test_keys import keys

assert code.__file__.startswith(str(root)), code.__file__
raw, edits = json.load(open("edits.json"))
protocol = resolve(raw)

def found():
    code._read.cache_clear()
    return {"|".join(job): key for job, key in keys(protocol, root / "cache").items()}

before = found()
changed = {}
for name, files in edits.items():
    kept = {path: (root / path).read_text() for path in files}
    for path, text in files.items():
        (root / path).write_text(text)
    after = found()
    changed[name] = [job for job in before if before[job] != after[job]]
    for path, text in kept.items():
        (root / path).write_text(text)
assert found() == before
json.dump([list(before), changed], open("changed.json", "w"))
"""


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[Job]]:
    """Return the jobs with keys that change with an edit of a copy of the project, by the edit."""
    root = tmp_path_factory.mktemp("copy")
    for package in ("bench", "models", "predictors"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / package, root / package, ignore=ignored)
    texts = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*.py")}
    modules = (*SHARED, *UNUSED, *FITTED_BY, *CELLS_OF)
    edits = {name: {name: f"{texts[name]}\n_EDITED = 1\n"} for name in modules}
    edits["comments"] = {name: reworded(text) for name, text in texts.items()}
    (root / "edits.json").write_text(json.dumps([base(), edits]))
    ended = subprocess.run(
        [sys.executable, "-c", DRIVER, str(PROJECT)],
        cwd=root, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    jobs, changed = json.loads((root / "changed.json").read_text())
    by_edit = {name: {tuple(job.split("|")) for job in some} for name, some in changed.items()}
    return by_edit | {"all": {tuple(job.split("|")) for job in jobs}}


def reworded(text: str) -> str:
    """Return a module's text with other docstrings, comments and line ends, and the same code."""
    text = re.sub(r'^( *""")(?=[A-Z``])', r"\1Reworded: ", text, flags=re.MULTILINE)
    return "# why\n" + text.replace("\n\n", "\n\n# thus\n\n\n") + "\n\n# end\n"


def test_docstrings_comments_and_blank_lines_change_no_key(edited: dict[str, set[Job]]) -> None:
    assert edited["comments"] == set()


SHARED = (
    *("bench/fitting/learner.py", "bench/fitting/training.py", "bench/core/settings.py"),
    *("bench/motion/windows.py", "bench/motion/seeds.py", "bench/motion/skeleton.py"),
    *("bench/datasets/base.py", "bench/datasets/synthetic.py", "bench/datasets/cut.py"),
)
"""Modules that data, fits and cells all depend on."""
UNUSED = (
    *("bench/cli/run.py", "bench/commands/compare.py", "bench/commands/run.py"),
    *("bench/core/code_versions.py", "bench/core/registry.py"),
    *("bench/protocol/entries.py", "bench/protocol/resolving.py", "bench/protocol/schema.py"),
    *("bench/sweep/executions.py", "bench/sweep/executors.py", "bench/sweep/plan.py"),
    *("bench/sweep/status.py", "bench/sweep/store.py", "bench/sweep/worker.py"),
    *("bench/analysis/claims.py", "bench/analysis/records.py", "bench/analysis/statistics.py"),
    *("bench/analysis/tables.py", "bench/report/figures.py", "bench/report/printing.py"),
    "bench/report/run_folder.py",
    *("models/nearest.py", "models/hmvae.py", "predictors/simlpe.py", "bench/datasets/cmu.py"),
)
"""Modules that no result of this protocol depends on."""
FITTED_BY = {
    "models/vae.py": ["vae"],
    "models/linear.py": ["linear"],
    "models/principal.py": ["pca_error", "walking"],
    "models/hgvae.py": ["hgvae", "conditional", "untrained"],
    "models/graph.py": ["hgvae", "conditional", "untrained", "ltd", "ltd_degraded"],
    "models/gaussian.py": ["hgvae", "conditional", "untrained", "vae"],
    "models/conditional_hgvae.py": ["conditional"],
    "models/action_classifier.py": ["action_classifier"],
    "models/base.py": [*base()["models"]],
    "predictors/ltd.py": ["ltd", "ltd_degraded"],
    "predictors/base.py": [*base()["predictors"]],
}
"""Labels of the fits that depend on a module."""
CELLS_OF = {
    "bench/metrics/completion.py": lambda job: True,
    "bench/sweep/cells.py": lambda job: True,
    "bench/sweep/forecasts.py": lambda job: job[0] == "forecast",
    "bench/sweep/samples.py": lambda job: job[0] in ("sample", "real"),
    "bench/metrics/judging.py": lambda job: job[0] in ("sample", "real"),
    "models/inference/base.py": lambda job: bool(job[3]),
    "bench/motion/corruptions/base.py": lambda job: job[0] == "corrupt",
    "bench/motion/mechanisms/base.py": lambda job: (
        job[0] == "impute"
        or job[4] == "joint_swap"  # its level is a share or a count
        or bool(job[6])  # predictors are fitted on pasts with its masks
    ),
}
"""Whether a cell depends on a module."""


@pytest.mark.parametrize("module", SHARED)
def test_code_that_all_depends_on_changes_every_key(
    module: str, edited: dict[str, set[Job]]
) -> None:
    assert edited[module] == edited["all"]


@pytest.mark.parametrize("module", UNUSED)
def test_code_that_no_result_depends_on_changes_no_key(
    module: str, edited: dict[str, set[Job]]
) -> None:
    assert edited[module] == set()


@pytest.mark.parametrize("module", FITTED_BY)
def test_code_of_a_model_changes_its_fits_and_what_depends_on_them(
    module: str, edited: dict[str, set[Job]]
) -> None:
    labels = FITTED_BY[module]
    fits = {job[1] for job in edited[module] if job[0] == "fit"}
    assert fits == set(labels)
    expected = set().union(*(due(OWN, label, edited["all"], set()) for label in labels))
    assert edited[module] == expected


@pytest.mark.parametrize("module", CELLS_OF)
def test_code_that_judges_or_completes_changes_its_cells(
    module: str, edited: dict[str, set[Job]]
) -> None:
    cells = {job for job in edited["all"] if job[0] != "fit"}
    assert {job for job in edited[module] if job[0] != "fit"} == set(
        filter(CELLS_OF[module], cells)
    )
    if module != "bench/motion/mechanisms/base.py":
        assert edited[module] <= cells


def test_the_content_of_a_data_file_changes_keys_and_its_time_does_not(tmp_path: Path) -> None:
    """The fingerprint of data, which is in every key, is made from bytes."""
    file = tmp_path / "walk.npy"
    motion = np.zeros((60, 18, 3), np.float32)
    np.save(file, motion)
    source = Source("walk", "train", "walk", "x", File(file))

    def taken() -> str:
        found = _Fingerprints.computed(OneFile(), [source], tmp_path, tmp_path / "cache", None)
        return found.whole

    OneFile.path = file
    first = taken()
    os.utime(file, (1, 1))
    assert taken() == first
    motion[3, 4, 1] = 1e-6
    np.save(file, motion)
    assert taken() != first


class OneFile(Synthetic):
    """Motion from one file."""

    path: ClassVar[Path]

    def files(self, root: Path | None) -> list[Path]:
        """Return the file."""
        return [self.path]
