"""Imputers of the harness as methods that fill a gap."""

import numpy as np
import pandas as pd
import torch

from bench.fill.gaps import Bools, Gap, Numbers
from bench.fill.support import Support
from bench.motion import MotionSpec, Skeleton, Windows
from models.kalman import Kalman
from models.pca_gap import PCAGap
from models.rigid import Rigid

MARGIN = 200
"""Frames on either side of a gap that a Kalman smoother sees and is fitted to."""
STRETCH = 32
"""Frames of the stretches without gaps that it is fitted to."""


def smoothed(
    positions: Numbers, seen: Bools, gap: Gap, fps: float
) -> tuple[Numbers, Numbers] | None:
    """Return positions ``(frame, 3)`` and deviations ``(frame,)`` of a Kalman smoother, mm.

    It is fitted to the stretches around the gap in which the point is seen throughout; None where
    there are fewer than two.

    Args:
        positions: ``(frame, point, 3)``, mm.
        seen: bool ``(frame, point)``, what may be used.
        gap: what to fill.
        fps: frames per second.
    """
    first = max(gap.start - MARGIN, 0)
    around = slice(first, gap.stop + MARGIN)
    known, values = seen[around, gap.point], positions[around, gap.point]
    if len(known) < STRETCH:
        return None
    whole = np.lib.stride_tricks.sliding_window_view(known, STRETCH)[:: STRETCH // 2]
    starts = np.flatnonzero(whole.all(axis=1)) * (STRETCH // 2)
    if len(starts) < 2:
        return None
    train = windows_of(np.stack([values[at : at + STRETCH, None] for at in starts]), fps)
    fitted = Kalman(train.spec)
    fitted.fit(train, train)
    model = Kalman(spec_of(1, len(values), fps))
    for name in ("stiffness", "damping", "variance", "level_variance", "noise"):
        getattr(model, name).copy_(getattr(fitted, name))
    model.mean.copy_(torch.from_numpy(values[known].mean(axis=0)))
    hidden = ~torch.from_numpy(known)[None, :, None, None].expand(-1, -1, 1, 3)
    motion = torch.where(hidden, 0.0, torch.from_numpy(values)[None, :, None])
    found = model.complete(motion, hidden)
    assert found.sigma is not None
    part = slice(gap.start - first, gap.stop - first)
    sigma = found.sigma[0, part, 0].double().square().mean(dim=-1).sqrt()
    return found.motion[0, part, 0].double().numpy(), sigma.numpy()


def carried(method: str, positions: Numbers, part: Support, fps: float) -> Numbers:
    """Return positions ``(frame, 3)`` in a part of a gap, mm, from donors and other points alone.

    Args:
        method: ``rigid`` or ``pca_gap``.
        positions: ``(frame, point, 3)``, mm.
        part: what it is filled from.
        fps: frames per second.
    """
    donors = np.union1d(part.memory, part.near)
    frames = np.sort(np.concatenate([donors, part.frames]))
    points = np.concatenate([[part.point], part.others])
    motion = positions[frames][:, points]
    inside = torch.from_numpy(np.isin(frames, part.frames))
    hidden = torch.zeros((1, *motion.shape), dtype=torch.bool)
    hidden[0, inside, 0] = True
    train = windows_of(positions[donors][:, points][None], fps)
    model = (Rigid if method == "rigid" else PCAGap)(train.spec)
    model.fit(train, train)
    visible = torch.where(hidden, 0.0, torch.from_numpy(motion)[None])
    return model.complete(visible, hidden)[0, inside, 0].numpy()


def spec_of(points: int, frames: int, fps: float) -> MotionSpec:
    """Return the shape of a recording of points without names or bones."""
    names = tuple(map(str, range(points)))
    skeleton = Skeleton(names, (-1,) * points, np.zeros((points, 3)), {"points": names}, ())
    return MotionSpec(frames, fps, skeleton)


def windows_of(motion: Numbers, fps: float) -> Windows:
    """Return windows ``(window, frame, point, 3)`` of one recording to fit to."""
    spec = spec_of(motion.shape[2], motion.shape[1], fps)
    index = pd.DataFrame({"source": "", "start": range(len(motion)), "action": "", "subject": ""})
    return Windows(motion.astype(np.float32), index, fps, spec.skeleton)
