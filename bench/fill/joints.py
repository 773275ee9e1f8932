"""Filling the gaps of a recording of joints' rotations, and accounting for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from bench.core.errors import InputError, did_you_mean
from bench.fill.account import FAST, UNSURE_MM, outline
from bench.fill.calibration import CHECK, calibrated, expected
from bench.fill.filling import Filled, checked, reasons_of
from bench.fill.gaps import Bools, Gap, Numbers, gaps_of
from bench.fill.joint_methods import JointMethods
from bench.fill.tree import Tree
from bench.fill.trials import kind_of, trials_of

CANDIDATES = ("smooth", "spline", "pchip", "linear")
"""Methods that ``auto`` combines."""
METHODS = ("auto", *reversed(CANDIDATES))
"""What fills rotations."""
COLUMNS = (
    *("point", "start", "frames", "ms", "place", "status", "method", "sigma_mm", "sigma_deg"),
    *("jump_before_mm", "jump_after_mm", "jump_before_deg", "jump_after_deg", "warnings"),
)


@dataclass(frozen=True)
class FilledJoints(Filled):
    """A filled recording of rotations; ``positions`` and what goes with them are of its nodes.

    Attributes:
        channels: ``(frame, track, 3)`` values as in the file.
        replaced: bool ``(frame, track)``, which of them were filled.
    """

    channels: Numbers
    replaced: Bools


def fill(
    tree: Tree,
    values: Numbers,
    fps: float,
    scale: float,
    method: str = "auto",
    max_gap: float | None = None,
    edges: bool = False,
) -> FilledJoints:
    """Fill the gaps of a recording of rotations.

    Args:
        tree: of the joints.
        values: ``(frame, track, 3)`` as in the file, nan where missing.
        fps: frames per second.
        scale: millimetres of a unit of the file.
        method: one of ``METHODS``; ``auto`` combines the others, for each duration as fills gaps
            like the recording's own best that are cut into it.
        max_gap: duration, ms, above which a gap is left; None for no limit.
        edges: whether to fill before the first and after the last sample of a track too.

    Raises:
        InputError: the arguments are no recording, or the method does not fill rotations.
    """
    check_method(method)
    joints = JointMethods(tree, checked(values, fps, method, max_gap), fps, scale)
    seen = joints.seen
    gaps = gaps_of(seen)
    reasons = reasons_of(gaps, seen, fps, max_gap, edges)
    wanted = [gap for gap, reason in zip(gaps, reasons, strict=True) if not reason]
    channels = np.where(seen[..., None], values, np.nan)
    sigma = np.where(seen, 0.0, np.nan)
    used: dict[Gap, tuple[str, ...]] = {}
    if wanted:
        names = CANDIDATES if method == "auto" else (method,)
        known = calibrated(joints, joints.moving, wanted, names)
        for gap in wanted:
            made = known.complete(gap, seen)
            place = slice(gap.start, gap.stop), gap.point
            channels[place] = joints.channels(gap, seen, made.positions)
            sigma[place] = made.deviation
            used[gap] = made.methods
    replaced = np.isfinite(sigma) & ~seen
    return FilledJoints(
        positions=scale * tree.placed(channels),
        filled=_of_nodes(tree, replaced) > 0,
        sigma=np.sqrt(_of_nodes(tree, np.square(sigma))),
        gaps=_account(joints, channels, sigma, gaps, used, reasons),
        channels=channels,
        replaced=replaced,
    )


def validate(
    tree: Tree,
    values: Numbers,
    fps: float,
    scale: float,
    methods: Sequence[str] = METHODS,
    max_gap: float | None = None,
) -> pd.DataFrame:
    """Return the error that the gaps of a recording of rotations are likely to have.

    Gaps like its own are cut where its joints are seen, as ``bench.fill.validate`` does. An error
    is the distance from the truth, mean over the gap and over the joints that it moves.

    Args:
        tree: of the joints.
        values: ``(frame, track, 3)`` as in the file, nan where missing.
        fps: frames per second.
        scale: millimetres of a unit of the file.
        methods: of ``METHODS``.
        max_gap: duration, ms, above which gaps are left.

    Returns:
        The columns of ``bench.fill.validate``, and ``mean_deg``.

    Raises:
        InputError: as ``fill``; or no gap can be cut.
    """
    for method in methods:
        check_method(method)
    joints = JointMethods(tree, checked(values, fps, methods[0], max_gap), fps, scale)
    seen = joints.moving
    gaps = gaps_of(joints.seen)
    reasons = reasons_of(gaps, joints.seen, fps, max_gap, edges=False)
    wanted = [gap for gap, reason in zip(gaps, reasons, strict=True) if not reason]
    trials = trials_of(seen, wanted, fps, CHECK, joints.nearness)
    if not trials:
        raise InputError("no joint moves for as long as the gaps last, so none can be cut")
    apart, turned = [], []
    for method in methods:
        known = calibrated(joints, seen, wanted, CANDIDATES if method == "auto" else (method,))
        for trial in trials:
            gap, hidden = trial.gap, trial.applied(seen)
            frames = np.arange(gap.start, gap.stop)
            truth = values[frames, gap.point]
            made = joints.channels(gap, hidden, known.complete(gap, hidden).positions)
            there = joints.nodes(gap.point, truth, frames)
            off = np.linalg.norm(joints.nodes(gap.point, made, frames) - there, axis=-1)
            apart.append((kind_of(gap, fps), method, _mean(off)))
            angle = float(joints.degrees(gap.point, made, truth).mean())
            turned.append((kind_of(gap, fps), method, angle))
    return expected(apart).assign(mean_deg=expected(turned)["mean_mm"])


def check_method(method: str) -> None:
    """Raise InputError if a method does not fill rotations."""
    if method not in METHODS:
        raise InputError(
            f"'{method}' does not fill rotations, which BVH files hold; give "
            f"{', '.join(METHODS)}{did_you_mean(method, METHODS)}"
        )


def _of_nodes(tree: Tree, values: Numbers | Bools) -> Numbers:
    """Return for each node ``(frame, node)`` the sum over the tracks that move it."""
    total = np.zeros((len(values), len(tree.nodes)))
    for number, track in enumerate(tree.tracks):
        total[:, tree.moved(track)] += values[:, number, None]
    return total


def _account(
    joints: JointMethods,
    channels: Numbers,
    sigma: Numbers,
    gaps: Sequence[Gap],
    used: Mapping[Gap, tuple[str, ...]],
    reasons: Sequence[str],
) -> pd.DataFrame:
    """Return one row per gap, with ``COLUMNS``: see ``bench.fill.account.account``."""
    names = [track.name for track in joints.tree.tracks]

    @cache
    def fastest(point: int) -> float:
        both = joints.seen[1:, point] & joints.seen[:-1, point]
        steps = _steps(joints, channels[:, point], point)[both]
        return float(steps.max()) if len(steps) else float("nan")

    rows = []
    for gap, reason in zip(gaps, reasons, strict=True):
        row = outline(gap, names, joints.fps) | {"status": reason or "filled", "warnings": ""}
        if gap in used:
            row |= _row(joints, channels, sigma, gap, fastest(gap.point))
            row["method"] = " + ".join(used[gap])
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(
    joints: JointMethods, channels: Numbers, sigma: Numbers, gap: Gap, fastest: float
) -> dict[str, object]:
    deviation = float(np.sqrt(np.square(sigma[gap.start : gap.stop, gap.point]).mean()))
    around = channels[max(gap.start - 1, 0) : gap.stop + 1, gap.point]
    steps = _steps(joints, around, gap.point)
    (before_mm, before_deg), (after_mm, after_deg) = (
        _bend(joints, channels, gap.point, frame) for frame in (gap.start - 1, gap.stop)
    )
    flags = {
        "unsure": deviation > UNSURE_MM,
        "fast": np.nanmax(steps, initial=0) > FAST * fastest + 1,
    }
    return {
        "sigma_mm": deviation,
        "sigma_deg": joints.deviation_deg(gap.point, deviation),
        "jump_before_mm": before_mm,
        "jump_after_mm": after_mm,
        "jump_before_deg": before_deg,
        "jump_after_deg": after_deg,
        "warnings": " ".join(name for name, holds in flags.items() if holds),
    }


def _steps(joints: JointMethods, values: Numbers, point: int) -> Numbers:
    """Return how far each frame's values ``(frame, 3)`` are from the one before, mm."""
    if not joints.tree.tracks[point].turns:
        return np.linalg.norm(np.diff(values, axis=0), axis=1) * joints.scale
    turned = joints.degrees(point, values[:-1], values[1:])
    return np.radians(turned) * joints.levers[point]


def _bend(joints: JointMethods, channels: Numbers, point: int, frame: int) -> tuple[float, float]:
    """Return the change of the step at a frame, mm and degrees; nan at the ends or next to a gap.

    In millimetres it is the mean over the joints that the track moves.
    """
    around = channels[max(frame - 1, 0) : frame + 2, point]
    if not (1 <= frame < len(channels) - 1 and np.isfinite(around).all()):
        return float("nan"), float("nan")
    before, at, after = joints.nodes(point, around, np.full(3, frame))
    bend = _mean(np.linalg.norm(before - 2 * at + after, axis=-1))
    track = joints.tree.tracks[point]
    if not track.turns:
        return bend, float("nan")
    one, two, three = (track.rotation(values[None]) for values in around)
    change = (one.inv() * two).inv() * (two.inv() * three)
    return bend, float(np.degrees(change.magnitude())[0])


def _mean(distances: Numbers) -> float:
    """Return the mean; 0 of a joint that moves no other."""
    return float(distances.mean()) if distances.size else 0.0
