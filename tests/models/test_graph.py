"""Eqs. 2 and 3 compared with loops; Gaussians compared with torch.distributions."""

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from bench.fitting import matrix_products
from models.gaussian import Gaussian
from models.graph import GCB, GCL, Bias, Residual, Style


@pytest.fixture(autouse=True, params=[True, False], ids=["onednn", "mkl"])
def _either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test both memory layouts, whatever this machine's library."""
    monkeypatch.setattr(matrix_products, "ONEDNN", request.param)


def gelu(x: float) -> float:
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


def looped(layer: GCL, A: torch.Tensor, activation: bool = True) -> torch.Tensor:
    """Eq. 2 entry by entry for one window: ``A`` is (node, feature)."""
    S, W, b = (parameter.detach() for parameter in (layer.S, layer.W, layer.b))
    result = torch.zeros(S.shape[0], W.shape[1], dtype=A.dtype)
    for i in range(S.shape[0]):
        for k in range(W.shape[1]):
            total = float(b[i, k] if len(b) == S.shape[0] else b[0, k])
            for n in range(A.shape[0]):
                for f in range(A.shape[1]):
                    total += float(S[i, n] * A[n, f] * W[f, k])
            result[i, k] = gelu(total) if activation else total
    return result


@pytest.mark.parametrize("nodes", [(3, 7), (7, 3), (4, 4)])
@pytest.mark.parametrize("features", [(5, 2), (2, 6)])
@pytest.mark.parametrize("activation", [True, False])
def test_gcl_is_equation_2(
    nodes: tuple[int, int], features: tuple[int, int], activation: bool
) -> None:
    torch.manual_seed(0)
    layer = GCL(nodes, features, Style(activation=activation)).double()
    torch.nn.init.normal_(layer.b)
    A = torch.randn(nodes[0], 2, features[0], dtype=torch.float64)
    for first in (True, False):  # both orders of the two products
        layer.nodes_first = first
        out = layer(A)
        assert out.shape == (nodes[1], 2, features[1])
        for window in range(2):
            expected = looped(layer, A[:, window], activation)
            torch.testing.assert_close(out[:, window], expected)


def test_a_bias_per_feature_is_one_row_for_all_nodes() -> None:
    torch.manual_seed(6)
    layer = GCL((3, 5), (4, 2), Style(bias="feature")).double()
    assert layer.b.shape == (1, 2)
    assert GCL((3, 5), (4, 2)).b.shape == (5, 2)
    torch.nn.init.normal_(layer.b)
    A = torch.randn(3, 1, 4, dtype=torch.float64)
    torch.testing.assert_close(layer(A)[:, 0], looped(layer, A[:, 0]))
    # The gradient of a shared row is the sum over all who share it.
    out = layer(A).sum()
    (gradient,) = torch.autograd.grad(out, layer.b)
    with torch.no_grad():
        layer.b[0, 1] += 1e-6
    numeric = float((layer(A).sum() - out).detach()) / 1e-6
    assert numeric == pytest.approx(float(gradient[0, 1]), 1e-4)


@pytest.mark.parametrize("bias", ["node", "feature"])
@pytest.mark.parametrize("residual", ["input", "branch"])
def test_blocks_keep_their_gelu_where_other_layers_have_none(
    residual: Residual, bias: Bias
) -> None:
    style = Style(residual, bias, activation=False)
    torch.manual_seed(7)
    block = GCB(4, 3, style).double()
    torch.nn.init.constant_(block.alpha, 0.7)
    for layer in (block.first, block.second):
        torch.nn.init.normal_(layer.b)
    A = torch.randn(4, 1, 3, dtype=torch.float64)
    branch = looped(block.second, looped(block.first, A[:, 0]))
    weights = (1, 0.7) if residual == "input" else (0.7, 1)
    torch.testing.assert_close(block(A)[:, 0], weights[0] * branch + weights[1] * A[:, 0])
    usual = GCB(4, 3, replace(style, activation=True)).double()
    usual.load_state_dict(block.state_dict())
    assert torch.equal(usual(A), block(A))


@pytest.mark.parametrize("activation", [True, False])
def test_heads_never_have_a_gelu(activation: bool) -> None:
    torch.manual_seed(8)
    head = GCL((4, 3), (5, 6), Style(activation=activation), head=True).double()
    A = torch.randn(4, 1, 5, dtype=torch.float64)
    torch.testing.assert_close(head(A)[:, 0], looped(head, A[:, 0], activation=False))


def test_heads_start_with_small_log_variances() -> None:
    torch.manual_seed(8)
    head = GCL((54, 54), (64, 2 * 32), head=True)
    mean, log_var = head(torch.randn(54, 3, 64)).detach().chunk(2, dim=-1)
    assert float(mean.std()) == pytest.approx(1, rel=0.2)
    assert float(log_var.std()) == pytest.approx(0.01, rel=0.2)


