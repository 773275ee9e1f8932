"""Protocol files: what they mean, and one clear line for everything they may get wrong."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from bench import plan
from bench.datasets.base import Data, Dataset, Source
from bench.errors import InputError
from bench.motion import Skeleton
from bench.protocol import load, resolve
from bench.registry import CORRUPTIONS, DATASETS, INFERENCES, MECHANISMS, MODELS, PREDICTORS
from tests.conftest import PROJECT, TINY, Bench


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the tiny protocol with one value changed; an Ellipsis removes it."""
    raw = yaml.safe_load(yaml.safe_dump(TINY))
    place = raw
    *keys, last = path.split("/")
    for key in keys:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return raw


BAD = [
    ("epoch", 3, "epoch: unknown key 'epoch'"),
    ("model", {}, "did you mean 'models'?"),
    ("dataset", ..., "dataset: missing"),
    ("dataset/name", "synthetik", "unknown data set 'synthetik' (did you mean 'synthetic'?)"),
    ("dataset/name", ..., "dataset.name: say which"),
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
    ("models/hgvae", {"like": "untrained"}, "in a circle"),
    ("models/mean", {"x": 1}, "models.mean.x: unknown key 'x'"),
    ("models/mean", {"model": 3}, "unknown model '3'"),
    ("inference", {"mpa": {}}, "unknown inference 'mpa' (did you mean 'map'?)"),
    ("inference", {"mean": {"inference": "map"}}, "inference.mean: this label is the degraded"),
    ("inference/map/steps", 0, "inference.map.steps"),
    ("inference/map/rate", 0, "inference.map.rate"),
    ("occlusion", {}, "occlusion"),
    ("occlusion/joints", {"levels": [1]}, "unknown mechanism 'joints'"),
    ("occlusion/features", {}, "occlusion.features.levels: give a list"),
    ("occlusion/features/levels", [], "occlusion.features.levels: give a list"),
    ("occlusion/features/levels", 10, "occlusion.features.levels: give a list"),
    ("occlusion/features/levels", ["110%"], "level 110% is over 100%"),
    ("occlusion/features/levels", [1.5], "level 1.5 is over 100%"),
    ("occlusion/features/levels", [2701], "level 2701 is over 100%: a window has 2700 features"),
    ("occlusion/features/levels", [-1], "neither a count like 270 nor a share"),
    ("occlusion/features/levels", ["lots"], "neither a count like 270 nor a share"),
    ("occlusion/features/levels", [0], "hides nothing"),
    ("occlusion/features/levels", ["0%"], "hides nothing"),
    ("occlusion/features/levels", [3, 3], "names the same one twice"),
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
    ("occlusion/features/levels", ["10%", 0.1], "10%, 10% names the same one twice"),
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
    ("corruption/joint_swap", {"levels": ["101%"]}, "level 101% is over 100%"),
    ("corruption/joint_swap", {"levels": [0]}, "swaps nothing"),
    ("corruption/joint_swap", {"levels": ["10%", 0.1]}, "10%, 10% names the same one twice"),
    ("corruption/joint_swap", {"levels": [5, "5"]}, "5, 5 names the same one twice"),
    (
        "corruption/features",
        {"corruption": "noise", "levels": [5]},
        "features: a label of occlusion, corruption or foreign is one of them only",
    ),
    ("foreign/features", {"name": "synthetic"}, "features: a label of occlusion, corruption or"),
    ("foreign/noise", {"name": "synthetic"}, "noise: a label of occlusion, corruption or foreign"),
    ("foreign/others/name", ..., "foreign.others.name: unknown data set 'others'"),
    ("foreign/others/name", "synthetik", "(did you mean 'synthetic'?)"),
    ("foreign/others/frames", 40, "foreign.others: its windows must have the 50 frames"),
    ("foreign/others/fps", 30, "foreign.others: its windows must have the 50 frames and the rate"),
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
    ("models/linear", {"train_on": ["walk"]}, "models.linear.train_on"),
    ("predictor", {}, "did you mean 'predictors'?"),
    ("predictors", [], "predictors"),
    ("predictors/lstm", {}, "unknown predictor 'lstm'"),
    ("predictors/mean2", {"predictor": "mean"}, "unknown predictor 'mean'"),
    ("predictors/ldt", {}, "unknown predictor 'ldt' (did you mean 'ltd'?)"),
    ("predictors/ltd/epocs", 5, "predictors.ltd.epocs: unknown key 'epocs' (did you mean"),
    ("predictors/ltd/batch_size", 1, "predictors.ltd.batch_size: input should be greater than"),
    ("predictors/ltd/past", 0, "predictors.ltd.past"),
    ("predictors/ltd/past", 51, "predictors.ltd: past: 51 frames asked for, windows have 50"),
    ("predictors/ltd/step", 0, "predictors.ltd.step"),
    ("predictors/ltd/dropout", 1, "predictors.ltd.dropout"),
    ("predictors/ltd/train_on", ["walk"], "predictors.ltd.train_on: unknown key 'train_on'"),
    ("predictors/ltd/inference", ["map"], "predictors.ltd.inference: unknown key 'inference'"),
    ("predictors/ltd/preset", "nobody", "predictors.ltd.preset: no preset 'nobody'"),
    ("predictors/ltd_degraded/like", "lstm", "predictors.ltd_degraded.like: no predictor 'lstm'"),
    ("predictors/ltd_degraded/like", "hgvae", "predictors.ltd_degraded.like: no predictor"),
    ("predictors/ltd", {"like": "ltd_degraded"}, "in a circle"),
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
    ("predictors/mean", {"predictor": "ltd"}, "mean: a label of models or predictors is one of"),
    ("predictors/", {"predictor": "ltd"}, "predictors"),
    (
        "predictors/hisrep",
        {"past": 30},
        "predictors.hisrep: kernel and step are 35 frames, and its past has 30",
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
        "published.1: there is a table of ltd and these windows",
    ),
    (
        "published",
        [{"predictor": "ltd", "source": "me", "mm": {"walk": ["far"] * 8}}],
        "published.0.mm.walk.0",
    ),
    ("dataset/future", 0, "dataset.future: input should be greater than or equal to 1"),
]
TOO_SHORT = ("predictors/hisrep", "predictors/ltd/past")


