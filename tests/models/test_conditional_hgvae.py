"""HG-VAE conditioned on the action: what is appended to z0, and its effect on samples."""

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


def test_z0_with_its_condition_has_the_papers_269_features() -> None:
    """256 of the latent, plus 13 actions."""
    model = ConditionalHGVAE(PAPER_SPEC)
    assert model.join_top.W.shape[0] == 269
    assert model.latent_shapes()[0] == (1, 256)
    more = model.parameter_count() - HGVAE(PAPER_SPEC).parameter_count()
    assert more == 13 * model.settings.width


def test_the_condition_is_one_hot_in_the_protocols_order(windows: Windows) -> None:
    model = small(windows)
    named = labelled(windows, ["bow", "walk", "jump", "wave", "", "bow"])
    expected = [[0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert torch.equal(model.loss_inputs(named)["condition"], torch.tensor(expected).float())


def test_the_condition_is_appended_to_z0_only(windows: Windows) -> None:
    """Compared with the first product after z0 in full; z0's posterior does not depend on it."""
    model = small(windows)
    z = torch.randn(1, 4, model.settings.latents[0][1])
    condition = torch.eye(3)[[0, 2, 1, 0]]
    joined = torch.cat([z[0], condition], dim=1) @ model.join_top.W
    layer = model.join_top
    by_hand = torch.einsum("mn,wf->mwf", layer.S, joined) + layer.b[:, None]
    torch.testing.assert_close(
        layer(torch.cat([z, condition[None]], dim=-1)), torch.nn.functional.gelu(by_hand)
    )
    torch.testing.assert_close(
        model._start_path(z, condition), model.block_top(torch.nn.functional.gelu(by_hand))
    )
    features = model._bottom_up(model._scaled(windows.tensor()))
    rows = torch.eye(3)[[0, 1, 2, 0, 1, 2]]
    first = model._top_down(features, Gaussian.centre, condition=rows)[1]
    second = model._top_down(features, Gaussian.centre, condition=1 - rows)[1]
    torch.testing.assert_close(first[0].mean, second[0].mean)


def test_without_an_action_the_condition_is_zero(windows: Windows) -> None:
    model = small(windows).eval()
    motion = windows.tensor()
    torch.manual_seed(1)
    unconditioned = model.losses(motion, 1.0)["loss"]
    torch.manual_seed(1)
    zero = model.losses(motion, 1.0, condition=torch.zeros(len(motion), 3))["loss"]
    torch.testing.assert_close(unconditioned, zero)
    torch.manual_seed(1)
    conditioned = model.losses(motion, 1.0, condition=torch.eye(3)[[0] * len(motion)])["loss"]
    assert not torch.allclose(conditioned, zero)


def test_in_training_a_share_of_actions_is_dropped(windows: Windows) -> None:
    model = small(windows, untold=0.25)
    seen: list[torch.Tensor] = []
    start_path = model._start_path

    def record(z: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        assert condition is not None
        seen.append(condition)
        return start_path(z, condition)

    model._start_path = record  # type: ignore[method-assign]
    many = windows.tensor()[:1].repeat(2000, 1, 1, 1)
    rows = torch.eye(3)[torch.arange(2000) % 3]
    model.train().losses(many, 1.0, condition=rows)
    dropped = (seen[0].sum(dim=1) == 0).float().mean()
    assert float(dropped) == pytest.approx(0.25, abs=0.04)
    assert torch.equal(seen[0][seen[0].sum(dim=1) > 0], rows[seen[0].sum(dim=1) > 0])
    model.eval().losses(many, 1.0, condition=rows)
    assert torch.equal(seen[1], rows)


def test_after_a_fit_samples_have_the_given_action() -> None:
    """Two actions a metre apart: samples of each must lie where its windows do."""
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
    # With alternating actions, each window has the action at its index.
    mixed = model.sample_actions(["bow", "wave"] * 20)
    assert mixed.shape == (40, 50, 18, 3)
    assert float(mixed[1::2].mean() - mixed[::2].mean()) > 500


def test_an_unknown_action_is_refused(windows: Windows) -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        small(windows).sample(2, "fly")
    with pytest.raises(ValueError, match="actions at the top of the protocol"):
        ConditionalHGVAE(windows.spec)