def test_a_given_adjacency_is_fixed() -> None:
    torch.manual_seed(9)
    S = torch.rand(2, 3)
    layer = GCL((3, 2), (4, 5), S=S.clone())
    assert sorted(name for name, _ in layer.named_parameters()) == ["W", "b"]
    assert sorted(layer.state_dict()) == ["W", "b"]
    A = torch.randn(3, 1, 4)
    layer(A).sum().backward()
    assert layer.S.grad is None
    torch.testing.assert_close(layer(A)[:, 0], looped(layer, A[:, 0]))
    assert torch.equal(layer.S, S)


@pytest.mark.parametrize("nodes", [(54, 1), (1, 54), (54, 24)])
@pytest.mark.parametrize("features", [(50, 128), (256, 128), (256, 256)])
def test_the_cheaper_order_is_chosen(nodes: tuple[int, int], features: tuple[int, int]) -> None:
    (n, m), (f, k) = nodes, features
    nodes_first, features_first = m * n * f + m * f * k, n * f * k + m * n * k
    assert GCL(nodes, features).nodes_first == (nodes_first <= features_first)


@pytest.mark.parametrize("residual", ["input", "branch"])
def test_gcb_is_equation_3(residual: Residual) -> None:
    torch.manual_seed(1)
    block = GCB(4, 3, Style(residual)).double()
    assert float(block.alpha.detach()) == 0
    torch.nn.init.constant_(block.alpha, 0.7)
    A = torch.randn(4, 1, 3, dtype=torch.float64)
    branch = looped(block.second, looped(block.first, A[:, 0]))
    weights = (1, 0.7) if residual == "input" else (0.7, 1)
    torch.testing.assert_close(block(A)[:, 0], weights[0] * branch + weights[1] * A[:, 0])


def test_the_rezero_block_starts_as_the_identity() -> None:
    A = torch.randn(4, 2, 3)
    assert torch.equal(GCB(4, 3, Style("branch"))(A), A)


def test_log_density_and_kl_match_torch_distributions() -> None:
    torch.manual_seed(2)
    q, p = (Gaussian(torch.randn(3, 5, 4), torch.randn(3, 5, 4)) for _ in range(2))
    normal = [Normal(g.mean, torch.exp(0.5 * g.log_var)) for g in (q, p)]
    x = torch.randn(3, 5, 4)
    torch.testing.assert_close(q.log_prob(x), normal[0].log_prob(x).sum(dim=(0, 2)))
    torch.testing.assert_close(q.kl(p), kl_divergence(*normal).sum(dim=(0, 2)))
    assert torch.allclose(q.kl(q), torch.zeros(5), atol=1e-5)


def test_samples_have_the_distributions_moments() -> None:
    torch.manual_seed(3)
    g = Gaussian(torch.full((1, 200_000, 1), 2.0), torch.full((1, 200_000, 1), math.log(9.0)))
    drawn = g.sample()
    assert float(drawn.mean()) == pytest.approx(2, abs=0.05)
    assert float(drawn.std()) == pytest.approx(3, abs=0.05)


def graph(windows_first: bool) -> torch.Tensor:
    """Return the same ``(node, window, feature)`` in either order in memory."""
    torch.manual_seed(3)
    A = torch.randn(9, 16, 24)
    if windows_first:
        A = A.transpose(0, 1).contiguous().transpose(0, 1)
    return A.requires_grad_()


@pytest.mark.parametrize("residual", ["input", "branch"])
def test_a_block_gives_the_same_for_either_memory_layout(residual: Residual) -> None:
    block = GCB(9, 24, Style(residual=residual))
    torch.nn.init.constant_(block.alpha, 0.3)
    found = []
    for windows_first in (False, True):
        A = graph(windows_first)
        out = block(A)
        weight = torch.linspace(-1, 1, out.numel()).view(out.shape)
        found.append((out, *torch.autograd.grad((out * weight).sum(), (A, *block.parameters()))))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_blocks_copy_no_graph_with_windows_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy would cost as much time as the layout saves."""
    monkeypatch.setattr(matrix_products, "ONEDNN", False)
    blocks = torch.nn.Sequential(GCB(9, 24), GCB(9, 24))
    A = graph(windows_first=True)
    weight = torch.randn_like(A)
    with torch.profiler.profile(record_shapes=True) as seen:
        torch.autograd.grad(blocks(A), (A, *blocks.parameters()), weight)
    copies = [event.input_shapes[0] for event in seen.events() if event.name == "aten::copy_"]
    assert not [shape for shape in copies if math.prod(shape) == A.numel()]


def test_a_draw_does_not_depend_on_the_memory_layout() -> None:
    draws = []
    for windows_first in (False, True):
        mean = graph(windows_first).detach()
        torch.manual_seed(4)
        draws.append(Gaussian(mean, torch.zeros_like(mean)).sample())
    assert torch.equal(*draws)
