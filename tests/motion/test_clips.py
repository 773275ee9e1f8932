"""Clips of recordings, compared with windows that are cut out one by one."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.motion import Clips, Recordings
from bench.motion.clips import frames_at_speed

LENGTHS = (9, 3, 14)


def recordings(lost: tuple[int, ...] = (), lengths: tuple[int, ...] = LENGTHS) -> Recordings:
    """Return recordings of two joints; a value of each frame in ``lost`` is missing."""
    frames = np.random.default_rng(0).normal(0, 100, (sum(lengths), 2, 3)).astype(np.float32)
    frames[list(lost), 1, 2] = np.nan
    return Recordings(frames, np.append(0, np.cumsum(lengths)))


def cut(
    source: Recordings, length: int, stride: int, after: int = 0
) -> tuple[Clips, NDArray[np.float32]]:
    """Return clips, and what they must read like: from ``after`` frames on, padded by nan."""
    number, first, expected = [], [], []
    for recording, (begin, end) in enumerate(zip(source.bounds, source.bounds[1:], strict=False)):
        motion = np.array(source.frames[begin:end])
        padded = np.concatenate([motion, np.full((after + length, 2, 3), np.nan, np.float32)])
        for start in range(0, len(motion) - length + 1, stride):
            number.append(recording)
            first.append(begin + start)
            expected.append(padded[start + after : start + after + length])
    clips = Clips(source, np.array(number), np.array(first), length)
    shape = (len(number), length, 2, 3)
    return clips, np.array(expected, dtype=np.float32).reshape(shape)


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 9))
def test_clips_are_slices_of_their_recordings(length: int, stride: int, after: int) -> None:
    clips, expected = cut(recordings((4, 20)), length, stride, after)
    later = Clips(clips.recordings, clips.recording, clips.first + after, length)
    if not after:
        later = clips
    inside = later.first <= later.recordings.bounds[later.recording + 1]
    np.testing.assert_array_equal(np.asarray(later.take(inside)), expected[inside])
    assert later.shape == expected.shape
    assert later.dtype == np.float32


@pytest.mark.parametrize(
    "key",
    [
        3,
        -1,
        np.int64(2),
        slice(1, 8, 3),
        slice(None),
        np.array([5, 0, 5]),
        [1, 2],
        np.arange(10) % 3 == 0,
        (2, 1),
        (slice(2, 4), 0),
        (np.array([3, 1]), slice(1, 3), 1),
        (slice(None), slice(None), [0]),
        (np.array([3, 1]), np.array([0, 2])),
        (Ellipsis, 0),
        Ellipsis,
        (),
        None,
    ],
    ids=str,
)
def test_clips_are_indexed_like_an_array(key: Any) -> None:
    clips, expected = cut(recordings(), 4, 2)
    assert len(expected) == 9 or len(expected) == 10
    if isinstance(key, np.ndarray) and key.dtype == np.bool_:
        key = key[: len(expected)]
    np.testing.assert_array_equal(clips[key], expected[key])


def test_what_is_read_is_a_copy() -> None:
    clips, expected = cut(recordings(), 4, 2)
    for key in (0, slice(0, 2), np.array([0, 1])):
        clips[key][...] = 0
    np.asarray(clips)[...] = 0
    np.testing.assert_array_equal(clips, expected)
    with pytest.raises(ValueError, match="without copying"):
        np.asarray(clips, copy=False)


def test_clips_can_be_prolonged_followed_and_chosen() -> None:
    clips, expected = cut(recordings(), 4, 3)
    longer = np.asarray(clips.prolonged(3))
    np.testing.assert_array_equal(longer[:, :4], expected)
    np.testing.assert_array_equal(longer[:, 4:], clips.following(3))
    some = np.array([2, 0])
    np.testing.assert_array_equal(clips.take(some), expected[some])
    for one, other in zip(clips, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@given(st.sets(st.integers(0, 25), max_size=4), st.integers(1, 15))
def test_complete_clips_are_covered_and_lack_nothing(lost: set[int], length: int) -> None:
    source = recordings(tuple(lost))
    number = np.repeat(np.arange(3), LENGTHS)
    clips = Clips(source, number, np.arange(26), length)
    expected = [bool(np.isfinite(clips[row]).all()) for row in range(26)]
    assert clips.complete.tolist() == expected


def test_of_an_array_each_window_is_a_recording() -> None:
    motion = np.random.default_rng(1).normal(size=(5, 7, 2, 3)).astype(np.float32)
    clips = Clips.of(motion)
    np.testing.assert_array_equal(clips, motion)
    assert np.shares_memory(clips.recordings.frames, motion)
    assert np.isnan(clips.following(2)).all()


@given(st.lists(st.floats(0.5, 2), min_size=1, max_size=4))
def test_other_speeds_are_interpolated_between_recorded_frames(speeds: list[float]) -> None:
    source = recordings(lengths=(14,))
    speed = np.array(speeds)
    needed = frames_at_speed(6, speed)
    first = 14 - needed
    assert (first >= 0).all()
    found = Clips(source, np.zeros(len(speed), dtype=int), first, 6).at_speed(speed)
    for row, begin, step in zip(found, first, speed, strict=True):
        for joint in range(2):
            for axis in range(3):
                line = source.frames[:, joint, axis]
                expected = np.interp(begin + step * np.arange(6), np.arange(14), line)
                np.testing.assert_allclose(row[:, joint, axis], expected, rtol=1e-5, atol=1e-3)
