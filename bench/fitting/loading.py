"""Batches for the fit loop, gathered from recordings, and how train windows are varied."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from bench.core.settings import Settings
from bench.motion import Clips, MotionSpec, Windows, mirrored
from bench.motion.clips import frames_at_speed

Batch = dict[str, Tensor]
"""Inputs of a loss for some windows, by name, each ``(window, ...)``; ``motion`` comes first."""


class VariationSettings(Settings):
    """How train windows vary from epoch to epoch; by default they do not."""

    starts: Literal["stride", "any"] = Field(
        "stride",
        description="first frames of train windows: those that the data set's stride gives, or in "
        "each epoch, for each window, any of its recording",
    )
    mirror: bool = Field(
        False, description="in each epoch, half of the train windows have left and right exchanged"
    )
    tempo: float = Field(
        1.0,
        ge=1,
        le=2,
        description="in each epoch, train windows are played at speeds drawn from 1/tempo to tempo",
    )

    @property
    def varied(self) -> bool:
        """Whether any setting makes train windows vary."""
        return self.starts == "any" or self.mirror or self.tempo > 1

    def check(self, spec: MotionSpec) -> None:
        """Raise ValueError if motion of this shape cannot vary so."""
        if self.mirror and not spec.skeleton.pairs:
            raise ValueError("mirror: this skeleton does not say which joints are left and right")


@dataclass(frozen=True)
class Variation:
    """What an epoch makes of the train windows.

    Attributes:
        clips: the windows' motion.
        speed: ``(window,)`` recorded frames from one frame to the next.
        mirrored: bool ``(window,)``, whether left and right are exchanged.
    """

    clips: Clips
    speed: NDArray[np.float64]
    mirrored: NDArray[np.bool_]

    @classmethod
    def none(cls, clips: Clips) -> "Variation":
        """Return the windows as they are."""
        return cls(clips, np.ones(len(clips)), np.zeros(len(clips), dtype=np.bool_))

    @classmethod
    def drawn(
        cls, clips: Clips, settings: VariationSettings, generator: np.random.Generator
    ) -> "Variation":
        """Draw the variation of an epoch; every window is complete and within its recording.

        A window plays at its recorded speed where its recording is too short for the speed drawn.
        """
        varied = cls.none(clips)
        speed, exchanged = varied.speed, varied.mirrored
        if settings.starts == "any":
            clips = clips.starting(any_starts(clips, generator))
        if settings.tempo > 1:
            reach = np.log(settings.tempo)
            clips, speed = _at_tempo(clips, np.exp(generator.uniform(-reach, reach, len(clips))))
        if settings.mirror:
            exchanged = generator.random(len(clips)) < 0.5
        return cls(clips, speed, exchanged)


def any_starts(clips: Clips, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return for each clip the first frame of a complete one, any of its recording's with equal
    probability."""
    recordings, used = clips.recordings, np.unique(clips.recording)
    begin, end = recordings.bounds[used], recordings.bounds[used + 1]
    frames = np.concatenate([np.arange(*piece) for piece in zip(begin, end, strict=True)])
    complete = recordings.covers(np.repeat(used, end - begin), frames, clips.length)
    possible = frames[complete]
    low, high = np.searchsorted(possible, [begin, end])
    row = np.searchsorted(used, clips.recording)
    return possible[generator.integers(low[row], high[row])]


def _at_tempo(clips: Clips, speed: NDArray[np.float64]) -> tuple[Clips, NDArray[np.float64]]:
    """Return clips that start early enough for their speed, and speeds that are possible."""
    needed = frames_at_speed(clips.length, speed)
    first = np.minimum(clips.first, clips.recordings.bounds[clips.recording + 1] - needed)
    possible = clips.recordings.covers(clips.recording, first, needed)
    return clips.starting(np.where(possible, first, clips.first)), np.where(possible, speed, 1.0)


class Loader:
    """Gathers batches of windows, so that no split is copied whole.

    Args:
        windows: the windows.
        module: a Trainable; its ``loss_inputs``, if any, come with each batch.
        device: where batches go.

    Attributes:
        windows: the windows.
        clips: their motion.
        device: where batches go.
    """

    def __init__(self, windows: Windows, module: Any, device: str) -> None:
        self.windows, self.device = windows, torch.device(device)
        self.clips = windows.clips
        further = module.loss_inputs(windows) if hasattr(module, "loss_inputs") else {}
        self._further = {name: values.to(self.device) for name, values in further.items()}

    def __len__(self) -> int:
        return len(self.clips)

    def batch(self, rows: Tensor, variation: Variation | None = None) -> Batch:
        """Return the inputs of a loss for some windows, as they are or varied."""
        chosen = rows.numpy(force=True)
        motion = torch.from_numpy(self._motion(chosen, variation))
        further = {name: values[rows] for name, values in self._further.items()}
        return {"motion": motion.to(self.device), **further}

    def _motion(self, rows: NDArray[np.int64], variation: Variation | None) -> NDArray[np.float32]:
        if variation is None:
            return self.clips[rows]
        motion = variation.clips[rows]
        (paced,) = np.nonzero(variation.speed[rows] != 1)
        if len(paced):
            some = rows[paced]
            motion[paced] = variation.clips.take(some).at_speed(variation.speed[some])
        exchanged = variation.mirrored[rows]
        motion[exchanged] = mirrored(motion[exchanged], self.windows.skeleton)
        return motion
