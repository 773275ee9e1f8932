"""The dropout layer of the graph network of LTD and HisRepItself."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from predictors.gcn import Dropout


@given(st.floats(0.05, 0.95), st.integers(0, 2**32))
def test_dropout_drops_its_share_and_keeps_the_mean(p: float, seed: int) -> None:
    torch.manual_seed(seed)
    out = Dropout(p)(torch.ones(40, 5, 100))
    share = (out == 0).double().mean()
    assert abs(float(share) - p) < 6 * (p * (1 - p) / out.numel()) ** 0.5 + 2**-16
    kept = out[out != 0]
    assert torch.allclose(kept, torch.full_like(kept, 1 / (1 - p)), rtol=1e-3)


def test_dropout_is_seeded_and_uniform_over_entries() -> None:
    torch.manual_seed(0)
    layer, x = Dropout(0.5), torch.ones(1999)
    drawn = torch.stack([layer(x) for _ in range(400)])
    torch.manual_seed(0)
    assert torch.equal(layer(x), drawn[0])
    share = (drawn == 0).double().mean(dim=0)
    assert float(share.std()) == pytest.approx((0.25 / 400) ** 0.5, rel=0.1)


def test_gradients_pass_only_through_kept_entries() -> None:
    x = torch.ones(300, requires_grad=True)
    out = Dropout(0.3)(x)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, out.detach())


def test_evaluation_drops_nothing() -> None:
    x = torch.randn(30)
    assert torch.equal(Dropout(0.9).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
