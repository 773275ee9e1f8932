"""Inferences that work on latents, against a model whose conditional distribution is known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.fft
import torch
from numpy.typing import NDArray
from scipy.stats import multivariate_normal
from torch import Tensor

from bench.motion import MotionSpec, Skeleton, from_nodes, to_nodes
from bench.motion.corruptions.noise import Noise
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.features import Features
from models.base import GenerativeImputer, Imputation
from models.decoded import Decoded
from models.gaussian import Chain, Gaussian, Given, SharedNoise
from models.inference.base import Inference
from models.inference.gibbs import Gibbs
from models.inference.importance import Importance
from models.inference.latent import Latent
from models.inference.map import Map
from tests.conftest import walk
from tests.models.test_imputers import GENERATIVE, TRAIN, fitted

FRAMES, JOINTS, LATENTS = 5, 2, 2
SIZE = FRAMES * JOINTS * 3
PAIR = Skeleton(("a", "b"), (-1, 0), np.array([[0.0, 1, 0], [0, 2, 0]]), {"all": ("a", "b")}, ())


class Linear(GenerativeImputer):
    """x = mean + z W + noise that is correlated along each trajectory, z standard normal.

    W's rows are such that the exact posterior is diagonal. ``wrong`` makes the encoder's mean too
    small, and its deviation too large, by that factor.
    """

    name = "linear_gaussian"

    def __init__(self, wrong: float = 1.0) -> None:
        super().__init__(MotionSpec(FRAMES, 25.0, PAIR))
        self.double()
        self.wrong = wrong
        generator = torch.Generator().manual_seed(1)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        self.mean.copy_(100 * normal(*self.mean.shape))
        self.basis = torch.from_numpy(scipy.fft.dct(np.eye(FRAMES), norm="ortho"))
        self.spread = (0.5 * normal(JOINTS * 3, 1, FRAMES)).exp()
        rows = self.basis @ torch.diag_embed(self.spread[:, 0].square()) @ self.basis.T
        # Node after node, each a trajectory; then in the order of motion.
        order = to_nodes(torch.arange(SIZE).view(1, FRAMES, JOINTS, 3)).flatten()
        self.noise = torch.zeros(SIZE, SIZE, dtype=torch.float64)
        self.noise[order[:, None], order] = torch.block_diag(*rows)
        weights = 0.4 * normal(LATENTS, SIZE)
        _, turn = torch.linalg.eigh(weights @ torch.linalg.solve(self.noise, weights.T))
        self.weights = turn.T @ weights

    def infer(self, motion: Tensor) -> Chain:
        gain = torch.linalg.solve(self.noise, self.weights.T)
        precision = 1 + (self.weights @ gain).diagonal()
        mean = (motion - self.mean).flatten(1) @ gain / precision / self.wrong
        variance = (self.wrong**2 / precision).log().expand_as(mean)
        return Chain(lambda draw: draw(Gaussian(mean[None], variance[None])))

    def decode(self, z: Tensor) -> Decoded:
        given = Given(z)
        given(Gaussian.standard(z[None]))
        motion = (z @ self.weights).view(-1, FRAMES, JOINTS, 3) + self.mean
        spread = self.spread.expand(-1, len(z), -1)
        return Decoded(to_nodes(motion), spread, self.basis, to_nodes, from_nodes, given.log_prob)

    def log_posterior(self, motion: Tensor) -> Tensor:
        return -(motion - self.mean).square().flatten(1).sum(dim=1, keepdim=True)

    def elbo(self, motion: Tensor) -> Tensor:
        return self.log_posterior(motion)[:, 0]

    def reconstruct(self, motion: Tensor) -> Tensor:
        return motion

    def sample(self, count: int) -> Tensor:
        return self.mean.expand(count, -1, -1, -1)


def case(share: float = 0.5) -> tuple[Tensor, Tensor]:
    """Return one window of the model and what is hidden of it, a whole trajectory included."""
    model = Linear()
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(1, LATENTS, generator=generator, dtype=torch.float64)
    nothing = torch.zeros(1, FRAMES, JOINTS, 3, dtype=torch.bool)
    truth = model.decode(z).given(torch.zeros(nothing.shape).double(), ~nothing)
    occluded = torch.rand(nothing.shape, generator=generator) < share
    occluded[:, :, 1, 2] = True
    occluded[:, :, 0, 0] = False
    return truth.fill(SharedNoise(7)), occluded


def normal_given(
    mean: NDArray[Any], covariance: NDArray[Any], motion: Tensor, occluded: Tensor
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return mean and covariance of a window's hidden values given the seen, by the textbook."""
    hidden = occluded.flatten().numpy()
    across = covariance[np.ix_(hidden, ~hidden)]
    inverse = np.linalg.inv(covariance[np.ix_(~hidden, ~hidden)])
    seen = motion.flatten().numpy()[~hidden] - mean[~hidden]
    within = covariance[np.ix_(hidden, hidden)]
    return mean[hidden] + across @ inverse @ seen, within - across @ inverse @ across.T


