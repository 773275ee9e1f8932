"""How the cost of HG-VAE grows with each size of the work: points, exponents and a figure."""

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
"""What grows, and its sizes. All but the last are of a train step."""
BATCH = 50
STEPS = 3
MEASURES = {"seconds": "time", "gb": "memory", "gflop": "FLOP"}


@dataclass(frozen=True)
class Point:
    """What one size costs.

    Attributes:
        grows: which size is not the paper's.
        size: its value.
        seconds: the median of some times.
        gb: peak memory beyond what lay there before, 10^9 bytes.
        gflop: of matrix products, 10^9.
    """

    grows: str
    size: int
    seconds: float
    gb: float
    gflop: float


def measure(setup: Setup) -> pd.DataFrame:
    """Return a row for each ``Point``, each measured in a process of its own, memory kept."""
    setup = replace(setup, malloc="tuned")
    points = []
    for grows, sizes in SIZES.items():
        for size in sizes:
            points.append(in_child(measure_point, setup, grows, size))
            progress(f"{grows} {size}: {points[-1].seconds:.3g} s, {points[-1].gb:.3g} GB")
    return pd.DataFrame(map(vars, points))


def exponents(points: pd.DataFrame) -> pd.DataFrame:
    """Return by which power of a size each cost grows: least squares on logarithms."""
    rows = []
    for grows, some in points.groupby("grows", sort=False):
        logs = np.log(some[["size", *MEASURES]].astype(float))
        fitted = {name: np.polyfit(logs["size"], logs[name], 1)[0] for name in MEASURES}
        rows.append({"grows": grows, **fitted})
    return pd.DataFrame(rows)


def draw(points: pd.DataFrame, folder: Path) -> Path:
    """Write the figure ``growth`` and return its PNG: cost by size, beside the smallest's."""
    import matplotlib.pyplot as plt

    powers = exponents(points).set_index("grows").to_dict("index")
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharex=True, layout="constrained")
    for axis, name in zip(axes, ("seconds", "gb"), strict=True):
        for grows, some in points.groupby("grows", sort=False):
            told = f"{grows}, power {powers[str(grows)][name]:.2f}"
            first = some.iloc[0]
            axis.plot(some["size"] / first["size"], some[name] / first[name], "o-", label=told)
        axis.set(xlabel="size, times the smallest", title=MEASURES[name])
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=2)
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_formatter("{x:g}")
        axis.set_ylabel(f"{MEASURES[name]}, times the smallest's")
        axis.legend(fontsize="small")
    return save(figure, folder, "growth")


def measure_point(setup: Setup, grows: str, size: int) -> Point:
    """Return what one size costs."""
    work = _work(grows, size)
    gb = peak_memory(lambda: (work(), work()))
    taken = statistics.median(seconds(work) for _ in range(setup.rounds))
    return Point(grows, size, taken, gb, gflop(work))


def _work(grows: str, size: int) -> Callable[[], object]:
    """Return a train step, or a MAP ascent, that is the paper's but for one size."""
    spec, settings = PAPER_SPEC, HGVAE.Settings()
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
    # What is in them costs nothing.
    return 100 * torch.randn(count, spec.frames, len(spec.skeleton), 3)