@pytest.mark.parametrize(("path", "value", "message"), BAD)
def test_a_bad_protocol_gets_one_line_and_leaves_nothing(
    path: str, value: Any, message: str, tmp_path: Path, bench: Bench
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(changed(path, value)))
    ended = bench("run", file, "--results", tmp_path / "results", "--executor", "local")
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert "Traceback" not in ended.out + ended.err
    if path in TOO_SHORT:
        # It comes to light when the plan is made, of windows that are cut by then.
        assert not (tmp_path / "results" / "tiny").exists()
    else:
        assert str(file) in ended.err
        assert not (tmp_path / "results").exists()


def test_a_protocol_of_neither_models_nor_predictors(tmp_path: Path, bench: Bench) -> None:
    raw = {"dataset": {"name": "synthetic"}, "occlusion": TINY["occlusion"]}
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(raw))
    ended = bench("validate", file)
    assert ended.code == 2
    assert "models: missing; name a model, or a predictor under predictors" in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [", "not valid YAML"),
        ("just words", "a protocol is a mapping"),
        ("", "a protocol is a mapping"),
        ("a: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("\x00", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_protocol(text: str, message: str, tmp_path: Path, bench: Bench) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    ended = bench("validate", file)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1


def test_a_missing_file_or_a_folder(tmp_path: Path, bench: Bench) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        ended = bench("run", path)
        assert ended.code == 2
        assert "cannot be read" in ended.err


@pytest.mark.parametrize("override", ["x", "=3", "models.=1", "seeds.first=1", "seeds=[", ".a=1"])
def test_a_bad_override(override: str, tiny: Path, bench: Bench) -> None:
    ended = bench("validate", tiny, "--set", override)
    assert ended.code == 2
    assert f"--set {override}" in ended.err


def test_overrides_reach_everything(tiny: Path) -> None:
    protocol = load(
        tiny, ["models.hgvae.epochs=7", "seeds=[4]", "scale.test=3", "models.zero2.model=zero"]
    )
    assert protocol.models["hgvae"].settings.epochs == 7
    assert protocol.models["untrained"].settings.epochs == 7  # like: hgvae
    assert protocol.models["untrained"].model == "untrained"
    assert protocol.models["zero2"].model == "zero"
    assert protocol.seeds == (4,)
    assert protocol.scale.test == 3


def test_a_resolved_protocol_states_everything_and_resolves_to_itself(tiny: Path) -> None:
    protocol = load(tiny)
    plain = protocol.to_dict()
    assert plain["models"]["hgvae"]["gradient_clip"] == 100
    assert yaml.safe_load(yaml.safe_dump(plain)) == resolve(plain).to_dict() == plain


def test_only_chooses_models(tiny: Path, bench: Bench) -> None:
    assert list(load(tiny).only(["linear", "mean"]).models) == ["mean", "linear"]
    ended = bench("validate", tiny, "--only", "mean,hgvea")
    assert ended.code == 2
    assert "did you mean 'hgvae'?" in ended.err


@pytest.mark.parametrize(
    "path", sorted((PROJECT / "protocols").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_protocol_of_the_project_resolves(path: Path) -> None:
    protocol = load(path)
    assert protocol.name == path.stem
    assert any(entry.cls.control for entry in protocol.learners.values())


class Stick(Dataset):
    """Motion of three joints."""

    name: ClassVar[str] = "stick"

    @property
    def skeleton(self) -> Skeleton:
        """Three joints in a row."""
        return DATASETS.get("synthetic")().skeleton.select(["spine3", "neck", "head"])

    def sources(self, root: Path | None) -> list[Source]:
        """Return nothing."""
        return []

    def read(self, source: Source) -> NDArray[np.float32]:
        """Read nothing."""
        raise AssertionError


def test_a_foreign_data_set_must_have_as_many_joints(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS._classes, "stick", Stick)
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(changed("foreign", {"stick": {}})))
    ended = bench("run", file, "--results", tmp_path / "results", "--executor", "local")
    assert ended.code == 2
    assert "foreign.stick: it has 3 joints, not 18" in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_a_foreign_data_set_must_have_the_same_joints(tmp_path: Path, bench: Bench) -> None:
    """As many will not do: those of the exponential maps have hands where others have collars."""
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(changed("foreign", {"cmu_expmap": {}})))
    ended = bench("run", file, "--results", tmp_path / "results", "--executor", "local")
    assert ended.code == 2
    assert "foreign.cmu_expmap: its joints spine, chest, left_hand, right_hand are not" in ended.err


def test_a_foreign_data_set_takes_frames_and_rate_from_the_data_set() -> None:
    raw = changed("dataset/frames", 30)
    raw["dataset"]["fps"] = 12.5
    (others,) = resolve(raw).foreign.values()
    assert (others.frames, others.fps) == (30, 12.5)
    assert others.model_dump()["seed"] == 7
    alone = resolve(changed("foreign", {"synthetic": None})).foreign["synthetic"]
    assert (alone.name, alone.frames) == ("synthetic", 50)


def settings_of(entries: dict[str, Any], label: str) -> dict[str, Any]:
    """Return what a model entry's settings resolve to."""
    raw = changed("models", entries)
    return resolve(raw | {"comparisons": {}}).models[label].settings.model_dump()


def test_own_keys_go_before_the_own_preset_and_that_before_like() -> None:
    other = {"model": "hgvae", "width": 8, "sigma_floor": 5.0, "weight_decay": 0.3, "epochs": 3}
    entry = {"weight_decay": 0.5, "preset": "published_code", "like": "other", "model": "hgvae"}
    told = settings_of({"other": other, "mine": entry}, "mine")
    assert told["weight_decay"] == 0.5  # its own, over 1e-4 of the preset and 0.3 of the other
    assert told["sigma_floor"] == 0.0  # of the preset, over 5 of the other
    assert told["layout"] == "scrambled"  # of the preset alone
    assert (told["width"], told["epochs"]) == (8, 3)  # of the other alone
    assert told["batch_size"] == MODELS.get("hgvae").Settings().batch_size
    backwards = dict(reversed(entry.items()))
    assert settings_of({"mine": backwards, "other": other}, "mine") == told


def test_a_preset_of_the_entry_that_another_is_like_is_inherited() -> None:
    entries = {
        "first": {"model": "hgvae", "preset": "published_code", "residual": "input"},
        "second": {"model": "untrained", "like": "first"},
        "third": {"model": "hgvae", "like": "second", "preset": "paper_recipe", "dct": "forward"},
    }
    first, second, third = (settings_of(entries, label) for label in entries)
    assert first == second
    assert first["residual"] == "input"
    assert first["dct"] == "inverse"
    assert third == {**first, "dct": "forward"}  # the rest of that preset is in the other's too
    raw = resolve(changed("models", entries) | {"comparisons": {}})
    assert raw.models["second"].model == "untrained"


@pytest.mark.parametrize(
    ("section", "registry", "key"),
    [
        ("models", MODELS, "model"),
        ("inference", INFERENCES, "inference"),
        ("occlusion", MECHANISMS, "mechanism"),
        ("corruption", CORRUPTIONS, "corruption"),
    ],
)
def test_every_preset_is_settings_that_its_class_has(section: str, registry: Any, key: str) -> None:
    tried = 0
    for name, cls in registry.all().items():
        for preset, stated in getattr(cls, "presets", {}).items():
            entry = {key: name, "preset": preset}
            if section == "occlusion":
                entry["levels"] = [3]
            raw = changed(section, {"mine": entry}) | {"comparisons": {}, "predictors": {}}
            told = resolve(raw).to_dict()[section]["mine"]
            assert {label: told[label] for label in stated} == stated
            assert "preset" not in told
            tried += 1
    assert tried or section == "corruption"


def test_own_keys_of_inferences_and_mechanisms_go_before_their_presets() -> None:
    raw = changed(
        "inference",
        {
            "all": {"inference": "map", "preset": "published_code"},
            "most": {"inference": "map", "preset": "published_code", "accumulate": False},
        },
    )
    raw["predictors"] = {}
    raw["occlusion"] = {
        "one": {"mechanism": "features", "preset": "published_code", "levels": [3]},
        "each": {
            "mechanism": "features",
            "shared": False,
            "preset": "published_code",
            "levels": [3],
        },
    }
    told = resolve(raw).to_dict()
    ways = {label: (way["start"], way["accumulate"]) for label, way in told["inference"].items()}
    assert ways == {"all": ("normal", True), "most": ("normal", False)}
    assert {label: entry["shared"] for label, entry in told["occlusion"].items()} == {
        "one": True,
        "each": False,
    }


def test_a_wrong_mean_is_a_preset_of_the_mean(tiny: Path) -> None:
    protocol = load(tiny)
    assert protocol.models["wrong_mean"].settings.scale == 3.03
    assert protocol.models["mean"].settings.scale == 1


def everything() -> dict[str, Any]:
    """Return the tiny protocol with some of all that a protocol can say."""
    raw = changed("models/vae/inference", ["far"])
    raw["models"]["published"] = {"model": "hgvae", "like": "hgvae", "preset": "published_code"}
    raw["inference"]["far"] = {"inference": "map", "preset": "published_code", "rate": 10}
    raw["occlusion"]["one_mask"] = {"mechanism": "features", "shared": True, "levels": ["2.5%"]}
    raw["corruption"]["markers"] = {"corruption": "joint_swap", "levels": [3, "10%", 0.5]}
    raw["foreign"]["strangers"] = {"name": "synthetic", "seed": 1}
    raw["references"] = ["linear"]
    raw["comparisons"]["far"] = {"model": "hgvae", "inference": "far", "against": "mean"}
    raw["predictors"]["both"] = {"predictor": "ltd", "degraded": ["one_mask", "features"]}
    raw["predictors"]["steps"] = {"predictor": "ltd", "like": "ltd_degraded", "step": 10}
    raw["forecast"] = {"horizons_ms": [400, 80, 1000], "imputers": ["linear", "vae"]}
    raw["published"] = [
        {
            "predictor": "ltd",
            "source": "me",
            "windows": "8 windows",
            "mm": {"walk": [1, None, 2.5], "average": [1, 2, 3]},
        }
    ]
    return raw


def test_a_protocol_of_everything_resolves_to_itself() -> None:
    protocol = resolve(everything())
    plain = yaml.safe_load(yaml.safe_dump(protocol.to_dict()))
    again = resolve(plain)
    assert again.to_dict() == plain == protocol.to_dict()
    parts = ("models", "inference", "occlusion", "corruption", "foreign", "comparisons")
    for part in (*parts, "predictors", "forecast", "published"):
        assert getattr(again, part) == getattr(protocol, part)
    assert again.references == protocol.references == ("linear",)
    assert again.models["walking"].train_on == ("walk",)
    assert again.models["vae"].inference == ("far",)
    assert again.models["hgvae"].inference is None
    assert plain["corruption"]["markers"]["levels"] == [3, "10%", "50%"]
    assert "levels" not in plain["corruption"]["time_reversal"]


def test_validate_prints_a_protocol_that_is_the_same(tmp_path: Path, bench: Bench) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(yaml.safe_dump(everything()))
    printed = bench("validate", first)
    assert printed.code == 0
    second.write_text(printed.out)
    assert bench("validate", second).out == printed.out


def test_references_are_mean_and_linear_unless_told_otherwise(tiny: Path) -> None:
    assert load(tiny).references == ("mean", "linear")
    assert load(tiny, ["references=[zero]"]).references == ("zero",)
    assert load(tiny, ["references=[]"]).references == ()
    assert load(tiny).only(["zero", "mean"]).references == ("mean",)


def test_only_keeps_the_comparisons_that_it_has_both_sides_of() -> None:
    protocol = resolve(everything())
    assert set(protocol.comparisons) == {"zeros", "far"}
    assert set(protocol.only(["zero", "wrong_mean", "mean"]).comparisons) == {"zeros"}
    assert set(protocol.only(["hgvae", "mean"]).comparisons) == {"far"}
    assert not protocol.only(["zero", "hgvae"]).comparisons
    kept = protocol.only(["hgvae", "mean"])
    assert resolve(kept.to_dict()).to_dict() == kept.to_dict()


@pytest.mark.parametrize(
    ("label", "levels"),
    [
        ("noise", [5, 5.5, 0.1, 100]),
        ("noise", [1000000.0, 1000000.5]),
        ("joint_swap", [3, "10%", "10.5%", 5]),
    ],
)
def test_levels_that_differ_are_told_apart_or_refused(label: str, levels: list[Any]) -> None:
    """Two levels of one label would be one cell in every table."""
    try:
        entry = resolve(changed("corruption", {label: {"levels": levels}})).corruption[label]
    except InputError:
        return
    assert len({entry.label(level) for level in entry.levels}) == len(levels)


def test_a_predictor_may_be_like_another_and_stays_itself() -> None:
    protocol = resolve(everything())
    degraded = protocol.predictors["ltd_degraded"]
    assert degraded.settings == protocol.predictors["ltd"].settings
    assert (degraded.predictor, degraded.degraded) == ("ltd", ("features",))
    assert protocol.predictors["ltd"].degraded == ()
    assert protocol.predictors["both"].degraded == ("one_mask", "features")
    steps = protocol.predictors["steps"]
    assert (steps.settings.step, steps.settings.width) == (10, 8)
    assert steps.degraded == ("features",)  # that too is a key of the entry that it is like


def test_a_predictor_may_take_up_a_preset_of_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    cls = PREDICTORS.get("ltd")
    monkeypatch.setattr(cls, "presets", {"small": {"width": 4, "blocks": 2}})
    entries = {
        "first": {"predictor": "ltd", "preset": "small", "blocks": 3},
        "second": {"predictor": "ltd", "like": "first", "width": 5},
    }
    told = resolve(changed("predictors", entries)).predictors
    assert [(e.settings.width, e.settings.blocks) for e in told.values()] == [(4, 3), (5, 3)]


def horizons(**dataset: Any) -> dict[int, int]:
    """Return the usual horizons of a data set, and the frame of each."""
    entries = {"dataset": {"name": "synthetic", **dataset}, "predictors": {"zero_velocity": {}}}
    protocol = resolve({"name": "alone", **entries})
    assert protocol.forecast.horizons_ms == tuple(protocol.horizons)
    assert resolve(protocol.to_dict()).to_dict() == protocol.to_dict()
    return protocol.horizons


def test_horizons_are_the_usual_ones_that_windows_have_a_frame_of() -> None:
    usual = {80: 1, 160: 3, 320: 7, 400: 9, 560: 13, 720: 17, 880: 21, 1000: 24}
    assert horizons() == usual
    assert horizons(future=10) == {80: 1, 160: 3, 320: 7, 400: 9}
    assert horizons(future=9) == {80: 1, 160: 3, 320: 7}
    assert horizons(fps=50, future=50) == {ms: 2 * frame + 1 for ms, frame in usual.items()}
    # A frame every 33 ms: of the usual ones only these two fall on one.
    assert horizons(fps=30, future=30) == {400: 11, 1000: 29}
    assert horizons(future=1) == {}


def test_horizons_are_judged_in_the_order_asked_for() -> None:
    protocol = resolve(everything())
    assert list(protocol.horizons.items()) == [(400, 9), (80, 1), (1000, 24)]
    raw = changed("forecast", {"horizons_ms": [40, 1000]})
    assert resolve(raw).horizons == {40: 0, 1000: 24}


def test_predictors_alone_need_no_occlusion() -> None:
    raw = {"name": "alone", "dataset": {"name": "synthetic"}, "predictors": {"zero_velocity": None}}
    protocol = resolve(raw)
    assert (dict(protocol.models), dict(protocol.occlusion)) == ({}, {})
    assert protocol.references == ()
    assert resolve(yaml.safe_load(yaml.safe_dump(protocol.to_dict()))) == protocol


def test_only_chooses_predictors_too(tiny: Path, bench: Bench) -> None:
    protocol = resolve(everything())
    kept = protocol.only(["ltd", "linear", "mean"])
    assert (set(kept.predictors), set(kept.models)) == ({"ltd"}, {"mean", "linear"})
    assert kept.forecast.imputers == ("linear",)
    assert [table.predictor for table in kept.published] == ["ltd"]
    assert resolve(kept.to_dict()).to_dict() == kept.to_dict()
    # What a predictor was like need not run.
    other = protocol.only(["ltd_degraded", "vae"])
    assert other.predictors["ltd_degraded"] == protocol.predictors["ltd_degraded"]
    assert (other.published, other.forecast.imputers) == ((), ("vae",))
    assert resolve(other.to_dict()).to_dict() == other.to_dict()
    alone = protocol.only(["zero_velocity"])
    assert not alone.models
    assert alone.forecast.imputers == ()
    assert resolve(alone.to_dict()).to_dict() == alone.to_dict()
    ended = bench("validate", tiny, "--only", "mean,ldt")
    assert ended.code == 2
    assert "no model or predictor 'ldt' (did you mean 'ltd'?)" in ended.err
    assert yaml.safe_load(bench("validate", tiny, "--only", "ltd").out)["models"] == {}


def fed(**forecast: Any) -> set[tuple[str, str, str]]:
    """Return whose completions predictors are fed: model, inference, and level."""
    protocol = resolve(changed("forecast", forecast))
    data = Data("synthetic", True, "key", {}, [], [])
    cells = plan.make(protocol, data, {"others": "key"}).cells
    pasts = [cell for cell in cells if cell.past]
    assert {cell.predictor for cell in pasts} == set(protocol.predictors)
    kept = {cell.key: cell for cell in cells if cell.keep}
    assert {cell.past for cell in pasts} == set(kept)
    for cell in pasts:
        past = kept[cell.past]
        assert (past.model, past.inference, past.mechanism, past.level, past.seed) == (
            cell.model, cell.inference, cell.mechanism, cell.level, cell.seed
        )  # fmt: skip
    return {(cell.model, cell.inference, cell.level) for cell in pasts}


def test_predictors_are_fed_what_every_imputer_or_those_that_are_named_complete() -> None:
    levels = ("3", "10%", "50%")
    plain = {(label, "") for label in ("mean", "linear", "zero", "wrong_mean")}
    drawn = {(label, "map") for label in ("hgvae", "untrained", "vae")}
    # A degraded window as it is, the inference called mean, is what the model mean completes.
    assert fed() == {(*imputer, level) for imputer in plain | drawn for level in levels}
    chosen = fed(imputers=["linear", "vae"])
    assert chosen == {
        (*imputer, level) for imputer in (("linear", ""), ("vae", "map")) for level in levels
    }
