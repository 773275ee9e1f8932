"""Hide joints that the body itself hides from virtual cameras."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bench.motion.mechanisms.base import Kind, Mechanism, joint_mask
from bench.motion.windows import MotionSpec

THICKER = {"trunk": 2.5, "head": 1.5}
"""How many times thicker than an arm or leg the capsules of a limb are."""


class SelfOcclusion(Mechanism):
    """Joints hidden by the body itself from cameras all round; the level is how many cameras.

    Every bone is a capsule. A camera sees a joint if no capsule, but those of the joint's own
    bones, lies between them, and a joint is seen if enough cameras see it, as triangulation needs.
    Cameras stand on a circle at equal angles, beginning at a random one.
    """

    name = "self_occlusion"
    kinds: ClassVar[tuple[Kind, ...]] = ("count",)
    counted = "cameras"
    examples: ClassVar[tuple[str, ...]] = ("3", "6")

    needed: int = Field(2, ge=1, description="cameras that must see a joint for it to be seen")
    radius_mm: float = Field(45.0, gt=0, description="of an arm's or leg's capsule, mm")
    distance_mm: float = Field(3000.0, gt=0, description="of the cameras from the root, mm")
    height_mm: float = Field(800.0, description="of the cameras above the root, mm")

    def amount(self, spec: MotionSpec) -> int:
        """Return the number of cameras."""
        cameras = self.level.of(1000, "cameras at most")
        if cameras < self.needed:
            raise ValueError(f"level {cameras}: fewer cameras than the {self.needed} needed")
        if not spec.skeleton.bones:
            raise ValueError("no bones in this skeleton, so nothing can hide a joint")
        return cameras

    def hide(
        self, spec: MotionSpec, generator: np.random.Generator, motion: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Hide the joints of a window that too few cameras see."""
        count = self.amount(spec)
        angles = generator.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(count) / count
        cameras = np.stack(
            [
                self.distance_mm * np.cos(angles),
                np.full(count, self.height_mm),
                self.distance_mm * np.sin(angles),
            ],
            axis=-1,
        )
        views = sum(self._sees(spec, motion.astype(np.float64), camera) for camera in cameras)
        return joint_mask(spec, np.asarray(views) < self.needed)

    def _sees(
        self, spec: MotionSpec, motion: NDArray[np.float64], camera: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Return ``(frame, joint)`` 1 where a camera sees a joint, else 0."""
        parents, children = map(list, zip(*spec.skeleton.bones, strict=True))
        # (frame, joint, bone, 3) against each other.
        joints = motion[:, :, None]
        starts, ends = motion[:, None, parents], motion[:, None, children]
        distance = _segment_distance(joints, camera, starts, ends)
        numbers = np.arange(len(spec.skeleton))[:, None]
        own = (numbers == np.array(parents)) | (numbers == np.array(children))
        blocked = (distance < self._radii(spec)) & ~own
        return (~blocked.any(axis=-1)).astype(np.int64)

    def _radii(self, spec: MotionSpec) -> NDArray[np.float64]:
        """Return ``(bone,)`` radii of the capsules, mm, by the limb that a bone ends in."""
        limb_of = {joint: limb for limb, names in spec.skeleton.limbs.items() for joint in names}
        names = [spec.skeleton.names[child] for _, child in spec.skeleton.bones]
        return self.radius_mm * np.array([THICKER.get(limb_of[name], 1.0) for name in names])


def _segment_distance(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], d: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the smallest distance between segments a-b and c-d; arrays ``(..., 3)`` broadcast.

    The closest points are found by minimising over one segment's parameter, clamping it, and
    minimising over the other (Ericson, Real-Time Collision Detection, sec. 5.1.9).
    """
    u, v, w = b - a, d - c, a - c
    uu, vv = (u * u).sum(-1), np.maximum((v * v).sum(-1), 1e-12)
    uv, uw, vw = (u * v).sum(-1), (u * w).sum(-1), (v * w).sum(-1)
    denominator = uu * vv - uv * uv
    s = np.where(denominator > 1e-9, (uv * vw - uw * vv) / np.maximum(denominator, 1e-9), 0.0).clip(
        0, 1
    )
    t = (uv * s + vw) / vv
    clamped = t.clip(0, 1)
    s = np.where(t == clamped, s, ((clamped * uv - uw) / np.maximum(uu, 1e-12)).clip(0, 1))
    between = w + s[..., None] * u - clamped[..., None] * v
    return np.sqrt((between * between).sum(-1))
