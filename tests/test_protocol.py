"""Protocol files: what they mean, and one clear line for everything they may get wrong."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.protocol import load, resolve
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
