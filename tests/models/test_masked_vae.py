"""The hierarchical VAE that is trained on masks: its losses, its fill, its latents, its draws."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from bench.fitting.training import FitContext
from bench.motion import Windows
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.joints import Joints
from bench.motion.mechanisms.limbs import Limbs
from bench.motion.mechanisms.sampler import MaskSampler
from models.gaussian import Gaussian
from models.inference.amortised import Amortised
from models.masked_vae import MaskedVAE
from tests.conftest import walk
from tests.models.test_hgvae import as_normal, nats

TRAIN = walk(24, 12, seed=1)
SMALL: dict[str, Any] = {
    "latents": (4, 3, 2),
    "width": 32,
    "frequencies": 8,
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 0.01,
    "kl_warmup": 2,
}


@torch.enable_grad()
def small(train: Windows = TRAIN, **settings: Any) -> MaskedVAE:
    torch.manual_seed(0)
    model = MaskedVAE(train.spec, MaskedVAE.Settings(**{**SMALL, **settings}))
    model.fit(train, train)
    return model


def hidden_limbs(windows: Windows) -> Tensor:
    return torch.from_numpy(Limbs(level=Level.parse("1")).occluded(windows))


def recorded(model: MaskedVAE, features: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return the draws of every latent, by the reparametrisation trick, and the path's end."""
    drawn: list[Tensor] = []

    def draw(gaussian: Gaussian) -> Tensor:
        noise = torch.randn(gaussian.mean.shape)
        drawn.append(gaussian.mean + gaussian.log_var.mul(0.5).exp() * noise)
        return drawn[-1]

    path, _, _ = model._top_down(features, draw)
    return drawn, path


def test_loss_is_the_denoising_elbo_and_what_upper_latents_say_alone() -> None:
    """Recomputed with torch.distributions from the same masks and draws."""
    model = small(beta=0.5, upper=0.7)
    motion = TRAIN.tensor(slice(0, 5))
    torch.manual_seed(3)
    losses = model.losses(motion, kl_weight=0.4)
    torch.manual_seed(3)
    features = model._encoded(motion, model._hidden(motion))
    drawn, path = recorded(model, features)
    x = model._scaled(motion)
    distortion = -nats(model._likelihood(path), x).mean()
    state = model.start.expand(5, -1)
    upper = state
    rates = []
    for number, level in enumerate(model.levels):
        prior, posterior = level.prior_of(state), level.posterior_of(state, features)
        rates.append(kl_divergence(as_normal(posterior), as_normal(prior)).sum(dim=(0, 2)).mean())
        state = level.joined(state, drawn[number])
        alone = drawn[number] if number < 2 else level.prior_of(upper).mean
        upper = level.joined(upper, alone)
    above = -nats(model._likelihood(upper), x).mean()
    torch.testing.assert_close(losses["distortion"], distortion)
    torch.testing.assert_close(losses["upper"], above)
    assert not torch.isclose(distortion, above)
    for number, rate in enumerate(rates):
        assert float(rate.detach()) > 1e-3
        torch.testing.assert_close(losses[f"kl_z{number}"], rate)
    whole = distortion + 0.7 * above + 0.5 * 0.4 * torch.stack(rates).sum()
    torch.testing.assert_close(losses["loss"], whole)


def test_nothing_hidden_reaches_the_encoder() -> None:
    model, test = small(), walk(4, 12, seed=2)
    hidden = hidden_limbs(test)
    clean = model._encoded(test.tensor(), hidden)
    for value in (1e30, float("nan")):
        poisoned = torch.where(hidden, value, test.tensor())
        assert torch.equal(model._encoded(poisoned, hidden), clean)
    shifted = model._encoded(test.tensor(), torch.zeros_like(hidden))
    assert not torch.allclose(shifted, clean)


@torch.no_grad()
def test_what_is_never_seen_comes_from_a_gaussian_of_poses() -> None:
    model, test = small(), walk(3, 12, seed=2)
    hidden = torch.from_numpy(Joints(level=Level.parse("4")).occluded(test))
    motion = torch.where(hidden, model.mean, test.tensor())
    found = model._posed(motion, hidden.all(dim=1)).double()
    covariance = np.linalg.inv(model.pose_precision.double().numpy())
    mean = model.pose_mean.double().numpy()
    for window, mask, filled in zip(motion, hidden, found, strict=True):
        h = mask[0].flatten().numpy()
        poses = window.flatten(1).double().numpy()
        gain = covariance[np.ix_(h, ~h)] @ np.linalg.inv(covariance[np.ix_(~h, ~h)])
        expected = mean[h] + (poses[:, ~h] - mean[~h]) @ gain.T
        np.testing.assert_allclose(filled.flatten(1)[:, h], expected, rtol=1e-3, atol=0.05)
        assert torch.equal(filled.flatten(1)[:, ~h], window.flatten(1)[:, ~h].double())


