"""MAP ascent: what it keeps, how far it goes, and that windows stay apart."""

import pytest
import torch

from bench.motion import Windows
from bench.motion.occlusion import Features, Level
from models.hgvae import HGVAE
from models.inference import Map, Mean
from tests.models.test_hgvae import small


@pytest.fixture
def case(windows: Windows) -> tuple[HGVAE, torch.Tensor, torch.Tensor]:
    model = small(windows)
    occluded = torch.from_numpy(Features(level=Level.parse("20%")).occluded(windows))
    return model, torch.where(occluded, model.mean, windows.tensor()), occluded


Case = tuple[HGVAE, torch.Tensor, torch.Tensor]


def test_the_posterior_never_falls_below_its_start(case: Case) -> None:
    model, start, occluded = case
    for rate in (1.0, 1000.0):  # 1000 mm a step is far too much: the start itself must be kept
        completed = Map(steps=3, rate=rate).complete(model, start, occluded)
        before, after = model.score(start)["nlp"], model.score(completed)["nlp"]
        assert (after <= before + 1e-3 * before.abs()).all()
    small_steps = Map(steps=5, rate=1.0).complete(model, start, occluded)
    assert (model.score(small_steps)["nlp"] < model.score(start)["nlp"]).all()


def test_ten_steps_of_one_millimetre_stay_within_about_ten(case: Case) -> None:
    model, start, occluded = case
    moved = (Map(steps=10, rate=1.0).complete(model, start, occluded) - start).abs()
    assert 0 < float(moved.max()) < 11
    assert float(moved[~occluded].max()) == 0


def test_windows_of_a_batch_do_not_influence_each_other(case: Case) -> None:
    model, start, occluded = case
    together = Map(steps=4).complete(model, start, occluded)
    in_twos = Map(steps=4, batch=2).complete(model, start, occluded)
    torch.testing.assert_close(together, in_twos, atol=5e-2, rtol=0)


def test_it_is_adam_on_the_hidden_entries(case: Case) -> None:
    """Against a plain loop over one window, best step kept."""
    model, start, occluded = case
    window, hidden = start[:1], occluded[:1]
    values = window.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([values], lr=2.0)
    best, highest = window, -torch.inf
    for step in range(6):
        motion = torch.where(hidden, values, window)
        posterior = model.log_posterior(motion).sum()
        if float(posterior.detach()) > highest:
            best, highest = motion.detach().clone(), float(posterior.detach())
        if step < 5:
            optimizer.zero_grad()
            (-posterior).backward()
            optimizer.step()
    completed = Map(steps=5, rate=2.0).complete(model, window, hidden)
    torch.testing.assert_close(completed, best, atol=1e-2, rtol=0)


def test_weights_get_no_gradient(case: Case) -> None:
    model, start, occluded = case
    Map(steps=2).complete(model, start, occluded)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_mean_leaves_the_input_alone(case: Case) -> None:
    model, start, occluded = case
    assert torch.equal(Mean().complete(model, start, occluded), start)
