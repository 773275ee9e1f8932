"""HG-VAE told the action: what is appended to z0, and what that does to what it draws."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bench.fitting.training import FitContext
from bench.motion import Windows
from bench.protocol.listing import PAPER_SPEC
from models.conditional_hgvae import ConditionalHGVAE
from models.gaussian import Gaussian
from models.hgvae import HGVAE
from tests.conftest import walk
from tests.models.test_hgvae import SMALL

ACTIONS = ("walk", "wave", "bow")


def small(windows: Windows, **settings: Any) -> ConditionalHGVAE:
    torch.manual_seed(0)
    spec = replace(windows.spec, actions=ACTIONS)
    model = ConditionalHGVAE(spec, ConditionalHGVAE.Settings(**{**SMALL, **settings}))
    model.measure(windows, windows)
    return model


def labelled(windows: Windows, actions: list[str]) -> Windows:
    return replace(windows, index=windows.index.assign(action=actions))


def test_z0_has_the_papers_269_features_on_its_way_down() -> None:
    """256 of the latent, and 13 actions."""
    model = ConditionalHGVAE(PAPER_SPEC)
    assert model.join_top.W.shape[0] == 269
    assert model.latent_shapes()[0] == (1, 256)
    more = model.parameter_count() - HGVAE(PAPER_SPEC).parameter_count()
    assert more == 13 * model.settings.width


def test_what_is_told_is_one_hot_by_the_protocols_order(windows: Windows) -> None:
    model = small(windows)
    named = labelled(windows, ["bow", "walk", "jump", "wave", "", "bow"])
    expected = [[0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert torch.equal(model.loss_inputs(named)["told"], torch.tensor(expected).float())


def test_it_is_appended_to_z0_alone(windows: Windows) -> None:
    """By the first product after z0, written out; the posterior of z0 does not see it."""
    model = small(windows)
    z = torch.randn(1, 4, model.settings.latents[0][1])
    told = torch.eye(3)[[0, 2, 1, 0]]
    joined = torch.cat([z[0], told], dim=1) @ model.join_top.W
    layer = model.join_top
    by_hand = torch.einsum("mn,wf->mwf", layer.S, joined) + layer.b[:, None]
    torch.testing.assert_close(
        layer(torch.cat([z, told[None]], dim=-1)), torch.nn.functional.gelu(by_hand)
    )
    torch.testing.assert_close(
        model._begin(z, told), model.block_top(torch.nn.functional.gelu(by_hand))
    )
    features = model._ascend(model._scaled(windows.tensor()))
    rows = torch.eye(3)[[0, 1, 2, 0, 1, 2]]
    first = model._descend(features, Gaussian.centre, told=rows)[1]
    second = model._descend(features, Gaussian.centre, told=1 - rows)[1]
    torch.testing.assert_close(first[0].mean, second[0].mean)


def test_without_an_action_noughts_stand_in_its_place(windows: Windows) -> None:
    model = small(windows).eval()
    motion = windows.tensor()
    torch.manual_seed(1)
    untold = model.losses(motion, 1.0)["loss"]
    torch.manual_seed(1)
    noughts = model.losses(motion, 1.0, told=torch.zeros(len(motion), 3))["loss"]
    torch.testing.assert_close(untold, noughts)
    torch.manual_seed(1)
    told = model.losses(motion, 1.0, told=torch.eye(3)[[0] * len(motion)])["loss"]
    assert not torch.allclose(told, noughts)


def test_in_training_a_share_of_actions_is_withheld(windows: Windows) -> None:
    model = small(windows, untold=0.25)
    seen: list[torch.Tensor] = []
    begin = model._begin

    def watch(z: torch.Tensor, told: torch.Tensor | None) -> torch.Tensor:
        assert told is not None
        seen.append(told)
        return begin(z, told)

    model._begin = watch  # type: ignore[method-assign]
    many = windows.tensor()[:1].repeat(2000, 1, 1, 1)
    rows = torch.eye(3)[torch.arange(2000) % 3]
    model.train().losses(many, 1.0, told=rows)
    withheld = (seen[0].sum(dim=1) == 0).float().mean()
    assert float(withheld) == pytest.approx(0.25, abs=0.04)
    assert torch.equal(seen[0][seen[0].sum(dim=1) > 0], rows[seen[0].sum(dim=1) > 0])
    model.eval().losses(many, 1.0, told=rows)
    assert torch.equal(seen[1], rows)


def test_after_a_fit_it_draws_what_it_is_asked_for() -> None:
    """Two actions a metre apart: draws of each must lie where its windows do."""
    windows = walk(60, seed=3)
    high = np.arange(60) % 2 == 0
    motion = windows.motion + np.where(high, 500, -500)[:, None, None, None].astype(np.float32)
    index = windows.index.assign(action=np.where(high, "wave", "bow"))
    apart = replace(windows, motion=motion, index=pd.DataFrame(index))
    settings = {"epochs": 60, "batch_size": 20, "learning_rate": 3e-3, "kl_warmup": 30}
    model = small(apart, residual="branch", sigma_floor=50.0, **settings)
    model.fit(apart, apart, FitContext())
    with torch.no_grad():
        means = {action: float(model.sample(40, action).mean()) for action in ("wave", "bow")}
    assert means["wave"] - means["bow"] > 500
    # Asked for in turn, each window is of the action in its place.
    mixed = model.sample_actions(["bow", "wave"] * 20)
    assert mixed.shape == (40, 50, 18, 3)
    assert float(mixed[1::2].mean() - mixed[::2].mean()) > 500


def test_an_action_that_it_does_not_know_is_refused(windows: Windows) -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        small(windows).sample(2, "fly")
    with pytest.raises(ValueError, match="actions at the top of the protocol"):
        ConditionalHGVAE(windows.spec)
