"""Batches, and how train windows vary from epoch to epoch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from bench.datasets.build import load
from bench.datasets.cmu_expmap import CMUExpmap
from bench.datasets.synthetic import SKELETON
from bench.fitting.loading import Loader, Variation, VariationSettings, any_starts
from bench.fitting.moments import covariance, summed
from bench.fitting.training import FitContext, TrainSettings, train
from bench.motion import Clips, MotionSpec, Recordings, Windows, mirrored
from predictors.base import position_error
from tests.conftest import walk

LENGTHS = (60, 12, 33)
LENGTH, STRIDE = 10, 5


def recorded(lost: tuple[int, ...] = ()) -> Windows:
    """Return windows of three recordings; at joint 2, in the middle, axis 1 numbers the frames."""
    frames = np.random.default_rng(0).normal(0, 100, (sum(LENGTHS), 18, 3)).astype(np.float32)
    frames[:, 2, 1] = np.arange(len(frames))
    frames[list(lost)] = np.nan
    source = Recordings(frames, np.append(0, np.cumsum(LENGTHS)))
    starts = [np.arange(0, length - LENGTH + 1, STRIDE) for length in LENGTHS]
    number = np.repeat(np.arange(len(LENGTHS)), [len(part) for part in starts])
    start = np.concatenate(starts)
    clips = Clips(source, number, source.bounds[number] + start, LENGTH)
    index = pd.DataFrame(
        {"source": number.astype(str), "start": start, "action": "", "subject": ""}
    )
    windows = Windows(clips, index, 25.0, SKELETON)
    return windows.take(clips.complete)


def varied(windows: Windows, seed: int, **settings: Any) -> Variation:
    chosen = VariationSettings(**settings)
    return Variation.drawn(windows.clips, chosen, np.random.default_rng(seed))


def batch(windows: Windows, variation: Variation | None, rows: Any = None) -> Tensor:
    loader = Loader(windows, nn.Identity(), "cpu")
    chosen = torch.arange(len(windows)) if rows is None else torch.tensor(rows)
    return loader.batch(chosen, variation)["motion"]


def times(motion: Tensor) -> np.ndarray:
    return motion[:, :, 2, 1].numpy()


def test_batches_are_the_windows_and_their_further_inputs() -> None:
    class Numbered(nn.Module):
        def loss_inputs(self, windows: Windows) -> dict[str, Tensor]:
            return {"number": torch.arange(len(windows))}

    windows = recorded()
    for some in (windows, replace(windows, motion=np.asarray(windows.motion))):
        found = Loader(some, Numbered(), "cpu").batch(torch.tensor([4, 0, 9]))
        assert torch.equal(found["motion"], windows.tensor()[[4, 0, 9]])
        assert found["number"].tolist() == [4, 0, 9]


def test_by_default_nothing_varies() -> None:
    settings = TrainSettings()
    assert not settings.varied
    windows = recorded()
    assert torch.equal(batch(windows, varied(windows, 0)), windows.tensor())


def test_any_start_is_drawn_from_the_complete_ones_of_the_recording() -> None:
    windows = recorded(lost=(20, 61))
    found = np.stack([any_starts(windows.clips, np.random.default_rng(s)) for s in range(600)])
    bounds = windows.clips.recordings.bounds
    lost = {20, 61}
    for column, number in zip(found.T, windows.clips.recording, strict=True):
        possible = {
            start
            for start in range(bounds[number], bounds[number + 1] - LENGTH + 1)
            if lost.isdisjoint(range(start, start + LENGTH))
        }
        seen, count = np.unique(column, return_counts=True)
        assert set(seen) == possible
        assert count.max() < 3 * 600 / len(possible) + 30
    # Windows are independent of each other.
    assert len({tuple(row) for row in found}) == 600


def test_windows_that_start_anywhere_are_pieces_of_recordings() -> None:
    windows = recorded(lost=(20,))
    motion = batch(windows, varied(windows, 1, starts="any"))
    assert torch.isfinite(motion).all()
    assert (np.diff(times(motion), axis=1) == 1).all()
    assert torch.equal(motion, batch(windows, varied(windows, 1, starts="any")))
    assert not torch.equal(motion, batch(windows, varied(windows, 2, starts="any")))
    rows = [5, 2]
    assert torch.equal(batch(windows, varied(windows, 1, starts="any"), rows), motion[rows])


@pytest.mark.parametrize("starts", ["stride", "any"])
def test_tempo_interpolates_the_recording_within_its_bounds(starts: str) -> None:
    windows = recorded(lost=(20,))
    drawn = varied(windows, 3, tempo=1.25, starts=starts)
    motion = batch(windows, drawn)
    assert torch.isfinite(motion).all()
    steps = np.diff(times(motion).astype(np.float64), axis=1)
    np.testing.assert_allclose(steps, np.repeat(drawn.speed[:, None], LENGTH - 1, 1), atol=1e-4)
    assert 0.8 <= drawn.speed.min() < 0.9
    assert 1.1 < drawn.speed.max() <= 1.25
    bounds = windows.clips.recordings.bounds
    number = windows.clips.recording
    assert (times(motion)[:, 0] >= bounds[number]).all()
    assert (times(motion)[:, -1] <= bounds[number + 1] - 1).all()
    middle = times(motion)[0, 3]
    frames = windows.clips.recordings.frames[:, 7, 2]
    known = np.isfinite(frames)
    expected = np.interp(middle, np.arange(len(frames))[known], frames[known])
    assert motion[0, 3, 7, 2] == pytest.approx(expected, abs=1e-2)


def test_a_recording_that_is_too_short_keeps_its_speed() -> None:
    windows = walk(40)
    drawn = varied(windows, 0, tempo=1.25)
    # Each window of a plain array is a recording of its own: it can be slowed down only.
    assert (drawn.speed <= 1).all()
    assert (drawn.speed < 1).any()
    same = drawn.speed == 1
    assert torch.equal(batch(windows, drawn)[same], windows.tensor()[same])


def test_half_of_the_windows_are_mirrored() -> None:
    windows = walk(200)
    drawn = varied(windows, 0, mirror=True)
    assert 80 < drawn.mirrored.sum() < 120
    motion, truth = batch(windows, drawn), windows.tensor()
    plain = torch.from_numpy(~drawn.mirrored)
    assert torch.equal(motion[plain], truth[plain])
    left, right = SKELETON.index(["left_wrist", "right_wrist"])
    expected = truth[~plain][:, :, right] * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.equal(motion[~plain][:, :, left], expected)


@pytest.mark.real
def test_a_mirrored_body_is_a_body(real_data: Path, tmp_path: Path) -> None:
    """On real motion: bones of the other side, the same speeds, left stays left."""
    windows = load(CMUExpmap(), real_data, tmp_path).splits["test"].thin(60)
    motion, skeleton = np.asarray(windows.motion), windows.skeleton
    image = mirrored(motion, skeleton)
    np.testing.assert_array_equal(mirrored(image, skeleton), motion)
    swap = {a: b for pair in skeleton.pairs for a, b in (pair, pair[::-1])}
    for child, parent in enumerate(skeleton.parents):
        other = skeleton.names.index(swap.get(skeleton.names[child], skeleton.names[child]))
        if parent >= 0:
            assert skeleton.parents[other] == skeleton.names.index(
                swap.get(skeleton.names[parent], skeleton.names[parent])
            )
            there = motion[:, :, other] - motion[:, :, skeleton.parents[other]]
            here = image[:, :, child] - image[:, :, parent]
            lengths = [np.linalg.norm(one, axis=-1) for one in (here, there)]
            np.testing.assert_allclose(lengths[0], lengths[1], rtol=1e-5, atol=1e-2)
    for left, right in skeleton.pairs:
        apart = skeleton.index([left, right])
        before = (motion[:, :, apart[0], 0] - motion[:, :, apart[1], 0]).mean()
        after = (image[:, :, apart[0], 0] - image[:, :, apart[1], 0]).mean()
        assert before > 50, left
        assert after == pytest.approx(before, abs=1e-2)
    # The middle of the body stays nearly in place: its plane is that of the reflection.
    middle = [i for i, name in enumerate(skeleton.names) if name not in swap]
    assert np.abs(motion[:, :, middle, 0].mean(axis=(0, 1))).max() < 25
    # The wrist that moves more is now the other one.
    wrists = skeleton.index(["left_wrist", "right_wrist"])
    speed = [np.linalg.norm(np.diff(m[:, :, wrists], axis=1), axis=-1) for m in (motion, image)]
    np.testing.assert_allclose(speed[1], speed[0][..., ::-1], rtol=1e-4, atol=1e-2)


def test_a_skeleton_without_sides_cannot_be_mirrored() -> None:
    spec = MotionSpec(10, 25.0, replace(SKELETON, pairs=()))
    VariationSettings(starts="any", tempo=1.2).check(spec)
    with pytest.raises(ValueError, match="left and right"):
        VariationSettings(mirror=True).check(spec)


class Recorder(nn.Module):
    """Records what it is fitted on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.seen: list[Tensor] = []

    def losses(self, motion: Tensor) -> dict[str, Tensor]:
        if self.training:
            self.seen.append(motion)
        return {"loss": position_error(motion, self.weight)}


