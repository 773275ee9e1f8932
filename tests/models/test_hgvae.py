"""The HG-VAE: shapes, density, gradients, and that it learns."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from bench.datasets.build import load
from bench.datasets.synthetic import SKELETON, Synthetic
from bench.fitting.training import FitContext
from bench.motion import Windows, dct_matrix
from bench.protocol.listing import PAPER_SPEC
from models.gaussian import Gaussian
from models.graph import GCL
from models.hgvae import HGVAE
from models.untrained import Untrained
from tests.conftest import walk

SMALL = {"latents": [[1, 8], [4, 6], [54, 4]], "width": 8, "residual": "branch"}


def small(windows: Windows, seed: int = 0, **settings: object) -> HGVAE:
    torch.manual_seed(seed)
    model = HGVAE(windows.spec, HGVAE.Settings(**{**SMALL, **settings}))
    model.measure(windows, windows)
    return model.eval()


def as_normal(gaussian: Gaussian) -> Normal:
    return Normal(gaussian.mean, torch.exp(0.5 * gaussian.log_var))


def nats(gaussian: Gaussian, value: Tensor) -> Tensor:
    """Return the log density of ``value``, ``(window,)``."""
    return as_normal(gaussian).log_prob(value).sum(dim=(0, 2))


def divergence(posteriors: list[Gaussian], priors: list[Gaussian]) -> Tensor:
    """Return ``(level, window)`` KL terms, in nats."""
    pairs = zip(map(as_normal, posteriors), map(as_normal, priors), strict=True)
    return torch.stack([kl_divergence(*pair).sum(dim=(0, 2)) for pair in pairs])


def fixed_draw() -> Callable[[Gaussian], Tensor]:
    """Return draws with one noise for all windows, that of seed 0."""
    generator = torch.Generator().manual_seed(0)

    def draw(source: Gaussian) -> Tensor:
        nodes, _, features = source.mean.shape
        noise = torch.randn(nodes, 1, features, generator=generator)
        return source.mean + source.log_var.exp().sqrt() * noise

    return draw


def assert_gradients(function: Callable[[Tensor], Tensor], motion: Tensor) -> None:
    """Compare the gradient of a sum over windows with finite differences, at ten entries."""
    motion = motion.detach().clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(function(motion).sum(), motion)
    assert float(gradient.abs().median()) > 1e-7
    rng = np.random.default_rng(0)
    for _ in range(10):
        place = tuple(int(rng.integers(size)) for size in motion.shape)
        step = torch.zeros_like(motion)
        step[place] = 1e-3
        with torch.no_grad():
            above, below = (function(motion + s).sum() for s in (step, -step))
        numeric = float((above - below) / 2e-3)
        assert numeric == pytest.approx(float(gradient[place]), rel=1e-4, abs=1e-7)


def test_latents_at_the_papers_size_are_the_papers() -> None:
    model = HGVAE(PAPER_SPEC)
    assert model.latent_shapes() == [(1, 256), (8, 128), (24, 128), (54, 128)]
    assert model.settings.width == 256
    assert model.parameter_count() == pytest.approx(3.21e6, rel=0.01)


def test_scaled_coefficients_are_the_dct_of_each_coordinate(windows: Windows) -> None:
    model = small(windows)
    motion = windows.tensor()
    coefficients = model._coefficients(motion)
    around = (motion - model.mean).numpy()[2, :, 5, 1]
    np.testing.assert_allclose(
        coefficients[3 * 5 + 1, 2].numpy(), dct_matrix(50) @ around, atol=1e-2
    )
    torch.testing.assert_close(model._motion(model._scaled(motion)), motion, atol=1e-2, rtol=0)


def test_loss_is_the_negative_elbo(windows: Windows) -> None:
    """Recomputed with torch.distributions from the same draws."""
    model = small(windows)
    motion = windows.tensor()
    torch.manual_seed(5)
    losses = model.losses(motion, kl_weight=0.3)
    torch.manual_seed(5)
    x = model._coefficients(motion) / model.scale
    path, posteriors, priors = model._top_down(model._bottom_up(x), Gaussian.sample)
    distortion = -nats(model._likelihood(path), x).mean()
    rates = divergence(posteriors, priors).mean(dim=1)
    torch.testing.assert_close(losses["distortion"], distortion)
    torch.testing.assert_close(losses["loss"], distortion + 0.3 * rates.sum())
    torch.testing.assert_close([losses[f"kl_z{level}"] for level in range(3)], list(rates))
    assert [name for name in losses if name.startswith("kl")] == ["kl_z0", "kl_z1", "kl_z2"]


@pytest.mark.parametrize("share", [0.3, 1.0, 1e9])
def test_deviations_stay_above_the_floor(windows: Windows, share: float) -> None:
    """The floor is in mm, or a share of the frequency's root mean square where that is less."""
    model = small(windows, sigma_floor=7.0, sigma_floor_share=share)
    around = np.asarray(windows.motion) - np.asarray(windows.motion).mean(axis=0)
    coefficients = scipy.fft.dct(around.astype(np.float64), norm="ortho", axis=1)
    usual = np.sqrt(np.square(coefficients).mean(axis=(0, 2, 3)))
    floor = np.minimum(7.0, share * usual)
    assert (floor < 7).any() == (share <= 1)  # slow movements are large, fast ones are not
    assert (floor == 7).any()
    path = model._top_down(model._bottom_up(model._scaled(windows.tensor())), Gaussian.centre)[0]

    def smallest() -> np.ndarray:
        deviation = torch.exp(0.5 * model._likelihood(path).log_var) * model.scale
        return deviation.detach().amin(dim=(0, 1)).numpy()

    assert (smallest() >= floor * (1 - 1e-3)).all()
    with torch.no_grad():  # as if trained to the smallest possible variance
        model.output.b[:, 50:] = -100
    np.testing.assert_allclose(smallest(), floor, rtol=1e-2, atol=1e-3)


