"""Inference: keeping the best step, step sizes, and independence of windows."""

from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.fitting.adam import Adam
from bench.motion import Windows
from bench.motion.corruptions.noise import Noise
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.features import Features
from models.base import GenerativeImputer
from models.hgvae import HGVAE
from models.hmvae import HMVAE
from models.inference import map as map_inference
from models.inference.map import Map
from models.inference.mean import Mean
from models.inference.reconstruct import Reconstruct
from models.vae import VAE
from tests.conftest import walk
from tests.models.test_hgvae import SMALL, small


@pytest.fixture
def case(windows: Windows) -> tuple[HGVAE, torch.Tensor, torch.Tensor]:
    model = small(windows)
    occluded = torch.from_numpy(Features(level=Level.parse("20%")).occluded(windows))
    return model, torch.where(occluded, model.mean, windows.tensor()), occluded


Case = tuple[HGVAE, torch.Tensor, torch.Tensor]
Objective = Literal["posterior", "elbo"]


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
    """Compared with a simple loop over one window, best step kept."""
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


def test_mean_returns_its_input(case: Case) -> None:
    model, start, occluded = case
    assert torch.equal(Mean().complete(model, start, occluded), start)


@pytest.fixture
def precise() -> Case:
    """A case without rounding, each window hidden at a level of its own.

    As in motion that was recorded, no frequency is all but still, which would make steps of a
    thousandth of a mm too long; and as in a fitted model, biases are not zero.
    """
    windows = walk()
    windows = replace(windows, motion=Noise(level=20).apply(windows))
    model = small(windows).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith(("S", "W")):
                parameter.add_(0.3 * torch.randn_like(parameter))
    levels = [0, 1, "10%", "50%", "90%", "100%"]
    masks = [
        Features(level=Level.parse(level)).occluded(windows.take(slice(row, row + 1)))
        for row, level in enumerate(levels)
    ]
    occluded = torch.from_numpy(np.concatenate(masks))
    return model, torch.where(occluded, model.mean, windows.tensor().double()), occluded


def ascended(case: Case, objective: Objective, rate: float, clear: bool = True) -> Tensor:
    """Return the best of eight steps of plain Adam over all entries of the windows."""
    model, start, occluded = case
    values = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([values], lr=rate)
    best, highest = start.clone(), [-np.inf] * len(start)
    for _ in range(9):
        motion = torch.where(occluded, values, start)
        levels = model.log_posterior(motion)
        height = levels.sum(dim=1) if objective == "posterior" else model.elbo(motion)
        for row, value in enumerate(height.tolist()):
            if value > highest[row]:
                best[row], highest[row] = motion[row].detach(), value
        if clear:
            optimizer.zero_grad()
        (-height.sum()).backward()
        optimizer.step()
    return best


def test_windows_of_several_levels_in_a_batch_are_independent(precise: Case) -> None:
    model, start, occluded = precise
    assert occluded.sum(dim=(1, 2, 3)).tolist() == [0, 1, 270, 1350, 2430, 2700]
    for method in (Map(steps=4, rate=3.0), Map(steps=4, objective="elbo"), Reconstruct(steps=3)):
        together = method.complete(model, start, occluded)
        assert torch.equal(together[0], start[0])
        for row in range(6):
            one = slice(row, row + 1)
            alone = method.complete(model, start[one], occluded[one])
            torch.testing.assert_close(alone, together[one], atol=1e-6, rtol=0)
        # A window of nan must not affect the others.
        broken = start.clone()
        broken[3] = torch.nan
        among = method.complete(model, broken, occluded)
        rest = [row for row in range(6) if row != 3]
        torch.testing.assert_close(among[rest], together[rest], atol=1e-6, rtol=0)