def exact(motion: Tensor, occluded: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the model's own mean and covariance of hidden values given the seen."""
    model = Linear()
    covariance = (model.weights.T @ model.weights + model.noise).numpy()
    return normal_given(model.mean.flatten().numpy(), covariance, motion, occluded)


def errors(found: Imputation, motion: Tensor, occluded: Tensor) -> tuple[float, float]:
    """Return the largest errors of mean and covariance, in units of the exact deviations."""
    mean, covariance = exact(motion, occluded)
    deviation = np.sqrt(np.diag(covariance))
    assert found.samples is not None
    drawn = found.samples[:, 0, occluded[0]].numpy()
    off = (found.motion[occluded].numpy() - mean) / deviation
    spread = (np.cov(drawn, rowvar=False) - covariance) / np.outer(deviation, deviation)
    return float(np.abs(off).max()), float(np.abs(spread).max())


def impute(inference: Inference, model: GenerativeImputer, *given: Tensor) -> Imputation:
    model.inference = inference
    return model.impute(*given)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_what_is_seen_has_the_density_of_a_multivariate_normal(share: float) -> None:
    model = Linear()
    motion, occluded = case(share)
    z = torch.tensor([[0.3, -1.2]], dtype=torch.float64)
    mean = (model.mean.flatten() + z[0] @ model.weights).numpy()
    seen = ~occluded.flatten().numpy()
    noise = model.noise.numpy()
    expected = multivariate_normal(np.zeros(LATENTS)).logpdf(z[0].numpy())
    expected += multivariate_normal(mean[seen], noise[np.ix_(seen, seen)]).logpdf(
        motion.flatten().numpy()[seen]
    )
    found = model.decode(z).given(motion, occluded)
    assert float(found.log_joint) == pytest.approx(expected, rel=1e-9)
    filled = found.fill(Gaussian.centre)
    hidden, _ = normal_given(mean, noise, motion, occluded)
    np.testing.assert_allclose(filled[occluded], hidden, rtol=1e-9, atol=1e-9)
    assert torch.equal(filled[~occluded], motion[~occluded])


def test_draws_given_latents_have_the_conditional_covariance() -> None:
    model = Linear()
    motion, occluded = case()
    many = motion.expand(20000, -1, -1, -1), occluded.expand(20000, -1, -1, -1)
    z = torch.full((20000, LATENTS), 0.5, dtype=torch.float64)
    torch.manual_seed(0)
    drawn = model.decode(z).given(*many).fill(Gaussian.sample)[:, occluded[0]].numpy()
    mean = (model.mean.flatten() + z[0] @ model.weights).numpy()
    expected, covariance = normal_given(mean, model.noise.numpy(), motion, occluded)
    deviation = np.sqrt(np.diag(covariance))
    assert np.abs((drawn.mean(axis=0) - expected) / deviation).max() < 0.04
    spread = np.abs(np.cov(drawn, rowvar=False) - covariance) / np.outer(deviation, deviation)
    assert spread.max() < 0.06


@pytest.mark.parametrize("metropolis", [False, True])
def test_gibbs_with_the_exact_posterior_draws_from_the_exact_conditional(metropolis: bool) -> None:
    given = case()
    found = impute(Gibbs(draws=1500, metropolis=metropolis), Linear(), *given)
    mean, covariance = errors(found, *given)
    assert mean < 0.12
    assert covariance < 0.12
    assert found.samples is not None
    torch.testing.assert_close(found.motion, found.samples.mean(dim=0))


def test_metropolis_corrects_a_wrong_encoder_and_plain_gibbs_does_not() -> None:
    given, model = case(), Linear(wrong=1.6)
    corrected = errors(impute(Gibbs(draws=1500, metropolis=True), model, *given), *given)
    assert corrected[0] < 0.15
    assert corrected[1] < 0.15
    plain = errors(impute(Gibbs(draws=1500), model, *given), *given)
    assert plain[0] > 0.25


def test_importance_converges_to_the_exact_conditional() -> None:
    """With proposals that are off, and wide: the encoder's own are too narrow for few particles."""
    given, model = case(0.2), Linear(wrong=1.6)
    found = impute(Importance(particles=1500, draws=1000, rounds=2), model, *given)
    mean, covariance = errors(found, *given)
    assert mean < 0.08
    assert covariance < 0.25
    assert found.samples is not None
    _, exact_covariance = exact(*given)
    off = (found.samples.mean(dim=0) - found.motion)[given[1]].numpy()
    assert np.abs(off / np.sqrt(np.diag(exact_covariance))).max() < 0.15
    few = errors(impute(Importance(particles=1, rounds=1), model, *given), *given)
    assert few[0] > 0.5


@pytest.mark.parametrize("wrong", [1.0, 1.6])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_latent_reaches_the_exact_maximum(wrong: float, share: float) -> None:
    """Of a Gaussian, the most probable completion is the conditional mean."""
    given = case(share)
    found = impute(Latent(steps=600), Linear(wrong=wrong), *given).motion
    mean, _ = exact(*given)
    np.testing.assert_allclose(found[given[1]], mean, atol=1e-3)


def test_latent_keeps_the_start_where_steps_are_far_too_long() -> None:
    motion, occluded = case()
    model = Linear(wrong=1.1)
    start = torch.where(occluded, model.mean, motion)
    z, _ = model.infer(model.mean.expand_as(motion)).draw(Gaussian.centre)
    expected = model.decode(z).given(start, occluded).fill(Gaussian.centre)
    found = impute(Latent(steps=2, rate=1e4), model, motion, occluded).motion
    torch.testing.assert_close(found, expected)


def test_importance_leaves_a_window_of_hopeless_weights_as_it_is() -> None:
    class Hopeless(Linear):
        """No latents have a density."""

        def decode(self, z: Tensor) -> Decoded:
            decoded = super().decode(z)
            return Decoded(**{**vars(decoded), "log_prior": decoded.log_prior * torch.nan})

    motion, occluded = case()
    model = Hopeless()
    found = impute(Importance(particles=3, rounds=2), model, motion, occluded)
    start = torch.where(occluded, model.mean, motion)
    assert torch.equal(found.motion, start)
    assert found.samples is not None
    assert torch.equal(found.samples[0], start)


INFERENCES: list[Inference] = [
    Gibbs(burn_in=2, draws=3),
    Gibbs(burn_in=2, draws=3, metropolis=True),
    Importance(particles=4, rounds=2, draws=3),
    Latent(steps=4),
]


def refitted(name: str, **settings: Any) -> GenerativeImputer:
    """Return a model of noisy windows, in which no frequency is all but still."""
    model = fitted(name, **settings)
    assert isinstance(model, GenerativeImputer)
    noisy = replace(TRAIN, motion=Noise(level=20).apply(TRAIN))
    model.fit(noisy, noisy)
    return model.double()


@pytest.mark.parametrize("name", GENERATIVE)
def test_every_model_is_served_window_by_window_without_leaks(name: str) -> None:
    model = refitted(name)
    windows = walk(5, seed=3)
    truth = windows.tensor().double()
    occluded = torch.from_numpy(Features(level=Level.parse("30%")).occluded(windows))
    occluded[1], occluded[2] = True, False
    occluded[3, :, 4] = True
    occluded[4] = torch.arange(50)[:, None, None] != 7
    for inference in INFERENCES:
        together = impute(inference, model, truth, occluded)
        assert torch.equal(together.motion[~occluded], truth[~occluded])
        assert float((together.motion - model.mean)[occluded].abs().mean()) > 1e-3
        poisoned = impute(inference, model, torch.where(occluded, torch.nan, truth), occluded)
        assert torch.equal(poisoned.motion, together.motion)
        if isinstance(inference, Latent):
            assert together.samples is None
        else:
            assert together.samples is not None
            assert together.samples.shape == (3, *truth.shape)
            assert torch.equal(together.samples[:, ~occluded], truth[~occluded].expand(3, -1))
            assert float(together.samples.std(dim=0)[occluded].min()) >= 0
        for row in range(5):
            one = slice(row, row + 1)
            alone = impute(inference, model, truth[one], occluded[one])
            torch.testing.assert_close(alone.motion, together.motion[one], atol=1e-5, rtol=0)
            if together.samples is not None and alone.samples is not None:
                same = together.samples[:, one]
                torch.testing.assert_close(alone.samples, same, atol=1e-5, rtol=0)


MODELS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in GENERATIVE),
    ("hgvae", {"layout": "scrambled", "dct": "inverse", "normalise": "none"}),
    ("vae", {"normalise": False}),
]