def test_the_floor_is_in_mm_where_coefficients_are_not_scaled(windows: Windows) -> None:
    """Without centring, the slowest frequency's root mean square is hundreds of mm, above 7."""
    model = small(windows, normalise="none", sigma_floor=7.0)
    x = model._scaled(windows.tensor())
    assert float(x[..., 0].square().mean().sqrt()) > 100
    with torch.no_grad():
        model.output.b[:, 50:] = -100
        path = model._top_down(model._bottom_up(x), Gaussian.centre)[0]
        deviation = torch.exp(0.5 * model._likelihood(path).log_var)
    assert float(deviation[..., 0].min()) == pytest.approx(7, rel=1e-2)


def test_scale_is_the_root_mean_square_of_a_frequency(windows: Windows) -> None:
    around = np.asarray(windows.motion) - np.asarray(windows.motion).mean(axis=0)
    coefficients = scipy.fft.dct(around.astype(np.float64), norm="ortho", axis=1)
    expected = np.sqrt(np.square(coefficients).mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(small(windows).scale, expected, rtol=1e-3)
    assert torch.equal(small(windows, normalise="none").scale, torch.ones(50))


@pytest.mark.parametrize("density", ["log_posterior", "elbo"])
def test_gradients_match_finite_differences(windows: Windows, density: str) -> None:
    model = small(windows).double()
    assert_gradients(getattr(model, density), windows.tensor()[:2].double())


@torch.no_grad()
def test_the_elbo_is_over_motion_in_millimetres(windows: Windows) -> None:
    """The likelihood as a Gaussian over each coordinate's 50 positions, with full covariance."""
    model = small(windows).double()
    motion = windows.tensor().double()
    mean = model.mean.double()
    around = scipy.fft.dct((motion - mean).numpy(), norm="ortho", axis=1).reshape(6, 50, 54)
    x = torch.from_numpy(around).permute(2, 0, 1) / model.scale
    path, posteriors, priors = model._top_down(model._bottom_up(x), fixed_draw())
    likelihood = model._likelihood(path)
    basis = torch.from_numpy(scipy.fft.idct(np.eye(50), norm="ortho", axis=0))  # frames from it
    factor = basis * (likelihood.log_var.exp().sqrt() * model.scale)[..., None, :]
    frames, centre = (m.reshape(-1, 50, 54).permute(2, 0, 1) for m in (motion, mean))
    expected = centre + likelihood.mean * model.scale @ basis.T
    density = MultivariateNormal(expected, factor @ factor.mT).log_prob(frames).sum(dim=0)
    elbo = density - divergence(posteriors, priors).sum(dim=0)
    torch.testing.assert_close(model.elbo(motion), elbo, rtol=1e-5, atol=0)


WAYS = list(product(["transposed", "scrambled"], ["forward", "inverse"], ["frequency", "none"]))


@pytest.mark.parametrize(("layout", "dct", "normalise"), WAYS)
def test_the_elbo_is_over_motion_whatever_the_networks_input(
    layout: str, dct: str, normalise: str
) -> None:
    """By the change of variables, with the Jacobian of the network's input from autograd."""
    base = walk(4, frames=6)
    skeleton = SKELETON.select(SKELETON.names[:4])
    windows = Windows(base.motion[:, :, :4], base.index, 25.0, skeleton)
    latents = [[1, 4], [5, 3]]
    model = small(windows, latents=latents, layout=layout, dct=dct, normalise=normalise).double()
    motion = windows.tensor().double()
    jacobian = torch.autograd.functional.jacobian(lambda one: model._scaled(one[None]), motion[0])
    volume = torch.linalg.slogdet(jacobian.reshape(72, 72)).logabsdet
    assert (abs(float(volume)) > 10) == (normalise == "frequency")
    with torch.no_grad():
        x = model._scaled(motion)
        path, posteriors, priors = model._top_down(model._bottom_up(x), fixed_draw())
        likelihood = nats(model._likelihood(path), x) + volume
        expected = likelihood - divergence(posteriors, priors).sum(dim=0)
        torch.testing.assert_close(model.elbo(motion), expected, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize(("layout", "dct", "normalise"), WAYS)
def test_the_networks_input_can_be_inverted(
    layout: str, dct: str, normalise: str, windows: Windows
) -> None:
    model = small(windows, layout=layout, dct=dct, normalise=normalise)
    motion = windows.tensor()
    torch.testing.assert_close(model._motion(model._scaled(motion)), motion, atol=1e-2, rtol=0)


@pytest.mark.parametrize("normalise", ["frequency", "none"])
@pytest.mark.parametrize("dct", ["forward", "inverse"])
def test_the_scrambled_layout_is_the_published_reshape(
    dct: str, normalise: str, windows: Windows
) -> None:
    model = small(windows, layout="scrambled", dct=dct, normalise=normalise)
    seen = model._coefficients(windows.tensor())
    motion = np.asarray(windows.motion).astype(np.float64)
    around = motion - motion.mean(axis=0) if normalise == "frequency" else motion
    transform = scipy.fft.dct if dct == "forward" else scipy.fft.idct
    expected = transform(around.reshape(6, 54, 50), norm="ortho", axis=2)
    np.testing.assert_allclose(seen.numpy().transpose(1, 0, 2), expected, atol=1e-2)
    # It is not merely another order of the same trajectories.
    straight = transform(around.reshape(6, 50, 54), norm="ortho", axis=1).transpose(0, 2, 1)
    assert np.abs(expected - straight).max() > 100


def test_the_inverse_dct_runs_along_frames(windows: Windows) -> None:
    model = small(windows, dct="inverse", normalise="none")
    motion = np.asarray(windows.motion).astype(np.float64)
    expected = scipy.fft.idct(motion, norm="ortho", axis=1).reshape(6, 50, 54)
    seen = model._coefficients(windows.tensor()).numpy()
    np.testing.assert_allclose(seen.transpose(1, 2, 0), expected, atol=1e-2)
    forward = small(windows, normalise="none")._coefficients(windows.tensor()).numpy()
    assert np.abs(seen - forward).max() > 100


@pytest.mark.parametrize("preset", sorted(HGVAE.presets))
def test_a_preset_sets_what_is_not_the_default_and_can_be_fitted(
    preset: str, windows: Windows
) -> None:
    chosen = HGVAE.presets[preset]
    usual, found = HGVAE.Settings().model_dump(), HGVAE.Settings(**chosen).model_dump()
    assert {name: value for name, value in found.items() if value != usual[name]} == chosen
    model = small(windows, **chosen).train()
    loss = model.losses(windows.tensor(), chosen.get("kl_start", 0.001))["loss"]
    loss.backward()
    used = [p.grad for p in model.parameters() if p.grad is not None]
    assert torch.isfinite(loss)
    assert all(torch.isfinite(gradient).all() for gradient in used)
    assert any(gradient.abs().max() > 0 for gradient in used)
    drawn = model.eval().reconstruct(windows.tensor())
    assert drawn.shape == windows.motion.shape
    assert torch.isfinite(drawn).all()


def test_free_bits_apply_at_each_level_in_training_only(windows: Windows) -> None:
    motion = windows.tensor().double()

    def parts(free_bits: float, training: bool) -> tuple[float, list[float]]:
        """Return what the KL terms cost, and the terms."""
        model = small(windows, free_bits=free_bits, beta=0.5).double().train(training)
        torch.manual_seed(7)
        losses = {name: float(v.detach()) for name, v in model.losses(motion, 0.2).items()}
        rates = [losses[f"kl_z{level}"] for level in range(3)]
        return losses["loss"] - losses["distortion"], rates

    plain, rates = parts(0.0, training=True)
    assert plain == pytest.approx(0.1 * sum(rates))
    low, middle, high = sorted(rates)
    free = (low + middle) / 2
    assert low < 0.9 * free
    assert high > 1.1 * free
    clamped, reported = parts(free, training=True)
    assert reported == pytest.approx(rates)  # the reported terms are not clamped
    assert clamped == pytest.approx(0.1 * (free + middle + high))
    assert parts(10 * high, training=True)[0] == pytest.approx(0.1 * 3 * 10 * high)
    for free_bits in (free, 10 * high):
        assert parts(free_bits, training=False)[0] == pytest.approx(plain)


def test_a_level_below_its_free_bits_has_no_kl_gradient(windows: Windows) -> None:
    model = small(windows, free_bits=1e9).train()
    losses = model.losses(windows.tensor(), 1.0)
    rate = losses["loss"] - losses["distortion"]
    assert float(rate.detach()) == pytest.approx(3e9, rel=1e-3)
    gradients = torch.autograd.grad(rate, list(model.parameters()), allow_unused=True)
    assert all(one is None or float(one.abs().max()) < 1e-3 for one in gradients)


@pytest.mark.parametrize("residual", ["input", "branch"])
@pytest.mark.parametrize("log_var", [-4.0, 0.0, 1.5])
@torch.no_grad()
def test_posteriors_start_about_as_wide_as_set(
    windows: Windows, log_var: float, residual: str
) -> None:
    model = small(windows, posterior_log_var=log_var, residual=residual)
    features = model._bottom_up(model._scaled(windows.tensor()))
    _, posteriors, _ = model._top_down(features, Gaussian.centre)
    for posterior in posteriors:
        assert float((posterior.log_var - log_var).abs().max()) < 0.3


def test_layers_outside_blocks_alone_lose_their_gelu(windows: Windows) -> None:
    model = small(windows, activation=False)
    for name, layer in model.named_modules():
        if isinstance(layer, GCL):
            assert layer.activation == name.endswith((".first", ".second"))
    heads = [
        name
        for name, layer in small(windows).named_modules()
        if isinstance(layer, GCL) and not layer.activation
    ]
    kinds = {
        "top",
        "output",
        "lower.0.prior",
        "lower.0.posterior",
        "lower.1.prior",
        "lower.1.posterior",
    }
    assert set(heads) == kinds


def test_a_score_is_one_number_per_window_whatever_the_batch(windows: Windows) -> None:
    model = small(windows)
    motion = windows.tensor()
    whole = model.score(motion)
    assert list(whole) == ["nlp", "nlp_z0", "nlp_z1", "nlp_z2", "negative_elbo"]
    for name, score in whole.items():
        alone = torch.cat([model.score(motion[row : row + 1])[name] for row in range(len(motion))])
        torch.testing.assert_close(score, alone, rtol=1e-4, atol=1e-2)
        assert torch.equal(model.score(motion)[name], score)
    torch.testing.assert_close(whole["nlp"], sum(whole[f"nlp_z{level}"] for level in range(3)))


def test_sample_is_motion(windows: Windows) -> None:
    model = small(windows)
    drawn = model.sample(4)
    assert drawn.shape == (4, 50, 18, 3)
    assert torch.isfinite(drawn).all()
    assert not torch.allclose(drawn[0], drawn[1])


def test_training_improves_on_an_untrained_model(tmp_path: Path) -> None:
    splits = load(Synthetic(subjects=4, seconds=3), None, tmp_path).splits
    train, valid = splits["train"].thin(120), splits["valid"].thin(30)
    settings = HGVAE.Settings(
        latents=((1, 16), (54, 16)),
        width=48,
        residual="branch",
        epochs=30,
        batch_size=10,
        learning_rate=4e-3,
        kl_warmup=300,
        sigma_floor=10.0,
    )
    torch.manual_seed(0)
    model = HGVAE(train.spec, settings)
    control = Untrained(train.spec, settings)
    context = FitContext()
    model.fit(train, valid, context)
    control.fit(train, valid)
    seen, unseen = train.tensor(), valid.tensor()
    around_mean = (seen - model.mean).square().mean().sqrt()
    errors = [(m.reconstruct(seen) - seen).square().mean().sqrt() for m in (model, control)]
    assert float(errors[0]) < 0.9 * float(around_mean)
    assert float(errors[0]) < 0.7 * float(errors[1])
    with torch.no_grad():
        losses = [float(m.losses(unseen, 1.0)["loss"]) for m in (model, control)]
    assert losses[0] < 0.8 * losses[1]
    assert context.history[-1]["valid_loss"] < 0.9 * context.history[0]["valid_loss"]


def test_latent_sizes_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least one node"):
        HGVAE.Settings(latents=[[1, 0]])
