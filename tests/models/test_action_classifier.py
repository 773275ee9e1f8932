"""The action classifier: accuracy, features independent of the batch, and refused input."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.fitting.training import FitContext
from bench.motion import Windows
from models.action_classifier import ActionClassifier
from tests.conftest import walk

ACTIONS = ("slow", "fast")


def actions(count: int, seed: int) -> Windows:
    """Return windows whose arm swings slowly or fast."""
    windows = walk(count, seed=seed)
    fast = np.arange(count) % 2 == 1
    time = np.arange(50)[None, :, None, None] / 25
    hertz = np.where(fast, 3.0, 0.7)[:, None, None, None]
    phase = np.random.default_rng(seed).uniform(0, 6, (count, 1, 1, 1))
    motion = windows.motion + 150 * np.sin(2 * np.pi * hertz * time + phase)
    index = windows.index.assign(action=np.where(fast, "fast", "slow"))
    return replace(windows, motion=motion.astype(np.float32), index=index)


@pytest.fixture(scope="module")
def fitted() -> ActionClassifier:
    torch.manual_seed(0)
    train = actions(120, seed=1)
    model = ActionClassifier(
        replace(train.spec, actions=ACTIONS), ActionClassifier.Settings(epochs=15)
    )
    model.fit(train, actions(20, seed=2), FitContext())
    return model


def test_it_classifies_unseen_windows(fitted: ActionClassifier) -> None:
    unseen = actions(60, seed=5)
    predicted = fitted.scores(fitted.features(unseen.tensor())).argmax(dim=1)
    right = (predicted == unseen.labels(ACTIONS)).float().mean()
    assert float(right) > 0.9


def test_a_windows_features_do_not_depend_on_the_batch(fitted: ActionClassifier) -> None:
    motion = actions(6, seed=7).tensor()
    together = fitted.features(motion)
    assert together.shape == (6, 32)
    for row in range(6):
        torch.testing.assert_close(fitted.features(motion[row : row + 1])[0], together[row])


def test_windows_of_other_actions_are_ignored() -> None:
    train = actions(20, seed=1)
    spec = replace(train.spec, actions=("slow", "fast"))
    stray = replace(train, index=train.index.assign(action=["slow", "fast", "else", ""] * 5))
    model = ActionClassifier(spec, ActionClassifier.Settings(epochs=1))
    context = FitContext()
    model.fit(stray, train, context)
    assert np.isfinite(context.history[0]["loss"])
    unknown = replace(train, index=train.index.assign(action="else"))
    with pytest.raises(ValueError, match="no window has one of the actions slow, fast"):
        model.fit(unknown, train)


def test_a_single_action_is_refused() -> None:
    with pytest.raises(ValueError, match="two or more actions"):
        ActionClassifier(replace(walk(2).spec, actions=("walk",)))
