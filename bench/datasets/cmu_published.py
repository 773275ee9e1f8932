"""The 8-action CMU benchmark as the published loaders of motion prediction read it.

Only for comparison with published numbers. What is called 25 fps is 60 fps: every second row of
files at 120 Hz. What is called a millimetre is 0.81 mm: a unit of the skeleton is taken as 70 mm,
not 56.444 mm. Row 0 of each file is a T-pose that was never recorded. ``cmu`` avoids all of this.

Published errors are means over 38 joints, of which 25 are predicted; 7 others always coincide with
one of these, and the last 6 do not move (Mao et al., ICCV 2019, Learning Trajectory Dependencies
for Human Motion Prediction, and its code). The joint weights here give the same mean from the 25.
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
"""Joints that always coincide with another one, and that one."""
SHORT_PAST = 10
"""Past frames of a published window."""
DRAWS = 8
DRAW_SEED = 1234567890
DRAW_LENGTH = 75
"""Frames that a file must have from a drawn frame on."""
DRAW_PAST = 50
"""Frames from a drawn frame to the beginning of the future."""

_scaled = replace(FULL_SKELETON, rest=FULL_SKELETON.rest * UNIT / MM_PER_UNIT)
PREDICTED = [joint for joint in range(len(_scaled)) if joint not in (*STILL, *COPIES)]
SKELETON = _scaled.select([_scaled.names[joint] for joint in PREDICTED])


class CMUPublished(CMUExpmap):
    """The CMU 8-action benchmark as published: mislabelled rate and scale, 25 joints, real."""

    name: ClassVar[str] = "cmu_published"

    frames: int = Field(50, ge=SHORT_PAST, description="frames of a window")
    stride: int = Field(1, ge=1, description="frames from one window's start to the next one's")

    @field_validator("orientation")
    @classmethod
    def _as_published(cls, orientation: str) -> str:
        if orientation != "removed":
            raise ValueError("the published protocol removes the root's rotation; use cmu_expmap")
        return orientation

    @property
    def caveat(self) -> str:
        """What differs from true rates and lengths."""
        return "60 fps called 25, lengths 24 % too long, as published"

    @property
    def skeleton(self) -> Skeleton:
        """The 25 predicted joints."""
        return SKELETON

    @property
    def joint_weights(self) -> NDArray[np.float64]:
        """``(25,)`` share of the 38 joints that coincide with each of the 25, itself included.

        The weights add up to 32/38, because the other 6 joints do not move and have no error.
        """
        same = list(COPIES.values())
        return np.array([1 + same.count(joint) for joint in PREDICTED]) / len(FULL_SKELETON)

    def read(self, source: Source) -> NDArray[np.float32]:
        """Read every second row of a file, so that a published window begins at each frame.

        Published windows have 10 past frames. For predictors with more, the first frame is
        repeated in front.
        """
        assert source.file is not None
        vectors = joint_rotations(rows_of(source.file), drop_t_pose=False)
        rotations = rotation_matrices(vectors[::2])
        rotations[:, 0] = np.eye(3)
        motion = forward_kinematics(rotations, _scaled)[:, PREDICTED].astype(np.float32)
        return np.concatenate([motion[:1].repeat(max(0, self.frames - SHORT_PAST), 0), motion])

    def _sources_of(self, path: Path, held_out: bool) -> list[Source]:
        """Return a file's recordings: one used for validation is also used for training.

        Published training uses every train file: the validation recordings, the last of each
        action, only serve to choose an epoch.
        """
        official = split_of(path)
        return [
            Source(f"{split}/{path.stem}", split, path.parent.name, file=File(path))
            for split in ((official, "valid") if held_out else (official,))
        ]

    def test_sets(self, index: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
        """Return every window (``all``), and the 8 of each file that most papers draw.

        They are drawn with ``RandomState(1234567890)``, seeded again for each file.
        """
        drawn = []
        for rows in index.groupby("source", sort=False).indices.values():
            frames = len(rows) + SHORT_PAST + self.future - 1
            if frames > DRAW_LENGTH and self.stride == 1:
                first = np.random.RandomState(DRAW_SEED).randint(0, frames - DRAW_LENGTH, DRAWS)
                drawn.append(rows[first + DRAW_PAST - SHORT_PAST])
        sets = super().test_sets(index)
        return sets | ({f"{DRAWS} windows": np.concatenate(drawn)} if drawn else {})
