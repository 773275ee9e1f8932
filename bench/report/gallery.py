"""Drawn motion: completed windows (Fig. 1), drawn ones by action (Fig. 3), the viewer's motion.

Nothing is picked by eye: the completed window is the test window of median error, the drawn windows
are the first of each action. Every picture is written as PDF, PNG and GIF, and as MP4 if ffmpeg is
installed.
"""

import glob
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.core.files import atomic_file
from bench.motion import Windows
from bench.motion.mechanisms.base import Level
from bench.protocol.schema import Protocol, Shown
from bench.report import exhibition, poses
from bench.sweep.jobs import Cell
from bench.sweep.plan import Plan
from bench.sweep.store import Store
from models.base import ConditionalImputer


@dataclass(frozen=True)
class Picture:
    """Motion to be drawn, as strips of poses and as an animation.

    Attributes:
        name: of the files, without a suffix.
        title: printed above it.
        panels: motions; each is a strip, or a moving figure.
        every: frames from one pose of a strip to the next.
    """

    name: str
    title: str
    panels: list[poses.Panel]
    every: int = poses.EVERY


def write(
    protocol: Protocol, plan: Plan, store: Store, test: Windows, folder: Path, label: str
) -> list[Path]:
    """Write every picture that the run has the motion for; return the PNG files.

    Args:
        protocol: what ran.
        plan: its cells.
        store: their results.
        test: the test windows of the run.
        folder: where to write.
        label: the data set.
    """
    exhibition.write(protocol, plan, store, test, folder)
    drawn = [*_completed(protocol, plan, store, test), *_sampled(protocol, plan, store)]
    return [_write(picture, test, folder, label) for picture in drawn]


def names(protocol: Protocol) -> dict[Shown | str, str]:
    """Return the file names of a run's pictures, without suffixes.

    The keys are what they show: an entry of ``protocol.show``, or the label of a conditional model.
    """
    many = len(protocol.show) > 1
    completed: dict[Shown | str, str] = {
        shown: f"fig1_imputation_{number}" if many else "fig1_imputation"
        for number, shown in enumerate(protocol.show, 1)
    }
    sampled = {
        label: f"fig3_samples_{label}"
        for label, entry in protocol.models.items()
        if issubclass(entry.cls, ConditionalImputer)
    }
    return completed | sampled


def copy_drawn(protocol: Protocol, runs: Iterable[tuple[Path, Protocol]], folder: Path) -> None:
    """Copy a protocol's pictures, each from the first run that has it, and the viewer's motion.

    Args:
        protocol: names the pictures.
        runs: the folder and the protocol of each run, which may name them differently.
        folder: where to write.
    """
    runs = list(runs)
    exhibition.merge([run for run, _ in runs], folder)
    for shown, name in names(protocol).items():
        sources = ((run, names(theirs).get(shown)) for run, theirs in runs)
        found = (sorted(run.glob(f"{glob.escape(stem)}.*")) for run, stem in sources if stem)
        for path in next(filter(None, found), []):
            shutil.copyfile(path, folder / f"{name}{path.suffix}")


def _completed(protocol: Protocol, plan: Plan, store: Store, test: Windows) -> Iterator[Picture]:
    """Fig. 1: the mean-imputed window and the completed one, each with the ground truth."""
    file_names = names(protocol)
    for shown in protocol.show:
        cell = _cell_of(shown, plan, store)
        if cell is None:
            continue
        row, truth, filled, completed = _median(cell, protocol, store, test)
        hidden = (filled != truth).any(axis=-1)
        level = f"{cell.mechanism} {cell.level} hidden"
        imputer = f"{shown.model} ({shown.inference})" if shown.inference else shown.model
        panels = [
            poses.Panel(f"{name}, RMSE {_rmse(motion, truth):.0f} mm", motion, truth, rings)
            for name, motion, rings in (
                ("mean imputation (rings: joints with a hidden coordinate)", filled, hidden),
                (imputer, completed, None),
            )
        ]
        title = f"{level}: the test window of median error, {test.names[row]}"
        yield Picture(file_names[shown], title, panels, shown.every)


def _cell_of(shown: Shown, plan: Plan, store: Store) -> Cell | None:
    """Return the first seed's cell of a completion to be shown, if the store has it."""
    for cell in plan.cells:
        labels = (cell.model, cell.inference, cell.mechanism, cell.level)
        if cell.task == "impute" and labels == shown.cell and store.has_completion(cell.key):
            return cell
    return None


def _median(
    cell: Cell, protocol: Protocol, store: Store, test: Windows
) -> tuple[int, NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the window of median error: its row, its truth, mean-imputed, and completed."""
    errors = store.load_cell(cell.key)["mse"].to_numpy()
    row = int(np.argsort(errors)[len(errors) // 2])
    mechanism = protocol.occlusion[cell.mechanism].at(Level.parse(cell.level), cell.seed)
    occluded = mechanism.occluded(test)
    completed = np.array(test.motion)
    completed[occluded] = store.load_completion(cell.key)
    mean = store.load_mean(cell.fit)
    filled = np.where(occluded[row], mean, test.motion[row])
    return row, np.array(test.motion[row]), filled, completed[row]


def _rmse(motion: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Return the root mean squared error over coordinates that differ, mm."""
    error = (motion - truth)[motion != truth]
    return float(np.sqrt(np.square(error, dtype=np.float64).mean())) if len(error) else 0.0


def _sampled(protocol: Protocol, plan: Plan, store: Store) -> Iterator[Picture]:
    """Fig. 3: the first window of each action drawn by each conditional model."""
    for cell in plan.cells:
        if (
            cell.task != "sample"
            or cell.seed != protocol.seeds[0]
            or not store.has_completion(cell.key)
            or cell.model not in names(protocol)
        ):
            continue
        motion = store.load_completion(cell.key)
        table = store.load_cell(cell.key)
        actions = table.loc[table["action"] != "", "action"].to_numpy()
        first = {action: int(np.argmax(actions == action)) for action in dict.fromkeys(actions)}
        panels = [poses.Panel(action, motion[row]) for action, row in first.items()]
        title = f"windows drawn by {cell.model}, the first of each action"
        yield Picture(names(protocol)[cell.model], title, panels)


def _write(picture: Picture, test: Windows, folder: Path, label: str) -> Path:
    title = f"{picture.title} - {label}"
    figure = poses.contact_sheet(picture.panels, test.skeleton, title, picture.every)
    for suffix in ("pdf", "png"):
        with atomic_file(folder / f"{picture.name}.{suffix}") as draft:
            figure.savefig(draft, dpi=200, bbox_inches="tight")
    for suffix in ("gif", "mp4") if poses.has_ffmpeg() else ("gif",):
        path = folder / f"{picture.name}.{suffix}"
        poses.animate(picture.panels, test.skeleton, path, test.fps, title)
    return folder / f"{picture.name}.png"