@torch.no_grad()
def test_the_elbo_is_over_motion_in_millimetres() -> None:
    model, motion = small().double(), walk(3, 12, seed=2).tensor().double()
    generator = torch.Generator().manual_seed(0)
    state, features, rate = model.start.expand(3, -1), model._encoded(motion), torch.zeros(3)
    for level in model.levels:
        prior, posterior = level.prior_of(state), level.posterior_of(state, features)
        rate = rate + kl_divergence(as_normal(posterior), as_normal(prior)).sum(dim=(0, 2))
        noise = torch.randn(1, 1, posterior.mean.shape[2], generator=generator)
        state = level.joined(state, posterior.mean + noise * posterior.log_var.mul(0.5).exp())
    scaled = as_normal(model._likelihood(state))
    in_mm = Normal(scaled.mean * model.scale, scaled.stddev * model.scale)
    coefficients = model._coefficients(motion)
    expected = in_mm.log_prob(coefficients).sum(dim=(0, 2)) - rate
    torch.testing.assert_close(model.elbo(motion), expected, rtol=1e-5, atol=1e-3)


@torch.no_grad()
def test_latents_drawn_from_the_encoder_decode_to_the_path_they_were_drawn_on() -> None:
    model, test = small(), walk(3, 12, seed=2)
    hidden = hidden_limbs(test)
    z, _ = model.infer_seen(test.tensor(), hidden).draw(Gaussian.centre)
    path, _, _ = model._top_down(model._encoded(test.tensor(), hidden), Gaussian.centre)
    decoded = model.decode(z)
    found = decoded.motion(decoded.mean)
    torch.testing.assert_close(
        found, model._motion(model._likelihood(path).mean), atol=1e-2, rtol=0
    )
    assert z.shape == (3, sum(SMALL["latents"]))
    assert model.sample(2).shape == (2, 12, 18, 3)
    assert model.embed(test.tensor()).shape == (3, 4)
    assert model.log_posterior(test.tensor()).shape == (3, 3)


def test_a_window_is_completed_alike_in_any_batch_with_draws_that_spread() -> None:
    model, test = small(), walk(5, 12, seed=2)
    model.inference = Amortised(draws=4)
    hidden = hidden_limbs(test)
    whole = model.impute(test.tensor(), hidden)
    one = model.impute(test.tensor()[[3]], hidden[[3]])
    torch.testing.assert_close(whole.motion[3], one.motion[0], atol=1e-2, rtol=0)
    assert whole.samples is not None
    assert whole.samples.shape == (4, 5, 12, 18, 3)
    assert float(whole.samples.std(dim=0)[hidden].min()) > 0
    assert torch.equal(whole.samples[:, ~hidden], test.tensor()[~hidden].expand(4, -1))
    model.inference = Amortised(draws=0)
    assert model.impute(test.tensor(), hidden).samples is None


def test_it_learns_joints_from_the_others_and_masks_come_from_the_protocol() -> None:
    """In windows where all joints are far off together, one that is never seen is with them."""
    rng = np.random.default_rng(0)
    train = walk(120, 12, seed=1)
    push = rng.normal(scale=400, size=(120, 1, 1, 3))
    motion = (train.tensor().numpy() + push).astype(np.float32)
    train = Windows(motion, train.index, 25.0, train.skeleton)
    masks = MaskSampler({"joints": (Joints(level=Level.parse("4")),)})
    model = MaskedVAE(
        train.spec,
        MaskedVAE.Settings(**{**SMALL, "epochs": 30, "complete": 0.0}),
    )
    torch.manual_seed(0)
    model.fit(train, train, FitContext(masks=masks))
    assert model._masks is masks
    model.inference = Amortised(draws=0)
    hidden = torch.from_numpy(Joints(level=Level.parse("4")).occluded(train))
    found = model.impute(train.tensor(), hidden).motion
    error = (found - train.tensor())[hidden].square().mean()
    by_mean = (model.mean - train.tensor())[hidden].square().mean()
    assert error < 0.2 * by_mean


@torch.no_grad()
def test_stated_errors_are_those_of_the_valid_windows_at_each_frequency() -> None:
    """Twice the spread is stated where a model is as wrong as twice what it thinks."""
    model, valid = small(), walk(40, 12, seed=5)
    model.spread.fill_(1.0)
    once = model._calibrated(valid, 0)
    model.spread.copy_(2 * once)
    torch.testing.assert_close(model._calibrated(valid, 0), torch.full((12,), 0.5))
    model.spread.copy_(once)
    torch.manual_seed(1)
    motion = valid.tensor()
    path, _, _ = model._top_down(model._encoded(motion, model._hidden(motion)), Gaussian.centre)
    stated = as_normal(model._likelihood(path))
    ratio = ((model._scaled(motion) - stated.mean) / stated.stddev).square().mean(dim=(0, 1))
    assert 0.5 < float(ratio.min()) <= float(ratio.max()) < 2


@pytest.mark.parametrize("settings", [{"latents": (4, 3)}, {"frequencies": 0}, {"complete": 2.0}])
def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        MaskedVAE.Settings(**settings)
