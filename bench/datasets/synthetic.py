"""Embedded synthetic motion: an articulated body that performs twenty invented actions.

Nothing here was recorded. Joint angles come from the tables of ``synthetic_actions``, a style per
subject, slow and fast smooth noise, and joint limits; positions come from forward kinematics, so
bones have constant length. It lets the harness run without data; its results do not apply to real
motion, and everything made from it is marked synthetic.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from bench.datasets.base import Dataset, Source
from bench.datasets.synthetic_actions import ACTIONS, Cycle, Pose, Routine
from bench.motion import Skeleton, derive_seed, forward_kinematics
from bench.motion.body import JOINTS, KEPT, body

# Offset of each joint from its parent in the rest pose (arms out to the sides), mm; y is up,
# z forward, x to the body's left.
_OFFSETS = {
    "pelvis": (0, 0, 0),
    "left_hip": (70, -90, -5),
    "right_hip": (-70, -90, -5),
    "spine1": (0, 110, -25),
    "left_knee": (35, -385, -5),
    "right_knee": (-35, -385, -5),
    "spine2": (0, 135, 0),
    "left_ankle": (-15, -400, -40),
    "right_ankle": (15, -400, -40),
    "spine3": (0, 55, 25),
    "left_foot": (30, -60, 120),
    "right_foot": (-30, -60, 120),
    "neck": (0, 215, -40),
    "left_collar": (80, 120, -35),
    "right_collar": (-80, 120, -35),
    "head": (0, 65, 50),
    "left_shoulder": (95, 30, -10),
    "right_shoulder": (-95, 30, -10),
    "left_elbow": (260, -10, -25),
    "right_elbow": (-260, -10, -25),
    "left_wrist": (250, 10, 0),
    "right_wrist": (-250, 10, 0),
}


def _rest() -> dict[str, tuple[float, ...]]:
    rest: dict[str, tuple[float, ...]] = {"": (0, 0, 0)}
    for name, offset in _OFFSETS.items():
        rest[name] = tuple(a + b for a, b in zip(rest[JOINTS[name]], offset, strict=True))
    del rest[""]
    return rest


BODY = body(_rest())
SKELETON = BODY.select(KEPT)

# angle -> (lower limit, upper limit, value when standing), degrees. Angles of a limb exist on
# both sides, as left_* and right_*; those of the spine at spine1, spine2 and spine3.
_LIMB_ANGLES = {
    "hip_flex": (-25, 120, 3),
    "hip_abduct": (-20, 45, 4),
    "hip_twist": (-35, 40, 3),
    "knee_flex": (0, 140, 7),
    "ankle_flex": (-45, 25, 0),
    "collar_lift": (-10, 30, 0),
    "shoulder_flex": (-55, 175, 4),
    "shoulder_abduct": (-15, 150, 12),
    "shoulder_twist": (-70, 70, 0),
    "elbow_flex": (0, 145, 18),
}
_SPINE_ANGLES = {"flex": (-12, 30, 1), "bend": (-14, 14, 0), "twist": (-16, 16, 0)}
_NECK_ANGLES = {"flex": (-40, 45, 4), "bend": (-30, 30, 0), "twist": (-60, 60, 0)}
_SPINE_JOINTS = ("spine1", "spine2", "spine3")

_LIMITS: dict[str, tuple[float, float, float]] = {
    **{f"{side}_{name}": v for side in ("left", "right") for name, v in _LIMB_ANGLES.items()},
    **{f"{joint}_{name}": v for joint in _SPINE_JOINTS for name, v in _SPINE_ANGLES.items()},
    **{f"neck_{name}": v for name, v in _NECK_ANGLES.items()},
}
ANGLES = tuple(_LIMITS)
_LOWER, _UPPER, _STANDING = np.array(list(_LIMITS.values()), dtype=np.float64).T


class Synthetic(Dataset):
    """Synthetic motion of an articulated 18-joint body, twenty actions; not recorded."""

    name: ClassVar[str] = "synthetic"
    synthetic: ClassVar[bool] = True

    subjects: int = Field(
        8, ge=4, le=1000, description="the last two are test, the one before is valid"
    )
    seconds: float = Field(
        9.0, gt=0, le=3600, description="length of each subject's take of each action"
    )
    seed: int = Field(0, ge=0, description="seed of the subjects' styles and of the takes")

    @property
    def skeleton(self) -> Skeleton:
        """The 18 joints that move: SMPL joints 4 to 21."""
        return SKELETON

    def sources(self, root: Path | None) -> list[Source]:
        """Return one take of every action by every subject; whole subjects are held out."""
        found = []
        for person in range(self.subjects):
            from_end = self.subjects - person
            split = "test" if from_end <= 2 else "valid" if from_end == 3 else "train"
            subject = f"synthetic_{person:02d}"
            found += [Source(f"{subject}/{action}", split, action, subject) for action in ACTIONS]
        return found

    def read(self, source: Source) -> NDArray[np.float32]:
        """Generate one take: ``(frame, 18, 3)`` positions relative to the root, mm."""
        person = int(source.subject.rpartition("_")[2])
        style = Style.draw(np.random.default_rng(derive_seed("style", self.seed, person)))
        rng = np.random.default_rng(derive_seed("take", self.seed, person, source.action))
        angles = take(source.action, style, self.seconds, self.fps, rng)
        positions = forward_kinematics(joint_rotations(angles), BODY)
        return positions[:, BODY.index(KEPT)].astype(np.float32)


@dataclass(frozen=True)
class Style:
    """How one person moves.

    Attributes:
        posture: ``(angle,)`` constant offset of every angle, degrees.
        gain: ``(angle,)`` factor on the deviation from standing.
        lag: ``(angle,)`` phase shift: turns of a cycle; in a routine, units of ``seconds / 2``.
        tempo: factor on the speed.
        left_handed: whether actions are mirrored.
    """

    posture: NDArray[np.float64]
    gain: NDArray[np.float64]
    lag: NDArray[np.float64]
    tempo: float
    left_handed: bool

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Style":
        """Draw a person at random; sides differ, since every angle has its own gain and lag."""
        count = len(ANGLES)
        return cls(
            posture=rng.normal(0, 4, count),
            gain=np.exp(rng.normal(0, 0.22, count)),
            lag=rng.normal(0, 0.03, count),
            tempo=float(np.exp(rng.normal(0, 0.15))),
            left_handed=bool(rng.random() < 0.25),
        )


def take(
    action: str, style: Style, seconds: float, fps: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return ``(frame, angle)`` joint angles in degrees of one take, within joint limits."""
    frames = max(2, round(seconds * fps))
    plan = ACTIONS[action]
    if isinstance(plan, Cycle):
        moved = _cycle(plan, style, frames, fps, rng)
    else:
        moved = _routine(plan, style, frames, fps, rng)
    if style.left_handed:
        moved = _mirror(moved)
    # The person drifts in and out of the action, standing in between: nothing repeats exactly.
    engaged = _engagement(frames, fps, rng)[:, None]
    angles = _STANDING + style.posture + style.gain * engaged * (moved - _STANDING)
    angles += 3.0 * _noise(frames, len(ANGLES), 0.45 * fps, rng)
    angles += 0.35 * _noise(frames, len(ANGLES), 0.06 * fps, rng)
    return _limit(angles)


