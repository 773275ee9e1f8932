"""Stick figures: sides and colours, viewpoint, strips, sheets, and animations in real time."""

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from bench.core.errors import InputError
from bench.datasets.synthetic import SKELETON
from bench.motion import Skeleton
from bench.report import poses
from bench.report.poses import (
    COLOURS,
    Panel,
    animate,
    contact_sheet,
    draw_pose,
    project,
    sides,
    strip,
)
from tests.conftest import walk

GREEN, PURPLE = COLOURS["left"], COLOURS["right"]
MOTION = walk(windows=1, frames=50).motion[0]


def axes_of(**options: Any) -> Any:
    return Figure(**options).subplots()


def lines(axes: Any) -> list[LineCollection]:
    return [one for one in axes.collections if isinstance(one, LineCollection)]


def limits(axes: Any) -> NDArray[np.float64]:
    return np.array([axes.get_xlim(), axes.get_ylim()])


def test_sides_come_from_pairs_not_from_names() -> None:
    names = ("a", "b", "c")
    skeleton = Skeleton(names, (-1, 0, 0), np.eye(3), {"all": names}, (("c", "b"),))
    assert sides(skeleton) == ["middle", "right", "left"]
    assert sides(SKELETON).count("left") == sides(SKELETON).count("right") == 7


def test_a_body_that_faces_the_viewer_has_its_left_on_the_right_and_its_head_up() -> None:
    left, up, forward = project(np.eye(3))
    assert left[0] > 0.5
    assert up[1] > 0.9
    assert abs(up[0]) < 1e-12
    # It looks to the right of the picture, as one reads.
    assert forward[0] > 0.5


@given(st.lists(st.floats(-1e4, 1e4), min_size=6, max_size=6))
def test_the_view_is_orthographic(numbers: list[float]) -> None:
    """Lengths only shrink, and the position of a point does not depend on its depth."""
    one, other = np.reshape(numbers, (2, 3))
    assert np.linalg.norm(project(one)) <= np.linalg.norm(one) + 1e-6
    np.testing.assert_allclose(project(one + other), project(one) + project(other), atol=1e-6)
    np.testing.assert_allclose(project(one - 5 * poses._NEAR), project(one), atol=1e-6)


def test_every_bone_is_drawn_once_in_the_colour_of_its_side() -> None:
    axes = axes_of()
    (bones,) = draw_pose(axes, SKELETON.rest, SKELETON, offset=100)
    assert isinstance(bones, LineCollection)
    segments = np.array(bones.get_segments())
    colours = [to_hex(colour) for colour in np.asarray(bones.get_colors())]
    assert len(segments) == len(colours) == len(SKELETON)
    assert colours.count(GREEN) == colours.count(PURPLE) == 7
    ends = project(SKELETON.rest) + np.array([100, 0])
    for joint, name in enumerate(SKELETON.names):
        (number,) = np.flatnonzero(np.isclose(segments[:, 1], ends[joint]).all(axis=1))
        parent = SKELETON.parents[joint]
        begin = ends[parent] if parent >= 0 else [100, 0]
        np.testing.assert_allclose(segments[number, 0], begin, atol=1e-9)
        side = name.split("_")[0]
        assert colours[number] == to_hex(COLOURS.get(side, COLOURS["middle"]))  # type: ignore[call-overload]
    # Lines from the root are no bones, and thinner.
    from_root = np.isclose(segments[:, 0], [100, 0]).all(axis=1)
    widths = np.asarray(bones.get_linewidth())
    assert from_root.sum() == SKELETON.parents.count(-1)
    assert widths[from_root].max() < widths[~from_root].min()


def test_near_bones_are_drawn_over_far_ones() -> None:
    """The view is from the body's right: of two legs side by side the right one is on top."""
    (bones,) = draw_pose(axes_of(), SKELETON.rest, SKELETON)
    assert isinstance(bones, LineCollection)
    segments = np.array(bones.get_segments())[:, 1]

    def drawn(name: str) -> int:
        place = project(SKELETON.rest[SKELETON.index([name])])
        return int(np.flatnonzero(np.isclose(segments, place).all(axis=1))[0])

    assert drawn("right_ankle") > drawn("left_ankle")
    assert drawn("right_wrist") > drawn("left_wrist")


