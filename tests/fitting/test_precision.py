"""Fits in fewer digits: what is in millimetres keeps all of its own, and nothing else changes."""

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
from tests.predictors.helpers import build, going_on, scatter

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
def _as_it_was() -> Iterator[None]:
    """Nothing here may leave torch set otherwise."""
    before = torch.get_float32_matmul_precision()
    yield
    assert torch.get_float32_matmul_precision() == before
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("name", SMALL)
def test_a_loss_of_few_digits_is_near_that_of_all(name: str) -> None:
    made = scatter(model(name)).eval()
    whole, few = loss(made, "float32"), loss(made, "bf16")
    assert few.dtype == torch.float32
    assert few != whole
    assert float(few) == pytest.approx(float(whole), rel=0.02)


@pytest.mark.parametrize("layout", ["transposed", "scrambled"])
def test_a_transform_of_millimetres_keeps_its_digits(layout: str) -> None:
    made = model("hgvae", layout=layout)
    motion = TRAIN.tensor()
    with matmul_precision("bf16", "cpu"):
        again = made._motion(made._scaled(motion))
    torch.testing.assert_close(again, motion, atol=0.01, rtol=0)


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_prediction_of_few_digits_is_near_that_of_all(name: str) -> None:
    windows = going_on(6)
    predictor = build(name, windows, **PREDICTORS[name])
    told = {}
    for precision in ("float32", "bf16"):
        with torch.no_grad(), matmul_precision(precision, "cpu"):
            told[precision] = predictor.extrapolate(windows.tensor())
    change = (told["float32"] - windows.tensor()[:, -1:]).norm()
    assert 0 < (told["bf16"] - told["float32"]).norm() < 0.05 * change


@pytest.mark.parametrize("name", SMALL)
def test_a_fit_in_few_digits_is_a_fit(name: str) -> None:
    """It learns about the same, and its weights are float32."""
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


def test_all_digits_are_all_whatever_the_user_has_set() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with matmul_precision("float32", "cpu"):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_an_exact_product_is_exact_within_few_digits_and_its_gradient_reaches_both() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(5, 5, generator=generator, requires_grad=True) for _ in range(2))
    with matmul_precision("bf16", "cpu"):
        product = float32_matmul(left, right)
        assert (left @ right).dtype == torch.bfloat16
    torch.testing.assert_close(product, left.detach() @ right.detach())
    product.sum().backward()
    assert left.grad is not None
    assert right.grad is not None


def test_a_precision_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="'float32', 'tf32' or 'bf16'"):
        HGVAE.Settings(precision="float16")
