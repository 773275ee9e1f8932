"""The 8-action CMU benchmark as the published loaders of motion prediction read it.

For comparison with published numbers alone. What is called 25 fps is 60: every second row of files
at 120 Hz. What is called a millimetre is 0.81 of one: the skeleton is 70 to a unit, not 56.444.
Row 0 of each file is a T-pose that was never recorded. ``cmu`` has none of these.

Published errors are means over 38 joints, of which 25 are predicted; 7 others always are where one
of those is, and the last 6 do not move (Mao et al., Learning Trajectory Dependencies for Human
Motion Prediction, and its code). Their weights here give the same mean over the 25.
"""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, field_validator

from bench.datasets.archive import File
from bench.datasets.base import Source
from bench.datasets.cmu_expmap import (
    FULL_SKELETON,
    MM_PER_UNIT,
    CMUExpmap,
    joint_rotations,
    rows_of,
    split_of,
)
from bench.motion import Skeleton, forward_kinematics, rotation_matrices

UNIT = 70.0
STILL = (0, 1, 2, 7, 8, 13)
COPIES = {16: 15, 20: 15, 29: 15, 24: 23, 27: 23, 33: 32, 36: 32}
"""Joints that always are where another one is."""
SHORT_PAST = 10
"""Frames that the published windows begin with, whatever a predictor sees of what came before."""
DRAWS = 8
DRAW_SEED = 1234567890
DRAW_LENGTH = 75
"""Frames that there must be from a drawn frame on; the future begins after 50 of them."""
DRAW_PAST = 50

_scaled = replace(FULL_SKELETON, rest=FULL_SKELETON.rest * UNIT / MM_PER_UNIT)
PREDICTED = [joint for joint in range(len(_scaled)) if joint not in (*STILL, *COPIES)]
SKELETON = _scaled.select([_scaled.names[joint] for joint in PREDICTED])


class CMUPublished(CMUExpmap):
    """The CMU 8-action benchmark as published: mislabelled rate and scale, 25 joints, real."""

    name: ClassVar[str] = "cmu_published"
    caveat: ClassVar[str] = "60 fps called 25, lengths 24 % too long, as published"

    frames: int = Field(50, ge=SHORT_PAST, description="frames of a window")
    stride: int = Field(1, ge=1, description="frames from one window's start to the next one's")

    @field_validator("orientation")
    @classmethod
    def _as_published(cls, orientation: str) -> str:
        if orientation != "removed":
            raise ValueError("the published protocol removes the root's rotation; use cmu_expmap")
        return orientation

    @property
    def skeleton(self) -> Skeleton:
        """The 25 predicted joints."""
        return SKELETON

    @property
    def joint_weights(self) -> NDArray[np.float64]:
        """``(25,)`` share of the 38 joints that are where each of the 25 is."""
        same = list(COPIES.values())
        return np.array([1 + same.count(joint) for joint in PREDICTED]) / len(FULL_SKELETON)

    def read(self, source: Source) -> NDArray[np.float32]:
        """Read every second row of a file, so that a window begins at each of its frames.

        Published windows see 10 frames. For predictors that see more, the first frame stands for
        those before it.
        """
        assert source.file is not None
        vectors = joint_rotations(rows_of(source.file), drop_t_pose=False)
        rotations = rotation_matrices(vectors[::2])
        rotations[:, 0] = np.eye(3)
        motion = forward_kinematics(rotations, _scaled)[:, PREDICTED].astype(np.float32)
        return np.concatenate([motion[:1].repeat(max(0, self.frames - SHORT_PAST), 0), motion])

    def _sources_of(self, path: Path, held_out: bool) -> list[Source]:
        """Return a file's recordings: one that validates is trained on as well.

        Published training uses every train file: the validation recordings, the last of each
        action, serve to choose an epoch alone.
        """
        official = split_of(path)
        return [
            Source(f"{split}/{path.stem}", split, path.parent.name, file=File(path))
            for split in ((official, "valid") if held_out else (official,))
        ]

    def test_sets(self, index: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
        """Return every window, and the 8 of each file that most papers draw.

        The draws are those of ``RandomState(1234567890)``, made anew for each file.
        """
        drawn = []
        for rows in index.groupby("source", sort=False).indices.values():
            frames = len(rows) + SHORT_PAST + self.future - 1
            if frames > DRAW_LENGTH and self.stride == 1:
                first = np.random.RandomState(DRAW_SEED).randint(0, frames - DRAW_LENGTH, DRAWS)
                drawn.append(rows[first + DRAW_PAST - SHORT_PAST])
        sets = super().test_sets(index)
        return sets | ({f"{DRAWS} windows": np.concatenate(drawn)} if drawn else {})
