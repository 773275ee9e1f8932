"""Protocol files: how they resolve, and one clear line for each error in them."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from bench.core.errors import InputError
from bench.core.registry import CORRUPTIONS, DATASETS, INFERENCES, MECHANISMS, MODELS, PREDICTORS
from bench.datasets.base import Dataset, Source
from bench.motion import Skeleton
from bench.protocol.resolving import load, resolve
from bench.sweep import plan
from tests.conftest import PROJECT, Bench, changed


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
    raw = protocol.to_dict()
    assert raw["models"]["hgvae"]["gradient_clip"] == 100
    assert yaml.safe_load(yaml.safe_dump(raw)) == resolve(raw).to_dict() == raw


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
    """The same number is not enough: exponential maps have hands where others have collars."""
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


def test_own_keys_override_the_preset_which_overrides_like() -> None:
    other = {"model": "hgvae", "width": 8, "sigma_floor": 5.0, "weight_decay": 0.3, "epochs": 3}
    entry = {"weight_decay": 0.5, "preset": "published_code", "like": "other", "model": "hgvae"}
    settings = settings_of({"other": other, "mine": entry}, "mine")
    assert settings["weight_decay"] == 0.5  # its own; the preset has 1e-4, the other entry 0.3
    assert settings["sigma_floor"] == 0.0  # of the preset; the other entry has 5
    assert settings["layout"] == "scrambled"  # of the preset alone
    assert (settings["width"], settings["epochs"]) == (8, 3)  # of the other entry alone
    assert settings["batch_size"] == MODELS.get("hgvae").Settings().batch_size
    backwards = dict(reversed(entry.items()))
    assert settings_of({"mine": backwards, "other": other}, "mine") == settings


def test_the_preset_of_the_like_entry_is_inherited() -> None:
    entries = {
        "first": {"model": "hgvae", "preset": "published_code", "residual": "input"},
        "second": {"model": "untrained", "like": "first"},
        "third": {"model": "hgvae", "like": "second", "preset": "paper_recipe", "dct": "forward"},
    }
    first, second, third = (settings_of(entries, label) for label in entries)
    assert first == second
    assert first["residual"] == "input"
    assert first["dct"] == "inverse"
    assert third == {**first, "dct": "forward"}  # the other entry has the rest of that preset too
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
def test_every_preset_consists_of_settings_of_its_class(
    section: str, registry: Any, key: str
) -> None:
    tried = 0
    for name, cls in registry.all().items():
        for preset, stated in getattr(cls, "presets", {}).items():
            entry = {key: name, "preset": preset}
            if section == "occlusion":
                entry["levels"] = [3]
            raw = changed(section, {"mine": entry}) | {"comparisons": {}, "predictors": {}}
            resolved = resolve(raw).to_dict()[section]["mine"]
            assert {name: resolved[name] for name in stated} == stated
            assert "preset" not in resolved
            tried += 1
    assert tried or section == "corruption"


def test_own_keys_of_inferences_and_mechanisms_override_their_presets() -> None:
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
    resolved = resolve(raw).to_dict()
    inferences = {
        label: (entry["start"], entry["accumulate"])
        for label, entry in resolved["inference"].items()
    }
    assert inferences == {"all": ("normal", True), "most": ("normal", False)}
    assert {label: entry["shared"] for label, entry in resolved["occlusion"].items()} == {
        "one": True,
        "each": False,
    }


def test_a_wrong_mean_is_a_preset_of_the_mean(tiny: Path) -> None:
    protocol = load(tiny)
    assert protocol.models["wrong_mean"].settings.scale == 3.03
    assert protocol.models["mean"].settings.scale == 1


def everything() -> dict[str, Any]:
    """Return the tiny protocol with an example of every section."""
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
    raw = yaml.safe_load(yaml.safe_dump(protocol.to_dict()))
    again = resolve(raw)
    assert again.to_dict() == raw == protocol.to_dict()
    parts = ("models", "inference", "occlusion", "corruption", "foreign", "comparisons")
    for part in (*parts, "predictors", "forecast", "published"):
        assert getattr(again, part) == getattr(protocol, part)
    assert again.references == protocol.references == ("linear",)
    assert again.models["walking"].train_on == ("walk",)
    assert again.models["vae"].inference == ("far",)
    assert again.models["hgvae"].inference is None
    assert raw["corruption"]["markers"]["levels"] == [3, "10%", "50%"]
    assert "levels" not in raw["corruption"]["time_reversal"]


def test_validate_prints_an_equal_protocol(tmp_path: Path, bench: Bench) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(yaml.safe_dump(everything()))
    printed = bench("validate", first)
    assert printed.code == 0
    second.write_text(printed.out)
    assert bench("validate", second).out == printed.out


def test_references_are_mean_and_linear_by_default(tiny: Path) -> None:
    assert load(tiny).references == ("mean", "linear")
    assert load(tiny, ["references=[zero]"]).references == ("zero",)
    assert load(tiny, ["references=[]"]).references == ()
    assert load(tiny).only(["zero", "mean"]).references == ("mean",)


def test_only_keeps_comparisons_whose_two_models_are_kept() -> None:
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
def test_different_levels_have_different_labels_or_are_refused(
    label: str, levels: list[Any]
) -> None:
    """Two levels with one label would be one cell in every table."""
    try:
        entry = resolve(changed("corruption", {label: {"levels": levels}})).corruption[label]
    except InputError:
        return
    assert len({entry.label(level) for level in entry.levels}) == len(levels)


def test_a_predictor_may_take_settings_of_another_with_like() -> None:
    protocol = resolve(everything())
    degraded = protocol.predictors["ltd_degraded"]
    assert degraded.settings == protocol.predictors["ltd"].settings
    assert (degraded.predictor, degraded.degraded) == ("ltd", ("features",))
    assert protocol.predictors["ltd"].degraded == ()
    assert protocol.predictors["both"].degraded == ("one_mask", "features")
    steps = protocol.predictors["steps"]
    assert (steps.settings.step, steps.settings.width) == (10, 8)
    assert steps.degraded == ("features",)  # inherited from the like entry as well


def test_a_predictor_may_use_a_preset_of_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    cls = PREDICTORS.get("ltd")
    monkeypatch.setattr(cls, "presets", {"small": {"width": 4, "blocks": 2}})
    entries = {
        "first": {"predictor": "ltd", "preset": "small", "blocks": 3},
        "second": {"predictor": "ltd", "like": "first", "width": 5},
    }
    predictors = resolve(changed("predictors", entries)).predictors
    assert [(e.settings.width, e.settings.blocks) for e in predictors.values()] == [(4, 3), (5, 3)]


def horizons(**dataset: Any) -> dict[int, int]:
    """Return the default horizons of a data set, and the frame of each."""
    entries = {"dataset": {"name": "synthetic", **dataset}, "predictors": {"zero_velocity": {}}}
    protocol = resolve({"name": "alone", **entries})
    assert protocol.forecast.horizons_ms == tuple(protocol.horizons)
    assert resolve(protocol.to_dict()).to_dict() == protocol.to_dict()
    return protocol.horizons


def test_horizons_default_to_those_that_fall_on_a_frame() -> None:
    default = {80: 1, 160: 3, 320: 7, 400: 9, 560: 13, 720: 17, 880: 21, 1000: 24}
    assert horizons() == default
    assert horizons(future=10) == {80: 1, 160: 3, 320: 7, 400: 9}
    assert horizons(future=9) == {80: 1, 160: 3, 320: 7}
    assert horizons(fps=50, future=50) == {ms: 2 * frame + 1 for ms, frame in default.items()}
    # A frame every 33 ms: of the default horizons only these two fall on one.
    assert horizons(fps=30, future=30) == {400: 11, 1000: 29}
    assert horizons(future=1) == {}


def test_horizons_keep_the_requested_order() -> None:
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
    # The entry that a predictor takes its settings from need not run.
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
    """Return the completions that predictors are given: model, inference and level."""
    protocol = resolve(changed("forecast", forecast))
    cells = plan.make(protocol, "key", {"others": "key"}).cells
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


def test_predictors_are_given_the_completions_of_all_or_of_the_named_imputers() -> None:
    levels = ("3", "10%", "50%")
    simple = {(label, "") for label in ("mean", "linear", "zero", "wrong_mean")}
    generative = {(label, "map") for label in ("hgvae", "untrained", "vae")}
    # Degraded windows, the inference "mean", equal the completions of the model "mean".
    assert fed() == {(*imputer, level) for imputer in simple | generative for level in levels}
    chosen = fed(imputers=["linear", "vae"])
    assert chosen == {
        (*imputer, level) for imputer in (("linear", ""), ("vae", "map")) for level in levels
    }