VARIED: dict[str, Any] = {"starts": "any", "mirror": True, "tempo": 1.2}


def fit(windows: Windows, folder: Path | None = None, stop: int = 0, **more: Any) -> Recorder:
    module = Recorder()

    def report(progress: Any) -> None:
        if progress.epoch == stop:
            raise KeyboardInterrupt

    settings = TrainSettings(epochs=4, batch_size=7, learning_rate=0.5, micro_batch=7, **more)
    train(module, windows, windows, settings, FitContext(seed=3, folder=folder, report=report))
    return module


def test_each_epoch_varies_and_an_interrupted_fit_ends_the_same(tmp_path: Path) -> None:
    windows = recorded()
    whole, again = fit(windows, **VARIED), fit(windows, **VARIED)
    assert torch.equal(whole.weight, again.weight)
    batches = len(whole.seen) // 4
    epochs = [torch.cat(whole.seen[n * batches : (n + 1) * batches]) for n in range(4)]
    assert all(len(epoch) == len(windows) for epoch in epochs)
    assert len({frozenset(np.round(times(epoch)[:, 0], 3)) for epoch in epochs}) == 4
    with pytest.raises(KeyboardInterrupt):
        fit(windows, tmp_path, stop=2, **VARIED)
    assert torch.equal(fit(windows, tmp_path, **VARIED).weight, whole.weight)


