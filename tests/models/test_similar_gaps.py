"""Masks under which completions are tried on what is known of a window."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.datasets.cmu import CMU
from models.gap_classes import gap_class
from models.similar_gaps import similar_gaps

SKELETON = CMU().skeleton


def of_frames(*runs: tuple[int, int], frames: int = 50) -> torch.Tensor:
    hidden = torch.zeros(frames, len(SKELETON), 3, dtype=torch.bool)
    for begin, end in runs:
        hidden[begin:end] = True
    return hidden


@given(st.integers(0, 1000), st.floats(0.02, 0.9))
@settings(deadline=None, max_examples=25)
def test_what_is_tried_is_known_and_what_is_hidden_stays_so(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    hidden = torch.from_numpy(rng.random((30, len(SKELETON), 3)) < share)
    tried = similar_gaps(hidden, SKELETON)
    if tried is not None:
        assert tried.known.any()
        assert not (tried.known & hidden).any()
        assert torch.equal(tried.hidden, tried.known | hidden)


def tried_frames(hidden: torch.Tensor) -> list[int]:
    tried = similar_gaps(hidden, SKELETON)
    return [] if tried is None else tried.known[:, 0, 0].nonzero()[:, 0].tolist()


def test_a_gap_of_frames_is_tried_as_one_of_the_same_length() -> None:
    hidden = of_frames((20, 30))
    tried = similar_gaps(hidden, SKELETON)
    assert tried is not None
    assert int(tried.known[:, 0, 0].sum()) == 10
    classes = gap_class(torch.stack([hidden, tried.hidden]), SKELETON)
    assert torch.equal(classes[1][tried.known].unique(), classes[0][hidden].unique())


@pytest.mark.parametrize("length", [1, 5, 10, 20])
def test_the_frames_to_come_are_tried_by_hiding_as_many_before_them(length: int) -> None:
    expected = list(range(50 - 2 * length, 50 - length))
    assert tried_frames(of_frames((50 - length, 50))) == expected


def test_between_keyframes_every_other_one_is_tried() -> None:
    keyframes = ~of_frames((0, 1), (10, 11), (20, 21), (30, 31), (40, 41), (49, 50))
    assert tried_frames(keyframes) == [10, 30]
    assert tried_frames(~of_frames((0, 4), (22, 23), (48, 50))) == [22]


def test_nothing_is_tried_where_no_other_time_has_such_gaps() -> None:
    never = torch.zeros(50, len(SKELETON), 3, dtype=torch.bool)
    never[:, 3] = True
    assert similar_gaps(never, SKELETON) is None
    assert similar_gaps(of_frames((0, 49)), SKELETON) is None
    assert similar_gaps(of_frames((1, 49)), SKELETON) is None
    assert similar_gaps(of_frames((0, 50)), SKELETON) is None
    for frames in (1, 2):
        assert similar_gaps(of_frames((0, 1), frames=frames), SKELETON) is None
