"""Properties of every imputer, and what each computes."""

import copy
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.core.registry import MODELS
from bench.fitting.training import FitContext
from bench.motion import MotionSpec, Windows
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.features import Features
from models.base import GenerativeImputer, Imputer
from models.inference.map import Map
from models.inference.mean import Mean
from models.inference.reconstruct import Reconstruct
from tests.conftest import walk
from tests.models.test_hgvae import SMALL

TRAIN = walk(20, seed=1)


IMPUTERS = [name for name, cls in MODELS.all().items() if issubclass(cls, Imputer)]
SMALL_VAE = {"latents": [4, 3, 2], "width": 16}
SMALL_STACK = {"folds": 2, "masks": 1, "drifts": [0.1]}
TINY: dict[str, dict[str, Any]] = {
    "hgvae": SMALL,
    "untrained": SMALL,
    "conditional_hgvae": SMALL,
    "hmvae": {**SMALL, "latents": [[18, 6], [54, 4]]},
    "vae": {"hidden": [16, 8], "latent": 4},
    "window_gaussian": {"shrinkage": 0.1},
    "masked_vae": SMALL_VAE,
    "stacked": SMALL_STACK,
    "stacked_vae": {**SMALL_VAE, **SMALL_STACK},
    "pypots": {"width": 8, "heads": 2},
    "marker_process": {"memory": 20, "near": 5},
}


def fitted(name: str, **settings: Any) -> Imputer:
    """Return a fitted imputer; one with usual settings is fitted once, and copied."""
    return fit(name, **settings) if settings else copy.deepcopy(usual(name))


@cache
def usual(name: str) -> Imputer:
    return fit(name)


def fit(name: str, **settings: Any) -> Imputer:
    cls = MODELS.get(name)
    if reason := cls.unavailable():
        pytest.skip(reason)
    torch.manual_seed(0)
    quick = {"epochs": 2, "batch_size": 10} if "epochs" in cls.Settings.model_fields else {}
    spec = replace(TRAIN.spec, actions=("walk", "run"))
    model = cls(spec, cls.Settings(**{**TINY.get(name, {}), **quick, **settings}))
    model.fit(TRAIN, TRAIN)
    if isinstance(model, GenerativeImputer):
        model.inference = Map(steps=2)
    return model


