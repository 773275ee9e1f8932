"""Scaling of the cost of HG-VAE with each size of its input: points, exponents, a figure."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bench.motion import MotionSpec
from bench.protocol.listing import PAPER_SPEC, skeleton_of
from bench.report.figures import save
from bench.speed.hgvae import ascent
from bench.speed.measure import Setup, gflop, in_child, peak_memory, progress, seconds
from bench.speed.work import train_step
from models.hgvae import HGVAE
from models.inference.map import Map

SIZES: dict[str, tuple[int, ...]] = {
    "batch": (25, 50, 100, 200),
    "frames": (25, 50, 100, 200),
    "joints": (9, 18, 36, 72),
    "levels": (1, 2, 3, 4),
    "MAP windows": (25, 50, 100, 200),
}
"""Sizes varied one at a time. The last is of a MAP ascent, the others of a train step."""
BATCH = 50
STEPS = 3
MEASURES = {"seconds": "time", "gb": "memory", "gflop": "FLOP"}


@dataclass(frozen=True)
class Point:
    """The cost at one size.

    Attributes:
        grows: the size that is varied, a key of ``SIZES``; the others are the paper's.
        size: its value.
        seconds: the median time over the rounds.
        gb: peak increase of resident memory, 10^9 bytes.
        gflop: floating-point operations of matrix products, 10^9.
    """

    grows: str
    size: int
    seconds: float
    gb: float
    gflop: float


def measure(setup: Setup) -> pd.DataFrame:
    """Return a row per ``Point``, each measured in its own process, with the tuned allocator."""
    setup = replace(setup, malloc="tuned")
    points = []
    for grows, sizes in SIZES.items():
        for size in sizes:
            points.append(in_child(measure_point, setup, grows, size))
            progress(f"{grows} {size}: {points[-1].seconds:.3g} s, {points[-1].gb:.3g} GB")
    return pd.DataFrame(map(vars, points))


def exponents(points: pd.DataFrame) -> pd.DataFrame:
    """Return the exponent with which each cost grows with each size.

    Least squares on logarithms; columns ``grows`` and those of ``MEASURES``.
    """
    rows = []
    for grows, some in points.groupby("grows", sort=False):
        logs = np.log(some[["size", *MEASURES]].astype(float))
        fitted = {name: np.polyfit(logs["size"], logs[name], 1)[0] for name in MEASURES}
        rows.append({"grows": grows, **fitted})
    return pd.DataFrame(rows)


def draw(points: pd.DataFrame, folder: Path) -> Path:
    """Draw cost relative to that of the smallest size; return the path of ``growth.png``."""
    import matplotlib.pyplot as plt

    powers = exponents(points).set_index("grows").to_dict("index")
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharex=True, layout="constrained")
    for axis, name in zip(axes, ("seconds", "gb"), strict=True):
        for grows, some in points.groupby("grows", sort=False):
            label = f"{grows}, power {powers[str(grows)][name]:.2f}"
            first = some.iloc[0]
            axis.plot(some["size"] / first["size"], some[name] / first[name], "o-", label=label)
        axis.set(xlabel="size, times the smallest", title=MEASURES[name])
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=2)
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_formatter("{x:g}")
        axis.set_ylabel(f"{MEASURES[name]}, times the smallest's")
        axis.legend(fontsize="small")
    return save(figure, folder, "growth")


def measure_point(setup: Setup, grows: str, size: int) -> Point:
    """Return the cost at one size; run it in a process of its own, for its peak memory."""
    work = _work(grows, size)
    gb = peak_memory(lambda: (work(), work()))
    taken = statistics.median(seconds(work) for _ in range(setup.rounds))
    return Point(grows, size, taken, gb, gflop(work))


def _work(grows: str, size: int) -> Callable[[], object]:
    """Return a train step or a MAP ascent at the paper's sizes, except for one."""
    spec, settings = PAPER_SPEC, HGVAE.Settings(precision="float32")
    if grows == "frames":
        spec = replace(spec, frames=size)
    if grows == "joints":
        spec = replace(spec, skeleton=skeleton_of(size))
    if grows == "levels":
        settings = settings.model_copy(update={"latents": settings.latents[-size:]})
    if grows == "MAP windows":
        return ascent(HGVAE(spec, settings), _windows(size, spec), Map(steps=STEPS))
    count = size if grows == "batch" else BATCH
    return train_step(HGVAE(spec, settings), _windows(count, spec))


def _windows(count: int, spec: MotionSpec) -> Tensor:
    # The cost does not depend on the values.
    return 100 * torch.randn(count, spec.frames, len(spec.skeleton), 3)
