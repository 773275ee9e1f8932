"""The twenty invented actions of the synthetic motion, as tables of joint angles in degrees."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# Names in the tables: a limb's angle without a side means both sides; spine_* is divided equally
# among the three spine joints; left_*, right_* and neck_* mean a single angle.
Pose = Mapping[str, float]


@dataclass(frozen=True)
class Cycle:
    """An action that repeats: every angle is a mean plus harmonics of a common phase.

    Attributes:
        hertz: cycles per second.
        swing: angle to (amplitude in degrees, phase in turns, harmonic); if the name begins with ~,
            the right side is half a turn later than the left.
        base: mean of the angles that are not as in standing.
    """

    hertz: float
    swing: Mapping[str, tuple[float, float, int]]
    base: Pose = field(default_factory=dict)


@dataclass(frozen=True)
class Routine:
    """An action that passes through key poses, with pauses of random length between them.

    Attributes:
        seconds: mean duration of the movement between two poses.
        poses: the key poses, in order.
    """

    seconds: float
    poses: tuple[Pose, ...]


_GUARD = {"shoulder_flex": 35, "elbow_flex": 115, "shoulder_twist": 20, "knee_flex": 18}

ACTIONS: dict[str, Cycle | Routine] = {
    "walk": Cycle(
        0.95,
        {
            "~hip_flex": (24, 0.0, 1),
            "~knee_flex": (26, 0.2, 1),
            "knee_flex": (8, 0.1, 2),
            "~ankle_flex": (12, 0.6, 1),
            "~shoulder_flex": (22, 0.5, 1),
            "~elbow_flex": (8, 0.55, 1),
            "spine_twist": (9, 0.0, 1),
            "spine_bend": (4, 0.25, 1),
            "spine_flex": (2, 0.1, 2),
        },
        {"knee_flex": 30, "hip_flex": 10},
    ),
    "run": Cycle(
        1.4,
        {
            "~hip_flex": (42, 0.0, 1),
            "~knee_flex": (48, 0.22, 1),
            "knee_flex": (12, 0.1, 2),
            "~ankle_flex": (20, 0.6, 1),
            "~shoulder_flex": (38, 0.5, 1),
            "~elbow_flex": (12, 0.5, 1),
            "spine_twist": (14, 0.0, 1),
        },
        {"hip_flex": 22, "knee_flex": 58, "elbow_flex": 90, "spine_flex": 14},
    ),
    "march": Cycle(
        0.8,
        {
            "~hip_flex": (42, 0.0, 1),
            "~knee_flex": (42, 0.05, 1),
            "~shoulder_flex": (34, 0.5, 1),
            "spine_bend": (3, 0.2, 1),
        },
        {"hip_flex": 36, "knee_flex": 42, "shoulder_flex": 12},
    ),
    "jump": Cycle(
        0.75,
        {
            "hip_flex": (38, 0.0, 1),
            "knee_flex": (45, 0.02, 1),
            "ankle_flex": (22, 0.5, 1),
            "shoulder_flex": (60, 0.45, 1),
            "spine_flex": (16, 0.0, 1),
            "elbow_flex": (15, 0.3, 2),
        },
        {"hip_flex": 38, "knee_flex": 50, "shoulder_flex": 40, "spine_flex": 14},
    ),
    "jumping_jack": Cycle(
        1.0,
        {
            "shoulder_abduct": (62, 0.0, 1),
            "hip_abduct": (15, 0.0, 1),
            "knee_flex": (14, 0.2, 2),
            "collar_lift": (9, 0.0, 1),
        },
        {"shoulder_abduct": 78, "hip_abduct": 16, "knee_flex": 18, "elbow_flex": 12},
    ),
    "squat": Cycle(
        0.4,
        {
            "hip_flex": (42, 0.0, 1),
            "knee_flex": (52, 0.0, 1),
            "shoulder_flex": (40, 0.02, 1),
            "spine_flex": (12, 0.05, 1),
            "ankle_flex": (10, 0.0, 1),
        },
        {"hip_flex": 46, "knee_flex": 60, "shoulder_flex": 48, "spine_flex": 14},
    ),
    "wave": Cycle(
        1.6,
        {
            "right_elbow_flex": (24, 0.0, 1),
            "right_shoulder_twist": (26, 0.1, 1),
            "spine_bend": (3, 0.4, 1),
        },
        {"right_shoulder_abduct": 110, "right_elbow_flex": 70, "right_collar_lift": 14},
    ),
    "dance": Cycle(
        0.85,
        {
            "~hip_flex": (18, 0.1, 1),
            "~knee_flex": (24, 0.15, 1),
            "hip_abduct": (9, 0.4, 2),
            "~shoulder_abduct": (36, 0.3, 1),
            "shoulder_flex": (28, 0.7, 1),
            "~elbow_flex": (34, 0.05, 2),
            "spine_bend": (14, 0.0, 1),
            "spine_twist": (20, 0.35, 1),
            "neck_twist": (18, 0.6, 1),
        },
        {"shoulder_abduct": 48, "elbow_flex": 62, "knee_flex": 28, "hip_flex": 14},
    ),
    "clap": Cycle(
        1.8,
        {"shoulder_twist": (18, 0.0, 1), "elbow_flex": (12, 0.0, 1)},
        {"shoulder_flex": 42, "elbow_flex": 72, "shoulder_twist": 20},
    ),
    "wipe": Cycle(
        0.7,
        {
            "right_shoulder_flex": (20, 0.0, 1),
            "right_shoulder_abduct": (26, 0.25, 1),
            "right_elbow_flex": (26, 0.5, 1),
            "spine_twist": (12, 0.2, 1),
            "spine_bend": (6, 0.1, 1),
        },
        {"right_shoulder_flex": 88, "right_elbow_flex": 48, "left_elbow_flex": 40},
    ),
    "kick": Routine(
        0.4,
        (
            {},
            {"right_hip_flex": -20, "right_knee_flex": 80, "left_shoulder_flex": 35},
            {"right_hip_flex": 85, "right_knee_flex": 12, "spine_flex": -8, "left_knee_flex": 15},
            {"right_hip_flex": 30, "right_knee_flex": 50},
        ),
    ),
    "throw": Routine(
        0.45,
        (
            {},
            {
                "right_shoulder_abduct": 95,
                "right_elbow_flex": 105,
                "right_shoulder_twist": -55,
                "spine_twist": -32,
                "left_hip_flex": 35,
            },
            {
                "right_shoulder_flex": 95,
                "right_elbow_flex": 15,
                "spine_twist": 30,
                "spine_flex": 24,
                "left_hip_flex": 28,
                "left_knee_flex": 25,
            },
            {"right_shoulder_flex": 25, "spine_flex": 30, "right_shoulder_twist": 40},
        ),
    ),
    "box": Routine(
        0.3,
        (
            _GUARD,
            _GUARD | {"left_shoulder_flex": 88, "left_elbow_flex": 10, "spine_twist": -22},
            _GUARD,
            _GUARD | {"right_shoulder_flex": 88, "right_elbow_flex": 10, "spine_twist": 26},
        ),
    ),
    "sit": Routine(
        1.0,
        (
            {},
            {"hip_flex": 75, "knee_flex": 80, "spine_flex": 32, "shoulder_flex": 30},
            {"hip_flex": 86, "knee_flex": 90, "spine_flex": 4, "elbow_flex": 60},
            {"hip_flex": 86, "knee_flex": 90, "spine_twist": 22, "right_shoulder_flex": 50},
        ),
    ),
    "bow": Routine(
        0.9,
        (
            {},
            {"hip_flex": 42, "spine_flex": 62, "neck_flex": 22, "shoulder_flex": 32},
            {"hip_flex": 15, "spine_flex": 20, "right_shoulder_abduct": 40},
        ),
    ),
    "reach": Routine(
        0.7,
        (
            {},
            {"right_shoulder_flex": 150, "right_collar_lift": 22, "spine_bend": -14},
            {"left_shoulder_flex": 110, "left_collar_lift": 18, "spine_twist": 26},
            {"shoulder_flex": 70, "spine_flex": 40, "knee_flex": 55, "hip_flex": 50},
        ),
    ),
    "stretch": Routine(
        1.1,
        (
            {"shoulder_abduct": 90},
            {"shoulder_flex": 165, "collar_lift": 22, "spine_flex": -18},
            {"left_shoulder_abduct": 140, "spine_bend": -30},
            {"right_shoulder_abduct": 140, "spine_bend": 30},
        ),
    ),
    "lunge": Routine(
        0.8,
        (
            {},
            {"left_hip_flex": 75, "left_knee_flex": 80, "right_hip_flex": -18},
            {"right_hip_flex": 75, "right_knee_flex": 80, "left_hip_flex": -18},
        ),
    ),
    "swing_bat": Routine(
        0.45,
        (
            {"shoulder_flex": 60, "elbow_flex": 70, "spine_twist": -38, "knee_flex": 25},
            {"shoulder_flex": 68, "elbow_flex": 20, "spine_twist": 12, "left_hip_flex": 22},
            {"shoulder_flex": 85, "elbow_flex": 60, "spine_twist": 44, "left_hip_twist": 22},
        ),
    ),
    "signal": Routine(
        0.55,
        (
            {"right_shoulder_abduct": 88},
            {"left_shoulder_flex": 95, "left_elbow_flex": 85, "neck_twist": 40},
            {"right_shoulder_flex": 90, "right_elbow_flex": 95, "neck_twist": -35},
            {"shoulder_abduct": 85, "right_elbow_flex": 80, "spine_twist": 18},
        ),
    ),
}
