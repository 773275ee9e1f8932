"""The models' distributions where they differ from torch's: shared noise and the floor."""

import math

import pytest
import torch

from models.gaussian import Gaussian, SharedNoise


def gaussian(nodes: int = 3, windows: int = 5, features: int = 4) -> Gaussian:
    torch.manual_seed(4)
    shape = (nodes, windows, features)
    return Gaussian(*(torch.randn(shape, dtype=torch.float64) for _ in range(2)))


def noise(drawn: torch.Tensor, source: Gaussian) -> torch.Tensor:
    """Return the noise of a draw: its distance from the mean in standard deviations."""
    return (drawn - source.mean) / source.log_var.exp().sqrt()


def test_shared_noise_is_the_same_for_every_window_however_many_there_are() -> None:
    several, one = gaussian(windows=5), gaussian(windows=1)
    drawn = noise(SharedNoise()(several), several)
    torch.testing.assert_close(drawn, drawn[:, :1].expand_as(drawn))
    torch.testing.assert_close(noise(SharedNoise()(one), one), drawn[:, :1])
    assert float(drawn.std(dim=0).min()) > 0  # nodes do not share it
    assert float(drawn.std(dim=2).min()) > 0  # nor do features


def test_shared_noise_repeats_for_the_same_seed_only() -> None:
    source = gaussian()
    draw = SharedNoise(seed=3)
    first, second = draw(source), draw(source)
    again = SharedNoise(seed=3)
    assert torch.equal(again(source), first)
    assert torch.equal(again(source), second)
    assert not torch.allclose(first, second)
    assert not torch.allclose(SharedNoise(seed=4)(source), first)


def test_shared_noise_does_not_use_the_global_generator() -> None:
    source = gaussian()
    before = torch.get_rng_state()
    SharedNoise()(source)
    assert torch.equal(torch.get_rng_state(), before)


def test_shared_noise_is_standard_normal() -> None:
    source = gaussian(nodes=300, windows=2, features=300)
    drawn = noise(SharedNoise()(source), source)[:, 0]
    assert float(drawn.mean()) == pytest.approx(0, abs=0.02)
    assert float(drawn.var()) == pytest.approx(1, abs=0.02)
    inside = float((drawn.abs() < 1).double().mean())
    assert inside == pytest.approx(math.erf(math.sqrt(0.5)), abs=0.01)


def test_a_draw_passes_gradients_to_mean_and_variance() -> None:
    source = gaussian()
    mean, log_var = (part.clone().requires_grad_(True) for part in (source.mean, source.log_var))
    drawn = SharedNoise()(Gaussian(mean, log_var))
    gradients = torch.autograd.grad(drawn.sum(), [mean, log_var])
    torch.testing.assert_close(gradients[0], torch.ones_like(mean))
    # d/dv of exp(v / 2) e is half of exp(v / 2) e.
    torch.testing.assert_close(gradients[1], (drawn - mean).detach() / 2)


@pytest.mark.parametrize("floor", [0.0, 0.5, 30.0])
def test_a_likelihoods_variance_is_the_heads_plus_the_floors(floor: float) -> None:
    torch.manual_seed(5)
    output = torch.randn(3, 5, 8, dtype=torch.float64).requires_grad_(True)
    likelihood = Gaussian.likelihood(output, torch.tensor(floor, dtype=torch.float64))
    torch.testing.assert_close(likelihood.mean, output[..., :4])
    free = output.detach()[..., 4:].exp()
    torch.testing.assert_close(likelihood.log_var.exp(), free + floor**2)
    (gradient,) = torch.autograd.grad(likelihood.log_var.sum(), output)
    torch.testing.assert_close(gradient[..., 4:], free / (free + floor**2))