def test_truth_is_dotted_where_it_differs_alone() -> None:
    axes = axes_of()
    pose = SKELETON.rest.copy()
    draw_pose(axes, pose, SKELETON, truth=SKELETON.rest)
    assert len(lines(axes)) == 1
    moved = SKELETON.names.index("left_knee")
    pose[moved] += 80
    truth, _ = draw_pose(axes, pose, SKELETON, truth=SKELETON.rest)
    assert isinstance(truth, LineCollection)
    segments = np.array(truth.get_segments())
    # The bone to the knee, and the one from it.
    assert len(segments) == 2
    knee = project(SKELETON.rest[moved])
    assert np.isclose(segments, knee).all(axis=-1).any(axis=1).all()
    linestyle: Any = truth.get_linestyle()
    ((_, (on, off)),) = linestyle
    assert on <= off


def test_a_ring_for_each_hidden_joint() -> None:
    axes = axes_of()
    hidden = np.zeros(len(SKELETON), bool)
    hidden[[3, 5]] = True
    *_, rings = draw_pose(axes, SKELETON.rest, SKELETON, offset=7, hidden=hidden)
    assert isinstance(rings, PathCollection)
    np.testing.assert_allclose(
        np.asarray(rings.get_offsets(), float), project(SKELETON.rest[hidden]) + np.array([7, 0])
    )
    assert not len(rings.get_facecolor())


def test_missing_joints_are_not_drawn_and_do_not_change_the_limits() -> None:
    motion = MOTION.copy()
    motion[:, 4] = np.nan
    axes = axes_of()
    strip(axes, motion, SKELETON)
    axes.figure.canvas.draw()
    assert np.isfinite(limits(axes)).all()


def test_a_strip_shows_every_eighth_pose_and_none_touches_the_next() -> None:
    axes = axes_of()
    strip(axes, MOTION, SKELETON)
    drawn = lines(axes)
    assert len(drawn) == 7
    boxes = [np.array(one.get_segments())[..., 0] for one in drawn]
    for before, after in pairwise(boxes):
        assert before.max() < after.min()
    # One scale, no ticks, all inside.
    assert axes.get_aspect() == 1
    assert not axes.axison
    (left, right), (low, high) = limits(axes)
    points = np.concatenate([np.array(one.get_segments()).reshape(-1, 2) for one in drawn])
    assert left < points[:, 0].min()
    assert points[:, 0].max() < right
    assert low < points[:, 1].min()
    assert points[:, 1].max() < high
    # And little else.
    assert right - left < np.ptp(points[:, 0]) + 2 * poses.GAP


def test_each_pose_of_a_strip_is_its_own_frame_with_its_own_truth() -> None:
    axes = axes_of()
    hidden = np.zeros(MOTION.shape[:2], bool)
    hidden[10, 0] = True
    truth = MOTION.copy()
    truth[10] += 50
    strip(axes, MOTION, SKELETON, every=10, truth=truth, hidden=hidden, spacing=2000)
    kinds = [type(one) for one in axes.collections]
    # Bones, then truth, bones and ring of frame 10, then three times bones.
    assert kinds == [LineCollection] * 3 + [PathCollection] + [LineCollection] * 3
    dotted = np.array(axes.collections[1].get_segments())
    np.testing.assert_allclose(dotted[:, 1], project(truth[10]) + np.array([2000, 0]), atol=1e-3)


def test_rows_of_a_sheet_have_one_scale_and_one_position_for_each_time() -> None:
    rows: list[Any] = [
        ("small", 0.5 * MOTION),
        Panel("large", MOTION, truth=MOTION),
        ("short", MOTION[:20]),
    ]
    figure = contact_sheet(rows, SKELETON, "three")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["small", "large", "short"]
    figure.canvas.draw()
    scales, places = [], []
    for axes in figure.axes:
        width, _ = axes.get_window_extent().size
        scales.append(np.ptp(limits(axes)[0]) / width)
        drawn = lines(axes)
        assert len(drawn) == {"short": 3}.get(axes.get_title(loc="left"), 7)
        places.append([_root_of(np.array(one.get_segments())) for one in drawn])
    np.testing.assert_allclose(scales, scales[0], rtol=1e-6)
    np.testing.assert_allclose(places[0], places[1], atol=1e-6)
    np.testing.assert_allclose(places[2], places[0][:3], atol=1e-6)


def _root_of(segments: NDArray[np.float64]) -> float:
    """Return the horizontal position of the root: the start of the bones that start at height 0."""
    starts = segments[:, 0]
    return float(starts[np.isclose(starts[:, 1], 0)][0, 0])


