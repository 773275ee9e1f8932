"""Matrix products by either library compared with float64, forward and backward."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.fitting import matrix_products
from bench.fitting.matrix_products import matmul

sizes = st.integers(1, 70)
needs_onednn = pytest.mark.skipif(
    not matrix_products.onednn_applies(torch.zeros(64, 64), torch.zeros(64, 64)),
    reason="torch without oneDNN",
)


@pytest.fixture(autouse=True, params=[True, False], ids=["onednn", "mkl"])
def _either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test both libraries, whatever this machine's processor."""
    monkeypatch.setattr(matrix_products, "ONEDNN", request.param)


def leaves(rows: int, inner: int, columns: int, turned: bool) -> tuple[Tensor, Tensor]:
    """Return two matrices; if ``turned``, the first is stored column by column."""
    left = torch.randn(inner, rows).T if turned else torch.randn(rows, inner)
    return left.requires_grad_(), torch.randn(inner, columns, requires_grad=True)


@given(sizes, sizes, sizes, st.booleans())
def test_value_and_gradients_are_those_of_double_precision(
    rows: int, inner: int, columns: int, turned: bool
) -> None:
    left, right = leaves(rows, inner, columns, turned)
    weight = torch.randn(rows, columns)
    found = (
        matmul(left, right),
        *torch.autograd.grad((matmul(left, right) * weight).sum(), (left, right)),
    )
    factors = ((left, right), (weight, right.T), (left.T, weight))
    for ours, (first, second) in zip(found, factors, strict=True):
        error = torch.linalg.norm(ours - first.double() @ second.double())
        # Not the result's norm: a sum of many terms may be next to nothing.
        assert error <= 1e-6 * torch.linalg.norm(first) * torch.linalg.norm(second)


@needs_onednn
def test_it_counts_as_many_operations_as_a_plain_product() -> None:
    left, right = leaves(64, 32, 48, turned=False)
    with FlopCounterMode(display=False) as ours:
        matmul(left, right).sum().backward()
    with FlopCounterMode(display=False) as plain:
        (left @ right).sum().backward()
    assert ours.get_total_flops() == plain.get_total_flops() == 3 * 2 * 64 * 32 * 48


@needs_onednn
def test_a_gradient_that_is_not_needed_is_not_computed() -> None:
    left, right = leaves(64, 32, 48, turned=False)
    with FlopCounterMode(display=False) as counter:
        matmul(left, right.detach()).sum().backward()
    assert counter.get_total_flops() == 2 * 2 * 64 * 32 * 48


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_are_multiplied_by_torch(dtype: torch.dtype) -> None:
    left, right = (part.detach().to(dtype) for part in leaves(64, 32, 48, turned=False))
    assert torch.equal(matmul(left, right), left @ right)


def test_autocast_is_obeyed() -> None:
    left, right = leaves(64, 32, 48, turned=False)
    with torch.autocast("cpu", torch.bfloat16):
        assert matmul(left, right).dtype == torch.bfloat16
