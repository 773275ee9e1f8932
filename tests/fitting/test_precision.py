"""Reduced precision: values in millimetres stay float32, and global settings are restored."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.core.registry import MODELS
from bench.fitting import precision
from bench.fitting.precision import Precision, chosen, float32_matmul, matmul_precision
from bench.fitting.training import FitContext
from models.hgvae import HGVAE
from tests.conftest import Bench, run_of, walk
from tests.predictors.helpers import SMALL as PREDICTORS
from tests.predictors.helpers import build, perturb, windows_with_future

SMALL: dict[str, dict[str, Any]] = {
    "hgvae": {"latents": [[1, 8], [4, 4]], "width": 16},
    "vae": {"hidden": [16, 8], "latent": 4},
    "hmvae": {"latents": [[18, 8], [54, 4]], "width": 16},
}
TRAIN = walk(16, seed=3)


def model(name: str, **settings: Any) -> Any:
    cls = MODELS.get(name)
    torch.manual_seed(0)
    made = cls(TRAIN.spec, cls.Settings(**SMALL[name] | {"epochs": 1, "batch_size": 8} | settings))
    made.fit(TRAIN, TRAIN, FitContext())
    return made


def loss(made: Any, products: Precision) -> Tensor:
    torch.manual_seed(1)
    with torch.no_grad(), matmul_precision(products, "cpu"):
        found: Tensor = made.losses(TRAIN.tensor(), kl_weight=1.0)["loss"]
    return found


@pytest.fixture(autouse=True)
def _settings_are_restored() -> Iterator[None]:
    """No test may leave torch's global settings changed."""
    before = torch.get_float32_matmul_precision()
    yield
    assert torch.get_float32_matmul_precision() == before
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("name", SMALL)
def test_a_bf16_loss_is_near_the_float32_loss(name: str) -> None:
    made = perturb(model(name)).eval()
    exact, reduced = loss(made, "float32"), loss(made, "bf16")
    assert reduced.dtype == torch.float32
    assert reduced != exact
    assert float(reduced) == pytest.approx(float(exact), rel=0.02)


@pytest.mark.parametrize("layout", ["transposed", "scrambled"])
def test_a_transform_of_millimetres_stays_float32(layout: str) -> None:
    made = model("hgvae", layout=layout)
    motion = TRAIN.tensor()
    with matmul_precision("bf16", "cpu"):
        again = made._motion(made._scaled(motion))
    torch.testing.assert_close(again, motion, atol=0.01, rtol=0)


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_bf16_prediction_is_near_the_float32_prediction(name: str) -> None:
    windows = windows_with_future(6)
    predictor = build(name, windows, **PREDICTORS[name])
    predicted = {}
    for one in ("float32", "bf16"):
        with torch.no_grad(), matmul_precision(one, "cpu"):
            predicted[one] = predictor.extrapolate(windows.tensor())
    change = (predicted["float32"] - windows.tensor()[:, -1:]).norm()
    assert 0 < (predicted["bf16"] - predicted["float32"]).norm() < 0.05 * change


@pytest.mark.parametrize("name", SMALL)
def test_a_bf16_fit_learns_as_much_as_a_float32_fit(name: str) -> None:
    """Its loss falls about as far, and its weights are float32."""
    fits = {}
    for one in ("float32", "bf16"):
        context = FitContext(seed=2)
        made = model(name, epochs=1)
        settings = made.settings.model_copy(
            update={"epochs": 8, "precision": one, "learning_rate": 1e-3}
        )
        made.settings = settings
        made.fit(TRAIN, TRAIN, context)
        assert {weight.dtype for weight in made.parameters()} == {torch.float32}
        fits[one] = [row["loss"] for row in context.history]
    assert fits["bf16"] != fits["float32"]
    fallen = fits["float32"][0] - fits["float32"][-1]
    assert fallen > 0
    assert fits["bf16"][-1] == pytest.approx(fits["float32"][-1], abs=0.1 * fallen)


def test_float32_is_exact_whatever_torchs_global_setting() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with matmul_precision("float32", "cpu"):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_float32_product_is_exact_under_autocast_and_has_both_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(5, 5, generator=generator, requires_grad=True) for _ in range(2))
    with matmul_precision("bf16", "cpu"):
        product = float32_matmul(left, right)
        assert (left @ right).dtype == torch.bfloat16
    torch.testing.assert_close(product, left.detach() @ right.detach())
    product.sum().backward()
    assert left.grad is not None
    assert right.grad is not None


@pytest.mark.parametrize(("amx", "product"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_bf16_on_a_processor_with_amx(
    amx: bool, product: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.fitting.precision.has_amx", lambda: amx)
    with matmul_precision("auto", "cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == product
    assert chosen("auto", "cuda") == "float32"
    assert [chosen(one, "cpu") for one in ("float32", "bf16")] == ["float32", "bf16"]
    # What the effect on results was measured for, and not what repeats published code.
    assert {MODELS.get(name).Settings().precision for name in SMALL} == {"auto"}
    assert HGVAE.presets["published_code"]["precision"] == "float32"
    assert MODELS.get("masked_vae").Settings().precision == "float32"


@pytest.mark.parametrize("flags", ["avx512_bf16", "amx_tile amx_bf16 amx_int8"])
def test_amx_is_what_the_processor_says(flags: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # what conftest patches
    monkeypatch.setattr(precision.Path, "read_text", lambda _: f"flags : fpu {flags}\n")
    precision.has_amx.cache_clear()
    assert precision.has_amx() == ("amx" in flags)
    precision.has_amx.cache_clear()


def test_a_run_records_what_its_fits_were_computed_in(
    tmp_path: Path, bench: Bench, undrawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.fitting.precision.has_amx", lambda: True)
    sizes = {"hidden": [8], "latent": 2, "epochs": 1}
    run = {
        "name": "small",
        "dataset": {"name": "synthetic", "subjects": 4, "seconds": 3.5, "stride": 10},
        "models": {
            "mean": {},
            "vae": sizes,
            "exact": {"model": "vae", "precision": "float32", **sizes},
        },
        "occlusion": {"features": {"levels": ["50%"]}},
        "scale": {"train": 20, "valid": 8, "test": 8},
    }
    assert bench(*run_of(run, tmp_path)).code == 0
    folder = tmp_path / "results" / "small" / "latest"
    fits = json.loads((folder / "provenance.json").read_text())["fits"].values()
    found = {fit["model"]: fit["precision"] for fit in fits}
    assert found == {"mean": None, "vae": "bf16", "exact": "float32"}
    page = (folder / "report.html").read_text()
    assert re.search(r"fitted with bf16 products</dt>\s*<dd>vae</dd>", page)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="'float32', 'tf32' or 'bf16'"):
        HGVAE.Settings(precision="float16")