def test_a_sheet_is_as_wide_as_a_page_and_mostly_filled(tmp_path: Path) -> None:
    figure = contact_sheet([(f"row {n}", MOTION) for n in range(3)], SKELETON, "title")
    figure.savefig(tmp_path / "sheet.png", dpi=50)
    figure.savefig(tmp_path / "sheet.pdf")
    assert figure.get_size_inches()[0] <= poses.WIDTH + 1e-6
    ink = np.asarray(Image.open(tmp_path / "sheet.png").convert("L")) < 200
    assert np.ptp(np.flatnonzero(ink.any(axis=0))) > 0.9 * ink.shape[1]
    assert np.diff(np.flatnonzero(ink.any(axis=1))).max() < 0.1 * ink.shape[0]


def frames_of(path: Path) -> list[int]:
    """Return how long each frame of a GIF is shown, ms."""
    with Image.open(path) as image:
        lasting = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            lasting.append(int(image.info["duration"]))
        return lasting


def moving(frames: int) -> NDArray[np.float64]:
    """Return motion that is never twice the same."""
    ahead = np.linspace(0, 400, frames)[:, None, None]
    swing = np.zeros((frames, len(SKELETON), 3))
    swing[..., 1] = np.broadcast_to(ahead[..., 0], swing.shape[:2])
    return SKELETON.rest + swing


@pytest.mark.parametrize(
    ("fps", "frames", "shown"), [(25, 10, 10), (30, 12, 12), (60, 12, 10), (12.5, 5, 5)]
)
def test_a_gif_plays_in_real_time(tmp_path: Path, fps: float, frames: int, shown: int) -> None:
    path = tmp_path / "moving.gif"
    animate([Panel("one", moving(frames))], SKELETON, path, fps)
    lasting = frames_of(path)
    assert len(lasting) == shown
    assert sum(lasting) == pytest.approx(1000 * frames / fps, abs=10)
    assert min(lasting) >= 20
    assert list(tmp_path.iterdir()) == [path]


def test_a_gif_shows_the_panels_side_by_side(tmp_path: Path) -> None:
    motion = moving(4)
    still = np.broadcast_to(motion[0], motion.shape)
    animate([Panel("moves", motion), Panel("stands", still)], SKELETON, tmp_path / "a.gif", 25, "t")
    with Image.open(tmp_path / "a.gif") as image:
        images = []
        for number in range(4):
            image.seek(number)
            images.append(np.asarray(image.convert("RGB")).astype(int))
    change = np.abs(images[3] - images[0]).max(axis=(0, 2))
    middle = len(change) // 2
    assert change[:middle].max() > 100
    assert change[middle:].max() < 40
    colours = {tuple(colour) for colour in images[0].reshape(-1, 3)}
    for wanted in (GREEN, PURPLE):
        target = 255 * np.array(to_rgba(wanted)[:3])
        assert min(np.abs(target - colour).max() for colour in colours) < 40


@pytest.mark.parametrize("name", ["a.avi", "a", "a.gif.txt"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"\.gif or an \.mp4"):
        animate([Panel("", MOTION)], SKELETON, tmp_path / name, 25)
    assert not list(tmp_path.iterdir())


def test_motions_of_different_lengths_cannot_be_animated_together(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same"):
        animate([Panel("", MOTION), Panel("", MOTION[:9])], SKELETON, tmp_path / "a.gif", 25)


def test_an_mp4_without_ffmpeg_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(InputError, match="pip install imageio-ffmpeg") as refused:
        animate([Panel("", MOTION)], SKELETON, tmp_path / "a.mp4", 25)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_failure_of_ffmpeg_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bin" / "ffmpeg"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(broken.parent))
    with pytest.raises(InputError, match=r"a\.mp4: ffmpeg failed") as refused:
        animate([Panel("", MOTION)], SKELETON, tmp_path / "a.mp4", 25)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "a.mp4").exists()


def test_an_mp4_lasts_as_long_as_the_motion(tmp_path: Path) -> None:
    try:
        ffmpeg = poses._ffmpeg()
    except InputError as error:
        pytest.skip(str(error))
    animate([Panel("one", MOTION)], SKELETON, tmp_path / "a.mp4", 25)
    messages = subprocess.run(
        [shutil.which(ffmpeg) or ffmpeg, "-i", tmp_path / "a.mp4"], capture_output=True, text=True
    ).stderr
    assert "Duration: 00:00:02.00" in messages
    assert "25 fps" in messages
