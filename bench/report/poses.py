"""Poses as stick figures: in strips over time, in sheets of strips, and animated.

The body's left side is green, its right side purple and its middle grey, as in the paper; ground
truth is dotted where it differs. The viewpoint is fixed, between the body's front and its right, so
that a body facing forward looks to the right of the picture.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any, Literal, NamedTuple

import matplotlib
import numpy as np
from matplotlib.animation import FFMpegWriter
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from bench.core.errors import InputError
from bench.core.files import atomic_file
from bench.motion import Skeleton

Side = Literal["left", "right", "middle"]

COLOURS: dict[Side, str] = {"left": "#1b7837", "right": "#762a83", "middle": "0.4"}
TRUTH = "0.1"
BONE, ROOT_BONE, TRUTH_BONE = 1.3, 0.8, 0.7
"""Line widths in points: of a bone, of a line from the root to the body, of ground truth."""
DIFFERS = 1.0
"""Millimetres of error of a joint from which on its ground truth is drawn."""
EVERY = 8
"""Frames from one pose of a strip to the next, as in the paper."""
GAP = 60.0
"""Least distance of neighbouring poses of a strip, millimetres."""
WIDTH = 7.0
"""Inches: the text width of a paper with one column, or of both columns with two."""
LARGEST = 700.0
"""Least millimetres of the body per inch, so that few poses are not drawn huge."""
NARROWEST = 3.0
"""Least width of a figure, inches, so that its titles fit."""
GIF_FPS = 50.0
"""Frames per second above which programs that show GIFs slow them down."""

_TURN, _TILT = np.radians(40), np.radians(8)
_RIGHT = np.array([np.cos(_TURN), 0, np.sin(_TURN)])
_UP = np.array([np.sin(_TURN) * np.sin(_TILT), np.cos(_TILT), -np.cos(_TURN) * np.sin(_TILT)])
_NEAR = np.cross(_RIGHT, _UP)


class Panel(NamedTuple):
    """Motion to be drawn.

    Attributes:
        title: printed above it.
        motion: ``(frame, joint, 3)``, mm, y up; nan joints are not drawn.
        truth: ``(frame, joint, 3)``, mm; dotted where it differs.
        hidden: bool ``(frame, joint)``, joints with a hidden coordinate; drawn with a ring.
    """

    title: str
    motion: NDArray[Any]
    truth: NDArray[Any] | None = None
    hidden: NDArray[np.bool_] | None = None


def sides(skeleton: Skeleton) -> list[Side]:
    """Return the side of the body of each joint, by the pairs of the skeleton."""
    known: dict[str, Side] = {}
    for left, right in skeleton.pairs:
        known |= {left: "left", right: "right"}
    return [known.get(name, "middle") for name in skeleton.names]


def project(points: NDArray[Any]) -> NDArray[np.float64]:
    """Project ``(..., 3)`` points in the body's frame onto the picture: ``(..., 2)``, y up.

    The projection is orthographic and shows the body from 40 degrees to its right and 8 above.
    """
    return np.asarray(points, dtype=np.float64) @ np.stack([_RIGHT, _UP], axis=1)


def draw_pose(
    axes: Axes,
    pose: NDArray[Any],
    skeleton: Skeleton,
    offset: float = 0.0,
    truth: NDArray[Any] | None = None,
    hidden: NDArray[np.bool_] | None = None,
) -> list[Artist]:
    """Draw one pose, nearer bones over farther ones; the caller sets limits and aspect.

    Args:
        axes: where to draw.
        pose: ``(joint, 3)``, mm, relative to the root; nan joints are not drawn.
        skeleton: its joints. A bone has the colour of its child's side; a thin line joins a joint
            without a parent to the root, the origin.
        offset: mm to the right.
        truth: ``(joint, 3)``, mm; dotted where it differs.
        hidden: bool ``(joint,)``, joints drawn with a ring.

    Returns:
        What was drawn: ground truth if it differs anywhere, the bones, the rings if any.
    """
    drawn: list[Artist] = []
    parents = np.array(skeleton.parents)
    colours = [to_rgba(COLOURS[side]) for side in sides(skeleton)]
    if truth is not None:
        far = ~(np.linalg.norm(np.asarray(truth) - pose, axis=-1) < DIFFERS)
        # The root never differs, so a line from it is drawn only if its joint does.
        shown = np.flatnonzero(far | (far[parents] & (parents >= 0)))
        if len(shown):
            lines = _bones(truth, parents, offset)[shown]
            dotted = LineCollection(list(lines), colors=TRUTH, linewidths=TRUTH_BONE, zorder=1)
            dotted.set_linestyle((0, (1, 1.2)))
            drawn.append(axes.add_collection(dotted, autolim=False))
    depth = np.asarray(pose) @ _NEAR
    order = np.argsort(depth + np.where(parents < 0, 0, depth[parents]), kind="stable")
    bones = LineCollection(
        list(_bones(pose, parents, offset)[order]),
        colors=[(*colours[j][:3], 0.6 if parents[j] < 0 else 1.0) for j in order],
        linewidths=np.where(parents < 0, ROOT_BONE, BONE)[order],
        capstyle="round",
        zorder=2,
    )
    drawn.append(axes.add_collection(bones, autolim=False))
    if hidden is not None and hidden.any():
        x, y = (project(pose)[hidden] + np.array([offset, 0])).T
        style: dict[str, Any] = {
            "s": 7,
            "facecolors": "none",
            "edgecolors": "0.15",
            "linewidths": 0.5,
        }
        drawn.append(axes.scatter(x, y, zorder=3, **style))
    return drawn


def strip(
    axes: Axes,
    motion: NDArray[Any],
    skeleton: Skeleton,
    every: int = EVERY,
    truth: NDArray[Any] | None = None,
    hidden: NDArray[np.bool_] | None = None,
    spacing: float | None = None,
) -> None:
    """Draw every ``every``-th pose from left to right, at one scale and without ticks.

    Args:
        axes: where to draw.
        motion: ``(frame, joint, 3)``, mm.
        skeleton: its joints.
        every: frames from pose to pose.
        truth: ``(frame, joint, 3)``, mm; dotted where it differs.
        hidden: bool ``(frame, joint)``, joints drawn with a ring.
        spacing: mm from pose to pose; by default the least at which none touches the next.
            ``spacing_of`` computes a spacing for several strips.
    """
    panel = Panel("", motion, truth, hidden)
    spacing = spacing_of([panel], every) if spacing is None else spacing
    shown = range(0, len(motion), every)
    for number, frame in enumerate(shown):
        draw_pose(
            axes,
            motion[frame],
            skeleton,
            number * spacing,
            None if truth is None else truth[frame],
            None if hidden is None else hidden[frame],
        )
    _frame(axes, *_extent([panel], every, spacing))


def spacing_of(panels: Sequence[Panel], every: int = EVERY) -> float:
    """Return the least spacing, mm, at which no pose touches the next in any of the strips."""
    distances = [
        np.nanmax(before[:, 0]) - np.nanmin(after[:, 0])
        for panel in panels
        if len(poses := _projected(panel, every)) > 1
        for before, after in pairwise(poses)
    ]
    return max(distances, default=0.0) + GAP


def contact_sheet(
    rows: Sequence[Panel | tuple[str, NDArray[Any]]],
    skeleton: Skeleton,
    title: str = "",
    every: int = EVERY,
) -> Figure:
    """Return a figure with a strip per row, all at one scale, with poses of equal time aligned.

    Args:
        rows: what to draw: panels, or pairs of a title and motion ``(frame, joint, 3)``.
        skeleton: the joints of all motions.
        title: of the figure.
        every: frames from pose to pose.
    """
    panels = [Panel(*row) for row in rows]
    spacing = spacing_of(panels, every)
    corners = [_extent([panel], every, spacing) for panel in panels]
    left = min(low[0] for low, _ in corners)
    right = max(high[0] for _, high in corners)
    scale = max((right - left) / WIDTH, LARGEST)
    right = max(right, left + NARROWEST * scale)
    top = 0.3 if title else 0.02
    heights = [
        (high[1] - low[1]) / scale + (0.16 if panel.title else 0.04)
        for (low, high), panel in zip(corners, panels, strict=True)
    ]
    whole = top + sum(heights)
    figure = Figure(figsize=((right - left) / scale, whole))
    below = whole - top
    for panel, (low, high), height in zip(panels, corners, heights, strict=True):
        below -= height
        axes = figure.add_axes((0, below / whole, 1, (high[1] - low[1]) / scale / whole))
        strip(axes, panel.motion, skeleton, every, panel.truth, panel.hidden, spacing)
        _frame(axes, np.array([left, low[1]]), np.array([right, high[1]]))
        axes.set_title(panel.title, fontsize=7, loc="left", x=0.01, pad=1.5, parse_math=False)
    if title:
        figure.text(0.01, 1 - 0.06 / whole, title, fontsize=9, va="top", parse_math=False)
    return figure


def animate(
    panels: Sequence[Panel], skeleton: Skeleton, path: Path, fps: float, title: str = ""
) -> None:
    """Write an animation of motions side by side in real time, GIF or MP4 by the suffix.

    The frames of a GIF last whole hundredths of a second, at least two: durations are rounded such
    that the total is right, and frames beyond 50 per second are left out.

    Args:
        panels: motions of the same number of frames.
        skeleton: the joints of all motions.
        path: the file to write.
        fps: frames per second of the motions.
        title: of the animation.

    Raises:
        InputError: another suffix, or ffmpeg is missing for an MP4, or it fails.
        ValueError: nothing to draw, or motions of different lengths.
    """
    lengths = {len(panel.motion) for panel in panels}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(
            f"panels of {sorted(lengths)} frames; all must have the same number, not 0"
        )
    writers = {".gif": _write_gif, ".mp4": _write_mp4}
    write = writers.get(path.suffix.lower())
    if write is None:
        raise InputError(f"{path}: an animation is a .gif or an .mp4; rename it")
    scene = _Scene(panels, skeleton, title)
    write(scene, path, fps)


class _Scene:
    """A figure that shows one frame of some motions at a time."""

    def __init__(self, panels: Sequence[Panel], skeleton: Skeleton, title: str) -> None:
        self.panels, self.skeleton = panels, skeleton
        self.frames = len(panels[0].motion)
        low, high = _extent(panels, 1, 0.0)
        wide, tall = high - low
        height, over = 3.2, 0.3 + 0.3 * bool(title)
        width = max(height * wide / tall, 2.0)
        self.figure = Figure(figsize=(width * len(panels), height + over), dpi=100)
        self.canvas = FigureCanvasAgg(self.figure)
        part = height / (height + over)
        self.axes = []
        for number, panel in enumerate(panels):
            axes = self.figure.add_axes((number / len(panels), 0, 1 / len(panels), part))
            _frame(axes, low, high)
            axes.set_title(panel.title, fontsize=9, pad=3, parse_math=False)
            self.axes.append(axes)
        if title:
            self.figure.suptitle(title, fontsize=10, parse_math=False)
        self.drawn: list[Artist] = []

    def show(self, frame: int) -> None:
        """Draw a frame in place of the previous one."""
        for artist in self.drawn:
            artist.remove()
        self.drawn = []
        for axes, panel in zip(self.axes, self.panels, strict=True):
            self.drawn += draw_pose(
                axes,
                panel.motion[frame],
                self.skeleton,
                truth=None if panel.truth is None else panel.truth[frame],
                hidden=None if panel.hidden is None else panel.hidden[frame],
            )

    def image(self, frame: int) -> Image.Image:
        """Return a frame with a palette of 64 colours."""
        self.show(frame)
        self.canvas.draw()
        pixels = np.asarray(self.canvas.buffer_rgba())[..., :3]
        return Image.fromarray(np.ascontiguousarray(pixels)).quantize(64)


def _write_gif(scene: _Scene, path: Path, fps: float) -> None:
    rate = min(fps, GIF_FPS)
    count = max(1, round(scene.frames * rate / fps))
    shown = [min(int(number * fps / rate), scene.frames - 1) for number in range(count)]
    ends = np.round(100 / rate * np.arange(count + 1)).astype(int)
    lasting = (10 * np.diff(ends)).tolist()

    def images() -> Iterator[Image.Image]:
        yield from (scene.image(frame) for frame in shown[1:])

    with atomic_file(path) as draft:
        scene.image(shown[0]).save(
            draft, save_all=True, append_images=images(), duration=lasting, loop=0
        )


def _write_mp4(scene: _Scene, path: Path, fps: float) -> None:
    # Thin lines need more than the default quality.
    writer = FFMpegWriter(fps=fps, codec="h264", extra_args=["-crf", "18"])  # type: ignore[arg-type]
    try:
        with (
            atomic_file(path) as draft,
            matplotlib.rc_context({"animation.ffmpeg_path": _ffmpeg()}),
            writer.saving(scene.figure, str(draft), dpi=200),
        ):
            for frame in range(scene.frames):
                scene.show(frame)
                writer.grab_frame()
    except (CalledProcessError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path.name}: ffmpeg failed ({reason}); write a .gif instead") from None


def has_ffmpeg() -> bool:
    """Return whether MP4s can be written."""
    try:
        return bool(_ffmpeg())
    except InputError:
        return False


def _ffmpeg() -> str:
    """Return the path of ffmpeg, from PATH or from the package imageio-ffmpeg."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return os.fspath(get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        raise InputError(
            "an .mp4 needs ffmpeg: pip install imageio-ffmpeg, or write a .gif"
        ) from None