def test_views_and_copies_of_the_same_windows_give_the_same_fit() -> None:
    windows = recorded()
    one = fit(windows)
    other = fit(replace(windows, motion=np.asarray(windows.motion)))
    assert all(torch.equal(*pair) for pair in zip(one.seen, other.seen, strict=True))
    assert torch.equal(one.weight, other.weight)


def test_past_and_future_vary_together() -> None:
    windows = recorded()
    windows = replace(windows, future=windows.clips.following(4))
    whole = windows.with_future()
    assert isinstance(whole.motion, Clips)
    motion = batch(whole, varied(whole, 0, **VARIED))
    assert motion.shape[1] == LENGTH + 4
    assert torch.isfinite(motion).all()
    steps = np.diff(times(motion).astype(np.float64), axis=1)
    np.testing.assert_allclose(steps, steps[:, :1].repeat(LENGTH + 3, 1), atol=1e-3)


def test_sums_and_covariances_do_not_depend_on_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = walk(13)
    monkeypatch.setattr(Windows.parts, "__defaults__", (4,))
    assert [len(part) for part in windows.parts()] == [4, 4, 4, 1]
    flat = np.asarray(windows.motion, dtype=np.float64).reshape(13, -1)[:, :40]
    mean, spread = covariance(windows, lambda motion: motion.flatten(1)[:, :40])
    np.testing.assert_allclose(mean, flat.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(spread, np.cov(flat.T, bias=True), rtol=1e-9, atol=1e-9)
    total = summed(windows, lambda motion: motion.sum(dim=0))
    np.testing.assert_allclose(total, np.asarray(windows.motion, np.float64).sum(0), rtol=1e-12)
    joints = np.asarray(windows.motion, dtype=np.float64).transpose(2, 0, 1, 3).reshape(18, -1, 3)
    mean, spread = covariance(windows, lambda motion: motion.flatten(0, 1).transpose(0, 1))
    for joint in range(18):
        np.testing.assert_allclose(mean[joint], joints[joint].mean(axis=0), rtol=1e-10)
        np.testing.assert_allclose(
            spread[joint], np.cov(joints[joint].T, bias=True), rtol=1e-9, atol=1e-9
        )
