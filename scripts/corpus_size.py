"""How time and memory grow with a corpus: builds and fits made trees of AMASS's shape.

    python scripts/corpus_size.py FOLDER [--hours 5 15 45] [--out docs/corpus_size]

The trees have synthetic motion in AMASS's packaging, 60 frames per second, in takes of three
minutes: a few takes, each with postures of its own per file. For each size a tree is written into
FOLDER and removed again; it measures, each in a process of its own, the build of its windows, a
pass of the loader over all train windows in random order, as they are and varied, and a fit of one
epoch.
Windows per second are those of one thread's own time, without what other processes took of it.
Writes OUT.csv and OUT.png. Needs about 100 MB of disk per hour of motion while it runs.
"""

import argparse
import multiprocessing
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Event, Thread

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import psutil
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bench.core.registry import MODELS
from bench.datasets.amass import AMASS
from bench.datasets.base import Data
from bench.datasets.build import load
from bench.datasets.synthetic import ACTIONS, Style, joint_rotations, take
from bench.fitting.loading import Loader, Variation, VariationSettings

FPS, SECONDS = 60.0, 180.0
TAKES = 40
"""Different takes; each file is one of them, turned at every joint by a small constant angle."""
SHARES = {"CMU": 0.87, "SFU": 0.065, "BMLrub": 0.065}
"""Share of the files in a data set of the train, valid and test split."""
BATCH = 800
NARROW = {"hidden": (256, 64), "latent": 16, "epochs": 1}
"""Settings of a VAE that is small enough for an epoch of 700,000 windows in minutes."""
VARIED = VariationSettings(starts="any", mirror=True, tempo=1.25)


def rotation_vectors(number: int) -> NDArray[np.float32]:
    """Return ``(frame, 66)`` rotation vectors, radians, of a take, upright in AMASS's world."""
    rng = np.random.default_rng(number)
    action = list(ACTIONS)[number % len(ACTIONS)]
    turns = joint_rotations(take(action, Style.draw(rng), SECONDS, FPS, rng))
    turns[:, 0] = Rotation.from_euler("x", 90, degrees=True).as_matrix() @ turns[:, 0]
    vectors = Rotation.from_matrix(turns.reshape(-1, 3, 3)).as_rotvec()
    return vectors.reshape(len(turns), -1).astype(np.float32)


def write_tree(folder: Path, hours: float) -> None:
    """Write a tree of AMASS's shape with as many hours of motion."""
    takes = [rotation_vectors(number) for number in range(TAKES)]
    count = round(hours * 3600 / SECONDS)
    ends = np.cumsum(list(SHARES.values())) * count
    for number in range(count):
        name = list(SHARES)[int(np.searchsorted(ends, number, side="right").clip(max=2))]
        path = folder / "amass" / name / f"{number % 50:02d}" / f"take{number}_poses.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        posture = np.random.default_rng(number).normal(0, 0.02, 66).astype(np.float32)
        posture[:3] = 0
        poses = takes[number % TAKES] + posture
        np.savez(path, poses=poses, mocap_framerate=np.array(FPS), trans=np.zeros((len(poses), 3)))


