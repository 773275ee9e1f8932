"""Protocol files: what they mean, and one clear line for everything they may get wrong."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from bench.datasets.base import Dataset, Recording
from bench.errors import InputError
from bench.motion import Skeleton
from bench.protocol import load, resolve
from bench.registry import CORRUPTIONS, DATASETS, INFERENCES, MECHANISMS, MODELS
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
    ("models", {}, "models"),
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
    ("occlusion", {"joints": {"levels": [1]}}, "unknown mechanism 'joints'"),
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
]


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
    assert str(file) in ended.err
    assert "Traceback" not in ended.out + ended.err
    assert not (tmp_path / "results").exists()


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
    assert any(entry.model in ("zero", "untrained") for entry in protocol.models.values())


class Stick(Dataset):
    """Motion of three joints."""

    name: ClassVar[str] = "stick"

    @property
    def skeleton(self) -> Skeleton:
        """Three joints in a row."""
        return DATASETS.get("synthetic")().skeleton.select(["spine3", "neck", "head"])

    def files(self, root: Path | None) -> list[Path]:
        """Return nothing."""
        return []

    def recordings(self, root: Path | None) -> Iterator[Recording]:
        """Yield nothing."""
        yield from ()


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
            raw = changed(section, {"mine": entry}) | {"comparisons": {}}
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
    return raw


def test_a_protocol_of_everything_resolves_to_itself() -> None:
    protocol = resolve(everything())
    plain = yaml.safe_load(yaml.safe_dump(protocol.to_dict()))
    again = resolve(plain)
    assert again.to_dict() == plain == protocol.to_dict()
    for part in ("models", "inference", "occlusion", "corruption", "foreign", "comparisons"):
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
