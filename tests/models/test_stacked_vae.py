"""The stack with a VAE: what it weighs, on whom, and that parts are fitted apart."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.fitting.training import FitContext, Progress
from bench.motion import Windows
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.frames import Frames
from bench.motion.mechanisms.limbs import Limbs
from models.families import FAMILIES
from models.gap_classes import CLASSES
from models.inference.amortised import Amortised
from models.masked_vae import MaskedVAE
from models.stacked_vae import StackedVAE, _Experts
from tests.conftest import walk
from tests.models.test_stacked import SHORT, people

SMALL: dict[str, Any] = {
    "folds": 2,
    "masks": 2,
    "drifts": (0.1, 10.0),
    "latents": (4, 3, 2),
    "width": 16,
    "frequencies": 6,
    "epochs": 2,
    "batch_size": 20,
}


def fit(folder: Path | None = None) -> StackedVAE:
    torch.manual_seed(0)
    train = people(walk(**SHORT, seed=1), list("abcd"))
    model = StackedVAE(train.spec, StackedVAE.Settings(**SMALL))
    model.fit(train, walk(**SHORT, seed=2), FitContext(folder=folder))
    return model


@pytest.fixture(scope="module")
def fitted() -> StackedVAE:
    return fit()


def test_the_vaes_completions_are_among_those_weighed(fitted: StackedVAE) -> None:
    test = walk(3, 12, seed=3)
    hidden = torch.from_numpy(Limbs(level=Level.parse("1")).occluded(test))[0]
    fills, sigma = fitted.completions(test.tensor(), hidden, fitted.experts)
    assert len(fills) == len(sigma) == fitted.completion_count == 2 * 2 + 2 + 2 + 1
    assert isinstance(fitted.experts, _Experts)
    vae = fitted.experts.vae
    vae.inference = Amortised(draws=0)
    alone = vae.impute(test.tensor(), hidden.expand(3, -1, -1, -1)).motion
    torch.testing.assert_close(fills[6], alone, rtol=0, atol=1e-2)


def test_the_time_of_every_vae_counts_that_was_interrupted(tmp_path: Path) -> None:
    train = people(walk(**SHORT, seed=1), list("abcd"))
    experts = _Experts(train.spec, StackedVAE.Settings(**SMALL))

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    contexts = [FitContext(folder=tmp_path, report=stop), FitContext(folder=tmp_path)]
    for fold in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            experts.fit(train, train, fold, contexts[0])
    taken = []
    for fold in (0, 1):
        experts.fit(train, train, fold, contexts[1])
        taken.append(contexts[1].before)
    assert 0 < taken[0] < taken[1]


@torch.no_grad()
def test_gaussians_correct_what_the_vae_decodes_by_its_errors_where_it_is_seen(
    fitted: StackedVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the textbook's formula, before bones are put right."""
    monkeypatch.setattr(fitted.distances, "kept", lambda motion, covariance: motion)
    test = walk(2, 12, seed=3)
    hidden = torch.from_numpy(Frames(level=Level.parse("160 ms")).occluded(test))[0]
    fills, _ = fitted.completions(test.tensor(), hidden, fitted.experts)
    assert isinstance(fitted.experts, _Experts)
    occluded = hidden.expand(2, -1, -1, -1)
    z, _ = fitted.experts.vae.infer_seen(test.tensor(), occluded).draw(lambda one: one.mean)
    decoded = fitted.experts.vae.decode(z)
    predicted = decoded.motion(decoded.mean).double().flatten(1).numpy()
    covariance = fitted.experts.windows.gaussian(10.0).covariance.numpy()
    h = hidden.flatten().numpy()
    gain = covariance[np.ix_(h, ~h)] @ np.linalg.inv(covariance[np.ix_(~h, ~h)])
    error = test.tensor().double().flatten(1).numpy() - predicted
    expected = predicted[:, h] + error[:, ~h] @ gain.T
    np.testing.assert_allclose(fills[8].flatten(1)[:, h], expected, rtol=1e-3, atol=0.05)


def test_every_fold_has_a_vae_of_its_own_that_does_not_know_its_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[tuple[str, set[str]]] = []
    estimate = MaskedVAE.fit

    def noted(self: MaskedVAE, train: Windows, valid: Windows, context: FitContext) -> None:
        assert context.folder is not None
        known.append((context.folder.name, set(train.index["subject"])))
        estimate(self, train, valid, context)

    monkeypatch.setattr(MaskedVAE, "fit", noted)
    fit(tmp_path)
    assert [name for name, _ in known] == ["whole", "fold0", "fold1"]
    assert known[0][1] == set("abcd")
    assert not known[1][1] & known[2][1]
    assert known[1][1] | known[2][1] == set("abcd")


def test_weights_are_a_mean_and_nothing_seen_changes(fitted: StackedVAE) -> None:
    for family in range(len(FAMILIES)):
        for weights in fitted.weights(family, range(CLASSES), {}).values():
            assert float(weights.min()) >= 0
            torch.testing.assert_close(weights.sum(dim=1), torch.ones(1).double())
    test = walk(3, 12, seed=3)
    hidden = torch.from_numpy(Limbs(level=Level.parse("1")).occluded(test))
    found = fitted.impute(torch.where(hidden, torch.nan, test.tensor()), hidden)
    assert torch.equal(found.motion[~hidden], test.tensor()[~hidden])
    assert found.sigma is not None
    assert float(found.sigma[hidden].min()) > 0
