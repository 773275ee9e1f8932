"""The HM-VAE: fixed pooling of joints by limb, and a small KL weight."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bench.datasets.synthetic import SKELETON
from bench.motion import MotionSpec, Skeleton, Windows
from bench.protocol.listing import PAPER_SPEC
from models.hgvae import HGVAE
from models.hmvae import HMVAE
from tests.models.test_hgvae import divergence, fixed_draw, nats

SMALL = {"latents": [[18, 6], [54, 4]], "width": 8}

SKELETONS = {
    "whole": PAPER_SPEC.skeleton,
    "a few joints": SKELETON.select(SKELETON.names[1:9]),
    "other limbs": Skeleton(
        names=("a", "b", "c", "d", "e"),
        parents=(-1, 0, 1, 0, 3),
        rest=np.zeros((5, 3)),
        limbs={"last": ("e", "b"), "first": ("d", "a", "c")},  # in no order of the joints
        pairs=(),
    ),
}

each_skeleton = pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=list(SKELETONS))


def of(skeleton: Skeleton) -> HMVAE:
    latents = ((3 * len(skeleton.limbs), 6), (3 * len(skeleton), 4))
    torch.manual_seed(0)
    return HMVAE(MotionSpec(10, 25.0, skeleton), HMVAE.Settings(latents=latents, width=8))


def small(windows: Windows, **settings: object) -> HMVAE:
    torch.manual_seed(0)
    model = HMVAE(windows.spec, HMVAE.Settings(**{**SMALL, **settings}))
    model.measure(windows, windows)
    return model.eval()


def random_graph(nodes: int) -> NDArray[np.float64]:
    return np.random.default_rng(3).normal(size=(nodes, 4))


@each_skeleton
def test_pooling_is_the_mean_over_a_limbs_joints_by_coordinate(skeleton: Skeleton) -> None:
    joints = random_graph(3 * len(skeleton))
    expected = []
    for members in skeleton.limbs.values():
        for axis in range(3):
            rows = [3 * skeleton.names.index(name) + axis for name in members]
            expected.append(joints[rows].mean(axis=0))
    pool = of(skeleton).get_buffer("encoder.1.resize.S")
    np.testing.assert_allclose(pool.numpy() @ joints, expected, rtol=1e-5, atol=1e-6)


@each_skeleton
def test_unpooling_copies_a_limb_to_its_joints(skeleton: Skeleton) -> None:
    limbs = random_graph(3 * len(skeleton.limbs))
    expected = np.zeros((3 * len(skeleton), 4))
    for limb, members in enumerate(skeleton.limbs.values()):
        for name in members:
            joint = skeleton.names.index(name)
            expected[3 * joint : 3 * joint + 3] = limbs[3 * limb : 3 * limb + 3]
    model = of(skeleton)
    copy = model.get_buffer("join_top.S")
    np.testing.assert_allclose(copy.numpy() @ limbs, expected, rtol=1e-6)
    # What a limb's joints share survives pooling.
    pool = model.get_buffer("encoder.1.resize.S")
    np.testing.assert_allclose((pool @ copy).numpy(), np.eye(len(limbs)), atol=1e-6)


def test_pooling_is_neither_learnt_nor_stored(windows: Windows) -> None:
    model, learnt = small(windows), HGVAE(windows.spec, HGVAE.Settings(**SMALL))
    parameters = {name for name, _ in model.named_parameters()}
    pooled = {"encoder.1.resize.S", "join_top.S"}
    assert {name for name, _ in learnt.named_parameters()} - parameters == pooled
    assert not pooled & set(model.state_dict())
    # Every other adjacency is learnt, and square.
    kept = dict(model.named_parameters())
    sizes = {tuple(kept[name].shape) for name in kept if name.endswith(".S")}
    assert sizes == {(18, 18), (54, 54)}


def test_latents_at_the_default_size_are_limbs_and_joints() -> None:
    model = HMVAE(PAPER_SPEC)
    assert model.latent_shapes() == [(18, 256), (54, 128)]
    assert len(PAPER_SPEC.skeleton.limbs) == 6
    assert len(PAPER_SPEC.skeleton) == 18


@pytest.mark.parametrize(
    "nodes", [(1, 54), (9, 54), (18, 53), (18, 18), (54, 18), (54, 54), (6, 18)]
)
def test_other_node_counts_are_refused(nodes: tuple[int, int]) -> None:
    settings = HMVAE.Settings(latents=((nodes[0], 4), (nodes[1], 4)), width=8)
    with pytest.raises(ValueError, match=r"hmvae's latents have 18 nodes .* and 54 .*, not \d+"):
        HMVAE(PAPER_SPEC, settings)


@pytest.mark.parametrize("latents", [[[18, 4]], [[18, 4], [54, 4], [54, 4]]])
def test_it_has_two_latents(latents: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="latents"):
        HMVAE.Settings(latents=latents)


@pytest.mark.parametrize("training", [True, False])
def test_kl_terms_have_weight_0_003(windows: Windows, training: bool) -> None:
    model = small(windows).train(training)
    assert model.settings.beta == 0.003
    motion = windows.tensor()
    torch.manual_seed(5)
    losses = model.losses(motion, kl_weight=0.5)
    torch.manual_seed(5)
    x = model._scaled(motion)
    path, posteriors, priors = model._top_down(
        model._bottom_up(x), lambda q: q.mean + q.log_var.exp().sqrt() * torch.randn(q.mean.shape)
    )
    rates = divergence(posteriors, priors).mean(dim=1)
    assert float(rates.detach().min()) > 1
    distortion = -nats(model._likelihood(path), x).mean()
    torch.testing.assert_close(losses["distortion"], distortion)
    torch.testing.assert_close(losses["loss"], distortion + 0.5 * 0.003 * rates.sum())
    heavier = small(windows, beta=2.0).train(training)
    torch.manual_seed(5)
    difference = heavier.losses(motion, kl_weight=0.5)["loss"] - losses["loss"]
    torch.testing.assert_close(difference, 0.5 * 1.997 * rates.sum(), rtol=1e-3, atol=0)


@torch.no_grad()
def test_the_elbo_has_the_full_kl(windows: Windows) -> None:
    """The KL weight of the fit is not part of a bound on the log density."""
    model = small(windows).double()
    motion = windows.tensor().double()
    x = model._scaled(motion)
    path, posteriors, priors = model._top_down(model._bottom_up(x), fixed_draw())
    volume = 54 * model.scale.log().sum()
    expected = nats(model._likelihood(path), x) - volume - divergence(posteriors, priors).sum(0)
    torch.testing.assert_close(model.elbo(motion), expected, rtol=1e-9, atol=0)


def test_a_fit_does_not_change_the_pooling(windows: Windows) -> None:
    model = small(windows, epochs=2, batch_size=3)
    before = {name: value.clone() for name, value in model.named_buffers() if name.endswith("S")}
    model.fit(windows, windows)
    assert set(before) == {"encoder.1.resize.S", "join_top.S"}
    for name, value in model.named_buffers():
        assert name not in before or torch.equal(value, before[name])
