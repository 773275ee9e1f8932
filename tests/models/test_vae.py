"""The fully connected VAE: size, density in millimetres, gradients, and that it learns."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import erf
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from bench.fitting.training import FitContext
from bench.motion import Windows
from bench.protocol.listing import PAPER_SPEC
from models.base import Model
from models.vae import VAE
from tests.conftest import walk
from tests.models.test_detectors import moves
from tests.models.test_hgvae import as_normal, assert_gradients, nats

TRAIN = walk(24, seed=1)


SMALL = {"hidden": [16, 8], "latent": 4, "epochs": 4, "batch_size": 8}


@torch.enable_grad()
def small(**settings: object) -> VAE:
    """Return one fitted a little, so that its batch statistics are not those of the start."""
    torch.manual_seed(0)
    model = VAE(TRAIN.spec, VAE.Settings(**{**SMALL, **settings}))
    model.fit(TRAIN, TRAIN)
    return model


def standard_draw(model: VAE) -> Tensor:
    """Return the noise of seed 0 in the shape of one window's latent."""
    return torch.randn(model.settings.latent, generator=torch.Generator().manual_seed(0))


def in_layers(model: VAE, motion: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the posterior's mean and the decoder's for it, in mm, by the weights' names."""
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}

    def linear(name: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def through(part: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
        for number in range(len(model.settings.hidden)):
            x = linear(f"{part}.{number}.0", x)
            norm = f"{part}.{number}.1"
            spread = np.sqrt(weights[f"{norm}.running_var"] + 1e-5)
            x = (x - weights[f"{norm}.running_mean"]) / spread
            x = x * weights[f"{norm}.weight"] + weights[f"{norm}.bias"]
            x = x * (1 + erf(x / np.sqrt(2))) / 2
        return x

    origin = weights["mean"] if model.settings.normalise else np.zeros((50, 18, 3))
    scale = weights["deviation"] if model.settings.normalise else np.ones((50, 18, 3))
    x = ((motion.numpy() - origin) / scale).reshape(len(motion), -1)
    mean = linear("posterior", through("encoder", x))[:, : model.settings.latent]
    decoded = linear("output", through("decoder", mean))[:, :2700]
    return mean, decoded.reshape(motion.shape) * scale + origin


def test_its_parameter_count_is_the_sum_over_the_papers_layers() -> None:
    """Counted independently: the paper's 20.81 M are 2.6 % fewer."""
    model = VAE(PAPER_SPEC)
    widths = [2700, 2000, 1000, 500, 100, 50]
    latent = 50

    def linear(below: int, above: int) -> int:
        return below * above + above

    outward = [latent, *widths[:0:-1]]  # to 2000
    # Batch normalisation has a factor and an offset per unit.
    encoder = sum(linear(below, above) + 2 * above for below, above in pairwise(widths))
    decoder = sum(linear(below, above) + 2 * above for below, above in pairwise(outward))
    heads = linear(widths[-1], 2 * latent) + linear(widths[1], 2 * widths[0])
    assert model.parameter_count() == encoder + decoder + heads == 21_344_900
    assert model.parameter_count() == pytest.approx(20.81e6, rel=0.03)
    assert model.paper_parameters == 20.81e6


@pytest.mark.parametrize("normalise", [True, False])
def test_it_is_linear_layers_with_batch_normalisation_and_gelus(
    windows: Windows, normalise: bool
) -> None:
    model = small(normalise=normalise)
    motion = windows.tensor()
    mean, decoded = in_layers(model, motion)
    np.testing.assert_allclose(model.embed(motion), mean, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(model.reconstruct(motion), decoded, rtol=1e-3, atol=1e-2)
    # The comparison above is not trivial: outputs differ between windows.
    assert np.abs(mean[0] - mean[1]).max() > 1e-2
    assert np.abs(decoded[0] - decoded[1]).max() > 1e-2


@pytest.mark.parametrize("training", [True, False])
def test_loss_is_the_negative_elbo(windows: Windows, training: bool) -> None:
    """Recomputed with torch.distributions from the same draws."""
    model = small(beta=0.5).train(training)
    motion = windows.tensor()
    torch.manual_seed(5)
    losses = model.losses(motion, kl_weight=0.3)
    torch.manual_seed(5)
    x = (motion.flatten(1) - model.mean.flatten()) / model.deviation.flatten()
    posterior = as_normal(model._infer(x[None]))
    z = posterior.mean + posterior.stddev * torch.randn_like(posterior.mean)
    distortion = -nats(model._likelihood(z), x).mean()
    prior = Normal(torch.zeros(4), torch.ones(4))
    rate = kl_divergence(posterior, prior).sum(dim=(0, 2)).mean()
    assert float(rate.detach()) > 0.1
    torch.testing.assert_close(losses["distortion"], distortion)
    torch.testing.assert_close(losses["kl_z0"], rate)
    torch.testing.assert_close(losses["loss"], distortion + 0.5 * 0.3 * rate)


def test_free_bits_apply_in_training_only(windows: Windows) -> None:
    model = small()
    for free_bits, training in ((1e4, True), (1e4, False), (1e-4, True)):
        model.settings = model.settings.model_copy(update={"free_bits": free_bits})
        losses = model.train(training).losses(windows.tensor(), 0.2)
        rate = float(losses["kl_z0"].detach())
        assert 0.1 < rate < 1e3
        clamped = 1e4 if training and free_bits == 1e4 else rate
        cost = float((losses["loss"] - losses["distortion"]).detach())
        assert cost == pytest.approx(0.2 * clamped, rel=1e-2)


@torch.no_grad()
def test_log_posterior_is_the_priors_density_at_the_posteriors_mean(windows: Windows) -> None:
    model = small()
    motion = windows.tensor()
    mean = torch.from_numpy(in_layers(model, motion)[0])
    expected = Normal(torch.zeros(4), torch.ones(4)).log_prob(mean).sum(dim=1, keepdim=True)
    found = model.log_posterior(motion)
    assert found.shape == (6, 1)
    assert float(found.std()) > 0.01
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("normalise", [True, False])
@torch.no_grad()
def test_the_elbo_is_over_motion_in_millimetres(windows: Windows, normalise: bool) -> None:
    model = small(normalise=normalise).double()
    motion = windows.tensor().double()
    flat, centre, spread = (part.flatten(-3) for part in (motion, model.mean, model.deviation))
    assert float(spread.log().sum().abs()) > 1000  # otherwise the scale term would be negligible
    if not normalise:
        centre, spread = torch.zeros_like(centre), torch.ones_like(spread)
    posterior = as_normal(model._infer(((flat - centre) / spread)[None]))
    z = posterior.mean + posterior.stddev * standard_draw(model)
    likelihood = as_normal(model._likelihood(z))
    in_mm = Normal(likelihood.mean[0] * spread + centre, likelihood.stddev[0] * spread)
    rate = kl_divergence(posterior, Normal(torch.zeros(4), torch.ones(4))).sum(dim=(0, 2))
    expected = in_mm.log_prob(flat).sum(dim=1) - rate
    torch.testing.assert_close(model.elbo(motion), expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize("normalise", [True, False])
@torch.no_grad()
def test_deviations_stay_above_the_floor_in_mm(windows: Windows, normalise: bool) -> None:
    model = small(normalise=normalise, sigma_floor=7.0)
    model.output.bias[2700:] = -100  # as if trained to the smallest possible variance
    likelihood = as_normal(model._likelihood(torch.randn(1, 6, 4)))
    spread = model.deviation.flatten() if normalise else torch.ones(2700)
    torch.testing.assert_close(
        likelihood.stddev[0] * spread, torch.full((6, 2700), 7.0), rtol=1e-2, atol=0
    )


@pytest.mark.parametrize("density", ["log_posterior", "elbo"])
def test_gradients_match_finite_differences(windows: Windows, density: str) -> None:
    model = small().double()
    assert_gradients(getattr(model, density), windows.tensor()[:2].double())


def test_a_score_does_not_depend_on_the_batch(windows: Windows) -> None:
    model = small()
    motion = windows.tensor()
    whole = model.score(motion)
    assert list(whole) == ["nlp", "negative_elbo"]
    for name, score in whole.items():
        assert score.shape == (6,)
        assert float(score.std()) > 0
        assert torch.equal(model.score(motion)[name], score)
        for row in range(6):
            alone = model.score(motion[row : row + 1])[name][0]
            torch.testing.assert_close(alone, score[row], rtol=1e-4, atol=1e-3)
        others = torch.full_like(motion, torch.nan)
        others[2] = motion[2]
        torch.testing.assert_close(model.score(others)[name][2], score[2], rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_samples_are_decoded_draws_of_the_prior() -> None:
    model = small()
    torch.manual_seed(3)
    drawn = model.sample(5)
    torch.manual_seed(3)
    z = torch.randn(5, 4)
    assert drawn.shape == (5, 50, 18, 3)
    assert not torch.allclose(drawn[0], drawn[1])
    output = model.output(model.decoder(z))[:, :2700].reshape(5, 50, 18, 3)
    torch.testing.assert_close(drawn, output * model.deviation + model.mean, rtol=1e-4, atol=1e-2)


def test_a_fit_improves_on_an_unfitted_model() -> None:
    train, valid = moves(300), moves(60, seed=1)
    settings = VAE.Settings(
        hidden=(32,), latent=8, epochs=25, batch_size=30, learning_rate=1e-2, kl_warmup=5
    )
    torch.manual_seed(0)
    model, unfitted = VAE(train.spec, settings), VAE(train.spec, settings).eval()
    model.fit(train, valid)
    Model.fit(unfitted, train, valid)
    unseen = valid.tensor()
    with torch.no_grad():
        losses = [float(m.losses(unseen, 1.0)["loss"]) for m in (model, unfitted)]
        bounds = [float(m.elbo(unseen).mean()) for m in (model, unfitted)]
    assert losses[0] < 0.85 * losses[1]
    assert bounds[0] > bounds[1] + 10
    error = (model.reconstruct(unseen) - unseen).square().mean().sqrt()
    around_mean = (unseen - model.mean).square().mean().sqrt()
    assert float(error) < 0.7 * float(around_mean)


@pytest.mark.parametrize(
    ("count", "batch_size", "micro_batch"), [(17, 8, 800), (17, 16, 8), (9, 8, 4)]
)
def test_a_window_left_over_does_not_break_batch_normalisation(
    count: int, batch_size: int, micro_batch: int
) -> None:
    train = walk(count, seed=2)
    settings = VAE.Settings(
        hidden=(8,), latent=2, epochs=2, batch_size=batch_size, micro_batch=micro_batch
    )
    model = VAE(train.spec, settings)
    context = FitContext()
    model.fit(train, train, context)
    assert [row["epoch"] for row in context.history] == [1, 2]
    parts = int(model.state_dict()["encoder.0.1.num_batches_tracked"])
    assert parts >= count / min(batch_size, micro_batch)
    assert torch.isfinite(model.elbo(train.tensor())).all()


def test_layers_need_at_least_one_unit() -> None:
    with pytest.raises(ValueError, match="at least one unit"):
        VAE.Settings(hidden=(16, 0))
