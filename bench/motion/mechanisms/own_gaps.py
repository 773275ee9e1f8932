"""Hide several joints, each for a gap of its own."""

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bench.motion.mechanisms.base import Kind, Mechanism, joint_mask
from bench.motion.windows import MotionSpec, Windows


class OwnGaps(Mechanism):
    """Some joints, each for a gap of its own; the level is how many joints.

    Gaps are equally long and most of the window; where each begins is independent of the others.
    Kieu et al. 2022 (PLoS ONE, e0272407) hide 3, 6 or 9 of 41 markers for 370 of 400 frames each.
    """

    name = "own_gaps"
    kinds: ClassVar[tuple[Kind, ...]] = ("count", "share")
    counted = "joints"
    examples: ClassVar[tuple[str, ...]] = ("3", "6", "9")

    length: float = Field(0.925, gt=0, le=1, description="of a gap, as a share of the window")
    masks: Literal["drawn", "published"] = Field(
        "drawn",
        description="draw masks, or take those that come with the data set, numbered by the seed",
    )

    def amount(self, spec: MotionSpec) -> int:
        """Return the number of joints."""
        return self.level.of(len(spec.skeleton), "joints")

    def hide(
        self, spec: MotionSpec, generator: np.random.Generator, motion: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Hide the joints of a window."""
        length = max(1, round(self.length * spec.frames))
        chosen = generator.choice(len(spec.skeleton), size=self.amount(spec), replace=False)
        start = generator.integers(spec.frames - length + 1, size=len(chosen))
        time = np.arange(spec.frames)[:, None]
        hidden = np.zeros((spec.frames, len(spec.skeleton)), dtype=np.bool_)
        hidden[:, chosen] = (time >= start) & (time < start + length)
        return joint_mask(spec, hidden)

    def check_windows(self, windows: Windows) -> None:
        """Raise ValueError if a published mask is asked for that the windows do not come with."""
        if self.masks == "published":
            self._published(windows)

    def occluded(self, windows: Windows) -> NDArray[np.bool_]:
        """Return drawn masks, or for every window the published mask with the seed's number."""
        if self.masks == "drawn":
            return super().occluded(windows)
        return np.repeat(self._published(windows)[None], len(windows), axis=0)

    def _published(self, windows: Windows) -> NDArray[np.bool_]:
        masks = windows.masks.get(-1 if self.level.count is None else self.level.count, ())
        if not len(masks):
            known = ", ".join(map(str, sorted(windows.masks))) or "none at all"
            raise ValueError(f"the data come with no masks of level {self.level}; of level {known}")
        if self.seed >= len(masks):
            raise ValueError(
                f"the data come with {len(masks)} masks of level {self.level}, so seeds are 0 to "
                f"{len(masks) - 1}"
            )
        return masks[self.seed]
