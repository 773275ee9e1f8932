"""Imputers of the harness as methods that fill a gap."""

import numpy as np
import pandas as pd
import torch

from bench.core.spacing import spaced
from bench.fill.gaps import Bools, Gap, Numbers
from bench.fill.support import Support
from bench.motion import MotionSpec, Skeleton, Windows
from models.kalman import BOUNDS, Kalman
from models.pca_gap import PCAGap
from models.rigid import Rigid

MARGIN = 200
"""Frames on either side of a gap that a Kalman smoother sees."""
STRETCH = 32
"""Frames of the stretches without gaps that it is fitted to."""
STRETCHES = 200
"""Most of them, evenly spaced."""


def fitted_kalman(positions: Numbers, seen: Bools, point: int, fps: float) -> Kalman | None:
    """Return a Kalman smoother fitted to stretches in which a point is seen; None of too few.

    Args:
        positions: ``(frame, point, 3)``, mm.
        seen: bool ``(frame, point)``, what may be used.
        point: number of the point.
        fps: frames per second.
    """
    if len(seen) < STRETCH:
        return None
    whole = np.lib.stride_tricks.sliding_window_view(seen[:, point], STRETCH)[:: STRETCH // 2]
    starts = np.flatnonzero(whole.all(axis=1)) * (STRETCH // 2)
    if len(starts) < 2:
        return None
    starts = starts[spaced(len(starts), STRETCHES)]
    stretches = np.stack([positions[start : start + STRETCH, point] for start in starts])
    train = windows_of(stretches[:, :, None], fps)
    model = Kalman(train.spec)
    model.fit(train, train)
    return model


def smoothed(
    fitted: Kalman, positions: Numbers, seen: Bools, gap: Gap, fps: float
) -> tuple[Numbers, Numbers]:
    """Return positions ``(frame, 3)`` and deviations ``(frame,)`` of a Kalman smoother, mm.

    Args:
        fitted: has the numbers of the gap's point.
        positions: ``(frame, point, 3)``, mm.
        seen: bool ``(frame, point)``, what may be used.
        gap: what to fill.
        fps: frames per second.
    """
    first = max(gap.start - MARGIN, 0)
    around = slice(first, gap.stop + MARGIN)
    known, values = seen[around, gap.point], positions[around, gap.point]
    model = Kalman(spec_of(1, len(values), fps))
    for name in BOUNDS:
        getattr(model, name).copy_(getattr(fitted, name))
    centre = values[known].mean(axis=0) if known.any() else np.zeros(3)
    model.mean.copy_(torch.from_numpy(centre))
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