@pytest.mark.parametrize(
    ("motion", "occluded", "message"),
    [
        (
            torch.zeros(2, 49, 18, 3),
            torch.zeros(2, 49, 18, 3).bool(),
            r"\(window, 50, 18, 3\), not",
        ),
        (torch.zeros(50, 18, 3), torch.zeros(50, 18, 3).bool(), r"not \(50, 18, 3\)"),
        (torch.zeros(2, 50, 18, 3), torch.zeros(2, 50, 18, 3), "must be bool .* not torch.float32"),
        (np.zeros((2, 50, 18, 3)), np.zeros((2, 50, 18, 3), bool), "torch.from_numpy"),
        (torch.zeros(2, 50, 18, 3), torch.zeros(2, 50, 18).bool(), r"not torch.bool of shape"),
        (
            torch.full((2, 50, 18, 3), np.nan),
            torch.zeros(2, 50, 18, 3).bool(),
            "5400 values .* hide",
        ),
    ],
)
def test_what_cannot_be_completed_is_refused_in_one_line(
    motion: Any, occluded: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        fitted("linear").impute(motion, occluded)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", IMPUTERS)
def test_observed_values_are_unchanged_and_hidden_values_are_ignored(
    name: str, windows: Windows
) -> None:
    model = fitted(name)
    truth = windows.tensor()
    occluded = torch.from_numpy(Features(level=Level.parse("30%")).occluded(windows))
    completed = model.impute(truth, occluded).motion
    assert torch.equal(completed[~occluded], truth[~occluded])
    assert torch.isfinite(completed).all()
    poisoned = torch.where(occluded, torch.nan, truth)
    assert torch.equal(model.impute(poisoned, occluded).motion, completed)


UNSEEDED = [name for name in IMPUTERS if not MODELS.get(name).seeded]


@pytest.mark.parametrize("name", UNSEEDED)
def test_fits_that_seeds_share_do_not_depend_on_them(name: str) -> None:
    cls = MODELS.get(name)
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = cls(TRAIN.spec, cls.Settings(**TINY.get(name, {})))
        model.fit(TRAIN, TRAIN, FitContext(seed=seed))
        states.append(model.state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


GENERATIVE = [name for name in IMPUTERS if issubclass(MODELS.get(name), GenerativeImputer)]
INFERENCES = (Mean(), Map(steps=5), Map(steps=5, objective="elbo"), Reconstruct(steps=5))


@pytest.mark.parametrize("name", GENERATIVE)
def test_batches_of_other_sizes_agree_to_rounding(name: str) -> None:
    """In float32, whose steps are 0.0001 mm here; Adam makes some of them larger.

    It divides a gradient by its size, also one that is all rounding.
    """
    model, windows = fitted(name), walk(7, seed=3)
    assert isinstance(model, GenerativeImputer)
    occluded = torch.from_numpy(Features(level=Level.parse("30%")).occluded(windows))
    truth = windows.tensor()
    for inference in INFERENCES:
        model.inference = inference
        together = model.impute(truth, occluded).motion
        scores = model.score(together)
        for size in (1, 3):
            pairs = zip(truth.split(size), occluded.split(size), strict=True)
            parts = torch.cat([model.impute(*pair).motion for pair in pairs])
            rounding = 0.1 if isinstance(inference, Map) else 1e-3
            torch.testing.assert_close(parts, together, atol=rounding, rtol=0)
            apart = [model.score(part) for part in together.split(size)]
            for score, values in scores.items():
                again = torch.cat([part[score] for part in apart])
                torch.testing.assert_close(again, values, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("name", IMPUTERS)
def test_everything_hidden_can_be_completed(name: str, windows: Windows) -> None:
    truth = windows.tensor()
    completed = fitted(name).impute(truth, torch.ones_like(truth, dtype=torch.bool)).motion
    assert torch.isfinite(completed).all()


@pytest.mark.parametrize("name", IMPUTERS)
def test_weights_alone_restore_a_model(name: str, windows: Windows) -> None:
    model = fitted(name)
    cls = type(model)
    again = cls(model.spec, model.settings)
    again.load_state_dict(model.state_dict())
    again.eval()
    if isinstance(again, GenerativeImputer):
        again.inference = Map(steps=2)
    occluded = torch.from_numpy(Features(level=Level.parse("10%")).occluded(windows))
    truth = windows.tensor()
    assert torch.equal(again.impute(truth, occluded).motion, model.impute(truth, occluded).motion)


def test_mean_is_the_train_mean(windows: Windows) -> None:
    truth = windows.tensor()
    completed = fitted("mean").impute(truth, torch.ones_like(truth, dtype=torch.bool)).motion
    expected = np.asarray(TRAIN.motion, dtype=np.float64).mean(axis=0)
    np.testing.assert_allclose(completed[0], expected, rtol=1e-5, atol=1e-3)


@given(st.lists(st.booleans(), min_size=2, max_size=12), st.integers(0, 9))
def test_linear_is_numpys_interpolation(hidden: list[bool], seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=len(hidden)).astype(np.float32)
    mask = np.array(hidden)
    model = MODELS.get("linear")(MotionSpec(len(hidden), 25.0, TRAIN.skeleton))
    shape = (1, len(hidden), 18, 3)
    motion = torch.from_numpy(np.broadcast_to(values[None, :, None, None], shape).copy())
    occluded = torch.from_numpy(np.broadcast_to(mask[None, :, None, None], shape).copy())
    completed = model.impute(motion, occluded).motion[0, :, 3, 1].numpy()
    seen = np.flatnonzero(~mask)
    if len(seen):
        expected = np.interp(np.arange(len(hidden)), seen, values[seen])
    else:
        expected = np.zeros(len(hidden))  # an unfitted mean
    np.testing.assert_allclose(completed, expected, atol=1e-5)


def test_a_completion_that_is_not_finite_is_an_error(windows: Windows) -> None:
    model = fitted("mean")
    model.mean.fill_(torch.inf)
    truth = windows.tensor()
    with pytest.raises(FloatingPointError, match="mean completed"):
        model.impute(truth, torch.ones_like(truth, dtype=torch.bool))


def test_a_generative_imputer_needs_an_inference(windows: Windows) -> None:
    model = fitted("untrained")
    assert isinstance(model, GenerativeImputer)
    model.inference = None
    truth = windows.tensor()
    with pytest.raises(RuntimeError, match=r"set untrained\.inference"):
        model.impute(truth, torch.zeros_like(truth, dtype=torch.bool))
