"""The HG-VAE: shapes, density, gradients, and that it learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from bench.datasets.base import load
from bench.datasets.synthetic import Synthetic
from bench.listing import PAPER_SPEC
from bench.motion import Windows, dct_matrix
from bench.training import FitContext
from models.gaussian import Gaussian
from models.hgvae import HGVAE
from models.untrained import Untrained

SMALL = {"latents": [[1, 8], [4, 6], [54, 4]], "width": 8, "residual": "branch"}


def small(windows: Windows, seed: int = 0, **settings: object) -> HGVAE:
    torch.manual_seed(seed)
    model = HGVAE(windows.spec, HGVAE.Settings(**{**SMALL, **settings}))
    model.measure(windows, windows)
    return model.eval()


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
    path, posteriors, priors = model._descend(model._ascend(x), Gaussian.sample)
    likelihood = model._likelihood(path)
    normal = Normal(likelihood.mean, torch.exp(0.5 * likelihood.log_var))
    distortion = -normal.log_prob(x).sum(dim=(0, 2)).mean()
    rate = torch.zeros(())
    for q, p in zip(posteriors, priors, strict=True):
        pair = [Normal(g.mean, torch.exp(0.5 * g.log_var)) for g in (q, p)]
        rate = rate + torch.distributions.kl_divergence(*pair).sum(dim=(0, 2)).mean()
    torch.testing.assert_close(losses["distortion"], distortion)
    torch.testing.assert_close(losses["loss"], distortion + 0.3 * rate)
    assert [name for name in losses if name.startswith("kl")] == ["kl_z0", "kl_z1", "kl_z2"]


def test_deviations_stay_above_the_floor(windows: Windows) -> None:
    model = small(windows, sigma_floor=7.0)
    path, _, _ = model._descend(model._ascend(model._scaled(windows.tensor())), Gaussian.centre)
    deviation = torch.exp(0.5 * model._likelihood(path).log_var) * model.scale
    assert float(deviation.detach().min()) >= 7.0 * (1 - 1e-5)


def test_posterior_gradient_matches_finite_differences(windows: Windows) -> None:
    model = small(windows).double()
    motion = windows.tensor()[:2].double().requires_grad_(True)
    (gradient,) = torch.autograd.grad(model.log_posterior(motion).sum(), motion)
    rng = np.random.default_rng(0)
    for _ in range(10):
        place = tuple(int(rng.integers(size)) for size in motion.shape)
        step = torch.zeros_like(motion)
        step[place] = 1e-3
        with torch.no_grad():
            above, below = (model.log_posterior(motion + s).sum() for s in (step, -step))
        slope = float((above - below) / 2e-3)
        assert slope == pytest.approx(float(gradient[place]), rel=1e-4, abs=1e-7)


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


def test_training_learns_what_an_untrained_model_does_not_know(tmp_path: Path) -> None:
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