@pytest.mark.parametrize(("name", "settings"), MODELS)
def test_latents_and_decoder_are_those_of_the_models_own_scores(
    name: str, settings: dict[str, Any]
) -> None:
    model = refitted(name, **settings)
    motion = walk(3, seed=4).tensor().double()
    everything = torch.ones_like(motion, dtype=torch.bool)
    with torch.no_grad():
        posterior = model.infer(motion)
        z, density = posterior.draw(Gaussian.centre)
        torch.testing.assert_close(posterior.log_prob(z), density)
        decoded = model.decode(z)
        again = decoded.given(motion, everything)
        torch.testing.assert_close(again.fill(Gaussian.centre), model.reconstruct(motion))
        # The paper's log posterior is the prior's density at the posteriors' means.
        torch.testing.assert_close(decoded.log_prior, model.log_posterior(motion).sum(dim=1))
        torch.testing.assert_close(again.log_joint, decoded.log_prior)
        z, _ = posterior.draw(SharedNoise())
        decoded = model.decode(z)
        complete = decoded.given(motion, ~everything)
        likelihood = complete.log_joint - decoded.log_prior
        torch.testing.assert_close(likelihood - divergence(model, motion), model.elbo(motion))
        assert torch.equal(complete.fill(SharedNoise()), motion)


def divergence(model: Any, motion: Tensor) -> Tensor:
    """Return the sum of KL terms with the noise of the ELBO, nats, ``(window,)``."""
    if model.name == "vae":
        posterior = model._infer(model._features(motion))
        return posterior.kl(Gaussian.standard(posterior.mean))
    if model.name == "masked_vae":
        features = model._encoded(motion)
    else:
        features = model._bottom_up(model._scaled(motion))
    _, posteriors, priors = model._top_down(features, SharedNoise())
    return sum(q.kl(p) for q, p in zip(posteriors, priors, strict=True))


def test_a_model_without_latents_is_served_by_the_others_and_refused_clearly() -> None:
    class Old(Linear):
        """Implements what is abstract alone."""

        infer = GenerativeImputer.infer
        decode = GenerativeImputer.decode

    model, (motion, occluded) = Old(), case()
    assert torch.isfinite(impute(Map(steps=2), model, motion, occluded).motion).all()
    for inference in (Gibbs(), Importance(), Latent()):
        with pytest.raises(NotImplementedError, match="linear_gaussian does not implement infer"):
            impute(inference, model, motion, occluded)
