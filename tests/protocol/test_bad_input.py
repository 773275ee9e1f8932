"""Invalid protocols, files and arguments: one line that says what, where and how to fix it.

The exit code is 2, there is no traceback, and no file is changed.
"""

import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tests.conftest import TINY, Bench, Ended, changed
from tests.core.test_plugins import MODEL, TAKEN, unload

Content = str | bytes | Callable[[Path], object]
"""The content of a file, or a function that creates something else at its path."""
RUN = "--executor local --results results"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY, sort_keys=False))
    yield
    unload()


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the size and the modification time of everything in a folder, by path."""
    found = {path: path.lstat() for path in sorted(folder.rglob("*"))}
    return {str(path): (one.st_size, one.st_mtime_ns) for path, one in found.items()}


def refused(bench: Bench, command: str, *says: str) -> Ended:
    """Assert that a command is refused in one line with some texts, and changes no file."""
    before = state(Path())
    ended = bench(*shlex.split(command))
    assert ended.code == 2, ended
    assert ended.err.startswith("bench: "), ended
    assert ended.err.endswith("\n"), ended
    assert ended.err[:-1].isprintable(), ended
    assert len(ended.err) < 1500, ended
    assert "Traceback" not in ended.out + ended.err
    for part in says:
        assert part in ended.err, ended
    assert state(Path()) == before
    return ended


def write(files: Mapping[str, Content]) -> None:
    for name, content in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())


WHOLE = yaml.safe_dump(TINY, sort_keys=False)
LAUGHS = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 8)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 8)}]}}\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
FILES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "a protocol is a mapping of keys such as dataset and models"),
    "comments alone": ("# later\n", "a protocol is a mapping of keys"),
    "words": ("just words", "a protocol is a mapping of keys"),
    "a list": ("- dataset\n- models\n", "a protocol is a mapping of keys"),
    "binary": (bytes(range(256)), "not valid YAML: not UTF-8 text at position 128"),
    "a nul": ("name: a\0b\n", "not valid YAML: not UTF-8 text at position 7"),
    "latin-1": ("name: caf\xe9\n".encode("latin-1"), "valid YAML: not UTF-8 text at position 9"),
    "tabs": ("models:\n\tmean: {}\n", "line 2: while scanning for the next token found character"),
    "cut short": ("models: [", "not valid YAML: line 1: while parsing a flow node expected"),
    "two documents": ("a: 1\n---\nb: 2\n", "line 2: expected a single document"),
    "a key twice": (WHOLE + "models: {}\n", "the key 'models' occurs twice, first in line"),
    "a label twice": (
        "dataset: {name: synthetic}\nmodels:\n  mean: {}\n  zero: {}\n  mean: {}\n",
        "line 5: the key 'mean' occurs twice, first in line 3",
    ),
    "a key in quotes twice": ("{name: a, 'name': b}", "the key 'name' occurs twice"),
    "billion laughs": (LAUGHS, "more than 100,000 values with aliases expanded"),
    "merged laughs": (MERGES, "more than 100,000 values with aliases expanded"),
    "an alias of itself": ("a: &a [*a]\n", "more than 100,000 values with aliases expanded"),
    "an alias of nothing": ("a: *nobody\n", "line 1: found undefined alias 'nobody'"),
    "deep": ("a: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
    "an object": (
        "a: !!python/object/apply:os.system ['touch evil']",
        "line 1: could not determine a constructor for the tag",
    ),
    "an unknown tag": ("a: !mine 3", "could not determine a constructor for the tag '!mine'"),
    "a list as key": ("? [a, b]\n: 3\n", "line 1: while constructing a mapping found unhashable"),
    "a number as key": ("3: 4\n" + WHOLE, "3: a key is text; put it in quotes"),
    "nothing as key": ("~: 4\n" + WHOLE, "None: a key is text; put it in quotes"),
    "no day": ("name: 2024-13-45\n", "not valid YAML: month must be in 1..12"),
    "no number": ("name: !!int ''\n", "not valid YAML: "),
    "an endless number": ("name: " + "9" * 5000, "not valid YAML: Exceeds the limit"),
    "a date": (WHOLE.replace("tiny", "2024-01-01"), "name: give text, in quotes if it reads as"),
    "a switch as label": (WHOLE.replace("  zero: {}", "  off: {model: zero}"), "models: give text"),
    "far too large": ("# " + "x" * 2**20, "larger than 1 MiB, too large for a settings file"),
    "no models": (
        "{dataset: {name: synthetic}, occlusion: {features: {levels: [3]}}}",
        "models: missing; name a model, or a predictor under predictors",
    ),
    "an empty name": (WHOLE.replace("name: tiny", "name: ''"), "name: give letters, digits"),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_is_no_protocol(what: str, bench: Bench) -> None:
    content, says = FILES[what]
    write({"bad.yaml": content})
    ended = refused(bench, f"run bad.yaml {RUN}", "bad.yaml: ", says)
    assert refused(bench, "validate bad.yaml").err == ended.err


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf" + WHOLE.encode(), WHOLE.replace("\n", "\r\n")])
def test_files_of_windows_editors_are_read(content: str | bytes, bench: Bench) -> None:
    write({"other.yaml": content})
    ended = bench("validate", "other.yaml")
    assert ended.code == 0
    assert yaml.safe_load(ended.out)["name"] == "tiny"


def test_an_alias_within_bounds_is_read(bench: Bench) -> None:
    text = WHOLE.replace(
        "time_reversal: {}",
        "time_reversal: &none {}\n  later: {<<: *none, corruption: time_reversal}",
    )
    write({"other.yaml": text})
    ended = bench("validate", "other.yaml")
    assert ended.code == 0, ended.err
    assert yaml.safe_load(ended.out)["corruption"]["later"] == {"corruption": "time_reversal"}


BAD = [
    ("epoch", 3, "epoch: unknown key 'epoch'"),
    ("model", {}, "did you mean 'models'?"),
    ("dataset", ..., "dataset: missing"),
    ("dataset/name", "synthetik", "unknown data set 'synthetik' (did you mean 'synthetic'?)"),
    ("dataset/name", ..., "dataset.name: name one"),
    ("dataset/stridee", 5, "dataset.stridee: unknown key 'stridee' (did you mean 'stride'?)"),
    ("dataset/stride", 0, "dataset.stride: input should be greater than or equal to 1"),
    ("dataset/stride", "five", "dataset.stride"),
    ("dataset/frames", 1, "dataset.frames"),
    ("models", {}, "comparisons.zeros.model: no entry 'zero'"),
    ("models", [], "models"),
    ("models/hgvea", {}, "unknown model 'hgvea' (did you mean 'hgvae'?)"),
    ("models/hgvae/epocs", 5, "models.hgvae.epocs: unknown key 'epocs' (did you mean 'epochs'?)"),
    ("models/hgvae/epochs", 0, "models.hgvae.epochs"),
    ("models/hgvae/epochs", "many", "models.hgvae.epochs"),
    ("models/hgvae/learning_rate", -1, "models.hgvae.learning_rate"),
    ("models/hgvae/learning_rate", float("nan"), "models.hgvae.learning_rate"),
    ("models/hgvae/latents", [], "models.hgvae.latents"),
    ("models/hgvae/latents", [[1, 0]], "at least one node and one feature"),
    ("models/hgvae/latents", [[1]], "models.hgvae.latents"),
    ("models/hgvae/residual", "skip", "models.hgvae.residual"),
    ("models/mean", {"like": "nobody"}, "models.mean.like: no model 'nobody'"),
    ("models/hgvae", {"like": "untrained"}, "in a cycle"),
    ("models/mean", {"x": 1}, "models.mean.x: unknown key 'x'"),
    ("models/mean", {"model": 3}, "unknown model '3'"),
    ("inference", {"mpa": {}}, "unknown inference 'mpa' (did you mean 'map'?)"),
    ("inference", {"mean": {"inference": "map"}}, "inference.mean: this label is reserved"),
    ("inference/map/steps", 0, "inference.map.steps"),
    ("inference/map/rate", 0, "inference.map.rate"),
    ("occlusion", {}, "occlusion"),
    ("occlusion/jonts", {"levels": [1]}, "unknown mechanism 'jonts'"),
    ("training_masks", {"joints": {"levels": [99]}}, "training_masks.joints.levels: "),
    ("training_masks", {"jonts": {"levels": [1]}}, "training_masks.jonts: unknown mechanism"),
    ("occlusion/features", {}, "occlusion.features.levels: give a list"),
    ("occlusion/features/levels", [], "occlusion.features.levels: give a list"),
    ("occlusion/features/levels", 10, "occlusion.features.levels: give a list"),
    ("occlusion/features/levels", ["110%"], "level 110% is not a share between 0 and 100%"),
    ("occlusion/features/levels", [1.5], "level 1.5 is not a share between 0 and 100%"),
    ("occlusion/features/levels", [2701], "level 2701 is over 100%: a window has 2700 features"),
    ("occlusion/features/levels", [-1], "neither a count like 270, nor a share"),
    ("occlusion/features/levels", ["lots"], "neither a count like 270, nor a share"),
    ("occlusion/features/levels", [0], "hides nothing"),
    ("occlusion/features/levels", ["0%"], "hides nothing"),
    ("occlusion/features/levels", [3, 3], "levels: 3 and 3 hide the same; keep one"),
    ("occlusion/features/seed", 3, "seeds at the top"),
    ("occlusion/features/joints", 3, "occlusion.features.joints: unknown key"),
    ("seeds", [], "seeds"),
    ("seeds", [1, 1], "seeds: 1, 1 names the same one twice"),
    ("seeds", ["a"], "seeds.0"),
    ("scale/test", 0, "scale.test"),
    ("scale/tests", 3, "did you mean 'test'?"),
    (
        "resources",
        {"fit": {"cpu": 2}},
        "resources.fit.cpu: unknown key 'cpu' (did you mean 'cpus'?)",
    ),
    ("resources", {"device": "tpu"}, "resources.device"),
    ("resources", {"fit": {"cpus": 0}}, "resources.fit.cpus"),
    ("name", "../escape", "name"),
    ("name", "", "name"),
    ("scale/samples", 0, "scale.samples"),
    ("models/mean/preset", "published", "did you mean 'published_code'?"),
    ("models/hgvae/preset", "nobody", "models.hgvae.preset: no preset 'nobody'"),
    ("models/linear/preset", "published_code", "models.linear.preset: no preset"),
    ("models/untrained/preset", "papers_recipe", "did you mean 'paper_recipe'?"),
    ("models/mean", {"preset": ["published_code"]}, "models.mean.preset"),
    ("models/mean", {"like": ["hgvae"]}, "models.mean.like"),
    ("inference/map/preset", "nobody", "inference.map.preset: no preset 'nobody'"),
    ("inference/map/preset", {"start": "normal"}, "inference.map.preset"),
    ("inference", {"": {"inference": "map"}}, "inference"),
    ("occlusion/features/preset", "nobody", "occlusion.features.preset: no preset 'nobody'"),
    ("occlusion/features/levels", ["10%", 0.1], "10% and 10% hide the same; keep one"),
    ("occlusion", {"": {"mechanism": "features", "levels": [3]}}, "occlusion"),
    ("corruption/noise/preset", "nobody", "corruption.noise.preset: no preset 'nobody'"),
    ("corruption", [], "corruption"),
    ("corruption", {"nois": {"levels": [5]}}, "unknown corruption 'nois' (did you mean 'noise'?)"),
    ("corruption", {"x": {"corruption": "y", "levels": [5]}}, "corruption.x: unknown corruption"),
    ("corruption/noise", None, "corruption.noise.levels: give a list"),
    ("corruption/noise/levels", ..., "corruption.noise.levels: give a list"),
    ("corruption/noise/levels", [], "corruption.noise.levels: give a list"),
    ("corruption/noise/levels", 5, "corruption.noise.levels: give a list"),
    ("corruption/noise/levels", [5, -5], "greater than 0, not -5"),
    ("corruption/noise/levels", [0], "greater than 0, not 0"),
    ("corruption/noise/levels", ["loud"], "corruption.noise.level"),
    ("corruption/noise/levels", [float("inf")], "corruption.noise.level"),
    ("corruption/noise/levels", [5, 5.0], "corruption.noise.levels: 5.0, 5.0 names the same one"),
    ("corruption/noise/sigma", 5, "corruption.noise.sigma: unknown key 'sigma'"),
    ("corruption/noise/seed", 5, "corruption.noise.seed: set levels here and seeds at the top"),
    ("corruption/noise/level", 5, "corruption.noise.level: set levels here"),
    ("corruption/time_reversal", {"levels": [1]}, "time_reversal has no levels; leave them out"),
    ("corruption/time_reversal", {"level": 1}, "corruption.time_reversal.level"),
    ("corruption/time_reversal", {"seed": 1}, "corruption.time_reversal.seed"),
    ("corruption/joint_swap", {"levels": [51]}, "level 51 is over 100%: a window has 50 frames"),
    ("corruption/joint_swap", {"levels": ["101%"]}, "level 101% is not a share between 0 and 100%"),
    ("corruption/joint_swap", {"levels": [0]}, "swaps nothing"),
    ("corruption/joint_swap", {"levels": ["10%", 0.1]}, "10%, 10% names the same one twice"),
    ("corruption/joint_swap", {"levels": [5, "5"]}, "5, 5 names the same one twice"),
    (
        "corruption/features",
        {"corruption": "noise", "levels": [5]},
        "features: occlusion, corruption and foreign must not share a label",
    ),
    ("foreign/features", {"name": "synthetic"}, "features: occlusion, corruption and foreign"),
    ("foreign/noise", {"name": "synthetic"}, "noise: occlusion, corruption and foreign must"),
    ("foreign/others/name", ..., "foreign.others.name: unknown data set 'others'"),
    ("foreign/others/name", "synthetik", "(did you mean 'synthetic'?)"),
    ("foreign/others/frames", 40, "foreign.others: its windows must have 50 frames"),
    ("foreign/others/fps", 30, "foreign.others: its windows must have 50 frames and 25 fps"),
    ("foreign/others/levels", [3], "foreign.others.levels: unknown key 'levels'"),
    ("foreign/others/subjects", 1, "foreign.others.subjects"),
    ("references", ["meen"], "references: no entry 'meen' (did you mean 'mean'?)"),
    ("references", ["mean", "mean"], "references: mean, mean names the same one twice"),
    ("references", "mean", "references"),
    ("comparisons/zeros", "zero", "comparisons.zeros"),
    ("comparisons/zeros/model", "zeroo", "comparisons.zeros.model: no entry 'zeroo'"),
    ("comparisons/zeros/model", ..., "comparisons.zeros.model: missing"),
    ("comparisons/zeros/against", "maen", "comparisons.zeros.against: no entry 'maen' (did you"),
    ("comparisons/zeros/against", ..., "comparisons.zeros.against: missing"),
    ("comparisons/zeros/inference", "mpa", "comparisons.zeros.inference: no entry 'mpa' (did you"),
    ("comparisons/zeros/agianst", "mean", "unknown key 'agianst' (did you mean 'against'?)"),
    ("models/hgvae/inference", ["mpa"], "models.hgvae.inference: no entry 'mpa' (did you mean"),
    ("models/hgvae/inference", "map", "models.hgvae.inference: give a list"),
    ("models/hgvae/inference", [{"map": {}}], "models.hgvae.inference"),
    ("models/hgvae/inference", ["map", "map"], "models.hgvae.inference"),
    ("models/walking/train_on", "walk", "models.walking.train_on: give a list"),
    ("models/walking/train_on", {"walk": 1}, "models.walking.train_on: give a list"),
    ("models/judge", {"model": "action_classifier", "train_on": ["walk"]}, "models.judge.train_on"),
    ("predictor", {}, "did you mean 'predictors'?"),
    ("predictors", [], "predictors"),
    ("predictors/lstm", {}, "unknown predictor 'lstm'"),
    ("predictors/mean2", {"predictor": "mean"}, "unknown predictor 'mean'"),
    ("predictors/ldt", {}, "unknown predictor 'ldt' (did you mean 'ltd'?)"),
    ("predictors/ltd/epocs", 5, "predictors.ltd.epocs: unknown key 'epocs' (did you mean"),
    ("predictors/ltd/batch_size", 1, "predictors.ltd.batch_size: input should be greater than"),
    ("predictors/ltd/past", 0, "predictors.ltd.past"),
    ("predictors/ltd/past", 51, "predictors.ltd: past: 51 frames requested, windows have 50"),
    ("predictors/ltd/step", 0, "predictors.ltd.step"),
    ("predictors/ltd/dropout", 1, "predictors.ltd.dropout"),
    ("predictors/ltd/train_on", ["walk"], "predictors.ltd.train_on: unknown key 'train_on'"),
    ("predictors/ltd/inference", ["map"], "predictors.ltd.inference: unknown key 'inference'"),
    ("predictors/ltd/preset", "nobody", "predictors.ltd.preset: no preset 'nobody'"),
    ("predictors/ltd_degraded/like", "lstm", "predictors.ltd_degraded.like: no predictor 'lstm'"),
    ("predictors/ltd_degraded/like", "hgvae", "predictors.ltd_degraded.like: no predictor"),
    ("predictors/ltd", {"like": "ltd_degraded"}, "in a cycle"),
    ("predictors/zero_velocity/past", 10, "predictors.zero_velocity.past: unknown key 'past'"),
    (
        "predictors/ltd_degraded/degraded",
        ["feature"],
        "predictors.ltd_degraded.degraded: no entry 'feature' (did you mean 'features'?)",
    ),
    ("predictors/ltd_degraded/degraded", ["noise"], "predictors.ltd_degraded.degraded: no entry"),
    ("predictors/ltd_degraded/degraded", "features", "ltd_degraded.degraded: give a list"),
    ("predictors/ltd_degraded/degraded", [["features"]], "predictors.ltd_degraded.degraded"),
    ("predictors/ltd_degraded/degraded", ["features", "features"], "names the same one twice"),
    ("predictors/zero_velocity/degraded", ["features"], "zero_velocity is not fitted, so"),
    ("predictors/mean", {"predictor": "ltd"}, "mean: models and predictors must not share"),
    ("predictors/", {"predictor": "ltd"}, "predictors"),
    (
        "predictors/hisrep",
        {"past": 30},
        "predictors.hisrep: kernel and step are 35 frames together, but past has only 30",
    ),
    ("forecast", [], "forecast"),
    ("forecast", {"horizon": [80]}, "unknown key 'horizon' (did you mean 'horizons_ms'?)"),
    ("forecast", {"horizons_ms": [50]}, "forecast.horizons_ms: no frame 50 ms ahead; there is one"),
    ("forecast", {"horizons_ms": [80, 1040]}, "no frame 1040 ms ahead; there is one every 40 ms"),
    ("forecast", {"horizons_ms": [0]}, "no frame 0 ms ahead; there is one every 40 ms, to 1000 ms"),
    ("forecast", {"horizons_ms": [-40]}, "no frame -40 ms ahead"),
    ("forecast", {"horizons_ms": [80, 80]}, "forecast.horizons_ms: 80, 80 names the same one"),
    ("forecast", {"horizons_ms": [80.5]}, "forecast.horizons_ms.0"),
    ("forecast", {"horizons_ms": 80}, "forecast.horizons_ms"),
    ("forecast", {"imputers": ["meen"]}, "forecast.imputers: no entry 'meen' (did you mean 'mean'"),
    ("forecast", {"imputers": ["ltd"]}, "forecast.imputers: no entry 'ltd'"),
    ("forecast", {"imputers": "mean"}, "forecast.imputers"),
    ("published", {}, "published"),
    ("published", [{"source": "me", "mm": {"average": [1] * 8}}], "published.0.predictor: missing"),
    (
        "published",
        [{"predictor": "ltd", "mm": {"average": [1] * 8}}],
        "published.0.source: missing",
    ),
    ("published", [{"predictor": "ltd", "source": "me"}], "published.0.mm: missing"),
    ("published", [{"predictor": "ltd", "source": "me", "mm": {}}], "published.0.mm"),
    (
        "published",
        [{"predictor": "ldt", "source": "me", "mm": {"average": [1] * 8}}],
        "published.0.predictor: no entry 'ldt' (did you mean 'ltd'?)",
    ),
    (
        "published",
        [{"predictor": "mean", "source": "me", "mm": {"average": [1] * 8}}],
        "published.0.predictor: no entry 'mean'",
    ),
    (
        "published",
        [
            {"predictor": "ltd", "source": "me", "mm": {"average": [1] * 8}},
            {"predictor": "ltd", "source": "me", "mm": {"average": [1] * 8, "walk": [1] * 7}},
        ],
        "published.1.mm.walk: 7 numbers for the 8 horizons of forecast.horizons_ms",
    ),
    (
        "published",
        [
            {"predictor": "ltd", "source": "me", "mm": {"average": [1] * 8}},
            {"predictor": "ltd", "windows": "all", "source": "you", "mm": {"average": [2] * 8}},
        ],
        "published.1: another table has ltd and these windows",
    ),
    (
        "published",
        [{"predictor": "ltd", "source": "me", "mm": {"walk": ["far"] * 8}}],
        "published.0.mm.walk.0",
    ),
    ("dataset/future", 0, "dataset.future: input should be greater than or equal to 1"),
    # Values that are no numbers, or too large for any machine.
    ("models/hgvae/epochs", True, "hgvae.epochs: true or false is not allowed here, not True"),
    ("models/hgvae/epochs", 2.5, "models.hgvae.epochs: input should be a valid integer"),
    ("models/hgvae/epochs", 1e12, "models.hgvae.epochs: input should be less than or equal to"),
    ("models/hgvae/epochs", 10**30, "models.hgvae.epochs: a whole number is at most"),
    ("models/hgvae/epochs", None, "models.hgvae.epochs: input should be a valid integer"),
    ("models/hgvae/learning_rate", float("inf"), "learning_rate: input should be a finite number"),
    ("models/hgvae/width", 10**9, "models.hgvae: 8.0e+18 parameters exceed the limit of 1e+10"),
    ("models/hgvae/width", 10**15, "models.hgvae: RuntimeError"),
    ("models/vae/hidden", [10**7, 10**7], "models.vae: 2.0e+14 parameters exceed"),
    ("seeds", [-1], "seeds.0: input should be greater than or equal to 0, not -1"),
    ("seeds", [1.5], "seeds.0: input should be a valid integer"),
    ("seeds", [True], "seeds: true or false is not allowed here"),
    ("seeds", [10**30], "seeds: a whole number is at most"),
    ("seeds", 3, "seeds: give a list, such as [a, b], not 3"),
    ("seeds", [[1]], "seeds.0: input should be a valid integer, not [1]"),
    ("seeds", [1, 1.0], "seeds: 1, 1 names the same one twice"),
    ("scale/train", True, "scale.train: true or false is not allowed here"),
    ("scale/train", 10**30, "scale.train: a whole number is at most"),
    ("scale/samples", 10**9, "scale.samples: input should be less than or equal to 100000"),
    ("scale", [], "scale: give a mapping of keys, not []"),
    ("inference/map/steps", True, "inference.map.steps: true or false is not allowed here"),
    ("resources", {"fit": {"cpus": float("inf")}}, "resources.fit.cpus: input should be a finite"),
    ("resources", {"fit": {"gpus": -1}}, "resources.fit.gpus: input should be greater than or"),
    (
        "resources",
        {"device": "cuda:7"},
        "resources.device: input should be 'auto', 'cpu' or 'cuda'",
    ),
    ("resources", {"fit": 3}, "resources.fit: give a mapping of keys, not 3"),
    ("dataset/fps", 0, "dataset.fps: input should be greater than 0, not 0"),
    ("dataset/fps", 1e12, "dataset.fps: input should be less than or equal to 1000"),
    ("dataset/fps", float("nan"), "dataset.fps: input should be a finite number"),
    ("dataset/frames", 10**6, "dataset.frames: input should be less than or equal to"),
    ("dataset/seconds", 10**9, "dataset.seconds: input should be less than or equal to"),
    ("dataset/subjects", 10**9, "dataset.subjects: input should be less than or equal to"),
    ("dataset/orientation", "upside down", "dataset.orientation: input should be 'removed'"),
    ("dataset", "synthetic", "dataset: give a mapping of keys, not 'synthetic'"),
    ("dataset/name", ["synthetic"], "dataset.name: name one"),
    ("occlusion/features/levels", ["10%", 270], "levels: 10% and 270 hide the same; keep one"),
    ("occlusion/features/levels", [0.1, 0.10000001], "levels: 10% and 10.000001% hide the same"),
    ("occlusion/features/levels", [True], "level True is neither a count like 270, nor a share"),
    ("occlusion/features/levels", [None], "level None is neither a count like 270, nor a share"),
    ("occlusion/features/levels", [float("nan")], "level nan is not a share between 0 and 100%"),
    ("occlusion/features/levels", ["²"], "level '²' is neither a count like 270, nor a share"),
    ("occlusion/features/levels", {"a": 3}, "occlusion.features.levels: give a list such as"),
    ("published", [{"predictor": "ltd", "source": "me", "mm": {"x": [-1] * 8}}], "mm.x.0"),
    # Names and labels.
    ("name", "a/b", "name: give letters, digits, '_', '.' and '-', first a letter or digit"),
    ("name", "..", "name: give letters, digits"),
    ("name", ".store", "name: give letters, digits"),
    ("name", "a\n", "name: give letters, digits"),
    ("name", "a\u202eb", r"name: give letters, digits, '_', '.' and '-', first a letter or digit"),
    ("name", "x" * 300, "name: string should have at most 100 characters, not 'xxx"),
    ("name", 3, "name: give text, in quotes if it reads as a number, a date, yes or no, not 3"),
    ("description", ["a"], "description: give text, in quotes"),
    ("models/a\nb", {"model": "mean"}, "models: a label is printable text without / and \\"),
    ("models/\x1b[31m", {"model": "mean"}, r"models: a label is printable text"),
    ("models/ ", {"model": "mean"}, "models: a label is printable text"),
    ("models", {"../x": {"model": "mean"}}, "models: a label is printable text"),
    ("models", {"x" * 300: {"model": "mean"}}, "models: string should have at most 100 characters"),
    ("models", {False: {"model": "mean"}}, "models: give text, in quotes if it reads as"),
    ("models/Mean", {"model": "mean"}, "Mean, mean: labels differ in case only; rename one"),
    ("predictors/MEAN", {"predictor": "ltd"}, "mean, MEAN: labels differ in case only"),
    ("corruption/Features", {"corruption": "noise", "levels": [5]}, "features, Features: labels"),
    ("models/hgvae", [], "models.hgvae: give a mapping of keys, not []"),
    ("models/HGVAE2", {"model": "HGVAE"}, "unknown model 'HGVAE' (did you mean 'hgvae'?)"),
    # References to entries that do not exist or do not fit.
    ("comparisons/zeros/against", "zero", "comparisons.zeros: zero is compared with itself"),
    ("comparisons/zeros/model", "pca_error", "comparisons.zeros: pca_error completes no windows"),
    (
        "comparisons/zeros/inference",
        "map",
        "comparisons.zeros: zero completes windows with no inference",
    ),
    (
        "comparisons/zeros/against",
        "vae",
        "comparisons.zeros: vae completes windows with inference: map",
    ),
    ("references", ["nobody"], "references: no entry 'nobody'"),
    ("references", ["mean", "mean"], "references: mean, mean names the same one twice"),
    ("references", ["pca_error"], "references: pca_error completes no windows"),
    ("show", [{"model": "hgvae"}], "show.0.mechanism: missing (and 1 more)"),
    (
        "show",
        [{"model": "mean", "mechanism": "features", "level": "30%"}],
        "show.0.level: no entry",
    ),
    ("show", [{"model": "mean", "mechanism": "features", "level": 3, "every": 0}], "show.0.every"),
    (
        "show",
        [{"model": "vae", "mechanism": "features", "level": 3}],
        "show.0: vae completes windows",
    ),
    ("actions", ["walk", "walk"], "actions: walk, walk names the same one twice"),
    ("actions", "walk", "actions: give a list, such as [a, b]"),
    ("foreign/others", 3, "foreign.others: give a mapping of keys, not 3"),
    ("foreign/others/subjects", 0, "foreign.others.subjects: input should be greater than or"),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD)
def test_a_bad_setting(path: str, value: Any, message: str, bench: Bench) -> None:
    write({"bad.yaml": yaml.safe_dump(changed(path, value))})
    ended = refused(bench, f"run bad.yaml {RUN}", "bad.yaml: ", message)
    assert refused(bench, "validate bad.yaml").err == ended.err


def test_several_errors_are_reported_in_one_line(bench: Bench) -> None:
    write({"bad.yaml": "{epochs: 3, seeds: [a, b], scale: {tests: 1}}"})
    refused(bench, f"run bad.yaml {RUN}", "bad.yaml: dataset: missing (and 4 more)")


COMMANDS: list[tuple[str, tuple[str, ...], dict[str, Content]]] = [
    # Invalid commands.
    ("nope", ("No such command 'nope'", "see bench --help"), {}),
    ("data nope", ("No such command 'nope'", "see bench data --help"), {}),
    ("run", ("Missing argument 'PROTOCOL'", "see bench run --help"), {}),
    ("validate", ("Missing argument 'PROTOCOL'", "see bench validate --help"), {}),
    ("claims", ("Missing argument 'RUN'", "see bench claims --help"), {}),
    ("compare one", ("compare: name a second run, or give --reference",), {}),
    ("run tiny.yaml more", ("unexpected extra argument", "more"), {}),
    ("run tiny.yaml --nonsense", ("No such option: --nonsense", "see bench run --help"), {}),
    ("run tiny.yaml --executor slurm", ("--executor", "'slurm' is not one of 'ray', 'local'"), {}),
    ("run tiny.yaml --set", ("'--set' requires an argument",), {}),
    ("validate tiny.yaml --results x", ("No such option: --results",), {}),
    ("list models more", ("unexpected extra argument", "more"), {}),
    ("list modles", ("list: nothing called 'modles' (did you mean 'models'?)",), {}),
    ("list ''", ("WHAT: it is empty; say what, or leave it out",), {}),
    ("compare a b --most 0", ("--most", "greater than or equal to 1", "bench compare"), {}),
    ("compare a b --most few", ("--most", "should be a valid integer"), {}),
    # The same option twice, and empty values, as from unset variables.
    (f"run tiny.yaml {RUN} --results b", ("--results: it is given twice; leave one out",), {}),
    (f"run tiny.yaml {RUN} --only mean --only zero", ("--only: it is given twice",), {}),
    (f"run tiny.yaml {RUN} --only ''", ("--only: it is empty; say what, or leave it out",), {}),
    (f"run '' {RUN}", ("PROTOCOL: it is empty",), {}),
    ("run tiny.yaml --executor local --results ''", ("--results: it is empty",), {}),
    (f"run tiny.yaml {RUN} --data-root ''", ("--data-root: it is empty",), {}),
    (f"run tiny.yaml {RUN} --plugin ''", ("--plugin: it is empty",), {}),
    ("run tiny.yaml --results results --address ''", ("--address: it is empty",), {}),
    ("data get cmu --url ''", ("--url: it is empty",), {}),
    ("data check ''", ("PATH: it is empty",), {}),
    ("data describe ''", ("DATASETS: it is empty",), {}),
    # Selection of models.
    (f"run tiny.yaml {RUN} --only ,", ("--only: no model or predictor ''",), {}),
    (f"run tiny.yaml {RUN} --only mean,,zero", ("--only: no model or predictor ''",), {}),
    (f"run tiny.yaml {RUN} --only hgvea", ("'hgvea' (did you mean 'hgvae'?)",), {}),
    (f"run tiny.yaml {RUN} --only MEAN", ("'MEAN' (did you mean 'mean'?)",), {}),
    (f"run tiny.yaml {RUN} --only features", ("--only: no model or predictor 'features'",), {}),
    ("validate tiny.yaml --only mean,ldt", ("'ldt' (did you mean 'ltd'?)",), {}),
    # Overrides.
    *(
        (f"validate tiny.yaml --set {shlex.quote(override)}", (f"--set {override}", says), {})
        for override, says in {
            "x": "write it as KEY.PATH=VALUE, such as models.hgvae.epochs=5",
            "=3": "write it as KEY.PATH=VALUE, such as models.hgvae.epochs=5",
            "models.=1": "write it as",
            ".a=1": "write it as",
            "models..x=1": "write it as",
            "seeds.0=1": "'seeds' has no keys of its own",
            "name.x=1": "'name' has no keys of its own",
            "seeds=[": "the value is not valid YAML: line 1: ",
            "seeds={1: 2, 1: 3}": "the key '1' occurs twice",
            "seeds=!!python/object:os.x {}": "could not determine a constructor",
            "seeds=&a [*a]": "more than 100,000 values",
            "name=2024-99-99": "month must be in 1..12",
        }.items()
    ),
    ("validate tiny.yaml --set models.mean=3", ("tiny.yaml: models.mean: give a mapping",), {}),
    ("validate tiny.yaml --set seeds=", ("tiny.yaml: seeds: give a list, such as [a, b]",), {}),
    # Files that cannot be read as protocols.
    (f"run missing.yaml {RUN}", ("missing.yaml: cannot be read (No such file",), {}),
    (f"run . {RUN}", (".: cannot be read (not a regular file)",), {}),
    (f"run /dev/zero {RUN}", ("/dev/zero: cannot be read (not a regular file)",), {}),
    (f"run pipe {RUN}", ("pipe: cannot be read (not a regular",), {"pipe": os.mkfifo}),
    (f"run tiny.yaml/x {RUN}", ("tiny.yaml/x: cannot be read (Not a directory)",), {}),
    (f"run loop {RUN}", ("loop: no such file",), {"loop": lambda p: p.symlink_to(p)}),
    (f"run {'x' * 300} {RUN}", ("File name too long",), {}),
    (f"run 'a\nb.yaml' {RUN}", (r"a\nb.yaml: cannot be read",), {}),
    # Folders of results.
    ("run tiny.yaml --executor local --results file", ("file is no folder",), {"file": ""}),
    ("run tiny.yaml --executor local --results file/x/y", ("file is no folder",), {"file": ""}),
    (
        "run tiny.yaml --executor local --results gone",
        ("--results gone: gone is no folder; name another place",),
        {"gone": lambda path: path.symlink_to("nowhere")},
    ),
    ("run tiny.yaml --executor local --results /dev/null", ("/dev/null is no folder",), {}),
    ("data describe synthetic --results tiny.yaml", ("--results tiny.yaml: tiny.yaml is no",), {}),
    # Folders of data.
    (f"run tiny.yaml {RUN} --data-root nowhere", ("--data-root nowhere: it is no folder",), {}),
    (f"run tiny.yaml {RUN} --data-root tiny.yaml", ("--data-root tiny.yaml: it is no",), {}),
    ("data list --data-root nowhere", ("--data-root nowhere: it is no folder; check it",), {}),
    (f"run tiny.yaml {RUN} --set 'dataset={{name: cmu}}'", ("cmu", "--data-root DIR"), {}),
    # Executors and Ray addresses.
    (f"run tiny.yaml {RUN} --address auto", ("--address names a Ray cluster; leave it out",), {}),
    *(
        (f"run tiny.yaml --results results --address {address}", (f"{address}", says), {})
        for address, says in {
            "nonsense": "give auto or HOST:PORT, such as 10.0.0.1:6379",
            "host:port": "give auto or HOST:PORT",
            "http://host": "give auto or HOST:PORT",
            "127.0.0.1:99999": "give auto or HOST:PORT",
            "127.0.0.1:1": "start one there with: ray start --head --port=1",
        }.items()
    ),
    # Quick looks.
    (f"run tiny.yaml {RUN} --limit 0", ("limit: input should be greater than or equal to 1",), {}),
    (f"run tiny.yaml {RUN} --limit few", ("--limit", "should be a valid integer"), {}),
    (f"run tiny.yaml {RUN} --limit {10**20}", ("limit: a whole number is at most",), {}),
    # Speed.
    ("speed --json tiny.yaml/x", ("tiny.yaml/x: no file can be written there",), {}),
    ("speed --json .", (".: no file can be written there; name another place",), {}),
    ("compare a b --csv tiny.yaml/x", ("tiny.yaml/x: no file can be written there",), {}),
    ("speed nothing", ("speed: no row called 'nothing' (known: ",), {}),
    ("speed ltd", ("speed: 'ltd' needs --against a checkout of wei-mao-2019/LearnTrajDep",), {}),
    ("speed epoch --malloc default", ("speed: 'epoch' needs --malloc tuned",), {}),
    ("speed --rounds 0", ("--rounds", "greater than or equal to 1"), {}),
    ("speed --threads none", ("--threads", "should be a valid integer"), {}),
    ("speed --malloc jemalloc", ("--malloc", "'jemalloc' is not one of"), {}),
    # Plugins.
    ("list models --plugin nope.py", ("--plugin nope.py: no such file",), {}),
    ("list models --plugin .", ("--plugin .: no such file",), {}),
    ("list models --plugin tiny.yaml", ("--plugin tiny.yaml: not a Python file; its name",), {}),
    ("list models --plugin own.py", ("own.py: SyntaxError: invalid",), {"own.py": "def f(:\n"}),
    (
        "list models --plugin own.py",
        ("own.py: ValueError: a b",),
        {"own.py": "raise ValueError('a\\nb')"},
    ),
    (
        "list models --plugin own.py",
        ("own.py: SystemExit: 3",),
        {"own.py": "import sys; sys.exit(3)"},
    ),
    ("list models --plugin own.py", ("No module named 'no_such'",), {"own.py": "import no_such"}),
    ("list models --plugin own.py", ("RecursionError",), {"own.py": "def f(): f()\nf()"}),
    ("list models --plugin own.py", ("own.py: SyntaxError",), {"own.py": b"\xe9 = 1"}),
    ("list models --plugin own.py", ("defines no class with a name",), {"own.py": "x = 1"}),
    ("list models --plugin own.py", ("a model 'mean' already exists",), {"own.py": TAKEN}),
    (
        "list models --plugin a/own.py --plugin b/own.py",
        ("b/own.py: another plugin file has the same name; rename one",),
        {"a/own.py": MODEL, "b/own.py": MODEL.replace("middle", "other")},
    ),
    # Folders that are no runs.
    ("claims nowhere", ("nowhere: no such folder; one of a run is results/",), {}),
    ("claims tiny.yaml", ("tiny.yaml: not the folder of a run",), {}),
    ("compare nowhere nowhere", ("nowhere: no such folder",), {}),
    ("merge", ("Missing argument 'RUN...'", "see bench merge --help"), {}),
    ("merge nowhere", ("merge: name two or more runs",), {}),
    ("merge a b", ("a: no such folder; one of a run is results/",), {}),
    ("merge a ./a", ("a: the same run as a; name each once",), {}),
    ("merge a b --results tiny.yaml", ("--results tiny.yaml: tiny.yaml is no folder",), {}),
    ("merge a b --protocol nope.yaml", ("nope.yaml: ",), {}),
    ("rescore", ("Missing argument 'RUN'", "see bench rescore --help"), {}),
    ("rescore nowhere", ("nowhere: no such folder; one of a run is results/",), {}),
    ("rescore tiny.yaml", ("tiny.yaml: not the folder of a run",), {}),
    ("rescore a --results nowhere", ("--results nowhere: it is no folder",), {}),
    # Data.
    ("data describe nobody", ("unknown data set 'nobody' (known: ",), {}),
    ("data describe synthetic --set fps=0", ("synthetic.fps: input should be greater than 0",), {}),
    ("data describe synthetic --set secnds=3", ("(did you mean 'seconds'?)",), {}),
    ("data describe synthetic --set fps", ("--set fps: write it as",), {}),
    ("data describe cmu", ("cmu: where are the files? Give --data-root DIR",), {}),
    ("data describe cmu --data-root nowhere", ("--data-root nowhere: it is no folder",), {}),
    ("data check nowhere", ("nowhere: no such file or folder",), {}),
    ("data check /dev/zero", ("/dev/zero: no such file or folder",), {}),
    ("data check pipe", ("pipe: no such file or folder",), {"pipe": os.mkfifo}),
    ("data get", ("Missing argument 'NAME'",), {}),
    ("data get nobody", ("get: no data set 'nobody'",), {}),
    ("data get ../x", ("get: no data set '../x'",), {}),
    ("data get synthetic", ("get: synthetic is not published",), {}),
    ("data get h36m", ("get: h36m cannot be downloaded by bench; published at",), {}),
    ("data get cmu --sha256 xyz", ("--sha256 xyz: a SHA-256 is 64 hexadecimal digits",), {}),
    ("data get cmu --url file:///etc/passwd", ("must begin with http:// or https://",), {}),
    ("data get cmu --url ftp://example.org/x", ("must begin with http:// or https://",), {}),
    ("data get cmu --url nonsense", ("--url nonsense: Invalid URL",), {}),
    ("data get cmu --url http://", ("--url http://: Invalid URL",), {}),
    ("data get cmu --url 'http://[bad'", ("--url http://[bad: Failed to parse",), {}),
    ("data get cmu --to tiny.yaml", ("tiny.yaml: File exists",), {}),
    ("data get cmu --to tiny.yaml/x", ("tiny.yaml/x: Not a directory",), {}),
]


@pytest.mark.parametrize(("command", "says", "files"), COMMANDS)
def test_a_bad_command(
    command: str, says: tuple[str, ...], files: dict[str, Content], bench: Bench
) -> None:
    write(files)
    refused(bench, command, *says)


def test_a_data_root_from_the_environment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", "/nowhere")
    refused(bench, f"run tiny.yaml {RUN}", "--data-root /nowhere: it is no folder", "BENCH_DATA")


def test_a_gpu_that_is_not_available(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    command = f"run tiny.yaml {RUN} --set resources.device=cuda"
    refused(bench, command, "resources.device: cuda requested, but torch sees no GPU; use auto")


DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "half of the values": ("windows.parquet", lambda p: p.write_bytes(p.read_bytes()[:500]), ""),
    "no value column": (
        "windows.parquet",
        lambda p: pd.read_parquet(p).drop(columns="value").to_parquet(p),
        "windows.parquet has no column value",
    ),
    "a table in place of values": ("windows.parquet", lambda p: p.write_text("a,b\n1,2\n"), ""),
    "a protocol with tabs": ("protocol.yaml", lambda p: p.write_text("\ta: 1"), "line 1: "),
    "a protocol of objects": ("protocol.yaml", lambda p: p.write_text("a: !!python/none"), "tag"),
    "a protocol of laughs": ("protocol.yaml", lambda p: p.write_text(LAUGHS), "100,000 values"),
    "provenance cut short": ("provenance.json", lambda p: p.write_text("{"), "line 1 column"),
    "provenance of a list": ("provenance.json", lambda p: p.write_text("[]"), ""),
    "deep provenance": ("provenance.json", lambda p: p.write_text("[" * 10**5), "recursion"),
}


def test_a_damaged_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.report.figures.begin_all", lambda *_: list)
    more = ("--only", "mean,zero", "--set", "seeds=[0]")
    assert bench("run", "tiny.yaml", *shlex.split(RUN), *more).code == 0
    whole = Path("results/tiny/latest").resolve()
    for what, (name, harm, says) in DAMAGES.items():
        shutil.copytree(whole, "run")
        harm(Path("run") / name)
        message = "run: not the folder of a run, such as results/occlusion/latest ("
        pairs = (f"compare {whole} run", f"compare run {whole}", f"merge {whole} run")
        for command in ("claims run", "rescore run", *pairs):
            assert refused(bench, command, message, says), what
        shutil.rmtree("run")
    shutil.copytree(whole, "run")
    for what in ("", "kind,key\n", Path("run/jobs.csv").read_text().replace(",done,", ",gone,", 1)):
        Path("run/jobs.csv").write_text(what)
        for command in ("rescore run", f"merge {whole} run"):
            refused(bench, command, "run/jobs.csv: not a valid table of jobs")


def test_without_a_command_the_available_ones_are_printed(bench: Bench) -> None:
    for words, name in (((), "compare"), (("data",), "describe")):
        ended = bench(*words)
        assert ended.code == 2
        assert name in ended.out
        assert not ended.err