@pytest.mark.parametrize("objective", ["posterior", "elbo"])
@pytest.mark.parametrize("accumulate", [False, True])
def test_the_gradient_is_cleared_at_each_step_unless_it_is_to_accumulate(
    precise: Case, objective: Objective, accumulate: bool
) -> None:
    ascent = Map(steps=8, rate=0.5, objective=objective, accumulate=accumulate)
    found = ascent.complete(*precise)
    expected = ascended(precise, objective, 0.5, clear=not accumulate)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    others: list[tuple[Objective, bool]] = [("posterior", True), ("posterior", False)]
    others += [("elbo", True), ("elbo", False)]
    for other in others:
        if other != (objective, not accumulate):
            assert float((found - ascended(precise, other[0], 0.5, other[1])).abs().max()) > 0.1


def test_the_elbo_never_falls_below_its_start_and_rises_by_small_steps(precise: Case) -> None:
    model, start, occluded = precise
    before = model.elbo(start).detach()

    def after(rate: float) -> Tensor:
        ascent = Map(steps=4, rate=rate, objective="elbo")
        return model.elbo(ascent.complete(model, start, occluded)).detach()

    for rate in (1.0, 1000.0):
        assert (after(rate) >= before - 1e-9 * before.abs()).all()
    assert (after(0.1) > before + 1e-3)[1:].all()


def test_a_rate_in_deviations_moves_each_entry_by_its_own(precise: Case) -> None:
    model, start, occluded = precise
    generator = torch.Generator().manual_seed(1)
    spread = torch.rand(model.deviation.shape, generator=generator, dtype=torch.float64)
    model.deviation.copy_(0.01 * 100**spread)  # from a hundredth of a mm to one mm
    moved = Map(steps=1, rate=0.2, unit="deviation").complete(model, start, occluded) - start
    share = (moved.abs() / model.deviation)[occluded]
    # Adam's first step is of its rate, whatever the gradient.
    torch.testing.assert_close(share, torch.full_like(share, 0.2), rtol=1e-2, atol=0)
    far = Map(steps=6, rate=0.2, unit="deviation").complete(model, start, occluded) - start
    share = (far.abs() / model.deviation)[occluded]
    assert 0.6 < float(share.max()) <= 6 * 0.2 * 1.1
    assert float(far[~occluded].abs().max()) == 0


def test_a_normal_start_is_near_zero_not_at_the_mean(precise: Case) -> None:
    model, start, occluded = precise
    ascent = Map(steps=1, rate=1e-6, start="normal")
    torch.manual_seed(2)
    completed = ascent.complete(model, start, occluded)
    drawn = completed[occluded]
    assert float(start[occluded].abs().mean()) > 100
    assert float(drawn.mean()) == pytest.approx(0, abs=0.05)
    assert float(drawn.std()) == pytest.approx(1, abs=0.05)
    assert float(drawn.abs().max()) < 6
    assert torch.equal(completed[~occluded], start[~occluded])
    torch.manual_seed(2)
    in_twos = ascent.model_copy(update={"batch": 2}).complete(model, start, occluded)
    torch.testing.assert_close(in_twos, completed, atol=1e-5, rtol=0)
    model.inference = ascent
    imputed = model.impute(start, occluded).motion
    assert float(imputed[occluded].abs().max()) < 6


@pytest.fixture
def optimizers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Tensor], float]]:
    """The variables and the rate of every Adam made in a test."""
    made: list[tuple[list[Tensor], float]] = []

    class Spy(Adam):
        def __init__(self, parameters: list[Tensor], rate: float) -> None:
            made.append((parameters, rate))
            super().__init__(parameters, rate)

    monkeypatch.setattr(map_inference, "Adam", Spy)
    return made


@pytest.mark.parametrize("accumulate", [False, True])
def test_only_hidden_entries_get_gradients(
    precise: Case, optimizers: list[tuple[list[Tensor], float]], accumulate: bool
) -> None:
    model, start, occluded = precise
    Map(steps=2, batch=4, accumulate=accumulate).complete(model, start, occluded)
    sizes = [sum(variable.numel() for variable in variables) for variables, _ in optimizers]
    # Two micro-batches, which may start in either order.
    assert sorted(sizes) == sorted([int(occluded[:3].sum()), int(occluded[3:].sum())])
    for variables, _ in optimizers:
        for variable in variables:
            assert variable.grad is not None
            assert float(variable.grad.abs().min()) > 0
    assert all(parameter.grad is None for parameter in model.parameters())