def _bones(pose: NDArray[Any], parents: NDArray[np.int64], offset: float) -> NDArray[np.float64]:
    """Return ``(joint, 2, 2)``: start and end of the line to each joint."""
    ends = project(pose)
    starts = np.where(parents[:, None] < 0, 0.0, ends[parents])
    return np.stack([starts, ends], axis=1) + np.array([offset, 0])


def _projected(panel: Panel, every: int) -> list[NDArray[np.float64]]:
    """Return the projected points of each shown pose, including root and ground truth."""
    motions = [panel.motion[::every]]
    motions += [] if panel.truth is None else [panel.truth[::every]]
    points = np.concatenate([project(motion) for motion in motions], axis=1)
    return list(np.concatenate([points, np.zeros((len(points), 1, 2))], axis=1))


def _extent(
    panels: Sequence[Panel], every: int, spacing: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower left and upper right corner of the area that strips need, mm."""
    points = np.concatenate(
        [
            pose + np.array([number * spacing, 0])
            for panel in panels
            for number, pose in enumerate(_projected(panel, every))
        ]
    )
    return np.nanmin(points, axis=0) - GAP / 2, np.nanmax(points, axis=0) + GAP / 2


def _frame(axes: Axes, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
    """Show the area between two corners, at one scale and without ticks."""
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.set_axis_off()
