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

    Every bone is a capsule, and so is the line from the root to each joint without a parent. A
    camera sees a joint if no capsule lies between them, but those that contain the joint in the
    rest pose, such as its own bones; a joint is seen if enough cameras see it, as triangulation
    needs. Cameras stand on a circle at equal angles, beginning at a random one.
    """

    name = "self_occlusion"
    kinds: ClassVar[tuple[Kind, ...]] = ("count",)
    counted = "cameras"
    examples: ClassVar[tuple[str, ...]] = ("2", "3")

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
        ends, rest = motion.astype(np.float64), spec.skeleton.rest[None]
        starts = self._starts(spec, ends)
        radii = self._radii(spec)
        own = _distances(rest, rest, self._starts(spec, rest), rest) < radii
        views = np.zeros(motion.shape[:2], dtype=np.int64)
        for camera in cameras:
            blocked = (_distances(ends, camera, starts, ends) < radii) & ~own
            views += ~blocked.any(axis=-1)
        return joint_mask(spec, views < self.needed)

    def _starts(self, spec: MotionSpec, motion: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``(frame, joint, 3)`` where the capsule that ends in each joint starts, mm."""
        parents = np.array(spec.skeleton.parents)
        return np.where(parents[:, None] < 0, 0.0, motion[:, parents])

    def _radii(self, spec: MotionSpec) -> NDArray[np.float64]:
        """Return ``(joint,)`` radii of the capsules, mm, by the limb of the joint they end in."""
        limb_of = {joint: limb for limb, names in spec.skeleton.limbs.items() for joint in names}
        thickness = [THICKER.get(limb_of[name], 1.0) for name in spec.skeleton.names]
        return self.radius_mm * np.array(thickness)


def _distances(
    joints: NDArray[np.float64],
    towards: NDArray[np.float64],
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return ``(frame, joint, bone)`` least distances of sight lines from bones, mm.

    The squared distance of two points is a quadratic function of their places on the segments: it
    is minimised over both, the place on the bone is clamped, and then that on the sight line
    (Ericson, Real-Time Collision Detection, sec. 5.1.9).

    Args:
        joints: ``(frame, joint, 3)``, where sight lines start.
        towards: where they end, the same shape or ``(3,)``.
        starts: ``(frame, bone, 3)``, where bones start.
        ends: the same shape, where they end.
    """
    u, v = towards - joints, ends - starts
    # With w from a bone's start to a joint: the dot products of u, v and w, for each pair.
    uu = (u * u).sum(-1)[:, :, None]
    vv = (v * v).sum(-1)[:, None]
    uv = u @ v.swapaxes(1, 2)
    uw = (u * joints).sum(-1)[:, :, None] - u @ starts.swapaxes(1, 2)
    vw = joints @ v.swapaxes(1, 2) - (v * starts).sum(-1)[:, None]
    ww = ((joints**2).sum(-1)[:, :, None] + (starts**2).sum(-1)[:, None]) - (
        2 * joints @ starts.swapaxes(1, 2)
    )
    s = _quotient(uv * vw - uw * vv, uu * vv - uv * uv)
    t = _quotient(uv * s + vw, vv)
    s = _quotient(uv * t - uw, uu)
    squared = ww + s * s * uu + t * t * vv + 2 * (s * uw - t * vw - s * t * uv)
    return np.sqrt(np.maximum(squared, 0.0))


def _quotient(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a quotient clamped to [0, 1]; any place, 0, where the denominator vanishes."""
    vanishes = denominator < 1e-9
    return np.where(vanishes, 0.0, numerator / np.where(vanishes, 1.0, denominator)).clip(0, 1)
