"""The control that completes with another window."""

import torch

from models.shuffled import Shuffled
from tests.conftest import walk


def shuffled(donors: int) -> Shuffled:
    train = walk(20, seed=1)
    model = Shuffled(train.spec, Shuffled.Settings(donors=donors))
    model.fit(train, train)
    return model


def test_hidden_values_are_those_of_one_train_window() -> None:
    train, truth = walk(20, seed=1).tensor(), walk(30, seed=2).tensor()
    occluded = torch.zeros_like(truth, dtype=torch.bool)
    occluded[:, 10:30, 5:9] = True
    completed = shuffled(20).impute(truth, occluded).motion
    region = (slice(None), slice(10, 30), slice(5, 9))
    same = (completed[region][:, None] == train[region]).flatten(2).all(dim=2)
    assert (same.sum(dim=1) == 1).all()
    assert len(same.int().argmax(dim=1).unique()) > 8


def test_a_window_draws_anew_where_other_values_are_seen() -> None:
    truth = walk(30, seed=2).tensor()
    model, drawn = shuffled(20), []
    for frame in (10, 40):
        occluded = torch.zeros_like(truth, dtype=torch.bool)
        occluded[:, 20:30], occluded[:, frame] = True, True
        drawn.append(model.impute(truth, occluded).motion[:, 20:30])
    assert (drawn[0] != drawn[1]).flatten(1).any(dim=1).sum() > 20


def test_few_train_windows_are_stored_repeatedly() -> None:
    train = walk(20, seed=1).tensor()
    stored = shuffled(50).donors
    counts = (stored[:, None] == train).flatten(2).all(dim=2).sum(dim=0)
    assert counts.sum() == 50
    assert counts.min() >= 1
