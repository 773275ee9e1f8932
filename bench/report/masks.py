"""What a mechanism hides of one window, as a picture: joints over time, and the poses."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from bench.core.files import atomic_file
from bench.motion import Skeleton
from bench.report.poses import COLOURS, draw_pose, project, sides

SHADES = {"seen": "0.95", "some coordinates hidden": "#9ecae1", "hidden": "#08519c"}
"""The colours of joint positions, by how many of their coordinates are hidden."""
POSES = 10
"""Poses below the grid, at most."""
WIDTH, LEFT, ROW, POSE = 6.0, 0.95, 0.12, 1.1
"""Inches: of the figure, of the joints' names, of a joint's row, of a pose's height."""


def write(
    motion: NDArray[np.float32],
    hidden: NDArray[np.bool_],
    skeleton: Skeleton,
    fps: float,
    title: str,
    path: Path,
) -> None:
    """Write a grid of joints over time, and below it poses with a ring at each hidden joint.

    Args:
        motion: ``(frame, joint, 3)``, mm.
        hidden: bool, the same shape, True where a value is hidden.
        skeleton: the joints; their names have the colours of their sides of the body.
        fps: frames per second.
        title: of the figure.
        path: the PNG to write.
    """
    tall = ROW * len(skeleton)
    whole = 0.3 + tall + 0.35 + POSE + 0.25
    figure = Figure(figsize=(WIDTH, whole))
    wide = (WIDTH - LEFT - 0.1) / WIDTH
    grid = figure.add_axes((LEFT / WIDTH, 1 - (0.3 + tall) / whole, wide, tall / whole))
    below = figure.add_axes((LEFT / WIDTH, 0.25 / whole, wide, POSE / whole))
    shade = hidden.any(axis=-1).astype(int) + hidden.all(axis=-1)
    _grid(grid, shade, skeleton, fps)
    _poses(below, motion, np.asarray(hidden.any(axis=-1)), skeleton, wide * WIDTH / POSE)
    shades = list(SHADES.items())
    keys = [Patch(color=shades[one][1], label=shades[one][0]) for one in np.unique(shade)]
    figure.legend(handles=keys, loc="lower center", ncols=3, fontsize=6, frameon=False)
    figure.suptitle(title, fontsize=8, y=1 - 0.08 / whole, parse_math=False)
    with atomic_file(path) as draft:
        figure.savefig(draft, dpi=120)
        # Few colours make a small file.
        Image.open(draft).convert("RGB").quantize(64).save(draft, optimize=True)


def _grid(axes: Axes, shade: NDArray[np.int64], skeleton: Skeleton, fps: float) -> None:
    frames, joints = shade.shape
    axes.imshow(
        shade.T,
        ListedColormap(list(SHADES.values())),
        vmin=0,
        vmax=2,
        aspect="auto",
        interpolation="none",
        extent=(0, frames / fps, joints - 0.5, -0.5),
    )
    axes.hlines(np.arange(joints - 1) + 0.5, 0, frames / fps, color="white", linewidth=0.5)
    axes.set_yticks(range(joints), skeleton.names)
    axes.set_xlabel("time, s", fontsize=7, labelpad=1)
    axes.tick_params(labelsize=6, length=2)
    for label, side in zip(axes.get_yticklabels(), sides(skeleton), strict=True):
        label.set_color(COLOURS[side])


def _poses(
    axes: Axes,
    motion: NDArray[np.float32],
    hidden: NDArray[np.bool_],
    skeleton: Skeleton,
    ratio: float,
) -> None:
    """Draw poses below their times; ``ratio`` is the width of the axes over their height."""
    frames = len(motion)
    heights = project(motion)[..., 1]
    low, high = min(heights.min(), 0.0) - 40, max(heights.max(), 0.0) + 40
    width = ratio * (high - low)
    count = min(POSES, frames)
    for frame in ((np.arange(count) + 0.5) * frames / count).astype(int):
        place = width * (frame + 0.5) / frames
        draw_pose(axes, motion[frame], skeleton, place, hidden=hidden[frame])
    axes.set(xlim=(0, width), ylim=(low, high))
    axes.set_axis_off()