RATES: list[tuple[type[GenerativeImputer], dict[str, Any], float]] = [
    (VAE, {"hidden": (8,), "latent": 2}, 100.0),
    (HGVAE, SMALL, 1.0),
    (HMVAE, {**SMALL, "latents": [[18, 4], [54, 4]]}, 1.0),
]


@pytest.mark.parametrize(("cls", "settings", "own"), RATES, ids=["vae", "hgvae", "hmvae"])
def test_a_models_own_rate_is_in_mm_and_can_be_overridden(
    cls: type[GenerativeImputer],
    settings: dict[str, Any],
    own: float,
    optimizers: list[tuple[list[Tensor], float]],
) -> None:
    windows = walk(2)
    model = cls(windows.spec, cls.Settings(**settings)).eval()
    occluded = torch.ones(windows.motion.shape, dtype=torch.bool)
    for ascent in (
        Map(steps=1),
        Map(steps=1, rate=7.0),
        Map(steps=1, unit="deviation"),
        Map(steps=1, unit="deviation", rate=0.5),
    ):
        ascent.complete(model, windows.tensor(), occluded)
    assert [rate for _, rate in optimizers] == [own, 7.0, 0.1, 0.5]


@pytest.mark.parametrize("steps", [1, 4])
def test_reconstruct_keeps_the_best_of_repeated_reconstructions(precise: Case, steps: int) -> None:
    model, start, occluded = precise
    met = [start]
    for _ in range(steps):
        again = model.reconstruct(met[-1])
        step = met[-1].clone()
        for place in torch.nonzero(occluded).tolist():
            step[tuple(place)] = again[tuple(place)]
        met.append(step)
    with torch.no_grad():
        bounds = torch.stack([model.elbo(motion) for motion in met])
    best = bounds.argmax(dim=0)
    expected = torch.stack([met[int(step)][row] for row, step in enumerate(best)])
    found = Reconstruct(steps=steps).complete(model, start, occluded)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    assert torch.equal(found[~occluded], start[~occluded])


def test_reconstruct_keeps_for_each_window_the_step_of_highest_elbo() -> None:
    peaks = torch.tensor([0.0, 2.0, 9.0])

    class Stairs:
        """Each reconstruction is a step up, and each window's bound is highest on another."""

        def elbo(self, motion: torch.Tensor) -> torch.Tensor:
            return -(motion[:, 0, 0, 0] - peaks).square()

        def reconstruct(self, motion: torch.Tensor) -> torch.Tensor:
            return motion + 1

    start = torch.zeros(3, 2, 1, 3)
    occluded = torch.zeros_like(start, dtype=torch.bool)
    occluded[:, 0] = True
    found = Reconstruct(steps=4).complete(cast(Any, Stairs()), start, occluded)
    assert found[:, 0].amin(dim=(1, 2)).tolist() == [0, 2, 4]
    assert found[:, 0].amax(dim=(1, 2)).tolist() == [0, 2, 4]
    assert float(found[:, 1].abs().max()) == 0


def test_reconstruct_keeps_the_start_where_every_step_is_worse_or_nan() -> None:
    class Runaway:
        """The further from zero, the lower the bound; reconstructions diverge."""

        def elbo(self, motion: torch.Tensor) -> torch.Tensor:
            return -motion.square().flatten(1).sum(dim=1)

        def reconstruct(self, motion: torch.Tensor) -> torch.Tensor:
            return motion * 1e15 + 1e15

    start = torch.ones(2, 3, 1, 3)
    occluded = torch.ones_like(start, dtype=torch.bool)
    found = Reconstruct(steps=5).complete(cast(Any, Runaway()), start, occluded)
    assert torch.equal(found, start)


def test_the_preset_has_the_published_settings() -> None:
    chosen = Map.presets["published_code"]
    usual, found = Map().model_dump(), Map(**chosen).model_dump()
    assert {name: value for name, value in found.items() if value != usual[name]} == chosen
