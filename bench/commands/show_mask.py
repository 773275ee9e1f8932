"""``bench show-mask``: what a mechanism hides of one window of walking."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from bench.core import safe_yaml
from bench.core.errors import InputError
from bench.core.registry import MECHANISMS
from bench.core.validation import validated
from bench.datasets.synthetic import Synthetic
from bench.motion import Windows
from bench.motion.mechanisms.base import Mechanism
from bench.protocol.entries import occlusion_entry
from bench.protocol.resolving import stated
from bench.report import masks
from bench.sweep.occlusion import Occlusion

MARKS = " ▒█"
"""A joint position that is seen, that has a hidden coordinate, that is hidden."""


@dataclass(frozen=True)
class Mask:
    """What a mechanism hides of a window.

    Attributes:
        mechanism: the mechanism, at a level and under a seed.
        windows: the one window.
    """

    mechanism: Mechanism
    windows: Windows

    @property
    def title(self) -> str:
        """The mechanism, its level, its seed, and of what window."""
        parts = (self.mechanism.name, str(self.mechanism.level), f"seed {self.mechanism.seed}")
        return f"{', '.join(filter(None, parts))}, of synthetic walking"


def compute(
    name: str, level: str | None, overrides: Sequence[str], seed: int, frames: int, fps: float
) -> Mask:
    """Return a mechanism and a window of the embedded walking for it to hide values of.

    Args:
        name: of the mechanism.
        level: as protocols write it; None for a mechanism without levels.
        overrides: ``key=value`` settings of the mechanism.
        seed: of its draws.
        frames: of the window.
        fps: frames per second.

    Raises:
        InputError: no such mechanism, or the level or a setting cannot be applied.
    """
    cls = MECHANISMS.get(name)
    if level is None and "none" not in cls.kinds:
        raise InputError(f"--level: {name} needs one, such as {' or '.join(cls.examples)}")
    settings = stated(overrides)
    for key in ("level", "seed"):
        if key in settings:
            raise InputError(f"--set {key}: give it as --{key}")
    windows = _walking(frames, fps)
    levels = {} if level is None else {"levels": [_level(level)]}
    entry = occlusion_entry(name, {**settings, **levels}, windows.spec)
    return Mask(entry.at(entry.levels[0], seed), windows)


def _level(text: str) -> object:
    try:
        return safe_yaml.parse(text)
    except ValueError as error:
        raise InputError(f"--level {text}: {error}") from None


def _walking(frames: int, fps: float) -> Windows:
    """Return the first window of a subject's walk."""
    raw = {"frames": frames, "fps": fps, "seconds": max(9.0, (frames + 1) / fps)}
    data = validated(Synthetic, raw, "window")
    source = next(one for one in data.sources(None) if one.action == "walk")
    index = pd.DataFrame(
        {"source": [source.name], "start": 0, "action": source.action, "subject": source.subject}
    )
    return Windows(data.read(source)[None, :frames], index, fps, data.skeleton)


def show(mask: Mask, console: Console) -> None:
    """Print a grid of joints over frames, and the shares hidden."""
    windows, hidden = mask.windows, mask.mechanism.occluded(mask.windows)
    spec = windows.spec
    _, frames, joints, _ = hidden.shape
    width = max(map(len, spec.skeleton.names))
    lines = [
        f"{mask.title}: {frames} frames of {joints} joints, {spec.fps:g} fps",
        f"{'':{width}}  {_ruler(frames, spec.fps)}",
    ]
    for name, row in zip(spec.skeleton.names, hidden[0].swapaxes(0, 1), strict=True):
        marks = "".join(MARKS[place.any() + int(place.all())] for place in row)
        lines.append(f"{name:{width}} |{marks}|")
    lines.append(f"{MARKS[2]} hidden, {MARKS[1]} some coordinates hidden, blank: seen")
    lines += _facts(mask, hidden)
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _ruler(frames: int, fps: float) -> str:
    """Return a line with the seconds over the frames at which they begin."""
    ruler = ""
    for second in range(int(frames / fps) + 1):
        place, label = round(second * fps), f"{second} s"
        if len(ruler) < place < frames or not ruler:
            ruler = f"{ruler:{place}}{label}"
    return ruler


def _facts(mask: Mask, hidden: np.ndarray) -> list[str]:
    """Return the realised shares in words, and how much noise there is, if any."""
    import torch

    truth, observed = mask.windows.motion, mask.mechanism.observed(mask.windows)
    tensors = [torch.from_numpy(np.array(part)) for part in (truth, observed, hidden, hidden)]
    shares = {name: 100 * share.item() for name, share in Occlusion(*tensors).shares.items()}
    lines = [
        f"hidden: {shares['share']:.3g} % of features, {shares['hidden_joints']:.3g} % of joint "
        f"positions, {shares['hidden_frames']:.3g} % of frames in part or whole"
    ]
    if mask.mechanism.disturbs:
        noise = np.sqrt(np.mean((observed - truth)[~hidden] ** 2))
        lines.append(f"noise on what is seen: {noise:.3g} mm RMS")
    return lines


def draw(mask: Mask, path: Path) -> None:
    """Draw the same as a figure, with poses.

    Raises:
        InputError: the suffix is not that of a PNG.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"--figure {path}: the figure is a PNG; name it {path.stem}.png")
    windows, hidden = mask.windows, mask.mechanism.occluded(mask.windows)
    motion = mask.mechanism.observed(windows)[0]
    masks.write(motion, hidden[0], windows.skeleton, windows.fps, mask.title, path)