def measured(work: Callable[..., dict[str, float]], *arguments: object) -> dict[str, float]:
    """Run work in a new process; return what it returns, its seconds and its peak memory, MB."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_watched, work, *arguments).result()


def _watched(work: Callable[..., dict[str, float]], *arguments: object) -> dict[str, float]:
    torch.set_num_threads(1)
    peak, ended = {"resident": 0, "own": 0}, Event()
    process = psutil.Process()

    def watch() -> None:
        while not ended.wait(0.05):
            used = [one.memory_info() for one in (process, *process.children(recursive=True))]
            peak["resident"] = max(peak["resident"], sum(one.rss for one in used))
            # Of a memory map, pages that were read are resident, but not the process's own.
            peak["own"] = max(peak["own"], sum(one.rss - one.shared for one in used))

    watcher = Thread(target=watch)
    watcher.start()
    begun = time.monotonic()
    found = work(*arguments)
    seconds = time.monotonic() - begun
    ended.set()
    watcher.join()
    memory = {f"{name}_mb": value / 1e6 for name, value in peak.items()}
    return {"seconds": seconds, **memory, **found}


def opened(folder: Path) -> Data:
    """Return the windows of a tree, built unless they have been."""
    return load(AMASS(), folder, folder / "windows")


def build(folder: Path) -> dict[str, float]:
    """Build the windows, and compare their size on disk with that of their frames."""
    data = opened(folder)
    frames = sum(split.clips.recordings.frames.nbytes for split in data.splits.values())
    stored = sum(path.stat().st_size for path in (folder / "windows").rglob("*") if path.is_file())
    windows = len(data.splits["train"])
    return {"train_windows": windows, "frames_mb": frames / 1e6, "times_frames": stored / frames}


def gather(folder: Path, varied: bool) -> dict[str, float]:
    """Gather all train windows once, in random order."""
    loader = Loader(opened(folder).splits["train"], torch.nn.Identity(), "cpu")
    begun = time.process_time()
    generator = np.random.default_rng(0)
    variation = Variation.drawn(loader.clips, VARIED, generator) if varied else None
    for rows in torch.randperm(len(loader)).split(BATCH):
        loader.batch(rows, variation)
    return {"windows_per_second": len(loader) / (time.process_time() - begun)}


def fit(folder: Path) -> dict[str, float]:
    """Fit a narrow VAE for an epoch, from its statistics to its validation."""
    data = opened(folder)
    train, valid = data.splits["train"], data.splits["valid"]
    vae = MODELS.get("vae")
    model = vae(train.spec, vae.Settings(**NARROW))
    begun = time.process_time()
    model.fit(train, valid)
    return {"windows_per_second": len(train) / (time.process_time() - begun)}


def rows_of(folder: Path, hours: float) -> Iterator[dict[str, object]]:
    """Yield one row per measurement of a tree of a size."""
    shutil.rmtree(folder, ignore_errors=True)
    write_tree(folder, hours)
    steps: dict[str, tuple[Callable[..., dict[str, float]], tuple[object, ...]]] = {
        "build": (build, ()),
        "loader": (gather, (False,)),
        "loader, varied": (gather, (True,)),
        "fit of a narrow VAE, 1 epoch": (fit, ()),
    }
    for step, (work, more) in steps.items():
        row = {"hours": hours, "step": step, **measured(work, folder, *more)}
        print(row, flush=True)
        yield row
    shutil.rmtree(folder)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw seconds and peak memory against hours, a line for each step."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for step, rows in table.groupby("step", sort=False):
        for axis, column in zip(axes, ("seconds", "resident_mb"), strict=True):
            axis.plot(rows["hours"], rows[column], "o-", label=step)
    frames = table.dropna(subset="frames_mb")
    axes[1].plot(frames["hours"], frames["frames_mb"], "k:", label="frames of all splits")
    windows = frames["train_windows"] * 75 * 18 * 3 * 4 / 1e6
    axes[1].plot(frames["hours"], windows, "k--", label="train windows and futures, copied")
    for axis, title in zip(axes, ("seconds", "peak resident memory, MB"), strict=True):
        axis.set(xlabel="hours of motion", ylabel=title, yscale="log")
    axes[1].legend(fontsize=7)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure trees of the sizes given, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hours", type=float, nargs="+", default=[5, 15, 45])
    parser.add_argument("--out", type=Path, default=Path("docs/corpus_size"))
    chosen = parser.parse_args()
    rows = [
        row
        for hours in chosen.hours
        for row in rows_of(chosen.folder / f"made_{hours:g}_hours", hours)
    ]
    table = pd.DataFrame(rows)
    table.to_csv(chosen.out.with_suffix(".csv"), index=False, float_format="%.4g")
    draw(table, chosen.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