def joint_rotations(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(frame, 22, 3, 3)`` local rotations for ``(frame, angle)`` degrees of ``ANGLES``."""
    column = {name: angles[:, number] for number, name in enumerate(ANGLES)}
    rotations = np.tile(np.eye(3), (len(angles), len(BODY), 1, 1))

    def turn(joint: str, axes: str, *degrees: NDArray[np.float64]) -> None:
        matrices = Rotation.from_euler(axes, np.stack(degrees, axis=1), degrees=True).as_matrix()
        rotations[:, BODY.names.index(joint)] = matrices

    for side, sign in (("left", 1), ("right", -1)):
        angle = {name: column[f"{side}_{name}"] for name in _LIMB_ANGLES}
        turn(
            f"{side}_hip",
            "XZY",
            -angle["hip_flex"],
            sign * angle["hip_abduct"],
            sign * angle["hip_twist"],
        )
        turn(f"{side}_knee", "X", angle["knee_flex"])
        turn(f"{side}_ankle", "X", -angle["ankle_flex"])
        turn(f"{side}_collar", "Z", sign * angle["collar_lift"])
        turn(
            f"{side}_shoulder",
            "XZX",
            -angle["shoulder_flex"],
            sign * (angle["shoulder_abduct"] - 90),
            angle["shoulder_twist"],
        )
        turn(f"{side}_elbow", "Y", -sign * angle["elbow_flex"])
    for joint in (*_SPINE_JOINTS, "neck"):
        turn(joint, "XZY", *(column[f"{joint}_{name}"] for name in ("flex", "bend", "twist")))
    return rotations


def _vector(pose: Pose) -> NDArray[np.float64]:
    """Return ``(angle,)`` degrees of a pose; angles that it does not name are as in standing."""
    angles = _STANDING.copy()
    for name, degrees in pose.items():
        columns, shared = _columns(name)
        angles[columns] = degrees / shared
    return angles


def _columns(name: str) -> tuple[list[int], int]:
    """Return the columns of a name in the action tables, and how many share its degrees."""
    if name in ANGLES:
        return [ANGLES.index(name)], 1
    if name in _LIMB_ANGLES:
        return [ANGLES.index(f"left_{name}"), ANGLES.index(f"right_{name}")], 1
    _, kind = name.split("_")
    return [ANGLES.index(f"{joint}_{kind}") for joint in _SPINE_JOINTS], len(_SPINE_JOINTS)


def _cycle(
    plan: Cycle, style: Style, frames: int, fps: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    tempo = np.exp(0.12 * _noise(frames, 1, 0.8 * fps, rng)[:, 0])
    phase = rng.random() + np.cumsum(plan.hertz * style.tempo * tempo) / fps
    vigour = 1 + 0.2 * _noise(frames, len(ANGLES), 0.9 * fps, rng)
    angles = np.tile(_vector(plan.base), (frames, 1))
    for name, (amplitude, start, harmonic) in plan.swing.items():
        columns, shared = _columns(name.lstrip("~"))
        for order, column in enumerate(columns):
            opposite = 0.5 * order if name.startswith("~") else 0.0
            turns = harmonic * (phase + style.lag[column]) + start + harmonic * opposite
            angles[:, column] += amplitude / shared * vigour[:, column] * np.cos(2 * np.pi * turns)
    return angles


def _routine(
    plan: Routine, style: Style, frames: int, fps: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    times, poses = [0.0], [_vector(plan.poses[0])]
    step = int(rng.integers(len(plan.poses)))
    while times[-1] < frames / fps:
        pose = _vector(plan.poses[step % len(plan.poses)])
        # No two repetitions go to quite the same place, at the same speed, with the same pause.
        pose = _STANDING + (pose - _STANDING) * (1 + rng.normal(0, 0.15, len(ANGLES)))
        move = plan.seconds / style.tempo * np.exp(rng.normal(0, 0.2))
        pause = rng.exponential(0.35 * plan.seconds)
        times += [times[-1] + move, times[-1] + move + pause]
        poses += [pose, pose]
        step += 1 if rng.random() < 0.85 else int(rng.integers(len(plan.poses)))
    at = np.arange(frames)[:, None] / fps - 0.5 * plan.seconds * style.lag
    segment = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 2)
    knots, values = np.array(times), np.array(poses)
    part = np.clip(
        (at - knots[segment]) / np.maximum(knots[segment + 1] - knots[segment], 1e-6), 0, 1
    )
    ease = part**3 * (10 - 15 * part + 6 * part**2)  # the minimum-jerk path between two poses
    columns = np.arange(len(ANGLES))
    start, end = values[segment, columns], values[segment + 1, columns]
    return start + ease * (end - start)


def _engagement(frames: int, fps: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return ``(frame,)`` degree of engagement in the action, mostly 1, with smooth lapses."""
    level = np.ones(frames + 1)
    at = rng.exponential(3.0)
    while at < frames / fps:
        length = rng.uniform(0.4, 1.5)
        level[round(at * fps) : round((at + length) * fps)] = rng.uniform(0, 0.5)
        at += length + rng.exponential(5.0)
    return gaussian_filter1d(level, 0.2 * fps)[:frames]


def _noise(frames: int, count: int, width: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return ``(frame, count)`` Gaussian noise of unit variance, smooth over ``width`` frames."""
    margin = int(4 * width) + 1
    smooth = gaussian_filter1d(rng.normal(size=(frames + 2 * margin, count)), width, axis=0)
    kernel = gaussian_filter1d(np.eye(1, 2 * margin + 1, margin)[0], width)
    return smooth[margin : margin + frames] / np.sqrt((kernel**2).sum())


def _mirror(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Swap left and right: limbs change sides, bends and twists of the trunk change sign."""
    swap = {"left": "right", "right": "left"}
    mirrored = np.empty_like(angles)
    for column, name in enumerate(ANGLES):
        head, kind = name.split("_", 1)
        if head in swap:
            mirrored[:, column] = angles[:, ANGLES.index(f"{swap[head]}_{kind}")]
        else:
            mirrored[:, column] = angles[:, column] * (1 if kind == "flex" else -1)
    return mirrored


def _limit(angles: NDArray[np.float64], softness: float = 2.0) -> NDArray[np.float64]:
    """Keep angles within their limits, bending smoothly over ``softness`` degrees."""
    above = _LOWER + softness * np.logaddexp(0, (angles - _LOWER) / softness)
    return np.clip(_UPPER - softness * np.logaddexp(0, (_UPPER - above) / softness), _LOWER, _UPPER)
