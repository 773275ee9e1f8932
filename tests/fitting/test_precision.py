"""Reduced precision: values in millimetres stay float32, and global settings are restored."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.core.registry import MODELS
from bench.fitting.precision import Precision, float32_matmul, matmul_precision
from bench.fitting.training import FitContext
from models.hgvae import HGVAE
from tests.conftest import walk
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


def loss(made: Any, precision: Precision) -> Tensor:
    torch.manual_seed(1)
    with torch.no_grad(), matmul_precision(precision, "cpu"):
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
    for precision in ("float32", "bf16"):
        with torch.no_grad(), matmul_precision(precision, "cpu"):
            predicted[precision] = predictor.extrapolate(windows.tensor())
    change = (predicted["float32"] - windows.tensor()[:, -1:]).norm()
    assert 0 < (predicted["bf16"] - predicted["float32"]).norm() < 0.05 * change


@pytest.mark.parametrize("name", SMALL)
def test_a_bf16_fit_learns_as_much_as_a_float32_fit(name: str) -> None:
    """Its loss falls about as far, and its weights are float32."""
    fits = {}
    for precision in ("float32", "bf16"):
        context = FitContext(seed=2)
        made = model(name, epochs=1)
        settings = made.settings.model_copy(
            update={"epochs": 8, "precision": precision, "learning_rate": 1e-3}
        )
        made.settings = settings
        made.fit(TRAIN, TRAIN, context)
        assert {weight.dtype for weight in made.parameters()} == {torch.float32}
        fits[precision] = [row["loss"] for row in context.history]
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


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="'float32', 'tf32' or 'bf16'"):
        HGVAE.Settings(precision="float16")
